/*
 * Walks over all pages of the virtio-tmem page store
 *
 * A walk is a key and nothing else: it holds no lock from one step to the next
 * and no place in a tree, so that pages, objects and pools may come and go.
 * What it promises follows from the order of the keys in each shard: it only
 * moves up, and a page never changes its key.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "tmem-store-internal.h"
#include "tmem-store-spill-internal.h"

static void walk_next_object(TmemWalk *walk)
{
    walk->key = 0;
    if (++walk->object == 0) {
        walk->slot++;
    }
}

uint64_t *tmem_walk_next(TmemStore *store, TmemWalk *walk, TmemPool **pool,
                         unsigned *num, bool pack)
{
    TmemShard *shard = &store->shards[walk->shard];
    TmemArena *arena = &store->arena;

    while (walk->slot < TMEM_MAX_POOLS) {
        uint64_t object = walk->object;
        uint64_t *pages;
        uint64_t *entry;

        *pool = &shard->pools[walk->slot];
        pages = tmem_index_next(arena, &(*pool)->objects, &walk->object, num,
                                pack);
        if (!pages) {
            walk->slot++;
            walk->object = 0;
            walk->key = 0;
            continue;
        }
        if (walk->object != object) {
            walk->key = 0;
        }
        entry = tmem_index_next(arena, pages, &walk->key, num, pack);
        if (entry) {
            return entry;
        }
        walk_next_object(walk);
    }
    return NULL;
}

void tmem_walk_skip(TmemWalk *walk, unsigned num)
{
    walk->key += num;
    if (walk->key < num) {
        walk_next_object(walk);
    }
}

bool tmem_walk_shard(TmemWalk *walk)
{
    walk->slot = 0;
    walk->object = 0;
    walk->key = 0;
    return ++walk->shard < TMEM_NUM_SHARDS;
}

/*
 * The next page of the walk's shard, as it is kept; false: no other. One that
 * is on the device has no @coded.data.
 */
static bool walk_read(TmemStore *store, TmemWalk *walk, TmemWalkPage *page,
                      TmemCoded *coded)
{
    TmemShard *shard = &store->shards[walk->shard];
    uint64_t *entry;
    TmemPool *pool;
    unsigned num;

    g_mutex_lock(&shard->lock);
    entry = tmem_walk_next(store, walk, &pool, &num, false);
    coded->data = NULL;
    if (entry) {
        if (tmem_entry_kind(*entry) != ENTRY_SPILLED) {
            *coded = tmem_entry_read(store, *entry);
        }
        page->pool = pool->id;
        page->object = walk->object;
        page->index = tmem_shard_index(walk->shard, walk->object, walk->key);
        tmem_walk_skip(walk, 1);
    }
    g_mutex_unlock(&shard->lock);
    return entry;
}

int tmem_store_walk(TmemStore *store, TmemWalk *walk, TmemWalkPage *page)
{
    TmemCoded coded;
    int ret = -ENOENT;

    while (ret == -ENOENT || ret == -EINVAL) {
        if (walk->shard >= TMEM_NUM_SHARDS) {
            return 0;
        }
        if (!walk_read(store, walk, page, &coded)) {
            tmem_walk_shard(walk);
        } else if (coded.data) {
            ret = tmem_codec_decode(&coded, page->page);
        } else {
            const TmemKey key = {
                page->pool, page->object, page->index
            };

            ret = tmem_spill_get(store, &key, page->page, NULL);
            if (ret == -EAGAIN) {
                /* Put again, or flushed: then there may be another */
                ret = tmem_store_get(store, key.pool, key.object, key.index,
                                     page->page);
            }
        }
    }
    return ret < 0 ? -EIO : 1;
}
