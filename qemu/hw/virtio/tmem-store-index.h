/*
 * Index of the virtio-tmem page store
 *
 * A radix tree from 64-bit keys to values of 64 bits that are not 0. Private
 * to tmem-store*.c and their unit tests.
 *
 * Threads: a tree is used by one thread at a time; the caller sees to it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef HW_VIRTIO_TMEM_STORE_INDEX_H
#define HW_VIRTIO_TMEM_STORE_INDEX_H

#include "tmem-store-alloc.h"

/*
 * A whole tree is this one word, so a tree can be a value of another tree.
 * 0 is the empty tree; an empty tree is always 0 and holds no memory.
 */
typedef uint64_t TmemIndex;

/* Bytes of each node, in the arena. */
#define TMEM_INDEX_NODE_SIZE 512

/* Takes a value that has just been removed. May free objects of the arena. */
typedef void TmemIndexDropFn(uint64_t value, void *opaque);

/**
 * tmem_index_lookup: find the place of a key's value
 *
 * Returns: the place, or NULL when there is no such key. Another value that is
 * not 0 may be written there. Valid until the tree gains or loses a key.
 */
uint64_t *tmem_index_lookup(const TmemArena *arena, TmemIndex index,
                            uint64_t key);

/**
 * tmem_index_next: find the first value at or after a key
 * @key: set to the key of that value
 * @num: set to how many places there are from it on, of that key and those
 *       that follow it; the others may be empty (0)
 * @pack: move nodes on the way out of blocks that compaction is to empty
 *
 * Returns: the place, as tmem_index_lookup(); NULL when there is no such value.
 */
uint64_t *tmem_index_next(TmemArena *arena, TmemIndex *index, uint64_t *key,
                          unsigned *num, bool pack);

/**
 * tmem_index_insert: add a key that is not there yet
 * @value: not 0
 * @mode: for the nodes that the tree needs
 *
 * Returns: false when the arena has no room; the tree is then as before.
 */
bool tmem_index_insert(TmemArena *arena, TmemIndex *index, uint64_t key,
                       uint64_t value, TmemAllocMode mode);

/**
 * tmem_index_erase: remove a key, and the nodes that get empty by that
 *
 * Returns: the value it had, or 0 when there is no such key.
 */
uint64_t tmem_index_erase(TmemArena *arena, TmemIndex *index, uint64_t key);

/**
 * tmem_index_erase_range: remove the keys from @first to @last inclusive
 * @drop: called with each value, in ascending order of the keys; it must not
 *        use this tree
 *
 * Visits the nodes that it frees, and two more on each level of the tree.
 */
void tmem_index_erase_range(TmemArena *arena, TmemIndex *index,
                            uint64_t first, uint64_t last,
                            TmemIndexDropFn *drop, void *opaque);

#endif
