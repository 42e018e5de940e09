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
#include "qemu/xxhash.h"
#include "tmem-store-internal.h"
#include "tmem-store-spill-internal.h"

uint32_t tmem_checksum(const TmemKey *key, uint64_t generation, unsigned kind,
                       const void *data, uint32_t len)
{
    return tmem_codec_checksum(data, len,
                               qemu_xxhash64_4(generation, key->object,
                                               key->index,
                                               (uint64_t)key->pool << 32 |
                                               kind));
}

void tmem_coded_sign(const TmemStore *store, const TmemKey *key,
                     TmemCoded *coded)
{
    coded->has_checksum = store->checksum;
    if (store->checksum) {
        coded->checksum = tmem_checksum(key, 0, coded->kind, coded->data,
                                        coded->len);
    }
}

bool tmem_coded_check(const TmemKey *key, const TmemCoded *coded)
{
    return !coded->has_checksum ||
           coded->checksum == tmem_checksum(key, 0, coded->kind, coded->data,
                                            coded->len);
}

/* Bytes that an object takes in the arena which has @len bytes of a page. */
static unsigned object_size(const TmemStore *store, unsigned len)
{
    return len + (store->checksum ? sizeof(uint32_t) : 0);
}

uint64_t tmem_entry_new(TmemStore *store, const TmemCoded *coded,
                        TmemAllocMode mode)
{
    TmemHandle handle;
    char *object;

    if (coded->kind == TMEM_KIND_SAME) {
        int64_t word;

        memcpy(&word, coded->data, sizeof(word));
        if (word >= INT64_MIN >> ENTRY_WORD_SHIFT &&
            word <= INT64_MAX >> ENTRY_WORD_SHIFT) {
            return (uint64_t)word << ENTRY_WORD_SHIFT | ENTRY_INLINE;
        }
    }

    handle = tmem_arena_alloc(&store->arena, object_size(store, coded->len),
                              mode);
    if (!handle) {
        return 0;
    }
    object = tmem_arena_ptr(&store->arena, handle);
    memcpy(object, coded->data, coded->len);
    if (store->checksum) {
        memcpy(object + coded->len, &coded->checksum, sizeof(coded->checksum));
    }
    return handle << ENTRY_HANDLE_SHIFT |
           (uint64_t)coded->len << ENTRY_LEN_SHIFT | coded->kind;
}

TmemCoded tmem_entry_object(const TmemStore *store, uint64_t entry)
{
    const char *object = tmem_arena_ptr(&store->arena,
                                        tmem_entry_handle(entry));
    TmemCoded coded = {
        .kind = tmem_entry_kind(entry),
        .len = tmem_entry_len(entry),
        .data = object,
        .has_checksum = store->checksum,
    };

    if (store->checksum) {
        memcpy(&coded.checksum, object + coded.len, sizeof(coded.checksum));
    }
    return coded;
}

TmemCoded tmem_entry_read(TmemStore *store, uint64_t entry)
{
    TmemCoded coded = { 0 };

    if (tmem_entry_kind(entry) == ENTRY_NODE) {
        entry = *tmem_lru_entry(store, entry);
    }
    if (tmem_entry_kind(entry) == ENTRY_INLINE) {
        int64_t word = (int64_t)entry >> ENTRY_WORD_SHIFT;

        coded.kind = TMEM_KIND_SAME;
        coded.len = sizeof(word);
        coded.data = tmem_codec_load(&word, sizeof(word));
    } else {
        coded = tmem_entry_object(store, entry);
        coded.data = tmem_codec_load(coded.data, coded.len);
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
    *coded = tmem_entry_object(store, entry);
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
    if (kind == ENTRY_SPILLED) {
        shard->counts.pages += delta;
        shard->counts.spilled += delta;
        shard->counts.spilled_bytes += bytes * delta;
        return;
    }
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

void tmem_entry_lose(TmemStore *store, TmemShard *shard, TmemPool *pool,
                     const TmemKey *key, uint64_t *slot)
{
    TmemCoded lost = tmem_codec_lost();
    uint64_t entry;

    if (tmem_entry_kind(*slot) == ENTRY_NODE) {
        slot = tmem_lru_entry(store, *slot);
    }
    shard->counts.lost++;
    tmem_coded_sign(store, key, &lost);
    entry = tmem_entry_new(store, &lost, TMEM_ALLOC_EXCEED);
    if (entry) {
        tmem_entry_count(shard, pool, *slot, -1);
        object_drop(store, shard, tmem_entry_handle(*slot));
        *slot = entry;
        tmem_entry_count(shard, pool, entry, 1);
    }
    if (store->lost) {
        store->lost(store->lost_opaque, key->pool, key->object, key->index);
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
    if (tmem_entry_kind(entry) == ENTRY_SPILLED) {
        tmem_spill_drop(store, entry);
        tmem_arena_free(&store->arena, tmem_entry_handle(entry));
    } else if (tmem_entry_kind(entry) != ENTRY_INLINE) {
        object_drop(store, shard, tmem_entry_handle(entry));
    }
}

bool tmem_entry_pack(TmemStore *store, TmemShard *shard, uint64_t *entry)
{
    TmemHandle old = tmem_entry_handle(*entry);
    unsigned size = object_size(store, tmem_entry_len(*entry));
    TmemHandle new;

    if (tmem_entry_kind(*entry) == ENTRY_INLINE) {
        return false;
    }
    if (tmem_entry_kind(*entry) == ENTRY_SPILLED) {
        size = sizeof(TmemSpillRecord);
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
    new = tmem_arena_alloc(&store->arena, size, TMEM_ALLOC_PACK);
    if (!new) {
        return false;
    }
    memcpy(tmem_arena_ptr(&store->arena, new),
           tmem_arena_ptr(&store->arena, old), size);
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

/* The key up to which there are @max pages from @first on, by whole leaves */
static uint64_t key_after(TmemStore *store, TmemIndex pages, uint64_t first,
                          uint64_t last, uint64_t max)
{
    uint64_t key = first, found = 0;
    uint64_t *entries;
    unsigned num;

    while (key <= last &&
           (entries = tmem_index_next(&store->arena, &pages, &key, &num,
                                      false)) && key <= last) {
        for (unsigned i = 0; i < num && i <= last - key; i++) {
            found += entries[i] != 0;
        }
        if (found >= max) {
            return key + MIN(num - 1, last - key);
        }
        key += num;
        if (key < num) {
            break;
        }
    }
    return last;
}

/* Of an object whose index of pages is at *@pages, which may be gone then */
static void object_pages_drop(TmemStore *store, TmemShard *shard,
                              TmemPool *pool, uint64_t object, uint64_t *pages,
                              uint64_t first, uint64_t last)
{
    DropWalk walk = { store, shard, pool };
    TmemIndex rest = *pages;

    tmem_index_erase_range(&store->arena, &rest, first, last, drop_page, &walk);
    if (rest) {
        *pages = rest;
    } else {
        tmem_index_erase(&store->arena, &pool->objects, object);
    }
}

bool tmem_pages_drop(TmemStore *store, TmemShard *shard, TmemPool *pool,
                     uint64_t object, uint64_t first, uint64_t last,
                     uint64_t max)
{
    uint64_t *pages = tmem_index_lookup(&store->arena, pool->objects, object);
    uint64_t until;

    if (!pages) {
        return true;
    }
    until = first == last || pool->pages <= max ? last :
            key_after(store, *pages, first, last, max);
    tmem_log_pages(store, shard, pool, object, *pages, first, until);
    object_pages_drop(store, shard, pool, object, pages, first, until);
    return until == last;
}

bool tmem_pool_drop(TmemStore *store, TmemShard *shard, TmemPool *pool,
                    uint64_t max)
{
    uint64_t end = pool->pages - MIN(max, pool->pages);

    while (pool->pages > end) {
        uint64_t object = 0;
        unsigned num;
        uint64_t *pages = tmem_index_next(&store->arena, &pool->objects,
                                          &object, &num, false);
        uint64_t until = !end ? UINT64_MAX :
                         key_after(store, *pages, 0, UINT64_MAX,
                                   pool->pages - end);

        object_pages_drop(store, shard, pool, object, pages, 0, until);
    }
    return !pool->pages;
}
