/*
 * Maintenance of the virtio-tmem page store
 *
 * Passes over all entries, in steps of one leaf of a tree (64 pages) for each
 * time that a shard is locked:
 *
 *   compact      move what is in sparse blocks into fuller ones, until the
 *                sparse ones are empty and go back to the host
 *   recompress   make cold lz4 and raw pages smaller with zstd
 *   spill        move cold pages to a device, tmem-store-spill-pass.c
 *   clean        pack what is there
 *   age          count, in each entry, the passes since its last put or get
 *
 * A pass costs some nanoseconds for each page that the store holds, so each
 * begins only when there is a share of them to gain. So a page needs no memory
 * for a place on a list, nor for the way back from its bytes to its key. The
 * table of measures says what is done over the limit, and in which order.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "tmem-store-internal.h"
#include "tmem-store-spill-internal.h"

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
 * Where pages can be spilled, recompression must not hold that up: it is left
 * out when more is asked for than this part of what is held, and else takes
 * this time in RECOMPRESS_USEC.
 */
#define RECOMPRESS_SHARE 8
#define RECOMPRESS_SPILL_USEC (G_USEC_PER_SEC / 4)

/*
 * A pass that emptied no block met what it cannot move: objects that are
 * reserved, or being read. They may be gone later.
 */
#define COMPACT_USEC (10 * G_USEC_PER_SEC)

/*
 * A pass that has waited for the device for so long ends, and the device counts
 * as failed: other measures must go on, and the guest be asked to help.
 */
#define STALL_USEC (2 * G_USEC_PER_SEC)

/* Pages between two looks at what recompression has freed by now. */
#define RECOMPRESS_LOOK 64

/* Leaves of a tree that a step looks at, at most, with the shard locked. */
#define STEP_LEAVES 4

/* Ephemeral pages that are dropped before the sizes are looked at again. */
#define EVICT_PAGES 64

/* What there is to do, at a look. */
typedef struct Need {
    int64_t now;
    uint64_t excess;        /* bytes over the limit */
    uint64_t spill;         /* bytes that are better spilled */
} Need;

/* What came of a measure. */
typedef enum Outcome {
    OUTCOME_NOTHING,
    OUTCOME_DONE,           /* some of it is done: look again */
    OUTCOME_PASS,           /* a pass has begun */
} Outcome;

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

/* Whether compaction alone would free so many bytes. */
static bool can_reclaim(TmemStore *store, uint64_t bytes)
{
    TmemArenaStats stats;

    tmem_arena_get_stats(&store->arena, &stats);
    return stats.reclaimable >= bytes;
}

/*
 * Drop some ephemeral pages, unless compaction alone would do: what they leave
 * free is in pieces.
 */
static Outcome drop_begin(TmemStore *store, const Need *need)
{
    unsigned n = 0;

    if (!need->excess) {
        return OUTCOME_NOTHING;
    }
    if (tmem_reserve_trim(&store->arena)) {
        return OUTCOME_DONE;
    }
    if (can_reclaim(store, need->excess) &&
        need->now >= store->next_compact_pass) {
        return OUTCOME_NOTHING;
    }
    while (n < EVICT_PAGES && tmem_lru_evict(store)) {
        n++;
    }
    return n > 0 ? OUTCOME_DONE : OUTCOME_NOTHING;
}

static Outcome compact_begin(TmemStore *store, const Need *need)
{
    TmemArenaStats stats;

    if (need->now < store->next_compact_pass) {
        return OUTCOME_NOTHING;
    }
    tmem_arena_get_stats(&store->arena, &stats);
    if (stats.reclaimable == 0 ||
        (!need->excess &&
         stats.reclaimable < stats.bytes_blocks / COMPACT_SHARE &&
         (!need->spill || stats.reclaimable < need->spill))) {
        return OUTCOME_NOTHING;
    }
    store->evacuating = tmem_arena_evacuate(&store->arena);
    if (store->evacuating == 0) {
        return OUTCOME_NOTHING;
    }
    pass_begin(store, TMEM_PASS_COMPACT);
    return OUTCOME_PASS;
}

static Outcome recompress_begin(TmemStore *store, const Need *need)
{
    if (!need->excess || store->codec.compression != TMEM_COMPRESSION_LZ4 ||
        !tmem_codec_has_zstd() || need->now < store->next_recompress_pass) {
        return OUTCOME_NOTHING;
    }
    store->recompress_until = 0;
    if (tmem_spill_is_active(store)) {
        if (need->excess > tmem_store_bytes(store) / RECOMPRESS_SHARE) {
            return OUTCOME_NOTHING;
        }
        store->recompress_until = need->now + RECOMPRESS_SPILL_USEC;
    }
    pass_begin(store, TMEM_PASS_RECOMPRESS);
    return OUTCOME_PASS;
}

static Outcome spill_begin(TmemStore *store, const Need *need)
{
    if (!need->spill) {
        return OUTCOME_NOTHING;
    }
    if (tmem_clean_begin(store, need->now)) {
        pass_begin(store, TMEM_PASS_CLEAN);
        return OUTCOME_PASS;
    }
    /* What is on its way may be enough */
    if (!tmem_spill_begin(store, need->now) ||
        tmem_spill_pending(store->spill) >= need->spill) {
        return OUTCOME_NOTHING;
    }
    pass_begin(store, TMEM_PASS_SPILL);
    return OUTCOME_PASS;
}

/*
 * What is done over the limit, in this order: the next one when those before it
 * have nothing more to give. virtio-tmem.rst has the same table.
 */
static const struct {
    const char *name;
    Outcome (*begin)(TmemStore *store, const Need *need);
} measures[TMEM_NUM_MEASURES] = {
    [TMEM_MEASURE_REFUSE] = { "refuse" },        /* tmem_arena_alloc() does */
    [TMEM_MEASURE_DROP] = { "drop", drop_begin },
    [TMEM_MEASURE_COMPACT] = { "compact", compact_begin },
    [TMEM_MEASURE_RECOMPRESS] = { "recompress", recompress_begin },
    [TMEM_MEASURE_SPILL] = { "spill", spill_begin },
    [TMEM_MEASURE_TARGET] = { "target" },        /* tmem_store_ask() counts */
};

const char *tmem_measure_name(TmemMeasure measure)
{
    return measures[measure].name;
}

/* Count what a measure gave back, if it is not of one shard. */
static void measure_count(TmemStore *store, TmemMeasure measure,
                          uint64_t bytes)
{
    TmemShard *shard = &store->shards[0];

    g_mutex_lock(&shard->lock);
    shard->counts.given[measure] += bytes;
    g_mutex_unlock(&shard->lock);
}

static Outcome age_begin(TmemStore *store, int64_t now)
{
    if ((store->codec.compression != TMEM_COMPRESSION_LZ4 && !store->spill) ||
        now < store->next_age_pass) {
        return OUTCOME_NOTHING;
    }
    store->next_age_pass = now + AGE_USEC;
    pass_begin(store, TMEM_PASS_AGE);
    return OUTCOME_PASS;
}

/* Choose what to do next. */
static Outcome choose(TmemStore *store, const Need *need)
{
    for (unsigned m = 0; m < TMEM_NUM_MEASURES; m++) {
        Outcome outcome = measures[m].begin ? measures[m].begin(store, need)
                                            : OUTCOME_NOTHING;

        if (outcome != OUTCOME_NOTHING) {
            return outcome;
        }
    }
    if (tmem_clean_begin(store, need->now)) {
        pass_begin(store, TMEM_PASS_CLEAN);
        return OUTCOME_PASS;
    }
    return age_begin(store, need->now);
}

/* @complete: the walk has come to its end */
static void pass_end(TmemStore *store, bool complete, int64_t now)
{
    if (store->pass == TMEM_PASS_COMPACT) {
        uint32_t left = tmem_arena_evacuate_end(&store->arena);

        if (left == store->evacuating) {
            store->next_compact_pass = now + COMPACT_USEC;
        }
        measure_count(store, TMEM_MEASURE_COMPACT,
                      (store->evacuating - left) *
                      (uint64_t)store->arena.block_size);
    } else if (store->pass == TMEM_PASS_SPILL) {
        tmem_spill_end(store, complete, now);
    } else if (store->pass == TMEM_PASS_CLEAN) {
        tmem_clean_end(store, now);
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
           !(entry & (ENTRY_TRIED | ENTRY_BUSY)) &&
           tmem_entry_age(entry) >= store->cold_age;
}

/* A page in the middle of being recompressed. */
typedef struct Recompress {
    TmemKey key;            /* pool 0: none */
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

    rec->key.pool = 0;
    for (unsigned i = 0; entries && i < num; i++) {
        if (can_recompress(store, entries[i])) {
            entries[i] |= ENTRY_BUSY;
            rec->key.pool = pool->id;
            rec->key.object = walk->object;
            rec->key.index = tmem_shard_index(walk->shard, walk->object,
                                              walk->key + i);
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
    TmemPool *pool;
    uint64_t *slot = tmem_key_lookup(store, shard, &rec->key, &pool);
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
    shard->counts.given[TMEM_MEASURE_RECOMPRESS] +=
        tmem_entry_len(*slot) - rec->coded.len;
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

    if (found && rec.key.pool) {
        bool good = tmem_coded_check(&rec.key, &rec.coded);
        bool smaller = good && tmem_codec_recode(&store->codec, &rec.coded);

        if (smaller) {
            tmem_coded_sign(store, &rec.key, &rec.coded);
        }
        g_mutex_lock(&shard->lock);
        recompress_finish(store, shard, &rec, smaller);
        g_mutex_unlock(&shard->lock);
        if (!good) {
            tmem_page_lose(store, &rec.key);
        }
    }
    return found;
}

/* Whether the device has had time enough. */
static bool pass_is_stalled(TmemStore *store, TmemStep step, int64_t now)
{
    TmemSpill *spill = store->spill;

    if (step != TMEM_STEP_WAIT ||
        (spill->ops->held && spill->ops->held(spill->dev))) {
        store->waits_since = 0;
    } else if (!store->waits_since) {
        store->waits_since = now;
    } else if (now - store->waits_since >= STALL_USEC) {
        store->waits_since = 0;
        return true;
    }
    return false;
}

static TmemStep pass_step(TmemStore *store, int64_t now)
{
    TmemStep step;

    switch (store->pass) {
    case TMEM_PASS_RECOMPRESS:
        step = recompress_step(store) ? TMEM_STEP_MORE : TMEM_STEP_END;
        break;
    case TMEM_PASS_SPILL:
        step = tmem_spill_step(store, now);
        break;
    case TMEM_PASS_CLEAN:
        step = tmem_clean_step(store, now);
        break;
    default:
        step = leaves_step(store) ? TMEM_STEP_MORE : TMEM_STEP_END;
    }
    if (pass_is_stalled(store, step, now)) {
        tmem_spill_stalled(store, now);
        step = TMEM_STEP_STOP;
    }
    if (step == TMEM_STEP_STOP) {
        tmem_spill_hold(store, now);
        pass_end(store, false, now);
    } else if (step == TMEM_STEP_END && !tmem_walk_shard(&store->pass_walk)) {
        pass_end(store, true, now);
    }
    return step;
}

/* End a pass whose end is not that of the walk. */
static void pass_check(TmemStore *store, const Need *need)
{
    bool end = false;

    switch (store->pass) {
    case TMEM_PASS_RECOMPRESS:
        end = !need->excess ||
              (++store->recompress_steps % RECOMPRESS_LOOK == 0 &&
               can_reclaim(store, need->excess));
        if (store->recompress_until && need->now > store->recompress_until) {
            store->next_recompress_pass = need->now + RECOMPRESS_USEC;
            end = true;
        }
        break;
    case TMEM_PASS_SPILL: {
        uint64_t pending = tmem_spill_pending(store->spill);

        end = need->spill <= pending ||
              (need->now >= store->next_compact_pass &&
               can_reclaim(store, need->spill - pending));
        break;
    }
    default:
        break;
    }
    if (end) {
        pass_end(store, false, need->now);
    }
}

bool tmem_store_maintain(TmemStore *store, int64_t usec)
{
    int64_t deadline = g_get_monotonic_time() + usec;
    Need need;

    do {
        Outcome outcome = OUTCOME_PASS;

        need.now = g_get_monotonic_time();
        tmem_spill_poll(store, need.now);
        need.excess = excess(store);
        need.spill = tmem_spill_want(store, need.excess);
        if (!need.excess && !need.spill && under_load(store, need.now)) {
            /* Blocks to be emptied would stay out of use for the time of it */
            if (store->pass == TMEM_PASS_COMPACT) {
                pass_end(store, false, need.now);
            }
            return false;
        }
        pass_check(store, &need);
        if (store->pass == TMEM_PASS_NONE) {
            outcome = choose(store, &need);
        }
        if (outcome == OUTCOME_NOTHING) {
            return false;
        }
        if (outcome == OUTCOME_PASS &&
            pass_step(store, need.now) == TMEM_STEP_WAIT) {
            return false;
        }
        if (qatomic_read(&store->shards[store->pass_walk.shard %
                                        TMEM_NUM_SHARDS].waiting)) {
            /* The lock would be ours again before who waits has woken up */
            g_usleep(10);
        }
    } while (need.now < deadline);
    return true;
}

bool tmem_store_over_limit(TmemStore *store)
{
    return excess(store) > 0;
}
