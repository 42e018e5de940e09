/*
 * Page store of virtio-tmem with checksums: a page whose bytes have changed in
 * the memory of the store is an error, for this page alone, wherever it is
 * found; and no page is taken for one that has not.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "hw/virtio/tmem-store-migrate.h"
#include "tmem-spill-fixture.h"

typedef struct Lost {
    unsigned calls;
    uint64_t index;         /* of the last one */
} Lost;

static void note_lost(void *opaque, uint32_t pool, uint64_t object,
                      uint64_t index)
{
    Lost *lost = opaque;

    lost->calls++;
    lost->index = index;
}

static TmemStore *store_with(TmemStoreConfig config)
{
    GError *err = NULL;
    TmemStore *store = tmem_store_new(&config, &err);

    g_assert_no_error(err);
    return store;
}

static TmemStore *checked_store(uint64_t max_size, TmemCompression compression)
{
    return store_with((TmemStoreConfig) {
        .max_size = max_size, .compression = compression, .checksum = true,
    });
}

static uint64_t *slot_of(TmemStore *store, uint32_t pool, uint64_t index)
{
    TmemShard *shard = tmem_shard_find(store, 0, index);
    uint64_t *slot = tmem_page_lookup(store, tmem_pool_find(shard, pool), 0,
                                      tmem_shard_key(index));

    g_assert_nonnull(slot);
    return tmem_entry_kind(*slot) == ENTRY_NODE ? tmem_lru_entry(store, *slot)
                                                : slot;
}

/* Change a bit of what is kept for a page, its checksum included. */
static void flip(TmemStore *store, uint32_t pool, uint64_t index, unsigned bit)
{
    TmemCoded coded = tmem_entry_object(store, *slot_of(store, pool, index));
    uint8_t *data = (uint8_t *)coded.data;

    g_assert_cmpuint(bit / 8, <, coded.len + sizeof(coded.checksum));
    data[bit / 8] ^= 1 << bit % 8;
}

static unsigned bits_of(TmemStore *store, uint32_t pool, uint64_t index)
{
    return 8 * (tmem_entry_len(*slot_of(store, pool, index)) +
                sizeof(uint32_t));
}

static int get(TmemStore *store, uint32_t pool, uint64_t index, Page *page)
{
    return tmem_store_get(store, pool, 0, index, page);
}

static void put(TmemStore *store, uint32_t pool, uint64_t index,
                const Page *page)
{
    g_assert_cmpint(tmem_store_put(store, pool, 0, index, page), ==, 0);
}

static void check(TmemStore *store, uint32_t pool, uint64_t index,
                  const Page *want)
{
    Page got;

    g_assert_cmpint(get(store, pool, index, &got), ==, 0);
    g_assert_cmpmem(&got, sizeof(got), want, sizeof(*want));
}

/* Pages of each kind that is kept in the arena: lz4 or zstd, raw, one word. */
static void page_of_kind(Page *page, unsigned kind)
{
    switch (kind) {
    case 0:
        page_random(page, 7, 200);
        break;
    case 1:
        page_random(page, 8, G_N_ELEMENTS(page->word));
        break;
    default:
        for (unsigned i = 0; i < G_N_ELEMENTS(page->word); i++) {
            page->word[i] = UINT64_C(0x4123456789abcdef);
        }
    }
}

/* The values that xxHash's own test programs have */
static void test_checksum_is_xxhash64(void)
{
    static const struct {
        const char *text;
        uint32_t sum;
    } known[] = {
        { "", 0x51d8e999 },
        { "a", 0xa98c6e5b },
        { "abc", 0xad770999 },
        { "Nobody inspects the spammish repetition", 0x8a378bf1 },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(known); i++) {
        g_assert_cmphex(tmem_codec_checksum(known[i].text,
                                            strlen(known[i].text), 0), ==,
                        known[i].sum);
    }
    g_assert_cmphex(tmem_codec_checksum("a", 1, 1), !=, 0xa98c6e5b);
}

/* Whichever bit it is, of bytes or checksum: this page is lost, no other */
static void test_any_flipped_bit_is_noticed(void)
{
    TmemStore *store = checked_store(8 * MIB, TMEM_COMPRESSION_LZ4);
    uint32_t pool = pool_new(store);
    Lost lost = { 0 };
    Page page, got;

    tmem_store_set_lost(store, note_lost, &lost);
    for (unsigned kind = 0; kind < 3; kind++) {
        unsigned num = 0, bits;

        page_of_kind(&page, kind);
        put(store, pool, 1, &page);
        put(store, pool, 2, &page);
        bits = bits_of(store, pool, 1);
        for (unsigned bit = 0; bit < bits; bit += bits > 1000 ? 13 : 1) {
            uint64_t before = stats_of(store).lost;

            put(store, pool, 1, &page);
            flip(store, pool, 1, bit);
            g_assert_cmpint(get(store, pool, 1, &got), ==, -EIO);
            g_assert_cmpuint(stats_of(store).lost, ==, before + 1);
            /* It stays lost, and counts once */
            g_assert_cmpint(get(store, pool, 1, &got), ==, -EIO);
            g_assert_cmpuint(stats_of(store).lost, ==, before + 1);
            check(store, pool, 2, &page);
            num++;
        }
        g_test_message("kind %u: %u bits", kind, num);
        put(store, pool, 1, &page);
        check(store, pool, 1, &page);
    }
    g_assert_cmpuint(lost.calls, ==, stats_of(store).lost);
    g_assert_cmpuint(lost.index, ==, 1);
    g_assert_cmpint(tmem_store_flush(store, pool, 0, 0, 9), ==, 2);
    tmem_store_free(store);
}

/* Without checksums such a page is right to all appearances: they see to it */
static void test_without_checksums_it_goes_unnoticed(void)
{
    TmemStore *store = store_new(8 * MIB);
    uint32_t pool = pool_new(store);
    Page page, got;

    page_of_kind(&page, 1);
    put(store, pool, 1, &page);
    flip(store, pool, 1, 77);
    g_assert_cmpint(get(store, pool, 1, &got), ==, 0);
    g_assert_cmpint(memcmp(&got, &page, sizeof(page)), !=, 0);
    g_assert_cmpuint(stats_of(store).lost, ==, 0);
    tmem_store_free(store);
}

/* What is right, but another's */
static void test_page_of_another_key_is_noticed(void)
{
    TmemStore *store = checked_store(8 * MIB, TMEM_COMPRESSION_LZ4);
    uint32_t pool = pool_new(store);
    uint64_t *a, *b, entry;
    Page page, got;

    for (unsigned i = 0; i < 3; i++) {
        page_random(&page, i, 200);
        put(store, pool, i, &page);
    }
    a = slot_of(store, pool, 0);
    b = slot_of(store, pool, 1);
    entry = *a;
    *a = *b;
    *b = entry;
    g_assert_cmpint(get(store, pool, 0, &got), ==, -EIO);
    g_assert_cmpint(get(store, pool, 1, &got), ==, -EIO);
    check(store, pool, 2, &page);
    tmem_store_free(store);
}

/* What may be dropped is no error when it is lost: it is not there any more. */
static void test_lost_ephemeral_page_is_absent(void)
{
    TmemStore *store = checked_store(8 * MIB, TMEM_COMPRESSION_LZ4);
    uint32_t pool;
    Page page, got;

    g_assert_cmpint(tmem_store_pool_create(store, TMEM_POOL_EPHEMERAL, &pool),
                    ==, 0);
    page_of_kind(&page, 0);
    put(store, pool, 1, &page);
    put(store, pool, 2, &page);
    flip(store, pool, 1, 100);
    g_assert_cmpint(get(store, pool, 1, &got), ==, -ENOENT);
    g_assert_cmpuint(stats_of(store).lost, ==, 1);
    check(store, pool, 2, &page);
    g_assert_cmpuint(stats_of(store).ephemeral, ==, 1);
    g_assert_cmpint(tmem_store_flush(store, pool, 0, 0, 9), ==, 1);
    g_assert_cmpuint(stats_of(store).bytes_stored, ==, 0);
    tmem_store_free(store);
}

static void maintain_store(TmemStore *store)
{
    int64_t end = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;

    while (tmem_store_maintain(store, 10000) &&
           g_get_monotonic_time() < end) {
        continue;
    }
}

/* Moved, and made smaller, a page is what it was; one that was not, is lost */
static void test_maintenance_keeps_and_notices(void)
{
    TmemStore *store = checked_store(16 * MIB, TMEM_COMPRESSION_LZ4);
    uint32_t pool = pool_new(store);
    const uint64_t bad = 500;
    TmemStoreStats stats;
    Page page, got;

    for (uint64_t i = 0; i < 3000; i++) {
        page_of_letters(&page, i);
        put(store, pool, i, &page);
    }
    for (uint64_t i = 1; i < 3000; i += 2) {
        tmem_store_flush(store, pool, 0, i, i);
    }
    flip(store, pool, bad, 5);
    tmem_store_set_limit(store, 0, TMEM_LIMIT_PRESSURE);
    maintain_store(store);
    tmem_store_set_limit(store, 16 * MIB, TMEM_LIMIT_MAX);

    stats = stats_of(store);
    g_assert_cmpuint(stats.moved, >, 100);
    if (tmem_codec_has_zstd()) {
        g_assert_cmpuint(stats.recompressed, >, 100);
        g_assert_cmpuint(stats.lost, ==, 1);
    }
    for (uint64_t i = 0; i < 3000; i += 2) {
        if (i == bad) {
            g_assert_cmpint(get(store, pool, i, &got), ==, -EIO);
        } else {
            page_of_letters(&page, i);
            check(store, pool, i, &page);
        }
    }
    g_assert_cmpuint(stats_of(store).lost, ==, 1);
    tmem_store_free(store);
}

static void test_spilling_keeps_and_notices(void)
{
    Fixture f = fixture_new(64 * MIB);
    const uint64_t bad = 321;
    Page got;

    /* Before anything is kept */
    f.store->checksum = true;
    put_all(&f, 2000);
    flip(f.store, f.pool, bad, 1000);
    spill_all(&f);
    g_assert_cmpuint(spill_stats(&f).pages, >, 1000);
    for (uint64_t i = 0; i < 2000; i++) {
        if (i == bad) {
            g_assert_cmpint(get(f.store, f.pool, i, &got), ==, -EIO);
        } else {
            check_version(&f, i, 1);
        }
    }
    g_assert_cmpuint(stats_of(f.store).lost, ==, 1);
    g_assert_cmpuint(spill_stats(&f).bad_pages, ==, 0);
    fixture_free(&f);
}

static void move_all(TmemStore *from, TmemStore *to)
{
    TmemExport *export = tmem_export_begin(from);
    TmemRecord rec;

    g_assert_nonnull(export);
    tmem_import_begin(to);
    while (tmem_export_next(export, &rec) > 0) {
        g_assert_cmpint(tmem_import(to, &rec), ==, 0);
    }
    tmem_import_end(to);
    tmem_export_end(export);
}

static void assert_one_lost(TmemStore *store, uint32_t pool, uint64_t bad)
{
    Page page, got;

    for (uint64_t i = 0; i < 200; i++) {
        if (i == bad) {
            g_assert_cmpint(get(store, pool, i, &got), ==, -EIO);
        } else {
            page_random(&page, i, i * 3 % 500 + 10);
            check(store, pool, i, &page);
        }
    }
}

/* With checksums, to one without, to one with: a lost page stays one */
static void test_migrates_between_with_and_without(void)
{
    TmemStore *with = checked_store(8 * MIB, TMEM_COMPRESSION_LZ4);
    TmemStore *without = store_new(8 * MIB);
    TmemStore *again = checked_store(8 * MIB, TMEM_COMPRESSION_LZ4);
    uint32_t pool = pool_new(with);
    Page page;

    for (uint64_t i = 0; i < 200; i++) {
        page_random(&page, i, i * 3 % 500 + 10);
        put(with, pool, i, &page);
    }
    flip(with, pool, 42, 300);
    move_all(with, without);
    move_all(without, again);
    assert_one_lost(without, pool, 42);
    assert_one_lost(again, pool, 42);
    g_assert_cmpuint(stats_of(with).lost, ==, 1);
    g_assert_cmpuint(stats_of(without).lost, ==, 0);
    g_assert_cmpuint(stats_of(again).lost, ==, 0);
    /* What has arrived has checksums of its own */
    flip(again, pool, 43, 300);
    g_assert_cmpint(get(again, pool, 43, &page), ==, -EIO);
    g_assert_cmpuint(stats_of(again).lost, ==, 1);
    tmem_store_free(with);
    tmem_store_free(without);
    tmem_store_free(again);
}

/* A page that does not compress needs more than a page, also under a promise */
static void test_promises_and_capacity_hold(void)
{
    TmemStore *store = checked_store(4 * MIB, TMEM_COMPRESSION_LZ4);
    uint32_t pool = pool_new(store);
    uint64_t capacity = tmem_store_capacity(store), i;
    unsigned reserved;
    Page page;

    g_assert_cmpuint(capacity, >, 4 * MIB / TMEM_PAGE_SIZE * 85 / 100);
    for (i = 0; i < capacity; i++) {
        page_random(&page, i, G_N_ELEMENTS(page.word));
        put(store, pool, i, &page);
    }
    tmem_store_flush(store, pool, 0, 0, 199);
    reserved = tmem_store_reserve(store, 64);
    g_assert_cmpuint(reserved, >=, 20);
    for (; tmem_store_put(store, pool, 0, i, &page) == 0; i++) {
        page_random(&page, i, G_N_ELEMENTS(page.word));
    }
    for (uint64_t n = 0; n < reserved; n++) {
        page_random(&page, 100000 + n, G_N_ELEMENTS(page.word));
        g_assert_cmpint(tmem_store_put_reserved(store, pool, 0, 100000 + n,
                                                &page), ==, 0);
        check(store, pool, 100000 + n, &page);
    }
    tmem_store_free(store);
}

/* Bytes that a store takes for 4,000 pages of a kind. */
static uint64_t bytes_for(bool checksum, unsigned words)
{
    TmemStore *store = store_with((TmemStoreConfig) {
        .max_size = 32 * MIB, .checksum = checksum,
    });
    uint32_t pool = pool_new(store);
    uint64_t bytes, empty = stats_of(store).bytes_used;
    Page page;

    for (uint64_t i = 0; i < 4000; i++) {
        page_random(&page, i, words ? words : 20 + i % 400);
        put(store, pool, i, &page);
    }
    bytes = stats_of(store).bytes_used - empty;
    tmem_store_free(store);
    return bytes;
}

static void test_what_it_costs(void)
{
    uint64_t mixed = bytes_for(false, 0), raw = bytes_for(false, 512);

    g_test_message("per page: %.1f of %.1f bytes, of raw ones %.1f of %.1f",
                   (bytes_for(true, 0) - mixed) / 4000.0, mixed / 4000.0,
                   (bytes_for(true, 512) - raw) / 4000.0, raw / 4000.0);
    g_assert_cmpuint(bytes_for(true, 0), <=, mixed * 102 / 100);
    g_assert_cmpuint(bytes_for(true, 512), <=, raw * 107 / 100);
}

int main(int argc, char **argv)
{
    test_init(argc, argv);
    g_test_add_func("/tmem-store-checksum/xxhash64",
                    test_checksum_is_xxhash64);
    g_test_add_func("/tmem-store-checksum/any-flipped-bit-is-noticed",
                    test_any_flipped_bit_is_noticed);
    g_test_add_func("/tmem-store-checksum/without-it-goes-unnoticed",
                    test_without_checksums_it_goes_unnoticed);
    g_test_add_func("/tmem-store-checksum/page-of-another-key-is-noticed",
                    test_page_of_another_key_is_noticed);
    g_test_add_func("/tmem-store-checksum/lost-ephemeral-page-is-absent",
                    test_lost_ephemeral_page_is_absent);
    g_test_add_func("/tmem-store-checksum/maintenance-keeps-and-notices",
                    test_maintenance_keeps_and_notices);
    g_test_add_func("/tmem-store-checksum/spilling-keeps-and-notices",
                    test_spilling_keeps_and_notices);
    g_test_add_func("/tmem-store-checksum/migrates-between-with-and-without",
                    test_migrates_between_with_and_without);
    g_test_add_func("/tmem-store-checksum/promises-and-capacity-hold",
                    test_promises_and_capacity_hold);
    g_test_add_func("/tmem-store-checksum/what-it-costs",
                    test_what_it_costs);
    return g_test_run();
}
