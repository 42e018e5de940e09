/*
 * Page store of the virtio-tmem device
 *
 * Holds pages named by (pool, object, index): compressed, packed, and bounded
 * by a limit that payload and overhead both count against. The store knows
 * nothing of virtio and nothing of QEMU's main loop: it needs GLib, lz4 and
 * zstd only, so that tests and benchmarks link it by itself.
 *
 * Threads: every function may be called from any thread, except that
 * tmem_store_free() must be the last call. No function waits for anything but
 * locks of the store, which are never held while a page is compressed or
 * decompressed, nor while memory of a guest is touched; with a device to spill
 * to (tmem-store-spill.h), functions that say so wait for that too.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef HW_VIRTIO_TMEM_STORE_H
#define HW_VIRTIO_TMEM_STORE_H

#include <stdbool.h>
#include <stdint.h>
#include <glib.h>

/* Bytes in each page that is put or got. */
#define TMEM_PAGE_SIZE 4096

/*
 * Most pools at one time. A guest needs one for each swap area and Linux has
 * at most 32 of these; twice that leaves room for pools of a crashed kernel.
 */
#define TMEM_MAX_POOLS 64

/* Least limit: 15 blocks of 64 KiB, so that a few size classes can coexist. */
#define TMEM_STORE_MIN_LIMIT (1024 * 1024)

/* Least limit with huge pages: a block of 2 MiB for each of 60 size classes. */
#define TMEM_STORE_MIN_HUGE_LIMIT (1024 * 1024 * 1024)

typedef struct TmemStore TmemStore;

typedef enum TmemCompression {
    TMEM_COMPRESSION_LZ4,
    TMEM_COMPRESSION_ZSTD,
    TMEM_COMPRESSION_NONE,    /* but same-filled pages are still one word */
} TmemCompression;

/* Levels of zstd, as its manual has them. 0 stands for the default, 1. */
#define TMEM_ZSTD_LEVEL_MAX 19

typedef struct TmemStoreConfig {
    uint64_t max_size;      /* bytes the store may take at most */
    uint64_t min_size;      /* bytes it may take under any pressure, <= max */
    uint64_t span;          /* how far max_size can be raised later */
    TmemCompression compression;
    int level;              /* of zstd; 0 for the default */
    uint64_t pool_quota;    /* most pages of each pool; 0: no quota */
    bool lock_memory;       /* pages stay in RAM: the host never swaps them */
    bool hugepages;         /* take memory from the host in huge pages */
    bool checksum;          /* notice when what is kept has changed */
} TmemStoreConfig;

/* Why the limit is what it is. */
typedef enum TmemLimitCause {
    TMEM_LIMIT_MAX,         /* the host is calm: max_size */
    TMEM_LIMIT_PRESSURE,    /* falling: the host is short of memory */
    TMEM_LIMIT_HOLD,        /* was falling, the pressure is not over yet */
    TMEM_LIMIT_GROWING,     /* calm for a while: on the way to max_size */
    TMEM_LIMIT_MIN,         /* under pressure, but at min_size */
} TmemLimitCause;

/*
 * Latency of puts and gets: bucket i counts those that took less than 2^(i + 8)
 * ns, and not less than half of that; the last one counts all that took longer.
 */
#define TMEM_HISTOGRAM_BUCKETS 20

/* One call in so many is timed: a clock costs some 3 % of a get. */
#define TMEM_HISTOGRAM_SAMPLE 16

/*
 * What is done when the store takes more than its limit, in this order:
 * tmem-store-maintain.c has the table.
 */
typedef enum TmemMeasure {
    TMEM_MEASURE_REFUSE,     /* new pages */
    TMEM_MEASURE_DROP,       /* ephemeral pages */
    TMEM_MEASURE_COMPACT,    /* what is left in sparse blocks */
    TMEM_MEASURE_RECOMPRESS, /* cold pages */
    TMEM_MEASURE_SPILL,      /* cold pages, if there is a device for that */
    TMEM_MEASURE_TARGET,     /* else: the guest is asked to hold less */
    TMEM_NUM_MEASURES,
} TmemMeasure;

/* How the device is that the store spills to. */
typedef enum TmemSpillState {
    TMEM_SPILL_NONE,         /* there is none */
    TMEM_SPILL_ACTIVE,
    TMEM_SPILL_FULL,
    TMEM_SPILL_FAILED,       /* does not write, or not in time: tried later */
} TmemSpillState;

typedef struct TmemSpillStats {
    TmemSpillState state;
    uint64_t size;           /* bytes of the device that can be used */
    uint64_t bytes_free;     /* of these */
    uint64_t pages;          /* that are there; they count as held */
    uint64_t bytes_stored;   /* of these, without overhead */
    uint64_t writes;         /* that succeeded */
    uint64_t bytes_written;
    uint64_t reads;
    uint64_t bytes_read;
    uint64_t read_hits;      /* pages that came with one read before */
    uint64_t write_errors;
    uint64_t read_errors;    /* of a page by itself */
    uint64_t bad_pages;      /* that were not what had been written */
    uint64_t cleaned;        /* pages moved to free an extent */
    uint64_t discarded;      /* extents */
    uint64_t full;           /* how often the device became full */
    bool exhausted;          /* no page is left in memory that can leave it */
} TmemSpillStats;

/*
 * Sizes, and counters since tmem_store_new(), also over resets. Threads that
 * put, get or flush meanwhile may be in some of the numbers and not in others.
 */
typedef struct TmemStoreStats {
    uint64_t max_size;
    uint64_t min_size;
    uint64_t limit;          /* bytes the store may take now */
    TmemLimitCause cause;
    uint64_t bytes_used;     /* bytes it takes: payload and overhead */
    uint64_t bytes_stored;   /* payload: what the pages were compressed to */
    uint64_t bytes_metadata; /* index, tables */
    uint64_t bytes_reclaimable; /* free in blocks, compaction could free them */
    uint64_t pages;          /* pages held */
    uint64_t same_filled;    /* of these: one 8-byte word, repeated */
    uint64_t raw;            /* of these: kept uncompressed */
    uint64_t zstd;           /* of these: compressed by zstd */
    uint64_t ephemeral;      /* of these: in ephemeral pools */
    uint64_t reserved;       /* puts promised, see tmem_store_reserve() */
    uint64_t puts;           /* pages accepted */
    uint64_t rejected_puts;  /* pages refused for want of room */
    uint64_t gets;           /* pages found */
    uint64_t misses;         /* gets of a page that is not there */
    uint64_t flushes;        /* pages removed by flush or pool destroy */
    uint64_t evicted;        /* ephemeral pages dropped for want of room */
    uint64_t recompressed;   /* pages that zstd has made smaller */
    uint64_t moved;          /* pages moved by compaction */
    uint64_t lost;           /* pages whose bytes had changed in memory */
    uint64_t given[TMEM_NUM_MEASURES]; /* bytes that each gave back */
    TmemSpillStats spill;
    uint64_t put_histogram[TMEM_HISTOGRAM_BUCKETS];
    uint64_t get_histogram[TMEM_HISTOGRAM_BUCKETS];
} TmemStoreStats;

typedef struct TmemPoolStats {
    uint32_t id;
    bool ephemeral;
    uint64_t pages;
    uint64_t bytes_stored;
} TmemPoolStats;

/* Flags of a pool. */
#define TMEM_POOL_EPHEMERAL 1   /* the store may drop pages to make room */

/**
 * tmem_store_new: make an empty store
 * @errp: set when NULL is returned: what is wrong with @config, or what could
 *        not be had, in one sentence
 *
 * Address space is reserved here, memory is taken as pages come, and no later
 * call fails for want of address space.
 */
TmemStore *tmem_store_new(const TmemStoreConfig *config, GError **errp);

/* As long as there are checksums: the page of this key is lost. */
typedef void TmemStoreLostFn(void *opaque, uint32_t pool, uint64_t object,
                             uint64_t index);

/**
 * tmem_store_set_lost: who to tell when a page was found to have changed
 *
 * Called with a lock of the store held, from any thread: it may schedule
 * something, and may not call the store. Before anything else is done with it.
 */
void tmem_store_set_lost(TmemStore *store, TmemStoreLostFn *lost, void *opaque);

/**
 * tmem_store_free: release the store and all that it holds (NULL is allowed)
 */
void tmem_store_free(TmemStore *store);

/**
 * tmem_store_capacity: pages that fit under max_size if none compresses
 *
 * For one pool with dense indexes; sparse ones take more room for the index.
 */
uint64_t tmem_store_capacity(TmemStore *store);

/**
 * tmem_store_set_size: change max_size and min_size
 *
 * The limit follows at once where it has to. What is held over a limit that
 * became lower stays until it is flushed, or maintenance makes it smaller.
 *
 * Returns: false with @errp set when they are not possible; nothing changes.
 */
bool tmem_store_set_size(TmemStore *store, uint64_t min_size,
                         uint64_t max_size, GError **errp);

/**
 * tmem_store_set_limit: change the limit, between min_size and max_size
 */
void tmem_store_set_limit(TmemStore *store, uint64_t limit,
                          TmemLimitCause cause);

/**
 * tmem_store_pool_create: make an empty pool
 * @flags: 0 for a persistent pool, or %TMEM_POOL_EPHEMERAL
 * @pool: set to its id, which is not used again before the pool is destroyed
 *
 * Returns: 0, or -ENOSPC when there are %TMEM_MAX_POOLS already.
 */
int tmem_store_pool_create(TmemStore *store, unsigned flags, uint32_t *pool);

/**
 * tmem_store_pool_destroy: drop a pool with all its pages
 *
 * Returns: number of pages dropped, or -EINVAL when there is no such pool.
 */
int64_t tmem_store_pool_destroy(TmemStore *store, uint32_t pool);

/*
 * Pages that a portion of a flush drops, and up to 63 more: about a
 * millisecond, or five if the host's caches have none of them.
 */
#ifndef TMEM_FLUSH_PORTION
#define TMEM_FLUSH_PORTION 1024
#endif

/* How far it is: all zero at its beginning, then the store's to write. */
typedef struct TmemFlush {
    uint64_t pages;          /* dropped so far */
    bool begun;
    unsigned shard;
} TmemFlush;

/**
 * tmem_store_pool_destroy_some: drop a portion of a pool
 *
 * In between, a part of the pool is as if it had been destroyed, the rest as if
 * not. Puts to the rest are dropped, too. Who does not go on calls
 * tmem_store_pool_keep().
 *
 * Returns: 0 when it is done, -EINPROGRESS when there is more, or -EINVAL when
 * there was no such pool to begin with.
 */
int tmem_store_pool_destroy_some(TmemStore *store, uint32_t pool,
                                 TmemFlush *flush);

/**
 * tmem_store_pool_keep: after portions of it were dropped, the pool is to stay
 *
 * With the pages that it still has. A migration sends all pages anew. Nothing
 * happens if there is no such pool.
 */
void tmem_store_pool_keep(TmemStore *store, uint32_t pool);

/**
 * tmem_store_pool_exists: whether @pool is the id of a pool now
 */
bool tmem_store_pool_exists(TmemStore *store, uint32_t pool);

/**
 * tmem_store_put: store a page, replacing what the key had
 * @page: %TMEM_PAGE_SIZE bytes. May be written by someone else meanwhile (a
 *        guest owns it): the store then holds some mix, never bad metadata.
 *
 * Returns: 0; -ENOSPC when there is no room or the pool's quota is reached, and
 * then the key is absent, never an old copy; -EINVAL when there is no such
 * pool.
 */
int tmem_store_put(TmemStore *store, uint32_t pool, uint64_t object,
                   uint64_t index, const void *page);

/**
 * tmem_store_reserve: promise that up to @puts more puts will not fail
 *
 * The memory that they can need at most counts as used from now on. A reset
 * takes promises back.
 *
 * Returns: how many are promised; 0 when there is no room.
 */
unsigned tmem_store_reserve(TmemStore *store, unsigned puts);

/**
 * tmem_store_unreserve: give back @puts promises that were not used
 */
void tmem_store_unreserve(TmemStore *store, unsigned puts);

/**
 * tmem_store_put_reserved: as tmem_store_put(), using up a promise
 *
 * There must be one. A quota of the pool does not count.
 *
 * Returns: 0; -EINVAL when there is no such pool.
 */
int tmem_store_put_reserved(TmemStore *store, uint32_t pool, uint64_t object,
                            uint64_t index, const void *page);

/**
 * tmem_store_get: copy a page out; it stays in the store
 * @page: %TMEM_PAGE_SIZE bytes, written only when 0 or -EIO is returned
 *
 * Waits for the device that the store spills to when the page is there:
 * tmem_store_get_async() does not.
 *
 * Returns: 0; -ENOENT when the key is absent; -EIO when what is stored does
 * not decompress to a page (memory corruption), is not what was stored (if
 * there are checksums) or cannot be had from the device; -EINVAL for no such
 * pool.
 */
int tmem_store_get(TmemStore *store, uint32_t pool, uint64_t object,
                   uint64_t index, void *page);

/**
 * tmem_store_flush: drop the pages of an object from @first to @last inclusive
 *
 * Costs what it frees, not the size of the range.
 *
 * Returns: number of pages dropped, or -EINVAL when there is no such pool or
 * @first > @last.
 */
int64_t tmem_store_flush(TmemStore *store, uint32_t pool, uint64_t object,
                         uint64_t first, uint64_t last);

/**
 * tmem_store_flush_some: drop a portion of these pages
 * @max: of them to drop now, at least one, or up to 63 more
 *
 * What is put meanwhile may be dropped or not. When it is done, @flush can be
 * used for other ranges, and goes on counting.
 *
 * Returns: 0 when it is done, -EINPROGRESS when there may be more, or -EINVAL
 * as tmem_store_flush().
 */
int tmem_store_flush_some(TmemStore *store, uint32_t pool, uint64_t object,
                          uint64_t first, uint64_t last, unsigned max,
                          TmemFlush *flush);

/**
 * tmem_store_reset: drop all pools, and give all memory back to the host
 */
void tmem_store_reset(TmemStore *store);

/**
 * tmem_store_bounce: a page of memory of the calling thread, for what does not
 * lie in one piece; in no core dump. Puts and gets of pages do not use it.
 */
void *tmem_store_bounce(void);

/* A page that tmem_store_walk() has found. */
typedef struct TmemWalkPage {
    uint32_t pool;
    uint64_t object;
    uint64_t index;
    uint8_t page[TMEM_PAGE_SIZE];
} TmemWalkPage;

/* Where a walk is. All zero at its beginning; the rest is the store's. */
typedef struct TmemWalk {
    uint32_t shard;
    uint32_t slot;
    uint64_t object;
    uint64_t key;
} TmemWalk;

/**
 * tmem_store_walk: find the next page, while others put, get and flush
 *
 * A page that is there from the beginning of the walk to its end is found
 * once. A page that came or went meanwhile may be found or not. No order. Waits
 * for the device that the store spills to, as tmem_store_get() does.
 *
 * Returns: 1 when @page was filled in; 0 at the end; -EIO as tmem_store_get().
 */
int tmem_store_walk(TmemStore *store, TmemWalk *walk, TmemWalkPage *page);

/**
 * tmem_store_maintain: do a portion of the work that nobody waits for
 * @usec: time that it may take, about
 *
 * While the store takes more than its limit: drops ephemeral pages, compacts,
 * recompresses cold pages. Otherwise: compacts what has become sparse, and
 * notes which pages are cold. To be called by one thread at a time.
 *
 * Returns: whether there is more of it to do.
 */
bool tmem_store_maintain(TmemStore *store, int64_t usec);

/**
 * tmem_store_over_limit: whether the store takes more than it may now
 */
bool tmem_store_over_limit(TmemStore *store);

/**
 * tmem_measure_name: of a measure, as documentation and monitors have it
 */
const char *tmem_measure_name(TmemMeasure measure);

/**
 * tmem_store_ask: the guest is being asked to hold less, or not any more
 *
 * What it flushes meanwhile counts as given back by that.
 */
void tmem_store_ask(TmemStore *store, bool asking);

/**
 * tmem_store_get_stats: sizes and counters
 */
void tmem_store_get_stats(TmemStore *store, TmemStoreStats *stats);

/**
 * tmem_store_get_pools: numbers of each pool
 * @pools: room for %TMEM_MAX_POOLS entries
 *
 * Returns: how many of them were filled in, in ascending order of id.
 */
unsigned tmem_store_get_pools(TmemStore *store, TmemPoolStats *pools);

#endif
