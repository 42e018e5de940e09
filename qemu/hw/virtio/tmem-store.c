/*
 * Page store of the virtio-tmem device
 *
 *   pool -> radix tree of objects -> radix tree of indexes -> entry -> bytes
 *
 * Trees and bytes live in one arena, so that all that a guest can make the
 * store hold counts against its limit; pools are a fixed table.
 *
 * Rules: one lock covers everything here; it is never held while compressing,
 * decompressing or touching a caller's page, which a guest may own and the
 * host may have swapped out. Counters change under the lock, with what they
 * count.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "hw/virtio/tmem-store.h"
#include "tmem-store-alloc.h"
#include "tmem-store-codec.h"
#include "tmem-store-index.h"

/*
 * The value of an index: what is kept for one page.
 *
 *   63        handle        16 | 15      length      3 | 2    kind     0
 *   63     word of a same-filled page, signed        3 | 2 ENTRY_INLINE 0
 *
 * The kind is a TmemKind. A same-filled page whose word fits in 61 bits, as
 * most do, has it right here instead, and no bytes in the arena.
 */
#define ENTRY_KIND_MASK 7
#define ENTRY_INLINE 4
#define ENTRY_WORD_SHIFT 3
#define ENTRY_LEN_SHIFT 3
#define ENTRY_LEN_MASK 0x1fff
#define ENTRY_HANDLE_SHIFT 16

G_STATIC_ASSERT(ENTRY_HANDLE_SHIFT + TMEM_HANDLE_BITS <= 64);
G_STATIC_ASSERT(TMEM_PAGE_SIZE <= ENTRY_LEN_MASK);
G_STATIC_ASSERT(TMEM_PAGE_SIZE <= TMEM_MAX_OBJECT);

typedef struct TmemPool {
    bool in_use;
    uint32_t id;
    TmemIndex objects;      /* object -> TmemIndex of its pages */
    uint64_t pages;
    uint64_t bytes_stored;
} TmemPool;

struct TmemStore {
    GMutex lock;            /* protects everything below */
    TmemArena arena;
    TmemPool pools[TMEM_MAX_POOLS];   /* by id % TMEM_MAX_POOLS */
    unsigned num_pools;
    uint32_t next_pool;     /* next id to try; ids come back after 2^32 */
    TmemStoreStats stats;   /* but bytes_used, which the arena knows */
};

TmemStore *tmem_store_new(uint64_t limit, GError **errp)
{
    TmemStore *store;

    if (limit < TMEM_STORE_MIN_LIMIT) {
        g_set_error(errp, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                    "a page store of %" PRIu64 " bytes is too small, it takes "
                    "at least %d", limit, TMEM_STORE_MIN_LIMIT);
        return NULL;
    }
    store = g_new0(TmemStore, 1);
    if (!tmem_arena_init(&store->arena, limit - sizeof(*store), errp)) {
        g_free(store);
        return NULL;
    }
    g_mutex_init(&store->lock);
    store->stats.limit = limit;
    store->next_pool = 1;
    return store;
}

void tmem_store_free(TmemStore *store)
{
    if (store) {
        tmem_arena_destroy(&store->arena);
        g_mutex_clear(&store->lock);
        g_free(store);
    }
}

uint64_t tmem_store_capacity(TmemStore *store)
{
    /*
     * A block holds 16 raw pages. The nodes above 64 pages each come to a
     * 63rd of the pages, 128 of them to a block: one block in 504. Two blocks
     * are for the upper ends of the trees and what is left of the division.
     */
    return (store->arena.num_blocks - 2) * UINT64_C(16) * 504 / 505;
}

static TmemPool *pool_find(TmemStore *store, uint32_t id)
{
    TmemPool *pool = &store->pools[id % TMEM_MAX_POOLS];

    return pool->in_use && pool->id == id ? pool : NULL;
}

static unsigned entry_kind(uint64_t entry)
{
    return entry & ENTRY_KIND_MASK;
}

static unsigned entry_len(uint64_t entry)
{
    return entry >> ENTRY_LEN_SHIFT & ENTRY_LEN_MASK;
}

/* What is kept for a coded page, or 0 when there is no room. */
static uint64_t entry_new(TmemStore *store, const TmemCoded *coded)
{
    TmemHandle handle;

    if (coded->kind == TMEM_KIND_SAME) {
        int64_t word;

        memcpy(&word, coded->data, sizeof(word));
        if (word >= INT64_MIN >> ENTRY_WORD_SHIFT &&
            word <= INT64_MAX >> ENTRY_WORD_SHIFT) {
            return (uint64_t)word << ENTRY_WORD_SHIFT | ENTRY_INLINE;
        }
    }

    handle = tmem_arena_alloc(&store->arena, coded->len);
    if (!handle) {
        return 0;
    }
    memcpy(tmem_arena_ptr(&store->arena, handle), coded->data, coded->len);
    return handle << ENTRY_HANDLE_SHIFT | coded->len << ENTRY_LEN_SHIFT |
           coded->kind;
}

/* Copy what was kept into @buf, of TMEM_PAGE_SIZE bytes, for the codec. */
static TmemCoded entry_read(TmemStore *store, uint64_t entry, void *buf)
{
    TmemCoded coded = { .data = buf };

    if (entry_kind(entry) == ENTRY_INLINE) {
        int64_t word = (int64_t)entry >> ENTRY_WORD_SHIFT;

        coded.kind = TMEM_KIND_SAME;
        coded.len = sizeof(word);
        memcpy(buf, &word, sizeof(word));
    } else {
        coded.kind = entry_kind(entry);
        coded.len = entry_len(entry);
        memcpy(buf,
               tmem_arena_ptr(&store->arena, entry >> ENTRY_HANDLE_SHIFT),
               coded.len);
    }
    return coded;
}

static void entry_free(TmemStore *store, uint64_t entry)
{
    if (entry_kind(entry) != ENTRY_INLINE) {
        tmem_arena_free(&store->arena, entry >> ENTRY_HANDLE_SHIFT);
    }
}

/* Count a page that came (@delta 1) or went (@delta -1). */
static void entry_count(TmemStore *store, TmemPool *pool, uint64_t entry,
                        int delta)
{
    unsigned kind = entry_kind(entry);
    int64_t bytes = kind == ENTRY_INLINE ? 0 : entry_len(entry);

    pool->pages += delta;
    pool->bytes_stored += bytes * delta;
    store->stats.pages += delta;
    store->stats.bytes_stored += bytes * delta;
    if (kind == ENTRY_INLINE || kind == TMEM_KIND_SAME) {
        store->stats.same_filled += delta;
    } else if (kind == TMEM_KIND_RAW) {
        store->stats.raw += delta;
    }
}

static uint64_t *page_lookup(TmemStore *store, TmemPool *pool,
                             uint64_t object, uint64_t index)
{
    uint64_t *pages = tmem_index_lookup(&store->arena, pool->objects, object);

    return pages ? tmem_index_lookup(&store->arena, *pages, index) : NULL;
}

static bool page_insert(TmemStore *store, TmemPool *pool, uint64_t object,
                        uint64_t index, uint64_t entry)
{
    TmemArena *arena = &store->arena;
    TmemIndex *pages = tmem_index_lookup(arena, pool->objects, object);
    TmemIndex first = 0;

    if (pages) {
        return tmem_index_insert(arena, pages, index, entry);
    }
    if (!tmem_index_insert(arena, &first, index, entry)) {
        return false;
    }
    if (!tmem_index_insert(arena, &pool->objects, object, first)) {
        tmem_index_erase(arena, &first, index);
        return false;
    }
    return true;
}

typedef struct DropWalk {
    TmemStore *store;
    TmemPool *pool;
} DropWalk;

static void drop_page(uint64_t entry, void *opaque)
{
    DropWalk *walk = opaque;

    entry_count(walk->store, walk->pool, entry, -1);
    entry_free(walk->store, entry);
}

static void drop_object(uint64_t pages, void *opaque)
{
    DropWalk *walk = opaque;

    tmem_index_erase_range(&walk->store->arena, &pages, 0, UINT64_MAX,
                           drop_page, walk);
}

/* The tree at @pages lost keys and is now @rest: maybe nothing. */
static void pages_changed(TmemStore *store, TmemPool *pool, uint64_t object,
                          TmemIndex *pages, TmemIndex rest)
{
    if (rest) {
        *pages = rest;
    } else {
        tmem_index_erase(&store->arena, &pool->objects, object);
    }
}

/* Take a page off the index whose bytes are freed already. */
static void page_forget(TmemStore *store, TmemPool *pool, uint64_t object,
                        uint64_t index)
{
    TmemIndex *pages = tmem_index_lookup(&store->arena, pool->objects, object);
    TmemIndex rest = *pages;

    tmem_index_erase(&store->arena, &rest, index);
    pages_changed(store, pool, object, pages, rest);
}

/* Drop pages of one object. Returns how many. */
static uint64_t pages_drop(TmemStore *store, TmemPool *pool, uint64_t object,
                           uint64_t first, uint64_t last)
{
    TmemArena *arena = &store->arena;
    TmemIndex *pages = tmem_index_lookup(arena, pool->objects, object);
    DropWalk walk = { store, pool };
    uint64_t before = pool->pages;
    TmemIndex rest;

    if (!pages) {
        return 0;
    }
    rest = *pages;
    tmem_index_erase_range(arena, &rest, first, last, drop_page, &walk);
    pages_changed(store, pool, object, pages, rest);
    return before - pool->pages;
}

int tmem_store_pool_create(TmemStore *store, uint32_t *pool)
{
    int ret = -ENOSPC;

    g_mutex_lock(&store->lock);
    if (store->num_pools < TMEM_MAX_POOLS) {
        uint32_t id = store->next_pool;

        while (id == 0 || store->pools[id % TMEM_MAX_POOLS].in_use) {
            id++;
        }
        store->pools[id % TMEM_MAX_POOLS] = (TmemPool) {
            .in_use = true,
            .id = id,
        };
        store->num_pools++;
        store->next_pool = id + 1;
        *pool = id;
        ret = 0;
    }
    g_mutex_unlock(&store->lock);
    return ret;
}

int64_t tmem_store_pool_destroy(TmemStore *store, uint32_t pool)
{
    int64_t ret = -EINVAL;
    TmemPool *p;

    g_mutex_lock(&store->lock);
    p = pool_find(store, pool);
    if (p) {
        DropWalk walk = { store, p };

        ret = p->pages;
        tmem_index_erase_range(&store->arena, &p->objects, 0, UINT64_MAX,
                               drop_object, &walk);
        store->stats.flushes += ret;
        store->num_pools--;
        p->in_use = false;
    }
    g_mutex_unlock(&store->lock);
    return ret;
}

bool tmem_store_pool_exists(TmemStore *store, uint32_t pool)
{
    bool ret;

    g_mutex_lock(&store->lock);
    ret = pool_find(store, pool) != NULL;
    g_mutex_unlock(&store->lock);
    return ret;
}

/* Put what tmem_codec_encode() made. Called with the lock held. */
static int put_coded(TmemStore *store, TmemPool *pool, uint64_t object,
                     uint64_t index, const TmemCoded *coded)
{
    uint64_t *slot = page_lookup(store, pool, object, index);
    uint64_t entry;

    /* The old copy goes first: it may be the room, and it must not stay. */
    if (slot) {
        entry_count(store, pool, *slot, -1);
        entry_free(store, *slot);
    }
    entry = entry_new(store, coded);
    if (entry && slot) {
        *slot = entry;
    } else if (slot) {
        page_forget(store, pool, object, index);
    } else if (entry && !page_insert(store, pool, object, index, entry)) {
        entry_free(store, entry);
        entry = 0;
    }

    if (!entry) {
        store->stats.rejected_puts++;
        return -ENOSPC;
    }
    entry_count(store, pool, entry, 1);
    store->stats.puts++;
    return 0;
}

int tmem_store_put(TmemStore *store, uint32_t pool, uint64_t object,
                   uint64_t index, const void *page)
{
    TmemCoded coded = tmem_codec_encode(page);
    int ret = -EINVAL;
    TmemPool *p;

    g_mutex_lock(&store->lock);
    p = pool_find(store, pool);
    if (p) {
        ret = put_coded(store, p, object, index, &coded);
    }
    g_mutex_unlock(&store->lock);
    return ret;
}

int tmem_store_get(TmemStore *store, uint32_t pool, uint64_t object,
                   uint64_t index, void *page)
{
    void *buf = tmem_codec_scratch();
    TmemCoded coded;
    int ret = -EINVAL;
    TmemPool *p;

    g_mutex_lock(&store->lock);
    p = pool_find(store, pool);
    if (p) {
        uint64_t *slot = page_lookup(store, p, object, index);

        if (slot) {
            coded = entry_read(store, *slot, buf);
            store->stats.gets++;
            ret = 0;
        } else {
            store->stats.misses++;
            ret = -ENOENT;
        }
    }
    g_mutex_unlock(&store->lock);
    return ret == 0 ? tmem_codec_decode(&coded, page) : ret;
}

int64_t tmem_store_flush(TmemStore *store, uint32_t pool, uint64_t object,
                         uint64_t first, uint64_t last)
{
    int64_t ret = -EINVAL;
    TmemPool *p;

    g_mutex_lock(&store->lock);
    p = pool_find(store, pool);
    if (p && first <= last) {
        ret = pages_drop(store, p, object, first, last);
        store->stats.flushes += ret;
    }
    g_mutex_unlock(&store->lock);
    return ret;
}

void tmem_store_reset(TmemStore *store)
{
    g_mutex_lock(&store->lock);
    tmem_arena_reset(&store->arena);
    memset(store->pools, 0, sizeof(store->pools));
    store->num_pools = 0;
    store->stats.pages = 0;
    store->stats.bytes_stored = 0;
    store->stats.same_filled = 0;
    store->stats.raw = 0;
    g_mutex_unlock(&store->lock);
}

void tmem_store_get_stats(TmemStore *store, TmemStoreStats *stats)
{
    g_mutex_lock(&store->lock);
    *stats = store->stats;
    stats->bytes_used = sizeof(*store) + tmem_arena_bytes(&store->arena);
    g_mutex_unlock(&store->lock);
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

    g_mutex_lock(&store->lock);
    for (unsigned i = 0; i < TMEM_MAX_POOLS; i++) {
        const TmemPool *pool = &store->pools[i];

        if (pool->in_use) {
            pools[num++] = (TmemPoolStats) {
                pool->id, pool->pages, pool->bytes_stored
            };
        }
    }
    g_mutex_unlock(&store->lock);
    qsort(pools, num, sizeof(*pools), compare_pool_ids);
    return num;
}
