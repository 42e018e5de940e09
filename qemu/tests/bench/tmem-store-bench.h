/*
 * Parts of the benchmark of virtio-tmem's page store
 *
 * The store as the benchmark uses it, and the timing of its operations.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TESTS_BENCH_TMEM_STORE_BENCH_H
#define TESTS_BENCH_TMEM_STORE_BENCH_H

#include <sched.h>
#include <lz4.h>
#include "hw/virtio/tmem-store.h"
#include "tmem-store-corpus.h"

#define CLUSTER 256         /* keys that go to one thread, as in a guest */
#define SEGMENT 1024        /* keys that are timed at once */
#define MAX_THREADS 4

/*
 * The store, as this program uses it: nothing else here calls it,
 * but for tmem_store_free().
 */

static inline TmemStore *store_new(uint64_t limit)
{
    GError *err = NULL;
    TmemStoreConfig config = { .max_size = limit };
    TmemStore *store = tmem_store_new(&config, &err);

    if (!store) {
        g_printerr("%s\n", err->message);
        exit(1);
    }
    return store;
}

static inline uint32_t store_pool(TmemStore *store)
{
    uint32_t pool;

    if (tmem_store_pool_create(store, 0, &pool) < 0) {
        g_printerr("the store has no room for a pool\n");
        exit(1);
    }
    return pool;
}

static inline bool store_put(TmemStore *store, uint32_t pool, uint64_t object,
                             uint64_t index, const void *page)
{
    return tmem_store_put(store, pool, object, index, page) == 0;
}

static inline bool store_get(TmemStore *store, uint32_t pool, uint64_t object,
                             uint64_t index, void *page)
{
    return tmem_store_get(store, pool, object, index, page) == 0;
}

static inline uint64_t store_flush(TmemStore *store, uint32_t pool,
                                   uint64_t object, uint64_t first,
                                   uint64_t last)
{
    return tmem_store_flush(store, pool, object, first, last);
}

static inline int64_t store_destroy_pool(TmemStore *store, uint32_t pool)
{
    return tmem_store_pool_destroy(store, pool);
}

/* Room for @pages pages that do not compress, and for the overhead. */
static inline uint64_t store_limit(uint64_t pages)
{
    return pages * TMEM_PAGE_SIZE * 5 / 4 + 16 * 1024 * 1024;
}

typedef struct Space {
    uint64_t pages;
    uint64_t payload;       /* bytes that the pages were compressed to */
    uint64_t used;          /* bytes that the store says it takes */
    uint64_t rss;           /* bytes that the process grew by */
} Space;

static inline void store_space(TmemStore *store, Space *space)
{
    TmemStoreStats stats;

    tmem_store_get_stats(store, &stats);
    space->pages = stats.pages;
    space->payload = stats.bytes_stored;
    space->used = stats.bytes_used;
}

/* Let the store tidy up for that long, as its background work would. */
static inline void maintain(TmemStore *store, double seconds)
{
    int64_t end = g_get_monotonic_time() + seconds * G_USEC_PER_SEC;

    do {
        if (!tmem_store_maintain(store, 10000)) {
            g_usleep(1000);
        }
    } while (g_get_monotonic_time() < end);
}

typedef enum Op {
    OP_COPY,
    OP_SCAN,
    OP_PACK_NEW,
    OP_PUT_NEW,
    OP_PACK,
    OP_PUT,
    OP_UNPACK,
    OP_GET,
    OP_UNPACK_RANDOM,
    OP_GET_RANDOM,
    OP_FLUSH_RANGE,
    OP_FLUSH_ONE,
    OP_DESTROY,
    NUM_OPS
} Op;

typedef struct OpInfo {
    const char *name;       /* in the JSON file */
    const char *what;       /* in the table */
} OpInfo;

extern const OpInfo op_info[NUM_OPS];

/* Where bare lz4 put a page: the offset is in its cluster's memory. */
typedef struct Packed {
    uint32_t offset;
    uint32_t len;
} Packed;

/* Times of one operation, in ns for each page; 0 where there is none. */
typedef struct Series {
    double *best;           /* by segment */
    double *round;          /* by round: the mean */
    double sum;             /* of this round so far */
    unsigned num;
} Series;

/* For each operation: with one or many threads, disturbed or not. */
#define NUM_SERIES (NUM_OPS * 2 * 2)

typedef struct Bench Bench;

typedef struct Worker {
    Bench *bench;
    GThread *thread;        /* NULL for worker 0, which is the main thread */
    unsigned num;
    double ns;              /* what its share of the last segment took */
    long preempted;         /* how often it lost its processor meanwhile */
    uint64_t failed;        /* pages refused, absent, or of unknown number */
    LZ4_stream_t lz4;
    char out[LZ4_COMPRESSBOUND(TMEM_PAGE_SIZE)];
} Worker;

struct Bench {
    const Corpus *corpus;
    size_t pages;           /* keys, a multiple of SEGMENT */
    unsigned segments;
    unsigned rounds;
    unsigned max_threads;
    uint32_t *order;        /* all keys in random order */
    char *packed;           /* room for each cluster's pages, raw */
    Packed *packed_at;
    char *dest;             /* SEGMENT pages, where gets and copies go */

    TmemStore *store;
    uint32_t pool;
    size_t replaced;        /* keys before this one have their second page */
    uint64_t verified;
    uint64_t wrong;
    uint64_t samples;       /* segments that were timed */
    uint64_t quiet;         /* of these: nothing else got in the way */

    /* One segment's work; workers read it until done. */
    Op op;
    size_t first;
    unsigned threads;
    cpu_set_t allowed;      /* processors that this program may use */
    GMutex lock;            /* protects job */
    GCond cond;
    unsigned job;           /* counts up; 0 ends the workers */
    int ready;              /* atomic: workers about to start */
    int done;               /* atomic: workers that finished */
    Worker worker[MAX_THREADS];

    Series series[NUM_SERIES];
};

/**
 * timing_start: get ready to time @bench->corpus; needs all the fields of
 * @bench that stand before the store
 */
void timing_start(Bench *bench);

/**
 * timing_round: fill a pool, replace, get and flush its pages, and time it all
 */
void timing_round(Bench *bench, unsigned round);

/**
 * timing_end: stop the threads; the figures stay until timing_forget()
 */
void timing_end(Bench *bench);

void timing_forget(Bench *bench);

/**
 * timing_best, timing_median: ns for each page with one or with @many threads
 *
 * Best: the mean, over the segments, of each one's fastest round. Median: of
 * the rounds. 0: not timed. From undisturbed samples only, if there are any.
 */
double timing_best(const Bench *bench, Op op, bool many);
double timing_median(const Bench *bench, Op op, bool many);

/**
 * timing_is_quiet: whether those two come from undisturbed samples
 */
bool timing_is_quiet(const Bench *bench, Op op, bool many);

/* The page that belongs to a key now. */
const char *source_page(const Bench *bench, size_t key);

/* Spoil @page, so that a get which does not write it is found out. */
void poison_page(char *page);

#endif
