/*
 * Codec of the virtio-tmem page store
 *
 * Same-filled pages become 8 bytes, others one lz4 block, and what does not
 * get smaller stays raw.
 *
 * Rules: the source is read exactly once, into scratch memory, because its
 * owner may write it meanwhile, and lz4 promises nothing about a source that
 * changes: a page that was accepted might not decode. The copy costs next to
 * nothing, since lz4 then reads it from the cache. Each block is decodable by
 * itself.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <lz4.h>
#include "hw/virtio/tmem-store.h"
#include "tmem-store-codec.h"

#define PAGE_WORDS (TMEM_PAGE_SIZE / sizeof(uint64_t))

typedef struct CodecScratch {
    uint64_t page[PAGE_WORDS];
    char out[LZ4_COMPRESSBOUND(TMEM_PAGE_SIZE)];
    LZ4_stream_t lz4;
} CodecScratch;

static __thread CodecScratch scratch;

static bool page_is_same_filled(const uint64_t *page)
{
    for (unsigned i = 1; i < PAGE_WORDS; i++) {
        if (page[i] != page[0]) {
            return false;
        }
    }
    return true;
}

/* Compress scratch.page to scratch.out, where it fits. Returns its length. */
static int scratch_compress(void)
{
    /*
     * With room for the worst case, lz4 leaves out its checks for the end of
     * the buffer. Re-using its tables from page to page, by a stream that is
     * only reset, would save their clearing and cost twice that in false hits.
     */
    return LZ4_compress_fast_extState(&scratch.lz4,
                                      (const char *)scratch.page, scratch.out,
                                      TMEM_PAGE_SIZE, sizeof(scratch.out), 1);
}

TmemCoded tmem_codec_encode(const void *page)
{
    int len;

    memcpy(scratch.page, page, TMEM_PAGE_SIZE);

    if (page_is_same_filled(scratch.page)) {
        return (TmemCoded) {
            TMEM_KIND_SAME, sizeof(scratch.page[0]), scratch.page
        };
    }
    len = scratch_compress();
    if (len > 0 && len <= TMEM_LZ4_MAX) {
        return (TmemCoded) { TMEM_KIND_LZ4, len, scratch.out };
    }
    return (TmemCoded) { TMEM_KIND_RAW, TMEM_PAGE_SIZE, scratch.page };
}

void *tmem_codec_scratch(void)
{
    return scratch.page;
}

static void page_fill(char *page, uint64_t word)
{
    for (unsigned i = 0; i < PAGE_WORDS; i++) {
        memcpy(page + i * sizeof(word), &word, sizeof(word));
    }
}

int tmem_codec_decode(const TmemCoded *coded, void *page)
{
    uint64_t word;

    switch (coded->kind) {
    case TMEM_KIND_SAME:
        memcpy(&word, coded->data, sizeof(word));
        page_fill(page, word);
        return 0;
    case TMEM_KIND_RAW:
        memcpy(page, coded->data, TMEM_PAGE_SIZE);
        return 0;
    case TMEM_KIND_LZ4:
        return LZ4_decompress_safe(coded->data, page, coded->len,
                                   TMEM_PAGE_SIZE) == TMEM_PAGE_SIZE ? 0 : -EIO;
    }
    return -EIO;
}
