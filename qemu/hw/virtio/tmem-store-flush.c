/*
 * What frees pages at the guest's wish: flush and end of a pool, in portions
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "tmem-store-internal.h"

/* ---- Pools ---- */

/*
 * Drop up to @max pages of the pool in its shard; with the last of them it is
 * no pool there any more. Returns: how many.
 */
static uint64_t shard_pool_drop(TmemStore *store, TmemShard *shard,
                                uint32_t pool, uint64_t max)
{
    TmemPool *p = &shard->pools[pool % TMEM_MAX_POOLS];
    uint64_t pages;

    g_mutex_lock(&shard->lock);
    pages = p->pages;
    if (tmem_pool_drop(store, shard, p, max)) {
        p->id = 0;
    }
    pages -= p->pages;
    shard->counts.flushes += pages;
    g_mutex_unlock(&shard->lock);
    return pages;
}

int tmem_store_pool_destroy_some(TmemStore *store, uint32_t pool,
                                 TmemFlush *flush)
{
    TmemPoolSlot *info = &store->pools[pool % TMEM_MAX_POOLS];
    uint64_t end = flush->pages + TMEM_FLUSH_PORTION;

    g_mutex_lock(&store->pools_lock);
    if (!pool || info->id != pool) {
        g_mutex_unlock(&store->pools_lock);
        /* Somebody else may have destroyed the rest */
        return flush->begun ? 0 : -EINVAL;
    }
    flush->begun = true;
    while (flush->shard < TMEM_NUM_SHARDS && flush->pages < end) {
        TmemShard *shard = &store->shards[flush->shard];

        flush->pages += shard_pool_drop(store, shard, pool, end - flush->pages);
        if (!shard->pools[pool % TMEM_MAX_POOLS].id) {
            flush->shard++;
        }
    }
    /* Somebody else has not gone on, so that there are parts again */
    for (unsigned s = 0; flush->shard == TMEM_NUM_SHARDS &&
         s < TMEM_NUM_SHARDS; s++) {
        if (store->shards[s].pools[pool % TMEM_MAX_POOLS].id) {
            flush->shard = s;
        }
    }
    if (flush->shard == TMEM_NUM_SHARDS) {
        info->id = 0;
        store->num_pools--;
        qatomic_set(&store->pools_changed, store->pools_changed + 1);
    }
    g_mutex_unlock(&store->pools_lock);
    return flush->shard == TMEM_NUM_SHARDS ? 0 : -EINPROGRESS;
}

void tmem_store_pool_keep(TmemStore *store, uint32_t pool)
{
    const TmemPoolSlot *info = &store->pools[pool % TMEM_MAX_POOLS];

    g_mutex_lock(&store->pools_lock);
    for (unsigned s = 0; s < TMEM_NUM_SHARDS && pool && info->id == pool; s++) {
        TmemShard *shard = &store->shards[s];
        TmemPool *p = &shard->pools[pool % TMEM_MAX_POOLS];

        g_mutex_lock(&shard->lock);
        if (!p->id) {
            *p = (TmemPool) { .id = pool, .flags = info->flags };
        }
        tmem_log_fill(shard);
        g_mutex_unlock(&shard->lock);
    }
    g_mutex_unlock(&store->pools_lock);
}

int64_t tmem_store_pool_destroy(TmemStore *store, uint32_t pool)
{
    TmemFlush flush = { 0 };
    int ret;

    do {
        ret = tmem_store_pool_destroy_some(store, pool, &flush);
    } while (ret == -EINPROGRESS);
    return ret < 0 ? ret : flush.pages;
}

/* ---- Flushes ---- */

/*
 * The keys of an object's indexes from @first to @last that are in the shard
 * of the @n-th cluster, counted from the first. Returns false: none.
 */
static bool shard_range(uint64_t first, uint64_t last, unsigned n,
                        uint64_t *first_key, uint64_t *last_key)
{
    uint64_t begin = first >> TMEM_CLUSTER_BITS;
    uint64_t end = last >> TMEM_CLUSTER_BITS;
    uint64_t cluster_mask = (1u << TMEM_CLUSTER_BITS) - 1;
    uint64_t last_cluster;

    if (end - begin < n) {
        return false;
    }
    last_cluster = end - (end - begin - n) % TMEM_NUM_SHARDS;
    *first_key = tmem_shard_key(n ? (begin + n) << TMEM_CLUSTER_BITS : first);
    *last_key = tmem_shard_key(last_cluster == end ?
                               last : last_cluster << TMEM_CLUSTER_BITS |
                                      cluster_mask);
    return true;
}

/*
 * Drop up to @max pages of the shard. Returns: 0, or -EINPROGRESS when there
 * may be more, or -EINVAL.
 */
static int shard_flush(TmemStore *store, TmemShard *shard, uint32_t pool,
                       uint64_t object, uint64_t first_key, uint64_t last_key,
                       uint64_t max, uint64_t *pages)
{
    int ret = -EINVAL;
    TmemPool *p;

    tmem_shard_lock(shard);
    p = tmem_pool_find(shard, pool);
    if (p) {
        uint64_t bytes = p->bytes_stored;
        uint64_t before = p->pages;

        ret = tmem_pages_drop(store, shard, p, object, first_key, last_key,
                              max) ? 0 : -EINPROGRESS;
        if (qatomic_read(&store->asking)) {
            shard->counts.given[TMEM_MEASURE_TARGET] += bytes - p->bytes_stored;
        }
        shard->counts.flushes += before - p->pages;
        *pages += before - p->pages;
    }
    g_mutex_unlock(&shard->lock);
    return ret;
}

int tmem_store_flush_some(TmemStore *store, uint32_t pool, uint64_t object,
                          uint64_t first, uint64_t last, unsigned max,
                          TmemFlush *flush)
{
    uint64_t end = flush->pages + max;
    uint64_t first_key, last_key;

    if (first > last) {
        return -EINVAL;
    }
    flush->begun = true;
    while (flush->shard < TMEM_NUM_SHARDS &&
           shard_range(first, last, flush->shard, &first_key, &last_key)) {
        TmemShard *shard = &store->shards[tmem_shard_of(
            object, (first >> TMEM_CLUSTER_BITS) + flush->shard)];
        int ret = flush->pages < end ?
                  shard_flush(store, shard, pool, object, first_key, last_key,
                              end - flush->pages, &flush->pages) : -EINPROGRESS;

        if (ret < 0) {
            return ret;
        }
        flush->shard++;
    }
    flush->shard = 0;
    return 0;
}

int64_t tmem_store_flush(TmemStore *store, uint32_t pool, uint64_t object,
                         uint64_t first, uint64_t last)
{
    TmemFlush flush = { 0 };
    int ret;

    do {
        ret = tmem_store_flush_some(store, pool, object, first, last,
                                    TMEM_FLUSH_PORTION, &flush);
    } while (ret == -EINPROGRESS);
    return ret < 0 ? ret : flush.pages;
}
