/*
 * Codec of the virtio-tmem page store
 *
 * Turns a page into the fewest bytes it can, and back. Private to
 * tmem-store*.c and their unit tests.
 *
 * Threads: any, with no lock. Each thread has its own scratch memory (about
 * 24 KiB, and some 300 KiB more once it uses zstd; not part of the store's
 * limit). For want of it, pages stay as they are and nothing fails.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef HW_VIRTIO_TMEM_STORE_CODEC_H
#define HW_VIRTIO_TMEM_STORE_CODEC_H

#include <stdbool.h>
#include <stdint.h>
#include "hw/virtio/tmem-store.h"

/*
 * Most bytes of a compressed page: with one more, it would share its size class
 * with raw pages, which are faster to get.
 */
#define TMEM_CODED_MAX 3840

typedef enum TmemKind {
    TMEM_KIND_SAME = 1,    /* one word of 8 bytes, repeated */
    TMEM_KIND_LZ4 = 2,     /* one lz4 block, 1..TMEM_CODED_MAX bytes */
    TMEM_KIND_RAW = 3,     /* the page as it was */
    TMEM_KIND_ZSTD = 4,    /* one zstd frame, 1..TMEM_CODED_MAX bytes */
} TmemKind;

typedef struct TmemCodec {
    TmemCompression compression;
    int level;             /* of zstd */
} TmemCodec;

typedef struct TmemCoded {
    TmemKind kind;
    unsigned len;          /* bytes at data: 8 when same-filled */
    const void *data;      /* in the thread's scratch memory */
    bool has_checksum;
    uint32_t checksum;     /* of the store's; the codec does not touch it */
} TmemCoded;

/**
 * tmem_codec_has_zstd: whether this build has zstd
 */
bool tmem_codec_has_zstd(void);

/**
 * tmem_codec_encode: make a page small
 * @page: %TMEM_PAGE_SIZE bytes; may change meanwhile: the result is then some
 *        mix, but one that always decodes
 *
 * Returns: what to keep. Its data is lost at this thread's next call to a
 * function of this header other than tmem_codec_decode().
 */
TmemCoded tmem_codec_encode(const TmemCodec *codec, const void *page);

/**
 * tmem_codec_recode: make what was encoded smaller, with zstd
 * @coded: as tmem_codec_encode() made it; its data may be what
 *         tmem_codec_load() returned
 *
 * Returns: true when @coded is smaller by a size class or more; it has the same
 * lifetime as in tmem_codec_encode(). False leaves @coded as it was, its data
 * lost.
 */
bool tmem_codec_recode(const TmemCodec *codec, TmemCoded *coded);

/**
 * tmem_codec_load: copy what was kept to this thread's scratch memory, for a
 * time when it may change where it is
 * @len: up to %TMEM_PAGE_SIZE
 */
const void *tmem_codec_load(const void *data, size_t len);

/**
 * tmem_codec_decode: make a page of what was kept
 * @page: %TMEM_PAGE_SIZE bytes; lz4 reads back what it wrote there, so if a
 *        guest changes it meanwhile, the page is spoilt for that guest
 *
 * Returns: 0, or -EIO when @coded is not what an encoded page looks like; the
 * page is then filled with anything.
 */
int tmem_codec_decode(const TmemCoded *coded, void *page);

/**
 * tmem_codec_lost: what is kept for a page whose bytes are lost for good
 *
 * Returns: an lz4 block of one byte, which no page is encoded as, and which
 * never decodes.
 */
TmemCoded tmem_codec_lost(void);

/**
 * tmem_codec_is_lost: whether @coded is what tmem_codec_lost() returns
 */
bool tmem_codec_is_lost(const TmemCoded *coded);

/**
 * tmem_codec_checksum: xxHash64 of @len bytes, its lower half
 * @seed: what else the checksum is to be of
 */
uint32_t tmem_codec_checksum(const void *data, size_t len, uint64_t seed);

#endif
