/*
 * Page store of the virtio-tmem device: what its users call
 *
 * tmem-store-internal.h has the structure and the order of the locks.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "tmem-store-internal.h"

/*
 * How often a put that finds no room drops ephemeral pages and tries again, and
 * how many of them each time. What they leave free need not fit the new page.
 */
#define EVICT_ATTEMPTS 8
#define EVICT_PAGES 8

static bool size_is_valid(uint64_t min_size, uint64_t max_size,
                          bool hugepages, GError **errp)
{
    if (max_size < TMEM_STORE_MIN_LIMIT) {
        g_set_error(errp, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                    "a page store of %" PRIu64 " bytes is too small, it takes "
                    "at least %d", max_size, TMEM_STORE_MIN_LIMIT);
        return false;
    }
    if (hugepages && max_size < TMEM_STORE_MIN_HUGE_LIMIT) {
        g_set_error(errp, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                    "a page store of %" PRIu64 " bytes is too small for huge "
                    "pages, they take at least %d", max_size,
                    TMEM_STORE_MIN_HUGE_LIMIT);
        return false;
    }
    if (min_size > max_size) {
        g_set_error(errp, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                    "the least size, %" PRIu64 " bytes, must not be more than "
                    "the largest, %" PRIu64 " bytes", min_size, max_size);
        return false;
    }
    return true;
}

static bool config_is_valid(const TmemStoreConfig *config, GError **errp)
{
    if (!size_is_valid(config->min_size, config->max_size, config->hugepages,
                       errp)) {
        return false;
    }
    if (config->compression == TMEM_COMPRESSION_ZSTD &&
        !tmem_codec_has_zstd()) {
        g_set_error(errp, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                    "this build has no zstd, compression is lz4 or none");
        return false;
    }
    if (config->level < 0 || config->level > TMEM_ZSTD_LEVEL_MAX) {
        g_set_error(errp, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                    "a compression level of %d is not possible, it is from 1 "
                    "to %d (0: the default)", config->level,
                    TMEM_ZSTD_LEVEL_MAX);
        return false;
    }
    return true;
}

static uint64_t arena_limit(uint64_t limit)
{
    return limit > sizeof(TmemStore) ? limit - sizeof(TmemStore) : 0;
}

TmemStore *tmem_store_new(const TmemStoreConfig *config, GError **errp)
{
    TmemArenaConfig arena = {
        .limit = arena_limit(config->max_size),
        .span = arena_limit(config->span),
        .lock_memory = config->lock_memory,
        .hugepages = config->hugepages,
    };
    TmemStore *store;

    if (!config_is_valid(config, errp)) {
        return NULL;
    }
    /* Not g_new0(): shards have cache lines of their own. */
    store = aligned_alloc(__alignof__(TmemStore), sizeof(TmemStore));
    g_assert(store);
    memset(store, 0, sizeof(*store));
    if (!tmem_arena_init(&store->arena, &arena, errp)) {
        free(store);
        return NULL;
    }
    store->codec.compression = config->compression;
    store->codec.level = config->level;
    store->pool_quota = config->pool_quota;
    store->max_size = config->max_size;
    store->min_size = config->min_size;
    store->limit = config->max_size;
    store->cause = TMEM_LIMIT_MAX;
    store->next_pool = 1;
    store->cold_age = TMEM_COLD_AGE;
    g_mutex_init(&store->size_lock);
    g_mutex_init(&store->pools_lock);
    g_mutex_init(&store->lru_lock);
    for (unsigned s = 0; s < TMEM_NUM_SHARDS; s++) {
        g_mutex_init(&store->shards[s].lock);
    }
    return store;
}

void tmem_store_free(TmemStore *store)
{
    if (!store) {
        return;
    }
    tmem_arena_destroy(&store->arena);
    for (unsigned s = 0; s < TMEM_NUM_SHARDS; s++) {
        g_mutex_clear(&store->shards[s].lock);
    }
    g_mutex_clear(&store->lru_lock);
    g_mutex_clear(&store->pools_lock);
    g_mutex_clear(&store->size_lock);
    free(store);
}

uint64_t tmem_store_capacity(TmemStore *store)
{
    size_t block_size = store->arena.block_size;
    uint64_t blocks;

    g_mutex_lock(&store->size_lock);
    blocks = arena_limit(store->max_size) / (block_size + sizeof(TmemBlock));
    g_mutex_unlock(&store->size_lock);
    /*
     * The nodes above 64 pages each come to a 63rd of the pages, and are an
     * eighth of the size: one block in 504. Upper ends of the trees, and what
     * is left of the division: three blocks.
     */
    return blocks > 3 ? (blocks - 3) * (block_size / TMEM_PAGE_SIZE) * 504 / 505
                      : 0;
}

/* Called with size_lock held. */
static void store_apply_limit(TmemStore *store, uint64_t limit)
{
    store->limit = MIN(MAX(limit, store->min_size), store->max_size);
    tmem_arena_set_limit(&store->arena, arena_limit(store->limit),
                         arena_limit(store->max_size));
}

bool tmem_store_set_size(TmemStore *store, uint64_t min_size,
                         uint64_t max_size, GError **errp)
{
    /* It was rounded down to whole blocks. */
    uint64_t span = sizeof(*store) + tmem_arena_span(&store->arena) +
                    store->arena.block_size;

    if (!size_is_valid(min_size, max_size,
                       store->arena.block_size == TMEM_HUGE_BLOCK_SIZE,
                       errp)) {
        return false;
    }
    g_mutex_lock(&store->size_lock);
    if (max_size > store->max_size && max_size > span) {
        g_mutex_unlock(&store->size_lock);
        g_set_error(errp, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                    "a size of %" PRIu64 " bytes is not possible, the address "
                    "space of this store ends at %" PRIu64, max_size, span);
        return false;
    }
    store->min_size = min_size;
    store->max_size = max_size;
    store_apply_limit(store, store->cause == TMEM_LIMIT_MAX ? max_size
                                                             : store->limit);
    g_mutex_unlock(&store->size_lock);
    return true;
}

void tmem_store_set_limit(TmemStore *store, uint64_t limit,
                          TmemLimitCause cause)
{
    g_mutex_lock(&store->size_lock);
    store->cause = cause;
    store_apply_limit(store, limit);
    g_mutex_unlock(&store->size_lock);
}

/* The shard's part of each pool begins and ends with the pool. */
static void shards_set_pool(TmemStore *store, uint32_t slot, uint32_t id,
                            unsigned flags)
{
    for (unsigned s = 0; s < TMEM_NUM_SHARDS; s++) {
        TmemShard *shard = &store->shards[s];

        g_mutex_lock(&shard->lock);
        shard->pools[slot] = (TmemPool) { .id = id, .flags = flags };
        g_mutex_unlock(&shard->lock);
    }
}

int tmem_store_pool_create(TmemStore *store, unsigned flags, uint32_t *pool)
{
    int ret = -ENOSPC;

    g_mutex_lock(&store->pools_lock);
    if (store->num_pools < TMEM_MAX_POOLS) {
        uint32_t id = store->next_pool;

        while (id == 0 || store->pools[id % TMEM_MAX_POOLS].id) {
            id++;
        }
        store->pools[id % TMEM_MAX_POOLS] = (TmemPoolSlot) { id, flags };
        shards_set_pool(store, id % TMEM_MAX_POOLS, id, flags);
        store->num_pools++;
        store->next_pool = id + 1;
        *pool = id;
        ret = 0;
    }
    g_mutex_unlock(&store->pools_lock);
    return ret;
}

int64_t tmem_store_pool_destroy(TmemStore *store, uint32_t pool)
{
    TmemPoolSlot *info = &store->pools[pool % TMEM_MAX_POOLS];
    int64_t pages = 0;

    g_mutex_lock(&store->pools_lock);
    if (!pool || info->id != pool) {
        g_mutex_unlock(&store->pools_lock);
        return -EINVAL;
    }
    for (unsigned s = 0; s < TMEM_NUM_SHARDS; s++) {
        TmemShard *shard = &store->shards[s];
        TmemPool *p = &shard->pools[pool % TMEM_MAX_POOLS];

        g_mutex_lock(&shard->lock);
        pages += p->pages;
        shard->counts.flushes += p->pages;
        tmem_pool_drop(store, shard, p);
        p->id = 0;
        g_mutex_unlock(&shard->lock);
    }
    info->id = 0;
    store->num_pools--;
    g_mutex_unlock(&store->pools_lock);
    return pages;
}

bool tmem_store_pool_exists(TmemStore *store, uint32_t pool)
{
    TmemShard *shard = &store->shards[0];
    bool ret;

    g_mutex_lock(&shard->lock);
    ret = tmem_pool_find(shard, pool) != NULL;
    g_mutex_unlock(&shard->lock);
    return ret;
}

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* Puts and gets of this thread, one counter each: they may come in turns. */
static __thread unsigned put_calls, get_calls;

/* One call in TMEM_HISTOGRAM_SAMPLE of each thread: its time, else 0. */
static int64_t latency_start(unsigned *calls)
{
    return (*calls)++ % TMEM_HISTOGRAM_SAMPLE ? 0 : now_ns();
}

/* The bucket of what started then, or -1: it was not timed. */
static int latency_bucket(int64_t start)
{
    uint64_t ns;

    if (!start) {
        return -1;
    }
    /* g_bit_storage(0) is 1 */
    ns = (uint64_t)(now_ns() - start) >> 8;
    return MIN(ns ? g_bit_storage(ns) : 0, TMEM_HISTOGRAM_BUCKETS - 1);
}

/* What the pool has in all shards, roughly, as others put meanwhile. */
static uint64_t pool_pages(TmemStore *store, uint32_t slot)
{
    uint64_t pages = 0;

    for (unsigned s = 0; s < TMEM_NUM_SHARDS; s++) {
        TmemShard *shard = &store->shards[s];

        g_mutex_lock(&shard->lock);
        pages += shard->pools[slot].pages;
        g_mutex_unlock(&shard->lock);
    }
    return pages;
}

typedef struct PutRequest {
    TmemShard *shard;
    uint32_t pool;
    uint64_t object;
    uint64_t index;
    TmemCoded coded;
    TmemAllocMode mode;
} PutRequest;

/* Free an entry that was never counted. */
static void put_free_entry(TmemStore *store, uint64_t entry)
{
    if (tmem_entry_kind(entry) == ENTRY_NODE) {
        entry = tmem_lru_del(store, entry);
    }
    if (tmem_entry_kind(entry) != ENTRY_INLINE) {
        tmem_arena_free(&store->arena, tmem_entry_handle(entry));
    }
}

/* An entry for the page of the request, or 0: there is no room. */
static uint64_t put_make_entry(TmemStore *store, const PutRequest *put,
                               const TmemPool *pool)
{
    uint64_t entry = tmem_entry_new(store, &put->coded, put->mode);
    uint64_t node;

    if (!entry || !(pool->flags & TMEM_POOL_EPHEMERAL)) {
        return entry;
    }
    node = tmem_lru_add(store, entry, put->pool, put->object, put->index,
                        put->mode);
    if (!node) {
        put_free_entry(store, entry);
    }
    return node;
}

/* Returns 0, -ENOSPC or -EINVAL. Called with the lock of the shard held. */
static int put_locked(TmemStore *store, const PutRequest *put)
{
    TmemShard *shard = put->shard;
    TmemPool *pool = tmem_pool_find(shard, put->pool);
    uint64_t key = tmem_shard_key(put->index);
    uint64_t *slot;
    uint64_t entry;

    if (!pool) {
        return -EINVAL;
    }
    /* The old copy goes first: it may be the room, and it must not stay. */
    slot = tmem_page_lookup(store, pool, put->object, key);
    if (slot) {
        tmem_entry_drop(store, shard, pool, *slot);
    }
    entry = put_make_entry(store, put, pool);
    if (slot) {
        if (entry) {
            *slot = entry;
        } else {
            /* Its place must not be empty in the tree: give it to be erased. */
            *slot = ENTRY_INLINE;
            tmem_entry_count(shard, pool, ENTRY_INLINE, 1);
            tmem_pages_drop(store, shard, pool, put->object, key, key);
        }
    } else if (entry &&
               !tmem_page_insert(store, pool, put->object, key, entry,
                                 put->mode)) {
        put_free_entry(store, entry);
        entry = 0;
    }
    if (!entry) {
        return -ENOSPC;
    }
    if (tmem_entry_kind(entry) == ENTRY_NODE) {
        shard->counts.ephemeral++;
        entry = *tmem_lru_entry(store, entry);
    }
    tmem_entry_count(shard, pool, entry, 1);
    return 0;
}

static bool put_make_room(TmemStore *store)
{
    unsigned n = 0;

    if (tmem_reserve_trim(&store->arena)) {
        return true;
    }

    while (n < EVICT_PAGES && tmem_lru_evict(store)) {
        n++;
    }
    return n > 0;
}

/* Whether a page that the pool does not have yet would be one too many. */
static bool put_over_quota(TmemStore *store, const PutRequest *put)
{
    TmemShard *shard = put->shard;
    TmemPool *pool;
    bool there = false;

    if (!store->pool_quota || put->mode == TMEM_ALLOC_RESERVED ||
        pool_pages(store, put->pool % TMEM_MAX_POOLS) < store->pool_quota) {
        return false;
    }
    g_mutex_lock(&shard->lock);
    pool = tmem_pool_find(shard, put->pool);
    if (pool) {
        there = tmem_page_lookup(store, pool, put->object,
                                 tmem_shard_key(put->index)) != NULL;
    }
    g_mutex_unlock(&shard->lock);
    return pool && !there;
}

/*
 * Lock a shard for a put, get or flush. Mutexes are not fair: maintenance,
 * which unlocks and locks again, has to be told that someone waits.
 */
static void shard_lock(TmemShard *shard)
{
    if (!g_mutex_trylock(&shard->lock)) {
        qatomic_inc(&shard->waiting);
        g_mutex_lock(&shard->lock);
        qatomic_dec(&shard->waiting);
    }
}

static int put_coded(TmemStore *store, const PutRequest *put, int64_t start)
{
    TmemShard *shard = put->shard;
    unsigned attempts = 0;
    int bucket;
    int ret;

    if (put_over_quota(store, put)) {
        ret = -ENOSPC;
        shard_lock(shard);
    } else {
        for (;;) {
            shard_lock(shard);
            ret = put_locked(store, put);
            if (ret != -ENOSPC || attempts++ == EVICT_ATTEMPTS) {
                break;
            }
            g_mutex_unlock(&shard->lock);
            if (!put_make_room(store)) {
                shard_lock(shard);
                break;
            }
        }
    }
    bucket = latency_bucket(start);
    shard->counts.puts += ret == 0;
    shard->counts.rejected_puts += ret == -ENOSPC;
    if (ret == 0 && bucket >= 0) {
        shard->counts.put_histogram[bucket]++;
    }
    g_mutex_unlock(&shard->lock);
    return ret;
}

static int put_page(TmemStore *store, uint32_t pool, uint64_t object,
                    uint64_t index, const void *page, TmemAllocMode mode)
{
    int64_t start = latency_start(&put_calls);
    PutRequest put = {
        .shard = tmem_shard_find(store, object, index),
        .pool = pool,
        .object = object,
        .index = index,
        .mode = mode,
    };

    put.coded = tmem_codec_encode(&store->codec, page);
    return put_coded(store, &put, start);
}

int tmem_store_put(TmemStore *store, uint32_t pool, uint64_t object,
                   uint64_t index, const void *page)
{
    return put_page(store, pool, object, index, page, TMEM_ALLOC_GROW);
}

int tmem_store_put_reserved(TmemStore *store, uint32_t pool, uint64_t object,
                            uint64_t index, const void *page)
{
    int ret = put_page(store, pool, object, index, page, TMEM_ALLOC_RESERVED);

    tmem_reserve_sub(&store->arena, 1, true);
    return ret;
}

unsigned tmem_store_reserve(TmemStore *store, unsigned puts)
{
    return tmem_reserve_add(&store->arena, puts);
}

void tmem_store_unreserve(TmemStore *store, unsigned puts)
{
    tmem_reserve_sub(&store->arena, puts, false);
}

int tmem_store_get(TmemStore *store, uint32_t pool, uint64_t object,
                   uint64_t index, void *page)
{
    TmemShard *shard = tmem_shard_find(store, object, index);
    int64_t start = latency_start(&get_calls);
    TmemHandle pinned = 0;
    TmemCoded coded;
    int ret = -EINVAL;
    TmemPool *p;

    shard_lock(shard);
    p = tmem_pool_find(shard, pool);
    if (p) {
        uint64_t *slot = tmem_page_lookup(store, p, object,
                                          tmem_shard_key(index));

        if (slot) {
            pinned = tmem_entry_pin(store, shard, *slot, &coded);
            if (tmem_entry_kind(*slot) == ENTRY_NODE) {
                tmem_lru_touch(store, *slot);
            } else if (tmem_entry_kind(*slot) != ENTRY_INLINE) {
                *slot &= ~ENTRY_AGE_MASK;
            }
            shard->gets++;
            ret = 0;
        } else {
            shard->misses++;
            ret = -ENOENT;
        }
    }
    g_mutex_unlock(&shard->lock);
    if (ret == 0) {
        int bucket;

        ret = tmem_codec_decode(&coded, page);
        bucket = latency_bucket(start);
        if (pinned || bucket >= 0) {
            shard_lock(shard);
            if (pinned) {
                tmem_entry_unpin(store, shard, pinned);
            }
            if (bucket >= 0) {
                shard->counts.get_histogram[bucket]++;
            }
            g_mutex_unlock(&shard->lock);
        }
    }
    return ret;
}

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

int64_t tmem_store_flush(TmemStore *store, uint32_t pool, uint64_t object,
                         uint64_t first, uint64_t last)
{
    uint64_t first_key, last_key;
    int64_t pages = 0;

    if (first > last) {
        return -EINVAL;
    }
    for (unsigned n = 0; n < TMEM_NUM_SHARDS && pages >= 0 &&
         shard_range(first, last, n, &first_key, &last_key); n++) {
        TmemShard *shard = &store->shards[tmem_shard_of(
            object, (first >> TMEM_CLUSTER_BITS) + n)];
        TmemPool *p;

        shard_lock(shard);
        p = tmem_pool_find(shard, pool);
        if (!p) {
            pages = -EINVAL;
        } else {
            uint64_t dropped = tmem_pages_drop(store, shard, p, object,
                                               first_key, last_key);

            shard->counts.flushes += dropped;
            pages += dropped;
        }
        g_mutex_unlock(&shard->lock);
    }
    return pages;
}

/*
 * Free all at once, or one by one where someone is reading. Called with all
 * shards locked: then nobody has a handle but those in the pins.
 */
static void store_drop_all(TmemStore *store)
{
    unsigned num_pins = 0;

    for (unsigned s = 0; s < TMEM_NUM_SHARDS; s++) {
        num_pins += store->shards[s].num_pins;
    }
    if (num_pins == 0) {
        g_mutex_lock(&store->lru_lock);
        tmem_arena_reset(&store->arena);
        store->lru_newest = 0;
        store->lru_oldest = 0;
        g_mutex_unlock(&store->lru_lock);
        return;
    }
    for (unsigned s = 0; s < TMEM_NUM_SHARDS; s++) {
        for (unsigned i = 0; i < TMEM_MAX_POOLS; i++) {
            tmem_pool_drop(store, &store->shards[s],
                           &store->shards[s].pools[i]);
        }
    }
    tmem_reserve_drop(&store->arena);
}

void tmem_store_reset(TmemStore *store)
{
    g_mutex_lock(&store->pools_lock);
    for (unsigned s = 0; s < TMEM_NUM_SHARDS; s++) {
        g_mutex_lock(&store->shards[s].lock);
    }
    store_drop_all(store);
    for (unsigned s = 0; s < TMEM_NUM_SHARDS; s++) {
        TmemShard *shard = &store->shards[s];

        memset(shard->pools, 0, sizeof(shard->pools));
        shard->counts.pages = 0;
        shard->counts.bytes_stored = 0;
        shard->counts.same_filled = 0;
        shard->counts.raw = 0;
        shard->counts.zstd = 0;
        shard->counts.ephemeral = 0;
        g_mutex_unlock(&shard->lock);
    }
    memset(store->pools, 0, sizeof(store->pools));
    store->num_pools = 0;
    g_mutex_unlock(&store->pools_lock);
}
