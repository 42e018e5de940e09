/*
 * Maintenance of the virtio-tmem page store
 *
 * Passes over all entries, in steps of one leaf of a tree (64 pages) for each
 * time that a shard is locked:
 *
 *   compact      move what is in sparse blocks into fuller ones, until the
 *                sparse ones are empty and go back to the host
 *   recompress   make cold lz4 and raw pages smaller with zstd
 *   age          count, in each entry, the passes since its last put or get
 *
 * A pass costs some nanoseconds for each page that the store holds, so each
 * begins only when there is a share of them to gain. That is why a page needs
 * no memory for a place on a list or for the way back from its bytes to its
 * key.
 *
 * Over its limit, the store first drops ephemeral pages, then compacts, then
 * recompresses: in the order of what costs the guest, then the host, least.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "tmem-store-internal.h"

/* Compaction begins when it can free this part of all blocks. */
#define COMPACT_SHARE 16

/*
 * More puts, gets and flushes a second than this are load: what is not urgent
 * waits. Half of what one thread can do.
 */
#define LOAD_OPS 200000
#define LOOK_USEC 100000

/* Time between two passes that count ages. */
#define AGE_USEC (30 * G_USEC_PER_SEC)

/* After a pass that recompressed nothing, there is nothing for a while. */
#define RECOMPRESS_USEC (10 * G_USEC_PER_SEC)

/*
 * A pass that emptied no block met what it cannot move: objects that are
 * reserved, or being read. They may be gone later.
 */
#define COMPACT_USEC (10 * G_USEC_PER_SEC)

/* Pages between two looks at what recompression has freed by now. */
#define RECOMPRESS_LOOK 64

/* Leaves of a tree that a step looks at, at most, with the shard locked. */
#define STEP_LEAVES 4

/* Ephemeral pages that are dropped before the sizes are looked at again. */
#define EVICT_PAGES 64

/* Bytes that the store takes beyond its limit. */
static uint64_t excess(TmemStore *store)
{
    uint64_t used = tmem_store_bytes(store);
    uint64_t limit;

    g_mutex_lock(&store->size_lock);
    limit = store->limit;
    g_mutex_unlock(&store->size_lock);
    return used > limit ? used - limit : 0;
}

static uint64_t count_ops(TmemStore *store)
{
    uint64_t ops = 0;

    for (unsigned s = 0; s < TMEM_NUM_SHARDS; s++) {
        TmemShard *shard = &store->shards[s];

        g_mutex_lock(&shard->lock);
        ops += shard->counts.puts + shard->gets + shard->counts.flushes;
        g_mutex_unlock(&shard->lock);
    }
    return ops;
}

/* Whether others keep the store busy; looked up now and then. */
static bool under_load(TmemStore *store, int64_t now)
{
    if (now - store->last_look >= LOOK_USEC) {
        uint64_t ops = count_ops(store);

        store->load = (ops - store->last_ops) * G_USEC_PER_SEC /
                      (now - store->last_look) > LOAD_OPS;
        store->last_ops = ops;
        store->last_look = now;
    }
    return store->load;
}

static void pass_begin(TmemStore *store, TmemPass pass)
{
    store->pass = pass;
    store->pass_walk = (TmemWalk) { 0 };
    store->pass_useful = false;
}

static bool compact_begin(TmemStore *store, bool urgent, int64_t now)
{
    TmemArenaStats stats;

    if (now < store->next_compact_pass) {
        return false;
    }
    tmem_arena_get_stats(&store->arena, &stats);
    if (stats.reclaimable == 0 ||
        (!urgent && stats.reclaimable < stats.bytes_blocks / COMPACT_SHARE)) {
        return false;
    }
    store->evacuating = tmem_arena_evacuate(&store->arena);
    if (store->evacuating == 0) {
        return false;
    }
    pass_begin(store, TMEM_PASS_COMPACT);
    return true;
}

static bool recompress_begin(TmemStore *store, int64_t now)
{
    if (store->codec.compression != TMEM_COMPRESSION_LZ4 ||
        !tmem_codec_has_zstd() || now < store->next_recompress_pass) {
        return false;
    }
    pass_begin(store, TMEM_PASS_RECOMPRESS);
    return true;
}

static bool age_begin(TmemStore *store, int64_t now)
{
    if (store->codec.compression != TMEM_COMPRESSION_LZ4 ||
        now < store->next_age_pass) {
        return false;
    }
    store->next_age_pass = now + AGE_USEC;
    pass_begin(store, TMEM_PASS_AGE);
    return true;
}

/* Whether compaction alone would free so many bytes. */
static bool can_reclaim(TmemStore *store, uint64_t bytes)
{
    TmemArenaStats stats;

    tmem_arena_get_stats(&store->arena, &stats);
    return stats.reclaimable >= bytes;
}

/*
 * Drop some ephemeral pages, unless compaction alone would do: what they leave
 * free is in pieces. Returns false when there was nothing to drop, or no need.
 */
static bool evict(TmemStore *store, uint64_t bytes, int64_t now)
{
    unsigned n = 0;

    if (tmem_reserve_trim(&store->arena)) {
        return true;
    }
    if (can_reclaim(store, bytes) && now >= store->next_compact_pass) {
        return false;
    }
    while (n < EVICT_PAGES && tmem_lru_evict(store)) {
        n++;
    }
    return n > 0;
}

/* Choose what to do next. Returns false when there is nothing. */
static bool choose_pass(TmemStore *store, bool urgent, int64_t now)
{
    return compact_begin(store, urgent, now) ||
           (urgent && recompress_begin(store, now)) ||
           age_begin(store, now);
}

/* @complete: the walk has come to its end */
static void pass_end(TmemStore *store, bool complete, int64_t now)
{
    if (store->pass == TMEM_PASS_COMPACT) {
        if (tmem_arena_evacuate_end(&store->arena) == store->evacuating) {
            store->next_compact_pass = now + COMPACT_USEC;
        }
    } else if (store->pass == TMEM_PASS_RECOMPRESS && complete) {
        /* Nothing that is cold was left: next time, what is less so. */
        if (store->pass_useful) {
            store->cold_age = TMEM_COLD_AGE;
        } else if (store->cold_age > 0) {
            store->cold_age--;
        } else {
            store->cold_age = TMEM_COLD_AGE;
            store->next_recompress_pass = now + RECOMPRESS_USEC;
        }
    }
    store->pass = TMEM_PASS_NONE;
}

static unsigned entry_age(uint64_t entry)
{
    return (entry & ENTRY_AGE_MASK) >> ENTRY_AGE_SHIFT;
}

static void age_entries(uint64_t *entries, unsigned num)
{
    for (unsigned i = 0; i < num; i++) {
        unsigned kind = tmem_entry_kind(entries[i]);

        if (entries[i] && kind != ENTRY_INLINE && kind != ENTRY_NODE &&
            (entries[i] & ENTRY_AGE_MASK) != ENTRY_AGE_MASK) {
            entries[i] += UINT64_C(1) << ENTRY_AGE_SHIFT;
        }
    }
}

static void compact_entries(TmemStore *store, TmemShard *shard,
                            uint64_t *entries, unsigned num)
{
    for (unsigned i = 0; i < num; i++) {
        if (entries[i]) {
            shard->counts.moved += tmem_entry_pack(store, shard,
                                                    &entries[i]);
        }
    }
}

/* Age or compact some leaves of the walk's shard; false: it has no other. */
static bool leaves_step(TmemStore *store)
{
    TmemWalk *walk = &store->pass_walk;
    TmemShard *shard = &store->shards[walk->shard];
    bool pack = store->pass == TMEM_PASS_COMPACT;
    uint64_t *entries = NULL;
    TmemPool *pool;
    unsigned num;

    g_mutex_lock(&shard->lock);
    for (unsigned n = 0; n < (pack ? 1 : STEP_LEAVES); n++) {
        entries = tmem_walk_next(store, walk, &pool, &num, pack);
        if (!entries) {
            break;
        }
        if (pack) {
            compact_entries(store, shard, entries, num);
        } else {
            age_entries(entries, num);
        }
        tmem_walk_skip(walk, num);
    }
    g_mutex_unlock(&shard->lock);
    return entries;
}

static bool can_recompress(const TmemStore *store, uint64_t entry)
{
    unsigned kind = tmem_entry_kind(entry);

    return (kind == TMEM_KIND_LZ4 || kind == TMEM_KIND_RAW) &&
           !(entry & ENTRY_TRIED) && entry_age(entry) >= store->cold_age;
}

/* A page in the middle of being recompressed. */
typedef struct Recompress {
    uint32_t pool;
    uint64_t object;
    uint64_t key;
    uint64_t entry;         /* as it was marked busy */
    TmemCoded coded;
} Recompress;

/* Find and mark the next cold page of the walk's leaf. */
static bool recompress_find(TmemStore *store, TmemShard *shard, Recompress *rec)
{
    TmemWalk *walk = &store->pass_walk;
    TmemPool *pool;
    unsigned num;
    uint64_t *entries = tmem_walk_next(store, walk, &pool, &num, false);

    rec->pool = 0;
    for (unsigned i = 0; entries && i < num; i++) {
        if (can_recompress(store, entries[i])) {
            entries[i] |= ENTRY_BUSY;
            rec->pool = pool->id;
            rec->object = walk->object;
            rec->key = walk->key + i;
            rec->entry = entries[i];
            rec->coded = tmem_entry_read(store, entries[i]);
            num = i + 1;
        }
    }
    if (entries) {
        tmem_walk_skip(walk, num);
    }
    return entries;
}

/*
 * Put the smaller copy in place of the old one. A put or flush meanwhile has
 * taken the mark off, and with it our interest; a get only changes the age.
 */
static void recompress_finish(TmemStore *store, TmemShard *shard,
                              Recompress *rec, bool smaller)
{
    TmemPool *pool = tmem_pool_find(shard, rec->pool);
    uint64_t *slot = pool ? tmem_page_lookup(store, pool, rec->object,
                                             rec->key) : NULL;
    uint64_t entry = 0, age;

    if (!slot || (*slot | ENTRY_AGE_MASK) != (rec->entry | ENTRY_AGE_MASK)) {
        return;
    }
    if (smaller) {
        entry = tmem_entry_new(store, &rec->coded, TMEM_ALLOC_EXCEED);
    }
    if (!entry) {
        *slot = (*slot & ~ENTRY_BUSY) | (smaller ? 0 : ENTRY_TRIED);
        return;
    }
    age = *slot & ENTRY_AGE_MASK;
    tmem_entry_drop(store, shard, pool, *slot);
    *slot = entry | age;
    tmem_entry_count(shard, pool, entry, 1);
    shard->counts.recompressed++;
    store->pass_useful = true;
}

/* Recompress the next cold page of a leaf; false: the shard has no other. */
static bool recompress_step(TmemStore *store)
{
    TmemShard *shard = &store->shards[store->pass_walk.shard];
    Recompress rec;
    bool found;

    g_mutex_lock(&shard->lock);
    found = recompress_find(store, shard, &rec);
    g_mutex_unlock(&shard->lock);

    if (found && rec.pool) {
        bool smaller = tmem_codec_recode(&store->codec, &rec.coded);

        g_mutex_lock(&shard->lock);
        recompress_finish(store, shard, &rec, smaller);
        g_mutex_unlock(&shard->lock);
    }
    return found;
}

static void pass_step(TmemStore *store, int64_t now)
{
    bool more = store->pass == TMEM_PASS_RECOMPRESS ? recompress_step(store)
                                                    : leaves_step(store);

    if (!more && !tmem_walk_shard(&store->pass_walk)) {
        pass_end(store, true, now);
    }
}

bool tmem_store_maintain(TmemStore *store, int64_t usec)
{
    int64_t now = g_get_monotonic_time();
    int64_t deadline = now + usec;

    do {
        uint64_t bytes = excess(store);
        bool urgent = bytes > 0;

        now = g_get_monotonic_time();
        if (!urgent && under_load(store, now)) {
            /* Blocks to be emptied would stay out of use for the time of it */
            if (store->pass == TMEM_PASS_COMPACT) {
                pass_end(store, false, now);
            }
            return false;
        }
        if (store->pass == TMEM_PASS_RECOMPRESS &&
            (!urgent || (++store->recompress_steps % RECOMPRESS_LOOK == 0 &&
                         can_reclaim(store, bytes)))) {
            pass_end(store, false, now);
        }
        if (store->pass == TMEM_PASS_NONE) {
            if (urgent && evict(store, bytes, now)) {
                continue;
            }
            if (!choose_pass(store, urgent, now)) {
                return false;
            }
        }
        pass_step(store, now);
        if (qatomic_read(&store->shards[store->pass_walk.shard %
                                        TMEM_NUM_SHARDS].waiting)) {
            /* The lock would be ours again before who waits has woken up */
            g_usleep(10);
        }
    } while (now < deadline);
    return true;
}

bool tmem_store_over_limit(TmemStore *store)
{
    return excess(store) > 0;
}
