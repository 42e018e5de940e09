/*
 * Page store of virtio-tmem under load: against a model, with threads, and
 * with pages that change while they are put
 *
 * "inv." numbers name the invariants of the design that a test guards.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "tmem-store-pages.h"

/* The model: key -> seed of the page that a get must return. */
typedef struct ModelKey {
    uint32_t pool;
    uint64_t object;
    uint64_t index;
} ModelKey;

typedef struct Model {
    TmemStore *store;
    GHashTable *pages;
    uint32_t pools[3];
    uint64_t random;
    bool may_refuse;
} Model;

static guint model_hash(gconstpointer p)
{
    const ModelKey *key = p;
    uint64_t state = key->index ^ key->object << 17 ^ key->pool;

    return next_random(&state);
}

static gboolean model_equal(gconstpointer a, gconstpointer b)
{
    const ModelKey *left = a, *right = b;

    return left->pool == right->pool && left->object == right->object &&
           left->index == right->index;
}

static ModelKey *model_key_dup(const ModelKey *key)
{
    ModelKey *dup = g_new(ModelKey, 1);

    *dup = *key;
    return dup;
}

/* Few keys, so that they meet again; near and far ones, so that trees grow. */
static ModelKey model_random_key(Model *model)
{
    uint64_t r = next_random(&model->random);
    ModelKey key = {
        .pool = model->pools[r % 3],
        .object = r >> 8 & 3,
        .index = r >> 16 & 1023,
    };

    if ((r >> 32) % 8 == 0) {
        key.index = (key.index & 31) << (r >> 40) % 60;
    }
    if ((r >> 48) % 16 == 0) {
        key.object = UINT64_MAX - key.object;
    }
    return key;
}

static void model_put(Model *model)
{
    ModelKey key = model_random_key(model);
    uint64_t seed = next_random(&model->random);
    Page page;
    int ret;

    page_of_seed(&page, seed);
    ret = tmem_store_put(model->store, key.pool, key.object, key.index, &page);
    if (ret == 0) {
        uint64_t *value = g_new(uint64_t, 1);

        *value = seed;
        g_hash_table_replace(model->pages, model_key_dup(&key), value);
    } else {
        g_assert_cmpint(ret, ==, -ENOSPC);
        g_assert_true(model->may_refuse);
        g_hash_table_remove(model->pages, &key);
    }
}

static void model_get(Model *model, const ModelKey *key)
{
    uint64_t *seed = g_hash_table_lookup(model->pages, key);
    int ret;
    Page got, want;

    ret = tmem_store_get(model->store, key->pool, key->object, key->index,
                         &got);
    if (seed) {
        g_assert_cmpint(ret, ==, 0);
        page_of_seed(&want, *seed);
        g_assert_cmpmem(&got, sizeof(got), &want, sizeof(want));
    } else {
        g_assert_cmpint(ret, ==, -ENOENT);
    }
}

static void model_flush(Model *model)
{
    ModelKey key = model_random_key(model), *at;
    uint64_t span = next_random(&model->random) >>
                    (next_random(&model->random) % 8 ? 60 : 40);
    uint64_t last = key.index + span < key.index ? UINT64_MAX
                                                 : key.index + span;
    int64_t expected = 0;
    GHashTableIter iter;

    if (span < 16) {
        for (ModelKey k = key; k.index - key.index <= last - key.index;
             k.index++) {
            expected += g_hash_table_remove(model->pages, &k);
        }
    } else {
        g_hash_table_iter_init(&iter, model->pages);
        while (g_hash_table_iter_next(&iter, (gpointer *)&at, NULL)) {
            if (at->pool == key.pool && at->object == key.object &&
                at->index >= key.index && at->index <= last) {
                g_hash_table_iter_remove(&iter);
                expected++;
            }
        }
    }
    g_assert_cmpint(tmem_store_flush(model->store, key.pool, key.object,
                                     key.index, last), ==, expected);
}

static void model_destroy_pool(Model *model)
{
    unsigned which = next_random(&model->random) % 3;
    int64_t expected = 0;
    GHashTableIter iter;
    ModelKey *at;

    g_hash_table_iter_init(&iter, model->pages);
    while (g_hash_table_iter_next(&iter, (gpointer *)&at, NULL)) {
        if (at->pool == model->pools[which]) {
            g_hash_table_iter_remove(&iter);
            expected++;
        }
    }
    g_assert_cmpint(tmem_store_pool_destroy(model->store, model->pools[which]),
                    ==, expected);
    model->pools[which] = pool_new(model->store);
}

static void model_check_all(Model *model)
{
    GHashTableIter iter;
    ModelKey *at;

    g_hash_table_iter_init(&iter, model->pages);
    while (g_hash_table_iter_next(&iter, (gpointer *)&at, NULL)) {
        model_get(model, at);
    }
}

/* inv. 1, 2, 3, 8: the store does what a table of pages would do */
static void run_model(uint64_t limit, bool may_refuse, unsigned steps)
{
    Model model = {
        .store = store_new(limit),
        .pages = g_hash_table_new_full(model_hash, model_equal, g_free, g_free),
        .random = test_seed(),
        .may_refuse = may_refuse,
    };
    uint64_t empty = stats_of(model.store).bytes_used;

    for (unsigned i = 0; i < G_N_ELEMENTS(model.pools); i++) {
        model.pools[i] = pool_new(model.store);
    }
    for (unsigned step = 0; step < steps; step++) {
        unsigned what = next_random(&model.random) % 1000;

        if (what < 450) {
            model_put(&model);
        } else if (what < 850) {
            ModelKey key = model_random_key(&model);

            model_get(&model, &key);
        } else if (what < 999) {
            model_flush(&model);
        } else {
            model_destroy_pool(&model);
        }
        g_assert_cmpuint(stats_of(model.store).pages, ==,
                         g_hash_table_size(model.pages));
    }
    model_check_all(&model);
    g_assert_cmpint(stats_of(model.store).rejected_puts > 0, ==, may_refuse);

    for (unsigned i = 0; i < G_N_ELEMENTS(model.pools); i++) {
        tmem_store_pool_destroy(model.store, model.pools[i]);
    }
    g_assert_cmpuint(stats_of(model.store).bytes_used, ==, empty);
    g_assert_cmpuint(stats_of(model.store).pages, ==, 0);
    g_hash_table_destroy(model.pages);
    tmem_store_free(model.store);
}

static void test_store_equals_model_with_room(void)
{
    run_model(64 * MIB, false, 150000);
}

static void test_store_equals_model_at_its_limit(void)
{
    run_model(2 * MIB, true, 150000);
}

#define THREADS 4
#define OWN_KEYS 256
#define SHARED_KEYS 32     /* at most OWN_KEYS */

typedef struct Worker {
    TmemStore *store;
    uint32_t pool;
    unsigned id;
    uint64_t random;
    bool shared;            /* keys of all workers, or of this one only */
    uint64_t puts, rejected, gets, misses, flushes;
} Worker;

/* On a key of its own, a worker knows exactly what must come back. */
static void worker_step(Worker *w, uint64_t *version, uint64_t serial)
{
    unsigned n = next_random(&w->random) % (w->shared ? SHARED_KEYS : OWN_KEYS);
    uint64_t key = w->shared ? n : w->id * UINT64_C(1000000) + n;
    unsigned what = next_random(&w->random) % 10;
    Page page;
    int64_t ret;

    if (what < 4) {
        page_of_version(&page, key, serial);
        ret = tmem_store_put(w->store, w->pool, 0, key, &page);
        w->puts += ret == 0;
        w->rejected += ret == -ENOSPC;
        g_assert_true(ret == 0 || ret == -ENOSPC);
        version[n] = ret == 0 ? serial : 0;
    } else if (what < 9) {
        ret = tmem_store_get(w->store, w->pool, 0, key, &page);
        w->gets += ret == 0;
        w->misses += ret == -ENOENT;
        if (ret == 0) {
            assert_is_version(&page, key, page.word[1]);
        } else {
            g_assert_cmpint(ret, ==, -ENOENT);
        }
        if (!w->shared) {
            g_assert_cmpuint(ret == 0 ? page.word[1] : 0, ==, version[n]);
        }
    } else {
        ret = tmem_store_flush(w->store, w->pool, 0, key, key);
        w->flushes += ret;
        g_assert_true(ret == 0 || ret == 1);
        g_assert_true(w->shared || ret == !!version[n]);
        version[n] = 0;
    }
}

static void *worker_run(void *opaque)
{
    Worker *w = opaque;
    uint64_t version[OWN_KEYS] = { 0 };
    TmemStoreStats stats;

    for (uint64_t i = 1; i <= 20000; i++) {
        worker_step(w, version, i * THREADS + w->id);
        if (i % 64 == 0) {
            tmem_store_get_stats(w->store, &stats);
        }
    }
    return NULL;
}

static void run_workers(uint64_t limit, bool shared)
{
    TmemStore *store = store_new(limit);
    uint32_t pool = pool_new(store);
    Worker workers[THREADS], sum = { 0 };
    GThread *threads[THREADS];
    TmemStoreStats stats;

    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (Worker) {
            .store = store, .pool = pool, .id = i, .random = test_seed(),
            .shared = shared,
        };
        threads[i] = g_thread_new("worker", worker_run, &workers[i]);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        g_thread_join(threads[i]);
        sum.puts += workers[i].puts;
        sum.rejected += workers[i].rejected;
        sum.gets += workers[i].gets;
        sum.misses += workers[i].misses;
        sum.flushes += workers[i].flushes;
    }
    stats = stats_of(store);
    g_assert_cmpuint(stats.puts, ==, sum.puts);
    g_assert_cmpuint(stats.rejected_puts, ==, sum.rejected);
    g_assert_cmpuint(stats.gets, ==, sum.gets);
    g_assert_cmpuint(stats.misses, ==, sum.misses);
    g_assert_cmpuint(stats.flushes, ==, sum.flushes);
    g_assert_cmpint(tmem_store_pool_destroy(store, pool), ==, stats.pages);
    tmem_store_free(store);
}

/* inv. 1, 4: what other threads do to other keys changes nothing here */
static void test_threads_keep_their_own_keys(void)
{
    run_workers(16 * MIB, false);
    run_workers(TMEM_STORE_MIN_LIMIT, false);
}

/* inv. 1, 2: no get returns a mix of two puts, or another key's page */
static void test_threads_never_see_torn_pages(void)
{
    run_workers(16 * MIB, true);
}

typedef struct Scribbler {
    Page page;
    int stop;
} Scribbler;

static void *scribble(void *opaque)
{
    Scribbler *s = opaque;
    /* volatile, so that each word is written each time, as by a guest */
    volatile uint64_t *word = s->page.word;
    uint64_t random = 1;

    while (!g_atomic_int_get(&s->stop)) {
        uint64_t r = next_random(&random);

        for (unsigned i = 0; i < G_N_ELEMENTS(s->page.word); i++) {
            word[i] = r % 3 == 0 ? 0 : r % 3 == 1 ? i % 5 : r * i;
        }
    }
    return NULL;
}

/* inv. 1, 7: a page that changes while it is put can be got, as some mix */
static void test_changing_source_is_never_lost(void)
{
    TmemStore *store = store_new(4 * MIB);
    uint32_t pool = pool_new(store);
    uint64_t empty = stats_of(store).bytes_used;
    Scribbler s = { .stop = 0 };
    GThread *thread;
    Page got;

    if (UNDER_TSAN) {
        g_test_skip("the data race is the point of this test");
        tmem_store_free(store);
        return;
    }
    thread = g_thread_new("scribbler", scribble, &s);
    for (unsigned i = 0; i < 30000; i++) {
        g_assert_cmpint(tmem_store_put(store, pool, 0, i % 100, &s.page),
                        ==, 0);
        g_assert_cmpint(tmem_store_get(store, pool, 0, i % 100, &got), ==, 0);
    }
    g_atomic_int_set(&s.stop, 1);
    g_thread_join(thread);
    g_assert_cmpuint(stats_of(store).pages, ==, 100);
    g_assert_cmpint(tmem_store_flush(store, pool, 0, 0, 99), ==, 100);
    g_assert_cmpuint(stats_of(store).bytes_used, ==, empty);
    tmem_store_free(store);
}

/* Key n of a pool always holds the same page: whoever gets it can check it. */
typedef struct Melee {
    TmemStore *store;
    uint32_t pools[2];      /* persistent, ephemeral; replaced by reset */
    uint64_t seeds[4];      /* one for each thread */
    int threads;
    int stop;
} Melee;

#define MELEE_KEYS 2048

static void melee_step(Melee *m, uint64_t random)
{
    uint32_t pool = qatomic_read(&m->pools[random % 2]);
    uint64_t key = (random >> 8) % MELEE_KEYS;
    TmemPoolStats pools[TMEM_MAX_POOLS];
    TmemStoreStats stats;
    Page page;
    int ret;

    switch ((random >> 32) % 16) {
    case 0 ... 6:
        page_of_version(&page, key, 1);
        ret = tmem_store_put(m->store, pool, key % 3, key, &page);
        g_assert_true(ret == 0 || ret == -ENOSPC || ret == -EINVAL);
        break;
    case 7 ... 12:
        ret = tmem_store_get(m->store, pool, key % 3, key, &page);
        g_assert_true(ret == 0 || ret == -ENOENT || ret == -EINVAL);
        if (ret == 0) {
            assert_is_version(&page, key, 1);
        }
        break;
    case 13:
        tmem_store_flush(m->store, pool, key % 3, key, key + 31);
        break;
    case 14:
        tmem_store_get_stats(m->store, &stats);
        break;
    default:
        tmem_store_get_pools(m->store, pools);
    }
}

static void *melee_run(void *opaque)
{
    Melee *m = opaque;
    uint64_t random = m->seeds[g_atomic_int_add(&m->threads, 1)];

    for (unsigned i = 0; i < 20000; i++) {
        melee_step(m, next_random(&random));
    }
    return NULL;
}

/* The store's one maintenance thread, the limit's owner, and a walker. */
static void *melee_maintain(void *opaque)
{
    Melee *m = opaque;
    uint64_t random = m->seeds[g_atomic_int_add(&m->threads, 1)];
    TmemWalk walk = { 0 };
    TmemWalkPage found;

    while (!qatomic_read(&m->stop)) {
        tmem_store_set_limit(m->store, next_random(&random) % (4 * MIB),
                             TMEM_LIMIT_PRESSURE);
        tmem_store_maintain(m->store, next_random(&random) % 2000);
        for (unsigned i = 0; i < 100; i++) {
            int ret = tmem_store_walk(m->store, &walk, &found);

            g_assert_cmpint(ret, >=, 0);
            if (ret == 0) {
                walk = (TmemWalk) { 0 };
                break;
            }
            assert_is_version((Page *)found.page, found.index, 1);
        }
    }
    return NULL;
}

static void melee_reset(Melee *m)
{
    uint32_t pool;

    tmem_store_reset(m->store);
    qatomic_set(&m->pools[0], pool_new(m->store));
    g_assert_cmpint(tmem_store_pool_create(m->store, TMEM_POOL_EPHEMERAL,
                                           &pool), ==, 0);
    qatomic_set(&m->pools[1], pool);
}

static void run_melee(bool resets)
{
    TmemStoreConfig config = { .max_size = 4 * MIB };
    TmemStore *store = tmem_store_new(&config, NULL);
    uint64_t empty = stats_of(store).bytes_used;
    Melee m = { .store = store };
    GThread *threads[3], *maintain;

    for (unsigned i = 0; i < G_N_ELEMENTS(m.seeds); i++) {
        m.seeds[i] = test_seed();
    }
    melee_reset(&m);
    maintain = g_thread_new("maintain", melee_maintain, &m);
    for (unsigned i = 0; i < G_N_ELEMENTS(threads); i++) {
        threads[i] = g_thread_new("melee", melee_run, &m);
    }
    for (unsigned i = 0; resets && i < 200; i++) {
        g_usleep(1000);
        melee_reset(&m);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(threads); i++) {
        g_thread_join(threads[i]);
    }
    qatomic_set(&m.stop, 1);
    g_thread_join(maintain);
    tmem_store_set_limit(store, 4 * MIB, TMEM_LIMIT_MAX);

    tmem_store_pool_destroy(store, m.pools[0]);
    tmem_store_pool_destroy(store, m.pools[1]);
    g_assert_cmpuint(stats_of(store).pages, ==, 0);
    g_assert_cmpuint(stats_of(store).bytes_used, ==, empty);
    tmem_store_free(store);
}

/* inv. 1, 8: pages come, go, age, move and are dropped from all sides */
static void test_all_at_once_keeps_every_page_right(void)
{
    run_melee(false);
}

/* inv. 8: a reset below all that leaves nothing behind */
static void test_reset_meets_all_else(void)
{
    run_melee(true);
}

int main(int argc, char **argv)
{
    test_init(argc, argv);
    g_test_add_func("/tmem-store/stress/equals-model-with-room",
                    test_store_equals_model_with_room);
    g_test_add_func("/tmem-store/stress/equals-model-at-its-limit",
                    test_store_equals_model_at_its_limit);
    g_test_add_func("/tmem-store/stress/threads-keep-their-own-keys",
                    test_threads_keep_their_own_keys);
    g_test_add_func("/tmem-store/stress/threads-never-see-torn-pages",
                    test_threads_never_see_torn_pages);
    g_test_add_func("/tmem-store/stress/changing-source-is-never-lost",
                    test_changing_source_is_never_lost);
    g_test_add_func("/tmem-store/stress/all-at-once-keeps-every-page-right",
                    test_all_at_once_keeps_every_page_right);
    g_test_add_func("/tmem-store/stress/reset-meets-all-else",
                    test_reset_meets_all_else);
    return g_test_run();
}
