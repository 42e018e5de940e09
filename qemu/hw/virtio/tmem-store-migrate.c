/*
 * The pages of the virtio-tmem page store on their way to another store
 *
 * An export first walks over all pages, shard by shard, and then sends what has
 * changed, over and over. What changes in a shard that the walk has reached is
 * noted in the shard's log: a bit for each key, 64 of them to a word, the words
 * in the order in which they were first written to. A bit says that the page is
 * now another one or none; which of the two is looked up when it is its turn.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/host-utils.h"
#include "hw/virtio/tmem-store-migrate.h"
#include "tmem-store-internal.h"
#include "tmem-store-spill-internal.h"

/*
 * A record is made under the lock of its shard, and records leave in the order
 * in which they were made. So the importer, who has taken all of them, has for
 * each key what the store had when the key's last record was made, and every
 * change after that has set a bit. A page goes after its pool. What changes but
 * how a page is kept (its place, its age, recompression) is no change.
 *
 * The log is bounded. When a shard's is full, it takes no more, and the export
 * begins anew with an importer who has forgotten all pools.
 *
 * A bit is cleared and its page read under one lock. A page that was spilled is
 * read from the device without it, after its bit was cleared: what is there by
 * then is sent, and what has changed by then has set the bit.
 */

#define WORD_BITS 6
#define WORD_KEYS (1u << WORD_BITS)

/* Consecutive keys are consecutive indexes only within a cluster. */
G_STATIC_ASSERT(WORD_BITS <= TMEM_CLUSTER_BITS);
G_STATIC_ASSERT(WORD_KEYS == TMEM_RECORD_INDEXES);
/* What TmemRecordKind promises. */
G_STATIC_ASSERT(TMEM_KIND_SAME == 1 && TMEM_KIND_LZ4 == 2 &&
                TMEM_KIND_RAW == 3 && TMEM_KIND_ZSTD == 4);

/* Memory for all logs: this share of max_size, and at least so many bytes. */
#define LOG_SHARE 32
#define LOG_MIN_BYTES (1024 * 1024)

/* What a record takes in a stream, beside the page. */
#define RECORD_BYTES 24

typedef struct LogWord {
    uint32_t pool;
    uint64_t object;
    uint64_t word;          /* key / 64 */
    uint64_t mask;          /* not 0 */
    GList link;
} LogWord;

/* Of each word, with what malloc() and the hash table add. */
#define LOG_WORD_BYTES (sizeof(LogWord) + 48)

/* All under the lock of the shard. */
struct TmemLog {
    GHashTable *words;
    GQueue queue;           /* the same, oldest first */
    uint64_t keys;          /* bits set in all words */
    unsigned max_words;
    bool full;              /* something was not noted */
};

struct TmemExport {
    TmemStore *store;
    TmemWalk walk;
    uint64_t walked;        /* pages that it found in this shard */
    unsigned turn;          /* shard whose log is read */
    unsigned max_words;     /* of each log */
    bool restarted;         /* the importer has to forget its pools */
    uint32_t pools_seen;    /* store->pools_changed when pools were compared */
    TmemPoolSlot pools[TMEM_MAX_POOLS]; /* that the importer has */
};

/* ---- The log of a shard ---- */

/*
 * The guest chooses objects and indexes: with factors that it could know, all
 * of its keys could have one hash. Set once.
 */
static uint64_t log_factors[3];

static void log_init_factors(void)
{
    static gsize done;

    if (!g_once_init_enter(&done)) {
        return;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(log_factors); i++) {
        log_factors[i] = ((uint64_t)g_random_int() << 32 | g_random_int()) | 1;
    }
    g_once_init_leave(&done, 1);
}

static guint log_word_hash(gconstpointer p)
{
    const LogWord *word = p;
    uint64_t hash = word->word * log_factors[0] ^
                    word->object * log_factors[1] ^
                    word->pool * log_factors[2];

    hash ^= hash >> 29;
    hash *= UINT64_C(0x9e3779b97f4a7c15);
    return hash >> 32;
}

static gboolean log_word_equal(gconstpointer a, gconstpointer b)
{
    const LogWord *left = a, *right = b;

    return left->word == right->word && left->object == right->object &&
           left->pool == right->pool;
}

static TmemLog *log_new(unsigned max_words)
{
    TmemLog *log = g_new0(TmemLog, 1);

    log_init_factors();
    log->words = g_hash_table_new_full(log_word_hash, log_word_equal, g_free,
                                       NULL);
    g_queue_init(&log->queue);
    log->max_words = max_words;
    return log;
}

static void log_count(TmemStore *store, int words)
{
    qatomic_add(&store->log_bytes, words * (int64_t)LOG_WORD_BYTES);
}

static void log_clear(TmemStore *store, TmemLog *log)
{
    log_count(store, -(int)log->queue.length);
    /* The links are in the words, which go with the table. */
    g_queue_init(&log->queue);
    g_hash_table_remove_all(log->words);
    log->keys = 0;
    log->full = false;
}

static void log_free(TmemStore *store, TmemLog *log)
{
    if (log) {
        log_clear(store, log);
        g_hash_table_destroy(log->words);
        g_free(log);
    }
}

static void log_add(TmemStore *store, TmemLog *log, uint32_t pool,
                    uint64_t object, uint64_t word, uint64_t mask)
{
    LogWord key = { .pool = pool, .object = object, .word = word };
    LogWord *found = g_hash_table_lookup(log->words, &key);

    if (!found) {
        /* How many there are is up to the guest: not to be QEMU's end */
        if (log->queue.length < log->max_words &&
            !tmem_arena_must_fail(&store->arena)) {
            found = g_try_new0(LogWord, 1);
        }
        if (!found) {
            log->full = true;
            return;
        }
        *found = key;
        found->link.data = found;
        g_hash_table_add(log->words, found);
        g_queue_push_tail_link(&log->queue, &found->link);
        log_count(store, 1);
    }
    log->keys += ctpop64(mask & ~found->mask);
    found->mask |= mask;
}

/* The keys of @mask are sent. */
static void log_sent(TmemStore *store, TmemLog *log, LogWord *word,
                     uint64_t mask)
{
    log->keys -= ctpop64(mask & word->mask);
    word->mask &= ~mask;
    if (!word->mask) {
        g_queue_unlink(&log->queue, &word->link);
        g_hash_table_remove(log->words, word);
        log_count(store, -1);
    }
}

void tmem_log_page(TmemStore *store, TmemShard *shard, const TmemPool *pool,
                   uint64_t object, uint64_t key)
{
    if (shard->log) {
        log_add(store, shard->log, pool->id, object, key >> WORD_BITS,
                UINT64_C(1) << key % WORD_KEYS);
    }
}

void tmem_log_pages(TmemStore *store, TmemShard *shard, const TmemPool *pool,
                    uint64_t object, TmemIndex pages, uint64_t first,
                    uint64_t last)
{
    uint64_t key = first;
    uint64_t *entries;
    unsigned num;

    while (shard->log && key <= last &&
           (entries = tmem_index_next(&store->arena, &pages, &key, &num,
                                      false)) && key <= last) {
        uint64_t mask = 0;

        /* A leaf has the keys of a word, or the rest of these. */
        for (unsigned i = 0; i < num && i <= last - key; i++) {
            if (entries[i]) {
                mask |= UINT64_C(1) << (key + i) % WORD_KEYS;
            }
        }
        log_add(store, shard->log, pool->id, object, key >> WORD_BITS, mask);
        key += num;
        if (key < num) {
            break;
        }
    }
}

void tmem_log_forget(TmemStore *store, TmemShard *shard)
{
    if (shard->log) {
        log_clear(store, shard->log);
    }
}

void tmem_log_fill(TmemShard *shard)
{
    if (shard->log) {
        shard->log->full = true;
    }
}

/* ---- Export ---- */

TmemExport *tmem_export_begin(TmemStore *store)
{
    TmemExport *export = g_new0(TmemExport, 1);
    uint64_t bytes;

    g_mutex_lock(&store->size_lock);
    bytes = MAX(store->max_size / LOG_SHARE, LOG_MIN_BYTES);
    g_mutex_unlock(&store->size_lock);

    export->store = store;
    export->max_words = bytes / LOG_WORD_BYTES / TMEM_NUM_SHARDS;
    g_mutex_lock(&store->pools_lock);
    if (store->export) {
        g_mutex_unlock(&store->pools_lock);
        g_free(export);
        return NULL;
    }
    store->export = export;
    export->pools_seen = store->pools_changed - 1;
    g_mutex_unlock(&store->pools_lock);
    return export;
}

static void export_drop_logs(TmemExport *export)
{
    for (unsigned s = 0; s < TMEM_NUM_SHARDS; s++) {
        TmemShard *shard = &export->store->shards[s];

        g_mutex_lock(&shard->lock);
        log_free(export->store, shard->log);
        shard->log = NULL;
        g_mutex_unlock(&shard->lock);
    }
}

void tmem_export_end(TmemExport *export)
{
    if (!export) {
        return;
    }
    export_drop_logs(export);
    g_mutex_lock(&export->store->pools_lock);
    export->store->export = NULL;
    g_mutex_unlock(&export->store->pools_lock);
    g_free(export);
}

static void export_restart(TmemExport *export)
{
    export_drop_logs(export);
    export->walk = (TmemWalk) { 0 };
    export->walked = 0;
    export->restarted = true;
}

/* Look at the pools again before the next page. */
static void export_look_at_pools(TmemExport *export)
{
    export->pools_seen =
        qatomic_read(&export->store->pools_changed) - 1;
}

/* Tell the importer of a pool that is not as it knows it; false: all are. */
static bool export_pool(TmemExport *export, TmemRecord *rec)
{
    TmemStore *store = export->store;
    bool found = false;

    if (!export->restarted &&
        qatomic_read(&store->pools_changed) == export->pools_seen) {
        return false;
    }
    g_mutex_lock(&store->pools_lock);
    for (unsigned i = 0; i < TMEM_MAX_POOLS && !found; i++) {
        TmemPoolSlot *sent = &export->pools[i];
        const TmemPoolSlot *now = &store->pools[i];

        if (sent->id && (export->restarted || sent->id != now->id)) {
            rec->type = TMEM_RECORD_POOL_GONE;
            rec->pool = sent->id;
            sent->id = 0;
            found = true;
        } else if (now->id && !export->restarted && sent->id != now->id) {
            rec->type = TMEM_RECORD_POOL;
            rec->pool = now->id;
            rec->flags = now->flags;
            *sent = *now;
            found = true;
        }
    }
    if (!found && !export->restarted) {
        export->pools_seen = store->pools_changed;
    }
    g_mutex_unlock(&store->pools_lock);
    if (!found && export->restarted) {
        export->restarted = false;
        export_look_at_pools(export);
        return export_pool(export, rec);
    }
    return found;
}

/*
 * Fill in a page of this index; false: it is on the device that the store
 * spills to. One that is not what was put goes as a lost one.
 */
static bool export_page(TmemExport *export, TmemPool *pool, uint64_t object,
                        uint64_t index, uint64_t *entry, TmemRecord *rec)
{
    const TmemKey key = { pool->id, object, index };
    TmemStore *store = export->store;
    TmemCoded coded;

    rec->type = TMEM_RECORD_PAGE;
    rec->pool = pool->id;
    rec->object = object;
    rec->index = index;
    rec->len = 0;
    if (tmem_entry_kind(*entry) == ENTRY_SPILLED) {
        return false;
    }
    coded = tmem_entry_read(store, *entry);
    if (!tmem_coded_check(&key, &coded)) {
        tmem_entry_lose(store, tmem_shard_find(store, object, index), pool,
                        &key, entry);
        coded = tmem_codec_lost();
    }
    rec->kind = coded.kind;
    rec->len = coded.len;
    memcpy(rec->data, coded.data, coded.len);
    return true;
}

/*
 * Read a page from the device, as it is kept there; export_page() has filled in
 * the rest. Returns: 1; 0: there is no such page any more, which the log has;
 * -EIO. With no lock held: it waits.
 *
 * A device that cannot be read now may be readable later: the page is not given
 * up, and the guest stays. Wrong bytes are wrong for good: the guest may leave,
 * and its gets of that page fail there as they do here.
 */
static int export_fetch(TmemExport *export, TmemRecord *rec)
{
    TmemStore *store = export->store;
    TmemShard *shard = tmem_shard_find(store, rec->object, rec->index);
    const TmemKey key = { rec->pool, rec->object, rec->index };
    TmemCoded coded;
    int ret;

    while ((ret = tmem_spill_copy(store, &key, rec->data, &coded)) == -EAGAIN) {
        TmemPool *pool;
        uint64_t *entry;

        g_mutex_lock(&shard->lock);
        entry = tmem_key_lookup(store, shard, &key, &pool);
        if (!entry) {
            ret = 0;
        } else if (export_page(export, pool, key.object, key.index, entry,
                               rec)) {
            ret = 1;
        }
        g_mutex_unlock(&shard->lock);
        if (ret != -EAGAIN) {
            return ret;
        }
    }
    if (ret == -EBADMSG) {
        coded = tmem_codec_lost();
        memcpy(rec->data, coded.data, coded.len);
    } else if (ret < 0) {
        return ret;
    }
    rec->kind = coded.kind;
    rec->len = coded.len;
    return 1;
}

typedef enum ExportStep {
    EXPORT_NOTHING,         /* nothing more in this shard */
    EXPORT_RECORD,
    EXPORT_POOL,            /* the importer lacks the pool: that first */
    EXPORT_RESTART,         /* the log does not have all that has changed */
} ExportStep;

static bool export_knows(const TmemExport *export, const TmemPool *pool)
{
    return export->pools[pool->id % TMEM_MAX_POOLS].id == pool->id;
}

/* The next page of the walk. Called with the lock of its shard held. */
static ExportStep export_walk_locked(TmemExport *export, TmemShard *shard,
                                     TmemRecord *rec)
{
    TmemWalk *walk = &export->walk;
    LogWord key, *word;
    TmemPool *pool;
    uint64_t *entry;
    unsigned num;

    if (!shard->log) {
        shard->log = log_new(export->max_words);
    }
    if (shard->log->full) {
        return EXPORT_RESTART;
    }
    entry = tmem_walk_next(export->store, walk, &pool, &num, false);
    if (!entry) {
        return EXPORT_NOTHING;
    }
    if (!export_knows(export, pool)) {
        return EXPORT_POOL;
    }
    export_page(export, pool, walk->object,
                tmem_shard_index(walk->shard, walk->object, walk->key), entry,
                rec);
    export->walked++;

    key.pool = pool->id;
    key.object = walk->object;
    key.word = walk->key >> WORD_BITS;
    word = g_hash_table_lookup(shard->log->words, &key);
    if (word) {
        log_sent(export->store, shard->log, word,
                 UINT64_C(1) << walk->key % WORD_KEYS);
    }
    tmem_walk_skip(walk, 1);
    return EXPORT_RECORD;
}

static ExportStep export_walk(TmemExport *export, TmemRecord *rec)
{
    ExportStep step = EXPORT_NOTHING;

    while (step == EXPORT_NOTHING && export->walk.shard < TMEM_NUM_SHARDS) {
        TmemShard *shard = &export->store->shards[export->walk.shard];

        g_mutex_lock(&shard->lock);
        step = export_walk_locked(export, shard, rec);
        g_mutex_unlock(&shard->lock);
        if (step == EXPORT_NOTHING) {
            tmem_walk_shard(&export->walk);
            export->walked = 0;
        }
    }
    return step;
}

/* Make a record of some keys of the word, and say which. */
static uint64_t export_word(TmemExport *export, unsigned s, TmemPool *pool,
                            const LogWord *word, TmemRecord *rec)
{
    unsigned bit = ctz64(word->mask);
    uint64_t key = word->word << WORD_BITS;
    uint64_t *entry = tmem_page_lookup(export->store, pool, word->object,
                                       key + bit);
    uint64_t index = tmem_shard_index(s, word->object, key);
    uint64_t absent = 0;

    if (entry) {
        export_page(export, pool, word->object, index + bit, entry, rec);
        return UINT64_C(1) << bit;
    }
    rec->object = word->object;
    rec->index = index;
    while (bit < WORD_KEYS && (word->mask >> bit & 1) && !entry) {
        absent |= UINT64_C(1) << bit++;
        if (bit < WORD_KEYS) {
            entry = tmem_page_lookup(export->store, pool, word->object,
                                     key + bit);
        }
    }
    rec->type = TMEM_RECORD_ABSENT;
    rec->pool = pool->id;
    rec->mask = absent;
    return absent;
}

/* The oldest change that the shard's log has. Called with its lock held. */
static ExportStep export_log_locked(TmemExport *export, unsigned s,
                                    TmemRecord *rec)
{
    TmemShard *shard = &export->store->shards[s];
    TmemLog *log = shard->log;

    if (log->full) {
        return EXPORT_RESTART;
    }
    while (log->queue.head) {
        LogWord *word = log->queue.head->data;
        TmemPool *pool = tmem_pool_find(shard, word->pool);

        if (!pool) {
            /* Destroyed, with all its pages */
            log_sent(export->store, log, word, UINT64_MAX);
            continue;
        }
        if (!export_knows(export, pool)) {
            return EXPORT_POOL;
        }
        log_sent(export->store, log, word,
                 export_word(export, s, pool, word, rec));
        return EXPORT_RECORD;
    }
    return EXPORT_NOTHING;
}

static ExportStep export_log(TmemExport *export, TmemRecord *rec)
{
    ExportStep step = EXPORT_NOTHING;

    for (unsigned n = 0; n < TMEM_NUM_SHARDS; n++) {
        TmemShard *shard = &export->store->shards[export->turn];

        g_mutex_lock(&shard->lock);
        step = export_log_locked(export, export->turn, rec);
        g_mutex_unlock(&shard->lock);
        if (step != EXPORT_NOTHING) {
            break;
        }
        export->turn = (export->turn + 1) % TMEM_NUM_SHARDS;
    }
    return step;
}

int tmem_export_next(TmemExport *export, TmemRecord *rec)
{
    for (;;) {
        ExportStep step;
        int ret;

        if (export_pool(export, rec)) {
            return 1;
        }
        step = export_walk(export, rec);
        if (step == EXPORT_NOTHING) {
            step = export_log(export, rec);
        }
        switch (step) {
        case EXPORT_NOTHING:
            return 0;
        case EXPORT_RECORD:
            if (rec->type != TMEM_RECORD_PAGE || rec->len) {
                return 1;
            }
            ret = export_fetch(export, rec);
            if (ret) {
                return ret;
            }
            break;
        case EXPORT_POOL:
            export_look_at_pools(export);
            break;
        case EXPORT_RESTART:
            export_restart(export);
            break;
        }
    }
}

uint64_t tmem_export_pending(TmemExport *export)
{
    uint64_t keys = 0, left = 0, pages = 0, bytes = 0;
    bool full = false;

    for (unsigned s = 0; s < TMEM_NUM_SHARDS; s++) {
        TmemShard *shard = &export->store->shards[s];

        g_mutex_lock(&shard->lock);
        pages += shard->counts.pages;
        bytes += shard->counts.bytes_stored +
                 shard->counts.spilled_bytes;
        if (s == export->walk.shard) {
            left += shard->counts.pages -
                    MIN(export->walked, shard->counts.pages);
        } else if (s > export->walk.shard) {
            left += shard->counts.pages;
        }
        if (shard->log) {
            keys += shard->log->keys;
            full |= shard->log->full;
        }
        g_mutex_unlock(&shard->lock);
    }
    if (full) {
        left = pages;
    }
    return (left + keys) * (RECORD_BYTES + (pages ? bytes / pages : 0));
}

/* The pages of persistent pools, and how many pools there are. */
static uint64_t store_count(TmemStore *store, uint32_t *num_pools)
{
    TmemPoolStats pools[TMEM_MAX_POOLS];
    uint64_t pages = 0;

    *num_pools = tmem_store_get_pools(store, pools);
    for (unsigned i = 0; i < *num_pools; i++) {
        pages += pools[i].ephemeral ? 0 : pools[i].pages;
    }
    return pages;
}

void tmem_export_totals(TmemExport *export, TmemExportTotals *totals)
{
    TmemStore *store = export->store;

    totals->pages = store_count(store, &totals->num_pools);
    g_mutex_lock(&store->pools_lock);
    totals->next_pool = store->next_pool;
    g_mutex_unlock(&store->pools_lock);
}

/* ---- Import ---- */

void tmem_import_begin(TmemStore *store)
{
    tmem_store_reset(store);
    tmem_store_set_import(store, TMEM_IMPORT_LIVE);
}

void tmem_import_final(TmemStore *store)
{
    tmem_store_set_import(store, TMEM_IMPORT_FINAL);
}

void tmem_import_end(TmemStore *store)
{
    tmem_store_set_import(store, TMEM_IMPORT_NONE);
}

static bool coded_is_valid(const TmemCoded *coded)
{
    switch (coded->kind) {
    case TMEM_KIND_SAME:
        return coded->len == sizeof(uint64_t);
    case TMEM_KIND_RAW:
        return coded->len == TMEM_PAGE_SIZE;
    case TMEM_KIND_LZ4:
    case TMEM_KIND_ZSTD:
        return coded->len > 0 && coded->len <= TMEM_CODED_MAX;
    }
    return false;
}

static bool pool_is_ephemeral(TmemStore *store, uint32_t pool)
{
    const TmemPoolSlot *slot = &store->pools[pool % TMEM_MAX_POOLS];
    bool ret;

    g_mutex_lock(&store->pools_lock);
    ret = slot->id == pool && (slot->flags & TMEM_POOL_EPHEMERAL);
    g_mutex_unlock(&store->pools_lock);
    return ret;
}

static int import_page(TmemStore *store, const TmemRecord *rec)
{
    const TmemCoded coded = { rec->kind, rec->len, rec->data };
    int ret;

    if (!coded_is_valid(&coded)) {
        return -EINVAL;
    }
    if (coded.kind == TMEM_KIND_ZSTD && !tmem_codec_has_zstd()) {
        return -ENOTSUP;
    }
    if (!tmem_codec_is_lost(&coded) &&
        tmem_codec_decode(&coded, tmem_store_bounce()) < 0) {
        return -EIO;
    }
    ret = tmem_page_import(store, rec->pool, rec->object, rec->index, &coded);
    if (ret == -ENOSPC && pool_is_ephemeral(store, rec->pool)) {
        return 0;
    }
    return ret;
}

static int import_absent(TmemStore *store, const TmemRecord *rec)
{
    uint64_t mask = rec->mask;

    if (rec->index % TMEM_RECORD_INDEXES || !mask) {
        return -EINVAL;
    }
    while (mask) {
        unsigned first = ctz64(mask);
        unsigned num = cto64(mask >> first);
        int64_t ret = tmem_store_flush(store, rec->pool, rec->object,
                                       rec->index + first,
                                       rec->index + first + num - 1);

        if (ret < 0) {
            return ret;
        }
        mask = first + num < WORD_KEYS ?
               mask >> (first + num) << (first + num) : 0;
    }
    return 0;
}

int tmem_import(TmemStore *store, const TmemRecord *rec)
{
    int64_t ret;

    switch (rec->type) {
    case TMEM_RECORD_POOL:
        if (!rec->pool || (rec->flags & ~TMEM_POOL_EPHEMERAL)) {
            return -EINVAL;
        }
        return tmem_pool_import(store, rec->pool, rec->flags);
    case TMEM_RECORD_POOL_GONE:
        ret = tmem_store_pool_destroy(store, rec->pool);
        return MIN(ret, 0);
    case TMEM_RECORD_PAGE:
        return import_page(store, rec);
    case TMEM_RECORD_ABSENT:
        return import_absent(store, rec);
    }
    return -EINVAL;
}

bool tmem_import_check(TmemStore *store, const TmemExportTotals *totals)
{
    uint32_t num_pools;
    uint64_t pages = store_count(store, &num_pools);

    if (pages != totals->pages || num_pools != totals->num_pools) {
        return false;
    }
    g_mutex_lock(&store->pools_lock);
    store->next_pool = totals->next_pool;
    g_mutex_unlock(&store->pools_lock);
    return true;
}
