/*
 * Page store of virtio-tmem: pages on a device, while much else goes on
 *
 * "inv." numbers name the invariants of the design that a test guards.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "hw/virtio/tmem-store-migrate.h"
#include "hw/virtio/tmem-store-worker.h"
#include "tmem-spill-fixture.h"

/* ---- Threads ---- */

typedef struct Stress {
    Fixture *f;
    unsigned thread;
    bool stop;              /* atomic */
} Stress;

#define STRESS_THREADS 3
#define STRESS_PAGES 3000

static void *stress_device(void *opaque)
{
    Stress *stress = opaque;

    while (!qatomic_read(&stress->stop)) {
        if (!fake_run(stress->f->fake)) {
            g_usleep(100);
        }
    }
    return NULL;
}

static void stress_get(Fixture *f, Getter *getter, uint64_t index,
                       unsigned version)
{
    Page page;
    int ret;

    do {
        ret = getter_get(f, getter, index, &page);
    } while (ret == -EINPROGRESS);
    g_assert_cmpint(ret, ==, version ? 0 : -ENOENT);
    if (version) {
        assert_version(&page, index, version);
    }
}

/* Each thread has keys of its own, in clusters that all of them have. */
static void *stress_guest(void *opaque)
{
    Stress *stress = opaque;
    uint64_t random = stress->thread * 77 + 1;
    g_autofree unsigned *version = g_new0(unsigned, STRESS_PAGES);
    Getter getter = { 0 };

    for (unsigned n = 1; !qatomic_read(&stress->stop); n++) {
        unsigned i = next_random(&random) % STRESS_PAGES;
        uint64_t index = i * STRESS_THREADS + stress->thread;
        Page page;

        switch (next_random(&random) % 8) {
        case 0 ... 2:
            page_random(&page, index * 1000003 + n, 256);
            page.word[511] = n;
            version[i] = tmem_store_put(stress->f->store, stress->f->pool, 0,
                                        index, &page) == 0 ? n : 0;
            break;
        case 3:
            tmem_store_flush(stress->f->store, stress->f->pool, 0, index,
                             index);
            version[i] = 0;
            break;
        case 4:     /* a read that nobody waits for */
            if (getter_get(stress->f, &getter, index, &page) ==
                -EINPROGRESS) {
                tmem_store_end_fetch(stress->f->store, &getter.fetch);
            }
            break;
        default:
            stress_get(stress->f, &getter, index, version[i]);
        }
    }
    return NULL;
}

/* inv. 1, 2, 4: no bad page, with the limit moving all the time */
static void test_no_bad_page_while_the_limit_moves(void)
{
    Fixture f = fixture_new(16 * MIB);
    uint64_t random = test_seed();
    Stress device = { .f = &f };
    Stress stress[STRESS_THREADS];
    GThread *guests[STRESS_THREADS], *runner;
    TmemWorker *worker;
    unsigned n = 0;
    GError *err = NULL;

    fake_set_defer(f.fake, true);
    runner = g_thread_new("device", stress_device, &device);
    worker = tmem_worker_new(f.store, "off", NULL, NULL, &err);
    g_assert_no_error(err);
    for (unsigned t = 0; t < STRESS_THREADS; t++) {
        stress[t] = (Stress) { .f = &f, .thread = t };
        guests[t] = g_thread_new("guest", stress_guest, &stress[t]);
    }
    /* Until it has been a test: a busy machine takes longer */
    while (n++ < 200 || (n < 12000 && spill_stats(&f).writes < 50)) {
        tmem_store_set_limit(f.store, next_random(&random) % MAX_SIZE,
                             TMEM_LIMIT_PRESSURE);
        tmem_worker_kick(worker);
        g_usleep(5000);
    }
    tmem_store_set_limit(f.store, MAX_SIZE, TMEM_LIMIT_MAX);
    for (unsigned t = 0; t < STRESS_THREADS; t++) {
        qatomic_set(&stress[t].stop, true);
        g_thread_join(guests[t]);
    }
    tmem_worker_free(worker);
    qatomic_set(&device.stop, true);
    g_thread_join(runner);
    g_assert_cmpuint(spill_stats(&f).writes, >=, 50);
    g_assert_cmpuint(spill_stats(&f).reads, >, 10);
    g_assert_cmpuint(spill_stats(&f).bad_pages, ==, 0);
    fixture_free(&f);
}

/* ---- What cannot be spilled ---- */

/* A device that does not answer is given up for a while, and told of */
static void test_a_silent_device_counts_as_failed(void)
{
    Fixture f = fixture_new(64 * MIB);

    put_all(&f, 12000);
    fake_set_defer(f.fake, true);
    tmem_store_set_limit(f.store, MAX_SIZE / 8, TMEM_LIMIT_PRESSURE);
    maintain(&f);
    g_assert_cmpint(f.store->pass, ==, TMEM_PASS_SPILL);
    g_assert_cmpint(f.store->waits_since, >, 0);
    g_assert_cmpint(spill_stats(&f).state, ==, TMEM_SPILL_ACTIVE);
    /* As if it were a while later */
    f.store->waits_since -= 2 * G_USEC_PER_SEC;
    maintain(&f);
    g_assert_cmpint(f.store->pass, ==, TMEM_PASS_NONE);
    g_assert_cmpint(spill_stats(&f).state, ==, TMEM_SPILL_FAILED);
    g_assert_cmpuint(f.fake->write_failures, ==, 1);

    /* It answers after all */
    fake_set_defer(f.fake, false);
    maintain(&f);
    g_assert_cmpint(spill_stats(&f).state, ==, TMEM_SPILL_ACTIVE);
    f.store->spill->next_pass = 0;
    maintain(&f);
    g_assert_cmpuint(spill_stats(&f).pages, >, 5000);
    g_assert_false(tmem_store_over_limit(f.store));
    for (unsigned i = 0; i < 12000; i++) {
        check_version(&f, i, 1);
    }
    fixture_free(&f);
}

/* But not one that waits because the VM has stopped */
static void test_a_held_device_is_not_silent(void)
{
    Fixture f = fixture_new(64 * MIB);

    put_all(&f, 12000);
    fake_set_defer(f.fake, true);
    f.fake->held = true;
    tmem_store_set_limit(f.store, MAX_SIZE / 8, TMEM_LIMIT_PRESSURE);
    maintain(&f);
    g_assert_cmpint(f.store->pass, ==, TMEM_PASS_SPILL);
    g_assert_cmpint(f.store->waits_since, ==, 0);

    /* It has its time from when it may go on */
    f.fake->held = false;
    maintain(&f);
    g_assert_cmpint(f.store->waits_since, >, 0);
    g_assert_cmpint(spill_stats(&f).state, ==, TMEM_SPILL_ACTIVE);
    g_assert_cmpuint(f.fake->write_failures, ==, 0);
    fake_set_defer(f.fake, false);
    maintain(&f);
    g_assert_cmpuint(spill_stats(&f).pages, >, 5000);
    fixture_free(&f);
}

/* Small pages stay: when there are no others, the guest has to help */
static void test_the_last_page_is_told_of(void)
{
    Fixture f = fixture_new(64 * MIB);

    put_all(&f, 1000);
    for (unsigned i = 1000; i < 60000; i++) {
        Page page;

        page_random(&page, i, 1);
        g_assert_cmpint(tmem_store_put(f.store, f.pool, 0, i, &page), ==, 0);
    }
    g_assert_false(spill_stats(&f).exhausted);
    tmem_store_set_limit(f.store, 0, TMEM_LIMIT_PRESSURE);
    maintain(&f);
    g_assert_cmpuint(spill_stats(&f).pages, ==, 1000);
    g_assert_true(tmem_store_over_limit(f.store));
    g_assert_true(spill_stats(&f).exhausted);
    tmem_store_set_limit(f.store, MAX_SIZE, TMEM_LIMIT_MAX);
    maintain(&f);
    g_assert_false(spill_stats(&f).exhausted);
    fixture_free(&f);
}

/* ---- Export ---- */

/* inv. 1: pages on the device come along when the store moves, as they are */
static void test_spilled_pages_are_exported(void)
{
    enum { NUM = 4000 };
    Fixture f = fixture_new(64 * MIB);
    TmemStore *to = store_new(2 * MAX_SIZE);
    g_autofree uint8_t *version = g_malloc(NUM);
    TmemExport *export;
    TmemRecord rec;
    uint64_t n = 0;
    Page got;

    memset(version, 1, NUM);
    put_all(&f, NUM);
    spill_all(&f);
    g_assert_cmpuint(spill_stats(&f).pages, >, NUM / 2);
    export = tmem_export_begin(f.store);
    g_assert_cmpuint(tmem_export_pending(export), >, NUM * 2000);
    tmem_import_begin(to);
    while (tmem_export_next(export, &rec) == 1) {
        g_assert_cmpint(tmem_import(to, &rec), ==, 0);
        /* Some are replaced, some go, and they are spilled again */
        if (n++ % 16 == 0 && n < 2 * NUM) {
            uint64_t index = n * 37 % NUM;

            if (n % 3) {
                put_version(&f, index, ++version[index]);
            } else {
                tmem_store_flush(f.store, f.pool, 0, index, index);
                version[index] = 0;
            }
            if (n % 512 == 1) {
                spill_all(&f);
            }
        }
    }
    tmem_export_end(export);
    tmem_import_end(to);
    for (uint64_t i = 0; i < NUM; i++) {
        int ret = tmem_store_get(to, f.pool, 0, i, &got);

        g_assert_cmpint(ret, ==, version[i] ? 0 : -ENOENT);
        if (!ret) {
            assert_version(&got, i, version[i]);
        }
    }

    /* One that cannot be read is not left out */
    spill_all(&f);
    f.fake->bad_last = f.fake->size;
    export = tmem_export_begin(f.store);
    do {
        n = tmem_export_next(export, &rec);
    } while (n == 1);
    g_assert_cmpint((int)n, ==, -EIO);
    tmem_export_end(export);
    tmem_store_free(to);
    fixture_free(&f);
}

/* Move all from one store to another. */
static void move_all(TmemStore *from, TmemStore *to)
{
    TmemExport *export = tmem_export_begin(from);
    TmemExportTotals totals;
    TmemRecord rec;
    int ret;

    tmem_import_begin(to);
    while ((ret = tmem_export_next(export, &rec)) == 1) {
        g_assert_cmpint(tmem_import(to, &rec), ==, 0);
    }
    g_assert_cmpint(ret, ==, 0);
    tmem_export_totals(export, &totals);
    g_assert_true(tmem_import_check(to, &totals));
    tmem_export_end(export);
    tmem_import_end(to);
}

static void check_moved(TmemStore *store, uint32_t pool, uint64_t lost)
{
    Page got;

    for (uint64_t i = 0; i < 1000; i++) {
        int ret = tmem_store_get(store, pool, 0, i, &got);

        g_assert_cmpint(ret, ==, i == lost ? -EIO : 0);
        if (!ret) {
            assert_version(&got, i, 1);
        }
    }
}

/* inv. 2: a page that was lost is lost there too, and holds up no other */
static void test_a_lost_page_moves_as_that(void)
{
    Fixture f = fixture_new(64 * MIB);
    TmemStore *there = store_new(MAX_SIZE);
    TmemStore *further = store_new(MAX_SIZE);

    put_all(&f, 1000);
    spill_all(&f);
    f.fake->wrong_first = position_of(&f, 500) + 100;
    f.fake->wrong_last = f.fake->wrong_first + 1;
    move_all(f.store, there);
    check_moved(there, f.pool, 500);

    /* Maintenance leaves it alone, and it can move again */
    tmem_store_set_limit(there, 0, TMEM_LIMIT_PRESSURE);
    while (tmem_store_maintain(there, 1000)) {
        continue;
    }
    tmem_store_set_limit(there, MAX_SIZE, TMEM_LIMIT_MAX);
    check_moved(there, f.pool, 500);
    move_all(there, further);
    check_moved(further, f.pool, 500);

    /* A put makes it a page again */
    tmem_store_free(there);
    there = f.store;
    f.store = further;
    put_version(&f, 500, 1);
    check_moved(further, f.pool, UINT64_MAX);
    f.store = there;
    tmem_store_free(further);
    fixture_free(&f);
}

int main(int argc, char **argv)
{
    test_init(argc, argv);
    g_test_add_func("/tmem-store-spill/moving-limit",
                    test_no_bad_page_while_the_limit_moves);
    g_test_add_func("/tmem-store-spill/silent-device",
                    test_a_silent_device_counts_as_failed);
    g_test_add_func("/tmem-store-spill/a-held-device-is-not-silent",
                    test_a_held_device_is_not_silent);
    g_test_add_func("/tmem-store-spill/exhausted",
                    test_the_last_page_is_told_of);
    g_test_add_func("/tmem-store-spill/spilled-pages-are-exported",
                    test_spilled_pages_are_exported);
    g_test_add_func("/tmem-store-spill/a-lost-page-moves-as-that",
                    test_a_lost_page_moves_as_that);
    return g_test_run();
}
