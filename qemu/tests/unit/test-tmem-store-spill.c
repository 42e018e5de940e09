/*
 * Page store of virtio-tmem: pages that leave memory for a device
 *
 * "inv." numbers name the invariants of the design that a test guards.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "tmem-spill-fixture.h"

/* inv. 1, 8: over the limit, pages leave in large writes, and come back */
static void test_pages_leave_and_come_back(void)
{
    Fixture f = fixture_new(64 * MIB);
    TmemStoreStats before, stats;

    put_all(&f, 10000);
    tmem_store_get_stats(f.store, &before);
    tmem_store_set_limit(f.store, before.bytes_used / 4, TMEM_LIMIT_PRESSURE);
    maintain(&f);
    g_assert_false(tmem_store_over_limit(f.store));

    tmem_store_get_stats(f.store, &stats);
    g_assert_cmpuint(stats.pages, ==, 10000);
    g_assert_cmpuint(stats.spill.pages, >, 5000);
    g_assert_cmpuint(stats.spill.bytes_stored + stats.bytes_stored, ==,
                     before.bytes_stored);
    g_assert_cmpuint(stats.spill.bytes_written / stats.spill.writes, >=,
                     256 * 1024);
    /* Extents are full: 7 % go for pages that do not fit the end of a chunk */
    g_assert_cmpuint(stats.spill.bytes_stored, >,
                     stats.spill.bytes_written / 100 * 90);
    g_assert_cmpuint(stats.given[TMEM_MEASURE_SPILL], ==,
                     stats.spill.bytes_stored);
    for (unsigned i = 0; i < 10000; i++) {
        check_version(&f, i, 1);
    }
    fixture_free(&f);
}

/* inv. 8: a page on the device takes 32 bytes of memory at most */
static void test_a_page_costs_32_bytes(void)
{
    Fixture f = fixture_new(64 * MIB);
    TmemStoreStats stats;

    put_all(&f, 12000);
    spill_all(&f);
    tmem_store_get_stats(f.store, &stats);
    g_assert_cmpuint(stats.spill.pages, ==, 12000);
    g_assert_cmpuint(stats.bytes_stored, ==, 0);
    g_assert_cmpuint(stats.bytes_used - tmem_store_fixed(f.store), <,
                     12000 * 32 + 4 * TMEM_BLOCK_SIZE);
    fixture_free(&f);
}

/* Neighbours come with a page: one read for some 30 of them here */
static void test_neighbours_come_along(void)
{
    Fixture f = fixture_new(64 * MIB);
    unsigned reads;

    put_all(&f, 4096);
    spill_all(&f);
    g_assert_cmpuint(spill_stats(&f).pages, ==, 4096);
    reads = f.fake->reads;
    for (unsigned i = 0; i < 4096; i++) {
        check_version(&f, i, 1);
    }
    g_assert_cmpuint(f.fake->reads - reads, <, 4096 / 20);
    g_assert_cmpuint(spill_stats(&f).read_hits, >, 4096 - 4096 / 20);
    fixture_free(&f);
}

/* The store makes room before it has to refuse */
static void test_a_full_store_spills(void)
{
    Fixture f = fixture_new(128 * MIB);

    for (unsigned i = 0; i < 30000; i++) {
        put_version(&f, i, 1);
        if (i % 64 == 0) {
            maintain(&f);
        }
    }
    g_assert_cmpuint(stats_of(f.store).rejected_puts, ==, 0);
    g_assert_cmpuint(spill_stats(&f).pages, >, 10000);
    for (unsigned i = 0; i < 30000; i += 7) {
        check_version(&f, i, 1);
    }
    fixture_free(&f);
}

/* What was spilled is put again, flushed: its space is discarded and reused */
static void test_space_is_discarded_and_reused(void)
{
    Fixture f = fixture_new(32 * MIB);

    for (unsigned round = 1; round <= 8; round++) {
        for (unsigned i = 0; i < 8000; i++) {
            put_version(&f, i, round);
        }
        spill_all(&f);
        g_assert_cmpuint(spill_stats(&f).pages, ==, 8000);
        for (unsigned i = 0; i < 8000; i += 3) {
            check_version(&f, i, round);
        }
    }
    /* 8 times 16 MiB went through 32 MiB */
    g_assert_cmpuint(spill_stats(&f).full, ==, 0);
    g_assert_cmpuint(spill_stats(&f).discarded, >, 6 * 64);
    g_assert_cmpint(tmem_store_flush(f.store, f.pool, 0, 0, UINT64_MAX), ==,
                    8000);
    maintain(&f);
    g_assert_cmpuint(spill_stats(&f).bytes_free, ==, 32 * MIB);
    g_assert_cmpuint(stats_of(f.store).bytes_used, ==,
                     tmem_store_fixed(f.store) +
                     tmem_arena_bytes(&f.store->arena));
    fixture_free(&f);
}

/* Extents with few pages left are packed, and every page is still there */
static void test_cleaning_makes_space(void)
{
    Fixture f = fixture_new(16 * MIB);
    uint64_t random = test_seed();
    g_autofree bool *kept = g_new0(bool, 7000);
    unsigned left = 0;

    put_all(&f, 7000);
    spill_all(&f);
    g_assert_cmpuint(spill_stats(&f).pages, ==, 7000);
    for (unsigned i = 0; i < 7000; i++) {
        kept[i] = next_random(&random) % 4 == 0;
        left += kept[i];
        if (!kept[i]) {
            g_assert_cmpint(tmem_store_flush(f.store, f.pool, 0, i, i), ==, 1);
        }
    }
    /* None of the extents is free, but most of each is */
    g_assert_cmpuint(spill_stats(&f).bytes_free, <, 4 * MIB);
    for (unsigned i = 10000; i < 15000; i++) {
        put_version(&f, i, 2);
    }
    for (unsigned n = 0; n < 20; n++) {
        spill_all(&f);
    }
    g_assert_cmpuint(spill_stats(&f).cleaned, >, left / 2);
    g_assert_cmpuint(spill_stats(&f).pages, ==, left + 5000);
    for (unsigned i = 0; i < 7000; i++) {
        if (kept[i]) {
            check_version(&f, i, 1);
        }
    }
    for (unsigned i = 10000; i < 15000; i++) {
        check_version(&f, i, 2);
    }
    fixture_free(&f);
}

/* A device that is full stops the spilling, and no more than that */
static void test_a_full_device_stops_spilling(void)
{
    Fixture f = fixture_new(4 * MIB);

    put_all(&f, 8000);
    spill_all(&f);
    g_assert_cmpint(spill_stats(&f).state, ==, TMEM_SPILL_FULL);
    g_assert_cmpuint(spill_stats(&f).full, ==, 1);
    g_assert_cmpuint(spill_stats(&f).pages, >, 1000);
    g_assert_cmpuint(spill_stats(&f).pages, <, 2048);
    for (unsigned i = 0; i < 8000; i++) {
        check_version(&f, i, 1);
    }
    g_assert_cmpint(tmem_store_flush(f.store, f.pool, 0, 0, 7000), ==, 7001);
    maintain(&f);
    spill_all(&f);
    g_assert_cmpint(spill_stats(&f).state, ==, TMEM_SPILL_ACTIVE);
    for (unsigned i = 7001; i < 8000; i++) {
        check_version(&f, i, 1);
    }
    fixture_free(&f);
}

/* A write that fails costs no page; one event; later it is tried again */
static void test_write_errors_lose_nothing(void)
{
    Fixture f = fixture_new(64 * MIB);

    put_all(&f, 8000);
    f.fake->fail_writes = UINT_MAX;
    spill_all(&f);
    g_assert_cmpint(spill_stats(&f).state, ==, TMEM_SPILL_FAILED);
    g_assert_cmpuint(spill_stats(&f).write_errors, >, 0);
    g_assert_cmpuint(spill_stats(&f).pages, ==, 0);
    g_assert_cmpuint(f.fake->write_failures, ==, 1);
    for (unsigned i = 0; i < 8000; i++) {
        check_version(&f, i, 1);
    }
    /* Still broken: no second event */
    f.store->spill->retry = 1;
    spill_all(&f);
    g_assert_cmpuint(spill_stats(&f).write_errors, >, 1);
    g_assert_cmpuint(f.fake->write_failures, ==, 1);

    f.fake->fail_writes = 0;
    f.store->spill->retry = 1;
    spill_all(&f);
    g_assert_cmpint(spill_stats(&f).state, ==, TMEM_SPILL_ACTIVE);
    g_assert_cmpuint(spill_stats(&f).pages, ==, 8000);
    for (unsigned i = 0; i < 8000; i++) {
        check_version(&f, i, 1);
    }
    /* "No space" is said in the numbers, it is no failure */
    put_all(&f, 4000);
    f.fake->fail_writes = 1;
    f.fake->write_error = ENOSPC;
    spill_all(&f);
    g_assert_cmpint(spill_stats(&f).state, ==, TMEM_SPILL_FULL);
    g_assert_cmpuint(f.fake->write_failures, ==, 1);
    fixture_free(&f);
}

static void check_one_is_lost(Fixture *f, unsigned num, unsigned lost)
{
    Page got;

    for (unsigned i = 0; i < num; i++) {
        if (i == lost) {
            g_assert_cmpint(tmem_store_get(f->store, f->pool, 0, i, &got), ==,
                            -EIO);
        } else {
            check_version(f, i, 1);
        }
    }
}

/* A read that fails costs the page that it is about, not its neighbours */
static void test_read_errors_are_of_one_page(void)
{
    Fixture f = fixture_new(64 * MIB);

    put_all(&f, 1000);
    spill_all(&f);
    f.fake->bad_first = position_of(&f, 500) + 10;
    f.fake->bad_last = f.fake->bad_first + 1;
    check_one_is_lost(&f, 1000, 500);
    g_assert_cmpuint(f.fake->read_failures, ==, 1);
    g_assert_cmpuint(spill_stats(&f).read_errors, ==, 1);
    g_assert_cmpuint(spill_stats(&f).bad_pages, ==, 0);
    /* It was the reading that failed: the page is as good as ever */
    f.fake->bad_last = 0;
    check_version(&f, 500, 1);
    fixture_free(&f);
}

/* inv. 2: bytes that are not what was written are an error */
static void test_wrong_bytes_are_an_error(void)
{
    Fixture f = fixture_new(64 * MIB);

    put_all(&f, 1000);
    spill_all(&f);
    for (unsigned n = 0; n < 3; n++) {
        TmemSpillPlace place = place_of(&f, 500);
        unsigned bad = f.fake->read_failures;

        f.fake->wrong_first = position_of(&f, 500) + n * (place.len - 1) / 2;
        f.fake->wrong_last = f.fake->wrong_first + 1;
        /* Not from the cache */
        for (unsigned c = 0; c < TMEM_SPILL_CHUNKS; c++) {
            f.store->spill->chunks[c].state = TMEM_CHUNK_EMPTY;
        }
        check_one_is_lost(&f, 1000, 500);
        g_assert_cmpuint(spill_stats(&f).bad_pages, ==, n + 1);
        g_assert_cmpuint(f.fake->read_failures, ==, bad + 1);
    }
    fixture_free(&f);
}

/* inv. 2: nor are those of another time, or of another page */
static void test_old_and_foreign_bytes_are_an_error(void)
{
    Fixture f = fixture_new(64 * MIB);
    g_autofree uint8_t *old = g_malloc(64 * MIB);
    TmemSpillPlace a, b;
    Page got;

    put_all(&f, 1000);
    spill_all(&f);
    memcpy(old, f.fake->bytes, 64 * MIB);
    a = place_of(&f, 500);
    for (unsigned i = 0; i < 1000; i++) {
        put_version(&f, i, 2);
    }
    spill_all(&f);
    b = place_of(&f, 500);
    g_assert_cmpuint(b.generation, >, a.generation);
    check_version(&f, 500, 2);

    /* The device comes up with what it had before */
    memcpy(f.fake->bytes + position_of(&f, 500),
           old + a.record.extent * (uint64_t)TMEM_EXTENT_SIZE +
           a.record.offset, b.len);
    for (unsigned c = 0; c < TMEM_SPILL_CHUNKS; c++) {
        f.store->spill->chunks[c].state = TMEM_CHUNK_EMPTY;
    }
    g_assert_cmpint(tmem_store_get(f.store, f.pool, 0, 500, &got), ==, -EIO);
    /* And another page's */
    memcpy(f.fake->bytes + position_of(&f, 600),
           f.fake->bytes + position_of(&f, 601), place_of(&f, 600).len);
    g_assert_cmpint(tmem_store_get(f.store, f.pool, 0, 600, &got), ==, -EIO);
    check_version(&f, 601, 2);
    fixture_free(&f);
}

/* The checksum is one of the generation and of all of the key */
static void test_checksums_cover_key_and_generation(void)
{
    const TmemKey key = { 1, 2, 3 };
    const TmemKey others[] = { { 2, 2, 3 }, { 1, 3, 3 }, { 1, 2, 4 } };
    uint32_t sum = tmem_checksum(&key, 1, TMEM_KIND_LZ4, "page", 4);

    for (unsigned i = 0; i < G_N_ELEMENTS(others); i++) {
        g_assert_cmphex(sum, !=, tmem_checksum(&others[i], 1,
                                                     TMEM_KIND_LZ4, "page",
                                                     4));
    }
    g_assert_cmphex(sum, !=, tmem_checksum(&key, 2, TMEM_KIND_LZ4,
                                                 "page", 4));
    g_assert_cmphex(sum, !=, tmem_checksum(&key, 1, TMEM_KIND_ZSTD,
                                                 "page", 4));
    g_assert_cmphex(sum, !=, tmem_checksum(&key, 1, TMEM_KIND_LZ4,
                                                 "pagf", 4));
}

/* inv. 2, 4: what happens to a page while it is written counts */
static void test_changes_while_written(void)
{
    Fixture f = fixture_new(64 * MIB);
    uint64_t random = test_seed();
    g_autofree unsigned *version = g_new0(unsigned, 3000);
    Page got;

    for (unsigned i = 0; i < 3000; i++) {
        put_version(&f, i, version[i] = 1);
    }
    for (unsigned round = 0; round < 30; round++) {
        fake_set_defer(f.fake, true);
        tmem_store_set_limit(f.store, 0, TMEM_LIMIT_PRESSURE);
        f.store->spill->next_pass = 0;
        for (unsigned n = 0; n < 5; n++) {
            tmem_store_maintain(f.store, 100);
            tmem_store_set_limit(f.store, MAX_SIZE, TMEM_LIMIT_MAX);
            for (unsigned k = 0; k < 300; k++) {
                unsigned i = next_random(&random) % 3000;

                if (next_random(&random) % 3) {
                    /* The same size: the arena gives it the same place */
                    put_version(&f, i, version[i] = round * 5 + n + 2);
                } else {
                    tmem_store_flush(f.store, f.pool, 0, i, i);
                    version[i] = 0;
                }
            }
            tmem_store_set_limit(f.store, 0, TMEM_LIMIT_PRESSURE);
            fake_run(f.fake);
        }
        fake_set_defer(f.fake, false);
        maintain(&f);
        tmem_store_set_limit(f.store, MAX_SIZE, TMEM_LIMIT_MAX);
        for (unsigned i = 0; i < 3000; i++) {
            if (version[i]) {
                check_version(&f, i, version[i]);
            } else {
                g_assert_cmpint(tmem_store_get(f.store, f.pool, 0, i, &got),
                                ==, -ENOENT);
            }
        }
    }
    g_assert_cmpuint(spill_stats(&f).writes, >, 30);
    fixture_free(&f);
}

/* ---- Gets that do not wait ---- */

/* Two pages of one chunk: one read, and both hear of it */
static void test_async_gets_share_a_read(void)
{
    Fixture f = fixture_new(64 * MIB);
    Getter a = { 0 }, b = { 0 };
    unsigned reads;
    Page page;

    put_all(&f, 1000);
    spill_all(&f);
    reads = f.fake->reads;
    fake_set_defer(f.fake, true);
    g_assert_cmpint(getter_get(&f, &a, 10, &page), ==, -EINPROGRESS);
    g_assert_cmpint(getter_get(&f, &b, 11, &page), ==, -EINPROGRESS);
    /* Asking again is no harm */
    g_assert_cmpint(getter_get(&f, &a, 10, &page), ==, -EINPROGRESS);
    g_assert_cmpuint(a.done + b.done, ==, 0);
    fake_set_defer(f.fake, false);
    g_assert_cmpuint(a.done, ==, 1);
    g_assert_cmpuint(b.done, ==, 1);
    g_assert_cmpint(getter_get(&f, &a, 10, &page), ==, 0);
    assert_version(&page, 10, 1);
    g_assert_cmpint(getter_get(&f, &b, 11, &page), ==, 0);
    assert_version(&page, 11, 1);
    g_assert_cmpuint(f.fake->reads - reads, ==, 1);
    fixture_free(&f);
}

/* inv. 2: the page is put, flushed, spilled elsewhere while it is read */
static void test_async_gets_see_changes(void)
{
    Fixture f = fixture_new(64 * MIB);
    Getter put = { 0 }, flushed = { 0 }, moved = { 0 };
    Page page;

    put_all(&f, 1000);
    spill_all(&f);
    fake_set_defer(f.fake, true);
    g_assert_cmpint(getter_get(&f, &put, 0, &page), ==, -EINPROGRESS);
    g_assert_cmpint(getter_get(&f, &flushed, 300, &page), ==, -EINPROGRESS);
    g_assert_cmpint(getter_get(&f, &moved, 700, &page), ==, -EINPROGRESS);
    put_version(&f, 0, 2);
    tmem_store_flush(f.store, f.pool, 0, 300, 300);
    put_version(&f, 700, 2);
    tmem_store_set_limit(f.store, 0, TMEM_LIMIT_PRESSURE);
    for (unsigned n = 0; n < 20; n++) {
        f.store->spill->next_pass = 0;
        maintain(&f);
        fake_run(f.fake);
    }
    tmem_store_set_limit(f.store, MAX_SIZE, TMEM_LIMIT_MAX);
    fake_set_defer(f.fake, false);
    maintain(&f);
    while (getter_get(&f, &put, 0, &page) == -EINPROGRESS) {
        continue;
    }
    assert_version(&page, 0, 2);
    g_assert_cmpint(getter_get(&f, &flushed, 300, &page), ==, -ENOENT);
    place_of(&f, 700);
    while (getter_get(&f, &moved, 700, &page) == -EINPROGRESS) {
        continue;
    }
    assert_version(&page, 700, 2);
    fixture_free(&f);
}

/* More gets than there are buffers: each comes to its end by itself */
static void test_async_gets_do_not_wait_for_others(void)
{
    enum { NUM = TMEM_SPILL_CHUNKS * 3 };
    Fixture f = fixture_new(64 * MIB);
    Getter getters[NUM] = { 0 };
    bool over[NUM] = { false };
    unsigned left = NUM - 1;
    Page page;

    put_all(&f, NUM * 256);
    spill_all(&f);
    fake_set_defer(f.fake, true);
    for (unsigned i = 0; i < NUM; i++) {
        g_assert_cmpint(getter_get(&f, &getters[i], i * 256, &page), ==,
                        -EINPROGRESS);
    }
    g_assert_cmpuint(f.fake->waiting.length, ==, NUM);
    while (getter_get(&f, &getters[34], 34 * 256, &page) == -EINPROGRESS) {
        fake_run(f.fake);
    }
    over[34] = true;
    for (unsigned i = 0; i < NUM; i += 5) {
        tmem_store_end_fetch(f.store, &getters[i].fetch);
        over[i] = true;
        left--;
    }
    for (unsigned turns = 0; left > 0; turns++) {
        g_assert_cmpuint(turns, <, 1000);
        fake_run(f.fake);
        for (unsigned i = 0; i < NUM; i++) {
            if (!over[i] && getters[i].done) {
                int ret = getter_get(&f, &getters[i], i * 256, &page);

                if (ret == 0) {
                    assert_version(&page, i * 256, 1);
                    over[i] = true;
                    left--;
                } else {
                    g_assert_cmpint(ret, ==, -EINPROGRESS);
                }
            }
        }
    }
    fixture_free(&f);
}

/* An error that comes later is still of one page */
static void test_async_read_errors(void)
{
    Fixture f = fixture_new(64 * MIB);
    Getter a = { 0 }, b = { 0 };
    Page page;
    int ret;

    put_all(&f, 1000);
    spill_all(&f);
    f.fake->bad_first = position_of(&f, 11) + 10;
    f.fake->bad_last = f.fake->bad_first + 1;
    fake_set_defer(f.fake, true);
    g_assert_cmpint(getter_get(&f, &a, 10, &page), ==, -EINPROGRESS);
    g_assert_cmpint(getter_get(&f, &b, 11, &page), ==, -EINPROGRESS);
    fake_set_defer(f.fake, false);
    while ((ret = getter_get(&f, &a, 10, &page)) == -EINPROGRESS) {
        continue;
    }
    g_assert_cmpint(ret, ==, 0);
    assert_version(&page, 10, 1);
    while ((ret = getter_get(&f, &b, 11, &page)) == -EINPROGRESS) {
        continue;
    }
    g_assert_cmpint(ret, ==, -EIO);
    fixture_free(&f);
}

/* A reset in the middle of everything leaves nothing behind */
static void test_reset_while_busy(void)
{
    Fixture f = fixture_new(16 * MIB);
    Getter getter = { 0 };
    Page page;

    for (unsigned round = 0; round < 5; round++) {
        put_all(&f, 2000);
        spill_all(&f);
        put_all(&f, 1000);
        fake_set_defer(f.fake, true);
        tmem_store_set_limit(f.store, 0, TMEM_LIMIT_PRESSURE);
        f.store->spill->next_pass = 0;
        maintain(&f);
        g_assert_cmpint(getter_get(&f, &getter, 1500, &page), ==,
                        -EINPROGRESS);
        tmem_store_reset(f.store);
        g_assert_cmpint(tmem_store_pool_create(f.store, 0, &f.pool), ==, 0);
        tmem_store_end_fetch(f.store, &getter.fetch);
        fake_set_defer(f.fake, false);
        tmem_store_set_limit(f.store, MAX_SIZE, TMEM_LIMIT_MAX);
        maintain(&f);
        g_assert_cmpuint(spill_stats(&f).pages, ==, 0);
        g_assert_cmpuint(spill_stats(&f).bytes_free, ==, 16 * MIB);
        g_assert_cmpint(tmem_store_get(f.store, f.pool, 0, 1500, &page), ==,
                        -ENOENT);
    }
    fixture_free(&f);
}

/* inv. 1: a walk finds pages wherever they are */
static void test_walk_finds_spilled_pages(void)
{
    Fixture f = fixture_new(64 * MIB);
    g_autofree TmemWalkPage *page = g_new(TmemWalkPage, 1);
    g_autofree bool *found = g_new0(bool, 3000);
    TmemWalk walk = { 0 };
    unsigned num = 0;

    put_all(&f, 2000);
    spill_all(&f);
    for (unsigned i = 2000; i < 3000; i++) {
        put_version(&f, i, 1);
    }
    while (tmem_store_walk(f.store, &walk, page) == 1) {
        g_assert_false(found[page->index]);
        found[page->index] = true;
        assert_version((Page *)page->page, page->index, 1);
        num++;
    }
    g_assert_cmpuint(num, ==, 3000);
    fixture_free(&f);
}

/* What an export does: pages as they are kept */
static void test_copies_are_as_kept(void)
{
    Fixture f = fixture_new(64 * MIB);
    TmemKey key = { .pool = f.pool };
    uint8_t data[TMEM_PAGE_SIZE];
    TmemCoded coded;
    Page page;

    put_all(&f, 1000);
    spill_all(&f);
    for (key.index = 0; key.index < 1000; key.index++) {
        g_assert_cmpint(tmem_spill_copy(f.store, &key, data, &coded), ==, 0);
        g_assert_cmpint(tmem_codec_decode(&coded, &page), ==, 0);
        assert_version(&page, key.index, 1);
    }
    put_version(&f, 5, 2);
    key.index = 5;
    g_assert_cmpint(tmem_spill_copy(f.store, &key, data, &coded), ==, -EAGAIN);
    f.fake->wrong_last = f.fake->size;
    for (unsigned c = 0; c < TMEM_SPILL_CHUNKS; c++) {
        f.store->spill->chunks[c].state = TMEM_CHUNK_EMPTY;
    }
    key.index = 900;
    g_assert_cmpint(tmem_spill_copy(f.store, &key, data, &coded), ==, -EBADMSG);
    fixture_free(&f);
}

/* Small devices and stores are refused, in one sentence */
static void test_bad_sizes_are_refused(void)
{
    TmemStoreConfig config = { .max_size = 8 * MIB };
    GError *err = NULL;
    TmemStore *store = tmem_store_new(&config, &err);

    g_assert_no_error(err);
    g_assert_false(tmem_store_set_spill(store, &fake_ops, NULL, 64 * MIB,
                                        &err));
    g_assert_nonnull(strstr(err->message, "too small to spill"));
    g_clear_error(&err);
    tmem_store_free(store);

    config.max_size = MAX_SIZE;
    store = tmem_store_new(&config, &err);
    g_assert_no_error(err);
    g_assert_false(tmem_store_set_spill(store, &fake_ops, NULL, MIB, &err));
    g_assert_nonnull(strstr(err->message, "too small to spill to"));
    g_clear_error(&err);
    tmem_store_free(store);
}

int main(int argc, char **argv)
{
    test_init(argc, argv);
    g_test_add_func("/tmem-store-spill/leave-and-come-back",
                    test_pages_leave_and_come_back);
    g_test_add_func("/tmem-store-spill/cost", test_a_page_costs_32_bytes);
    g_test_add_func("/tmem-store-spill/neighbours",
                    test_neighbours_come_along);
    g_test_add_func("/tmem-store-spill/full-store", test_a_full_store_spills);
    g_test_add_func("/tmem-store-spill/reuse",
                    test_space_is_discarded_and_reused);
    g_test_add_func("/tmem-store-spill/cleaning", test_cleaning_makes_space);
    g_test_add_func("/tmem-store-spill/full-device",
                    test_a_full_device_stops_spilling);
    g_test_add_func("/tmem-store-spill/write-errors",
                    test_write_errors_lose_nothing);
    g_test_add_func("/tmem-store-spill/read-errors",
                    test_read_errors_are_of_one_page);
    g_test_add_func("/tmem-store-spill/wrong-bytes",
                    test_wrong_bytes_are_an_error);
    g_test_add_func("/tmem-store-spill/old-and-foreign-bytes",
                    test_old_and_foreign_bytes_are_an_error);
    g_test_add_func("/tmem-store-spill/checksums",
                    test_checksums_cover_key_and_generation);
    g_test_add_func("/tmem-store-spill/changes-while-written",
                    test_changes_while_written);
    g_test_add_func("/tmem-store-spill/async/share",
                    test_async_gets_share_a_read);
    g_test_add_func("/tmem-store-spill/async/changes",
                    test_async_gets_see_changes);
    g_test_add_func("/tmem-store-spill/async/buffers",
                    test_async_gets_do_not_wait_for_others);
    g_test_add_func("/tmem-store-spill/async/read-errors",
                    test_async_read_errors);
    g_test_add_func("/tmem-store-spill/reset", test_reset_while_busy);
    g_test_add_func("/tmem-store-spill/walk", test_walk_finds_spilled_pages);
    g_test_add_func("/tmem-store-spill/copies", test_copies_are_as_kept);
    g_test_add_func("/tmem-store-spill/sizes", test_bad_sizes_are_refused);
    return g_test_run();
}
