/*
 * Spill of the virtio-tmem page store: what its files share
 *
 *   tmem-store-spill.c        space: extents, what is written, what is free
 *   tmem-store-spill-read.c   reads, and a cache of what was read
 *   tmem-store-spill-pass.c   maintenance: which pages leave, cleaning
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef HW_VIRTIO_TMEM_STORE_SPILL_INTERNAL_H
#define HW_VIRTIO_TMEM_STORE_SPILL_INTERNAL_H

/*
 *   device  | extent | extent | extent | ...
 *   extent  | chunk  | chunk  | chunk  | chunk  |
 *   chunk   | page page page ... page |    no page crosses the end of a chunk
 *
 * A page that has left is an entry of kind ENTRY_SPILLED: its handle is that of
 * a TmemSpillRecord, in the arena, which says where the page is. Nothing on the
 * device says what it is: what cannot be believed need not be written.
 *
 * An extent is written once, from a batch, and then only loses pages. With the
 * last one it is discarded and free. Cleaning moves the pages of extents that
 * have few to others, by a walk over the index, as compaction does in memory.
 *
 * A page whose bytes are in a batch stays in memory until the batch is written.
 * Its entry is marked with the number of the batch, and whoever replaces or
 * drops the entry takes off the mark.
 *
 * The lock of the spill comes after those of shards; none other is taken with
 * it held. It protects all of TmemSpill that is not said to be otherwise.
 */

#include "hw/virtio/tmem-store-spill.h"
#include "tmem-store-internal.h"

#define TMEM_CHUNKS (TMEM_EXTENT_SIZE / TMEM_CHUNK_SIZE)

/* Extents on their way to the device; the marks of entries have 2 bits. */
#define TMEM_SPILL_BATCHES 3

/* Chunks that were read and may be wanted again. */
#define TMEM_SPILL_CHUNKS 12

/* Pages of an extent, at most: bounds the tables of batches. */
#define TMEM_EXTENT_PAGES 1024

/* Smaller ones are no burden: their record is as large as a quarter of this. */
#define TMEM_SPILL_MIN_LEN 64

#define TMEM_NO_EXTENT UINT32_MAX

typedef enum TmemExtentState {
    TMEM_EXTENT_FREE,
    TMEM_EXTENT_WRITING,    /* has a batch */
    TMEM_EXTENT_LIVE,       /* has pages */
    TMEM_EXTENT_DEAD,       /* had pages: to be discarded */
    TMEM_EXTENT_DISCARDING,
} TmemExtentState;

typedef struct TmemExtent {
    uint64_t generation;    /* of what is or was written to it last */
    uint32_t pages;         /* that entries refer to */
    uint32_t bytes;         /* of these */
    uint32_t next;          /* on the list of free, or of dead extents */
    uint8_t state;          /* TmemExtentState */
    bool victim;            /* its pages are to be moved elsewhere */
    bool stuck;             /* a page of it could not be moved */
} TmemExtent;

/* In the arena, one for each page on the device. */
typedef struct TmemSpillRecord {
    uint32_t extent;
    uint32_t offset;        /* in the extent */
    uint32_t checksum;
    uint32_t kind;          /* TmemKind */
} TmemSpillRecord;

/* Where a page is, and what it must be. */
typedef struct TmemSpillPlace {
    uint64_t generation;
    TmemSpillRecord record;
    uint32_t len;
} TmemSpillPlace;

/* A page in a batch. */
typedef struct TmemSpillItem {
    TmemKey key;
    uint32_t offset;
    uint32_t checksum;
    uint16_t len;
    uint8_t kind;
} TmemSpillItem;

typedef enum TmemBatchState {
    TMEM_BATCH_EMPTY,
    TMEM_BATCH_FILLING,
    TMEM_BATCH_WRITING,
    TMEM_BATCH_WRITTEN,
} TmemBatchState;

/* Maintenance's own, but for state and ret while it is being written. */
typedef struct TmemSpillBatch {
    TmemStore *store;
    unsigned number;        /* in the marks of entries, from 1 */
    TmemBatchState state;
    int ret;
    uint32_t extent;
    uint64_t generation;
    uint32_t fill;          /* bytes of the extent in use */
    uint32_t bytes;         /* of pages that leave memory with it */
    unsigned num_items;
    TmemSpillItem *items;
    char *buf;              /* TMEM_EXTENT_SIZE bytes */
} TmemSpillBatch;

typedef enum TmemChunkState {
    TMEM_CHUNK_EMPTY,
    TMEM_CHUNK_READING,
    TMEM_CHUNK_READY,
    TMEM_CHUNK_FAILED,
} TmemChunkState;

/* Bytes of an extent that were read, or are being read. */
struct TmemChunk {
    TmemStore *store;
    TmemChunkState state;
    uint64_t generation;    /* of the extent */
    uint32_t extent;
    uint32_t offset;
    uint32_t len;
    unsigned refs;          /* fetches, readers, and the read itself */
    uint64_t used;          /* stamp of the last use */
    bool single;            /* one page's, not of the cache: goes with refs */
    TmemFetch *waiters;
    char *buf;
};

struct TmemSpill {
    const TmemSpillOps *ops;
    void *dev;
    uint64_t overhead;      /* bytes that all of this takes; constant */
    char *memory;           /* buffers of batches and of the cache */
    TmemStoreWakeFn *wake;
    void *wake_opaque;

    GMutex lock;
    TmemExtent *extents;
    uint32_t num_extents;
    uint32_t num_touched;   /* extents from here on: never used */
    uint32_t num_free;      /* with those */
    uint32_t num_dead;
    uint32_t free_list;
    uint32_t dead_list;
    unsigned discarding;    /* requests */
    uint64_t generation;    /* the last one that was used */
    uint32_t victims;       /* extents that are */
    TmemChunk chunks[TMEM_SPILL_CHUNKS];
    uint64_t stamp;
    TmemSpillStats stats;

    /* Maintenance's own. */
    TmemSpillBatch batches[TMEM_SPILL_BATCHES];
    TmemFetch fetch;        /* of cleaning */
    bool wanted;            /* memory is short, or was a short while ago */
    unsigned age;           /* of pages that leave in this pass, at least */
    int64_t next_pass;      /* time, us */
    int64_t next_clean;
    int64_t retry;          /* time of the next write after one that failed */
    uint32_t clean_cursor;
};

/* What a pass came to. */
typedef enum TmemStep {
    TMEM_STEP_MORE,
    TMEM_STEP_END,          /* of the shard */
    TMEM_STEP_WAIT,         /* for the device, which calls wake() */
    TMEM_STEP_STOP,         /* of the pass: there is no space */
} TmemStep;

/* tmem-store-spill.c */

void tmem_spill_free(TmemSpill *spill);

/**
 * tmem_spill_place: where the page of an entry is. The shard is locked.
 */
TmemSpillPlace tmem_spill_place(TmemStore *store, uint64_t entry);

/**
 * tmem_spill_drop: the entry goes. The shard is locked.
 */
void tmem_spill_drop(TmemStore *store, uint64_t entry);

/**
 * tmem_spill_reset: all entries have gone. All shards are locked.
 */
void tmem_spill_reset(TmemStore *store);

/**
 * tmem_spill_batch: the batch that is being filled, or a new one
 * @clean: it may have the last free extents
 * @step: set when NULL is returned: wait, or stop
 */
TmemSpillBatch *tmem_spill_batch(TmemSpill *spill, bool clean, int64_t now,
                                 TmemStep *step);

/**
 * tmem_spill_add: copy a page to a batch
 *
 * Returns: its item, not counted yet; NULL: the batch is full.
 */
TmemSpillItem *tmem_spill_add(TmemSpillBatch *batch, const void *data,
                              uint32_t len);

/**
 * tmem_spill_commit: the item counts
 */
void tmem_spill_commit(TmemSpillBatch *batch, TmemSpillItem *item);

/**
 * tmem_spill_submit: write the batch that is being filled, if there is one
 */
void tmem_spill_submit(TmemStore *store);

/**
 * tmem_spill_poll: look after batches that were written, and dead extents
 */
void tmem_spill_poll(TmemStore *store, int64_t now);

/**
 * tmem_spill_is_active: whether there is a device, and it takes pages
 */
bool tmem_spill_is_active(TmemStore *store);

/**
 * tmem_spill_stalled: the device has not answered in time: it is not asked for
 * more, and not relied on, until it has, or a while has passed
 */
void tmem_spill_stalled(TmemStore *store, int64_t now);

/**
 * tmem_spill_pending: bytes in memory that batches under way will free
 */
uint64_t tmem_spill_pending(TmemSpill *spill);

/**
 * tmem_spill_choose_victims: which extents to clean
 *
 * Returns: whether it is worth it.
 */
bool tmem_spill_choose_victims(TmemSpill *spill);

/**
 * tmem_spill_forget_victims: cleaning has come to its end
 *
 * Returns: how many of them still have pages.
 */
uint32_t tmem_spill_forget_victims(TmemSpill *spill);

/* tmem-store-spill-read.c */

/**
 * tmem_spill_load: get hold of a page's bytes on the device
 * @fetch: as tmem_store_get_async(); NULL: wait
 * @data: set to the bytes, as they were read, when 0 is returned: they are
 *        there until tmem_spill_release()
 *
 * Returns: 0; -EINPROGRESS; -EIO.
 */
int tmem_spill_load(TmemStore *store, const TmemSpillPlace *place,
                    TmemFetch *fetch, TmemChunk **chunk, const void **data);

/**
 * tmem_spill_release: the bytes are not used any more
 * @bad: they were not what they should be, do not keep them
 */
void tmem_spill_release(TmemStore *store, TmemChunk *chunk, bool bad);

/**
 * tmem_spill_check: whether these are the bytes that were written
 */
bool tmem_spill_check(TmemStore *store, const TmemKey *key,
                      const TmemSpillPlace *place, const void *data);

/**
 * tmem_spill_get: as tmem_store_get_async(), of a page that has left memory
 * @fetch: NULL: wait
 *
 * Returns: also -EAGAIN: it is not on the device any more, look again.
 */
int tmem_spill_get(TmemStore *store, const TmemKey *key, void *page,
                   TmemFetch *fetch);

/**
 * tmem_spill_copy: read a page that has left memory, as it is kept
 * @data: %TMEM_PAGE_SIZE bytes
 * @coded: set to what they are
 *
 * For an export that finds an ENTRY_SPILLED: with no lock held, and not where
 * tmem_store_get() must not be called. Waits for the device.
 *
 * Returns: 0; -EIO; -EBADMSG: what is there is not the page; -EAGAIN: it is not
 * on the device any more, look again.
 */
int tmem_spill_copy(TmemStore *store, const TmemKey *key, void *data,
                    TmemCoded *coded);

/* tmem-store-spill-pass.c */

/**
 * tmem_spill_want: bytes to be spilled, as so many are over the limit
 */
uint64_t tmem_spill_want(TmemStore *store, uint64_t excess);

/**
 * tmem_spill_begin, tmem_clean_begin: whether a pass has anything to do
 */
bool tmem_spill_begin(TmemStore *store, int64_t now);
bool tmem_clean_begin(TmemStore *store, int64_t now);

/**
 * tmem_spill_step, tmem_clean_step: a portion of a pass
 */
TmemStep tmem_spill_step(TmemStore *store, int64_t now);
TmemStep tmem_clean_step(TmemStore *store, int64_t now);

/**
 * tmem_spill_end, tmem_clean_end: of a pass
 */
void tmem_spill_end(TmemStore *store, bool complete, int64_t now);
void tmem_clean_end(TmemStore *store, int64_t now);

/**
 * tmem_spill_hold: there was no space for a pass: the next one is for later
 */
void tmem_spill_hold(TmemStore *store, int64_t now);

#endif
