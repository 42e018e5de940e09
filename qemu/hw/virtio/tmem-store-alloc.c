/*
 * Allocator of the virtio-tmem page store
 *
 *   arena   | block | block | block | block |  ...  | never touched |
 *             |       |       |
 *             |       |       free: on free_list, its memory with the host
 *             |       full: on no list
 *             with room: on a list of its class, by quarters of what is used
 *
 *   block   | object | object | freed -> freed -> 0 | fresh ... | tail |
 *
 * New objects go to the fullest quarter that has room, so that emptier blocks
 * empty out by themselves; what is left of that is for compaction.
 *
 * Rules: nothing is taken beyond the limit, but a few blocks by what makes
 * pages smaller when the limit has fallen below what is used; nothing here
 * calls malloc after init; an empty block goes back to the host at once; nobody
 * relies on what fresh memory holds, so correctness does not hang on madvise().
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include <sys/mman.h>
#include "tmem-store-alloc.h"

#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24     /* Linux 5.18 */
#endif

G_STATIC_ASSERT(sizeof(TmemBlock) == 24);

/*
 * Sizes of the classes, in bytes. Each is the largest of which a block holds
 * that many, so that a block has no tail to speak of. Above 1808 they are all
 * such sizes, below it every third or so: finer steps would cost more in
 * partial blocks than they save inside of objects (2.9 % on average). The last
 * one is for a page with its checksum, and not used where there are none.
 */
static const uint16_t class_size[] = {
    16, 32, 48, 80, 128, 176, 224, 272, 320, 368, 416, 464, 512, 560, 608,
    656, 704, 752, 800, 848, 896, 944, 992, 1040, 1088, 1136, 1184, 1232,
    1280, 1328, 1392, 1456, 1520, 1584, 1632, 1712, 1760, 1808, 1872, 1920,
    1984, 2048, 2112, 2176, 2256, 2336, 2416, 2512, 2608, 2720, 2848, 2976,
    3120, 3264, 3440, 3632, 3840, 4096, 4112,
};

#define NUM_CLASSES G_N_ELEMENTS(class_size)

G_STATIC_ASSERT(NUM_CLASSES <= TMEM_MAX_CLASSES);
G_STATIC_ASSERT(TMEM_MAX_OBJECT % TMEM_GRAIN == 0);

/* Blocks of one class that compaction empties at a time: bounds a lock. */
#define MAX_EVACUATING 4096

/* Blocks that recompression may take beyond the limit to begin with. */
#define EXCEED_BLOCKS 8

static void arena_init_classes(TmemArena *arena)
{
    unsigned c = 0;

    for (unsigned grains = 0; grains < sizeof(arena->class_of); grains++) {
        if (class_size[c] < grains * TMEM_GRAIN) {
            c++;
        }
        arena->class_of[grains] = c;
    }
    for (c = 0; c < NUM_CLASSES; c++) {
        g_mutex_init(&arena->classes[c].lock);
        arena->classes[c].objects = arena->block_size / class_size[c];
    }
    g_mutex_init(&arena->lock);
}

/*
 * For tmem_arena_reset(), one lock at a time: the caller keeps objects from
 * coming and going, but not the others out, who look at sizes or evacuate.
 */
static void arena_init_lists(TmemArena *arena)
{
    for (unsigned c = 0; c < NUM_CLASSES; c++) {
        TmemClass *class = &arena->classes[c];

        g_mutex_lock(&class->lock);
        for (unsigned q = 0; q < TMEM_NUM_QUARTERS; q++) {
            class->partial[q] = TMEM_NO_BLOCK;
        }
        class->evacuating = TMEM_NO_BLOCK;
        class->num_blocks = 0;
        class->used = 0;
        g_mutex_unlock(&class->lock);
    }
}

/* After arena_init_lists(), when no list has a block any more. */
static void arena_init_blocks(TmemArena *arena)
{
    g_mutex_lock(&arena->lock);
    arena->num_used = 0;
    arena->num_touched = 0;
    arena->free_list = TMEM_NO_BLOCK;
    qatomic_set(&arena->over, false);
    g_mutex_unlock(&arena->lock);
    qatomic_set(&arena->num_nodes, 0);
}

static size_t arena_map_size(const TmemArena *arena)
{
    return arena->num_blocks * arena->block_size;
}

static size_t arena_table_size(const TmemArena *arena)
{
    return arena->num_blocks * sizeof(TmemBlock);
}

/*
 * Address space of @size bytes, a multiple of the page size, or NULL with errno
 * set. After mlockall() with MCL_FUTURE (-overcommit mem-lock=on) a plain
 * mapping would be populated as a whole: then it has to be locked page by page,
 * as pages come. msync() tells, it fails with EBUSY on locked memory.
 */
static void *arena_map(size_t size, size_t align, bool lock_memory)
{
    char *base = mmap(NULL, size + align, PROT_NONE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    char *aligned = QEMU_ALIGN_PTR_UP(base, align);

    if (base == MAP_FAILED) {
        return NULL;
    }
    if (aligned > base) {
        munmap(base, aligned - base);
    }
    munmap(aligned + size, base + align - aligned);
    base = aligned;
    if (((lock_memory ||
          (msync(base, size, MS_INVALIDATE) < 0 && errno == EBUSY)) &&
         mlock2(base, size, MLOCK_ONFAULT) < 0) ||
        mprotect(base, size, PROT_READ | PROT_WRITE) < 0) {
        int err = errno;

        munmap(base, size);
        errno = err;
        return NULL;
    }
    return base;
}

/* Blocks that fit in so many bytes with their metadata; 0: none, or too many */
static uint64_t arena_num_blocks(const TmemArena *arena, uint64_t bytes)
{
    uint64_t num = bytes / (arena->block_size + sizeof(TmemBlock));
    uint64_t max = (UINT64_C(1) << TMEM_HANDLE_BITS) / arena->block_size *
                   TMEM_GRAIN;

    return num < MIN(max, TMEM_NO_BLOCK) &&
           num <= SIZE_MAX / arena->block_size ? num : 0;
}

/* Reserve the address space of the arena; false with errno set. */
static bool arena_map_span(TmemArena *arena, uint64_t span)
{
    arena->num_blocks = arena_num_blocks(arena, span);
    if (!arena->num_blocks) {
        errno = EOVERFLOW;
        return false;
    }
    arena->base = arena_map(arena_map_size(arena), arena->block_size,
                            arena->locked);
    if (!arena->base) {
        return false;
    }
    arena->blocks = arena_map(arena_table_size(arena), TMEM_BLOCK_SIZE,
                              arena->locked);
    if (!arena->blocks) {
        int err = errno;

        munmap(arena->base, arena_map_size(arena));
        errno = err;
        return false;
    }
    return true;
}

bool tmem_arena_init(TmemArena *arena, const TmemArenaConfig *config,
                     GError **errp)
{
    memset(arena, 0, sizeof(*arena));
    arena->block_size = config->hugepages ? TMEM_HUGE_BLOCK_SIZE
                                          : TMEM_BLOCK_SIZE;
    arena->locked = config->lock_memory;
    arena->max_object = config->max_object;

    if (!arena_num_blocks(arena, config->limit)) {
        g_set_error(errp, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                    "a page store of %" PRIu64 " bytes is %s", config->limit,
                    config->limit / 2 > arena->block_size ?
                    "beyond this host's address space" : "less than one block");
        return false;
    }
    if (!arena_map_span(arena, MAX(config->span, config->limit)) &&
        !arena_map_span(arena, config->limit)) {
        int err = errno;

        g_set_error(errp, G_FILE_ERROR, g_file_error_from_errno(err),
                    "cannot reserve %saddress space for a page store of %"
                    PRIu64 " bytes: %s%s", arena->locked ? "locked " : "",
                    config->limit, g_strerror(err),
                    arena->locked ? " (raise the limit of locked memory, "
                                    "RLIMIT_MEMLOCK)" : "");
        return false;
    }
    madvise(arena->base, arena_map_size(arena), MADV_DONTDUMP);
    /*
     * Unless blocks are huge pages, one would take 2 MiB for a block of 64 KiB,
     * and keep them after the block went back: more than is counted.
     */
    madvise(arena->base, arena_map_size(arena),
            config->hugepages ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    madvise(arena->blocks, arena_table_size(arena), MADV_NOHUGEPAGE);

    arena_init_classes(arena);
    arena_init_lists(arena);
    arena_init_blocks(arena);
    tmem_arena_set_limit(arena, config->limit, config->limit);
    tmem_reserve_init(&arena->reserve);
    return true;
}

void tmem_arena_destroy(TmemArena *arena)
{
    munmap(arena->base, arena_map_size(arena));
    munmap(arena->blocks, arena_table_size(arena));
    for (unsigned c = 0; c < NUM_CLASSES; c++) {
        g_mutex_clear(&arena->classes[c].lock);
    }
    g_mutex_clear(&arena->lock);
    tmem_reserve_destroy(&arena->reserve);
}

/*
 * All metadata that the blocks of the largest possible limit need counts as
 * taken from the beginning: then what is used does not depend on the past.
 */
static uint64_t arena_table_bytes(const TmemArena *arena)
{
    return arena_num_blocks(arena, arena->hard_limit) * sizeof(TmemBlock);
}

/* The next two: called with the lock of the arena held. */
static uint64_t arena_bytes_locked(const TmemArena *arena)
{
    return arena_table_bytes(arena) +
           arena->num_used * (uint64_t)arena->block_size;
}

static void arena_note_over(TmemArena *arena)
{
    qatomic_set(&arena->over, arena_bytes_locked(arena) > arena->limit);
}

uint64_t tmem_arena_span(const TmemArena *arena)
{
    return arena->num_blocks * (arena->block_size + sizeof(TmemBlock));
}

void tmem_arena_set_limit(TmemArena *arena, uint64_t limit,
                          uint64_t hard_limit)
{
    uint64_t spare = 0;

    if (arena->keep_spare) {
        spare = MIN(EXCEED_BLOCKS * (uint64_t)arena->block_size,
                    hard_limit / 8);
    }
    g_mutex_lock(&arena->lock);
    /* More than the hard limit: for a while, and on purpose */
    arena->limit = limit > hard_limit ? limit : MIN(limit, hard_limit - spare);
    arena->hard_limit = hard_limit - spare;
    /*
     * What makes room needs some first, also when more is taken than the hard
     * limit allows, because that was lowered: a few blocks. Otherwise the hard
     * limit holds for it too.
     */
    arena->exceed_limit = arena_bytes_locked(arena);
    if (arena->exceed_limit > hard_limit) {
        arena->exceed_limit += EXCEED_BLOCKS * (uint64_t)arena->block_size;
    } else {
        arena->exceed_limit = hard_limit;
    }
    arena_note_over(arena);
    g_mutex_unlock(&arena->lock);
}

static void memory_give_back(void *start, size_t size)
{
    /* The first fails on memory that is locked. */
    if (size && madvise(start, size, MADV_DONTNEED) < 0 &&
        madvise(start, size, MADV_DONTNEED_LOCKED) < 0) {
        /* Before Linux 5.18 there is only the long way. */
        munlock(start, size);
        madvise(start, size, MADV_DONTNEED);
        mlock2(start, size, MLOCK_ONFAULT);
    }
}

static char *block_start(const TmemArena *arena, uint32_t b)
{
    return arena->base + b * arena->block_size;
}

void tmem_arena_reset(TmemArena *arena)
{
    /* Promises may be made at any time, and need objects. */
    g_mutex_lock(&arena->reserve.lock);
    tmem_reserve_reset(&arena->reserve);
    arena_init_lists(arena);
    memory_give_back(arena->base, arena->num_touched * arena->block_size);
    memory_give_back(arena->blocks, arena->num_touched * sizeof(TmemBlock));
    arena_init_blocks(arena);
    g_mutex_unlock(&arena->reserve.lock);
}

/* From here to class_grow(): called with the lock of the class held. */
static uint32_t *list_head(TmemClass *class, unsigned list)
{
    return list == TMEM_BLOCK_EVACUATING ? &class->evacuating
                                         : &class->partial[list];
}

static void list_add(TmemArena *arena, TmemClass *class, uint32_t b,
                     unsigned list)
{
    TmemBlock *block = &arena->blocks[b];
    uint32_t *head = list_head(class, list);

    block->prev = TMEM_NO_BLOCK;
    block->next = *head;
    if (block->next != TMEM_NO_BLOCK) {
        arena->blocks[block->next].prev = b;
    }
    *head = b;
    /* Pairs with tmem_arena_must_move(), which may see the older state. */
    qatomic_set(&block->list, list);
}

static void list_del(TmemArena *arena, TmemClass *class, uint32_t b)
{
    TmemBlock *block = &arena->blocks[b];

    if (block->next != TMEM_NO_BLOCK) {
        arena->blocks[block->next].prev = block->prev;
    }
    if (block->prev != TMEM_NO_BLOCK) {
        arena->blocks[block->prev].next = block->next;
    } else {
        *list_head(class, block->list) = block->next;
    }
}

static unsigned block_quarter(const TmemClass *class, const TmemBlock *block)
{
    return block->used == class->objects ?
           TMEM_BLOCK_FULL :
           (uint64_t)block->used * TMEM_NUM_QUARTERS / class->objects;
}

/* The number of used objects has changed: maybe the list has to. */
static void block_relist(TmemArena *arena, TmemClass *class, uint32_t b)
{
    TmemBlock *block = &arena->blocks[b];
    unsigned list = block_quarter(class, block);

    if (block->list == list || block->list == TMEM_BLOCK_EVACUATING) {
        return;
    }
    if (block->list != TMEM_BLOCK_FULL) {
        list_del(arena, class, b);
    }
    if (list != TMEM_BLOCK_FULL) {
        list_add(arena, class, b, list);
    } else {
        qatomic_set(&block->list, list);
    }
}

/* A block that holds nothing, or TMEM_NO_BLOCK when the limit is reached. */
static uint32_t arena_take_block(TmemArena *arena, TmemAllocMode mode)
{
    uint32_t b = TMEM_NO_BLOCK;
    uint64_t bytes;

    g_mutex_lock(&arena->lock);
    bytes = arena_bytes_locked(arena) + arena->block_size;
    if (bytes <= (mode == TMEM_ALLOC_EXCEED ? arena->exceed_limit
                                            : arena->limit)) {
        if (arena->free_list != TMEM_NO_BLOCK) {
            b = arena->free_list;
            arena->free_list = arena->blocks[b].next;
            arena->num_used++;
        } else if (arena->num_touched < arena->num_blocks) {
            b = arena->num_touched++;
            arena->num_used++;
        }
    }
    arena_note_over(arena);
    g_mutex_unlock(&arena->lock);
    return b;
}

/* Called without the lock of a class: takes some time. */
static void arena_return_block(TmemArena *arena, uint32_t b)
{
    memory_give_back(block_start(arena, b), arena->block_size);

    g_mutex_lock(&arena->lock);
    arena->blocks[b].next = arena->free_list;
    arena->free_list = b;
    arena->num_used--;
    arena_note_over(arena);
    g_mutex_unlock(&arena->lock);
}

/* The block that a new object goes to: the fullest with room. */
static uint32_t class_block(const TmemClass *class)
{
    for (int q = TMEM_NUM_QUARTERS - 1; q >= 0; q--) {
        if (class->partial[q] != TMEM_NO_BLOCK) {
            return class->partial[q];
        }
    }
    return TMEM_NO_BLOCK;
}

static uint32_t class_grow(TmemArena *arena, unsigned c, TmemAllocMode mode)
{
    TmemClass *class = &arena->classes[c];
    uint32_t b = arena_take_block(arena, mode);

    if (b != TMEM_NO_BLOCK) {
        TmemBlock *block = &arena->blocks[b];

        block->used = 0;
        block->fresh = 0;
        block->freed = 0;
        block->size_class = c;
        list_add(arena, class, b, 0);
        class->num_blocks++;
    }
    return b;
}

static TmemHandle object_take(TmemArena *arena, unsigned c, uint32_t b)
{
    TmemClass *class = &arena->classes[c];
    TmemBlock *block = &arena->blocks[b];
    size_t offset = b * arena->block_size;

    if (block->freed) {
        offset += (block->freed - 1) * (size_t)class_size[c];
        /* A freed object begins with the link to the one freed before it. */
        memcpy(&block->freed, arena->base + offset, sizeof(block->freed));
    } else {
        offset += block->fresh++ * (size_t)class_size[c];
    }
    block->used++;
    class->used++;
    block_relist(arena, class, b);
    return offset / TMEM_GRAIN + 1;
}

/* A block that compaction was to empty: it is needed as it is. */
static uint32_t class_take_back(TmemArena *arena, TmemClass *class)
{
    uint32_t b = class->evacuating;

    if (b != TMEM_NO_BLOCK) {
        list_del(arena, class, b);
        list_add(arena, class, b, block_quarter(class, &arena->blocks[b]));
    }
    return b;
}

/* An object of class @c, or 0. @grow: a new block may be taken for it. */
static TmemHandle class_alloc(TmemArena *arena, unsigned c, bool grow,
                              TmemAllocMode mode)
{
    TmemClass *class = &arena->classes[c];
    TmemHandle handle = 0;
    uint32_t b;

    g_mutex_lock(&class->lock);
    b = class_block(class);
    if (b == TMEM_NO_BLOCK && grow) {
        b = class_grow(arena, c, mode);
    }
    if (b == TMEM_NO_BLOCK &&
        (mode == TMEM_ALLOC_GROW || mode == TMEM_ALLOC_RESERVED)) {
        b = class_take_back(arena, class);
    }
    if (b != TMEM_NO_BLOCK) {
        handle = object_take(arena, c, b);
    }
    g_mutex_unlock(&class->lock);
    return handle;
}

/* Nobody but tests writes what is read here. */
bool tmem_arena_must_fail(TmemArena *arena)
{
    return unlikely(qatomic_read(&arena->inject) > 0) &&
           __atomic_sub_fetch(&arena->inject, 1, __ATOMIC_RELAXED) == 0;
}

TmemHandle tmem_arena_alloc(TmemArena *arena, size_t size, TmemAllocMode mode)
{
    TmemHandle handle;
    unsigned c;

    g_assert(size > 0 && size <= TMEM_MAX_OBJECT);
    if (tmem_arena_must_fail(arena)) {
        return mode == TMEM_ALLOC_RESERVED ? tmem_reserve_take(arena, size)
                                           : 0;
    }
    /* Nor does what is free below the limit's blocks fill up again then. */
    if (mode == TMEM_ALLOC_GROW && qatomic_read(&arena->over)) {
        return 0;
    }
    c = arena->class_of[(size + TMEM_GRAIN - 1) / TMEM_GRAIN];
    handle = class_alloc(arena, c, mode != TMEM_ALLOC_PACK, mode);

    /*
     * The limit is reached: a larger object that is free will do. So it will
     * for what has to leave such an object: else its block would never empty.
     */
    while (!handle && mode != TMEM_ALLOC_EXCEED && ++c < NUM_CLASSES) {
        handle = class_alloc(arena, c, false, mode);
    }
    return handle || mode != TMEM_ALLOC_RESERVED ?
           handle : tmem_reserve_take(arena, size);
}

static uint32_t handle_block(const TmemArena *arena, TmemHandle handle)
{
    return (handle - 1) * TMEM_GRAIN / arena->block_size;
}

void tmem_arena_free(TmemArena *arena, TmemHandle handle)
{
    size_t offset = (handle - 1) * TMEM_GRAIN;
    uint32_t b = handle_block(arena, handle);
    TmemBlock *block = &arena->blocks[b];
    unsigned c = block->size_class;
    TmemClass *class = &arena->classes[c];
    bool empty;

    g_mutex_lock(&class->lock);
    g_assert(handle && b < arena->num_blocks && block->used > 0);
    memcpy(arena->base + offset, &block->freed, sizeof(block->freed));
    block->freed = offset % arena->block_size / class_size[c] + 1;
    block->used--;
    class->used--;
    empty = block->used == 0;
    if (!empty) {
        block_relist(arena, class, b);
    } else {
        if (block->list != TMEM_BLOCK_FULL) {
            list_del(arena, class, b);
        }
        class->num_blocks--;
    }
    g_mutex_unlock(&class->lock);

    if (empty) {
        arena_return_block(arena, b);
    }
}

/* Blocks less that the class would need if it were packed. */
static uint32_t class_reclaimable(const TmemClass *class)
{
    return class->num_blocks -
           (class->used + class->objects - 1) / class->objects;
}

/* Blocks of a class to be emptied. */
static uint32_t class_evacuate(TmemArena *arena, TmemClass *class)
{
    uint32_t num = 0;
    uint32_t max;

    g_mutex_lock(&class->lock);
    max = MIN(class_reclaimable(class), MAX_EVACUATING);
    for (unsigned q = 0; q < TMEM_NUM_QUARTERS && num < max; q++) {
        while (class->partial[q] != TMEM_NO_BLOCK && num < max) {
            uint32_t b = class->partial[q];

            list_del(arena, class, b);
            list_add(arena, class, b, TMEM_BLOCK_EVACUATING);
            num++;
        }
    }
    g_mutex_unlock(&class->lock);
    return num;
}

uint32_t tmem_arena_evacuate(TmemArena *arena)
{
    uint32_t num = 0;

    for (unsigned c = 0; c < NUM_CLASSES; c++) {
        num += class_evacuate(arena, &arena->classes[c]);
    }
    return num;
}

uint32_t tmem_arena_evacuate_end(TmemArena *arena)
{
    uint32_t num = 0;

    for (unsigned c = 0; c < NUM_CLASSES; c++) {
        TmemClass *class = &arena->classes[c];

        g_mutex_lock(&class->lock);
        while (class->evacuating != TMEM_NO_BLOCK) {
            uint32_t b = class->evacuating;

            list_del(arena, class, b);
            list_add(arena, class, b,
                     block_quarter(class, &arena->blocks[b]));
            num++;
        }
        g_mutex_unlock(&class->lock);
    }
    return num;
}

bool tmem_arena_must_move(const TmemArena *arena, TmemHandle handle)
{
    const TmemBlock *block = &arena->blocks[handle_block(arena, handle)];

    return qatomic_read(&block->list) == TMEM_BLOCK_EVACUATING;
}

uint64_t tmem_arena_bytes(TmemArena *arena)
{
    uint64_t bytes;

    g_mutex_lock(&arena->lock);
    bytes = arena_bytes_locked(arena);
    g_mutex_unlock(&arena->lock);
    return bytes;
}

void tmem_arena_get_stats(TmemArena *arena, TmemArenaStats *stats)
{
    uint64_t blocks = 0;

    for (unsigned c = 0; c < NUM_CLASSES; c++) {
        TmemClass *class = &arena->classes[c];

        g_mutex_lock(&class->lock);
        blocks += class_reclaimable(class);
        g_mutex_unlock(&class->lock);
    }
    stats->reclaimable = blocks * arena->block_size;

    g_mutex_lock(&arena->lock);
    stats->bytes_blocks = arena->num_used * (uint64_t)arena->block_size;
    stats->bytes_used = stats->bytes_blocks +
                        arena_table_bytes(arena);
    g_mutex_unlock(&arena->lock);
}
