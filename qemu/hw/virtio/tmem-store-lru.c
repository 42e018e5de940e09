/*
 * Ephemeral pages of the virtio-tmem page store
 *
 * All pages of all ephemeral pools are on one list, in the order of their last
 * use. The list lives in the arena, a node for each page, so that it counts
 * against the limit, and persistent pages pay nothing for it.
 *
 * A node belongs to the entry of its page: it comes, moves and goes only with
 * the lock of the page's shard held. Its links also change with those of its
 * neighbours, which may be of any shard: lru_lock is for them.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "tmem-store-internal.h"

static TmemLruNode *lru_node(TmemStore *store, TmemHandle handle)
{
    return tmem_arena_ptr(&store->arena, handle);
}

static uint64_t lru_make_entry(TmemHandle handle)
{
    return handle << ENTRY_HANDLE_SHIFT | ENTRY_NODE;
}

/* The two places that hold the handle of this node. */
static TmemHandle *lru_newer_link(TmemStore *store, TmemLruNode *node)
{
    return node->newer ? &lru_node(store, node->newer)->older
                       : &store->lru_newest;
}

static TmemHandle *lru_older_link(TmemStore *store, TmemLruNode *node)
{
    return node->older ? &lru_node(store, node->older)->newer
                       : &store->lru_oldest;
}

static void lru_link(TmemStore *store, TmemHandle handle)
{
    TmemLruNode *node = lru_node(store, handle);

    node->newer = 0;
    node->older = store->lru_newest;
    store->lru_newest = handle;
    *lru_older_link(store, node) = handle;
}

static void lru_unlink(TmemStore *store, TmemLruNode *node)
{
    *lru_newer_link(store, node) = node->older;
    *lru_older_link(store, node) = node->newer;
}

uint64_t tmem_lru_add(TmemStore *store, uint64_t entry, uint32_t pool,
                      uint64_t object, uint64_t index, TmemAllocMode mode)
{
    TmemHandle handle = tmem_arena_alloc(&store->arena, sizeof(TmemLruNode),
                                         mode);
    TmemLruNode *node;

    if (!handle) {
        return 0;
    }
    node = lru_node(store, handle);
    node->entry = entry;
    node->object = object;
    node->index = index;
    node->pool = pool;

    g_mutex_lock(&store->lru_lock);
    lru_link(store, handle);
    g_mutex_unlock(&store->lru_lock);
    return lru_make_entry(handle);
}

uint64_t tmem_lru_del(TmemStore *store, uint64_t entry)
{
    TmemHandle handle = tmem_entry_handle(entry);
    uint64_t proper = lru_node(store, handle)->entry;

    g_mutex_lock(&store->lru_lock);
    lru_unlink(store, lru_node(store, handle));
    g_mutex_unlock(&store->lru_lock);

    tmem_arena_free(&store->arena, handle);
    return proper;
}

void tmem_lru_touch(TmemStore *store, uint64_t entry)
{
    TmemHandle handle = tmem_entry_handle(entry);

    g_mutex_lock(&store->lru_lock);
    if (store->lru_newest != handle) {
        lru_unlink(store, lru_node(store, handle));
        lru_link(store, handle);
    }
    g_mutex_unlock(&store->lru_lock);
}

uint64_t *tmem_lru_entry(TmemStore *store, uint64_t entry)
{
    return &lru_node(store, tmem_entry_handle(entry))->entry;
}

bool tmem_lru_pack(TmemStore *store, uint64_t *entry)
{
    TmemHandle old = tmem_entry_handle(*entry);
    TmemLruNode *node;
    TmemHandle new;

    if (!tmem_arena_must_move(&store->arena, old)) {
        return false;
    }
    new = tmem_arena_alloc(&store->arena, sizeof(TmemLruNode),
                           TMEM_ALLOC_PACK);
    if (!new) {
        return false;
    }

    g_mutex_lock(&store->lru_lock);
    node = lru_node(store, new);
    *node = *lru_node(store, old);
    *lru_newer_link(store, node) = new;
    *lru_older_link(store, node) = new;
    g_mutex_unlock(&store->lru_lock);

    *entry = lru_make_entry(new);
    tmem_arena_free(&store->arena, old);
    return true;
}

/* The key of the oldest page; false when there is none. */
static bool lru_oldest(TmemStore *store, TmemLruNode *copy)
{
    bool ret;

    g_mutex_lock(&store->lru_lock);
    ret = store->lru_oldest != 0;
    if (ret) {
        const TmemLruNode *node = lru_node(store, store->lru_oldest);

        copy->pool = node->pool;
        copy->object = node->object;
        copy->index = node->index;
    }
    g_mutex_unlock(&store->lru_lock);
    return ret;
}

static bool lru_is_oldest(TmemStore *store, uint64_t entry)
{
    bool ret;

    g_mutex_lock(&store->lru_lock);
    ret = store->lru_oldest == tmem_entry_handle(entry);
    g_mutex_unlock(&store->lru_lock);
    return ret;
}

bool tmem_lru_evict(TmemStore *store)
{
    TmemLruNode node;

    /*
     * The page may be used, replaced or gone before its shard is locked: then
     * there is another oldest one to try. Each turn means that another thread
     * got ahead.
     */
    while (lru_oldest(store, &node)) {
        uint64_t key = tmem_shard_key(node.index);
        TmemShard *shard = tmem_shard_find(store, node.object, node.index);
        bool done = false;
        TmemPool *pool;
        uint64_t *slot;

        g_mutex_lock(&shard->lock);
        pool = tmem_pool_find(shard, node.pool);
        slot = pool ? tmem_page_lookup(store, pool, node.object, key) : NULL;
        if (slot && lru_is_oldest(store, *slot)) {
            uint64_t bytes = pool->bytes_stored;

            tmem_pages_drop(store, shard, pool, node.object, key, key, 1);
            shard->counts.given[TMEM_MEASURE_DROP] +=
                bytes - pool->bytes_stored;
            shard->counts.evicted++;
            done = true;
        }
        g_mutex_unlock(&shard->lock);
        if (done) {
            return true;
        }
    }
    return false;
}
