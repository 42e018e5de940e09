/*
 * Spill of the virtio-tmem page store: cold pages on a block device
 *
 * What the store wants of such a device, and what its users call to get pages
 * that are there. The store never trusts the device: what does not come back
 * as it was written is an I/O error for that page alone.
 *
 * A reader that can wait calls tmem_store_get(), or tmem_store_walk(), as for
 * any other page: a thread that migrates the store, for example. Both call
 * read_now(), and so with no lock held that the device needs to get on.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef HW_VIRTIO_TMEM_STORE_SPILL_H
#define HW_VIRTIO_TMEM_STORE_SPILL_H

#include "hw/virtio/tmem-store.h"

/*
 * Unit in which space is taken and written: one write each, and what is not
 * filled is written too. Large enough for disks and network block devices to
 * be at their best, small enough for three buffers to be small change.
 */
#define TMEM_EXTENT_SIZE (256 * 1024)

/* Unit of reads: a page's neighbours come with it, some 45 of them. */
#define TMEM_CHUNK_SIZE (64 * 1024)

/* Least max_size of a store that spills: the buffers are an eighth of it. */
#define TMEM_STORE_MIN_SPILL_LIMIT (16 * 1024 * 1024)

/* A request is over. @ret: 0 or -errno; short reads are errors. */
typedef void TmemSpillDoneFn(void *opaque, int ret);

typedef enum TmemSpillOp {
    TMEM_SPILL_READ,
    TMEM_SPILL_WRITE,
} TmemSpillOp;

/*
 * The device. The store calls these from any thread, with none of its locks
 * held. Each request but the last two calls @done once, from any thread, maybe
 * before it returns.
 */
typedef struct TmemSpillOps {
    void (*read)(void *dev, uint64_t offset, void *buf, size_t len,
                 TmemSpillDoneFn *done, void *opaque);
    void (*write)(void *dev, uint64_t offset, const void *buf, size_t len,
                  TmemSpillDoneFn *done, void *opaque);
    /* What it had there is not needed any more; errors are ignored. */
    void (*discard)(void *dev, uint64_t offset, uint64_t len,
                    TmemSpillDoneFn *done, void *opaque);
    /* Read, and wait for the end of it. Returns 0 or -errno. */
    int (*read_now)(void *dev, uint64_t offset, void *buf, size_t len);
    /* A read has failed (@err > 0), or the first write after a good one. */
    void (*failed)(void *dev, TmemSpillOp op, int err);
    /*
     * Whether it begins no writes now, of its own accord: that they take long
     * is not its fault. NULL: it never does.
     */
    bool (*held)(void *dev);
} TmemSpillOps;

/**
 * tmem_store_set_spill: give the store a device to spill to
 * @size: bytes of the device; no more than 64 times max_size is used
 *
 * Once, before anything else is done with the store. Nothing that is on the
 * device matters, and nothing that the store writes outlives the store.
 *
 * Returns: false with @errp set when store or device are too small, or memory
 * for the buffers cannot be had.
 */
bool tmem_store_set_spill(TmemStore *store, const TmemSpillOps *ops, void *dev,
                          uint64_t size, GError **errp);

/* Maintenance that had to wait for the device can go on. From any thread. */
typedef void TmemStoreWakeFn(void *opaque);

/**
 * tmem_store_set_wake: who to tell when tmem_store_maintain() has more to do
 */
void tmem_store_set_wake(TmemStore *store, TmemStoreWakeFn *wake, void *opaque);

typedef struct TmemChunk TmemChunk;
typedef struct TmemFetch TmemFetch;

/*
 * One page at a time on its way from the device. All zero but for @done at the
 * beginning; the rest is the store's.
 */
struct TmemFetch {
    /*
     * Try again. Called with a lock of the store held, from any thread: it may
     * schedule something, and may not call the store.
     */
    void (*done)(TmemFetch *fetch);
    TmemChunk *chunk;       /* that it has, or waits for */
    TmemFetch *next;        /* that waits too */
    bool waiting;
    bool begun;             /* there may be something to be ended */
};

/**
 * tmem_store_get_async: as tmem_store_get(), without waiting for the device
 *
 * Returns: also -EINPROGRESS: call this again with the same arguments when
 * fetch->done() was called (earlier does no harm), or tmem_store_end_fetch().
 */
int tmem_store_get_async(TmemStore *store, uint32_t pool, uint64_t object,
                         uint64_t index, void *page, TmemFetch *fetch);

/**
 * tmem_store_end_fetch: do not wait for the page any more
 *
 * fetch->done() is not called after this. Nothing to end is fine.
 */
void tmem_store_end_fetch(TmemStore *store, TmemFetch *fetch);

#endif
