/*
 * What the unit tests of virtio-tmem's page store share: pages that follow
 * from a number, so that they can be told apart, and one seed for a run.
 *
 * All randomness comes from the seed, which is printed at the start;
 * --seed=R02S... repeats a run with another.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TESTS_UNIT_TMEM_STORE_PAGES_H
#define TESTS_UNIT_TMEM_STORE_PAGES_H

#include "hw/virtio/tmem-store.h"

#define MIB (1024 * 1024)
#define DEFAULT_SEED "--seed=R02S7d3a0001c0ffee00123456789abcdef0"

#ifdef QEMU_SANITIZE_THREAD
#define UNDER_TSAN true
#else
#define UNDER_TSAN false
#endif

typedef struct Page {
    uint64_t word[TMEM_PAGE_SIZE / sizeof(uint64_t)];
} Page;

static inline uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static inline uint64_t test_seed(void)
{
    return (uint64_t)g_test_rand_int() << 32 | (uint32_t)g_test_rand_int();
}

/* @random_words words that do not compress, the rest a pattern that does. */
static inline void page_random(Page *page, uint64_t seed, unsigned random_words)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(page->word); i++) {
        page->word[i] = i < random_words ? next_random(&seed) : i % 7;
    }
}

/* Letters: lz4 finds little to repeat, zstd has 16 symbols to code. */
static inline void page_of_letters(Page *page, uint64_t seed)
{
    for (unsigned w = 0; w < G_N_ELEMENTS(page->word); w++) {
        page->word[w] = next_random(&seed) & UINT64_C(0x0f0f0f0f0f0f0f0f);
    }
}

/* A page that follows from @seed, of any kind that the store knows. */
static inline void page_of_seed(Page *page, uint64_t seed)
{
    unsigned size = seed / 5 % (G_N_ELEMENTS(page->word) + 1);

    switch (seed % 5) {
    case 0:
        page_random(page, seed, G_N_ELEMENTS(page->word));
        break;
    case 1:
        for (unsigned i = 0; i < G_N_ELEMENTS(page->word); i++) {
            page->word[i] = seed * UINT64_C(0x9e3779b97f4a7c15);
        }
        break;
    case 2:
        for (unsigned i = 0; i < G_N_ELEMENTS(page->word); i++) {
            page->word[i] = seed / 5 % 2 ? 0 : ~(seed % 1000);
        }
        break;
    default:
        page_random(page, seed, size);
    }
}

/* A page that says which key and version it is, in each of its words. */
static inline void page_of_version(Page *page, uint64_t key, uint64_t version)
{
    page_random(page, key * UINT64_C(0xd1342543de82ef95) + version,
                (key + version) * 37 % G_N_ELEMENTS(page->word));
    page->word[0] = key;
    page->word[1] = version;
}

static inline void assert_is_version(const Page *page, uint64_t key,
                              uint64_t version)
{
    Page want;

    page_of_version(&want, key, version);
    g_assert_cmpmem(page, sizeof(*page), &want, sizeof(want));
}

static inline TmemStore *store_new(uint64_t limit)
{
    GError *err = NULL;
    TmemStoreConfig config = { .max_size = limit };
    TmemStore *store = tmem_store_new(&config, &err);

    g_assert_no_error(err);
    g_assert_nonnull(store);
    return store;
}

static inline uint32_t pool_new(TmemStore *store)
{
    uint32_t pool;

    g_assert_cmpint(tmem_store_pool_create(store, 0, &pool), ==, 0);
    return pool;
}

static inline TmemStoreStats stats_of(TmemStore *store)
{
    TmemStoreStats stats;

    tmem_store_get_stats(store, &stats);
    g_assert_cmpuint(stats.bytes_used, <=, stats.limit);
    g_assert_cmpuint(stats.bytes_stored, <=, stats.bytes_used);
    return stats;
}

/* g_test_init() with a seed that is always the same, unless one is given. */
static inline void test_init(int argc, char **argv)
{
    char *args[16] = { argv[0], (char *)DEFAULT_SEED };
    char **all = args;
    int num = 2;

    for (int i = 1; i < argc && num < G_N_ELEMENTS(args) - 1; i++) {
        args[num++] = argv[i];
    }
    g_test_init(&num, &all, NULL);
}

#endif
