/*
 * Parts of virtio-tmem's page store: allocator, index and codec by themselves
 *
 * "inv." numbers name the invariants of the design that a test guards.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <sys/mman.h>
#include "hw/virtio/tmem-store-alloc.h"
#include "hw/virtio/tmem-store-codec.h"
#include "hw/virtio/tmem-store-index.h"
#include "tmem-store-pages.h"

static const TmemCodec lz4 = { .compression = TMEM_COMPRESSION_LZ4 };

/* An arena of @blocks blocks and not a byte more. */
static void arena_new(TmemArena *arena, unsigned blocks)
{
    GError *err = NULL;
    TmemArenaConfig config = {
        .limit = blocks * (TMEM_BLOCK_SIZE + sizeof(TmemBlock)),
        .max_object = TMEM_PAGE_SIZE,
    };

    tmem_arena_init(arena, &config, &err);
    g_assert_no_error(err);
    g_assert_cmpuint(arena->num_blocks, ==, blocks);
}

static TmemHandle arena_get(TmemArena *arena, size_t size)
{
    return tmem_arena_alloc(arena, size, TMEM_ALLOC_GROW);
}

static bool index_insert(TmemArena *arena, TmemIndex *index, uint64_t key,
                         uint64_t value)
{
    return tmem_index_insert(arena, index, key, value, TMEM_ALLOC_GROW);
}

static unsigned arena_objects(const TmemArena *arena)
{
    unsigned objects = 0;

    for (uint32_t b = 0; b < arena->num_touched; b++) {
        objects += arena->blocks[b].used;
    }
    return objects;
}

static uint64_t arena_resident(const TmemArena *arena)
{
    size_t page = qemu_real_host_page_size();
    size_t num = (size_t)arena->num_blocks * TMEM_BLOCK_SIZE / page;
    g_autofree unsigned char *in_core = g_malloc(num);
    uint64_t resident = 0;

    g_assert_cmpint(mincore(arena->base, num * page, in_core), ==, 0);
    for (size_t i = 0; i < num; i++) {
        resident += (in_core[i] & 1) * page;
    }
    return resident;
}

typedef struct Object {
    TmemHandle handle;
    unsigned size;
    unsigned char stamp;
} Object;

static void object_check(const TmemArena *arena, const Object *object)
{
    const unsigned char *bytes = tmem_arena_ptr(arena, object->handle);

    for (unsigned i = 0; i < object->size; i++) {
        g_assert_cmpuint(bytes[i], ==, object->stamp);
    }
}

/* inv. 1, 8: objects never overlap, and the arena's memory is what it says */
static void test_objects_do_not_overlap(void)
{
    Object objects[1500] = { { 0 } };
    uint64_t random = test_seed(), empty;
    unsigned refused = 0;
    TmemArena arena;

    arena_new(&arena, 40);
    empty = tmem_arena_bytes(&arena);
    for (unsigned step = 0; step < 60000; step++) {
        Object *object = &objects[next_random(&random) % 1500];

        if (object->handle) {
            object_check(&arena, object);
            tmem_arena_free(&arena, object->handle);
            object->handle = 0;
        } else {
            object->size = next_random(&random) % TMEM_MAX_OBJECT + 1;
            object->handle = arena_get(&arena, object->size);
            object->stamp = step;
            if (object->handle) {
                char *bytes = tmem_arena_ptr(&arena, object->handle);

                g_assert_cmpuint((uintptr_t)bytes % TMEM_GRAIN, ==, 0);
                g_assert_true(bytes >= arena.base &&
                              bytes + object->size <= arena.base +
                              (size_t)arena.num_blocks * TMEM_BLOCK_SIZE);
                memset(bytes, object->stamp, object->size);
            } else {
                refused++;
            }
        }
        g_assert_cmpuint(arena.num_used, <=, arena.num_blocks);
        if (step % 2000 == 0) {
            g_assert_cmpuint(arena_resident(&arena), <=,
                             arena.num_used * TMEM_BLOCK_SIZE);
        }
    }
    g_assert_cmpuint(refused, >, 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(objects); i++) {
        if (objects[i].handle) {
            object_check(&arena, &objects[i]);
            tmem_arena_free(&arena, objects[i].handle);
        }
    }
    g_assert_cmpuint(tmem_arena_bytes(&arena), ==, empty);
    g_assert_cmpuint(arena_resident(&arena), ==, 0);
    tmem_arena_destroy(&arena);
}

/* inv. 8: a block goes back to the host with its last object, not later */
static void test_empty_block_goes_back_at_once(void)
{
    TmemHandle handles[32];
    TmemArena arena;

    arena_new(&arena, 2);
    g_assert_cmpuint(tmem_arena_bytes(&arena), ==, 2 * sizeof(TmemBlock));
    for (unsigned i = 0; i < 32; i++) {
        handles[i] = arena_get(&arena, TMEM_PAGE_SIZE);
        memset(tmem_arena_ptr(&arena, handles[i]), 1, TMEM_PAGE_SIZE);
    }
    g_assert_cmpuint(arena_get(&arena, 1), ==, 0);
    g_assert_cmpuint(tmem_arena_bytes(&arena), ==,
                     2 * (sizeof(TmemBlock) + TMEM_BLOCK_SIZE));
    for (unsigned i = 0; i < 16; i++) {
        g_assert_cmpuint(arena_resident(&arena), ==, 2 * TMEM_BLOCK_SIZE);
        tmem_arena_free(&arena, handles[i]);
    }
    g_assert_cmpuint(arena_resident(&arena), ==, TMEM_BLOCK_SIZE);
    g_assert_cmpuint(arena_get(&arena, 1), !=, 0);

    tmem_arena_reset(&arena);
    g_assert_cmpuint(arena_resident(&arena), ==, 0);
    for (unsigned i = 0; i < 32; i++) {
        g_assert_cmpuint(arena_get(&arena, TMEM_PAGE_SIZE), !=, 0);
    }
    g_assert_cmpuint(arena_get(&arena, 1), ==, 0);
    tmem_arena_destroy(&arena);
}

/* inv. 8: at the limit, room in a larger class is room; in a smaller, not */
static void test_full_arena_lends_larger_objects(void)
{
    TmemHandle large, small;
    TmemArena arena;

    arena_new(&arena, 2);
    large = arena_get(&arena, 4096);
    small = arena_get(&arena, 100);
    g_assert_cmpuint(large, !=, 0);
    for (unsigned i = 0; i < 15; i++) {
        g_assert_cmpuint(arena_get(&arena, 2000), !=, 0);
    }
    g_assert_cmpuint(arena_get(&arena, 2000), ==, 0);
    g_assert_cmpuint(arena_get(&arena, 100), !=, 0);

    tmem_arena_free(&arena, large);
    g_assert_cmpuint(arena_get(&arena, 3000), ==, large);
    tmem_arena_free(&arena, small);
    g_assert_cmpuint(arena_get(&arena, 129), ==, 0);
    g_assert_cmpuint(arena_get(&arena, 16), ==, small);
    tmem_arena_destroy(&arena);
}

/* inv. 8: no size wastes much, and the largest lz4 page is less than raw */
static void test_classes_fit_their_sizes(void)
{
    uint64_t wasted = 0, sizes = 0;
    TmemArena arena;

    for (unsigned size = 1; size <= TMEM_MAX_OBJECT; size++) {
        unsigned objects = 0;

        arena_new(&arena, 1);
        while (arena_get(&arena, size)) {
            objects++;
        }
        g_assert_cmpuint(objects, >=, TMEM_BLOCK_SIZE / TMEM_MAX_OBJECT);
        if (size >= 256 && size <= TMEM_CODED_MAX) {
            unsigned waste = TMEM_BLOCK_SIZE - objects * size;

            g_assert_cmpuint(waste, <=, TMEM_BLOCK_SIZE / 6);
            wasted += waste;
            sizes++;
        }
        if (size == TMEM_CODED_MAX) {
            g_assert_cmpuint(objects, >, TMEM_BLOCK_SIZE / TMEM_PAGE_SIZE);
        }
        tmem_arena_destroy(&arena);
    }
    g_test_message("waste in blocks: %.1f %%",
                   100.0 * wasted / sizes / TMEM_BLOCK_SIZE);
    g_assert_cmpuint(wasted / sizes, <=, TMEM_BLOCK_SIZE * 3 / 100);
}

typedef struct IndexModel {
    GHashTable *keys;       /* of uint64_t */
    uint64_t first, last;
    uint64_t dropped;
    uint64_t next;
    bool past_last;
} IndexModel;

/* No key of these tests has the value 0, and each tells its key. */
#define VALUE_OF(key) ((key) ^ UINT64_C(0x9e3779b97f4a7c15))

static void index_model_add(IndexModel *model, uint64_t key)
{
    uint64_t *copy = g_new(uint64_t, 1);

    *copy = key;
    g_hash_table_add(model->keys, copy);
}

static void index_model_drop(uint64_t value, void *opaque)
{
    IndexModel *model = opaque;
    uint64_t key = VALUE_OF(value);

    /* In ascending order, each once, none outside of the range. */
    g_assert_false(model->past_last);
    g_assert_cmpuint(key, >=, model->next);
    g_assert_cmpuint(key, <=, model->last);
    g_assert_true(g_hash_table_remove(model->keys, &key));
    model->past_last = key == UINT64_MAX;
    model->next = key + 1;
    model->dropped++;
}

static unsigned index_model_range(IndexModel *model)
{
    GHashTableIter iter;
    unsigned num = 0;
    uint64_t *key;

    g_hash_table_iter_init(&iter, model->keys);
    while (g_hash_table_iter_next(&iter, (gpointer *)&key, NULL)) {
        num += *key >= model->first && *key <= model->last;
    }
    return num;
}

/* Keys near each other, at the edges of nodes, and at both ends. */
static uint64_t index_random_key(uint64_t *random)
{
    uint64_t r = next_random(random);
    uint64_t key = (r & 255) << (r >> 8 & 63);

    return (r >> 16) % 4 == 0 ? ~key : key - (r >> 18 & 1);
}

static void index_model_erase_range(IndexModel *model, TmemArena *arena,
                                    TmemIndex *index, uint64_t first,
                                    uint64_t last)
{
    unsigned expected;

    model->first = model->next = first;
    model->last = last;
    model->past_last = false;
    model->dropped = 0;
    expected = index_model_range(model);
    tmem_index_erase_range(arena, index, first, last, index_model_drop, model);
    g_assert_cmpuint(model->dropped, ==, expected);
}

/* inv. 1, 2, 8: the index is a table of keys, and no bigger than they need */
static void test_index_equals_model(void)
{
    IndexModel model = {
        .keys = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free,
                                      NULL),
    };
    uint64_t random = test_seed();
    TmemIndex index = 0;
    TmemArena arena;

    arena_new(&arena, 256);
    for (unsigned step = 0; step < 100000; step++) {
        uint64_t key = index_random_key(&random);
        bool there = g_hash_table_contains(model.keys, &key);
        uint64_t *slot = tmem_index_lookup(&arena, index, key);

        g_assert_cmpuint(slot ? *slot : 0, ==, there ? VALUE_OF(key) : 0);
        if (step % 50 == 0) {
            index_model_erase_range(&model, &arena, &index, key,
                                    index_random_key(&random));
        } else if (there) {
            g_assert_cmpuint(tmem_index_erase(&arena, &index, key), ==,
                             VALUE_OF(key));
            g_hash_table_remove(model.keys, &key);
        } else {
            g_assert_cmpuint(tmem_index_erase(&arena, &index, key), ==, 0);
            g_assert_true(index_insert(&arena, &index, key,
                                            VALUE_OF(key)));
            index_model_add(&model, key);
        }
        g_assert_cmpint(index == 0, ==, g_hash_table_size(model.keys) == 0);
        g_assert_cmpuint(arena_objects(&arena), <=,
                         11 * g_hash_table_size(model.keys));
    }
    index_model_erase_range(&model, &arena, &index, 0, UINT64_MAX);
    g_assert_cmpuint(index, ==, 0);
    g_assert_cmpuint(arena_objects(&arena), ==, 0);
    g_assert_cmpuint(g_hash_table_size(model.keys), ==, 0);
    g_hash_table_destroy(model.keys);
    tmem_arena_destroy(&arena);
}

static void drop_nothing(uint64_t value, void *opaque)
{
}

/* inv. 8: a tree is as tall as its largest key needs, also after it shrank */
static void test_index_is_as_tall_as_its_keys(void)
{
    TmemArena arena;

    arena_new(&arena, 4);
    for (unsigned bits = 0; bits <= 64; bits++) {
        uint64_t key = bits ? UINT64_MAX >> (64 - bits) : 0;
        unsigned height = bits ? (bits + 5) / 6 : 1;
        TmemIndex index = 0;

        g_assert_true(index_insert(&arena, &index, key, 1));
        g_assert_cmpuint(arena_objects(&arena), ==, height);
        if (bits) {
            g_assert_true(index_insert(&arena, &index, 0, 2));
            g_assert_cmpuint(arena_objects(&arena), ==, 2 * height - 1);
            g_assert_cmpuint(tmem_index_erase(&arena, &index, key), ==, 1);
            g_assert_cmpuint(arena_objects(&arena), ==, 1);
            g_assert_cmpuint(*tmem_index_lookup(&arena, index, 0), ==, 2);
            g_assert_true(index_insert(&arena, &index, key, 1));
            tmem_index_erase_range(&arena, &index, 1, key, drop_nothing, NULL);
            g_assert_cmpuint(arena_objects(&arena), ==, 1);
            g_assert_true(index_insert(&arena, &index, key, 1));
            g_assert_cmpuint(arena_objects(&arena), ==, 2 * height - 1);
            g_assert_cmpuint(tmem_index_erase(&arena, &index, 0), ==, 2);
            g_assert_cmpuint(arena_objects(&arena), ==, height);
        }
        g_assert_cmpuint(tmem_index_erase(&arena, &index, key), ==, 1);
        g_assert_cmpuint(index, ==, 0);
        g_assert_cmpuint(arena_objects(&arena), ==, 0);
    }
    tmem_arena_destroy(&arena);
}

/* inv. 2, 7: an insertion without room for all its nodes changes nothing */
static void test_refused_insert_changes_nothing(void)
{
    for (unsigned room = 0; room < 21; room++) {
        TmemHandle spare[21];
        TmemIndex index = 0, before;
        TmemArena arena;

        arena_new(&arena, 1);
        g_assert_true(index_insert(&arena, &index, 5, 6));
        for (unsigned i = 0; i < room; i++) {
            spare[i] = arena_get(&arena, 512);
        }
        while (arena_get(&arena, 512)) {
            continue;
        }
        for (unsigned i = 0; i < room; i++) {
            tmem_arena_free(&arena, spare[i]);
        }
        before = index;
        /* From height 1 to 11: 10 nodes above, and 10 down to the key. */
        g_assert_cmpint(index_insert(&arena, &index, UINT64_MAX, 7), ==,
                        room >= 20);
        g_assert_cmpuint(*tmem_index_lookup(&arena, index, 5), ==, 6);
        g_assert_cmpuint(arena_objects(&arena), ==,
                         128 - room + (room >= 20 ? 20 : 0));
        if (room < 20) {
            g_assert_cmpuint(index, ==, before);
            g_assert_null(tmem_index_lookup(&arena, index, UINT64_MAX));
        }
        tmem_arena_destroy(&arena);
    }
}

/* inv. 8: 64 dense keys share a node */
static void test_dense_keys_cost_little(void)
{
    TmemIndex index = 0;
    TmemArena arena;

    arena_new(&arena, 64);
    for (uint64_t key = 0; key < 262144; key++) {
        g_assert_true(index_insert(&arena, &index, key, 1));
    }
    g_assert_cmpuint(arena_objects(&arena), ==, 4096 + 64 + 1);
    tmem_arena_destroy(&arena);
}

/* inv. 7: whatever the bytes are, no more than a page is written */
static void test_decoder_survives_corruption(void)
{
    unsigned char bytes[TMEM_CODED_MAX];
    Page page, out[2], guard;
    unsigned failed = 0;
    uint64_t random = test_seed();
    TmemCoded coded;

    memset(&guard, 0x5a, sizeof(guard));
    for (unsigned i = 0; i < 20000; i++) {
        out[1] = guard;
        page_random(&page, next_random(&random), i % 300);
        coded = tmem_codec_encode(&lz4, &page);
        g_assert_cmpint(coded.kind, ==, TMEM_KIND_LZ4);
        g_assert_cmpuint(coded.len, <=, TMEM_CODED_MAX);
        memcpy(bytes, coded.data, coded.len);
        coded.data = bytes;

        g_assert_cmpint(tmem_codec_decode(&coded, &out[0]), ==, 0);
        g_assert_cmpmem(&out[0], sizeof(Page), &page, sizeof(Page));
        coded.len--;
        g_assert_cmpint(tmem_codec_decode(&coded, &out[0]), ==, -EIO);
        coded.len++;
        for (unsigned n = 0; n <= i % 4; n++) {
            bytes[next_random(&random) % coded.len] = next_random(&random);
        }
        failed += tmem_codec_decode(&coded, &out[0]) == -EIO;
        g_assert_cmpmem(&out[1], sizeof(Page), &guard, sizeof(Page));
    }
    g_assert_cmpuint(failed, >, 1000);
    /* A block that lz4 finds right, of 8 bytes. */
    coded = (TmemCoded) {
        .kind = TMEM_KIND_LZ4, .data = "\x80" "8 bytes.", .len = 9
    };
    g_assert_cmpint(tmem_codec_decode(&coded, &out[0]), ==, -EIO);
    coded = (TmemCoded) { .kind = 0, .data = &page, .len = 1 };
    g_assert_cmpint(tmem_codec_decode(&coded, &out[0]), ==, -EIO);
}

/* inv. 8: what lz4 cannot make smaller by a size class is kept as it is */
static void test_incompressible_pages_stay_raw(void)
{
    Page page;
    TmemCoded coded;

    page_random(&page, test_seed(), G_N_ELEMENTS(page.word));
    coded = tmem_codec_encode(&lz4, &page);
    g_assert_cmpint(coded.kind, ==, TMEM_KIND_RAW);
    g_assert_cmpmem(coded.data, coded.len, &page, sizeof(page));

    /* 8 % of pattern: lz4 does get it below 4096 bytes, but for nothing. */
    page_random(&page, test_seed(), G_N_ELEMENTS(page.word) - 32);
    coded = tmem_codec_encode(&lz4, &page);
    g_assert_cmpint(coded.kind, ==, TMEM_KIND_RAW);

    page_random(&page, test_seed(), G_N_ELEMENTS(page.word) - 64);
    coded = tmem_codec_encode(&lz4, &page);
    g_assert_cmpint(coded.kind, ==, TMEM_KIND_LZ4);
    g_assert_cmpuint(coded.len, <=, TMEM_CODED_MAX);
}

int main(int argc, char **argv)
{
    test_init(argc, argv);
    g_test_add_func("/tmem-store/alloc/objects-do-not-overlap",
                    test_objects_do_not_overlap);
    g_test_add_func("/tmem-store/alloc/empty-block-goes-back-at-once",
                    test_empty_block_goes_back_at_once);
    g_test_add_func("/tmem-store/alloc/full-arena-lends-larger-objects",
                    test_full_arena_lends_larger_objects);
    g_test_add_func("/tmem-store/alloc/classes-fit-their-sizes",
                    test_classes_fit_their_sizes);
    g_test_add_func("/tmem-store/index/equals-model", test_index_equals_model);
    g_test_add_func("/tmem-store/index/is-as-tall-as-its-keys",
                    test_index_is_as_tall_as_its_keys);
    g_test_add_func("/tmem-store/index/refused-insert-changes-nothing",
                    test_refused_insert_changes_nothing);
    g_test_add_func("/tmem-store/index/dense-keys-cost-little",
                    test_dense_keys_cost_little);
    g_test_add_func("/tmem-store/codec/decoder-survives-corruption",
                    test_decoder_survives_corruption);
    g_test_add_func("/tmem-store/codec/incompressible-pages-stay-raw",
                    test_incompressible_pages_stay_raw);
    return g_test_run();
}
