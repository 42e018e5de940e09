/*
 * tmemctl: how guests look, as tables and as JSON
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TMEM_VIEW_H
#define TMEM_VIEW_H

#include "tmem-guest.h"
#include "tmem-table.h"

/* A device, and how it went on since an earlier look */
typedef struct TmemRow {
    const TmemGuest *guest;
    const TmemDevice *device;
    gboolean has_rates;
    TmemRates rates;
} TmemRow;

typedef enum {
    TMEM_SORT_NAME,
    TMEM_SORT_USED,
    TMEM_SORT_LIMIT,
    TMEM_SORT_PUTS,
    TMEM_SORT_GETS,
    TMEM_SORT_REJECTED,
} TmemSort;

/*
 * The devices of all guests, as TmemRow; @before (may be NULL) has the same
 * guests at an earlier time. Lives as long as the guests.
 */
GArray *tmem_view_rows(GPtrArray *guests, GPtrArray *before);
void tmem_view_sort(GArray *rows, TmemSort sort);

/* One row for each device, with totals or with rates */
TmemTable *tmem_view_stat(const GArray *rows, gboolean rates);

/* One row for each guest and device: what there is */
TmemTable *tmem_view_list(GPtrArray *guests);

/* All that is known of a device, a line for each fact */
void tmem_view_long(GPtrArray *guests, FILE *out);

/* The JSON output; see tmemctl(1) */
char *tmem_view_json(GPtrArray *guests, GPtrArray *before, gboolean pretty);

#endif
