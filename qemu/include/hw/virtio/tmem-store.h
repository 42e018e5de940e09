/*
 * Page store of the virtio-tmem device
 *
 * Holds pages named by (pool, object, index): compressed, packed, and bounded
 * by a limit that payload and overhead both count against. The store knows
 * nothing of virtio and nothing of QEMU's main loop: it needs GLib and lz4
 * only, so that tests and benchmarks link it by itself.
 *
 * Threads: every function may be called from any thread, except that
 * tmem_store_free() must be the last call. No function waits for anything but
 * the store's own lock.
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

typedef struct TmemStore TmemStore;

/* Counters and sizes; counters run from tmem_store_new(), also over resets. */
typedef struct TmemStoreStats {
    uint64_t limit;          /* bytes the store may take now */
    uint64_t bytes_used;     /* bytes it takes: payload and overhead */
    uint64_t bytes_stored;   /* payload: what the pages were compressed to */
    uint64_t pages;          /* pages held */
    uint64_t same_filled;    /* of these: one 8-byte word, repeated */
    uint64_t raw;            /* of these: kept uncompressed */
    uint64_t puts;           /* pages accepted */
    uint64_t rejected_puts;  /* pages refused for want of room */
    uint64_t gets;           /* pages found */
    uint64_t misses;         /* gets of a page that is not there */
    uint64_t flushes;        /* pages removed by flush or pool destroy */
} TmemStoreStats;

typedef struct TmemPoolStats {
    uint32_t id;
    uint64_t pages;
    uint64_t bytes_stored;
} TmemPoolStats;

/**
 * tmem_store_new: make an empty store
 * @limit: bytes that the store may take, %TMEM_STORE_MIN_LIMIT or more
 * @errp: set when NULL is returned: what could not be had, in one sentence
 *
 * Address space for @limit bytes is reserved here, memory is taken as pages
 * come, and no later call fails for want of address space.
 */
TmemStore *tmem_store_new(uint64_t limit, GError **errp);

/**
 * tmem_store_free: release the store and all that it holds (NULL is allowed)
 */
void tmem_store_free(TmemStore *store);

/**
 * tmem_store_capacity: pages that fit under the limit if none compresses
 *
 * For one pool with dense indexes; sparse ones take more room for the index.
 */
uint64_t tmem_store_capacity(TmemStore *store);

/**
 * tmem_store_pool_create: make an empty persistent pool
 * @pool: set to its id, which is not used again before the pool is destroyed
 *
 * Returns: 0, or -ENOSPC when there are %TMEM_MAX_POOLS already or no room.
 */
int tmem_store_pool_create(TmemStore *store, uint32_t *pool);

/**
 * tmem_store_pool_destroy: drop a pool with all its pages
 *
 * Returns: number of pages dropped, or -EINVAL when there is no such pool.
 */
int64_t tmem_store_pool_destroy(TmemStore *store, uint32_t pool);

/**
 * tmem_store_pool_exists: whether @pool is the id of a pool now
 */
bool tmem_store_pool_exists(TmemStore *store, uint32_t pool);

/**
 * tmem_store_put: store a page, replacing what the key had
 * @page: %TMEM_PAGE_SIZE bytes. May be written by someone else meanwhile (a
 *        guest owns it): the store then holds some mix, never bad metadata.
 *
 * Returns: 0; -ENOSPC when there is no room, and then the key is absent, never
 * an old copy; -EINVAL when there is no such pool.
 */
int tmem_store_put(TmemStore *store, uint32_t pool, uint64_t object,
                   uint64_t index, const void *page);

/**
 * tmem_store_get: copy a page out; it stays in the store
 * @page: %TMEM_PAGE_SIZE bytes, written only when 0 or -EIO is returned
 *
 * Returns: 0; -ENOENT when the key is absent; -EIO when what is stored does
 * not decompress to a page (memory corruption); -EINVAL for no such pool.
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
 * tmem_store_reset: drop all pools, and give all memory back to the host
 */
void tmem_store_reset(TmemStore *store);

/**
 * tmem_store_get_stats: a consistent copy of the counters
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
