/*
 * Page store of virtio-tmem: what it does by itself to the pages it holds, and
 * what it does when there is no room
 *
 * "inv." numbers name the invariants of the design that a test guards.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "hw/virtio/tmem-store-internal.h"
#include "tmem-store-pages.h"

static TmemStore *store_with(TmemStoreConfig config)
{
    GError *err = NULL;
    TmemStore *store = tmem_store_new(&config, &err);

    g_assert_no_error(err);
    return store;
}

static uint32_t ephemeral_pool_new(TmemStore *store)
{
    uint32_t pool;

    g_assert_cmpint(tmem_store_pool_create(store, TMEM_POOL_EPHEMERAL, &pool),
                    ==, 0);
    return pool;
}

/* Until there is nothing to do, or for so many seconds. */
static void maintain(TmemStore *store, unsigned seconds)
{
    int64_t end = g_get_monotonic_time() + seconds * G_USEC_PER_SEC;

    while (tmem_store_maintain(store, 10000) &&
           g_get_monotonic_time() < end) {
        continue;
    }
}

/* A page that follows from its key: of any kind that the store knows. */
static void page_of_key(Page *page, uint64_t key)
{
    if (key % 4 == 3) {
        page_of_letters(page, key);
    } else {
        page_of_seed(page, key * 7919 + 1);
    }
}

static void put_key(TmemStore *store, uint32_t pool, uint64_t object,
                    uint64_t index)
{
    Page page;

    page_of_key(&page, object ^ index);
    g_assert_cmpint(tmem_store_put(store, pool, object, index, &page), ==, 0);
}

static void check_key(TmemStore *store, uint32_t pool, uint64_t object,
                      uint64_t index)
{
    Page want, got;

    page_of_key(&want, object ^ index);
    g_assert_cmpint(tmem_store_get(store, pool, object, index, &got), ==, 0);
    g_assert_cmpmem(&got, sizeof(got), &want, sizeof(want));
}

static bool has_key(TmemStore *store, uint32_t pool, uint64_t index)
{
    Page got;

    return tmem_store_get(store, pool, 0, index, &got) == 0;
}

/* inv. 8: the index of any key, in any shard, is found again from its place */
static void test_keys_and_shards_are_one_to_one(void)
{
    uint64_t random = test_seed();

    for (unsigned i = 0; i < 100000; i++) {
        uint64_t object = next_random(&random) >> next_random(&random) % 64;
        uint64_t index = next_random(&random) >> next_random(&random) % 64;
        unsigned shard = tmem_shard_of(object, index >> TMEM_CLUSTER_BITS);

        g_assert_cmpuint(shard, <, TMEM_NUM_SHARDS);
        g_assert_cmpuint(tmem_shard_index(shard, object,
                                          tmem_shard_key(index)), ==, index);
        if ((index & 255) != 255) {
            g_assert_cmpuint(tmem_shard_key(index + 1), ==,
                             tmem_shard_key(index) + 1);
        }
    }
}

/* inv. 1: a walk finds each page that stays, once, whatever else happens */
static void test_walk_finds_each_page_once(void)
{
    TmemStore *store = store_new(64 * MIB);
    uint32_t pools[] = { pool_new(store), ephemeral_pool_new(store),
                         pool_new(store) };
    g_autofree TmemWalkPage *page = g_new(TmemWalkPage, 1);
    uint64_t random = test_seed();
    unsigned found[3][2048] = { 0 };
    TmemWalk walk = { 0 };
    Page want;
    int ret;

    /* Even indexes stay; odd ones come and go. Far objects at all ends. */
    for (unsigned i = 0; i < 2048; i += 2) {
        for (unsigned p = 0; p < 3; p++) {
            put_key(store, pools[p], i % 3 ? UINT64_MAX : i, UINT64_MAX - i);
        }
    }
    while ((ret = tmem_store_walk(store, &walk, page)) == 1) {
        unsigned i = UINT64_MAX - page->index;
        unsigned p = page->pool == pools[0] ? 0 : page->pool == pools[1] ? 1
                                                                         : 2;

        g_assert_cmpuint(page->pool, ==, pools[p]);
        g_assert_cmpuint(i, <, 2048);
        g_assert_cmpuint(page->object, ==, i % 3 ? UINT64_MAX : i & ~1u);
        page_of_key(&want, page->object ^ page->index);
        g_assert_cmpmem(page->page, sizeof(page->page), &want, sizeof(want));
        found[p][i]++;

        i = next_random(&random) % 1024 * 2 + 1;
        p = next_random(&random) % 3;
        if (next_random(&random) % 2) {
            put_key(store, pools[p], i % 3 ? UINT64_MAX : i & ~1u,
                    UINT64_MAX - i);
        } else {
            tmem_store_flush(store, pools[p], i % 3 ? UINT64_MAX : i & ~1u,
                             UINT64_MAX - i, UINT64_MAX - i);
        }
    }
    g_assert_cmpint(ret, ==, 0);
    g_assert_cmpint(tmem_store_walk(store, &walk, page), ==, 0);
    for (unsigned i = 0; i < 2048; i++) {
        for (unsigned p = 0; p < 3; p++) {
            g_assert_cmpuint(found[p][i], <=, 1);
            g_assert_cmpuint(found[p][i] + i % 2, >=, 1);
        }
    }
    tmem_store_free(store);
}

/* inv. 1, 8: sparse memory goes back to the host, and no page is harmed */
static void test_compaction_gives_memory_back(void)
{
    const unsigned num = 40000;
    TmemStore *store = store_new(256 * MIB);
    uint32_t pool = pool_new(store), ephemeral = ephemeral_pool_new(store);
    g_autofree bool *there = g_new0(bool, num);
    uint64_t random = test_seed();
    TmemStoreStats before, after;

    for (unsigned i = 0; i < num; i++) {
        put_key(store, pool, 1, i);
        put_key(store, ephemeral, 1, i);
        there[i] = true;
    }
    for (unsigned i = 0; i < num; i++) {
        if (next_random(&random) % 10) {
            there[i] = false;
            g_assert_cmpint(tmem_store_flush(store, pool, 1, i, i), ==, 1);
            g_assert_cmpint(tmem_store_flush(store, ephemeral, 1, i, i), ==, 1);
        }
    }
    before = stats_of(store);
    store->last_look = g_get_monotonic_time() - G_USEC_PER_SEC;
    store->last_ops = before.puts + before.gets + before.flushes;
    maintain(store, 10);
    after = stats_of(store);
    g_test_message("used: %" PRIu64 " -> %" PRIu64 ", stored %" PRIu64,
                   before.bytes_used, after.bytes_used, after.bytes_stored);
    g_assert_cmpuint(after.moved, >, 0);
    g_assert_cmpuint(after.bytes_stored, ==, before.bytes_stored);
    g_assert_cmpuint(after.pages, ==, before.pages);
    g_assert_cmpuint(after.bytes_used, <, before.bytes_used / 2);
    /* A small store: partial blocks of 58 classes are a part of it. */
    g_assert_cmpfloat((double)after.bytes_stored / after.bytes_used, >, 0.65);

    for (unsigned i = 0; i < num; i++) {
        if (there[i]) {
            check_key(store, pool, 1, i);
            check_key(store, ephemeral, 1, i);
        } else {
            g_assert_false(has_key(store, pool, i));
        }
    }
    g_assert_cmpint(tmem_store_pool_destroy(store, pool), ==,
                    after.pages - after.ephemeral);
    g_assert_cmpint(tmem_store_pool_destroy(store, ephemeral), ==,
                    after.ephemeral);
    g_assert_cmpuint(stats_of(store).pages, ==, 0);
    tmem_store_free(store);
}

/* inv. 1, 8: under a lower limit puts are refused, and nothing else is lost */
static void test_lower_limit_refuses_and_keeps(void)
{
    TmemStore *store = store_new(64 * MIB);
    uint32_t pool = pool_new(store);
    uint64_t held = 0, used;
    Page page;

    while (stats_of(store).bytes_used < 40 * MIB) {
        put_key(store, pool, 0, held++);
    }
    tmem_store_set_limit(store, 20 * MIB, TMEM_LIMIT_PRESSURE);
    used = 0;
    page_of_key(&page, held);
    for (unsigned i = 0; i < 5000; i++) {
        used += tmem_store_put(store, pool, 0, held + i, &page) == 0;
    }
    /* What fits into blocks that are in use already may still come. */
    g_assert_cmpuint(used, <, 500);
    for (uint64_t i = 0; i < held; i++) {
        check_key(store, pool, 0, i);
    }
    tmem_store_set_limit(store, UINT64_MAX, TMEM_LIMIT_MAX);
    tmem_store_flush(store, pool, 0, held, UINT64_MAX);
    for (unsigned i = 0; i < 5000; i++) {
        g_assert_cmpint(tmem_store_put(store, pool, 0, held + i, &page), ==, 0);
    }
    tmem_store_free(store);
}

/* inv. 1: over the limit, zstd makes pages smaller, and no page is harmed */
static void test_recompression_makes_room(void)
{
    TmemStore *store = store_new(64 * MIB);
    uint32_t pool = pool_new(store);
    TmemStoreStats before, after;
    unsigned num = 4000;

    if (!tmem_codec_has_zstd()) {
        g_test_skip("built without zstd");
        tmem_store_free(store);
        return;
    }
    for (unsigned i = 0; i < num; i++) {
        put_key(store, pool, 0, 4 * i + 3);
    }
    before = stats_of(store);
    tmem_store_set_limit(store, before.bytes_used * 7 / 10,
                         TMEM_LIMIT_PRESSURE);
    maintain(store, 60);
    tmem_store_get_stats(store, &after);
    g_test_message("used: %" PRIu64 " -> %" PRIu64 ", %" PRIu64
                   " recompressed", before.bytes_used, after.bytes_used,
                   after.recompressed);
    g_assert_cmpuint(after.recompressed, >, num / 2);
    g_assert_cmpuint(after.zstd, ==, after.recompressed);
    g_assert_cmpuint(after.bytes_used, <=, after.limit);
    for (unsigned i = 0; i < num; i++) {
        check_key(store, pool, 0, 4 * i + 3);
    }
    tmem_store_free(store);
}

/* inv. 1: a full store drops ephemeral pages, the least recently used first */
static void test_ephemeral_pages_make_room(void)
{
    TmemStore *store = store_new(4 * MIB);
    uint32_t ephemeral = ephemeral_pool_new(store), pool = pool_new(store);
    uint64_t held = 0, kept, oldest, n;
    Page page;

    page_random(&page, 1, G_N_ELEMENTS(page.word));
    do {
        g_assert_cmpint(tmem_store_put(store, ephemeral, 0, held++, &page),
                        ==, 0);
    } while (!stats_of(store).evicted);
    g_assert_cmpuint(stats_of(store).rejected_puts, ==, 0);
    oldest = stats_of(store).evicted;
    for (n = 0; n < held; n++) {
        g_assert_cmpint(has_key(store, ephemeral, n), ==, n >= oldest);
    }

    /* Used again, the oldest 100 become the newest. */
    for (n = oldest; n < oldest + 100; n++) {
        g_assert_true(has_key(store, ephemeral, n));
    }
    for (n = 0; n < 200; n++) {
        g_assert_cmpint(tmem_store_put(store, pool, 0, n, &page), ==, 0);
    }
    for (n = oldest; n < oldest + 100; n++) {
        g_assert_true(has_key(store, ephemeral, n));
    }
    g_assert_false(has_key(store, ephemeral, oldest + 100));

    /* Persistent pages go on until no ephemeral one is left, then stop. */
    for (n = 200; tmem_store_put(store, pool, 0, n, &page) == 0; n++) {
        continue;
    }
    kept = stats_of(store).ephemeral;
    g_assert_cmpuint(kept, ==, 0);
    g_assert_cmpuint(stats_of(store).pages, ==, n);
    while (n-- > 0) {
        g_assert_true(has_key(store, pool, n));
    }
    tmem_store_free(store);
}

/* inv. 8: over the limit, maintenance drops ephemeral pages, and only these */
static void test_lower_limit_drops_ephemeral_pages_first(void)
{
    TmemStore *store = store_new(64 * MIB);
    uint32_t ephemeral = ephemeral_pool_new(store), pool = pool_new(store);
    TmemStoreStats stats;

    for (uint64_t i = 0; i < 4000; i++) {
        put_key(store, ephemeral, 0, i);
        put_key(store, pool, 0, i);
    }
    stats = stats_of(store);
    tmem_store_set_limit(store, stats.bytes_used * 3 / 4, TMEM_LIMIT_PRESSURE);
    maintain(store, 60);
    stats = stats_of(store);
    g_assert_cmpuint(stats.evicted, >, 0);
    g_assert_cmpuint(stats.ephemeral, >, 0);
    g_assert_cmpuint(stats.pages - stats.ephemeral, ==, 4000);
    for (uint64_t i = 0; i < 4000; i++) {
        check_key(store, pool, 0, i);
        g_assert_cmpint(has_key(store, ephemeral, i), ==, i >= stats.evicted);
    }
    tmem_store_free(store);
}

/* inv. 7: a pool at its quota takes no page more, and replaces what it has */
static void test_quota_bounds_a_pool(void)
{
    TmemStore *store = store_with((TmemStoreConfig) {
        .max_size = 16 * MIB, .pool_quota = 1000,
    });
    uint32_t pool = pool_new(store), other = pool_new(store);
    Page page;

    for (uint64_t i = 0; i < 1000; i++) {
        put_key(store, pool, 0, i);
    }
    page_of_key(&page, 5);
    g_assert_cmpint(tmem_store_put(store, pool, 0, 1000, &page), ==, -ENOSPC);
    g_assert_false(has_key(store, pool, 1000));
    put_key(store, pool, 0, 999);
    put_key(store, other, 0, 1000);
    g_assert_cmpint(tmem_store_flush(store, pool, 0, 3, 3), ==, 1);
    put_key(store, pool, 0, 1000);
    g_assert_cmpuint(stats_of(store).rejected_puts, ==, 1);
    tmem_store_free(store);
}

/* inv. 5: a put that was promised is stored, in a full store as well */
static void test_reserved_puts_never_fail(void)
{
    for (unsigned ephemeral = 0; ephemeral < 2; ephemeral++) {
        TmemStore *store = store_new(8 * MIB);
        uint32_t pool = pool_new(store);
        uint32_t other = ephemeral ? ephemeral_pool_new(store) : pool;
        uint64_t empty = stats_of(store).bytes_used, full, n = 0;
        uint64_t random = test_seed();
        unsigned promised = tmem_store_reserve(store, 40);
        Page page;

        g_assert_cmpuint(promised, ==, 40);
        g_assert_cmpuint(stats_of(store).bytes_used, >, empty + 40 * 4096);
        page_random(&page, 1, G_N_ELEMENTS(page.word));
        while (tmem_store_put(store, pool, 0, n, &page) == 0) {
            n++;
        }
        full = stats_of(store).bytes_used;
        g_assert_cmpuint(tmem_store_reserve(store, 100), <, 100);
        tmem_store_unreserve(store, store->arena.reserve.puts - promised);

        /* The worst of keys: each needs new objects and the tallest trees. */
        for (unsigned i = 0; i < promised; i++) {
            uint64_t object = next_random(&random) | UINT64_C(1) << 63;
            uint64_t index = next_random(&random) | UINT64_C(1) << 63;
            Page got;

            store->arena.inject = i % 3;
            g_assert_cmpint(tmem_store_put_reserved(store, other, object,
                                                    index, &page), ==, 0);
            store->arena.inject = 0;
            g_assert_cmpint(tmem_store_get(store, other, object, index, &got),
                            ==, 0);
            g_assert_cmpmem(&got, sizeof(got), &page, sizeof(page));
        }
        g_assert_cmpuint(store->arena.reserve.puts, ==, 0);
        g_assert_cmpuint(stats_of(store).bytes_used, <=, MAX(full, 8 * MIB));
        g_assert_cmpuint(stats_of(store).rejected_puts, ==, 1);
        while (n-- > 0) {
            g_assert_true(has_key(store, pool, n));
        }
        tmem_store_unreserve(store, 0);
        tmem_store_pool_destroy(store, pool);
        if (ephemeral) {
            tmem_store_pool_destroy(store, other);
        }
        g_assert_cmpuint(stats_of(store).bytes_used, ==, empty);
        tmem_store_free(store);
    }
}

/* inv. 2, 7: whichever allocation fails, a put fails whole, and alone */
static void test_failed_allocations_change_nothing_else(void)
{
    for (unsigned ephemeral = 0; ephemeral < 2; ephemeral++) {
        TmemStore *store = store_new(16 * MIB);
        uint32_t pool = ephemeral ? ephemeral_pool_new(store)
                                  : pool_new(store);
        uint64_t random = test_seed();
        unsigned refused = 0;

        put_key(store, pool, 7, 7);
        for (unsigned i = 1; i < 4000; i++) {
            uint64_t object = next_random(&random) >> next_random(&random) % 64;
            uint64_t index = next_random(&random) >> next_random(&random) % 64;
            uint64_t pages = stats_of(store).pages;
            TmemStoreStats stats;
            Page page, got;
            int ret;

            if (object == 7 && index == 7) {
                continue;
            }
            page_of_key(&page, object ^ index);
            store->arena.inject = i % 40 + 1;
            ret = tmem_store_put(store, pool, object, index, &page);
            store->arena.inject = 0;
            tmem_store_get_stats(store, &stats);
            if (ret == 0) {
                check_key(store, pool, object, index);
                tmem_store_flush(store, pool, object, index, index);
            } else {
                g_assert_cmpint(ret, ==, -ENOSPC);
                g_assert_cmpint(tmem_store_get(store, pool, object, index,
                                               &got), ==, -ENOENT);
                refused++;
            }
            if (!ephemeral) {
                g_assert_cmpuint(stats_of(store).pages, ==, pages);
                check_key(store, pool, 7, 7);
            }
        }
        if (!ephemeral) {
            g_assert_cmpuint(refused, >, 100);
        }
        tmem_store_pool_destroy(store, pool);
        g_assert_cmpuint(stats_of(store).bytes_used, ==,
                         tmem_store_bytes(store));
        g_assert_cmpuint(store->arena.num_used, ==, 0);
        g_assert_cmpuint(store->arena.num_nodes, ==, 0);
        tmem_store_free(store);
    }
}

/* inv. 1: every compression returns what was put */
static void test_every_compression_returns_what_was_put(void)
{
    const TmemStoreConfig configs[] = {
        { .max_size = 64 * MIB, .compression = TMEM_COMPRESSION_NONE },
        { .max_size = 64 * MIB, .compression = TMEM_COMPRESSION_ZSTD },
        { .max_size = 64 * MIB, .compression = TMEM_COMPRESSION_ZSTD,
          .level = 19 },
        { .max_size = 64 * MIB, .compression = TMEM_COMPRESSION_LZ4 },
    };
    uint64_t stored[G_N_ELEMENTS(configs)];

    for (unsigned c = 0; c < G_N_ELEMENTS(configs); c++) {
        TmemStore *store;
        uint32_t pool;

        if (configs[c].compression == TMEM_COMPRESSION_ZSTD &&
            !tmem_codec_has_zstd()) {
            continue;
        }
        store = store_with(configs[c]);
        pool = pool_new(store);
        for (uint64_t i = 0; i < 1000; i++) {
            put_key(store, pool, 0, i);
        }
        for (uint64_t i = 0; i < 1000; i++) {
            check_key(store, pool, 0, i);
        }
        stored[c] = stats_of(store).bytes_stored;
        g_test_message("configuration %u: %" PRIu64 " bytes", c, stored[c]);
        if (c == 0) {
            g_assert_cmpuint(stats_of(store).raw, ==,
                             1000 - stats_of(store).same_filled);
        } else {
            g_assert_cmpuint(stored[c], <, stored[0]);
        }
        tmem_store_free(store);
    }
}

/* Sizes change at run time, within reason. */
static void test_sizes_are_checked(void)
{
    TmemStore *store = store_with((TmemStoreConfig) {
        .max_size = 16 * MIB, .min_size = 2 * MIB, .span = 64 * MIB,
    });
    GError *err = NULL;

    g_assert_false(tmem_store_set_size(store, 17 * MIB, 16 * MIB, &err));
    g_assert_error(err, G_FILE_ERROR, G_FILE_ERROR_INVAL);
    g_clear_error(&err);
    g_assert_false(tmem_store_set_size(store, 0, 1, &err));
    g_clear_error(&err);
    g_assert_false(tmem_store_set_size(store, 0, 65 * MIB, &err));
    g_clear_error(&err);
    g_assert_cmpuint(stats_of(store).limit, ==, 16 * MIB);

    g_assert_true(tmem_store_set_size(store, 2 * MIB, 64 * MIB, &err));
    g_assert_cmpuint(stats_of(store).limit, ==, 64 * MIB);
    tmem_store_set_limit(store, 1, TMEM_LIMIT_PRESSURE);
    g_assert_cmpuint(stats_of(store).limit, ==, 2 * MIB);
    g_assert_true(tmem_store_set_size(store, 4 * MIB, 64 * MIB, &err));
    g_assert_cmpuint(stats_of(store).limit, ==, 4 * MIB);
    g_assert_true(tmem_store_set_size(store, 0, 3 * MIB, &err));
    g_assert_cmpuint(stats_of(store).limit, ==, 3 * MIB);
    tmem_store_free(store);
}

typedef struct Load {
    TmemStore *store;
    uint32_t pool;
    unsigned id;
    unsigned rounds;
    uint64_t random;
    int stop;
} Load;

static void load_check(Load *load, uint64_t key, bool there)
{
    if (there) {
        check_key(load->store, load->pool, 0, key);
    } else {
        g_assert_false(has_key(load->store, load->pool, key));
    }
}

/* Fills, checks and thins out keys of its own, in turn. */
static void *load_run(void *opaque)
{
    Load *load = opaque;
    uint64_t base = (uint64_t)load->id << 32;
    uint64_t random = load->random;
    bool there[1500];
    Page page;

    while (!g_atomic_int_get(&load->stop)) {
        for (unsigned i = 0; i < G_N_ELEMENTS(there); i++) {
            page_of_key(&page, base + i);
            there[i] = tmem_store_put(load->store, load->pool, 0, base + i,
                                      &page) == 0;
        }
        for (unsigned i = 0; i < G_N_ELEMENTS(there); i++) {
            load_check(load, base + i, there[i]);
        }
        for (unsigned i = 0; i < G_N_ELEMENTS(there); i++) {
            if (next_random(&random) % 8) {
                g_assert_cmpint(tmem_store_flush(load->store, load->pool, 0,
                                                 base + i, base + i), ==,
                                there[i]);
            } else {
                load_check(load, base + i, there[i]);
            }
        }
        load->rounds++;
    }
    return NULL;
}

/* inv. 8: over the limit no put is taken, not even where there is free room */
static void test_nothing_is_taken_over_the_limit(void)
{
    TmemStore *store = store_new(64 * MIB);
    uint32_t pool = pool_new(store);
    uint64_t held = 0;
    Page page;

    while (stats_of(store).bytes_used < 40 * MIB) {
        put_key(store, pool, 0, held++);
    }
    tmem_store_set_limit(store, 20 * MIB, TMEM_LIMIT_PRESSURE);
    for (uint64_t i = 0; i < held / 4; i++) {
        tmem_store_flush(store, pool, 0, 2 * i, 2 * i);
        page_of_key(&page, 3);
        g_assert_cmpint(tmem_store_put(store, pool, 0, 2 * i, &page), ==,
                        -ENOSPC);
    }
    tmem_store_free(store);
}

/* A store a little over its limit recompresses a little of what it holds. */
static void test_recompression_stops_when_it_is_enough(void)
{
    TmemStore *store = store_new(128 * MIB);
    uint32_t pool = pool_new(store);
    unsigned num = 12000;
    TmemStoreStats stats;

    if (!tmem_codec_has_zstd()) {
        g_test_skip("built without zstd");
        tmem_store_free(store);
        return;
    }
    for (unsigned i = 0; i < num; i++) {
        put_key(store, pool, 0, 4 * i + 3);
    }
    tmem_store_set_limit(store, stats_of(store).bytes_used / 100 * 99,
                         TMEM_LIMIT_PRESSURE);
    maintain(store, 60);
    stats = stats_of(store);
    g_test_message("%" PRIu64 " of %u recompressed", stats.recompressed, num);
    g_assert_cmpuint(stats.recompressed, >, 0);
    g_assert_cmpuint(stats.recompressed, <, num / 8);
    tmem_store_free(store);
}

/* inv. 8: also a max_size below what is used is reached by recompression */
static void test_recompression_works_below_max_size(void)
{
    TmemStore *store = store_new(64 * MIB);
    uint32_t pool = pool_new(store);
    TmemStoreStats before, after;

    if (!tmem_codec_has_zstd()) {
        g_test_skip("built without zstd");
        tmem_store_free(store);
        return;
    }
    for (unsigned i = 0; i < 8000; i++) {
        put_key(store, pool, 0, 4 * i + 3);
    }
    before = stats_of(store);
    g_assert_true(tmem_store_set_size(store, 0, before.bytes_used * 3 / 4,
                                      NULL));
    maintain(store, 60);
    tmem_store_get_stats(store, &after);
    g_assert_cmpuint(after.bytes_used, <=, after.max_size);
    for (unsigned i = 0; i < 8000; i++) {
        check_key(store, pool, 0, 4 * i + 3);
    }
    tmem_store_free(store);
}

/* Blocks that compaction has in hand are room for puts that have no other. */
static void test_compaction_in_progress_refuses_no_put(void)
{
    TmemStore *store = store_new(32 * MIB);
    uint32_t pool = pool_new(store);
    uint64_t held = 0;
    Page page;

    page_random(&page, 1, G_N_ELEMENTS(page.word));
    while (tmem_store_put(store, pool, 0, held, &page) == 0) {
        held++;
    }
    for (uint64_t i = 0; i < held; i += 2) {
        g_assert_cmpint(tmem_store_flush(store, pool, 0, i, i), ==, 1);
    }
    g_assert_cmpuint(tmem_arena_evacuate(&store->arena), >, 0);
    for (uint64_t i = 0; i < held; i += 2) {
        g_assert_cmpint(tmem_store_put(store, pool, 0, i, &page), ==, 0);
    }
    tmem_arena_evacuate_end(&store->arena);
    tmem_store_free(store);
}

/* inv. 8: what was promised and used up does not stay taken */
static void test_used_promises_are_given_back(void)
{
    TmemStore *store = store_new(16 * MIB);
    uint32_t pool = pool_new(store);
    uint64_t empty = stats_of(store).bytes_used;
    Page page;

    page_random(&page, 1, G_N_ELEMENTS(page.word));
    g_assert_cmpuint(tmem_store_reserve(store, 400), ==, 400);
    for (unsigned i = 0; i < 400; i++) {
        g_assert_cmpint(tmem_store_put_reserved(store, pool, 0, i % 8, &page),
                        ==, 0);
    }
    g_assert_cmpuint(stats_of(store).bytes_used, <, empty + 4 * MIB);
    /* The rest of it is room as soon as there is no other. */
    for (unsigned i = 0; i < 3800; i++) {
        g_assert_cmpint(tmem_store_put(store, pool, 0, i, &page), ==, 0);
    }
    tmem_store_reset(store);
    g_assert_cmpuint(stats_of(store).bytes_used, ==, empty);
    tmem_store_unreserve(store, 5);
    tmem_store_free(store);
}

/* inv. 1, 4: limits, compaction and recompression go on below all the while */
static void test_maintenance_under_load(void)
{
    TmemStore *store = store_new(128 * MIB);
    uint32_t pool = pool_new(store), ephemeral = ephemeral_pool_new(store);
    uint64_t random = test_seed();
    Load load[2] = { 0 };
    GThread *threads[2];
    unsigned turn;

    for (uint64_t i = 0; i < 3000; i++) {
        put_key(store, ephemeral, 0, i);
        put_key(store, pool, UINT64_MAX, i << 20);
    }
    for (unsigned i = 0; i < 2; i++) {
        load[i] = (Load) {
            .store = store, .pool = pool, .id = i, .random = test_seed(),
        };
        threads[i] = g_thread_new("load", load_run, &load[i]);
    }
    for (turn = 0; turn < 400; turn++) {
        /* Always over the limit by what is held, or never: both are urgent. */
        uint64_t used = tmem_store_bytes(store);

        tmem_store_set_size(store, 0, turn % 5 ? 128 * MIB : 64 * MIB, NULL);
        tmem_store_set_limit(store, turn % 2 ? used * 9 / 10 : 128 * MIB,
                             TMEM_LIMIT_PRESSURE);
        store->next_age_pass = 0;
        store->next_recompress_pass = 0;
        store->next_compact_pass = 0;
        tmem_store_maintain(store, next_random(&random) % 8000);
    }
    for (unsigned i = 0; i < 2; i++) {
        g_atomic_int_set(&load[i].stop, 1);
        g_thread_join(threads[i]);
        g_assert_cmpuint(load[i].rounds, >, 0);
    }
    tmem_store_set_size(store, 0, 128 * MIB, NULL);
    tmem_store_set_limit(store, 128 * MIB, TMEM_LIMIT_MAX);
    g_test_message("moved %" PRIu64 ", recompressed %" PRIu64 ", evicted %"
                   PRIu64, stats_of(store).moved, stats_of(store).recompressed,
                   stats_of(store).evicted);
    g_assert_cmpuint(stats_of(store).moved, >, 0);
    if (tmem_codec_has_zstd()) {
        g_assert_cmpuint(stats_of(store).recompressed, >, 0);
    }
    for (uint64_t i = 0; i < 3000; i++) {
        check_key(store, pool, UINT64_MAX, i << 20);
    }
    tmem_store_free(store);
}

int main(int argc, char **argv)
{
    test_init(argc, argv);
    g_test_add_func("/tmem-store/keys-and-shards-are-one-to-one",
                    test_keys_and_shards_are_one_to_one);
    g_test_add_func("/tmem-store/walk-finds-each-page-once",
                    test_walk_finds_each_page_once);
    g_test_add_func("/tmem-store/compaction-gives-memory-back",
                    test_compaction_gives_memory_back);
    g_test_add_func("/tmem-store/lower-limit-refuses-and-keeps",
                    test_lower_limit_refuses_and_keeps);
    g_test_add_func("/tmem-store/recompression-makes-room",
                    test_recompression_makes_room);
    g_test_add_func("/tmem-store/ephemeral-pages-make-room",
                    test_ephemeral_pages_make_room);
    g_test_add_func("/tmem-store/lower-limit-drops-ephemeral-pages-first",
                    test_lower_limit_drops_ephemeral_pages_first);
    g_test_add_func("/tmem-store/quota-bounds-a-pool",
                    test_quota_bounds_a_pool);
    g_test_add_func("/tmem-store/reserved-puts-never-fail",
                    test_reserved_puts_never_fail);
    g_test_add_func("/tmem-store/failed-allocations-change-nothing-else",
                    test_failed_allocations_change_nothing_else);
    g_test_add_func("/tmem-store/every-compression-returns-what-was-put",
                    test_every_compression_returns_what_was_put);
    g_test_add_func("/tmem-store/sizes-are-checked", test_sizes_are_checked);
    g_test_add_func("/tmem-store/nothing-is-taken-over-the-limit",
                    test_nothing_is_taken_over_the_limit);
    g_test_add_func("/tmem-store/recompression-stops-when-it-is-enough",
                    test_recompression_stops_when_it_is_enough);
    g_test_add_func("/tmem-store/recompression-works-below-max-size",
                    test_recompression_works_below_max_size);
    g_test_add_func("/tmem-store/compaction-in-progress-refuses-no-put",
                    test_compaction_in_progress_refuses_no_put);
    g_test_add_func("/tmem-store/used-promises-are-given-back",
                    test_used_promises_are_given_back);
    g_test_add_func("/tmem-store/maintenance-under-load",
                    test_maintenance_under_load);
    return g_test_run();
}
