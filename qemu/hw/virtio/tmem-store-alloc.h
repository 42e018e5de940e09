/*
 * Allocator of the virtio-tmem page store
 *
 * Objects of 1..4112 bytes, named by handles, in one arena that never grows
 * beyond its limit. Private to tmem-store*.c and their unit tests.
 *
 * Compaction needs no table of handles and no way back from an object to its
 * owner: the allocator names the blocks to be emptied, whoever walks the
 * index moves what it finds in them, and an emptied block goes to the host.
 * So a handle is a place, and the one reference to it is in the index.
 *
 * Threads: any. Each size class has a lock, the free blocks have another,
 * which comes after those of classes; both are held for some tens of
 * instructions (when blocks are chosen to be emptied: for as many list moves),
 * and none while memory is given back to the host. What an
 * object holds, and that it is not moved or freed in use, is up to the caller.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef HW_VIRTIO_TMEM_STORE_ALLOC_H
#define HW_VIRTIO_TMEM_STORE_ALLOC_H

#include <stdbool.h>
#include <stdint.h>
#include <glib.h>

/*
 * Unit that is taken from the host and given back to it, in bytes: the large
 * one is the huge page of most hosts, for large arenas that ask for it.
 */
#define TMEM_BLOCK_SIZE 65536
#define TMEM_HUGE_BLOCK_SIZE (2 * 1024 * 1024)

/* Sizes of objects and their addresses are multiples of this, in bytes. */
#define TMEM_GRAIN 16

/* Largest object, in bytes: a page that does not compress, and its checksum. */
#define TMEM_MAX_OBJECT 4112

/* Most size classes. */
#define TMEM_MAX_CLASSES 64

/*
 * Names an object: its offset in the arena, in grains, plus one. 0 names none.
 * Fits in TMEM_HANDLE_BITS bits, so users may pack other things beside it.
 */
typedef uint64_t TmemHandle;
#define TMEM_HANDLE_BITS 40

#define TMEM_NO_BLOCK UINT32_MAX

/* The lists of a class: blocks with room, by quarters of what is in use. */
#define TMEM_NUM_QUARTERS 4
/* Not a list with room: the block is full, or is to be emptied. */
#define TMEM_BLOCK_FULL 4
#define TMEM_BLOCK_EVACUATING 5

/* One for each block of the arena, beside it: counted as overhead. */
typedef struct TmemBlock {
    uint32_t next;         /* block on the same list, or TMEM_NO_BLOCK */
    uint32_t prev;         /* same; not kept on the list of free blocks */
    uint32_t used;         /* objects handed out now */
    uint32_t fresh;        /* objects from this number on: never handed out */
    uint32_t freed;        /* number + 1 of the last freed object; 0: none */
    uint8_t size_class;    /* does not change while the block has an object */
    uint8_t list;          /* quarter, or TMEM_BLOCK_...; read without lock */
} TmemBlock;

typedef struct TmemClass {
    GMutex lock;           /* protects the lists and their blocks */
    uint32_t partial[TMEM_NUM_QUARTERS];
    uint32_t evacuating;   /* list of blocks that get no new objects */
    uint32_t num_blocks;
    uint32_t objects;      /* that a block has room for; constant */
    uint64_t used;         /* objects handed out now */
} QEMU_ALIGNED(64) TmemClass;

/* Most puts that can be promised at a time: bounds the tables of handles. */
#define TMEM_MAX_RESERVED 1024

/* What is held back for puts that are promised: tmem-store-reserve.c. */
typedef struct TmemReserve {
    GMutex lock;           /* protects these; before those of classes */
    unsigned puts;         /* promised and not used yet */
    unsigned num_large;    /* objects of a page that are held */
    unsigned num_small;    /* objects of a node that are held */
    TmemHandle *large;
    TmemHandle *small;
} TmemReserve;

typedef struct TmemArena {
    TmemClass classes[TMEM_MAX_CLASSES];
    uint8_t class_of[TMEM_MAX_OBJECT / TMEM_GRAIN + 1]; /* by size, in grains */
    char *base;
    TmemBlock *blocks;
    size_t block_size;
    uint32_t num_blocks;   /* that there is address space for */
    bool locked;           /* lock-memory: blocks are never swapped out */
    bool over;             /* more is taken than the limit; read without lock */
    uint16_t max_object;   /* bytes that a put can need */
    int inject;            /* tests: which allocation fails; 0: none */
    uint32_t num_nodes;    /* of the index, which counts them here */
    TmemReserve reserve;

    GMutex lock;           /* protects all below */
    uint64_t limit;        /* bytes for blocks and their metadata */
    uint64_t hard_limit;   /* what the limit can be at most */
    uint64_t exceed_limit; /* for what makes room by taking some first */
    bool keep_spare;       /* some of the limit is for that alone */
    uint32_t num_used;     /* blocks that hold objects now */
    uint32_t num_touched;  /* blocks from this one on: not used since reset */
    uint32_t free_list;    /* blocks before num_touched that hold nothing */
} TmemArena;

typedef enum TmemAllocMode {
    TMEM_ALLOC_GROW,       /* within the limit */
    TMEM_ALLOC_EXCEED,     /* somewhat beyond it; no larger object will do */
    TMEM_ALLOC_RESERVED,   /* as GROW, then from the reserve */
    TMEM_ALLOC_PACK,       /* only into blocks that are in use already */
} TmemAllocMode;

typedef struct TmemArenaConfig {
    uint64_t limit;        /* bytes that blocks and metadata may take */
    uint64_t span;         /* bytes that the limit may be raised to later */
    bool lock_memory;      /* what is taken from the host stays in its RAM */
    bool hugepages;        /* blocks are huge pages */
    uint16_t max_object;   /* bytes that a put can need, for the reserve */
} TmemArenaConfig;

typedef struct TmemArenaStats {
    uint64_t bytes_used;   /* blocks in use and their metadata */
    uint64_t bytes_blocks; /* blocks in use alone */
    uint64_t reclaimable;  /* bytes of blocks that compaction could empty */
} TmemArenaStats;

/**
 * tmem_arena_init: reserve address space for an empty arena
 * @errp: set when false is returned, in one sentence
 *
 * Takes next to no memory. When the host has no address space for the span,
 * the limit cannot be raised beyond what tmem_arena_span() then says.
 */
bool tmem_arena_init(TmemArena *arena, const TmemArenaConfig *config,
                     GError **errp);

/**
 * tmem_arena_destroy: give back memory and address space; handles end here
 */
void tmem_arena_destroy(TmemArena *arena);

/**
 * tmem_arena_span: most bytes that the limit can be
 */
uint64_t tmem_arena_span(const TmemArena *arena);

/**
 * tmem_arena_set_limit: change what may be taken; what is taken already stays
 */
void tmem_arena_set_limit(TmemArena *arena, uint64_t limit,
                          uint64_t hard_limit);

/**
 * tmem_arena_reset: free all objects at once, and their memory to the host
 *
 * Nobody else may allocate or free meanwhile, nor use anything in the arena;
 * all else may go on.
 */
void tmem_arena_reset(TmemArena *arena);

/**
 * tmem_arena_alloc: get room for an object of @size bytes (1..4112)
 *
 * The object starts at a multiple of %TMEM_GRAIN and holds leftovers. It stays
 * where it is until it is freed.
 *
 * Returns: its handle, or 0 when there is no room.
 */
TmemHandle tmem_arena_alloc(TmemArena *arena, size_t size, TmemAllocMode mode);

/**
 * tmem_arena_must_fail: whether a test wants this allocation to fail, be it of
 * the arena or of the store's that belongs to it
 */
bool tmem_arena_must_fail(TmemArena *arena);

/**
 * tmem_reserve_add: promise room for up to @puts more puts
 *
 * Returns: for how many of them there is room.
 */
unsigned tmem_reserve_add(TmemArena *arena, unsigned puts);

/**
 * tmem_reserve_sub: @puts of what was promised are used, or given back
 * @keep: hold on to the memory, for the next promise
 *
 * More than what is promised does nothing: a reset may have come in between.
 */
void tmem_reserve_sub(TmemArena *arena, unsigned puts, bool keep);

/**
 * tmem_reserve_puts: puts that are promised
 */
unsigned tmem_reserve_puts(TmemArena *arena);

/**
 * tmem_reserve_take: an object from the reserve, for tmem_arena_alloc()
 */
TmemHandle tmem_reserve_take(TmemArena *arena, size_t size);

/**
 * tmem_reserve_trim: free what is held for no promise
 *
 * Returns: whether there was any.
 */
bool tmem_reserve_trim(TmemArena *arena);

/**
 * tmem_reserve_drop: take all promises back, as tmem_arena_reset() does
 */
void tmem_reserve_drop(TmemArena *arena);

/* Parts of tmem_arena_init(), _destroy() and _reset(). */
void tmem_reserve_init(TmemReserve *reserve);
void tmem_reserve_destroy(TmemReserve *reserve);
void tmem_reserve_reset(TmemReserve *reserve);

/**
 * tmem_arena_free: free an object; the last one of a block frees the block,
 * and its memory goes back to the host before this returns
 */
void tmem_arena_free(TmemArena *arena, TmemHandle handle);

/**
 * tmem_arena_evacuate: choose the blocks that compaction should empty
 *
 * They are the emptiest, and as many as the other blocks have room for. They
 * get no new objects until tmem_arena_evacuate_end().
 *
 * Returns: how many there are.
 */
uint32_t tmem_arena_evacuate(TmemArena *arena);

/**
 * tmem_arena_evacuate_end: use the blocks that were not emptied as before
 *
 * Returns: how many there are.
 */
uint32_t tmem_arena_evacuate_end(TmemArena *arena);

/**
 * tmem_arena_must_move: whether the object is in a block to be emptied
 */
bool tmem_arena_must_move(const TmemArena *arena, TmemHandle handle);

/**
 * tmem_arena_get_stats: sizes; those of different classes are not read at the
 * same moment
 */
void tmem_arena_get_stats(TmemArena *arena, TmemArenaStats *stats);

/**
 * tmem_arena_bytes: bytes taken now: blocks in use and their metadata
 */
uint64_t tmem_arena_bytes(TmemArena *arena);

/**
 * tmem_arena_ptr: where the object is, valid until it is freed
 */
static inline void *tmem_arena_ptr(const TmemArena *arena, TmemHandle handle)
{
    return arena->base + (handle - 1) * TMEM_GRAIN;
}

#endif
