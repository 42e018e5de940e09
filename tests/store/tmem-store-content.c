/*
 * Contents of pages for the model of the page store
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "tmem-store-content.h"

uint64_t mix(uint64_t z)
{
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

bool same_word(unsigned kind, uint64_t version, uint64_t *word)
{
    switch (kind) {
    case 0:
        *word = version % 2 ? version : 0;
        return true;
    case 1:
        *word = ~version;
        return true;
    case 2:
        *word = mix(version);
        return true;
    default:
        return false;
    }
}

bool word_fits_entry(uint64_t word)
{
    return (int64_t)word >= -(INT64_C(1) << 60) &&
           (int64_t)word < INT64_C(1) << 60;
}

/* How many words of a page do not compress. */
static unsigned random_words(unsigned kind, uint64_t version)
{
    switch (kind) {
    case 3:
        return PAGE_WORDS;
    case 4:
        return version % 16;
    case 5:
        return mix(version) % PAGE_WORDS;
    default:
        return PAGE_WORDS - mix(version) % 64;  /* around what is worth it */
    }
}

void page_fill(uint64_t *words, unsigned kind, uint64_t version)
{
    uint64_t word;
    bool same = same_word(kind, version, &word);
    unsigned random = random_words(kind, version);

    for (unsigned i = 0; i < PAGE_WORDS; i++) {
        if (same) {
            words[i] = word;
        } else if (kind == 6) {
            /* Half of each byte: zstd finds that, lz4 does not. */
            words[i] = mix(version << 9 | i) & UINT64_C(0x0f0f0f0f0f0f0f0f);
        } else {
            words[i] = i < random ? mix(version << 9 | i) : i % 7;
        }
    }
    if (!same) {
        words[PAGE_WORDS / 2] = version;
    }
}
