/*
 * What the files of the virtio-tmem page store share
 *
 *   shard -> pool -> radix tree of objects -> radix tree of keys -> entry
 *         -> bytes in the arena
 *
 * The pages of an object are spread over shards by clusters of 256 indexes, the
 * unit in which Linux gives swap slots to a CPU: vCPUs that swap at the same
 * time work in different shards. Within a shard, clusters lie side by side in
 * the tree, so that dense indexes make dense nodes.
 *
 * Locks, in this order: pools_lock; a shard's (several only in the order of
 * their numbers); lru_lock; that of the reserve; those of the arena, or that of
 * the spill. size_lock is held with none of these but those of the arena. None
 * is held while a page is compressed or decompressed, or while memory of a
 * caller is touched.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef HW_VIRTIO_TMEM_STORE_INTERNAL_H
#define HW_VIRTIO_TMEM_STORE_INTERNAL_H

#include "qemu/atomic.h"
#include "hw/virtio/tmem-store.h"
#include "tmem-store-alloc.h"
#include "tmem-store-codec.h"
#include "tmem-store-index.h"

#ifndef TMEM_SHARD_BITS
#define TMEM_SHARD_BITS 4
#endif
#define TMEM_NUM_SHARDS (1u << TMEM_SHARD_BITS)
#define TMEM_CLUSTER_BITS 8

/*
 * The value of a key: what is kept for one page.
 *
 *   60..61 batch | 59 tried | 58 busy | 56..57 age | 16..55 handle | 3..15 len
 *   3..63 word of a same-filled page, signed
 *   0..2 kind, of both
 *
 * The kind is a TmemKind, or one of the three below. A same-filled page whose
 * word fits in 61 bits, as most do, has it right here, and no bytes in the
 * arena. In an ephemeral pool, the handle is that of a TmemLruNode, which has
 * the entry proper. That of a page on the device that the store spills to is of
 * a TmemSpillRecord.
 */
#define ENTRY_KIND_MASK 7
#define ENTRY_INLINE 5
#define ENTRY_NODE 6
#define ENTRY_SPILLED 7
#define ENTRY_WORD_SHIFT 3
#define ENTRY_LEN_SHIFT 3
#define ENTRY_LEN_MASK 0x1fff
#define ENTRY_HANDLE_SHIFT 16
#define ENTRY_HANDLE_MASK ((UINT64_C(1) << TMEM_HANDLE_BITS) - 1)
/* Passes of the cold walk since the page was put or got; stays at the most. */
#define ENTRY_AGE_SHIFT 56
#define ENTRY_AGE_MASK (UINT64_C(3) << ENTRY_AGE_SHIFT)
/*
 * Is being recompressed, or written to a device: whoever replaces the entry
 * takes this off with it.
 */
#define ENTRY_BUSY (UINT64_C(1) << 58)
/* zstd did not make it smaller. */
#define ENTRY_TRIED (UINT64_C(1) << 59)
/* With ENTRY_BUSY: the batch that it is written with; 0: it is not. */
#define ENTRY_BATCH_SHIFT 60
#define ENTRY_MARK_MASK (ENTRY_BUSY | UINT64_C(3) << ENTRY_BATCH_SHIFT)

G_STATIC_ASSERT(ENTRY_HANDLE_SHIFT + TMEM_HANDLE_BITS <= ENTRY_AGE_SHIFT);
G_STATIC_ASSERT(TMEM_PAGE_SIZE <= ENTRY_LEN_MASK);
G_STATIC_ASSERT(TMEM_PAGE_SIZE + sizeof(uint32_t) <= TMEM_MAX_OBJECT);

/* A page of an ephemeral pool, on the list from the last used to the first. */
typedef struct TmemLruNode {
    uint64_t newer;         /* handle, 0 at the end */
    uint64_t older;
    uint64_t entry;         /* of the page; never ENTRY_NODE */
    uint64_t object;
    uint64_t index;
    uint32_t pool;
} TmemLruNode;

/* Whose page it is. */
typedef struct TmemKey {
    uint32_t pool;
    uint64_t object;
    uint64_t index;
} TmemKey;

/* The part of a pool that is in one shard. */
typedef struct TmemPool {
    uint32_t id;            /* 0: none */
    unsigned flags;
    TmemIndex objects;      /* object -> TmemIndex of its pages */
    uint64_t pages;
    uint64_t bytes_stored;
} TmemPool;

typedef struct TmemCounts {
    uint64_t pages;
    uint64_t bytes_stored;
    uint64_t same_filled;
    uint64_t raw;
    uint64_t zstd;
    uint64_t ephemeral;
    uint64_t spilled;
    uint64_t spilled_bytes;
    uint64_t given[TMEM_NUM_MEASURES];
    uint64_t puts;
    uint64_t rejected_puts;
    uint64_t flushes;
    uint64_t evicted;
    uint64_t recompressed;
    uint64_t moved;
    uint64_t lost;
    uint64_t put_histogram[TMEM_HISTOGRAM_BUCKETS];
    uint64_t get_histogram[TMEM_HISTOGRAM_BUCKETS];
} TmemCounts;

/*
 * An object that a get is reading without the lock: it is not moved, and
 * whoever drops its page leaves it to the last reader to free. Gets that find
 * no room here copy the object first.
 */
typedef struct TmemPin {
    TmemHandle handle;      /* 0: not in use */
    unsigned readers;
    bool orphan;            /* no entry has it any more */
} TmemPin;

#define TMEM_MAX_PINS 8

/* Which pages have changed since they were exported: tmem-store-migrate.c. */
typedef struct TmemLog TmemLog;

/* What each get writes comes first, in one line of the cache. */
typedef struct TmemShard {
    unsigned waiting;       /* puts, gets and flushes that want the lock */
    unsigned num_pins;
    GMutex lock;            /* protects all but waiting */
    uint64_t gets;
    uint64_t misses;
    TmemPin pins[TMEM_MAX_PINS];
    TmemPool pools[TMEM_MAX_POOLS];   /* by id % TMEM_MAX_POOLS */
    TmemLog *log;           /* NULL: nobody wants to know what changes */
    TmemCounts counts;
} QEMU_ALIGNED(64) TmemShard;

typedef struct TmemPoolSlot {
    uint32_t id;            /* 0: none */
    unsigned flags;
} TmemPoolSlot;

/* Walks: tmem-store-walk.c. */

/**
 * tmem_walk_next: find the next page of the walk's shard, which is locked
 * @pool: set to the pool that it is in
 * @num: set as tmem_index_next() does
 * @pack: as there
 *
 * Returns: the place of its entry, with walk->object and walk->key its key; or
 * NULL: there is no other page in this shard. The caller moves walk->key on,
 * with tmem_walk_skip().
 */
uint64_t *tmem_walk_next(TmemStore *store, TmemWalk *walk, TmemPool **pool,
                         unsigned *num, bool pack);

/**
 * tmem_walk_skip: go on with the @num-th key from this one
 */
void tmem_walk_skip(TmemWalk *walk, unsigned num);

/**
 * tmem_walk_shard: go on with the next shard
 *
 * Returns: false at the end of the walk.
 */
bool tmem_walk_shard(TmemWalk *walk);

/* A page is cold when it was not used in so many passes that count its age. */
#define TMEM_COLD_AGE 2

/* What maintenance is in the middle of. */
typedef enum TmemPass {
    TMEM_PASS_NONE,
    TMEM_PASS_AGE,          /* note which pages are not used any more */
    TMEM_PASS_COMPACT,
    TMEM_PASS_RECOMPRESS,
    TMEM_PASS_SPILL,
    TMEM_PASS_CLEAN,        /* move pages on the device together */
} TmemPass;

/* What the store may take beyond its limit: tmem-store-migrate.h. */
typedef enum TmemImportState {
    TMEM_IMPORT_NONE,
    TMEM_IMPORT_LIVE,       /* some, for what is not packed yet */
    TMEM_IMPORT_FINAL,      /* what cannot be refused any more */
} TmemImportState;

typedef struct TmemSpill TmemSpill;

struct TmemStore {
    TmemArena arena;
    TmemCodec codec;
    bool checksum;          /* follows what is kept in the arena */
    uint64_t pool_quota;
    uint64_t log_bytes;     /* of all logs; atomic */
    TmemStoreLostFn *lost;
    void *lost_opaque;
    TmemSpill *spill;       /* NULL: there is no device for it */
    bool asking;            /* the guest to hold less; atomic */

    GMutex size_lock;       /* protects these; before that of the arena */
    uint64_t max_size;
    uint64_t min_size;
    uint64_t limit;
    TmemLimitCause cause;
    TmemImportState import;

    GMutex pools_lock;      /* protects these */
    TmemPoolSlot pools[TMEM_MAX_POOLS];
    unsigned num_pools;
    uint32_t next_pool;     /* next id to try; ids come back after 2^32 */
    uint32_t pools_changed; /* counts changes; read without lock */
    struct TmemExport *export;  /* the one there is, or NULL */

    GMutex lru_lock;        /* protects these, and all TmemLruNodes */
    TmemHandle lru_newest;
    TmemHandle lru_oldest;

    /* Maintenance: used by its one thread only. */
    TmemPass pass;
    TmemWalk pass_walk;
    unsigned cold_age;      /* what counts as cold in this pass */
    bool pass_useful;       /* the pass has freed something */
    int64_t waits_since;    /* the pass, for the device; time, us; 0: not */
    int64_t next_age_pass;  /* time, us */
    int64_t next_recompress_pass;
    int64_t next_compact_pass;
    uint32_t evacuating;    /* blocks that the pass is to empty */
    unsigned recompress_steps;
    int64_t recompress_until; /* time, us; 0: as long as it takes */
    uint64_t last_ops;      /* puts, gets and flushes up to the last look */
    int64_t last_look;      /* time of it, us */
    bool load;              /* what it showed */

    TmemShard shards[TMEM_NUM_SHARDS];
};

static inline unsigned tmem_object_hash(uint64_t object)
{
    /* 2^64 divided by the golden ratio (Knuth, TAOCP 3, 6.4). */
    return object * UINT64_C(0x9e3779b97f4a7c15) >> (64 - TMEM_SHARD_BITS);
}

/* The shard that has the pages of this cluster of indexes. */
static inline unsigned tmem_shard_of(uint64_t object, uint64_t cluster)
{
    return (cluster + tmem_object_hash(object)) & (TMEM_NUM_SHARDS - 1);
}

/* The shard that has the page of this index. */
static inline TmemShard *tmem_shard_find(TmemStore *store, uint64_t object,
                                         uint64_t index)
{
    return &store->shards[tmem_shard_of(object, index >> TMEM_CLUSTER_BITS)];
}

/* The key of an index in the tree of its shard. */
static inline uint64_t tmem_shard_key(uint64_t index)
{
    return index >> (TMEM_CLUSTER_BITS + TMEM_SHARD_BITS) << TMEM_CLUSTER_BITS |
           (index & ((1u << TMEM_CLUSTER_BITS) - 1));
}

/* And back. */
static inline uint64_t tmem_shard_index(unsigned shard, uint64_t object,
                                        uint64_t key)
{
    uint64_t cluster = key >> TMEM_CLUSTER_BITS << TMEM_SHARD_BITS |
                       ((shard - tmem_object_hash(object)) &
                        (TMEM_NUM_SHARDS - 1));

    return cluster << TMEM_CLUSTER_BITS |
           (key & ((1u << TMEM_CLUSTER_BITS) - 1));
}

/*
 * Lock a shard for a put, get or flush. Mutexes are not fair: maintenance,
 * which unlocks and locks again, has to be told that someone waits.
 */
static inline void tmem_shard_lock(TmemShard *shard)
{
    if (!g_mutex_trylock(&shard->lock)) {
        qatomic_inc(&shard->waiting);
        g_mutex_lock(&shard->lock);
        qatomic_dec(&shard->waiting);
    }
}

static inline TmemPool *tmem_pool_find(TmemShard *shard, uint32_t id)
{
    TmemPool *pool = &shard->pools[id % TMEM_MAX_POOLS];

    return id && pool->id == id ? pool : NULL;
}

/**
 * tmem_store_apply_limit: with size_lock held
 */
void tmem_store_apply_limit(TmemStore *store, uint64_t limit);

/* Entries: tmem-store-entry.c. All with the lock of the shard held. */

static inline unsigned tmem_entry_kind(uint64_t entry)
{
    return entry & ENTRY_KIND_MASK;
}

static inline unsigned tmem_entry_len(uint64_t entry)
{
    return entry >> ENTRY_LEN_SHIFT & ENTRY_LEN_MASK;
}

static inline uint64_t tmem_batch_mark(unsigned batch)
{
    return ENTRY_BUSY | (uint64_t)batch << ENTRY_BATCH_SHIFT;
}

static inline unsigned tmem_entry_age(uint64_t entry)
{
    return (entry & ENTRY_AGE_MASK) >> ENTRY_AGE_SHIFT;
}

static inline TmemHandle tmem_entry_handle(uint64_t entry)
{
    return entry >> ENTRY_HANDLE_SHIFT & ENTRY_HANDLE_MASK;
}

/**
 * tmem_checksum: of a page, as it is kept
 * @generation: that of its extent on a device, 0 in memory
 */
uint32_t tmem_checksum(const TmemKey *key, uint64_t generation, unsigned kind,
                       const void *data, uint32_t len);

/**
 * tmem_coded_sign: give a page its checksum, if the store has checksums
 *
 * What tmem_entry_new() takes has one. With or without locks, as the next.
 */
void tmem_coded_sign(const TmemStore *store, const TmemKey *key,
                     TmemCoded *coded);

/**
 * tmem_coded_check: whether this is what was signed; true if there is no
 * checksum
 */
bool tmem_coded_check(const TmemKey *key, const TmemCoded *coded);

/**
 * tmem_entry_new: what is to be kept for a coded page, or 0: there is no room
 */
uint64_t tmem_entry_new(TmemStore *store, const TmemCoded *coded,
                        TmemAllocMode mode);

/**
 * tmem_entry_object: what an entry has in the arena, where it is
 * @entry: its kind is a TmemKind
 */
TmemCoded tmem_entry_object(const TmemStore *store, uint64_t entry);

/**
 * tmem_entry_read: copy what was kept to the thread's scratch memory
 * @entry: not an ENTRY_SPILLED, here and in tmem_entry_pin()
 */
TmemCoded tmem_entry_read(TmemStore *store, uint64_t entry);

/**
 * tmem_entry_pin: what was kept, where it is
 * @coded: its data stays until tmem_entry_unpin(); copied when 0 is returned
 *
 * Returns: what tmem_entry_unpin() wants, or 0: it need not be called.
 */
TmemHandle tmem_entry_pin(TmemStore *store, TmemShard *shard, uint64_t entry,
                          TmemCoded *coded);

/**
 * tmem_entry_unpin: the reader is done
 */
void tmem_entry_unpin(TmemStore *store, TmemShard *shard, TmemHandle handle);

/**
 * tmem_entry_lose: what is kept is not the page: none can be had from now on
 * @slot: the place of the page's entry, which is in memory
 *
 * For want of memory it stays as it is, to be found and counted again.
 */
void tmem_entry_lose(TmemStore *store, TmemShard *shard, TmemPool *pool,
                     const TmemKey *key, uint64_t *slot);

/**
 * tmem_entry_drop: free what is kept, and count it no more
 * @entry: of any kind; an ENTRY_NODE goes with its node
 */
void tmem_entry_drop(TmemStore *store, TmemShard *shard, TmemPool *pool,
                     uint64_t entry);

/**
 * tmem_entry_count: count a page that came (@delta 1) or went (@delta -1)
 */
void tmem_entry_count(TmemShard *shard, TmemPool *pool, uint64_t entry,
                      int delta);

/**
 * tmem_entry_pack: move what is in the way of compaction
 *
 * Returns: whether it was moved: *@entry is the new one then.
 */
bool tmem_entry_pack(TmemStore *store, TmemShard *shard, uint64_t *entry);

/**
 * tmem_page_lookup: the place of a page's entry, or NULL
 */
uint64_t *tmem_page_lookup(TmemStore *store, TmemPool *pool, uint64_t object,
                           uint64_t key);

/**
 * tmem_key_lookup: the place of an entry in its shard, which is locked, or NULL
 * @pool: set to the pool of the key, or NULL: there is none
 */
static inline uint64_t *tmem_key_lookup(TmemStore *store, TmemShard *shard,
                                        const TmemKey *key, TmemPool **pool)
{
    *pool = tmem_pool_find(shard, key->pool);
    return *pool ? tmem_page_lookup(store, *pool, key->object,
                                    tmem_shard_key(key->index)) : NULL;
}

/**
 * tmem_page_insert: add an entry for a key that has none; false: no room
 */
bool tmem_page_insert(TmemStore *store, TmemPool *pool, uint64_t object,
                      uint64_t key, uint64_t entry, TmemAllocMode mode);

/**
 * tmem_pages_drop: drop an object's pages from @first to @last
 * @max: of them to drop now, at least one; a leaf of the index is not parted
 *
 * Returns: false when there may be more.
 */
bool tmem_pages_drop(TmemStore *store, TmemShard *shard, TmemPool *pool,
                     uint64_t object, uint64_t first, uint64_t last,
                     uint64_t max);

/**
 * tmem_pool_drop: drop the pages that a pool has in the shard
 * @max: as for tmem_pages_drop()
 *
 * Not for the log of a migration: who calls it sees to that.
 *
 * Returns: false when there are more.
 */
bool tmem_pool_drop(TmemStore *store, TmemShard *shard, TmemPool *pool,
                    uint64_t max);

/* Without the lock of a shard: tmem-store.c. */

/**
 * tmem_page_lose: as tmem_entry_lose(), if it still is not the page
 */
void tmem_page_lose(TmemStore *store, const TmemKey *key);

/**
 * tmem_page_import: keep a page that was coded elsewhere, replacing what the
 * key had; counts neither as a put nor against the quota of the pool
 *
 * Returns: as tmem_store_put().
 */
int tmem_page_import(TmemStore *store, uint32_t pool, uint64_t object,
                     uint64_t index, const TmemCoded *coded);

/**
 * tmem_pool_import: make a pool of this id
 *
 * Returns: 0, or -EINVAL when there is one in its place.
 */
int tmem_pool_import(TmemStore *store, uint32_t id, unsigned flags);

/**
 * tmem_store_set_import: what may be taken beyond the limit from now on
 */
void tmem_store_set_import(TmemStore *store, TmemImportState import);

/* What an export wants to know: tmem-store-migrate.c. With the lock held. */

/**
 * tmem_log_page: the page of this key has changed
 */
void tmem_log_page(TmemStore *store, TmemShard *shard, const TmemPool *pool,
                   uint64_t object, uint64_t key);

/**
 * tmem_log_pages: those of an object, from @first to @last, are about to go
 * @pages: the tree of the object
 */
void tmem_log_pages(TmemStore *store, TmemShard *shard, const TmemPool *pool,
                    uint64_t object, TmemIndex pages, uint64_t first,
                    uint64_t last);

/**
 * tmem_log_forget: all pages of the shard are gone, and their pools
 */
void tmem_log_forget(TmemStore *store, TmemShard *shard);

/**
 * tmem_log_fill: nobody knows which have changed: a migration begins anew
 */
void tmem_log_fill(TmemShard *shard);

/* Ephemeral pages: tmem-store-lru.c. */

/**
 * tmem_lru_add: put a page on the list as its newest
 *
 * Returns: the ENTRY_NODE to be kept, or 0: there is no room.
 */
uint64_t tmem_lru_add(TmemStore *store, uint64_t entry, uint32_t pool,
                      uint64_t object, uint64_t index, TmemAllocMode mode);

/**
 * tmem_lru_del: take a page off the list
 *
 * Returns: the entry proper.
 */
uint64_t tmem_lru_del(TmemStore *store, uint64_t entry);

/**
 * tmem_lru_touch: make a page the newest
 */
void tmem_lru_touch(TmemStore *store, uint64_t entry);

/**
 * tmem_lru_entry: the place of the entry proper, for as long as the shard's
 * lock is held
 */
uint64_t *tmem_lru_entry(TmemStore *store, uint64_t entry);

/**
 * tmem_lru_pack: as tmem_entry_pack(), for the node itself
 */
bool tmem_lru_pack(TmemStore *store, uint64_t *entry);

/**
 * tmem_lru_evict: drop the oldest page. No lock is held.
 *
 * Returns: false when there is none.
 */
bool tmem_lru_evict(TmemStore *store);

/**
 * tmem_spill_overhead: bytes that buffers and tables for spilling take
 */
uint64_t tmem_spill_overhead(const TmemSpill *spill);

/* What is taken whatever the store holds. */
static inline uint64_t tmem_store_fixed(const TmemStore *store)
{
    return sizeof(*store) + tmem_spill_overhead(store->spill);
}

static inline uint64_t tmem_store_bytes(TmemStore *store)
{
    return tmem_store_fixed(store) + tmem_arena_bytes(&store->arena) +
           qatomic_read(&store->log_bytes);
}

#endif
