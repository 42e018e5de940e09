/*
 * Page store of virtio-tmem: its background worker, with pressure from a script
 *
 * "inv." numbers name the invariants of the design that a test guards.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include "hw/virtio/tmem-store-worker.h"
#include "tmem-store-pages.h"

typedef struct Script {
    char *path;
    uint64_t total;         /* us of stall */
    int64_t last;           /* time up to which it was counted, us */
} Script;

/* Say that tasks stalled for this share of the time since the last call. */
static void script_stall(Script *script, unsigned percent)
{
    int64_t now = g_get_monotonic_time();
    g_autofree char *tmp = g_strdup_printf("%s.new", script->path);
    FILE *f = fopen(tmp, "w");

    script->total += (now - script->last) * percent / 100;
    script->last = now;
    /* As g_file_set_contents() does it, but never waiting for a disk */
    g_assert_nonnull(f);
    fprintf(f, "some avg10=0.00 avg60=0.00 avg300=0.00 total=%" PRIu64 "\n",
            script->total);
    g_assert_cmpint(fclose(f), ==, 0);
    g_assert_cmpint(rename(tmp, script->path), ==, 0);
}

static void script_run(Script *script, unsigned percent, unsigned msec)
{
    int64_t end = g_get_monotonic_time() + msec * INT64_C(1000);

    while (g_get_monotonic_time() < end) {
        g_usleep(50 * 1000);
        script_stall(script, percent);
    }
}

static void script_init(Script *script)
{
    int fd = g_file_open_tmp("tmem-pressure-XXXXXX", &script->path, NULL);

    g_assert_cmpint(fd, >=, 0);
    close(fd);
    script->total = 0;
    script->last = g_get_monotonic_time();
    script_stall(script, 0);
}

static void script_free(Script *script)
{
    g_unlink(script->path);
    g_free(script->path);
}

static void count_call(void *opaque)
{
    g_atomic_int_inc((int *)opaque);
}

/* Whether the worker shows at this moment what is to be seen under pressure */
static bool has_fallen(TmemStore *store, TmemWorker *worker, uint64_t used)
{
    TmemPressureInfo info;
    TmemStoreStats stats;

    tmem_store_get_stats(store, &stats);
    tmem_worker_get_pressure(worker, &info);
    g_free(info.path);
    g_free(info.error);
    return stats.cause == TMEM_LIMIT_PRESSURE && stats.limit < used &&
           stats.evicted > 0 && info.permille > 300;
}

/* inv. 1, 8: the limit follows the pressure down and up; no page is lost */
static void test_limit_follows_pressure(void)
{
    TmemStore *store = store_new(64 * MIB);
    uint32_t pool = pool_new(store), ephemeral;
    uint64_t used, low;
    int calls = 0;
    TmemPressureInfo info;
    TmemWorker *worker;
    TmemStoreStats stats;
    Script script;
    Page page;

    g_assert_cmpint(tmem_store_pool_create(store, TMEM_POOL_EPHEMERAL,
                                           &ephemeral), ==, 0);
    for (uint64_t i = 0; i < 6000; i++) {
        page_of_version(&page, i, 1);
        g_assert_cmpint(tmem_store_put(store, i % 4 ? ephemeral : pool, 0, i,
                                       &page), ==, 0);
    }
    script_init(&script);
    worker = tmem_worker_new(store, script.path, count_call, &calls, NULL);
    g_assert_nonnull(worker);

    script_run(&script, 0, 1500);
    stats = stats_of(store);
    g_assert_cmpint(stats.cause, ==, TMEM_LIMIT_MAX);
    g_assert_cmpuint(stats.limit, ==, 64 * MIB);
    g_assert_cmpuint(stats.ephemeral, ==, 4500);
    used = stats.bytes_used;

    for (unsigned n = 0; !has_fallen(store, worker, used); n++) {
        g_assert_cmpuint(n, <, 600);
        script_run(&script, 60, 100);
    }
    g_assert_cmpint(g_atomic_int_get(&calls), >, 0);
    tmem_worker_get_pressure(worker, &info);
    g_assert_cmpstr(info.path, ==, script.path);
    g_assert_false(info.trigger);
    g_assert_null(info.error);
    g_free(info.path);

    /* What is used follows at once: three quarters of it may be dropped. */
    script_run(&script, 0, 1000);
    for (unsigned n = 0; n < 600; n++) {
        tmem_store_get_stats(store, &stats);
        if (stats.bytes_used <= stats.limit) {
            break;
        }
        script_run(&script, 0, 100);
    }
    low = stats.limit;
    g_assert_cmpuint(stats.bytes_used, <=, low);

    for (unsigned n = 0; n < 600; n++) {
        script_run(&script, 0, 100);
        tmem_store_get_stats(store, &stats);
        if (stats.cause == TMEM_LIMIT_GROWING && stats.limit > low) {
            break;
        }
    }
    g_assert_cmpint(stats.cause, ==, TMEM_LIMIT_GROWING);
    g_assert_cmpuint(stats.limit, >, low);

    tmem_worker_free(worker);
    for (uint64_t i = 0; i < 6000; i += 4) {
        g_assert_cmpint(tmem_store_get(store, pool, 0, i, &page), ==, 0);
        assert_is_version(&page, i, 1);
    }
    tmem_store_free(store);
    script_free(&script);
}

/* inv. 8: what became sparse goes back to the host without being asked */
static void test_worker_compacts(void)
{
    TmemStore *store = store_new(64 * MIB);
    TmemWorker *worker = tmem_worker_new(store, "off", NULL, NULL, NULL);
    uint32_t pool = pool_new(store);
    TmemPressureInfo info;
    uint64_t sparse;
    Page page;

    g_assert_nonnull(worker);
    for (uint64_t i = 0; i < 12000; i++) {
        page_of_version(&page, i, 1);
        g_assert_cmpint(tmem_store_put(store, pool, 0, i, &page), ==, 0);
    }
    for (uint64_t i = 0; i < 12000; i++) {
        if (i % 8) {
            tmem_store_flush(store, pool, 0, i, i);
        }
    }
    sparse = stats_of(store).bytes_used;
    for (unsigned n = 0; n < 1200 && stats_of(store).bytes_used > sparse / 2;
         n++) {
        g_usleep(50 * 1000);
    }
    g_assert_cmpuint(stats_of(store).bytes_used, <=, sparse / 2);
    tmem_worker_get_pressure(worker, &info);
    g_assert_null(info.path);
    g_assert_cmpint(info.permille, ==, -1);
    tmem_worker_free(worker);
    tmem_store_free(store);
}

/* A source that cannot be read is said in an error. */
static void test_bad_source_is_refused(void)
{
    TmemStore *store = store_new(4 * MIB);
    GError *err = NULL;

    g_assert_null(tmem_worker_new(store, "/nonexistent/pressure", NULL, NULL,
                                  &err));
    g_assert_nonnull(err);
    g_test_message("%s", err->message);
    g_clear_error(&err);
    tmem_worker_free(NULL);
    tmem_store_free(store);
}

int main(int argc, char **argv)
{
    test_init(argc, argv);
    g_test_add_func("/tmem-worker/limit-follows-pressure",
                    test_limit_follows_pressure);
    g_test_add_func("/tmem-worker/compacts-by-itself", test_worker_compacts);
    g_test_add_func("/tmem-worker/bad-source-is-refused",
                    test_bad_source_is_refused);
    return g_test_run();
}
