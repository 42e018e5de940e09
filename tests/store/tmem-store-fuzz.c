/*
 * Fuzzer of the virtio-tmem page store, for libFuzzer
 *
 * The input is a program: two bytes of configuration, then calls of the store
 * with their arguments. Any bytes are a program. tmem-store-model.c checks what
 * comes of it. The same input does the same each time: the clock is the
 * model's.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "tmem-store-model.h"

#define KIB UINT64_C(1024)

/* The sizes are small, so that the limit is near. */
#define SIZE_STEP (64 * KIB)
#define SPAN (4096 * KIB)

typedef struct Input {
    const uint8_t *data;
    size_t left;
} Input;

static unsigned next_byte(Input *in)
{
    if (!in->left) {
        return 0;
    }
    in->left--;
    return *in->data++;
}

static const uint64_t objects[] = {
    0, 1, 63, 64, 4096, UINT64_C(1) << 32, UINT64_C(1) << 63, UINT64_MAX,
};

static const uint64_t bases[] = {
    0, 256, 4096, UINT64_C(1) << 18, UINT64_C(1) << 32, UINT64_C(1) << 47,
    UINT64_C(1) << 63, UINT64_MAX - 65535,
};

/* Where a run begins: a single page so far. */
static ModelRun next_page(Input *in)
{
    unsigned place = next_byte(in), base = next_byte(in);

    return (ModelRun) {
        .pool = place % MODEL_POOLS,
        .object = objects[place / MODEL_POOLS % G_N_ELEMENTS(objects)],
        .index = bases[base % G_N_ELEMENTS(bases)] +
                 (base / G_N_ELEMENTS(bases) << 8 | next_byte(in)),
        .num = 1,
    };
}

/* Up to 256 pages, or up to 2048: as many as fill a block with LRU nodes. */
static ModelRun next_run(Input *in)
{
    static const uint64_t strides[] = { 1, 2, 3, 64, 255, 256, 4096, 1 << 24 };
    ModelRun run = next_page(in);
    unsigned how;

    run.num = next_byte(in) + 1;
    how = next_byte(in);
    run.stride = strides[how % G_N_ELEMENTS(strides)];
    run.num *= how < 128 ? 1 : 8;
    return run;
}

static void flush_range(Model *model, Input *in)
{
    static const uint8_t shifts[] = { 0, 2, 4, 6, 7, 8, 12, 16, 24, 40, 56 };
    ModelRun run = next_page(in);
    unsigned how = next_byte(in);
    uint64_t length = (uint64_t)next_byte(in) <<
                      shifts[how % G_N_ELEMENTS(shifts)];
    /* May wrap: then the range is none. */
    uint64_t last = how >= 224 ? UINT64_MAX : run.index + length;

    model_flush(model, run.pool, run.object, run.index, last);
}

static void change_size(Model *model, Input *in)
{
    uint64_t min_size = next_byte(in) * SIZE_STEP;
    uint64_t max_size = next_byte(in) * SIZE_STEP;

    model_set_size(model, min_size, max_size);
}

static void step(Model *model, Input *in)
{
    unsigned op = next_byte(in), arg;
    ModelRun run;

    /* Few: each fills or compares a store */
    if (op >= 13 * 19) {
        arg = next_byte(in);
        if (op < 13 * 19 + 6) {
            model_export(model, 1 << arg % 12);
        } else {
            model_export_end(model, op % 2);
        }
        return;
    }
    switch (op % 20) {
    case 0:
    case 1:
        run = next_run(in);
        model_put(model, &run, next_byte(in) % (2 * MODEL_KINDS));
        break;
    case 2:
        run = next_page(in);
        model_put(model, &run, next_byte(in) % MODEL_KINDS);
        break;
    case 3:
        run = next_run(in);
        model_get(model, &run);
        break;
    case 4:
        run = next_run(in);
        model_flush_run(model, &run);
        break;
    case 5:
        flush_range(model, in);
        break;
    case 6:
        arg = next_byte(in);
        model_pool_create(model, arg % MODEL_POOLS,
                          arg & 128 ? TMEM_POOL_EPHEMERAL : 0);
        break;
    case 7:
        arg = next_byte(in);
        if (arg < 240) {
            model_pool_destroy(model, arg % MODEL_POOLS);
        } else {
            model_pools_exhaust(model);
        }
        break;
    case 8:
        arg = next_byte(in);
        model_set_limit(model, arg / 4 * SIZE_STEP, arg % 4);
        break;
    case 9:
        change_size(model, in);
        break;
    case 10:
        model_maintain(model, next_byte(in));
        break;
    case 11:
        model_maintain_all(model);
        break;
    case 12:
        model_walk(model, next_byte(in) + 1);
        break;
    case 13:
        /* Rarely: it undoes all that was before. */
        if (next_byte(in) < 32) {
            model_reset(model);
        }
        break;
    case 14:
        model_inject(model, next_byte(in) % 64 + 1);
        break;
    case 15:
        arg = next_byte(in);
        model_clock += arg * (G_USEC_PER_SEC / 4);
        model_clock_tick = arg % 8 + 1;
        break;
    case 16:
        model_reserve(model, next_byte(in) + 1);
        break;
    case 17:
        model_unreserve(model, next_byte(in) + 1);
        break;
    case 19:
        arg = next_byte(in);
        if (arg < 16) {
            model_device_fail(model, arg / 2);
        } else if (arg < 64) {
            model_device_defer(model, arg & 1);
        } else {
            model_device_run(model, arg % 8);
        }
        break;
    case 18:
        run = next_run(in);
        model_put_reserved(model, &run, next_byte(in) % (2 * MODEL_KINDS));
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const TmemCompression kinds[] = {
        TMEM_COMPRESSION_LZ4, TMEM_COMPRESSION_LZ4, TMEM_COMPRESSION_ZSTD,
        TMEM_COMPRESSION_NONE,
    };
    Input in = { data, size };
    unsigned how = next_byte(&in), quota = next_byte(&in);
    TmemStoreConfig config = {
        .max_size = (16 + how / 16 * 2) * SIZE_STEP,
        .span = SPAN,
        .compression = kinds[how % 4],
        .level = how / 4 % 4,
        .pool_quota = quota < 128 ? 0 : (quota - 127) * 2,
        .checksum = quota & 32,
    };
    uint64_t device = 0;
    Model *model;

    if (quota >= 64 && quota < 128) {
        /* Not less: but the limit can be */
        config.max_size = TMEM_STORE_MIN_SPILL_LIMIT;
        config.span = config.max_size + SPAN;
        device = (8 + quota % 16) * TMEM_EXTENT_SIZE;
    }
    model_clock = G_USEC_PER_SEC;
    model_clock_tick = 1;
    model = model_new(&config, device);
    model_pool_create(model, 0, 0);
    model_pool_create(model, 1, TMEM_POOL_EPHEMERAL);
    while (in.left) {
        step(model, &in);
    }
    model_free(model);
    return 0;
}
