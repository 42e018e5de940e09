/*
 * Contents of pages for the model of the page store: they follow from a kind
 * and a version, so that they need not be kept
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TMEM_STORE_CONTENT_H
#define TMEM_STORE_CONTENT_H

#include "qemu/osdep.h"
#include "hw/virtio/tmem-store.h"

#define PAGE_WORDS (TMEM_PAGE_SIZE / sizeof(uint64_t))

/* A number that looks random: the same one each time (finalizer of SplitMix64). */
uint64_t mix(uint64_t z);

/* The word of a same-filled page; false: the kind has none. */
bool same_word(unsigned kind, uint64_t version, uint64_t *word);

/* Whether a page of that word takes no memory but its entry. */
bool word_fits_entry(uint64_t word);

/* Fill PAGE_WORDS words: below MODEL_KINDS, each kind is another way. */
void page_fill(uint64_t *words, unsigned kind, uint64_t version);

#endif
