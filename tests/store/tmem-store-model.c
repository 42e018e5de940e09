/*
 * What the page store must do, as a table of pages
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "tmem-store-model.h"
#include "tmem-store-content.h"
#include "hw/virtio/tmem-store-migrate.h"
#include "tmem-spill-fake.h"

/*
 * A put takes at most one block for the page, one for the nodes of the trees
 * and one for its place on the list of ephemeral pages. With less than that
 * left, it may be refused.
 */
#define REFUSAL_BLOCKS 3

/*
 * What recompression may take beyond what was used when max_size was lowered
 * below that (EXCEED_BLOCKS of the allocator); never beyond max_size otherwise.
 */
#define EXCEED_BYTES (8 * TMEM_BLOCK_SIZE)

/* What puts leave of max_size to a store that spills: that needs some first. */
#define SPARE_BYTES EXCEED_BYTES

/* Calls of 1 ms each after which maintenance must have come to an end. */
#define MAINTAIN_CALLS 20000

/* After this time it tries again what it could not do. */
#define MAINTAIN_WAIT (11 * G_USEC_PER_SEC)

typedef struct ModelPage {
    uint32_t pool;           /* id */
    uint64_t object;
    uint64_t index;
    unsigned kind;
    uint64_t version;
    bool ephemeral;
    GList lru;               /* its place in Model.lru */
    bool expected;           /* there since the walk began */
    bool found;              /* by the walk */
} ModelPage;

typedef struct ModelPool {
    uint32_t id;             /* 0: none */
    bool ephemeral;
    uint64_t pages;
} ModelPool;

struct Model {
    TmemStore *store;
    TmemStoreConfig config;
    FakeSpill *device;       /* NULL: there is none */
    bool woken;              /* it has made maintenance go on */
    GHashTable *pages;
    GQueue lru;              /* ephemeral pages, the newest first */
    ModelPool pools[MODEL_POOLS];
    uint64_t versions;
    uint64_t same, in_word;  /* pages of these kinds */
    uint64_t puts, rejected_puts, gets, misses, flushes, evicted;
    uint64_t max_size, min_size, limit;
    uint64_t exceed;         /* bytes that maintenance may take, for a while */
    TmemLimitCause cause;
    uint64_t used;           /* bytes, before the call */
    unsigned reserved;       /* puts that are promised */
    bool kept;               /* memory for more than these may be held */
    bool injected;

    bool walking;
    TmemWalk walk;
    uint64_t walk_left;      /* pages that it still must find */

    TmemExport *export;      /* or NULL */
    TmemStore *twin;         /* that takes the records */
};

int64_t model_clock;
int64_t model_clock_tick = 1;

/* The store's clock, by the linker's --wrap. */
gint64 __wrap_g_get_monotonic_time(void);
gint64 __wrap_g_get_monotonic_time(void)
{
    return model_clock += model_clock_tick;
}

static guint page_hash(gconstpointer p)
{
    const ModelPage *page = p;

    return mix(page->index + mix(page->object + mix(page->pool)));
}

static gboolean page_equal(gconstpointer a, gconstpointer b)
{
    const ModelPage *left = a, *right = b;

    return left->pool == right->pool && left->object == right->object &&
           left->index == right->index;
}

static void assert_page_is(const ModelPage *page, const void *got)
{
    uint64_t want[PAGE_WORDS];

    page_fill(want, page->kind, page->version);
    g_assert_cmpmem(got, TMEM_PAGE_SIZE, want, sizeof(want));
}

static ModelPool *pool_by_id(Model *model, uint32_t id)
{
    for (unsigned i = 0; i < MODEL_POOLS; i++) {
        if (id && model->pools[i].id == id) {
            return &model->pools[i];
        }
    }
    return NULL;
}

static ModelPage *page_lookup(Model *model, uint32_t pool, uint64_t object,
                              uint64_t index)
{
    ModelPage key = { .pool = pool, .object = object, .index = index };

    return g_hash_table_lookup(model->pages, &key);
}

/* Count a page that came (1) or went (-1), or changed (-1, then 1). */
static void page_count(Model *model, ModelPage *page, int delta)
{
    uint64_t word;

    if (same_word(page->kind, page->version, &word)) {
        model->same += delta;
        model->in_word += word_fits_entry(word) ? delta : 0;
    }
    pool_by_id(model, page->pool)->pages += delta;
    if (!page->ephemeral) {
        return;
    } else if (delta > 0) {
        g_queue_push_head_link(&model->lru, &page->lru);
    } else {
        g_queue_unlink(&model->lru, &page->lru);
    }
}

/* The page is gone, but for its memory. */
static void page_gone(Model *model, ModelPage *page)
{
    page_count(model, page, -1);
    model->walk_left -= page->expected && !page->found;
}

static void page_remove(Model *model, ModelPage *page)
{
    page_gone(model, page);
    g_hash_table_remove(model->pages, page);
}

/* Put is to replace the page, if there is one: its old contents go first. */
static ModelPage *page_add(Model *model, ModelPool *pool, uint64_t object,
                           uint64_t index)
{
    ModelPage *page = page_lookup(model, pool->id, object, index);

    if (!page) {
        page = g_new0(ModelPage, 1);
        page->pool = pool->id;
        page->object = object;
        page->index = index;
        page->ephemeral = pool->ephemeral;
        page->lru.data = page;
        g_hash_table_add(model->pages, page);
    }
    return page;
}

static bool page_in_range(const ModelPage *page, uint32_t pool,
                          uint64_t object, uint64_t first, uint64_t last)
{
    return page->pool == pool && page->object == object &&
           page->index >= first && page->index <= last;
}

/* ---- What must hold after each call ---- */

/* The limit was set anew. */
static void note_limit(Model *model)
{
    model->exceed = model->used > model->max_size ?
                    model->used + EXCEED_BYTES : model->max_size;
}

static void check_pools(Model *model, const TmemStoreStats *stats)
{
    TmemPoolStats pools[TMEM_MAX_POOLS];
    unsigned num = tmem_store_get_pools(model->store, pools);
    uint64_t bytes = 0;
    unsigned expected = 0;

    for (unsigned i = 0; i < MODEL_POOLS; i++) {
        expected += model->pools[i].id != 0;
    }
    g_assert_cmpuint(num, ==, expected);
    for (unsigned i = 0; i < num; i++) {
        ModelPool *pool = pool_by_id(model, pools[i].id);

        g_assert_nonnull(pool);
        g_assert_true(i == 0 || pools[i].id > pools[i - 1].id);
        g_assert_true(tmem_store_pool_exists(model->store, pool->id));
        g_assert_cmpuint(pools[i].pages, ==, pool->pages);
        g_assert_cmpint(pools[i].ephemeral, ==, pool->ephemeral);
        bytes += pools[i].bytes_stored;
    }
    g_assert_cmpuint(stats->bytes_stored, ==, bytes);
}

/* Every object of the arena belongs to a page or a tree: none is lost. */
static void check_objects(Model *model, const TmemStoreStats *stats)
{
    const TmemArena *arena = &model->store->arena;
    const TmemReserve *reserve = &arena->reserve;
    uint64_t held = reserve->num_large + reserve->num_small;
    uint64_t objects = 0;

    for (unsigned c = 0; c < TMEM_MAX_CLASSES; c++) {
        objects += arena->classes[c].used;
    }
    g_assert_cmpuint(objects, ==, stats->pages - model->in_word +
                     stats->ephemeral + arena->num_nodes + held);
    if (stats->pages == 0) {
        g_assert_cmpuint(arena->num_nodes, ==, 0);
        g_assert_true(held || arena->num_used == 0);
    }
    g_assert_cmpuint(reserve->puts, ==, model->reserved);
    g_assert_cmpuint(reserve->num_large, >=, reserve->puts);
    g_assert_cmpuint(reserve->num_small, >=, reserve->puts);
}

static void check_counts(Model *model, const TmemStoreStats *stats)
{
    g_assert_cmpuint(stats->pages, ==, g_hash_table_size(model->pages));
    g_assert_cmpuint(stats->ephemeral, ==, model->lru.length);
    g_assert_cmpuint(stats->same_filled, ==, model->same);
    g_assert_cmpuint(stats->same_filled + stats->raw + stats->zstd +
                     stats->spill.pages, <=, stats->pages);
    if (model->config.compression != TMEM_COMPRESSION_LZ4) {
        g_assert_cmpuint(stats->same_filled + stats->raw + stats->zstd +
                         stats->spill.pages, ==, stats->pages);
        g_assert_cmpuint(stats->recompressed, ==, 0);
    }
    g_assert_cmpuint(stats->puts, ==, model->puts);
    g_assert_cmpuint(stats->rejected_puts, ==, model->rejected_puts);
    g_assert_cmpuint(stats->gets, ==, model->gets);
    g_assert_cmpuint(stats->misses, ==, model->misses);
    g_assert_cmpuint(stats->flushes, ==, model->flushes);
}

/* Every page on the device is in an extent, and no extent is lost. */
static void check_spill(Model *model, const TmemStoreStats *stats)
{
    const TmemSpill *spill = model->store->spill;
    uint64_t pages = 0, bytes = 0;
    uint32_t free, dead = 0;

    if (!spill) {
        g_assert_cmpuint(stats->spill.pages, ==, 0);
        return;
    }
    free = spill->num_extents - spill->num_touched;
    for (uint32_t e = 0; e < spill->num_touched; e++) {
        const TmemExtent *extent = &spill->extents[e];

        pages += extent->pages;
        bytes += extent->bytes;
        free += extent->state == TMEM_EXTENT_FREE;
        dead += extent->state == TMEM_EXTENT_DEAD;
        g_assert_true((extent->pages > 0) ==
                      (extent->state == TMEM_EXTENT_LIVE));
    }
    g_assert_cmpuint(pages, ==, stats->spill.pages);
    g_assert_cmpuint(bytes, ==, stats->spill.bytes_stored);
    g_assert_cmpuint(free, ==, spill->num_free);
    g_assert_cmpuint(dead, ==, spill->num_dead);
    g_assert_cmpuint(stats->spill.bad_pages, ==, 0);
    g_assert_cmpuint(stats->spill.read_errors, ==, 0);
}

/* What the store has dropped was what had not been used for longest. */
static void take_evictions(Model *model)
{
    uint64_t evicted = 0;

    for (unsigned s = 0; s < TMEM_NUM_SHARDS; s++) {
        evicted += model->store->shards[s].counts.evicted;
    }
    for (; model->evicted < evicted; model->evicted++) {
        g_assert_cmpuint(model->lru.length, >, 0);
        page_remove(model, model->lru.tail->data);
    }
}

/*
 * Check everything but the contents of pages. @may_take: what the call may have
 * taken memory up to; what was held before may be more.
 */
static TmemStoreStats model_check(Model *model, uint64_t may_take)
{
    TmemStoreStats stats;
    uint64_t log_bytes = model->store->log_bytes;

    model->store->arena.inject = 0;
    model->injected = false;
    tmem_store_get_stats(model->store, &stats);
    take_evictions(model);
    check_counts(model, &stats);
    check_pools(model, &stats);
    check_objects(model, &stats);
    check_spill(model, &stats);

    g_assert_cmpuint(stats.max_size, ==, model->max_size);
    g_assert_cmpuint(stats.min_size, ==, model->min_size);
    g_assert_cmpuint(stats.limit, ==, model->limit);
    g_assert_cmpint(stats.cause, ==, model->cause);
    g_assert_cmpuint(stats.bytes_used, <=,
                     MAX(may_take, model->used) + log_bytes);
    g_assert_cmpuint(stats.bytes_stored + stats.bytes_metadata, <=,
                     stats.bytes_used);
    g_assert_cmpint(tmem_store_over_limit(model->store), ==,
                    stats.bytes_used > stats.limit);
    model->used = stats.bytes_used - log_bytes;
    return stats;
}

/* ---- The calls ---- */

static void model_wake(void *opaque)
{
    Model *model = opaque;

    model->woken = true;
}

Model *model_new(const TmemStoreConfig *config, uint64_t device)
{
    Model *model = g_new0(Model, 1);
    GError *err = NULL;

    model->config = *config;
    model->store = tmem_store_new(config, &err);
    g_assert_no_error(err);
    if (device) {
        model->device = fake_new(device);
        tmem_store_set_spill(model->store, &fake_ops, model->device, device,
                             &err);
        g_assert_no_error(err);
        tmem_store_set_wake(model->store, model_wake, model);
    }
    model->pages = g_hash_table_new_full(page_hash, page_equal, g_free, NULL);
    g_queue_init(&model->lru);
    model->max_size = config->max_size;
    model->min_size = config->min_size;
    model->limit = config->max_size;
    model->cause = TMEM_LIMIT_MAX;
    model->exceed = model->max_size;
    model_check(model, model->limit);
    return model;
}

void model_free(Model *model)
{
    model_check_pages(model);
    model_export_end(model, true);
    model->walking = false;
    model_walk(model, UINT_MAX);
    model_unreserve(model, UINT_MAX);
    for (unsigned i = 0; i < MODEL_POOLS; i++) {
        model_pool_destroy(model, i);
    }
    model_device_defer(model, false);
    tmem_store_free(model->store);
    if (model->device) {
        fake_free(model->device);
    }
    g_hash_table_destroy(model->pages);
    g_free(model);
}

void model_device_defer(Model *model, bool defer)
{
    if (model->device) {
        fake_set_defer(model->device, defer);
    }
}

void model_device_run(Model *model, unsigned requests)
{
    while (model->device && requests-- > 0 && fake_run(model->device)) {
        continue;
    }
    model_check(model, 0);
}

void model_device_fail(Model *model, unsigned writes)
{
    if (model->device) {
        model->device->fail_writes = writes;
        model->device->write_error = writes % 2 ? EIO : ENOSPC;
    }
}

void model_inject(Model *model, unsigned nth)
{
    model->store->arena.inject = nth;
    model->injected = true;
}

/* An id that is no pool's. */
static uint32_t no_pool(Model *model)
{
    return model->store->next_pool + TMEM_MAX_POOLS;
}

/* Whether so little is left that the store may refuse to take more. */
static bool is_full(const Model *model, uint64_t used)
{
    uint64_t limit = model->limit;

    if (model->device) {
        limit = MIN(limit, model->max_size - SPARE_BYTES);
    }
    return used + REFUSAL_BLOCKS * TMEM_BLOCK_SIZE > limit;
}

static void put_page(Model *model, unsigned which, uint64_t object,
                     uint64_t index, unsigned kind, bool promised)
{
    ModelPool *pool = &model->pools[which];
    ModelPage *page = page_lookup(model, pool->id, object, index);
    bool quota = model->config.pool_quota && !page && !promised &&
                 pool->pages >= model->config.pool_quota;
    uint32_t id = pool->id ? pool->id : no_pool(model);
    uint64_t words[PAGE_WORDS];
    uint64_t version = ++model->versions;
    bool injected = model->injected;
    int ret;

    page_fill(words, kind, version);
    if (promised) {
        ret = tmem_store_put_reserved(model->store, id, object, index, words);
        model->reserved--;
        model->kept = true;
    } else {
        ret = tmem_store_put(model->store, id, object, index, words);
    }
    if (!pool->id) {
        g_assert_cmpint(ret, ==, -EINVAL);
        return;
    }

    if (page) {
        page_count(model, page, -1);
    }
    /* What was dropped for this page was dropped without it on the list. */
    take_evictions(model);

    if (ret == 0) {
        g_assert_false(quota);
        page = page_add(model, pool, object, index);
        page->kind = kind;
        page->version = version;
        page_count(model, page, 1);
        model->puts++;
        return;
    }
    g_assert_cmpint(ret, ==, -ENOSPC);
    g_assert_false(promised);
    if (page) {
        model->walk_left -= page->expected && !page->found;
        g_hash_table_remove(model->pages, page);
    }
    model->rejected_puts++;
    g_assert_true(quota || injected ||
                  is_full(model, tmem_store_bytes(model->store)));
}

static void put_run(Model *model, const ModelRun *run, unsigned kind,
                    bool promised)
{
    for (unsigned i = 0; i < run->num; i++) {
        /* Kinds from MODEL_KINDS on: they take turns. */
        put_page(model, run->pool, run->object, run->index + i * run->stride,
                 (kind < MODEL_KINDS ? kind : kind + i) % MODEL_KINDS,
                 promised && model->reserved > 0);
    }
    model_check(model, model->limit);
}

void model_put(Model *model, const ModelRun *run, unsigned kind)
{
    put_run(model, run, kind, false);
}

void model_put_reserved(Model *model, const ModelRun *run, unsigned kind)
{
    put_run(model, run, kind, true);
}

void model_reserve(Model *model, unsigned puts)
{
    bool injected = model->injected;
    unsigned ret = tmem_store_reserve(model->store, puts);

    g_assert_cmpuint(ret, <=, puts);
    model->reserved += ret;
    g_assert_cmpuint(model->reserved, <=, TMEM_MAX_RESERVED);
    model_check(model, model->limit);
    /* What is held and not enough for another promise is freed: it was full. */
    g_assert_true(ret == puts || injected || model->kept ||
                  model->reserved == TMEM_MAX_RESERVED ||
                  is_full(model, model->used));
    model->kept = model->kept && ret == puts;
}

/* Give back @puts promises, or all that there are. */
void model_unreserve(Model *model, unsigned puts)
{
    puts = MIN(puts, model->reserved);
    tmem_store_unreserve(model->store, puts);
    model->reserved -= puts;
    model->kept = false;
    model_check(model, 0);
}

static void fetch_done(TmemFetch *fetch)
{
}

/* As tmem_store_get(): what the device is told to do later, it does now. */
static int get_wait(Model *model, uint32_t pool, uint64_t object,
                    uint64_t index, void *page)
{
    TmemFetch fetch = { .done = fetch_done };
    int ret;

    while ((ret = tmem_store_get_async(model->store, pool, object, index, page,
                                       &fetch)) == -EINPROGRESS) {
        g_assert_true(fake_run(model->device) || !model->device->defer);
    }
    return ret;
}

/* Get a page without a look at all the numbers. */
static void get_page(Model *model, ModelPool *pool, uint64_t object,
                     uint64_t index)
{
    ModelPage *page = page_lookup(model, pool->id, object, index);
    uint64_t got[PAGE_WORDS];
    int ret;

    ret = get_wait(model, pool->id ? pool->id : no_pool(model), object, index,
                   got);
    if (page) {
        g_assert_cmpint(ret, ==, 0);
        assert_page_is(page, got);
        model->gets++;
        page_count(model, page, -1);
        page_count(model, page, 1);
    } else {
        g_assert_cmpint(ret, ==, pool->id ? -ENOENT : -EINVAL);
        model->misses += pool->id != 0;
    }
}

void model_get(Model *model, const ModelRun *run)
{
    for (unsigned i = 0; i < run->num; i++) {
        get_page(model, &model->pools[run->pool], run->object,
                 run->index + i * run->stride);
    }
    model_check(model, 0);
}

void model_check_pages(Model *model)
{
    GHashTableIter iter;
    ModelPage *page;

    g_hash_table_iter_init(&iter, model->pages);
    while (g_hash_table_iter_next(&iter, (gpointer *)&page, NULL)) {
        get_page(model, pool_by_id(model, page->pool), page->object,
                 page->index);
    }
    model_check(model, 0);
}

void model_flush(Model *model, unsigned which, uint64_t object, uint64_t first,
                 uint64_t last)
{
    ModelPool *pool = &model->pools[which];
    int64_t expected = 0;
    GHashTableIter iter;
    ModelPage *page;
    int64_t ret;

    ret = tmem_store_flush(model->store, pool->id ? pool->id : no_pool(model),
                           object, first, last);
    if (!pool->id || first > last) {
        g_assert_cmpint(ret, ==, -EINVAL);
    } else {
        g_hash_table_iter_init(&iter, model->pages);
        while (g_hash_table_iter_next(&iter, (gpointer *)&page, NULL)) {
            if (page_in_range(page, pool->id, object, first, last)) {
                page_gone(model, page);
                g_hash_table_iter_remove(&iter);
                expected++;
            }
        }
        g_assert_cmpint(ret, ==, expected);
        model->flushes += expected;
    }
    model_check(model, 0);
}

/* Page by page: blocks become sparse. */
void model_flush_run(Model *model, const ModelRun *run)
{
    ModelPool *pool = &model->pools[run->pool];

    for (unsigned i = 0; pool->id && i < run->num; i++) {
        uint64_t index = run->index + i * run->stride;
        ModelPage *page = page_lookup(model, pool->id, run->object, index);

        g_assert_cmpint(tmem_store_flush(model->store, pool->id, run->object,
                                         index, index), ==, page != NULL);
        if (page) {
            page_remove(model, page);
            model->flushes++;
        }
    }
    model_check(model, 0);
}

void model_pool_create(Model *model, unsigned which, unsigned flags)
{
    ModelPool *pool = &model->pools[which];
    uint32_t id = 0;

    if (pool->id) {
        return;
    }
    g_assert_cmpint(tmem_store_pool_create(model->store, flags, &id), ==, 0);
    g_assert_cmpuint(id, !=, 0);
    g_assert_null(pool_by_id(model, id));
    *pool = (ModelPool) {
        .id = id, .ephemeral = flags & TMEM_POOL_EPHEMERAL
    };
    model_check(model, 0);
}

void model_pool_destroy(Model *model, unsigned which)
{
    ModelPool *pool = &model->pools[which];
    int64_t expected = 0;
    GHashTableIter iter;
    ModelPage *page;
    int64_t ret;

    ret = tmem_store_pool_destroy(model->store,
                                  pool->id ? pool->id : no_pool(model));
    if (!pool->id) {
        g_assert_cmpint(ret, ==, -EINVAL);
        return;
    }
    g_hash_table_iter_init(&iter, model->pages);
    while (g_hash_table_iter_next(&iter, (gpointer *)&page, NULL)) {
        if (page->pool == pool->id) {
            page_gone(model, page);
            g_hash_table_iter_remove(&iter);
            expected++;
        }
    }
    g_assert_cmpint(ret, ==, expected);
    g_assert_false(tmem_store_pool_exists(model->store, pool->id));
    g_assert_cmpint(tmem_store_pool_destroy(model->store, pool->id), ==,
                    -EINVAL);
    pool->id = 0;
    model->flushes += expected;
    model_check(model, 0);
}

/* As many pools as there can be, and one more; then as before. */
void model_pools_exhaust(Model *model)
{
    uint32_t ids[TMEM_MAX_POOLS + 1];
    unsigned num = 0;
    unsigned before = 0;

    for (unsigned i = 0; i < MODEL_POOLS; i++) {
        before += model->pools[i].id != 0;
    }
    while (tmem_store_pool_create(model->store, 0, &ids[num]) == 0) {
        num++;
        g_assert_cmpuint(num, <=, TMEM_MAX_POOLS - before);
    }
    g_assert_cmpuint(num, ==, TMEM_MAX_POOLS - before);
    while (num-- > 0) {
        g_assert_cmpint(tmem_store_pool_destroy(model->store, ids[num]), ==, 0);
    }
    model_check(model, 0);
}

void model_set_limit(Model *model, uint64_t limit, TmemLimitCause cause)
{
    tmem_store_set_limit(model->store, limit, cause);
    model->limit = MIN(MAX(limit, model->min_size), model->max_size);
    model->cause = cause;
    note_limit(model);
    model_check(model, 0);
}

void model_set_size(Model *model, uint64_t min_size, uint64_t max_size)
{
    bool ret = tmem_store_set_size(model->store, min_size, max_size, NULL);
    TmemStoreStats stats;

    if (max_size < TMEM_STORE_MIN_LIMIT || min_size > max_size ||
        (model->device && max_size < TMEM_STORE_MIN_SPILL_LIMIT)) {
        g_assert_false(ret);
    } else if (max_size <= MAX(model->max_size, model->config.span)) {
        g_assert_true(ret);
    } else {
        g_assert_true(!ret ||
                      max_size <= model->config.span + TMEM_BLOCK_SIZE);
    }
    if (ret) {
        uint64_t limit = model->cause == TMEM_LIMIT_MAX ? max_size
                                                        : model->limit;

        model->min_size = min_size;
        model->max_size = max_size;
        model->limit = MIN(MAX(limit, min_size), max_size);
        /* The table of blocks is counted as large as it could get. */
        tmem_store_get_stats(model->store, &stats);
        model->used = stats.bytes_used;
        note_limit(model);
    }
    model_check(model, 0);
}

void model_maintain(Model *model, int64_t usec)
{
    tmem_store_maintain(model->store, usec);
    model_check(model, model->exceed);
}

/* Whether there are objects that compaction cannot move. */
static bool can_stick(const Model *model)
{
    const TmemReserve *reserve = &model->store->arena.reserve;

    return reserve->num_large + reserve->num_small > 0;
}

/* Undisturbed, maintenance ends, and has done then what it can. */
void model_maintain_all(Model *model)
{
    TmemStoreStats stats;
    unsigned calls = 0;

    /*
     * Long enough for what was before not to count as load; and again, as a
     * pass that began before may have come to nothing, which makes it wait.
     */
    model_device_defer(model, false);
    for (unsigned i = 0; i < 2; i++) {
        model_clock += MAINTAIN_WAIT;
        model->woken = true;
        while (model->woken) {
            model->woken = false;
            model->woken |= tmem_store_maintain(model->store, 1000);
            g_assert_cmpuint(++calls, <, MAINTAIN_CALLS);
        }
    }
    stats = model_check(model, model->exceed);
    if (stats.bytes_used > stats.limit) {
        g_assert_cmpuint(stats.ephemeral, ==, 0);
        g_assert_true(stats.bytes_reclaimable == 0 || can_stick(model));
    }
    g_assert_true(stats.bytes_reclaimable <= stats.bytes_used / 16 ||
                  can_stick(model));
}

static void walk_begin(Model *model)
{
    GHashTableIter iter;
    ModelPage *page;

    model->walk = (TmemWalk) { 0 };
    model->walking = true;
    model->walk_left = g_hash_table_size(model->pages);
    g_hash_table_iter_init(&iter, model->pages);
    while (g_hash_table_iter_next(&iter, (gpointer *)&page, NULL)) {
        page->expected = true;
        page->found = false;
    }
}

/* Go on with the walk, or begin one. */
void model_walk(Model *model, unsigned steps)
{
    TmemWalkPage found;

    if (!model->walking) {
        walk_begin(model);
    }
    for (; steps > 0; steps--) {
        int ret = tmem_store_walk(model->store, &model->walk, &found);
        ModelPage *page;

        if (ret == 0) {
            g_assert_cmpuint(model->walk_left, ==, 0);
            model->walking = false;
            break;
        }
        g_assert_cmpint(ret, ==, 1);
        page = page_lookup(model, found.pool, found.object, found.index);
        g_assert_nonnull(page);
        assert_page_is(page, found.page);
        g_assert_false(page->expected && page->found);
        model->walk_left -= page->expected;
        page->found = true;
    }
    model_check(model, 0);
}

static void export_begin(Model *model)
{
    TmemStoreConfig config = model->config;
    GError *err = NULL;

    /* What arrives takes no more room than what there was, but for holes */
    config.max_size = 2 * MAX(model->config.span, model->max_size);
    config.min_size = 0;
    config.span = 0;
    model->twin = tmem_store_new(&config, &err);
    g_assert_no_error(err);
    tmem_import_begin(model->twin);
    model->export = tmem_export_begin(model->store);
    g_assert_nonnull(model->export);
    g_assert_null(tmem_export_begin(model->store));
}

static bool export_move(Model *model)
{
    TmemRecord rec;

    int ret = tmem_export_next(model->export, &rec);

    g_assert_cmpint(ret, >=, 0);
    if (!ret) {
        g_assert_cmpuint(tmem_export_pending(model->export), ==, 0);
        return false;
    }
    g_assert_cmpint(tmem_import(model->twin, &rec), ==, 0);
    return true;
}

/* Go on with the move to another store, or begin one. */
void model_export(Model *model, unsigned steps)
{
    if (!model->export) {
        export_begin(model);
    }
    while (steps > 0 && export_move(model)) {
        steps--;
    }
    model_check(model, 0);
}

static void assert_twin_is_equal(Model *model)
{
    TmemWalk walk = { 0 };
    TmemWalkPage found;
    uint64_t pages = 0;
    uint32_t pool;

    while (tmem_store_walk(model->twin, &walk, &found)) {
        ModelPage *page = page_lookup(model, found.pool, found.object,
                                      found.index);

        g_assert_nonnull(page);
        assert_page_is(page, found.page);
        pages++;
    }
    g_assert_cmpuint(pages, ==, g_hash_table_size(model->pages));
    for (unsigned i = 0; i < MODEL_POOLS; i++) {
        pool = model->pools[i].id;
        g_assert_true(!pool || tmem_store_pool_exists(model->twin, pool));
    }
}

/* End the move, if there is one: at its end, or where it is. */
void model_export_end(Model *model, bool complete)
{
    TmemExportTotals totals;

    if (!model->export) {
        return;
    }
    if (complete) {
        while (export_move(model)) {
            continue;
        }
        tmem_export_totals(model->export, &totals);
        g_assert_true(tmem_import_check(model->twin, &totals));
        assert_twin_is_equal(model);
    }
    tmem_export_end(model->export);
    model->export = NULL;
    tmem_store_free(model->twin);
    g_assert_cmpuint(model->store->log_bytes, ==, 0);
    model_check(model, 0);
}

void model_reset(Model *model)
{
    tmem_store_reset(model->store);
    while (model->lru.head) {
        g_queue_unlink(&model->lru, model->lru.head);
    }
    g_hash_table_remove_all(model->pages);
    memset(model->pools, 0, sizeof(model->pools));
    model->same = 0;
    model->in_word = 0;
    model->walk_left = 0;
    model->reserved = 0;
    model_check(model, 0);
}
