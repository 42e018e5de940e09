/*
 * Virtio transcendent memory (tmem) device: HMP commands
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "monitor/hmp.h"
#include "monitor/monitor.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-tmem.h"

static void hmp_print_tmem(Monitor *mon, const TmemInfo *info)
{
    const TmemPoolInfoList *elem;

    monitor_printf(mon, "%s:\n", info->path);
    monitor_printf(mon, "  limit: %" PRIu64 " bytes\n", info->limit);
    monitor_printf(mon, "  used: %" PRIu64 " bytes\n", info->bytes_used);
    monitor_printf(mon, "  stored: %" PRIu64 " bytes in %" PRIu64 " pages (%"
                   PRIu64 " same-filled, %" PRIu64 " raw)\n",
                   info->bytes_stored, info->pages, info->same_filled_pages,
                   info->raw_pages);
    monitor_printf(mon, "  puts: %" PRIu64 ", rejected: %" PRIu64 "\n",
                   info->puts, info->rejected_puts);
    monitor_printf(mon, "  gets: %" PRIu64 ", misses: %" PRIu64 "\n",
                   info->gets, info->misses);
    monitor_printf(mon, "  flushes: %" PRIu64 "\n", info->flushes);
    monitor_printf(mon, "  requests: %" PRIu64 ", invalid: %" PRIu64 "\n",
                   info->requests, info->invalid_requests);
    monitor_printf(mon, "  notifications: %" PRIu64 "\n", info->notifications);
    for (elem = info->pools; elem; elem = elem->next) {
        monitor_printf(mon, "  pool %" PRIu32 ": %" PRIu64 " bytes in %" PRIu64
                       " pages\n", elem->value->id, elem->value->bytes_stored,
                       elem->value->pages);
    }
}

void hmp_info_tmem(Monitor *mon, const QDict *qdict)
{
    g_autoptr(TmemInfoList) list = qmp_query_tmem(&error_abort);
    const TmemInfoList *elem;

    if (!list) {
        monitor_printf(mon, "No virtio-tmem device\n");
    }
    for (elem = list; elem; elem = elem->next) {
        hmp_print_tmem(mon, elem->value);
    }
}
