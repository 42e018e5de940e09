/*
 * Codec of the virtio-tmem page store
 *
 * Same-filled pages become 8 bytes, others one lz4 block or zstd frame, and
 * what does not get smaller stays raw.
 *
 * Rules: what is compressed is a copy in scratch memory, because the owner of
 * the source may write it meanwhile, and the libraries promise nothing about a
 * source that changes: a page that was accepted might not decode. The copy
 * costs next to nothing, since they then read it from the cache. Each page is
 * decodable by itself.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <sys/mman.h>
#include <lz4.h>
#ifdef CONFIG_ZSTD
#include <zstd.h>
#endif
#include "qemu/bswap.h"
#include "qemu/xxhash.h"
#include "tmem-store-codec.h"

#define PAGE_WORDS (TMEM_PAGE_SIZE / sizeof(uint64_t))

/* Recompression has to save about a size class, or it was for nothing. */
#define RECODE_MIN_GAIN 64

/* Pages of memory by itself, for madvise() */
typedef struct QEMU_ALIGNED(TMEM_PAGE_SIZE) CodecScratch {
    uint64_t page[PAGE_WORDS];
    uint64_t recode[PAGE_WORDS];
    uint64_t bounce[PAGE_WORDS];
    char out[LZ4_COMPRESSBOUND(TMEM_PAGE_SIZE)];
    LZ4_stream_t lz4;
} CodecScratch;

/*
 * This thread's. It has pages of the guest, so it is to be in no core dump,
 * where the rest of the thread's stack is.
 */
static CodecScratch *codec_scratch(void)
{
    static __thread CodecScratch scratch;
    static __thread bool hidden;

    if (!hidden) {
        hidden = true;
        madvise(&scratch, sizeof(scratch), MADV_DONTDUMP);
    }
    return &scratch;
}

#ifdef CONFIG_ZSTD
typedef struct ZstdContexts {
    ZSTD_CCtx *c;
    ZSTD_DCtx *d;
} ZstdContexts;

static void zstd_contexts_free(void *opaque)
{
    ZstdContexts *zstd = opaque;

    ZSTD_freeCCtx(zstd->c);
    ZSTD_freeDCtx(zstd->d);
    g_free(zstd);
}

/* This thread's contexts; they go when it ends. */
static ZstdContexts *zstd_contexts(void)
{
    static GPrivate key = G_PRIVATE_INIT(zstd_contexts_free);
    ZstdContexts *zstd = g_private_get(&key);

    if (!zstd) {
        zstd = g_new0(ZstdContexts, 1);
        g_private_set(&key, zstd);
    }
    /* What could not be had the last time may be there now. */
    zstd->c = zstd->c ?: ZSTD_createCCtx();
    zstd->d = zstd->d ?: ZSTD_createDCtx();
    return zstd;
}

/* Compress @page to this thread's scratch->out. Returns its length, or 0. */
static unsigned zstd_compress(const TmemCodec *codec, const void *page)
{
    CodecScratch *scratch = codec_scratch();
    ZstdContexts *zstd = zstd_contexts();
    size_t len;

    if (!zstd->c) {
        return 0;
    }
    len = ZSTD_compressCCtx(zstd->c, scratch->out, sizeof(scratch->out), page,
                            TMEM_PAGE_SIZE, codec->level ? codec->level : 1);
    return ZSTD_isError(len) ? 0 : len;
}

static int zstd_decompress(const TmemCoded *coded, void *page)
{
    ZstdContexts *zstd = zstd_contexts();

    if (!zstd->d) {
        return -EIO;
    }
    return ZSTD_decompressDCtx(zstd->d, page, TMEM_PAGE_SIZE, coded->data,
                               coded->len) == TMEM_PAGE_SIZE ? 0 : -EIO;
}
#else
static unsigned zstd_compress(const TmemCodec *codec, const void *page)
{
    return 0;
}

static int zstd_decompress(const TmemCoded *coded, void *page)
{
    return -EIO;
}
#endif

bool tmem_codec_has_zstd(void)
{
#ifdef CONFIG_ZSTD
    return true;
#else
    return false;
#endif
}

/*
 * Whether the page is @word all over. Most pages differ early. If someone
 * writes meanwhile, the answer is for what was there when each word was looked
 * at.
 */
static bool page_is_filled(const void *page, uint64_t word)
{
    return memcmp(page, &word, sizeof(word)) == 0 &&
           memcmp(page, (const char *)page + sizeof(word),
                  TMEM_PAGE_SIZE - sizeof(word)) == 0;
}

/* Compress @scratch->page to its out, where it fits. Returns its length. */
static unsigned lz4_compress(CodecScratch *scratch)
{
    /*
     * With room for the worst case, lz4 leaves out its checks for the end of
     * the buffer. Re-using its tables from page to page, by a stream that is
     * only reset, would save their clearing and cost twice that in false hits.
     */
    return LZ4_compress_fast_extState(&scratch->lz4,
                                      (const char *)scratch->page,
                                      scratch->out, TMEM_PAGE_SIZE,
                                      sizeof(scratch->out), 1);
}

TmemCoded tmem_codec_encode(const TmemCodec *codec, const void *page)
{
    CodecScratch *scratch = codec_scratch();
    TmemKind kind = TMEM_KIND_RAW;
    unsigned len = 0;

    memcpy(scratch->page, page, sizeof(scratch->page[0]));
    if (page_is_filled(page, scratch->page[0])) {
        return (TmemCoded) {
            TMEM_KIND_SAME, sizeof(scratch->page[0]), scratch->page
        };
    }
    memcpy(scratch->page, page, TMEM_PAGE_SIZE);
    switch (codec->compression) {
    case TMEM_COMPRESSION_LZ4:
        kind = TMEM_KIND_LZ4;
        len = lz4_compress(scratch);
        break;
    case TMEM_COMPRESSION_ZSTD:
        kind = TMEM_KIND_ZSTD;
        len = zstd_compress(codec, scratch->page);
        break;
    case TMEM_COMPRESSION_NONE:
        break;
    }
    if (len > 0 && len <= TMEM_CODED_MAX) {
        return (TmemCoded) { kind, len, scratch->out };
    }
    return (TmemCoded) { TMEM_KIND_RAW, TMEM_PAGE_SIZE, scratch->page };
}

bool tmem_codec_recode(const TmemCodec *codec, TmemCoded *coded)
{
    CodecScratch *scratch = codec_scratch();
    unsigned len;

    if (tmem_codec_decode(coded, scratch->recode) < 0) {
        return false;
    }
    len = zstd_compress(codec, scratch->recode);
    if (len == 0 || len > TMEM_CODED_MAX ||
        len + RECODE_MIN_GAIN > coded->len) {
        return false;
    }
    *coded = (TmemCoded) { TMEM_KIND_ZSTD, len, scratch->out };
    return true;
}

const void *tmem_codec_load(const void *data, size_t len)
{
    return memcpy(codec_scratch()->page, data, len);
}

void *tmem_store_bounce(void)
{
    return codec_scratch()->bounce;
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
    case TMEM_KIND_ZSTD:
        return zstd_decompress(coded, page);
    }
    return -EIO;
}

/* A token: no literals, and no match. */
static const uint8_t lost[1];

TmemCoded tmem_codec_lost(void)
{
    return (TmemCoded) { TMEM_KIND_LZ4, sizeof(lost), lost };
}

bool tmem_codec_is_lost(const TmemCoded *coded)
{
    return coded->kind == TMEM_KIND_LZ4 && coded->len == sizeof(lost) &&
           memcmp(coded->data, lost, sizeof(lost)) == 0;
}

uint32_t tmem_codec_checksum(const void *data, size_t len, uint64_t seed)
{
    const uint8_t *p = data, *end = p + len;
    uint64_t h = seed + XXH_PRIME64_5;

    if (len >= 32) {
        uint64_t v[4] = {
            seed + XXH_PRIME64_1 + XXH_PRIME64_2, seed + XXH_PRIME64_2,
            seed, seed - XXH_PRIME64_1,
        };

        for (; end - p >= 32; p += 32) {
            for (unsigned i = 0; i < 4; i++) {
                v[i] = XXH64_round(v[i], ldq_le_p(p + i * 8));
            }
        }
        h = XXH64_mergerounds(v[0], v[1], v[2], v[3]);
    }
    h += len;
    for (; end - p >= 8; p += 8) {
        h = rol64(h ^ XXH64_round(0, ldq_le_p(p)), 27) * XXH_PRIME64_1 +
            XXH_PRIME64_4;
    }
    if (end - p >= 4) {
        h = rol64(h ^ (uint32_t)ldl_le_p(p) * XXH_PRIME64_1, 23) *
            XXH_PRIME64_2 + XXH_PRIME64_3;
        p += 4;
    }
    for (; p < end; p++) {
        h = rol64(h ^ *p * XXH_PRIME64_5, 11) * XXH_PRIME64_1;
    }
    return XXH64_avalanche(h);
}
