/*
 * Spill of the virtio-tmem page store: passes of maintenance
 *
 *   spill    cold pages leave, in the order of their keys: so those of a
 *            cluster, which come back together, lie side by side
 *   clean    the pages of extents that have few left move to other extents
 *
 * Each pass walks over all entries, as those of tmem-store-maintain.c do. They
 * never wait for the device: a pass that cannot go on is left as it is, and the
 * device wakes maintenance up.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "tmem-store-spill-internal.h"

/*
 * Shares of the limit: pages begin to leave when less than the one is free, so
 * that puts need not be refused, and stop when the other one is.
 */
#define FREE_LOW 32
#define FREE_HIGH 16

/* After a pass that came to nothing, the next one waits. */
#define IDLE_USEC (G_USEC_PER_SEC / 2)

/* Cleaning begins when less than this share of the device is free. */
#define CLEAN_SHARE 16
#define CLEAN_MIN 6

static void set_exhausted(TmemSpill *spill, bool exhausted)
{
    g_mutex_lock(&spill->lock);
    spill->stats.exhausted = exhausted;
    g_mutex_unlock(&spill->lock);
}

uint64_t tmem_spill_want(TmemStore *store, uint64_t excess)
{
    TmemSpill *spill = store->spill;
    uint64_t used = tmem_store_bytes(store);
    uint64_t limit;

    if (!spill) {
        return 0;
    }
    g_mutex_lock(&store->size_lock);
    limit = store->limit;
    g_mutex_unlock(&store->size_lock);
    if (excess || used > limit - limit / FREE_LOW) {
        spill->wanted = true;
    } else if (used <= limit - limit / FREE_HIGH) {
        spill->wanted = false;
        set_exhausted(spill, false);
        spill->age = TMEM_COLD_AGE;
        spill->next_pass = 0;
    }
    return spill->wanted ? used - MIN(used, limit - limit / FREE_HIGH) : 0;
}

bool tmem_spill_begin(TmemStore *store, int64_t now)
{
    TmemSpill *spill = store->spill;

    return now >= spill->next_pass && now >= spill->retry;
}

static bool can_spill(uint64_t entry, unsigned age)
{
    unsigned kind = tmem_entry_kind(entry);

    return (kind == TMEM_KIND_LZ4 || kind == TMEM_KIND_RAW ||
            kind == TMEM_KIND_ZSTD) && !(entry & ENTRY_BUSY) &&
           tmem_entry_len(entry) >= TMEM_SPILL_MIN_LEN &&
           tmem_entry_age(entry) >= age;
}

/* Copy a page to the batch and mark its entry; false: the batch is full. */
static bool spill_entry(TmemSpillBatch *batch, uint64_t *entry,
                        const TmemCoded *coded, const TmemKey *key)
{
    TmemSpillItem *item = tmem_spill_add(batch, coded->data, coded->len);

    if (!item) {
        return false;
    }
    item->key = *key;
    item->kind = tmem_entry_kind(*entry);
    tmem_spill_commit(batch, item);
    batch->bytes += item->len;
    *entry |= tmem_batch_mark(batch->number);
    return true;
}

TmemStep tmem_spill_step(TmemStore *store, int64_t now)
{
    TmemWalk *walk = &store->pass_walk;
    TmemShard *shard = &store->shards[walk->shard];
    TmemSpill *spill = store->spill;
    bool full = false;
    TmemSpillBatch *batch;
    uint64_t *entries;
    TmemPool *pool;
    TmemStep step;
    unsigned num;

    batch = tmem_spill_batch(spill, false, now, &step);
    if (!batch) {
        return step;
    }
    g_mutex_lock(&shard->lock);
    entries = tmem_walk_next(store, walk, &pool, &num, false);
    for (unsigned i = 0; entries && i < num; i++) {
        TmemKey key = {
            .pool = pool->id,
            .object = walk->object,
            .index = tmem_shard_index(walk->shard, walk->object,
                                      walk->key + i),
        };
        TmemCoded coded;

        if (!can_spill(entries[i], spill->age)) {
            continue;
        }
        coded = tmem_entry_object(store, entries[i]);
        if (!tmem_coded_check(&key, &coded)) {
            tmem_entry_lose(store, shard, pool, &key, &entries[i]);
        } else if (!spill_entry(batch, &entries[i], &coded, &key)) {
            full = true;
            num = i;
        } else {
            store->pass_useful = true;
        }
    }
    if (entries) {
        tmem_walk_skip(walk, num);
    }
    g_mutex_unlock(&shard->lock);
    if (full) {
        tmem_spill_submit(store);
    }
    return entries ? TMEM_STEP_MORE : TMEM_STEP_END;
}

void tmem_spill_end(TmemStore *store, bool complete, int64_t now)
{
    TmemSpill *spill = store->spill;

    tmem_spill_submit(store);
    if (store->pass_useful) {
        set_exhausted(spill, false);
    }
    if (!complete || store->pass_useful) {
        return;
    }
    /* Nothing that is cold was left: next time, what is less so. */
    if (spill->age > 0) {
        spill->age--;
    } else {
        set_exhausted(spill, !tmem_spill_pending(spill));
        spill->age = TMEM_COLD_AGE;
        spill->next_pass = now + IDLE_USEC;
    }
}

/* ---- Cleaning ---- */

bool tmem_clean_begin(TmemStore *store, int64_t now)
{
    TmemSpill *spill = store->spill;
    uint32_t num_free;

    if (!spill || now < spill->next_clean || now < spill->retry) {
        return false;
    }
    g_mutex_lock(&spill->lock);
    num_free = spill->num_free + spill->num_dead;
    g_mutex_unlock(&spill->lock);
    if (num_free >= MAX(spill->num_extents / CLEAN_SHARE, CLEAN_MIN)) {
        return false;
    }
    if (!tmem_spill_choose_victims(spill)) {
        spill->next_clean = now + IDLE_USEC;
        return false;
    }
    return true;
}

static bool is_victim(TmemStore *store, uint64_t entry, TmemSpillPlace *place)
{
    TmemSpill *spill = store->spill;
    bool ret;

    if (tmem_entry_kind(entry) != ENTRY_SPILLED || (entry & ENTRY_BUSY)) {
        return false;
    }
    *place = tmem_spill_place(store, entry);
    g_mutex_lock(&spill->lock);
    ret = spill->extents[place->record.extent].victim &&
          !spill->extents[place->record.extent].stuck;
    g_mutex_unlock(&spill->lock);
    return ret;
}

/* The next page to be moved; the walk stays there. False: none in the shard. */
static bool clean_find(TmemStore *store, TmemKey *key,
                       TmemSpillPlace *place)
{
    TmemWalk *walk = &store->pass_walk;
    TmemShard *shard = &store->shards[walk->shard];
    uint64_t *entries;
    TmemPool *pool;
    unsigned num;
    unsigned i;

    g_mutex_lock(&shard->lock);
    key->pool = 0;
    entries = tmem_walk_next(store, walk, &pool, &num, false);
    for (i = 0; entries && i < num; i++) {
        if (is_victim(store, entries[i], place)) {
            key->pool = pool->id;
            key->object = walk->object;
            key->index = tmem_shard_index(walk->shard, walk->object,
                                          walk->key + i);
            break;
        }
    }
    if (entries) {
        tmem_walk_skip(walk, i);
    }
    g_mutex_unlock(&shard->lock);
    return entries;
}

/* If the page is still where it was read, it is in the batch from now on. */
static void clean_mark(TmemStore *store, TmemSpillBatch *batch,
                       TmemSpillItem *item, const TmemSpillPlace *place)
{
    TmemShard *shard = tmem_shard_find(store, item->key.object,
                                       item->key.index);
    TmemSpillPlace again;
    TmemPool *pool;
    uint64_t *slot;

    g_mutex_lock(&shard->lock);
    slot = tmem_key_lookup(store, shard, &item->key, &pool);
    if (slot && is_victim(store, *slot, &again) &&
        again.generation == place->generation && again.len == place->len &&
        again.record.offset == place->record.offset) {
        tmem_spill_commit(batch, item);
        *slot |= tmem_batch_mark(batch->number);
        store->pass_useful = true;
    }
    g_mutex_unlock(&shard->lock);
}

/* The page stays where it is, and so does its extent. */
static void clean_give_up(TmemSpill *spill, const TmemSpillPlace *place)
{
    g_mutex_lock(&spill->lock);
    spill->extents[place->record.extent].stuck = true;
    g_mutex_unlock(&spill->lock);
}

/* Returns whether the walk may go on to the next page. */
static bool clean_copy(TmemStore *store, const TmemKey *key,
                       const TmemSpillPlace *place, const void *data,
                       TmemStep *step, int64_t now)
{
    TmemSpillBatch *batch = tmem_spill_batch(store->spill, true, now, step);
    TmemSpillItem *item;

    if (!batch) {
        return false;
    }
    item = tmem_spill_add(batch, data, place->len);
    if (!item) {
        tmem_spill_submit(store);
        return false;
    }
    item->key = *key;
    item->kind = place->record.kind;
    clean_mark(store, batch, item, place);
    return true;
}

TmemStep tmem_clean_step(TmemStore *store, int64_t now)
{
    TmemSpill *spill = store->spill;
    TmemStep step = TMEM_STEP_MORE;
    TmemSpillPlace place;
    TmemKey key;
    TmemChunk *chunk;
    const void *data;
    int ret;

    if (!clean_find(store, &key, &place)) {
        return TMEM_STEP_END;
    }
    if (!key.pool) {
        return TMEM_STEP_MORE;
    }
    ret = tmem_spill_load(store, &place, &spill->fetch, &chunk, &data);
    if (ret == -EINPROGRESS) {
        return TMEM_STEP_WAIT;
    }
    if (ret == 0) {
        bool good = tmem_spill_check(store, &key, &place, data);

        if (good && !clean_copy(store, &key, &place, data, &step, now)) {
            tmem_spill_release(store, chunk, false);
            return step;
        }
        tmem_spill_release(store, chunk, !good);
        ret = good ? 0 : -EIO;
    }
    if (ret < 0) {
        clean_give_up(spill, &place);
    }
    tmem_walk_skip(&store->pass_walk, 1);
    return TMEM_STEP_MORE;
}

void tmem_clean_end(TmemStore *store, int64_t now)
{
    TmemSpill *spill = store->spill;

    tmem_store_end_fetch(store, &spill->fetch);
    tmem_spill_submit(store);
    tmem_spill_forget_victims(spill);
    if (store->pass_useful) {
        spill->next_pass = now;
    } else {
        spill->next_clean = now + IDLE_USEC;
    }
}

void tmem_spill_hold(TmemStore *store, int64_t now)
{
    if (store->pass == TMEM_PASS_SPILL) {
        store->spill->next_pass = now + IDLE_USEC;
    } else {
        store->spill->next_clean = now + IDLE_USEC;
    }
}
