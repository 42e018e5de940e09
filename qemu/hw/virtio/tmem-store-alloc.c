/*
 * Allocator of the virtio-tmem page store
 *
 *   arena   | block | block | block | block |  ...  | never touched |
 *             |       |       |
 *             |       |       free: on free_list, its memory with the host
 *             |       full: on no list
 *             partial: on partial[class], objects of one size class
 *
 *   block   | object | object | freed -> freed -> 0 | fresh ... | tail |
 *
 * Rules: nothing is ever taken beyond the limit; nothing here calls malloc
 * after init; an empty block goes back to the host at once; nobody relies on
 * what fresh memory holds, so correctness does not hang on madvise().
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <sys/mman.h>
#include "tmem-store-alloc.h"

#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24     /* Linux 5.18 */
#endif

G_STATIC_ASSERT(sizeof(TmemBlock) == 16);
G_STATIC_ASSERT(TMEM_BLOCK_SIZE / TMEM_GRAIN < UINT16_MAX);

/*
 * Sizes of the classes, in bytes. Each is the largest of which a block holds
 * that many, so that a block has no tail to speak of. Above 1808 they are all
 * such sizes, below it every third or so: finer steps would cost more in
 * partial blocks than they save inside of objects (2.9 % on average).
 */
static const uint16_t class_size[] = {
    16, 32, 48, 80, 128, 176, 224, 272, 320, 368, 416, 464, 512, 560, 608,
    656, 704, 752, 800, 848, 896, 944, 992, 1040, 1088, 1136, 1184, 1232,
    1280, 1328, 1392, 1456, 1520, 1584, 1632, 1712, 1760, 1808, 1872, 1920,
    1984, 2048, 2112, 2176, 2256, 2336, 2416, 2512, 2608, 2720, 2848, 2976,
    3120, 3264, 3440, 3632, 3840, 4096,
};

G_STATIC_ASSERT(G_N_ELEMENTS(class_size) <= TMEM_MAX_CLASSES);

static void arena_init_classes(TmemArena *arena)
{
    unsigned c = 0;

    for (unsigned grains = 0; grains < sizeof(arena->class_of); grains++) {
        if (class_size[c] < grains * TMEM_GRAIN) {
            c++;
        }
        arena->class_of[grains] = c;
        arena->class_objects[c] = TMEM_BLOCK_SIZE / class_size[c];
    }
}

static void arena_init_lists(TmemArena *arena)
{
    arena->num_used = 0;
    arena->num_touched = 0;
    arena->free_list = TMEM_NO_BLOCK;
    arena->partial_mask = 0;
    for (unsigned c = 0; c < TMEM_MAX_CLASSES; c++) {
        arena->partial[c] = TMEM_NO_BLOCK;
    }
}

static size_t arena_map_size(const TmemArena *arena)
{
    return (size_t)arena->num_blocks * TMEM_BLOCK_SIZE;
}

/*
 * Address space of @size bytes, or NULL with errno set. After mlockall() with
 * MCL_FUTURE (-overcommit mem-lock=on) a plain mapping would be populated as a
 * whole: then it has to be locked page by page, as pages come. msync() tells,
 * it fails with EBUSY on locked memory.
 */
static void *arena_map(size_t size)
{
    void *base = mmap(NULL, size, PROT_NONE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (base == MAP_FAILED) {
        return NULL;
    }
    if ((msync(base, size, MS_INVALIDATE) < 0 && errno == EBUSY &&
         mlock2(base, size, MLOCK_ONFAULT) < 0) ||
        mprotect(base, size, PROT_READ | PROT_WRITE) < 0) {
        int err = errno;

        munmap(base, size);
        errno = err;
        return NULL;
    }
    return base;
}

bool tmem_arena_init(TmemArena *arena, uint64_t limit, GError **errp)
{
    uint64_t num = limit / (TMEM_BLOCK_SIZE + sizeof(TmemBlock));

    if (num == 0 || num >= TMEM_NO_BLOCK ||
        num > SIZE_MAX / TMEM_BLOCK_SIZE) {
        g_set_error(errp, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                    "a page store of %" PRIu64 " bytes is %s", limit,
                    num ? "beyond this host's address space"
                        : "less than one block");
        return false;
    }
    arena->num_blocks = num;

    arena->blocks = g_try_malloc0(num * sizeof(TmemBlock));
    if (!arena->blocks) {
        g_set_error(errp, G_FILE_ERROR, G_FILE_ERROR_NOMEM,
                    "no memory for the %" PRIu64 " bytes of metadata of a page "
                    "store of %" PRIu64 " bytes",
                    num * sizeof(TmemBlock), limit);
        return false;
    }

    arena->base = arena_map(arena_map_size(arena));
    if (!arena->base) {
        int err = errno;

        g_set_error(errp, G_FILE_ERROR, g_file_error_from_errno(err),
                    "cannot reserve address space for a page store of %" PRIu64
                    " bytes: %s", limit, g_strerror(err));
        g_free(arena->blocks);
        return false;
    }
    madvise(arena->base, arena_map_size(arena), MADV_DONTDUMP);
    /*
     * A huge page would take 2 MiB for a block of 64 KiB, and keep them after
     * the block went back: more than what is counted against the limit.
     */
    madvise(arena->base, arena_map_size(arena), MADV_NOHUGEPAGE);

    arena_init_classes(arena);
    arena_init_lists(arena);
    return true;
}

void tmem_arena_destroy(TmemArena *arena)
{
    munmap(arena->base, arena_map_size(arena));
    g_free(arena->blocks);
}

static void arena_give_back(TmemArena *arena, uint32_t first, size_t num)
{
    char *start = arena->base + (size_t)first * TMEM_BLOCK_SIZE;

    /* The first fails on memory that mlockall() has locked. */
    if (num && madvise(start, num * TMEM_BLOCK_SIZE, MADV_DONTNEED) < 0) {
        madvise(start, num * TMEM_BLOCK_SIZE, MADV_DONTNEED_LOCKED);
    }
}

void tmem_arena_reset(TmemArena *arena)
{
    arena_give_back(arena, 0, arena->num_touched);
    arena_init_lists(arena);
}

static void partial_add(TmemArena *arena, uint32_t b)
{
    TmemBlock *block = &arena->blocks[b];
    unsigned c = block->size_class;

    block->prev = TMEM_NO_BLOCK;
    block->next = arena->partial[c];
    if (block->next != TMEM_NO_BLOCK) {
        arena->blocks[block->next].prev = b;
    }
    arena->partial[c] = b;
    arena->partial_mask |= UINT64_C(1) << c;
}

static void partial_del(TmemArena *arena, uint32_t b)
{
    TmemBlock *block = &arena->blocks[b];
    unsigned c = block->size_class;

    if (block->next != TMEM_NO_BLOCK) {
        arena->blocks[block->next].prev = block->prev;
    }
    if (block->prev != TMEM_NO_BLOCK) {
        arena->blocks[block->prev].next = block->next;
        return;
    }
    arena->partial[c] = block->next;
    if (block->next == TMEM_NO_BLOCK) {
        arena->partial_mask &= ~(UINT64_C(1) << c);
    }
}

/* Make a free block the first partial block of class @c; false: none left. */
static bool block_take(TmemArena *arena, unsigned c)
{
    uint32_t b = arena->free_list;
    TmemBlock *block;

    if (b != TMEM_NO_BLOCK) {
        arena->free_list = arena->blocks[b].next;
    } else if (arena->num_touched < arena->num_blocks) {
        b = arena->num_touched++;
    } else {
        return false;
    }

    block = &arena->blocks[b];
    block->used = 0;
    block->fresh = 0;
    block->freed = 0;
    block->size_class = c;
    partial_add(arena, b);
    arena->num_used++;
    return true;
}

static void block_release(TmemArena *arena, uint32_t b)
{
    partial_del(arena, b);
    arena_give_back(arena, b, 1);
    arena->blocks[b].next = arena->free_list;
    arena->free_list = b;
    arena->num_used--;
}

/* Take an object of the first partial block of class @c. */
static TmemHandle object_take(TmemArena *arena, unsigned c)
{
    uint32_t b = arena->partial[c];
    TmemBlock *block = &arena->blocks[b];
    size_t offset = (size_t)b * TMEM_BLOCK_SIZE;

    if (block->freed) {
        offset += (block->freed - 1) * (size_t)class_size[c];
        /* A freed object begins with the link to the one freed before it. */
        memcpy(&block->freed, arena->base + offset, sizeof(block->freed));
    } else {
        offset += block->fresh++ * (size_t)class_size[c];
    }

    if (++block->used == arena->class_objects[c]) {
        partial_del(arena, b);
    }
    return offset / TMEM_GRAIN + 1;
}

TmemHandle tmem_arena_alloc(TmemArena *arena, size_t size)
{
    unsigned c;

    g_assert(size > 0 && size <= TMEM_MAX_OBJECT);
    c = arena->class_of[(size + TMEM_GRAIN - 1) / TMEM_GRAIN];

    if (arena->partial[c] == TMEM_NO_BLOCK && !block_take(arena, c)) {
        /* The limit is reached: a larger object that is free will do. */
        uint64_t larger = arena->partial_mask & ~((UINT64_C(2) << c) - 1);

        if (!larger) {
            return 0;
        }
        c = __builtin_ctzll(larger);
    }
    return object_take(arena, c);
}

void tmem_arena_free(TmemArena *arena, TmemHandle handle)
{
    size_t offset = (handle - 1) * TMEM_GRAIN;
    uint32_t b = offset / TMEM_BLOCK_SIZE;
    TmemBlock *block = &arena->blocks[b];
    unsigned c = block->size_class;

    g_assert(handle && b < arena->num_touched && block->used > 0);
    memcpy(arena->base + offset, &block->freed, sizeof(block->freed));
    block->freed = offset % TMEM_BLOCK_SIZE / class_size[c] + 1;

    if (block->used-- == arena->class_objects[c]) {
        partial_add(arena, b);
    }
    if (block->used == 0) {
        block_release(arena, b);
    }
}

uint64_t tmem_arena_bytes(const TmemArena *arena)
{
    return (uint64_t)arena->num_used * TMEM_BLOCK_SIZE +
           (uint64_t)arena->num_blocks * sizeof(TmemBlock);
}
