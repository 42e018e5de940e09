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
#include "tmem-store-spill-internal.h"

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

static uint64_t less(uint64_t limit, uint64_t bytes)
{
    return limit > bytes ? limit - bytes : 0;
}

/* What is left of a limit of the store for the arena. */
static uint64_t arena_limit(const TmemStore *store, uint64_t limit)
{
    return less(limit, tmem_store_fixed(store));
}

TmemStore *tmem_store_new(const TmemStoreConfig *config, GError **errp)
{
    TmemArenaConfig arena = {
        .limit = less(config->max_size, sizeof(TmemStore)),
        .span = less(config->span, sizeof(TmemStore)),
        .lock_memory = config->lock_memory,
        .hugepages = config->hugepages,
        .max_object = config->checksum ? TMEM_MAX_OBJECT : TMEM_PAGE_SIZE,
    };
    TmemStore *store;

    if (!config_is_valid(config, errp)) {
        return NULL;
    }
    /* Not g_new0(): shards have cache lines of their own. */
    store = aligned_alloc(__alignof__(TmemStore), sizeof(TmemStore));
    if (!store) {
        g_set_error(errp, G_FILE_ERROR, G_FILE_ERROR_NOMEM,
                    "there is no memory for the tables of a page store, %zu "
                    "bytes", sizeof(TmemStore));
        return NULL;
    }
    memset(store, 0, sizeof(*store));
    if (!tmem_arena_init(&store->arena, &arena, errp)) {
        free(store);
        return NULL;
    }
    store->codec.compression = config->compression;
    store->codec.level = config->level;
    store->checksum = config->checksum;
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

void tmem_store_set_lost(TmemStore *store, TmemStoreLostFn *lost, void *opaque)
{
    store->lost = lost;
    store->lost_opaque = opaque;
}

void tmem_store_free(TmemStore *store)
{
    if (!store) {
        return;
    }
    tmem_arena_destroy(&store->arena);
    tmem_spill_free(store->spill);
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
    blocks = arena_limit(store, store->max_size) /
             (block_size + sizeof(TmemBlock));
    g_mutex_unlock(&store->size_lock);
    /*
     * The nodes above 64 pages each come to a 63rd of the pages, and are an
     * eighth of the size: one block in 504. Upper ends of the trees, and what
     * is left of the division: three blocks.
     */
    return blocks > 3 ? (blocks - 3) * (block_size / store->arena.max_object) *
                        504 / 505 : 0;
}

/* What may really be taken: more than the limit while pages are imported. */
static uint64_t import_limit(TmemStore *store)
{
    uint64_t span = tmem_arena_span(&store->arena);
    uint64_t limit = store->limit;

    if (store->import == TMEM_IMPORT_LIVE) {
        limit += store->limit / 16 + TMEM_STORE_MIN_LIMIT;
    } else if (store->import == TMEM_IMPORT_FINAL) {
        limit += store->max_size;
    }
    return limit == store->limit ? arena_limit(store, limit)
                                 : MIN(arena_limit(store, limit), span);
}

void tmem_store_apply_limit(TmemStore *store, uint64_t limit)
{
    store->limit = MIN(MAX(limit, store->min_size), store->max_size);
    /* To spill a page takes a record first, also when all else is full */
    store->arena.keep_spare = store->spill;
    tmem_arena_set_limit(&store->arena, import_limit(store),
                         arena_limit(store, store->max_size));
}

void tmem_store_set_import(TmemStore *store, TmemImportState import)
{
    g_mutex_lock(&store->size_lock);
    store->import = import;
    tmem_store_apply_limit(store, store->limit);
    g_mutex_unlock(&store->size_lock);
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
    if (store->spill && max_size < TMEM_STORE_MIN_SPILL_LIMIT) {
        g_set_error(errp, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                    "a page store of %" PRIu64 " bytes is too small to spill, "
                    "it takes at least %d", max_size,
                    TMEM_STORE_MIN_SPILL_LIMIT);
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
    tmem_store_apply_limit(store, store->cause == TMEM_LIMIT_MAX ?
                                  max_size : store->limit);
    g_mutex_unlock(&store->size_lock);
    return true;
}

void tmem_store_set_limit(TmemStore *store, uint64_t limit,
                          TmemLimitCause cause)
{
    g_mutex_lock(&store->size_lock);
    store->cause = cause;
    tmem_store_apply_limit(store, limit);
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

/* In an empty slot. Called with pools_lock held. */
static void pool_make(TmemStore *store, uint32_t id, unsigned flags)
{
    store->pools[id % TMEM_MAX_POOLS] = (TmemPoolSlot) { id, flags };
    shards_set_pool(store, id % TMEM_MAX_POOLS, id, flags);
    store->num_pools++;
    store->next_pool = id + 1;
    qatomic_set(&store->pools_changed, store->pools_changed + 1);
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
        pool_make(store, id, flags);
        *pool = id;
        ret = 0;
    }
    g_mutex_unlock(&store->pools_lock);
    return ret;
}

int tmem_pool_import(TmemStore *store, uint32_t id, unsigned flags)
{
    int ret = -EINVAL;

    g_mutex_lock(&store->pools_lock);
    if (!store->pools[id % TMEM_MAX_POOLS].id) {
        pool_make(store, id, flags);
        ret = 0;
    }
    g_mutex_unlock(&store->pools_lock);
    return ret;
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
    bool import;            /* not by the guest: no quota, not counted */
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
            tmem_pages_drop(store, shard, pool, put->object, key, key, 1);
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
    tmem_log_page(store, shard, pool, put->object, key);
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

    if (!store->pool_quota || put->mode == TMEM_ALLOC_RESERVED || put->import ||
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

static int put_coded(TmemStore *store, const PutRequest *put, int64_t start)
{
    TmemShard *shard = put->shard;
    unsigned attempts = 0;
    int bucket;
    int ret;

    if (put_over_quota(store, put)) {
        ret = -ENOSPC;
        tmem_shard_lock(shard);
    } else {
        for (;;) {
            tmem_shard_lock(shard);
            ret = put_locked(store, put);
            if (ret != -ENOSPC || attempts++ == EVICT_ATTEMPTS) {
                break;
            }
            g_mutex_unlock(&shard->lock);
            if (!put_make_room(store)) {
                tmem_shard_lock(shard);
                break;
            }
        }
    }
    bucket = latency_bucket(start);
    if (!put->import) {
        shard->counts.puts += ret == 0;
        shard->counts.rejected_puts += ret == -ENOSPC;
    }
    if (ret == -ENOSPC && !put->import &&
        qatomic_read(&store->arena.over)) {
        shard->counts.given[TMEM_MEASURE_REFUSE] += put->coded.len;
    }
    if (ret == 0 && bucket >= 0) {
        shard->counts.put_histogram[bucket]++;
    }
    g_mutex_unlock(&shard->lock);
    return ret;
}

static void put_sign(const TmemStore *store, PutRequest *put)
{
    const TmemKey key = { put->pool, put->object, put->index };

    tmem_coded_sign(store, &key, &put->coded);
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
    put_sign(store, &put);
    return put_coded(store, &put, start);
}

int tmem_page_import(TmemStore *store, uint32_t pool, uint64_t object,
                     uint64_t index, const TmemCoded *coded)
{
    PutRequest put = {
        .shard = tmem_shard_find(store, object, index),
        .pool = pool,
        .object = object,
        .index = index,
        .coded = *coded,
        .mode = TMEM_ALLOC_GROW,
        .import = true,
    };

    put_sign(store, &put);
    return put_coded(store, &put, 0);
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

void tmem_page_lose(TmemStore *store, const TmemKey *key)
{
    TmemShard *shard = tmem_shard_find(store, key->object, key->index);
    TmemCoded coded;
    TmemPool *pool;
    uint64_t *slot;

    g_mutex_lock(&shard->lock);
    slot = tmem_key_lookup(store, shard, key, &pool);
    if (slot && tmem_entry_kind(*slot) != ENTRY_SPILLED) {
        coded = tmem_entry_read(store, *slot);
        if (!tmem_coded_check(key, &coded)) {
            tmem_entry_lose(store, shard, pool, key, slot);
        }
    }
    g_mutex_unlock(&shard->lock);
}

/* A page that may be dropped is, when it is lost: false: it is no such page */
static bool lost_page_drop(TmemStore *store, const TmemKey *key)
{
    TmemShard *shard = tmem_shard_find(store, key->object, key->index);
    uint64_t shard_key = tmem_shard_key(key->index);
    bool dropped = false;
    TmemCoded coded;
    TmemPool *pool;
    uint64_t *slot;

    g_mutex_lock(&shard->lock);
    slot = tmem_key_lookup(store, shard, key, &pool);
    if (slot && tmem_entry_kind(*slot) == ENTRY_NODE) {
        coded = tmem_entry_read(store, *slot);
        if (tmem_codec_is_lost(&coded)) {
            tmem_pages_drop(store, shard, pool, key->object, shard_key,
                            shard_key, 1);
            dropped = true;
        }
    }
    g_mutex_unlock(&shard->lock);
    return dropped;
}

/*
 * Get a page that is in memory. Returns 1 when it is on the device, -EBADMSG
 * when what is there is not the page; else as tmem_store_get().
 */
static int get_page(TmemStore *store, const TmemKey *key, void *page)
{
    TmemShard *shard = tmem_shard_find(store, key->object, key->index);
    int64_t start = latency_start(&get_calls);
    TmemHandle pinned = 0;
    TmemCoded coded;
    int ret = -EINVAL;
    TmemPool *p;

    tmem_shard_lock(shard);
    p = tmem_pool_find(shard, key->pool);
    if (p) {
        uint64_t *slot = tmem_page_lookup(store, p, key->object,
                                          tmem_shard_key(key->index));

        if (slot && tmem_entry_kind(*slot) == ENTRY_SPILLED) {
            ret = 1;
        } else if (slot) {
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

        ret = tmem_coded_check(key, &coded) ? tmem_codec_decode(&coded, page)
                                            : -EBADMSG;
        bucket = latency_bucket(start);
        if (pinned || bucket >= 0) {
            tmem_shard_lock(shard);
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

/* @fetch: NULL: wait */
static int get_any(TmemStore *store, uint32_t pool, uint64_t object,
                   uint64_t index, void *page, TmemFetch *fetch)
{
    TmemShard *shard = tmem_shard_find(store, object, index);
    const TmemKey key = { pool, object, index };
    bool bad = false;
    int ret;

    for (;;) {
        ret = get_page(store, &key, page);
        if (ret == -EBADMSG && !bad) {
            /* Unless another page was put meanwhile, it is lost then */
            tmem_page_lose(store, &key);
            bad = true;
            continue;
        }
        if (ret != 1) {
            ret = ret == -EBADMSG ? -EIO : ret;
            if (ret == -EIO && lost_page_drop(store, &key)) {
                ret = -ENOENT;
            }
            break;
        }
        ret = tmem_spill_get(store, &key, page, fetch);
        if (ret == -EINPROGRESS) {
            return ret;
        }
        if (ret != -EAGAIN) {
            tmem_shard_lock(shard);
            shard->gets++;
            g_mutex_unlock(&shard->lock);
            break;
        }
    }
    if (fetch && fetch->begun) {
        tmem_store_end_fetch(store, fetch);
    }
    return ret;
}

int tmem_store_get(TmemStore *store, uint32_t pool, uint64_t object,
                   uint64_t index, void *page)
{
    return get_any(store, pool, object, index, page, NULL);
}

int tmem_store_get_async(TmemStore *store, uint32_t pool, uint64_t object,
                         uint64_t index, void *page, TmemFetch *fetch)
{
    return get_any(store, pool, object, index, page, fetch);
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
        tmem_spill_reset(store);
        store->lru_newest = 0;
        store->lru_oldest = 0;
        g_mutex_unlock(&store->lru_lock);
        return;
    }
    for (unsigned s = 0; s < TMEM_NUM_SHARDS; s++) {
        for (unsigned i = 0; i < TMEM_MAX_POOLS; i++) {
            tmem_pool_drop(store, &store->shards[s],
                           &store->shards[s].pools[i], UINT64_MAX);
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
        tmem_log_forget(store, shard);
        shard->counts.pages = 0;
        shard->counts.bytes_stored = 0;
        shard->counts.same_filled = 0;
        shard->counts.raw = 0;
        shard->counts.zstd = 0;
        shard->counts.ephemeral = 0;
        shard->counts.spilled = 0;
        shard->counts.spilled_bytes = 0;
        g_mutex_unlock(&shard->lock);
    }
    memset(store->pools, 0, sizeof(store->pools));
    store->num_pools = 0;
    qatomic_set(&store->pools_changed, store->pools_changed + 1);
    g_mutex_unlock(&store->pools_lock);
}

void tmem_store_ask(TmemStore *store, bool asking)
{
    qatomic_set(&store->asking, asking);
}
