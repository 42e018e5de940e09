/*
 * tmemctl: find guests, and ask all of them at once
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TMEM_FLEET_H
#define TMEM_FLEET_H

#include <glib.h>

#include "tmem-guest.h"

/* Where guests are: what the command line says, strings owned by it */
typedef struct TmemPlaces {
    const char *uri;            /* of libvirt; NULL: its default */
    gboolean libvirt;           /* ask libvirt */
    const char *const *qmp;     /* [NAME=]PATH, may be patterns; or NULL */
    const char *qmp_dir;        /* all sockets in it; or NULL */
    guint timeout_ms;           /* for each guest */
} TmemPlaces;

/*
 * The guests that there are now, not yet asked. Guests come and go: call it
 * again for each look. A place that is empty is no error.
 */
GPtrArray *tmem_fleet_find(const TmemPlaces *places, GError **error);

/*
 * Ask all @guests what their devices are and do, at the same time. Afterwards
 * each has either devices or an error. Blocks for timeout_ms at most; other
 * sources of the calling thread's context wait meanwhile.
 */
void tmem_fleet_ask(GPtrArray *guests, guint timeout_ms);

/* The same without waiting: @done is called when all have answered. */
void tmem_fleet_ask_async(GPtrArray *guests, guint timeout_ms, GFunc done,
                          gpointer data);

/*
 * Keep in @guests those that @patterns name (shell patterns, or sources as
 * tmem_guest_source() tells them). A pattern that none matches is an error.
 */
gboolean tmem_fleet_select(GPtrArray *guests, const char *const *patterns,
                           GError **error);

/* What to change in one guest */
typedef struct TmemChange {
    TmemGuest *guest;
    char **commands;            /* see tmem_fleet_set_command() */
    GError *error;              /* afterwards: why it was not done */
} TmemChange;

/* The command that sets a size of a device */
char *tmem_fleet_set_command(const TmemDevice *device, const char *property,
                             uint64_t bytes);

/*
 * Commands that bring a device to @max and @min, in an order in which neither
 * passes the other; those that change nothing are left out.
 */
void tmem_fleet_set_sizes(GPtrArray *commands, const TmemDevice *device,
                          uint64_t max, uint64_t min);

/* Make all changes at the same time, each guest's own in order. Blocks. */
void tmem_fleet_change(TmemChange *changes, guint n, guint timeout_ms);

/* The guest in @guests (may be NULL) that has the source of @like, or NULL */
TmemGuest *tmem_fleet_lookup(GPtrArray *guests, const TmemGuest *like);

#endif
