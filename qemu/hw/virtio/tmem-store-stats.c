/*
 * Statistics of the virtio-tmem page store
 *
 * Shards are read one after the other: a sum never misses what was there before
 * the call, but two sums need not be of the same moment.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "tmem-store-internal.h"
#include "tmem-store-spill-internal.h"

static void add_counts(TmemStoreStats *stats, const TmemCounts *counts)
{
    stats->pages += counts->pages;
    stats->bytes_stored += counts->bytes_stored;
    stats->same_filled += counts->same_filled;
    stats->raw += counts->raw;
    stats->zstd += counts->zstd;
    stats->ephemeral += counts->ephemeral;
    stats->spill.pages += counts->spilled;
    stats->spill.bytes_stored += counts->spilled_bytes;
    for (unsigned m = 0; m < TMEM_NUM_MEASURES; m++) {
        stats->given[m] += counts->given[m];
    }
    stats->puts += counts->puts;
    stats->rejected_puts += counts->rejected_puts;
    stats->flushes += counts->flushes;
    stats->evicted += counts->evicted;
    stats->recompressed += counts->recompressed;
    stats->moved += counts->moved;
    stats->lost += counts->lost;
    for (unsigned i = 0; i < TMEM_HISTOGRAM_BUCKETS; i++) {
        stats->put_histogram[i] += counts->put_histogram[i];
        stats->get_histogram[i] += counts->get_histogram[i];
    }
}

/* All of the spill but for pages and their bytes, which shards count. */
static void get_spill_stats(TmemSpill *spill, TmemSpillStats *stats)
{
    uint64_t pages = stats->pages;
    uint64_t bytes = stats->bytes_stored;

    g_mutex_lock(&spill->lock);
    *stats = spill->stats;
    stats->bytes_free = (spill->num_free + spill->num_dead) *
                        (uint64_t)TMEM_EXTENT_SIZE;
    g_mutex_unlock(&spill->lock);
    stats->pages = pages;
    stats->bytes_stored = bytes;
}

void tmem_store_get_stats(TmemStore *store, TmemStoreStats *stats)
{
    TmemArenaStats arena;
    uint64_t log_bytes = qatomic_read(&store->log_bytes);

    memset(stats, 0, sizeof(*stats));
    for (unsigned s = 0; s < TMEM_NUM_SHARDS; s++) {
        g_mutex_lock(&store->shards[s].lock);
        add_counts(stats, &store->shards[s].counts);
        stats->gets += store->shards[s].gets;
        stats->misses += store->shards[s].misses;
        g_mutex_unlock(&store->shards[s].lock);
    }

    tmem_arena_get_stats(&store->arena, &arena);
    stats->bytes_used = tmem_store_fixed(store) + arena.bytes_used + log_bytes;
    stats->bytes_metadata = tmem_store_fixed(store) + log_bytes +
                            stats->spill.pages * sizeof(TmemSpillRecord) +
                            arena.bytes_used - arena.bytes_blocks +
                            qatomic_read(&store->arena.num_nodes) *
                            (uint64_t)TMEM_INDEX_NODE_SIZE +
                            stats->ephemeral * sizeof(TmemLruNode);
    if (store->checksum) {
        /* But for same-filled ones that are no object, most have one */
        stats->bytes_metadata += sizeof(uint32_t) *
            (stats->pages - MIN(stats->pages, stats->same_filled +
                                              stats->spill.pages));
    }
    stats->bytes_reclaimable = arena.reclaimable;
    stats->reserved = tmem_reserve_puts(&store->arena);

    if (store->spill) {
        get_spill_stats(store->spill, &stats->spill);
    }

    g_mutex_lock(&store->size_lock);
    stats->max_size = store->max_size;
    stats->min_size = store->min_size;
    stats->limit = store->limit;
    stats->cause = store->cause;
    g_mutex_unlock(&store->size_lock);
}

static int compare_pool_ids(const void *a, const void *b)
{
    const TmemPoolStats *left = a;
    const TmemPoolStats *right = b;

    return left->id < right->id ? -1 : left->id > right->id;
}

unsigned tmem_store_get_pools(TmemStore *store, TmemPoolStats *pools)
{
    unsigned num = 0;

    g_mutex_lock(&store->pools_lock);
    for (unsigned i = 0; i < TMEM_MAX_POOLS; i++) {
        const TmemPoolSlot *info = &store->pools[i];
        TmemPoolStats stats = {
            .id = info->id,
            .ephemeral = info->flags & TMEM_POOL_EPHEMERAL,
        };

        if (!info->id) {
            continue;
        }
        for (unsigned s = 0; s < TMEM_NUM_SHARDS; s++) {
            TmemShard *shard = &store->shards[s];

            g_mutex_lock(&shard->lock);
            stats.pages += shard->pools[i].pages;
            stats.bytes_stored += shard->pools[i].bytes_stored;
            g_mutex_unlock(&shard->lock);
        }
        pools[num++] = stats;
    }
    g_mutex_unlock(&store->pools_lock);
    qsort(pools, num, sizeof(*pools), compare_pool_ids);
    return num;
}
