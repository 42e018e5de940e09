/*
 * Pages for the benchmark of virtio-tmem's page store
 *
 * Each corpus is an array of distinct pages in memory. What comes from files
 * of this machine is read in a fixed order, what is made up follows from a
 * fixed seed: the same machine always gets the same pages.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TESTS_BENCH_TMEM_STORE_CORPUS_H
#define TESTS_BENCH_TMEM_STORE_CORPUS_H

#include <stddef.h>
#include <stdint.h>
#include "hw/virtio/tmem-store.h"

typedef struct Corpus {
    const char *name;
    const char *what;       /* where the pages come from, in one line */
    char *pages;            /* @num pages of %TMEM_PAGE_SIZE bytes */
    size_t num;             /* may be fewer than asked for; 0: none found */
} Corpus;

/* Names of all corpora, in the order to run them, NULL at the end. */
extern const char *const corpus_names[];

/**
 * corpus_new: collect the pages of one corpus
 * @num: how many distinct pages are wanted
 *
 * Returns: the corpus, or NULL when there is none of that name.
 */
Corpus *corpus_new(const char *name, size_t num);

/**
 * corpus_free: release what corpus_new() returned (NULL is allowed)
 */
void corpus_free(Corpus *corpus);

/**
 * memory_new: @size bytes, backed by huge pages if there are any, as QEMU
 * does it for the memory of a guest; exits when there are none
 */
void *memory_new(size_t size);

void memory_free(void *memory, size_t size);

/**
 * next_random: 64 bits that follow from @state
 */
static inline uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

#endif
