/*
 * Allocator of the virtio-tmem page store
 *
 * Objects of 1..4096 bytes, named by handles, in one arena that never grows
 * beyond its limit. Private to tmem-store*.c and their unit tests.
 *
 * Threads: none of its own; the store's lock is held for every function.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef HW_VIRTIO_TMEM_STORE_ALLOC_H
#define HW_VIRTIO_TMEM_STORE_ALLOC_H

#include <stdbool.h>
#include <stdint.h>
#include <glib.h>

/* Unit that is taken from the host and given back to it, in bytes. */
#define TMEM_BLOCK_SIZE 65536

/* Sizes of objects and their addresses are multiples of this, in bytes. */
#define TMEM_GRAIN 16

/* Largest object, in bytes: a page that does not compress. */
#define TMEM_MAX_OBJECT 4096

/* Most size classes: each has one bit in TmemArena.partial_mask. */
#define TMEM_MAX_CLASSES 64

/*
 * Names an object: its offset in the arena, in grains, plus one. 0 names none.
 * Fits in TMEM_HANDLE_BITS bits, so users may pack other things beside it.
 */
typedef uint64_t TmemHandle;
#define TMEM_HANDLE_BITS 48

#define TMEM_NO_BLOCK UINT32_MAX

/* One for each block of the arena, beside it: counted as overhead. */
typedef struct TmemBlock {
    uint32_t next;         /* block on the same list, or TMEM_NO_BLOCK */
    uint32_t prev;         /* same; not kept on the list of free blocks */
    uint16_t used;         /* objects handed out now */
    uint16_t fresh;        /* objects from this number on: never handed out */
    uint16_t freed;        /* number + 1 of the last freed object; 0: none */
    uint8_t size_class;
} TmemBlock;

typedef struct TmemArena {
    char *base;
    TmemBlock *blocks;
    uint32_t num_blocks;
    uint32_t num_used;     /* blocks that hold objects now */
    uint32_t num_touched;  /* blocks from this one on: not used since reset */
    uint32_t free_list;    /* blocks before num_touched that hold nothing */
    uint64_t partial_mask; /* bit c: partial[c] is not empty */
    uint32_t partial[TMEM_MAX_CLASSES]; /* blocks with room, by class */
    uint16_t class_objects[TMEM_MAX_CLASSES]; /* in each block */
    uint8_t class_of[TMEM_MAX_OBJECT / TMEM_GRAIN + 1]; /* by size, in grains */
} TmemArena;

/**
 * tmem_arena_init: reserve address space for an empty arena
 * @limit: bytes that blocks and their metadata may take, together
 * @errp: set when false is returned, in one sentence
 *
 * Takes memory for the metadata only.
 */
bool tmem_arena_init(TmemArena *arena, uint64_t limit, GError **errp);

/**
 * tmem_arena_destroy: give back memory and address space; handles end here
 */
void tmem_arena_destroy(TmemArena *arena);

/**
 * tmem_arena_reset: free all objects at once, and their memory to the host
 */
void tmem_arena_reset(TmemArena *arena);

/**
 * tmem_arena_alloc: get room for an object of @size bytes (1..4096)
 *
 * The object starts at a multiple of %TMEM_GRAIN and holds leftovers. It stays
 * where it is until it is freed.
 *
 * Returns: its handle, or 0 when the limit leaves no room.
 */
TmemHandle tmem_arena_alloc(TmemArena *arena, size_t size);

/**
 * tmem_arena_free: free an object; the last one of a block frees the block,
 * and its memory goes back to the host before this returns
 */
void tmem_arena_free(TmemArena *arena, TmemHandle handle);

/**
 * tmem_arena_bytes: bytes taken now: blocks in use and all metadata
 */
uint64_t tmem_arena_bytes(const TmemArena *arena);

/**
 * tmem_arena_ptr: where the object is, valid until it is freed
 */
static inline void *tmem_arena_ptr(const TmemArena *arena, TmemHandle handle)
{
    return arena->base + (handle - 1) * TMEM_GRAIN;
}

#endif
