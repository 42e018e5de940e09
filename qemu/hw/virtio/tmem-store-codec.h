/*
 * Codec of the virtio-tmem page store
 *
 * Turns a page into the fewest bytes it can, and back. Private to
 * tmem-store*.c and their unit tests.
 *
 * Threads: any, with no lock. Each thread has its own scratch memory (about
 * 24 KiB, not part of the store's limit); nothing here fails for want of it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef HW_VIRTIO_TMEM_STORE_CODEC_H
#define HW_VIRTIO_TMEM_STORE_CODEC_H

#include <stdint.h>

/*
 * Most bytes of an lz4 page: with one more, it would share its size class with
 * raw pages, which are faster to get.
 */
#define TMEM_LZ4_MAX 3840

typedef enum TmemKind {
    TMEM_KIND_SAME = 1,    /* one word of 8 bytes, repeated */
    TMEM_KIND_LZ4 = 2,     /* one lz4 block, 1..TMEM_LZ4_MAX bytes */
    TMEM_KIND_RAW = 3,     /* the page as it was */
} TmemKind;

typedef struct TmemCoded {
    TmemKind kind;
    unsigned len;          /* bytes at data: 8 when same-filled */
    const void *data;      /* in the thread's scratch memory */
} TmemCoded;

/**
 * tmem_codec_encode: make a page small
 * @page: %TMEM_PAGE_SIZE bytes, read once: it may change meanwhile, the result
 *        is then some mix, but one that always decodes
 *
 * Returns: what to keep. Its data is lost at this thread's next call to
 * tmem_codec_encode() or tmem_codec_scratch().
 */
TmemCoded tmem_codec_encode(const void *page);

/**
 * tmem_codec_scratch: %TMEM_PAGE_SIZE bytes of this thread, to keep the data
 * for tmem_codec_decode() in
 */
void *tmem_codec_scratch(void);

/**
 * tmem_codec_decode: make a page of what was kept
 * @page: %TMEM_PAGE_SIZE bytes; lz4 reads back what it wrote there, so if a
 *        guest changes it meanwhile, the page is spoilt for that guest
 *
 * Returns: 0, or -EIO when @coded is not what an encoded page looks like; the
 * page is then filled with anything.
 */
int tmem_codec_decode(const TmemCoded *coded, void *page);

#endif
