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

static void add_counts(TmemStoreStats *stats, const TmemCounts *counts)
{
    stats->pages += counts->pages;
    stats->bytes_stored += counts->bytes_stored;
    stats->same_filled += counts->same_filled;
    stats->raw += counts->raw;
    stats->zstd += counts->zstd;
    stats->ephemeral += counts->ephemeral;
    stats->puts += counts->puts;
    stats->rejected_puts += counts->rejected_puts;
    stats->flushes += counts->flushes;
    stats->evicted += counts->evicted;
    stats->recompressed += counts->recompressed;
    stats->moved += counts->moved;
    for (unsigned i = 0; i < TMEM_HISTOGRAM_BUCKETS; i++) {
        stats->put_histogram[i] += counts->put_histogram[i];
        stats->get_histogram[i] += counts->get_histogram[i];
    }
}

void tmem_store_get_stats(TmemStore *store, TmemStoreStats *stats)
{
    TmemArenaStats arena;

    memset(stats, 0, sizeof(*stats));
    for (unsigned s = 0; s < TMEM_NUM_SHARDS; s++) {
        g_mutex_lock(&store->shards[s].lock);
        add_counts(stats, &store->shards[s].counts);
        stats->gets += store->shards[s].gets;
        stats->misses += store->shards[s].misses;
        g_mutex_unlock(&store->shards[s].lock);
    }

    tmem_arena_get_stats(&store->arena, &arena);
    stats->bytes_used = sizeof(*store) + arena.bytes_used;
    stats->bytes_metadata = sizeof(*store) +
                            arena.bytes_used - arena.bytes_blocks +
                            qatomic_read(&store->arena.num_nodes) *
                            (uint64_t)TMEM_INDEX_NODE_SIZE +
                            stats->ephemeral * sizeof(TmemLruNode);
    stats->bytes_reclaimable = arena.reclaimable;
    stats->reserved = tmem_reserve_puts(&store->arena);

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
