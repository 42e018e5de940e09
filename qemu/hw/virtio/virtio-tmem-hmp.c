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

static void hmp_print_pressure(Monitor *mon, const TmemPressureStatus *pressure)
{
    if (!pressure->path) {
        monitor_printf(mon, "  pressure: off\n");
    } else if (pressure->error) {
        monitor_printf(mon, "  pressure: %s\n", pressure->error);
    } else if (pressure->has_permille) {
        monitor_printf(mon, "  pressure: %" PRId64 " permille in %s\n",
                       pressure->permille, pressure->path);
    } else {
        monitor_printf(mon, "  pressure: not known yet from %s\n",
                       pressure->path);
    }
}

/* The boundary below which so many percent of the calls were; 0: no call */
static uint64_t latency_percentile(const TmemLatency *latency, unsigned percent)
{
    const uint64List *bound = latency->boundaries;
    const uint64List *bin;
    uint64_t total = 0, seen = 0, value = 0;

    for (bin = latency->bins; bin; bin = bin->next) {
        total += bin->value;
    }
    for (bin = latency->bins; bin && seen * 100 < total * percent;
         bin = bin->next) {
        seen += bin->value;
        value = bound ? bound->value : value;
        bound = bound ? bound->next : NULL;
    }
    return value;
}

static void hmp_print_latency(Monitor *mon, const char *what,
                              const TmemLatency *latency)
{
    monitor_printf(mon, "  %s: half of them below %" PRIu64 " ns, 99 %% below %"
                   PRIu64 " ns\n", what, latency_percentile(latency, 50),
                   latency_percentile(latency, 99));
}

static void hmp_print_spill(Monitor *mon, const TmemSpillInfo *spill)
{
    monitor_printf(mon, "  spill: %s to %s, %" PRIu64 " of %" PRIu64
                   " bytes free\n", TmemSpillStatus_str(spill->status),
                   spill->node, spill->bytes_free, spill->size);
    monitor_printf(mon, "  spilled: %" PRIu64 " bytes in %" PRIu64
                   " pages, cleaned: %" PRIu64 ", discarded: %" PRIu64
                   ", full: %" PRIu64 "\n", spill->bytes_stored, spill->pages,
                   spill->cleaned, spill->discarded, spill->full);
    monitor_printf(mon, "  spill writes: %" PRIu64 " of %" PRIu64
                   " bytes, failed: %" PRIu64 "\n", spill->writes,
                   spill->average_write, spill->write_errors);
    monitor_printf(mon, "  spill reads: %" PRIu64 ", hits: %" PRIu64
                   ", failed: %" PRIu64 ", bad: %" PRIu64 "\n", spill->reads,
                   spill->read_hits, spill->read_errors, spill->bad_pages);
}

static void hmp_print_tmem(Monitor *mon, const TmemInfo *info)
{
    const TmemPoolInfoList *elem;

    monitor_printf(mon, "%s:\n", info->path);
    monitor_printf(mon, "  limit: %" PRIu64 " bytes (%s), from %" PRIu64
                   " to %" PRIu64 "\n", info->limit,
                   TmemLimitReason_str(info->limit_reason), info->min_size,
                   info->max_size);
    hmp_print_pressure(mon, info->pressure);
    monitor_printf(mon, "  target: %" PRIu64 " pages\n", info->target_pages);
    monitor_printf(mon, "  used: %" PRIu64 " bytes, %" PRIu64 " of them "
                   "metadata, %" PRIu64 " reclaimable\n", info->bytes_used,
                   info->bytes_metadata, info->bytes_reclaimable);
    monitor_printf(mon, "  stored: %" PRIu64 " bytes in %" PRIu64 " pages (%"
                   PRIu64 " same-filled, %" PRIu64 " raw, %" PRIu64 " zstd, %"
                   PRIu64 " ephemeral)\n",
                   info->bytes_stored, info->pages, info->same_filled_pages,
                   info->raw_pages, info->zstd_pages, info->ephemeral_pages);
    monitor_printf(mon, "  puts: %" PRIu64 ", rejected: %" PRIu64
                   ", reserved: %" PRIu64 "\n", info->puts,
                   info->rejected_puts, info->reserved_puts);
    monitor_printf(mon, "  gets: %" PRIu64 ", misses: %" PRIu64 "\n",
                   info->gets, info->misses);
    monitor_printf(mon, "  flushes: %" PRIu64 ", evicted: %" PRIu64 "\n",
                   info->flushes, info->evicted);
    monitor_printf(mon, "  recompressed: %" PRIu64 ", moved: %" PRIu64
                   ", lost: %" PRIu64 "\n", info->recompressed, info->moved,
                   info->lost_pages);
    monitor_printf(mon, "  given back: %" PRIu64 " refused, %" PRIu64
                   " dropped, %" PRIu64 " compacted, %" PRIu64
                   " recompressed, %" PRIu64 " spilled, %" PRIu64
                   " by the guest\n", info->given_back->refuse,
                   info->given_back->drop, info->given_back->compact,
                   info->given_back->recompress, info->given_back->spill,
                   info->given_back->target);
    if (info->spill) {
        hmp_print_spill(mon, info->spill);
    }
    hmp_print_latency(mon, "put", info->put_latency);
    hmp_print_latency(mon, "get", info->get_latency);
    monitor_printf(mon, "  requests: %" PRIu64 ", invalid: %" PRIu64 "\n",
                   info->requests, info->invalid_requests);
    monitor_printf(mon, "  notifications: %" PRIu64 "\n", info->notifications);
    for (elem = info->pools; elem; elem = elem->next) {
        monitor_printf(mon, "  pool %" PRIu32 ": %" PRIu64 " bytes in %" PRIu64
                       " pages%s\n", elem->value->id,
                       elem->value->bytes_stored, elem->value->pages,
                       elem->value->ephemeral ? ", ephemeral" : "");
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
