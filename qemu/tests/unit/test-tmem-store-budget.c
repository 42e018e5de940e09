/*
 * Page store of virtio-tmem: what the worst guest can make it take
 *
 * Each test is a way to make the store take more memory or time than pages are
 * worth. It claims a bound on bytes and counts, and tells what it measured
 * (with --verbose): times are never claimed, they are the machine's.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "hw/virtio/tmem-store-internal.h"
#include "tmem-store-pages.h"

#define LIMIT (16 * MIB)

/* Of the thread's time: others may have the processor meanwhile. */
static int64_t now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return now.tv_sec * INT64_C(1000000) + now.tv_nsec / 1000;
}

/* All that the store took at once, and how long the call took. */
static void tell(const char *what, uint64_t bytes, uint64_t pages, int64_t us)
{
    g_test_message("%s: %" PRIu64 " bytes, %" PRIu64 " pages, %" PRId64 " us",
                   what, bytes, pages, us);
}

/* Until it has nothing to do. */
static void maintain(TmemStore *store)
{
    for (unsigned i = 0; i < 10000; i++) {
        if (!tmem_store_maintain(store, 1000)) {
            return;
        }
    }
    g_assert_not_reached();
}

/* inv. 8: pools without pages take nothing, however many there have been */
static void test_empty_pools_take_nothing(void)
{
    TmemStore *store = store_new(LIMIT);
    uint64_t empty = stats_of(store).bytes_used, most = 0;
    int64_t begin = now_us();
    uint32_t pool;

    for (unsigned i = 0; i < 65536; i++) {
        pool = pool_new(store);
        most = MAX(most, tmem_store_bytes(store));
        g_assert_cmpint(tmem_store_pool_destroy(store, pool), ==, 0);
    }
    tell("65536 pools, one after the other", most, 0, now_us() - begin);
    g_assert_cmpuint(most, ==, empty);
    for (unsigned i = 0; i < TMEM_MAX_POOLS; i++) {
        pool_new(store);
    }
    g_assert_cmpint(tmem_store_pool_create(store, 0, &pool), ==, -ENOSPC);
    g_assert_cmpuint(stats_of(store).bytes_used, ==, empty);
    tmem_store_free(store);
}

/* A page that takes about @words words. */
static void put_words(TmemStore *store, uint32_t pool, uint64_t index,
                      unsigned words)
{
    Page page;

    page_random(&page, index + 1, words);
    tmem_store_put(store, pool, 0, index, &page);
}

/*
 * inv. 8: a guest that leaves one page in each block does not keep the others
 * from the memory: once compacted, the store has room for as many as before.
 */
static void test_sparse_blocks_are_given_back(void)
{
    TmemStore *store = store_new(LIMIT);
    uint32_t pool = pool_new(store);
    uint64_t count = 0, kept = 0, used, raw = 0;
    int64_t begin;
    Page page;

    /* All sizes, in turns: each has blocks of its own */
    for (unsigned words = 16; words <= 512; words += 16) {
        for (unsigned i = 0; i < 100 && !stats_of(store).rejected_puts; i++) {
            put_words(store, pool, count++, words);
        }
    }
    used = stats_of(store).bytes_used;
    for (uint64_t i = 0; i < count; i++) {
        if (i % 50) {
            tmem_store_flush(store, pool, 0, i, i);
        } else {
            kept++;
        }
    }
    tell("one page of 50 is left", stats_of(store).bytes_used, kept, 0);
    g_assert_cmpuint(stats_of(store).bytes_used, <=, used);
    begin = now_us();
    maintain(store);
    tell("and compacted", stats_of(store).bytes_used, kept, now_us() - begin);
    /* At most a block for each size, and two for what is not a page */
    g_assert_cmpuint(stats_of(store).bytes_used, <,
                     (TMEM_MAX_CLASSES + 2) * TMEM_BLOCK_SIZE);

    page_random(&page, 1, 512);
    while (!tmem_store_put(store, pool, 1, raw, &page)) {
        raw++;
    }
    tell("raw pages that fit then", stats_of(store).bytes_used, raw, 0);
    /* Of 4096 without the others */
    g_assert_cmpuint(raw, >, 3500);
    tmem_store_free(store);
}

/* inv. 8: what it takes to find a page counts, too */
static void test_sparse_indexes_count(void)
{
    static const char *const ways[] = {
        "one page in each leaf", "one page in each branch",
        "one page in each object",
    };
    Page page;

    memset(&page, 0, sizeof(page));
    for (unsigned way = 0; way < G_N_ELEMENTS(ways); way++) {
        TmemStore *store = store_new(LIMIT);
        uint64_t empty = stats_of(store).bytes_used, pages = 0;
        uint32_t pool = pool_new(store);
        int64_t begin = now_us();

        /* 64 keys a leaf, in each of 64 shards: clusters go in turns */
        while (!tmem_store_put(store, pool, way == 2 ? pages : 0,
                               way == 0 ? pages * 64 * 64 :
                               way == 1 ? pages << 40 : UINT64_MAX, &page)) {
            pages++;
            /* As many as an index can tell apart */
            if (way == 1 && pages == 1 << 24) {
                break;
            }
        }
        tell(ways[way], stats_of(store).bytes_used, pages, now_us() - begin);
        g_assert_cmpuint(stats_of(store).bytes_used, <=, LIMIT);
        /* Each page costs what it takes, not what it is worth */
        g_assert_cmpuint((LIMIT - empty) / pages, >, 256);

        begin = now_us();
        g_assert_cmpint(tmem_store_pool_destroy(store, pool), ==, pages);
        tell("  and all of them dropped", stats_of(store).bytes_used, pages,
             now_us() - begin);
        g_assert_cmpuint(stats_of(store).bytes_used, ==, empty);
        tmem_store_free(store);
    }
}

/* As many pages as there can be: of one word, that the entry has room for. */
static uint64_t fill_with_words(TmemStore *store, uint32_t pool)
{
    uint64_t pages = 0;
    Page page;

    memset(&page, 0, sizeof(page));
    while (!tmem_store_put(store, pool, 0, pages, &page)) {
        pages++;
    }
    return pages;
}

/* A flush costs what it frees: most in one call is all that there can be. */
static void test_largest_flush(void)
{
    TmemStore *store = store_new(LIMIT);
    uint32_t pool = pool_new(store);
    uint64_t pages = fill_with_words(store, pool);
    uint64_t used = stats_of(store).bytes_used;
    int64_t begin = now_us(), us;

    g_assert_cmpuint(used, <=, LIMIT);
    g_assert_cmpint(tmem_store_flush(store, pool, 0, 0, UINT64_MAX), ==, pages);
    us = now_us() - begin;
    tell("a flush of all that fits", used, pages, us);

    /* What a request can have besides: ranges that are empty */
    begin = now_us();
    for (unsigned i = 0; i < 256; i++) {
        g_assert_cmpint(tmem_store_flush(store, pool, 0, 0, UINT64_MAX), ==, 0);
    }
    tell("256 flushes of everything, with nothing there",
         stats_of(store).bytes_used, 0, now_us() - begin);
    tmem_store_free(store);
}

static void test_largest_pool_destroy(void)
{
    TmemStore *store = store_new(LIMIT);
    uint64_t empty = stats_of(store).bytes_used, used, pages;
    uint32_t pool = pool_new(store);
    int64_t begin;

    pages = fill_with_words(store, pool);
    used = stats_of(store).bytes_used;
    begin = now_us();
    g_assert_cmpint(tmem_store_pool_destroy(store, pool), ==, pages);
    tell("a pool of all that fits", used, pages, now_us() - begin);
    g_assert_cmpuint(stats_of(store).bytes_used, ==, empty);
    tmem_store_free(store);
}

/* inv. 5, 8: promises that are never used cost their guest, and no more */
static void test_unused_promises_count(void)
{
    TmemStore *store = store_new(LIMIT);
    uint64_t empty = stats_of(store).bytes_used;
    unsigned promised = 0, more;
    int64_t begin = now_us();

    while ((more = tmem_store_reserve(store, 64))) {
        promised += more;
    }
    tell("promises until there are no more", stats_of(store).bytes_used,
         promised, now_us() - begin);
    g_assert_cmpuint(stats_of(store).bytes_used, <=, LIMIT);
    g_assert_cmpuint(promised, >, 64);
    g_assert_cmpuint(promised, <=, TMEM_MAX_RESERVED);
    tmem_store_unreserve(store, promised);
    g_assert_cmpuint(stats_of(store).bytes_used, ==, empty);
    tmem_store_free(store);
}

int main(int argc, char **argv)
{
    test_init(argc, argv);
    g_test_add_func("/tmem-store-budget/empty-pools",
                    test_empty_pools_take_nothing);
    g_test_add_func("/tmem-store-budget/sparse-blocks",
                    test_sparse_blocks_are_given_back);
    g_test_add_func("/tmem-store-budget/sparse-indexes",
                    test_sparse_indexes_count);
    g_test_add_func("/tmem-store-budget/largest-flush", test_largest_flush);
    g_test_add_func("/tmem-store-budget/largest-pool-destroy",
                    test_largest_pool_destroy);
    g_test_add_func("/tmem-store-budget/unused-promises",
                    test_unused_promises_count);
    return g_test_run();
}
