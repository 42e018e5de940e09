/*
 * Entries of the virtio-tmem page store: what is kept for one page, and how it
 * hangs in the trees of a shard
 *
 * Rules: all here is called with the lock of the shard held, and touches
 * nothing of another shard. Counters change with what they count.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "tmem-store-internal.h"

uint64_t tmem_entry_new(TmemStore *store, const TmemCoded *coded,
                        TmemAllocMode mode)
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

    handle = tmem_arena_alloc(&store->arena, coded->len, mode);
    if (!handle) {
        return 0;
    }
    memcpy(tmem_arena_ptr(&store->arena, handle), coded->data, coded->len);
    return handle << ENTRY_HANDLE_SHIFT |
           (uint64_t)coded->len << ENTRY_LEN_SHIFT | coded->kind;
}

TmemCoded tmem_entry_read(TmemStore *store, uint64_t entry)
{
    TmemCoded coded;

    if (tmem_entry_kind(entry) == ENTRY_NODE) {
        entry = *tmem_lru_entry(store, entry);
    }
    if (tmem_entry_kind(entry) == ENTRY_INLINE) {
        int64_t word = (int64_t)entry >> ENTRY_WORD_SHIFT;

        coded.kind = TMEM_KIND_SAME;
        coded.len = sizeof(word);
        coded.data = tmem_codec_load(&word, sizeof(word));
    } else {
        coded.kind = tmem_entry_kind(entry);
        coded.len = tmem_entry_len(entry);
        coded.data = tmem_codec_load(tmem_arena_ptr(&store->arena,
                                                    tmem_entry_handle(entry)),
                                     coded.len);
    }
    return coded;
}

static TmemPin *pin_find(TmemShard *shard, TmemHandle handle)
{
    for (unsigned i = 0; i < TMEM_MAX_PINS; i++) {
        if (shard->pins[i].handle == handle) {
            return &shard->pins[i];
        }
    }
    return NULL;
}

TmemHandle tmem_entry_pin(TmemStore *store, TmemShard *shard, uint64_t entry,
                          TmemCoded *coded)
{
    TmemHandle handle = 0;
    TmemPin *pin = NULL;

    if (tmem_entry_kind(entry) == ENTRY_NODE) {
        entry = *tmem_lru_entry(store, entry);
    }
    if (tmem_entry_kind(entry) != ENTRY_INLINE) {
        handle = tmem_entry_handle(entry);
        pin = shard->num_pins ? pin_find(shard, handle) : NULL;
        pin = pin ?: pin_find(shard, 0);
    }
    if (!pin) {
        *coded = tmem_entry_read(store, entry);
        return 0;
    }
    shard->num_pins += pin->readers++ == 0;
    pin->handle = handle;
    coded->kind = tmem_entry_kind(entry);
    coded->len = tmem_entry_len(entry);
    coded->data = tmem_arena_ptr(&store->arena, handle);
    return handle;
}

void tmem_entry_unpin(TmemStore *store, TmemShard *shard, TmemHandle handle)
{
    TmemPin *pin = pin_find(shard, handle);

    if (--pin->readers == 0) {
        if (pin->orphan) {
            tmem_arena_free(&store->arena, handle);
        }
        *pin = (TmemPin) { 0 };
        shard->num_pins--;
    }
}

/* Free an object that no entry has any more, now or when it has been read. */
static void object_drop(TmemStore *store, TmemShard *shard, TmemHandle handle)
{
    TmemPin *pin = shard->num_pins ? pin_find(shard, handle) : NULL;

    if (pin) {
        pin->orphan = true;
    } else {
        tmem_arena_free(&store->arena, handle);
    }
}

void tmem_entry_count(TmemShard *shard, TmemPool *pool, uint64_t entry,
                      int delta)
{
    unsigned kind = tmem_entry_kind(entry);
    int64_t bytes = kind == ENTRY_INLINE ? 0 : tmem_entry_len(entry);

    pool->pages += delta;
    pool->bytes_stored += bytes * delta;
    shard->counts.pages += delta;
    shard->counts.bytes_stored += bytes * delta;
    if (kind == ENTRY_INLINE || kind == TMEM_KIND_SAME) {
        shard->counts.same_filled += delta;
    } else if (kind == TMEM_KIND_RAW) {
        shard->counts.raw += delta;
    } else if (kind == TMEM_KIND_ZSTD) {
        shard->counts.zstd += delta;
    }
}

void tmem_entry_drop(TmemStore *store, TmemShard *shard, TmemPool *pool,
                     uint64_t entry)
{
    if (tmem_entry_kind(entry) == ENTRY_NODE) {
        entry = tmem_lru_del(store, entry);
        shard->counts.ephemeral--;
    }
    tmem_entry_count(shard, pool, entry, -1);
    if (tmem_entry_kind(entry) != ENTRY_INLINE) {
        object_drop(store, shard, tmem_entry_handle(entry));
    }
}

bool tmem_entry_pack(TmemStore *store, TmemShard *shard, uint64_t *entry)
{
    TmemHandle old = tmem_entry_handle(*entry);
    unsigned len = tmem_entry_len(*entry);
    TmemHandle new;

    if (tmem_entry_kind(*entry) == ENTRY_INLINE) {
        return false;
    }
    if (tmem_entry_kind(*entry) == ENTRY_NODE) {
        bool moved = tmem_lru_pack(store, entry);

        return tmem_entry_pack(store, shard,
                               tmem_lru_entry(store, *entry)) || moved;
    }
    if (!tmem_arena_must_move(&store->arena, old) ||
        (shard->num_pins && pin_find(shard, old))) {
        return false;
    }
    new = tmem_arena_alloc(&store->arena, len, TMEM_ALLOC_PACK);
    if (!new) {
        return false;
    }
    memcpy(tmem_arena_ptr(&store->arena, new),
           tmem_arena_ptr(&store->arena, old), len);
    *entry = (*entry & ~(ENTRY_HANDLE_MASK << ENTRY_HANDLE_SHIFT)) |
             new << ENTRY_HANDLE_SHIFT;
    tmem_arena_free(&store->arena, old);
    return true;
}

uint64_t *tmem_page_lookup(TmemStore *store, TmemPool *pool, uint64_t object,
                           uint64_t key)
{
    uint64_t *pages = tmem_index_lookup(&store->arena, pool->objects, object);

    return pages ? tmem_index_lookup(&store->arena, *pages, key) : NULL;
}

bool tmem_page_insert(TmemStore *store, TmemPool *pool, uint64_t object,
                      uint64_t key, uint64_t entry, TmemAllocMode mode)
{
    TmemArena *arena = &store->arena;
    TmemIndex *pages = tmem_index_lookup(arena, pool->objects, object);
    TmemIndex first = 0;

    if (pages) {
        return tmem_index_insert(arena, pages, key, entry, mode);
    }
    if (!tmem_index_insert(arena, &first, key, entry, mode)) {
        return false;
    }
    if (!tmem_index_insert(arena, &pool->objects, object, first, mode)) {
        tmem_index_erase(arena, &first, key);
        return false;
    }
    return true;
}

typedef struct DropWalk {
    TmemStore *store;
    TmemShard *shard;
    TmemPool *pool;
} DropWalk;

static void drop_page(uint64_t entry, void *opaque)
{
    DropWalk *walk = opaque;

    tmem_entry_drop(walk->store, walk->shard, walk->pool, entry);
}

static void drop_object(uint64_t pages, void *opaque)
{
    DropWalk *walk = opaque;

    tmem_index_erase_range(&walk->store->arena, &pages, 0, UINT64_MAX,
                           drop_page, walk);
}

uint64_t tmem_pages_drop(TmemStore *store, TmemShard *shard, TmemPool *pool,
                         uint64_t object, uint64_t first, uint64_t last)
{
    TmemArena *arena = &store->arena;
    TmemIndex *pages = tmem_index_lookup(arena, pool->objects, object);
    DropWalk walk = { store, shard, pool };
    uint64_t before = pool->pages;
    TmemIndex rest;

    if (!pages) {
        return 0;
    }
    rest = *pages;
    tmem_index_erase_range(arena, &rest, first, last, drop_page, &walk);
    if (rest) {
        *pages = rest;
    } else {
        tmem_index_erase(arena, &pool->objects, object);
    }
    return before - pool->pages;
}

void tmem_pool_drop(TmemStore *store, TmemShard *shard, TmemPool *pool)
{
    DropWalk walk = { store, shard, pool };

    tmem_index_erase_range(&store->arena, &pool->objects, 0, UINT64_MAX,
                           drop_object, &walk);
}
