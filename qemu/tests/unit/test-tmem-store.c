/*
 * Page store of virtio-tmem: the promises of tmem-store.h
 *
 * Each test names the promise it keeps, and the invariant of the design that
 * the promise serves ("inv. 1" and so on).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <sys/resource.h>
#include "tmem-store-pages.h"

static void assert_put_get(TmemStore *store, uint32_t pool, uint64_t object,
                           uint64_t index, const Page *page)
{
    Page got;

    memset(&got, 0x5a, sizeof(got));
    g_assert_cmpint(tmem_store_put(store, pool, object, index, page), ==, 0);
    g_assert_cmpint(tmem_store_get(store, pool, object, index, &got), ==, 0);
    g_assert_cmpmem(&got, sizeof(got), page, sizeof(*page));
}

static void assert_absent(TmemStore *store, uint32_t pool, uint64_t object,
                          uint64_t index)
{
    Page got, untouched;

    memset(&got, 0x5a, sizeof(got));
    untouched = got;
    g_assert_cmpint(tmem_store_get(store, pool, object, index, &got), ==,
                    -ENOENT);
    g_assert_cmpmem(&got, sizeof(got), &untouched, sizeof(untouched));
}

/* Put raw pages at indexes from 0 until one is refused. Returns how many. */
static uint64_t fill_with_raw(TmemStore *store, uint32_t pool)
{
    uint64_t seed = test_seed();
    uint64_t index = 0;
    Page page;

    do {
        page_random(&page, next_random(&seed), G_N_ELEMENTS(page.word));
    } while (tmem_store_put(store, pool, 0, index++, &page) == 0);
    return index - 1;
}

/* inv. 1: every kind and length of page comes back as it was put */
static void test_get_returns_what_was_put(void)
{
    TmemStore *store = store_new(64 * MIB);
    uint32_t pool = pool_new(store);
    uint64_t words[] = {
        0, 1, UINT64_MAX, UINT64_C(0x0fffffffffffffff), INT64_MAX,
        UINT64_C(0x1000000000000000), UINT64_C(0xf000000000000000),
        UINT64_C(0xefffffffffffffff), UINT64_C(0x8000000000000000),
        UINT64_C(0xa5a5a5a5a5a5a5a5),
    };
    uint64_t index = 0;
    TmemStoreStats stats;
    Page page;

    for (unsigned w = 0; w < G_N_ELEMENTS(words); w++) {
        for (unsigned i = 0; i < G_N_ELEMENTS(page.word); i++) {
            page.word[i] = words[w];
        }
        assert_put_get(store, pool, 1, index++, &page);
    }
    /* All but one word alike is not same-filled, wherever the one is. */
    for (unsigned i = 0; i < G_N_ELEMENTS(page.word); i++) {
        page.word[i] ^= 1;
        assert_put_get(store, pool, 1, index++, &page);
        page.word[i] ^= 1;
    }
    stats = stats_of(store);
    g_assert_cmpuint(stats.same_filled, ==, G_N_ELEMENTS(words));

    for (unsigned size = 0; size <= G_N_ELEMENTS(page.word); size++) {
        page_random(&page, test_seed(), size);
        assert_put_get(store, pool, 1, index++, &page);
    }
    stats = stats_of(store);
    g_assert_cmpuint(stats.raw, >, 0);
    g_assert_cmpuint(stats.raw, <, 64);
    g_assert_cmpuint(stats.pages, ==, index);
    tmem_store_free(store);
}

/* inv. 2: no old copy survives a put that succeeds, whatever their kinds */
static void test_put_replaces(void)
{
    TmemStore *store = store_new(4 * MIB);
    uint32_t pool = pool_new(store);
    Page page;

    for (unsigned i = 0; i < 2000; i++) {
        page_of_seed(&page, test_seed());
        assert_put_get(store, pool, 7, 7, &page);
        g_assert_cmpuint(stats_of(store).pages, ==, 1);
    }
    tmem_store_free(store);
}

/* inv. 2: a put that is refused leaves nothing, not even the old copy */
static void test_refused_put_leaves_key_absent(void)
{
    TmemStore *store = store_new(TMEM_STORE_MIN_LIMIT);
    uint32_t pool = pool_new(store);
    unsigned refused = 0;
    uint64_t held;
    Page page;

    memset(&page, 0, sizeof(page));
    for (uint64_t index = 0; index < 256; index++) {
        assert_put_get(store, pool, 0, 1000 + index, &page);
    }
    held = fill_with_raw(store, pool);
    assert_absent(store, pool, 0, held);

    /* A zero page has no bytes to give back, so there is no room for these. */
    for (uint64_t index = 0; index < 256; index++) {
        page_random(&page, index, G_N_ELEMENTS(page.word));
        if (tmem_store_put(store, pool, 0, 1000 + index, &page) == -ENOSPC) {
            refused++;
            assert_absent(store, pool, 0, 1000 + index);
        }
    }
    g_assert_cmpuint(refused, >, 200);
    g_assert_cmpuint(stats_of(store).rejected_puts, ==, refused + 1);
    g_assert_cmpuint(stats_of(store).pages, ==, held + 256 - refused);
    tmem_store_free(store);
}

/* inv. 3 */
static void test_get_does_not_remove(void)
{
    TmemStore *store = store_new(4 * MIB);
    uint32_t pool = pool_new(store);
    TmemStoreStats before, after;
    Page page, got;

    page_of_version(&page, 1, 1);
    assert_put_get(store, pool, 1, 1, &page);
    before = stats_of(store);
    for (unsigned i = 0; i < 3; i++) {
        g_assert_cmpint(tmem_store_get(store, pool, 1, 1, &got), ==, 0);
        g_assert_cmpmem(&got, sizeof(got), &page, sizeof(page));
    }
    after = stats_of(store);
    g_assert_cmpuint(after.pages, ==, before.pages);
    g_assert_cmpuint(after.gets, ==, before.gets + 3);
    g_assert_cmpuint(after.misses, ==, 0);
    tmem_store_free(store);
}

/* inv. 1, 2: a flush drops its range, all of it, and nothing else */
static void test_flush_drops_its_range_only(void)
{
    static const uint64_t keys[] = {
        0, 1, 62, 63, 64, 65, 4095, 4096, 262143, 262144,
        UINT64_C(1) << 32, UINT64_C(1) << 60, UINT64_C(1) << 63,
        UINT64_MAX - 64, UINT64_MAX - 63, UINT64_MAX - 1, UINT64_MAX,
    };
    TmemStore *store = store_new(4 * MIB);
    uint32_t pool = pool_new(store);
    uint64_t empty = stats_of(store).bytes_used;
    Page page, got;

    for (unsigned first = 0; first < G_N_ELEMENTS(keys); first++) {
        for (unsigned last = first; last < G_N_ELEMENTS(keys); last++) {
            for (unsigned i = 0; i < G_N_ELEMENTS(keys); i++) {
                page_of_version(&page, keys[i], i);
                assert_put_get(store, pool, keys[i], keys[i], &page);
                assert_put_get(store, pool, 5, keys[i], &page);
            }
            g_assert_cmpint(tmem_store_flush(store, pool, 5, keys[first],
                                             keys[last]), ==,
                            last - first + 1);
            for (unsigned i = 0; i < G_N_ELEMENTS(keys); i++) {
                if (i >= first && i <= last) {
                    assert_absent(store, pool, 5, keys[i]);
                } else {
                    g_assert_cmpint(tmem_store_get(store, pool, 5, keys[i],
                                                   &got), ==, 0);
                    assert_is_version(&got, keys[i], i);
                }
                /* The same indexes of other objects are not concerned. */
                g_assert_cmpint(tmem_store_flush(store, pool, keys[i], keys[i],
                                                 keys[i]), ==, 1);
            }
            g_assert_cmpint(tmem_store_flush(store, pool, 5, 0, UINT64_MAX),
                            ==, G_N_ELEMENTS(keys) - (last - first + 1));
            g_assert_cmpuint(stats_of(store).bytes_used, ==, empty);
        }
    }
    g_assert_cmpint(tmem_store_flush(store, pool, 5, 0, UINT64_MAX), ==, 0);
    tmem_store_free(store);
}

/* inv. 7: first > last is refused and drops nothing */
static void test_flush_of_reversed_range_is_invalid(void)
{
    TmemStore *store = store_new(4 * MIB);
    uint32_t pool = pool_new(store);
    Page page;

    page_of_version(&page, 1, 1);
    assert_put_get(store, pool, 0, 1, &page);
    g_assert_cmpint(tmem_store_flush(store, pool, 0, 2, 1), ==, -EINVAL);
    g_assert_cmpint(tmem_store_flush(store, pool, 0, UINT64_MAX, 0), ==,
                    -EINVAL);
    g_assert_cmpint(tmem_store_flush(store, pool, 0, 1, 1), ==, 1);
    tmem_store_free(store);
}

/* Pages of one word each: 4096 in object 0, one in each of objects 1 to 3000 */
static void put_many(TmemStore *store, uint32_t pool)
{
    Page page;

    for (uint64_t i = 0; i < 4096 + 3000; i++) {
        memset(&page, i % 251, sizeof(page));
        g_assert_cmpint(tmem_store_put(store, pool, i < 4096 ? 0 : i - 4095,
                                       i < 4096 ? i : i << 20, &page), ==, 0);
    }
}

/* A portion has at most this many, as a leaf of the index is not parted. */
#define MOST_OF_A_PORTION (TMEM_FLUSH_PORTION + 63)

/* A flush in portions is the same flush, and none of them takes long. */
static void test_flush_in_portions(void)
{
    TmemStore *store = store_new(8 * MIB);
    uint32_t pool = pool_new(store);
    TmemFlush flush = { 0 };
    unsigned portions = 1;
    Page got;

    put_many(store, pool);
    for (uint64_t before = 0;; portions++) {
        int ret = tmem_store_flush_some(store, pool, 0, 100, 4000,
                                        TMEM_FLUSH_PORTION, &flush);

        g_assert_cmpuint(flush.pages - before, <=, MOST_OF_A_PORTION);
        g_assert_cmpuint(stats_of(store).flushes, ==, flush.pages);
        before = flush.pages;
        if (!ret) {
            break;
        }
        g_assert_cmpint(ret, ==, -EINPROGRESS);
    }
    g_assert_cmpuint(flush.pages, ==, 3901);
    g_assert_cmpuint(portions, >=, 4);
    g_assert_cmpint(tmem_store_get(store, pool, 0, 99, &got), ==, 0);
    g_assert_cmpint(tmem_store_get(store, pool, 0, 100, &got), ==, -ENOENT);
    g_assert_cmpint(tmem_store_get(store, pool, 0, 4000, &got), ==, -ENOENT);
    g_assert_cmpint(tmem_store_get(store, pool, 0, 4001, &got), ==, 0);

    /* Another range, counted on */
    g_assert_cmpint(tmem_store_flush_some(store, pool, 0, 0, UINT64_MAX,
                                          TMEM_FLUSH_PORTION, &flush), ==, 0);
    g_assert_cmpuint(flush.pages, ==, 4096);
    g_assert_cmpint(tmem_store_flush_some(store, pool, 0, 2, 1,
                                          TMEM_FLUSH_PORTION, &flush), ==,
                    -EINVAL);
    while (tmem_store_flush_some(store, pool, 1, 0, UINT64_MAX, 1, &flush)) {
        g_assert_cmpuint(flush.pages, ==, 4097);
    }
    g_assert_cmpint(tmem_store_put(store, pool, 1, 1 << 20, &got), ==, 0);
    g_assert_cmpint(tmem_store_pool_destroy(store, pool), ==, 3000);
    tmem_store_free(store);
}

/* In between, its pages come back neither in it nor in another pool. */
static void test_pool_destroyed_in_portions(void)
{
    TmemStore *store = store_new(8 * MIB);
    uint64_t empty = stats_of(store).bytes_used;
    uint32_t other = pool_new(store), pool = pool_new(store);
    TmemFlush flush = { 0 }, second = { 0 };
    uint64_t before = 0;
    Page page = { 0 };

    put_many(store, pool);
    assert_put_get(store, other, 0, 0, &page);
    while (tmem_store_pool_destroy_some(store, pool, &flush) == -EINPROGRESS) {
        g_assert_cmpuint(flush.pages - before, <=, MOST_OF_A_PORTION);
        g_assert_cmpuint(flush.pages, >, before);
        before = flush.pages;
        /* No new pool takes its place */
        g_assert_cmpuint(pool_new(store), !=, pool);
        /* What is put in what is left goes with it */
        for (uint64_t i = 0; i < 64; i++) {
            int ret = tmem_store_put(store, pool, 7, i << 20, &page);

            g_assert_true(!ret || ret == -EINVAL);
        }
    }
    g_assert_cmpuint(flush.pages, >=, 4096 + 3000);
    g_assert_false(tmem_store_pool_exists(store, pool));
    g_assert_cmpint(tmem_store_pool_destroy_some(store, pool, &second), ==,
                    -EINVAL);
    g_assert_cmpint(tmem_store_pool_destroy(store, other), ==, 1);
    g_assert_cmpuint(stats_of(store).bytes_used, ==, empty);

    /* Two that destroy a pool at the same time: both see it gone */
    pool = pool_new(store);
    put_many(store, pool);
    flush = (TmemFlush) { 0 };
    g_assert_cmpint(tmem_store_pool_destroy_some(store, pool, &flush), ==,
                    -EINPROGRESS);
    g_assert_cmpint(tmem_store_pool_destroy(store, pool), ==,
                    4096 + 3000 - flush.pages);
    g_assert_cmpint(tmem_store_pool_destroy_some(store, pool, &flush), ==, 0);
    tmem_store_free(store);
}

/* However the pages of a part of the pool are spread over objects */
static void test_no_portion_of_a_pool_is_large(void)
{
    TmemStore *store = store_new(64 * MIB);
    uint32_t pool = pool_new(store);
    uint64_t before = 0;
    TmemFlush flush = { 0 };
    Page page = { 0 };

    for (uint64_t i = 0; i < 9600; i++) {
        g_assert_cmpint(tmem_store_put(store, pool, i, 0, &page), ==, 0);
    }
    for (uint64_t i = 0; i < 14400; i++) {
        g_assert_cmpint(tmem_store_put(store, pool, UINT64_MAX, i, &page), ==,
                        0);
    }
    while (tmem_store_pool_destroy_some(store, pool, &flush) == -EINPROGRESS) {
        g_assert_cmpuint(flush.pages - before, <=, MOST_OF_A_PORTION);
        before = flush.pages;
    }
    g_assert_cmpuint(flush.pages, ==, 9600 + 14400);
    tmem_store_free(store);
}

/* inv. 1, 2: who does not go on leaves a pool, of which some pages are gone */
static void test_pool_that_is_kept_after_all(void)
{
    TmemStore *store = store_new(8 * MIB);
    uint32_t pool = pool_new(store);
    TmemFlush flush = { 0 }, second = { 0 };
    Page page = { 0 };

    put_many(store, pool);
    for (unsigned i = 0; i < 3; i++) {
        g_assert_cmpint(tmem_store_pool_destroy_some(store, pool, &flush), ==,
                        -EINPROGRESS);
    }
    tmem_store_pool_keep(store, pool);
    g_assert_true(tmem_store_pool_exists(store, pool));
    g_assert_cmpuint(stats_of(store).pages, ==, 4096 + 3000 - flush.pages);
    for (uint64_t i = 0; i < 256; i++) {
        assert_put_get(store, pool, 9000, i << 20, &page);
    }

    /* While somebody else destroys it, who then has to begin anew */
    g_assert_cmpint(tmem_store_pool_destroy_some(store, pool, &second), ==,
                    -EINPROGRESS);
    g_assert_cmpint(tmem_store_pool_destroy_some(store, pool, &second), ==,
                    -EINPROGRESS);
    tmem_store_pool_keep(store, pool);
    for (uint64_t i = 0; i < 256; i++) {
        assert_put_get(store, pool, 9000, i << 20, &page);
    }
    while (tmem_store_pool_destroy_some(store, pool, &second) == -EINPROGRESS) {
        continue;
    }
    g_assert_cmpuint(stats_of(store).pages, ==, 0);
    g_assert_false(tmem_store_pool_exists(store, pool));
    tmem_store_pool_keep(store, pool);
    g_assert_false(tmem_store_pool_exists(store, pool));
    tmem_store_free(store);
}

/* inv. 1: a pool's end leaves the others as they are, and frees all its own */
static void test_pools_are_separate(void)
{
    TmemStore *store = store_new(8 * MIB);
    uint64_t empty = stats_of(store).bytes_used;
    uint32_t one = pool_new(store), two = pool_new(store);
    Page page, got;

    for (uint64_t i = 0; i < 300; i++) {
        page_of_version(&page, i, 1);
        assert_put_get(store, one, i % 3, i << 40 | i, &page);
        page_of_version(&page, i, 2);
        assert_put_get(store, two, i % 3, i << 40 | i, &page);
    }
    g_assert_cmpint(tmem_store_pool_destroy(store, one), ==, 300);
    g_assert_false(tmem_store_pool_exists(store, one));
    for (uint64_t i = 0; i < 300; i++) {
        g_assert_cmpint(tmem_store_get(store, two, i % 3, i << 40 | i, &got),
                        ==, 0);
        assert_is_version(&got, i, 2);
    }
    g_assert_cmpint(tmem_store_pool_destroy(store, two), ==, 300);
    g_assert_cmpuint(stats_of(store).bytes_used, ==, empty);
    g_assert_cmpuint(stats_of(store).flushes, ==, 600);
    tmem_store_free(store);
}

/* inv. 2: a new pool never gets the id of one that ended just before */
static void test_pool_ids_are_fresh(void)
{
    TmemStore *store = store_new(4 * MIB);
    TmemPoolStats pools[TMEM_MAX_POOLS];
    uint32_t id[TMEM_MAX_POOLS], last = 0, none = 0;
    Page page;

    for (unsigned i = 0; i < TMEM_MAX_POOLS; i++) {
        id[i] = pool_new(store);
        g_assert_cmpuint(id[i], >, last);
        last = id[i];
    }
    g_assert_cmpint(tmem_store_pool_create(store, 0, &none), ==, -ENOSPC);

    /* Whichever slot is free: it is found, and under an id never seen. */
    for (unsigned i = 0; i < 3 * TMEM_MAX_POOLS; i++) {
        unsigned slot = g_test_rand_int_range(0, TMEM_MAX_POOLS);

        g_assert_cmpint(tmem_store_pool_destroy(store, id[slot]), ==, 0);
        id[slot] = pool_new(store);
        g_assert_cmpuint(id[slot], >, last);
        last = id[slot];
    }

    page_of_version(&page, 0, 0);
    assert_put_get(store, id[5], 0, 0, &page);
    g_assert_cmpuint(tmem_store_get_pools(store, pools), ==, TMEM_MAX_POOLS);
    for (unsigned i = 0; i < TMEM_MAX_POOLS; i++) {
        g_assert_true(i == 0 || pools[i - 1].id < pools[i].id);
        g_assert_cmpuint(pools[i].pages, ==, pools[i].id == id[5]);
        g_assert_cmpuint(pools[i].bytes_stored, ==, pools[i].id == id[5]
                         ? stats_of(store).bytes_stored : 0);
    }
    tmem_store_free(store);
}

/* inv. 7: a pool that is not there is invalid everywhere, and costs nothing */
static void test_unknown_pool_is_invalid(void)
{
    TmemStore *store = store_new(4 * MIB);
    uint32_t known = pool_new(store), gone = pool_new(store);
    uint32_t ids[] = { 0, gone, known + TMEM_MAX_POOLS, UINT32_MAX, 1u << 31 };
    TmemStoreStats before, after;
    Page page, got;

    g_assert_cmpint(tmem_store_pool_destroy(store, gone), ==, 0);
    page_of_version(&page, 0, 0);
    got = page;
    before = stats_of(store);
    for (unsigned i = 0; i < G_N_ELEMENTS(ids); i++) {
        uint32_t id = ids[i];

        g_assert_false(tmem_store_pool_exists(store, id));
        g_assert_cmpint(tmem_store_put(store, id, 0, 0, &page), ==, -EINVAL);
        g_assert_cmpint(tmem_store_get(store, id, 0, 0, &got), ==, -EINVAL);
        g_assert_cmpmem(&got, sizeof(got), &page, sizeof(page));
        g_assert_cmpint(tmem_store_flush(store, id, 0, 0, UINT64_MAX), ==,
                        -EINVAL);
        g_assert_cmpint(tmem_store_pool_destroy(store, id), ==, -EINVAL);
    }
    after = stats_of(store);
    g_assert_cmpmem(&after, sizeof(after), &before, sizeof(before));
    g_assert_true(tmem_store_pool_exists(store, known));
    tmem_store_free(store);
}

/* What a hostile guest may put, to make the store hold more than it counts. */
static void attack_put(TmemStore *store, unsigned attack, uint64_t *seed,
                       uint32_t pool, uint64_t count)
{
    uint64_t object = 0, index = count;
    Page page;

    memset(&page, 0, sizeof(page));
    switch (attack) {
    case 0: /* all sizes of pages */
        page_of_seed(&page, next_random(seed));
        break;
    case 1: /* zero pages, each at the far end of branches of its own */
        object = next_random(seed);
        index = next_random(seed);
        break;
    case 2: /* trees that are as tall as can be, for one page */
        object = count;
        index = UINT64_MAX;
        break;
    case 3: /* the smallest objects */
        memset(&page, 0xa5, sizeof(page));
        break;
    case 4: /* all of these */
        page_of_seed(&page, next_random(seed));
        object = next_random(seed) >> next_random(seed) % 64;
        index = next_random(seed) >> next_random(seed) % 64;
        break;
    }
    tmem_store_put(store, pool, object, index, &page);
}

/* inv. 8: a guest that sizes its swap after max_pages is not refused */
static void test_capacity_can_be_filled(void)
{
    const uint64_t limits[] = {
        TMEM_STORE_MIN_LIMIT, 5 * MIB + 4321, 64 * MIB,
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(limits); i++) {
        TmemStore *store = store_new(limits[i]);
        uint64_t capacity = tmem_store_capacity(store);
        uint32_t pool;
        Page page;

        /* Not worth its name if it leaves out more than index and blocks */
        g_assert_cmpuint(capacity * TMEM_PAGE_SIZE, <, limits[i]);
        g_assert_cmpuint((capacity + 112) * TMEM_PAGE_SIZE, >,
                         limits[i] / 505 * 504);

        g_assert_cmpint(tmem_store_pool_create(store, 0, &pool), ==, 0);
        for (uint64_t n = 0; n < capacity; n++) {
            page_random(&page, n, G_N_ELEMENTS(page.word));
            g_assert_cmpint(tmem_store_put(store, pool, 0, n, &page), ==, 0);
        }
        tmem_store_free(store);
    }
}

/* inv. 8, 7: used memory never exceeds the limit; what is flushed is room */
static void test_limit_holds_against_any_guest(void)
{
    for (unsigned attack = 0; attack <= 4; attack++) {
        TmemStore *store = store_new(2 * MIB + 12345);
        uint64_t empty = stats_of(store).bytes_used;
        uint32_t pools[TMEM_MAX_POOLS];
        uint64_t seed = test_seed();
        uint64_t count = 0;
        int64_t dropped = 0;

        for (unsigned i = 0; i < TMEM_MAX_POOLS; i++) {
            pools[i] = pool_new(store);
        }
        while (stats_of(store).rejected_puts < 500) {
            attack_put(store, attack, &seed,
                       pools[attack == 3 ? 0 : count % TMEM_MAX_POOLS], count);
            count++;
        }
        g_assert_cmpuint(stats_of(store).bytes_used, >, 2 * MIB - 128 * 1024);
        g_assert_cmpuint(stats_of(store).pages, <=, count - 500);

        for (unsigned i = 0; i < TMEM_MAX_POOLS; i++) {
            dropped += tmem_store_pool_destroy(store, pools[i]);
        }
        g_assert_cmpint(dropped, ==, stats_of(store).flushes);
        g_assert_cmpuint(stats_of(store).pages, ==, 0);
        g_assert_cmpuint(stats_of(store).bytes_stored, ==, 0);
        g_assert_cmpuint(stats_of(store).same_filled, ==, 0);
        g_assert_cmpuint(stats_of(store).raw, ==, 0);
        g_assert_cmpuint(stats_of(store).bytes_used, ==, empty);
        g_assert_cmpuint(empty, <, 64 * 1024);

        /* Memory that held other sizes holds raw pages now. */
        g_assert_cmpuint(fill_with_raw(store, pool_new(store)), >, 470);
        tmem_store_free(store);
    }
}

typedef struct ProcessSize {
    uint64_t all;          /* address space */
    uint64_t resident;     /* of no file: text goes as the host likes */
} ProcessSize;

static ProcessSize process_size(void)
{
    uint64_t page = qemu_real_host_page_size();
    unsigned long all, resident, of_files;
    FILE *f = fopen("/proc/self/statm", "r");

    g_assert_nonnull(f);
    g_assert_cmpint(fscanf(f, "%lu %lu %lu", &all, &resident, &of_files), ==,
                    3);
    fclose(f);
    return (ProcessSize) { all * page, (resident - of_files) * page };
}

/* inv. 8: the host gets its memory back by flush, pool destroy and reset */
static void test_freed_memory_returns_to_the_host(void)
{
    TmemStore *store = store_new(32 * MIB);
    uint64_t empty = stats_of(store).bytes_used;

    if (UNDER_TSAN) {
        g_test_skip("tsan's own memory is resident, too");
        tmem_store_free(store);
        return;
    }
    for (unsigned way = 0; way < 3; way++) {
        uint64_t before = process_size().resident;
        uint32_t pool = pool_new(store);
        uint64_t held = fill_with_raw(store, pool);

        g_assert_cmpuint(held * TMEM_PAGE_SIZE, >, 30 * MIB);
        g_assert_cmpuint(process_size().resident, >, before + 30 * MIB);
        if (way == 0) {
            g_assert_cmpint(tmem_store_flush(store, pool, 0, 0, UINT64_MAX),
                            ==, held);
        } else if (way == 1) {
            g_assert_cmpint(tmem_store_pool_destroy(store, pool), ==, held);
        } else {
            tmem_store_reset(store);
            g_assert_false(tmem_store_pool_exists(store, pool));
        }
        g_assert_cmpuint(process_size().resident, <, before + 2 * MIB);
        g_assert_cmpuint(stats_of(store).bytes_used, ==, empty);
        g_assert_cmpuint(stats_of(store).pages, ==, 0);
    }
    tmem_store_free(store);
}

/* inv. 8: what is used beyond the payload is small */
static void test_overhead_is_small(void)
{
    unsigned num = 8192;
    TmemStore *store = store_new(64 * MIB);
    uint32_t pool = pool_new(store);
    uint64_t empty = stats_of(store).bytes_used, metadata;
    TmemStoreStats stats;
    Page page;

    /* Raw pages fill their blocks, so all the rest is metadata. */
    for (unsigned i = 0; i < num; i++) {
        page_random(&page, test_seed(), G_N_ELEMENTS(page.word));
        assert_put_get(store, pool, 0, i, &page);
    }
    stats = stats_of(store);
    g_assert_cmpuint(stats.raw, ==, num);
    metadata = stats.bytes_used - stats.bytes_stored;
    g_test_message("metadata: %.1f bytes a page", (double)metadata / num);
    g_assert_cmpuint(metadata, <=, 32 * num);

    /*
     * 34 % random bytes, as the benchmarks have; then any share of them, where
     * half a block for each of 58 classes shows, in a store as small as this.
     */
    for (unsigned mix = 0; mix < 2; mix++) {
        uint64_t seed = test_seed();

        tmem_store_reset(store);
        g_assert_cmpuint(stats_of(store).bytes_used, ==, empty);
        pool = pool_new(store);
        for (unsigned i = 0; i < num; i++) {
            page_random(&page, next_random(&seed), mix == 0 ?
                        G_N_ELEMENTS(page.word) * 34 / 100 :
                        next_random(&seed) % G_N_ELEMENTS(page.word));
            assert_put_get(store, pool, 0, i, &page);
        }
        stats = stats_of(store);
        g_test_message("payload: %.3f of %" PRIu64 " bytes used",
                       (double)stats.bytes_stored / stats.bytes_used,
                       stats.bytes_used);
        g_assert_cmpfloat((double)stats.bytes_stored / stats.bytes_used, >=,
                          mix == 0 ? 0.90 : 0.85);
    }
    tmem_store_free(store);
}

/* What cannot be had is said in an error, and nothing aborts. */
static void test_new_fails_with_a_reason(void)
{
    uint64_t limits[] = {
        0, TMEM_STORE_MIN_LIMIT - 1, UINT64_C(1) << 62, UINT64_MAX
    };
    TmemStoreConfig config = { 0 };
    struct rlimit old, tight;
    GError *err = NULL;

    for (unsigned i = 0; i < G_N_ELEMENTS(limits); i++) {
        config.max_size = limits[i];
        g_assert_null(tmem_store_new(&config, &err));
        g_assert_error(err, G_FILE_ERROR, G_FILE_ERROR_INVAL);
        g_clear_error(&err);
    }
    g_assert_null(tmem_store_new(&config, NULL));

    g_assert_cmpint(getrlimit(RLIMIT_AS, &old), ==, 0);
    tight = old;
    tight.rlim_cur = process_size().all + 512 * MIB;
    g_assert_cmpint(setrlimit(RLIMIT_AS, &tight), ==, 0);
    config.max_size = UINT64_C(1) << 32;
    g_assert_null(tmem_store_new(&config, &err));
    g_assert_cmpint(setrlimit(RLIMIT_AS, &old), ==, 0);
    g_assert_error(err, G_FILE_ERROR, G_FILE_ERROR_NOMEM);
    g_test_message("%s", err->message);
    g_clear_error(&err);
    tmem_store_free(NULL);
}

int main(int argc, char **argv)
{
    test_init(argc, argv);
    g_test_add_func("/tmem-store/get-returns-what-was-put",
                    test_get_returns_what_was_put);
    g_test_add_func("/tmem-store/put-replaces", test_put_replaces);
    g_test_add_func("/tmem-store/refused-put-leaves-key-absent",
                    test_refused_put_leaves_key_absent);
    g_test_add_func("/tmem-store/get-does-not-remove",
                    test_get_does_not_remove);
    g_test_add_func("/tmem-store/flush-drops-its-range-only",
                    test_flush_drops_its_range_only);
    g_test_add_func("/tmem-store/flush-of-reversed-range-is-invalid",
                    test_flush_of_reversed_range_is_invalid);
    g_test_add_func("/tmem-store/flush-in-portions", test_flush_in_portions);
    g_test_add_func("/tmem-store/pool-destroyed-in-portions",
                    test_pool_destroyed_in_portions);
    g_test_add_func("/tmem-store/no-portion-of-a-pool-is-large",
                    test_no_portion_of_a_pool_is_large);
    g_test_add_func("/tmem-store/pool-that-is-kept-after-all",
                    test_pool_that_is_kept_after_all);
    g_test_add_func("/tmem-store/pools-are-separate", test_pools_are_separate);
    g_test_add_func("/tmem-store/pool-ids-are-fresh", test_pool_ids_are_fresh);
    g_test_add_func("/tmem-store/unknown-pool-is-invalid",
                    test_unknown_pool_is_invalid);
    g_test_add_func("/tmem-store/capacity-can-be-filled",
                    test_capacity_can_be_filled);
    g_test_add_func("/tmem-store/limit-holds-against-any-guest",
                    test_limit_holds_against_any_guest);
    g_test_add_func("/tmem-store/freed-memory-returns-to-the-host",
                    test_freed_memory_returns_to_the_host);
    g_test_add_func("/tmem-store/overhead-is-small", test_overhead_is_small);
    g_test_add_func("/tmem-store/new-fails-with-a-reason",
                    test_new_fails_with_a_reason);
    return g_test_run();
}
