/*
 * tmemctl: guests of libvirt
 *
 * Asking a monitor is a privileged call to libvirt, so a connection is
 * read-write always; tmemctl changes nothing through it but what it was asked
 * to set.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TMEM_LIBVIRT_H
#define TMEM_LIBVIRT_H

#include <gio/gio.h>

#include "tmem-guest.h"

/* FALSE: tmemctl was built with WITH_LIBVIRT=0, and the rest always fails */
gboolean tmem_libvirt_built_in(void);

/*
 * Append the running domains at @uri (NULL: libvirt's default) to @guests.
 * The connection is made once and kept.
 */
gboolean tmem_libvirt_list(const char *uri, GPtrArray *guests, GError **error);

/* Say good-bye, unless a guest that hangs still keeps a call from ending */
void tmem_libvirt_close(void);

/* As tmem_qmp_run_async(), through libvirtd, for a guest from the list. */
void tmem_libvirt_run_async(TmemGuest *guest, const char *const *commands,
                            guint timeout_ms, GAsyncReadyCallback callback,
                            gpointer data);
GPtrArray *tmem_libvirt_run_finish(GAsyncResult *result, GError **error);

#endif
