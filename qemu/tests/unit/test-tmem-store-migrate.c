/*
 * Page store of virtio-tmem: pages on their way to another store
 *
 * The promises of tmem-store-migrate.h, and with them invariants 1 and 2 of the
 * design across a migration: what was put is got on the other side, and what
 * was replaced or flushed is not.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "hw/virtio/tmem-store-migrate.h"
#include "tmem-store-pages.h"
#include "hw/virtio/tmem-store-internal.h"

/* Records that are moved at a time, when others are to get in between. */
#define PORTION 64

static TmemStore *store_with(TmemCompression compression, uint64_t max_size)
{
    TmemStoreConfig config = {
        .max_size = max_size, .span = 4 * max_size, .compression = compression,
    };
    GError *err = NULL;
    TmemStore *store = tmem_store_new(&config, &err);

    g_assert_no_error(err);
    return store;
}

/* Move up to @max records; returns how many there were. */
static unsigned move_some(TmemExport *export, TmemStore *to, unsigned max)
{
    TmemRecord rec;
    unsigned n = 0;

    while (n < max && tmem_export_next(export, &rec)) {
        g_assert_cmpint(tmem_import(to, &rec), ==, 0);
        n++;
    }
    return n;
}

static void move_all(TmemExport *export, TmemStore *to)
{
    while (move_some(export, to, UINT_MAX)) {
        continue;
    }
    g_assert_cmpuint(tmem_export_pending(export), ==, 0);
}

/* Every page of @a is in @b, and the same there. */
static uint64_t assert_is_within(TmemStore *a, TmemStore *b)
{
    TmemWalk walk = { 0 };
    TmemWalkPage page;
    uint64_t pages = 0;
    Page got;

    while (tmem_store_walk(a, &walk, &page)) {
        g_assert_cmpint(tmem_store_get(b, page.pool, page.object, page.index,
                                       &got), ==, 0);
        g_assert_cmpmem(&got, sizeof(got), page.page, sizeof(page.page));
        pages++;
    }
    return pages;
}

static void assert_same_pools(TmemStore *a, TmemStore *b)
{
    TmemPoolStats left[TMEM_MAX_POOLS], right[TMEM_MAX_POOLS];
    unsigned num = tmem_store_get_pools(a, left);

    g_assert_cmpuint(tmem_store_get_pools(b, right), ==, num);
    for (unsigned i = 0; i < num; i++) {
        g_assert_cmpuint(left[i].id, ==, right[i].id);
        g_assert_cmpint(left[i].ephemeral, ==, right[i].ephemeral);
        g_assert_cmpuint(left[i].pages, ==, right[i].pages);
        g_assert_cmpuint(left[i].bytes_stored, ==, right[i].bytes_stored);
    }
}

/* The end of a move: what is left, the totals; then both are the same. */
static void finish(TmemExport *export, TmemStore *from, TmemStore *to)
{
    TmemExportTotals totals;
    TmemStoreStats stats;

    tmem_import_final(to);
    move_all(export, to);
    tmem_export_totals(export, &totals);
    g_assert_true(tmem_import_check(to, &totals));
    tmem_import_end(to);
    tmem_export_end(export);

    tmem_store_get_stats(from, &stats);
    g_assert_cmpuint(assert_is_within(from, to), ==, stats.pages);
    g_assert_cmpuint(assert_is_within(to, from), ==, stats.pages);
    assert_same_pools(from, to);
}

static void fill(TmemStore *store, uint32_t pool, uint64_t object,
                 uint64_t first, uint64_t step, unsigned num, uint64_t seed)
{
    Page page;

    for (unsigned i = 0; i < num; i++) {
        page_of_seed(&page, seed + i);
        g_assert_cmpint(tmem_store_put(store, pool, object, first + i * step,
                                       &page), ==, 0);
    }
}

/* inv. 1: all kinds of pages, from and to stores of any compression */
static void test_pages_arrive_as_they_were(void)
{
    static const TmemCompression all[] = {
        TMEM_COMPRESSION_LZ4, TMEM_COMPRESSION_ZSTD, TMEM_COMPRESSION_NONE,
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(all) * G_N_ELEMENTS(all); i++) {
        TmemStore *from = store_with(all[i / 3], 64 * MIB);
        TmemStore *to = store_with(all[i % 3], 64 * MIB);
        TmemStoreStats stats;
        TmemExport *export;
        uint32_t pool, ephemeral, next;

        fill(to, pool_new(to), 0, 0, 1, 100, 1);    /* not for long */
        pool_new(from);
        tmem_store_pool_destroy(from, 1);
        pool = pool_new(from);
        g_assert_cmpint(tmem_store_pool_create(from, TMEM_POOL_EPHEMERAL,
                                               &ephemeral), ==, 0);
        fill(from, pool, 0, 0, 1, 2000, test_seed());
        fill(from, pool, UINT64_MAX, UINT64_MAX - 500, 1, 500, test_seed());
        fill(from, ephemeral, 7, 1 << 20, 1000, 500, test_seed());

        export = tmem_export_begin(from);
        g_assert_nonnull(export);
        g_assert_cmpuint(tmem_export_pending(export), >, 1000 * 1000);
        tmem_import_begin(to);
        finish(export, from, to);
        tmem_store_get_stats(to, &stats);
        g_assert_cmpuint(stats.puts, ==, 100);
        g_assert_cmpint(tmem_store_pool_create(to, 0, &next), ==, 0);
        g_assert_cmpuint(next, ==, ephemeral + 1);
        tmem_store_free(from);
        tmem_store_free(to);
    }
}

#define CHANGE_POOLS 3
#define CHANGE_OBJECTS 3

typedef struct Changes {
    TmemStore *store;
    uint32_t pools[CHANGE_POOLS];
    uint64_t seed;
    uint64_t indexes;       /* how many different ones */
    bool pools_come_and_go;
    bool stop;              /* of a thread; atomic */
} Changes;

/* A put, a flush of a range or (seldom) something with a pool. */
static void change(Changes *c)
{
    uint64_t r = next_random(&c->seed);
    unsigned which = r % CHANGE_POOLS;
    uint32_t *pool = &c->pools[which];
    uint64_t object = r / 4 % CHANGE_OBJECTS;
    uint64_t index = r / 16 % c->indexes;
    Page page;

    switch (r >> 32 & 1023) {
    case 0 ... 699:
        page_of_seed(&page, r);
        tmem_store_put(c->store, *pool, object, index, &page);
        break;
    case 700 ... 989:
        tmem_store_flush(c->store, *pool, object, index, index);
        break;
    case 990 ... 1019:
        tmem_store_flush(c->store, *pool, object, index,
                         index + (r >> 48) % 2000);
        break;
    case 1020:
        tmem_store_flush(c->store, *pool, object, 0, UINT64_MAX);
        break;
    default:
        if (c->pools_come_and_go) {
            tmem_store_pool_destroy(c->store, *pool);
            g_assert_cmpint(tmem_store_pool_create(
                c->store, which ? 0 : TMEM_POOL_EPHEMERAL, pool), ==, 0);
        }
    }
}

static void changes_init(Changes *c, TmemStore *store, uint64_t indexes)
{
    *c = (Changes) {
        .store = store, .seed = test_seed(), .indexes = indexes,
    };
    for (unsigned i = 0; i < CHANGE_POOLS; i++) {
        g_assert_cmpint(tmem_store_pool_create(
            store, i ? 0 : TMEM_POOL_EPHEMERAL, &c->pools[i]), ==, 0);
    }
}

/* inv. 1 and 2: what happens between two records is not lost */
static void changes_arrive(bool pools_come_and_go, uint64_t size)
{
    for (unsigned round = 0; round < 10; round++) {
        TmemStore *from = store_new(size);
        TmemStore *to = store_new(size);
        TmemExport *export;
        Changes c;

        changes_init(&c, from, 20000);
        c.pools_come_and_go = pools_come_and_go;
        for (unsigned i = 0; i < 20000; i++) {
            change(&c);
        }
        export = tmem_export_begin(from);
        tmem_import_begin(to);
        for (unsigned i = 0; i < 2000; i++) {
            if (round % 2 && i == 1000) {
                tmem_store_reset(from);
                changes_init(&c, from, 20000);
            }
            for (unsigned n = 0; n < PORTION / 4; n++) {
                change(&c);
            }
            move_some(export, to, PORTION / 2);
        }
        finish(export, from, to);
        tmem_store_free(from);
        tmem_store_free(to);
    }
}

static void test_changes_arrive(void)
{
    changes_arrive(false, 128 * MIB);
}

static void test_pools_that_come_and_go_arrive(void)
{
    changes_arrive(true, 128 * MIB);
}

/* Puts are refused, and ephemeral pages go, on both sides */
static void test_changes_of_a_full_store_arrive(void)
{
    changes_arrive(true, 16 * MIB);
}

/* With more changes than the log takes, the export begins anew */
static void test_log_is_bounded(void)
{
    TmemStore *from = store_new(64 * MIB);
    TmemStore *to = store_new(64 * MIB);
    TmemStoreStats before, during, after;
    uint64_t seed = test_seed();
    uint32_t pool = pool_new(from);
    TmemExport *export;
    Page page;

    fill(from, pool, 0, 0, 1, 1000, seed);
    export = tmem_export_begin(from);
    tmem_import_begin(to);
    for (unsigned round = 0; round < 3; round++) {
        move_all(export, to);
        tmem_store_get_stats(from, &before);
        for (uint64_t i = 0; i < 100000; i++) {
            page_of_seed(&page, seed + i);
            g_assert_cmpint(tmem_store_put(from, pool, 1, i * 0x1100,
                                           &page), ==, 0);
            g_assert_cmpint(tmem_store_flush(from, pool, 1, i * 0x1100,
                                             i * 0x1100), ==, 1);
        }
        fill(from, pool, round, 0, 1, 2000, next_random(&seed));
        tmem_store_get_stats(from, &during);
        g_assert_cmpuint(during.bytes_metadata - before.bytes_metadata, >=,
                         512 * 1024);
        g_assert_cmpuint(during.bytes_metadata - before.bytes_metadata, <=,
                         3 * MIB);
        g_assert_cmpuint(tmem_export_pending(export), >=,
                         during.bytes_stored / 2);
    }
    finish(export, from, to);
    /* Not with what the log took */
    tmem_store_get_stats(from, &after);
    g_assert_cmpuint(after.bytes_metadata, <, during.bytes_metadata);
    tmem_store_free(from);
    tmem_store_free(to);
}

/* What cannot be noted for want of memory: the export begins anew, no more */
static void test_no_memory_for_the_log(void)
{
    TmemStore *from = store_new(64 * MIB);
    TmemStore *to = store_new(64 * MIB);
    uint32_t pool = pool_new(from);
    unsigned begun_anew = 0;
    TmemExport *export;
    Page page;

    fill(from, pool, 0, 0, 1, 1000, test_seed());
    export = tmem_export_begin(from);
    tmem_import_begin(to);
    move_all(export, to);
    for (unsigned n = 1; n < 20; n++) {
        page_of_version(&page, n, 1);
        from->arena.inject = n;
        /* It may be the put that finds no room */
        tmem_store_put(from, pool, 0, n * 0x11000, &page);
        from->arena.inject = 0;
        begun_anew += move_some(export, to, UINT_MAX) > 1000;
    }
    g_assert_cmpuint(begun_anew, >=, 1);
    g_assert_cmpuint(begun_anew, <, 19);
    finish(export, from, to);
    tmem_store_free(from);
    tmem_store_free(to);
}

static gpointer change_thread(gpointer opaque)
{
    Changes *c = opaque;

    while (!qatomic_read(&c->stop)) {
        change(c);
        g_usleep(next_random(&c->seed) % 20);
    }
    return NULL;
}

static gpointer maintain_thread(gpointer opaque)
{
    Changes *c = opaque;

    while (!qatomic_read(&c->stop)) {
        tmem_store_maintain(c->store, 1000);
        g_usleep(100);
    }
    return NULL;
}

/* inv. 1 and 2: whatever the threads of a running guest do meanwhile */
static void test_running_guest_arrives(void)
{
    unsigned rounds = UNDER_TSAN ? 3 : 10;

    for (unsigned round = 0; round < rounds; round++) {
        TmemStore *from = store_new(16 * MIB);
        TmemStore *to = store_new(32 * MIB);
        GThread *threads[4];
        TmemExport *export;
        Changes c[4];

        for (unsigned i = 0; i < 4; i++) {
            changes_init(&c[i], from, 3000);
            c[i].pools_come_and_go = i == 2;
            threads[i] = g_thread_new(NULL, i < 3 ? change_thread
                                                  : maintain_thread, &c[i]);
        }
        export = tmem_export_begin(from);
        tmem_import_begin(to);
        for (unsigned i = 0; i < 200; i++) {
            move_some(export, to, 5000);
            g_usleep(1000);
        }
        for (unsigned i = 0; i < 4; i++) {
            qatomic_set(&c[i].stop, true);
            g_thread_join(threads[i]);
        }
        finish(export, from, to);
        tmem_store_free(from);
        tmem_store_free(to);
    }
}

/* Ended at any point, an export leaves nothing behind; the next one works */
static void test_export_can_be_given_up(void)
{
    TmemStore *from = store_new(32 * MIB);
    TmemStore *to = store_new(32 * MIB);
    TmemStoreStats before, after;
    TmemExport *export;
    Changes c;

    changes_init(&c, from, 5000);
    for (unsigned i = 0; i < 20000; i++) {
        change(&c);
    }
    for (unsigned n = 0; n < 50; n++) {
        export = tmem_export_begin(from);
        g_assert_nonnull(export);
        g_assert_null(tmem_export_begin(from));
        tmem_import_begin(to);
        move_some(export, to, n * 300);
        for (unsigned i = 0; i < 500; i++) {
            change(&c);
        }
        move_some(export, to, n * 300);
        tmem_store_get_stats(from, &before);
        tmem_export_end(export);
        tmem_store_get_stats(from, &after);
        g_assert_cmpuint(after.pages, ==, before.pages);
        g_assert_cmpuint(after.bytes_used, <=, before.bytes_used);
    }
    tmem_export_end(NULL);
    export = tmem_export_begin(from);
    tmem_import_begin(to);
    finish(export, from, to);
    tmem_store_free(from);
    tmem_store_free(to);
}

/* A pool of which a part was dropped, and that stayed, arrives as that */
static void test_half_destroyed_pool_arrives(void)
{
    TmemStore *from = store_with(TMEM_COMPRESSION_LZ4, 16 * MIB);
    TmemStore *to = store_with(TMEM_COMPRESSION_LZ4, 16 * MIB);
    TmemExport *export = tmem_export_begin(from);
    TmemFlush flush = { 0 };
    uint32_t kept, gone;

    tmem_import_begin(to);
    g_assert_cmpint(tmem_store_pool_create(from, 0, &kept), ==, 0);
    g_assert_cmpint(tmem_store_pool_create(from, TMEM_POOL_EPHEMERAL, &gone),
                    ==, 0);
    fill(from, kept, 1, 0, 1, 4000, 1);
    fill(from, gone, 1, 0, 1, 4000, 2);
    move_some(export, to, 3000);
    g_assert_cmpint(tmem_store_pool_destroy_some(from, kept, &flush), ==,
                    -EINPROGRESS);
    move_some(export, to, 100);
    tmem_store_pool_keep(from, kept);
    flush = (TmemFlush) { 0 };
    g_assert_cmpint(tmem_store_pool_destroy_some(from, gone, &flush), ==,
                    -EINPROGRESS);
    move_all(export, to);
    while (tmem_store_pool_destroy_some(from, gone, &flush) == -EINPROGRESS) {
        move_some(export, to, 10);
    }
    finish(export, from, to);
    tmem_store_free(from);
    tmem_store_free(to);
}

/* A store that is too small says so, until it is too late for that */
static void test_small_store_refuses(void)
{
    TmemStore *from = store_with(TMEM_COMPRESSION_LZ4, 16 * MIB);
    TmemStore *to = store_with(TMEM_COMPRESSION_LZ4, 8 * MIB);
    uint64_t seed = test_seed();
    uint32_t pool = pool_new(from);
    TmemStoreStats stats;
    TmemExport *export;
    TmemRecord rec;
    Page page;
    int ret = 0;

    for (uint64_t i = 0; ; i++) {
        page_random(&page, next_random(&seed), G_N_ELEMENTS(page.word));
        if (tmem_store_put(from, pool, 0, i, &page) < 0) {
            break;
        }
    }
    export = tmem_export_begin(from);
    tmem_import_begin(to);
    while (ret == 0 && tmem_export_next(export, &rec)) {
        ret = tmem_import(to, &rec);
    }
    g_assert_cmpint(ret, ==, -ENOSPC);
    tmem_store_get_stats(to, &stats);
    g_assert_cmpuint(stats.bytes_used, >, 8 * MIB);
    g_assert_cmpuint(stats.bytes_used, <, 10 * MIB);
    g_assert_cmpuint(stats.limit, ==, 8 * MIB);
    tmem_import_end(to);
    tmem_export_end(export);

    /* As the last part of a migration, all of it comes; then it is kept. */
    export = tmem_export_begin(from);
    tmem_import_begin(to);
    finish(export, from, to);
    g_assert_true(tmem_store_over_limit(to));
    g_assert_cmpint(tmem_store_put(to, pool, 1, 0, &page), ==, -ENOSPC);
    tmem_store_free(from);
    tmem_store_free(to);
}

static TmemRecord page_record(uint32_t pool, unsigned kind, unsigned len)
{
    TmemRecord rec = {
        .type = TMEM_RECORD_PAGE, .pool = pool, .index = 5, .kind = kind,
        .len = len,
    };

    return rec;
}

/* inv. 7: a record that no export makes is refused, and changes nothing */
static void test_bad_records_are_refused(void)
{
    TmemStore *store = store_new(8 * MIB);
    uint64_t seed = test_seed();
    const struct {
        TmemRecord rec;
        int ret;
    } bad[] = {
        { { .type = 0, .pool = 1 }, -EINVAL },
        { { .type = 5, .pool = 1 }, -EINVAL },
        { { .type = -1, .pool = 1 }, -EINVAL },
        { { .type = TMEM_RECORD_POOL, .pool = 0 }, -EINVAL },
        { { .type = TMEM_RECORD_POOL, .pool = 1 }, -EINVAL },
        { { .type = TMEM_RECORD_POOL, .pool = 1 + TMEM_MAX_POOLS }, -EINVAL },
        { { .type = TMEM_RECORD_POOL, .pool = 2, .flags = 2 }, -EINVAL },
        { { .type = TMEM_RECORD_POOL_GONE, .pool = 0 }, -EINVAL },
        { { .type = TMEM_RECORD_POOL_GONE, .pool = 2 }, -EINVAL },
        { { .type = TMEM_RECORD_POOL_GONE, .pool = 65 }, -EINVAL },
        { { .type = TMEM_RECORD_ABSENT, .pool = 2, .mask = 1 }, -EINVAL },
        { { .type = TMEM_RECORD_ABSENT, .pool = 1, .mask = 0 }, -EINVAL },
        { { .type = TMEM_RECORD_ABSENT, .pool = 1, .mask = 1, .index = 1 },
          -EINVAL },
        { page_record(2, TMEM_KIND_RAW, TMEM_PAGE_SIZE), -EINVAL },
        { page_record(1, 0, 8), -EINVAL },
        { page_record(1, 5, 8), -EINVAL },
        { page_record(1, 255, 8), -EINVAL },
        { page_record(1, TMEM_KIND_SAME, 7), -EINVAL },
        { page_record(1, TMEM_KIND_SAME, 9), -EINVAL },
        { page_record(1, TMEM_KIND_RAW, TMEM_PAGE_SIZE - 1), -EINVAL },
        { page_record(1, TMEM_KIND_RAW, UINT16_MAX), -EINVAL },
        { page_record(1, TMEM_KIND_LZ4, 0), -EINVAL },
        { page_record(1, TMEM_KIND_LZ4, 100), -EIO },
        { page_record(1, TMEM_KIND_LZ4, 3841), -EINVAL },
        { page_record(1, TMEM_KIND_ZSTD, 0), -EINVAL },
        { page_record(1, TMEM_KIND_ZSTD, UINT16_MAX), -EINVAL },
    };
    TmemStoreStats before, after;
    TmemRecord rec;
    Page page, got;

    tmem_import_begin(store);
    rec = (TmemRecord) { .type = TMEM_RECORD_POOL, .pool = 1 };
    g_assert_cmpint(tmem_import(store, &rec), ==, 0);
    page_random(&page, seed, 200);
    g_assert_cmpint(tmem_store_put(store, 1, 0, 5, &page), ==, 0);
    tmem_store_get_stats(store, &before);
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_test_message("%u", i);
        g_assert_cmpint(tmem_import(store, &bad[i].rec), ==, bad[i].ret);
        tmem_store_get_stats(store, &after);
        g_assert_cmpmem(&before, sizeof(before), &after, sizeof(after));
    }
    g_assert_cmpint(tmem_store_get(store, 1, 0, 5, &got), ==, 0);
    g_assert_cmpmem(&got, sizeof(got), &page, sizeof(page));
    tmem_import_end(store);
    tmem_store_free(store);
}

/* inv. 7: whatever the bytes are, what was accepted can be got */
static void test_spoilt_records_do_no_harm(void)
{
    TmemStore *from = store_new(16 * MIB);
    TmemStore *to = store_new(16 * MIB);
    uint64_t seed = test_seed();
    unsigned refused = 0;
    TmemExport *export;
    TmemWalk walk = { 0 };
    TmemWalkPage page;
    TmemRecord rec;
    Changes c;
    int ret;

    changes_init(&c, from, 3000);
    export = tmem_export_begin(from);
    tmem_import_begin(to);
    for (unsigned i = 0; i < 100000; i++) {
        change(&c);
        if (!tmem_export_next(export, &rec)) {
            continue;
        }
        for (unsigned n = next_random(&seed) % 4; n > 0; n--) {
            uint64_t r = next_random(&seed);

            ((uint8_t *)&rec)[(r >> 8) % (r & 1 ? sizeof(rec) : 64)] ^=
                1 << (r >> 5 & 7);
        }
        refused += tmem_import(to, &rec) < 0;
    }
    g_assert_cmpuint(refused, >, 1000);
    while ((ret = tmem_store_walk(to, &walk, &page))) {
        g_assert_cmpint(ret, ==, 1);
    }
    tmem_import_end(to);
    tmem_export_end(export);
    tmem_store_free(from);
    tmem_store_free(to);
}

/* The quota is for what the guest puts; what it has put elsewhere comes */
static void test_quota_does_not_count(void)
{
    TmemStoreConfig config = { .max_size = 8 * MIB, .pool_quota = 10 };
    TmemStore *from = store_new(8 * MIB);
    TmemStore *to = tmem_store_new(&config, NULL);
    uint32_t pool = pool_new(from);
    TmemExport *export;
    Page page;

    fill(from, pool, 0, 0, 1, 100, test_seed());
    export = tmem_export_begin(from);
    tmem_import_begin(to);
    finish(export, from, to);
    page_of_seed(&page, 1);
    g_assert_cmpint(tmem_store_put(to, pool, 0, 100, &page), ==, -ENOSPC);
    tmem_store_free(from);
    tmem_store_free(to);
}

/* What is missing at the end is noticed */
static void test_totals_are_checked(void)
{
    TmemStore *from = store_new(8 * MIB);
    TmemStore *to = store_new(8 * MIB);
    uint32_t pool = pool_new(from);
    TmemExportTotals totals, wrong;
    TmemExport *export;

    fill(from, pool, 0, 0, 1, 100, test_seed());
    export = tmem_export_begin(from);
    tmem_import_begin(to);
    move_all(export, to);
    tmem_export_totals(export, &totals);
    wrong = totals;
    wrong.pages++;
    g_assert_false(tmem_import_check(to, &wrong));
    wrong = totals;
    wrong.num_pools++;
    g_assert_false(tmem_import_check(to, &wrong));
    g_assert_true(tmem_import_check(to, &totals));
    tmem_store_flush(to, pool, 0, 50, 50);
    g_assert_false(tmem_import_check(to, &totals));
    tmem_export_end(export);
    tmem_store_free(from);
    tmem_store_free(to);
}

int main(int argc, char **argv)
{
    test_init(argc, argv);
#define ADD(name, fn) g_test_add_func("/tmem-store-migrate/" name, fn)
    ADD("pages-arrive-as-they-were", test_pages_arrive_as_they_were);
    ADD("changes-arrive", test_changes_arrive);
    ADD("pools-that-come-and-go-arrive", test_pools_that_come_and_go_arrive);
    ADD("changes-of-a-full-store-arrive", test_changes_of_a_full_store_arrive);
    ADD("log-is-bounded", test_log_is_bounded);
    ADD("no-memory-for-the-log", test_no_memory_for_the_log);
    ADD("running-guest-arrives", test_running_guest_arrives);
    ADD("export-can-be-given-up", test_export_can_be_given_up);
    ADD("half-destroyed-pool-arrives", test_half_destroyed_pool_arrives);
    ADD("small-store-refuses", test_small_store_refuses);
    ADD("bad-records-are-refused", test_bad_records_are_refused);
    ADD("spoilt-records-do-no-harm", test_spoilt_records_do_no_harm);
    ADD("quota-does-not-count", test_quota_does_not_count);
    ADD("totals-are-checked", test_totals_are_checked);
#undef ADD
    return g_test_run();
}
