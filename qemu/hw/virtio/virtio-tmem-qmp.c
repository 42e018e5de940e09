/*
 * Virtio transcendent memory (tmem) device: QMP commands
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "hw/virtio/virtio-tmem.h"
#include "qapi/qapi-commands-tmem.h"
#include "system/block-backend.h"

char *virtio_tmem_get_path(VirtIOTMEM *tmem)
{
    Object *proxy = OBJECT(tmem)->parent;

    /* Users know the PCI proxy, if there is one, and not what is inside it */
    if (!object_dynamic_cast(proxy, TYPE_DEVICE)) {
        proxy = OBJECT(tmem);
    }
    return object_get_canonical_path(proxy);
}

TmemLimitReason virtio_tmem_limit_reason(const TmemStoreStats *stats)
{
    switch (stats->cause) {
    case TMEM_LIMIT_MAX:
        return TMEM_LIMIT_REASON_MAX;
    case TMEM_LIMIT_PRESSURE:
        return TMEM_LIMIT_REASON_PRESSURE;
    case TMEM_LIMIT_HOLD:
        return TMEM_LIMIT_REASON_HOLD;
    case TMEM_LIMIT_GROWING:
        return TMEM_LIMIT_REASON_GROWING;
    case TMEM_LIMIT_MIN:
        return TMEM_LIMIT_REASON_MIN;
    }
    g_assert_not_reached();
}

static TmemPressureStatus *virtio_tmem_get_pressure(VirtIOTMEM *tmem)
{
    TmemPressureStatus *pressure = g_new0(TmemPressureStatus, 1);
    TmemPressureInfo info;

    /* Its strings become those of the result */
    tmem_worker_get_pressure(tmem->worker, &info);
    pressure->path = info.path;
    pressure->trigger = info.trigger;
    pressure->has_permille = info.permille >= 0;
    pressure->permille = MAX(info.permille, 0);
    pressure->error = info.error;
    return pressure;
}

static TmemLatency *virtio_tmem_get_latency(const uint64_t *histogram)
{
    TmemLatency *latency = g_new0(TmemLatency, 1);
    uint64List **boundaries = &latency->boundaries;
    uint64List **bins = &latency->bins;
    int i;

    for (i = 0; i < TMEM_HISTOGRAM_BUCKETS; i++) {
        QAPI_LIST_APPEND(bins, histogram[i]);
        if (i < TMEM_HISTOGRAM_BUCKETS - 1) {
            QAPI_LIST_APPEND(boundaries, UINT64_C(1) << (i + 8));
        }
    }
    return latency;
}

static TmemPoolInfoList *virtio_tmem_get_pools(VirtIOTMEM *tmem)
{
    g_autofree TmemPoolStats *pools = g_new(TmemPoolStats, TMEM_MAX_POOLS);
    unsigned int n = tmem_store_get_pools(tmem->store, pools);
    TmemPoolInfoList *list = NULL;
    TmemPoolInfoList **tail = &list;
    int i;

    for (i = 0; i < n; i++) {
        TmemPoolInfo *pool = g_new0(TmemPoolInfo, 1);

        pool->id = pools[i].id;
        pool->ephemeral = pools[i].ephemeral;
        pool->pages = pools[i].pages;
        pool->bytes_stored = pools[i].bytes_stored;
        QAPI_LIST_APPEND(tail, pool);
    }
    return list;
}

static TmemGivenBack *virtio_tmem_get_given_back(const TmemStoreStats *stats)
{
    TmemGivenBack *given = g_new0(TmemGivenBack, 1);

    given->refuse = stats->given[TMEM_MEASURE_REFUSE];
    given->drop = stats->given[TMEM_MEASURE_DROP];
    given->compact = stats->given[TMEM_MEASURE_COMPACT];
    given->recompress = stats->given[TMEM_MEASURE_RECOMPRESS];
    given->spill = stats->given[TMEM_MEASURE_SPILL];
    given->target = stats->given[TMEM_MEASURE_TARGET];
    return given;
}

static TmemSpillStatus virtio_tmem_spill_status(TmemSpillState state)
{
    switch (state) {
    case TMEM_SPILL_FULL:
        return TMEM_SPILL_STATUS_FULL;
    case TMEM_SPILL_FAILED:
        return TMEM_SPILL_STATUS_FAILED;
    default:
        return TMEM_SPILL_STATUS_ACTIVE;
    }
}

static TmemSpillInfo *virtio_tmem_get_spill(VirtIOTMEM *tmem,
                                            const TmemSpillStats *stats)
{
    TmemSpillInfo *info;
    BlockDriverState *bs;

    if (!tmem->spill) {
        return NULL;
    }
    info = g_new0(TmemSpillInfo, 1);
    /* drive_del takes it away, whoever has it */
    bs = blk_bs(tmem->spill_blk);
    info->node = g_strdup(bs ? bdrv_get_device_or_node_name(bs) : "");
    info->status = virtio_tmem_spill_status(stats->state);
    info->size = stats->size;
    info->bytes_free = stats->bytes_free;
    info->pages = stats->pages;
    info->bytes_stored = stats->bytes_stored;
    info->writes = stats->writes;
    info->bytes_written = stats->bytes_written;
    info->average_write = stats->bytes_written / MAX(stats->writes, 1);
    info->reads = stats->reads;
    info->bytes_read = stats->bytes_read;
    info->read_hits = stats->read_hits;
    info->write_errors = stats->write_errors;
    info->read_errors = stats->read_errors;
    info->bad_pages = stats->bad_pages;
    info->cleaned = stats->cleaned;
    info->discarded = stats->discarded;
    info->full = stats->full;
    return info;
}

static TmemInfo *virtio_tmem_get_info(VirtIOTMEM *tmem)
{
    TmemInfo *info = g_new0(TmemInfo, 1);
    TmemStoreStats stats;

    tmem_store_get_stats(tmem->store, &stats);
    info->path = virtio_tmem_get_path(tmem);
    info->max_size = stats.max_size;
    info->min_size = stats.min_size;
    info->limit = stats.limit;
    info->limit_reason = virtio_tmem_limit_reason(&stats);
    info->pressure = virtio_tmem_get_pressure(tmem);
    info->target_pages = tmem->target_pages;
    info->bytes_used = stats.bytes_used;
    info->bytes_stored = stats.bytes_stored;
    info->bytes_metadata = stats.bytes_metadata;
    info->bytes_reclaimable = stats.bytes_reclaimable;
    info->pages = stats.pages;
    info->same_filled_pages = stats.same_filled;
    info->raw_pages = stats.raw;
    info->zstd_pages = stats.zstd;
    info->ephemeral_pages = stats.ephemeral;
    info->reserved_puts = stats.reserved;
    info->puts = stats.puts;
    info->rejected_puts = stats.rejected_puts;
    info->gets = stats.gets;
    info->misses = stats.misses;
    info->flushes = stats.flushes;
    info->evicted = stats.evicted;
    info->recompressed = stats.recompressed;
    info->moved = stats.moved;
    info->lost_pages = stats.lost;
    info->given_back = virtio_tmem_get_given_back(&stats);
    info->spill = virtio_tmem_get_spill(tmem, &stats.spill);
    info->put_latency = virtio_tmem_get_latency(stats.put_histogram);
    info->get_latency = virtio_tmem_get_latency(stats.get_histogram);
    info->requests = stat64_get(&tmem->requests);
    info->invalid_requests = stat64_get(&tmem->invalid_requests);
    info->notifications = stat64_get(&tmem->notifications);
    info->pools = virtio_tmem_get_pools(tmem);
    return info;
}

static int virtio_tmem_add_info(Object *obj, void *opaque)
{
    TmemInfoList ***tail = opaque;
    VirtIOTMEM *tmem = (VirtIOTMEM *)object_dynamic_cast(obj, TYPE_VIRTIO_TMEM);

    if (tmem && DEVICE(tmem)->realized) {
        QAPI_LIST_APPEND(*tail, virtio_tmem_get_info(tmem));
    }
    return 0;
}

TmemInfoList *qmp_query_tmem(Error **errp)
{
    TmemInfoList *list = NULL;
    TmemInfoList **tail = &list;

    object_child_foreach_recursive(object_get_root(), virtio_tmem_add_info,
                                   &tail);
    return list;
}
