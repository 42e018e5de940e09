/*
 * Index of the virtio-tmem page store
 *
 *   index word -> node of 64 slots -> ... -> node of 64 slots -> values
 *
 * Each level takes 6 bits of the key; the tree is as tall as its largest key
 * needs, so dense low keys cost 8.1 bytes each and one far key at most 11
 * nodes. A node is 512 bytes and nothing else: the word that points to it also
 * counts its slots in use:
 *
 *   63        handle        16 | 15..12 | 11  height  8 | 7   slots used   0
 *
 * Rules: no node is ever empty; the height (kept in the index word only) is
 * the least that will do; what cannot be done for want of room changes nothing.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "tmem-store-index.h"

#define NODE_BITS 6
#define NODE_SLOTS (1u << NODE_BITS)
#define NODE_SIZE TMEM_INDEX_NODE_SIZE
#define MAX_HEIGHT 11           /* 11 levels of 6 bits hold any 64-bit key */

#define WORD_HANDLE_SHIFT 16
#define WORD_HEIGHT_SHIFT 8
#define WORD_HEIGHT_MASK UINT64_C(0xf00)
#define WORD_USED_MASK UINT64_C(0xff)
#define WORD_LOW_MASK ((UINT64_C(1) << WORD_HANDLE_SHIFT) - 1)

G_STATIC_ASSERT(WORD_HANDLE_SHIFT + TMEM_HANDLE_BITS <= 64);
G_STATIC_ASSERT(NODE_SIZE == NODE_SLOTS * sizeof(uint64_t));

static uint64_t *node_slots(const TmemArena *arena, uint64_t word)
{
    return tmem_arena_ptr(arena, word >> WORD_HANDLE_SHIFT);
}

static unsigned node_used(uint64_t word)
{
    return word & WORD_USED_MASK;
}

static unsigned index_height(TmemIndex index)
{
    return (index & WORD_HEIGHT_MASK) >> WORD_HEIGHT_SHIFT;
}

static TmemIndex index_make(uint64_t word, unsigned height)
{
    return (word & ~WORD_HEIGHT_MASK) | (uint64_t)height << WORD_HEIGHT_SHIFT;
}

/* The largest key below a node of the level, the lowest level being 1. */
static uint64_t level_max(unsigned level)
{
    return level >= MAX_HEIGHT ? UINT64_MAX
                               : (UINT64_C(1) << level * NODE_BITS) - 1;
}

static unsigned level_shift(unsigned level)
{
    return (level - 1) * NODE_BITS;
}

static unsigned level_slot(uint64_t key, unsigned level)
{
    return key >> level_shift(level) & (NODE_SLOTS - 1);
}

static unsigned key_height(uint64_t key)
{
    unsigned height = 1;

    while (key > level_max(height)) {
        height++;
    }
    return height;
}

uint64_t *tmem_index_lookup(const TmemArena *arena, TmemIndex index,
                            uint64_t key)
{
    unsigned level = index_height(index);
    uint64_t word = index;

    if (!index || key > level_max(level)) {
        return NULL;
    }
    for (;; level--) {
        uint64_t *slot = &node_slots(arena, word)[level_slot(key, level)];

        if (!*slot || level == 1) {
            return *slot ? slot : NULL;
        }
        word = *slot;
    }
}

static void node_free(TmemArena *arena, uint64_t word)
{
    tmem_arena_free(arena, word >> WORD_HANDLE_SHIFT);
    qatomic_dec(&arena->num_nodes);
}

/* Move a node that is in the way of compaction. Its place is @word alone. */
static void node_pack(TmemArena *arena, uint64_t *word)
{
    TmemHandle old = *word >> WORD_HANDLE_SHIFT;
    TmemHandle new;

    if (!tmem_arena_must_move(arena, old)) {
        return;
    }
    new = tmem_arena_alloc(arena, NODE_SIZE, TMEM_ALLOC_PACK);
    if (new) {
        memcpy(tmem_arena_ptr(arena, new), tmem_arena_ptr(arena, old),
               NODE_SIZE);
        *word = (*word & WORD_LOW_MASK) | new << WORD_HANDLE_SHIFT;
        tmem_arena_free(arena, old);
    }
}

/* The first key beyond the subtree that holds @key, or 0: there is none. */
static uint64_t level_next(uint64_t key, unsigned level)
{
    uint64_t mask = (UINT64_C(1) << level_shift(level)) - 1;

    return (key | mask) + 1;
}

uint64_t *tmem_index_next(TmemArena *arena, TmemIndex *index, uint64_t *key,
                          unsigned *num, bool pack)
{
    unsigned height = index_height(*index);
    unsigned level = height;
    uint64_t *word = index;

    if (!*index) {
        return NULL;
    }
    while (*key <= level_max(height)) {
        unsigned i = level_slot(*key, level);
        uint64_t *slots;

        if (pack) {
            node_pack(arena, word);
        }
        slots = node_slots(arena, *word);
        while (i < NODE_SLOTS && !slots[i]) {
            *key = level_next(*key, level);
            if (*key == 0) {
                return NULL;
            }
            i++;
        }
        if (i < NODE_SLOTS && level == 1) {
            *num = NODE_SLOTS - i;
            return &slots[i];
        } else if (i < NODE_SLOTS) {
            word = &slots[i];
            level--;
        } else {
            /* Nothing from here on: down again, to the right of it. */
            word = index;
            level = height;
        }
    }
    return NULL;
}

/* How many nodes the tree lacks to hold the key at a height of @height. */
static unsigned nodes_missing(const TmemArena *arena, TmemIndex index,
                              uint64_t key, unsigned height)
{
    unsigned level = index_height(index);
    uint64_t word = index;

    if (!index) {
        return height;
    }
    if (height > level) {
        /* New nodes above the root, and a branch below the topmost. */
        return height - level + height - 1;
    }
    for (; level > 1; level--) {
        word = node_slots(arena, word)[level_slot(key, level)];
        if (!word) {
            return level - 1;
        }
    }
    return 0;
}

/* Allocate @num empty nodes, or none. Their words have no slots in use. */
static bool nodes_alloc(TmemArena *arena, uint64_t *words, unsigned num,
                        TmemAllocMode mode)
{
    for (unsigned i = 0; i < num; i++) {
        TmemHandle handle = tmem_arena_alloc(arena, NODE_SIZE, mode);

        if (!handle) {
            while (i-- > 0) {
                node_free(arena, words[i]);
            }
            return false;
        }
        words[i] = handle << WORD_HANDLE_SHIFT;
        memset(tmem_arena_ptr(arena, handle), 0, NODE_SIZE);
        qatomic_inc(&arena->num_nodes);
    }
    return true;
}

bool tmem_index_insert(TmemArena *arena, TmemIndex *index, uint64_t key,
                       uint64_t value, TmemAllocMode mode)
{
    unsigned height = MAX(key_height(key), index_height(*index));
    uint64_t spare[2 * MAX_HEIGHT];
    uint64_t *word = index;
    unsigned num = nodes_missing(arena, *index, key, height);

    if (!nodes_alloc(arena, spare, num, mode)) {
        return false;
    }

    if (*index) {
        for (unsigned h = index_height(*index); h < height; h++) {
            uint64_t root = spare[--num];

            node_slots(arena, root)[0] = index_make(*index, 0);
            *index = root + 1;
        }
        *index = index_make(*index, height);
    } else {
        *index = index_make(spare[--num], height);
    }

    for (unsigned level = height; ; level--) {
        uint64_t *slot = &node_slots(arena, *word)[level_slot(key, level)];

        if (level == 1) {
            g_assert(!*slot && !num);
            *slot = value;
            *word += 1;
            return true;
        }
        if (!*slot) {
            *slot = spare[--num];
            *word += 1;
        }
        word = slot;
    }
}

/* A slot of the node at @word was cleared: free the node with its last. */
static void node_lost_slot(TmemArena *arena, uint64_t *word)
{
    *word -= 1;
    if (node_used(*word) == 0) {
        node_free(arena, *word);
        *word = 0;
    }
}

/* Take off roots that have nothing but their first slot. */
static void index_shrink(TmemArena *arena, TmemIndex *index)
{
    while (*index && index_height(*index) > 1 && node_used(*index) == 1) {
        uint64_t below = node_slots(arena, *index)[0];
        unsigned height = index_height(*index);

        if (!below) {
            return;
        }
        node_free(arena, *index);
        *index = index_make(below, height - 1);
    }
}

uint64_t tmem_index_erase(TmemArena *arena, TmemIndex *index, uint64_t key)
{
    unsigned height = index_height(*index);
    uint64_t *path[MAX_HEIGHT + 1];   /* words of the nodes, by level */
    uint64_t *word = index;
    uint64_t value;

    if (!*index || key > level_max(height)) {
        return 0;
    }
    for (unsigned level = height; level > 0; level--) {
        path[level] = word;
        word = &node_slots(arena, *word)[level_slot(key, level)];
        if (!*word) {
            return 0;
        }
    }

    value = *word;
    *word = 0;
    for (unsigned level = 1; level <= height; level++) {
        node_lost_slot(arena, path[level]);
        if (*path[level]) {
            break;
        }
    }
    index_shrink(arena, index);
    return value;
}

typedef struct EraseWalk {
    TmemArena *arena;
    TmemIndexDropFn *drop;
    void *opaque;
} EraseWalk;

/* Erase below one node. @first and @last count from the node's first key. */
static void erase_below(const EraseWalk *walk, uint64_t *word, unsigned level,
                        uint64_t first, uint64_t last)
{
    uint64_t *slots = node_slots(walk->arena, *word);
    unsigned shift = level_shift(level);
    uint64_t mask = (UINT64_C(1) << shift) - 1;
    unsigned begin = first >> shift;
    unsigned end = last >> shift;

    for (unsigned i = begin; i <= end && *word; i++) {
        uint64_t value = slots[i];

        if (!value) {
            continue;
        }
        if (level == 1) {
            slots[i] = 0;
            walk->drop(value, walk->opaque);
        } else {
            erase_below(walk, &slots[i], level - 1,
                        i == begin ? first & mask : 0,
                        i == end ? last & mask : mask);
        }
        if (!slots[i]) {
            node_lost_slot(walk->arena, word);
        }
    }
}

void tmem_index_erase_range(TmemArena *arena, TmemIndex *index,
                            uint64_t first, uint64_t last,
                            TmemIndexDropFn *drop, void *opaque)
{
    const EraseWalk walk = { arena, drop, opaque };
    unsigned height = index_height(*index);

    if (!*index || first > last || first > level_max(height)) {
        return;
    }
    erase_below(&walk, index, height, first, MIN(last, level_max(height)));
    index_shrink(arena, index);
}
