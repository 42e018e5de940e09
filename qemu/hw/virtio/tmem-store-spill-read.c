/*
 * Spill of the virtio-tmem page store: reads
 *
 * A page is read with its chunk, and chunks that were read stay in a small
 * cache, as they are: whether a page of it can be believed is found out when
 * it is wanted. If a chunk cannot be read, the page is tried by itself, so that
 * one bad sector costs the pages that have bytes in it, and no others.
 *
 * Rules: nothing waits with a lock held; bytes are read into memory of the
 * store alone, so that who wanted them may go away; a chunk is reused when
 * nobody has a reference to it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "tmem-store-spill-internal.h"

static bool chunk_has(const TmemChunk *chunk, const TmemSpillPlace *place)
{
    return chunk->state != TMEM_CHUNK_EMPTY &&
           chunk->extent == place->record.extent &&
           chunk->generation == place->generation &&
           chunk->offset <= place->record.offset &&
           chunk->offset + chunk->len >= place->record.offset + place->len;
}

/* From here to chunk_read_end(): called with the lock of the spill held. */
static void fetches_wake(TmemFetch **list)
{
    TmemFetch *fetch = *list;

    *list = NULL;
    while (fetch) {
        TmemFetch *next = fetch->next;

        fetch->next = NULL;
        fetch->waiting = false;
        fetch->done(fetch);
        fetch = next;
    }
}

static void fetch_wait(TmemFetch *fetch, TmemFetch **list)
{
    if (!fetch->waiting) {
        fetch->waiting = true;
        fetch->next = *list;
        *list = fetch;
    }
}

static void fetch_unwait(TmemFetch *fetch, TmemFetch **list)
{
    while (*list && *list != fetch) {
        list = &(*list)->next;
    }
    if (*list) {
        *list = fetch->next;
        fetch->next = NULL;
        fetch->waiting = false;
    }
}

static void chunk_unref(TmemChunk *chunk)
{
    if (--chunk->refs > 0) {
        return;
    }
    if (chunk->single) {
        g_free(chunk->buf);
        g_free(chunk);
        return;
    }
    if (chunk->state == TMEM_CHUNK_FAILED) {
        chunk->state = TMEM_CHUNK_EMPTY;
    }
}

static void fetch_release(TmemFetch *fetch)
{
    if (fetch->chunk) {
        if (fetch->waiting) {
            fetch_unwait(fetch, &fetch->chunk->waiters);
        }
        chunk_unref(fetch->chunk);
        fetch->chunk = NULL;
    }
}

static TmemChunk *chunk_find(TmemSpill *spill, const TmemSpillPlace *place)
{
    for (unsigned c = 0; c < TMEM_SPILL_CHUNKS; c++) {
        TmemChunk *chunk = &spill->chunks[c];

        if (chunk->state != TMEM_CHUNK_FAILED && chunk_has(chunk, place)) {
            return chunk;
        }
    }
    return NULL;
}

/* The chunk that was not used for longest, or NULL: all are in use. */
static TmemChunk *chunk_reuse(TmemSpill *spill)
{
    TmemChunk *oldest = NULL;

    for (unsigned c = 0; c < TMEM_SPILL_CHUNKS; c++) {
        TmemChunk *chunk = &spill->chunks[c];

        if (chunk->refs == 0 && (!oldest || chunk->used < oldest->used)) {
            oldest = chunk;
        }
    }
    return oldest;
}

/* It is about to be read: one reference is the read's, one the caller's. */
static void chunk_begin(TmemSpill *spill, TmemChunk *chunk,
                        const TmemSpillPlace *place)
{
    chunk->state = TMEM_CHUNK_READING;
    chunk->extent = place->record.extent;
    chunk->generation = place->generation;
    chunk->refs = 2;
    chunk->used = ++spill->stamp;
    if (chunk->single) {
        chunk->offset = place->record.offset;
        chunk->len = place->len;
    } else {
        chunk->offset = QEMU_ALIGN_DOWN(place->record.offset, TMEM_CHUNK_SIZE);
        chunk->len = TMEM_CHUNK_SIZE;
    }
    spill->stats.reads++;
    spill->stats.bytes_read += chunk->len;
}

static TmemChunk *chunk_new_single(TmemStore *store,
                                   const TmemSpillPlace *place)
{
    TmemChunk *chunk = g_new0(TmemChunk, 1);

    chunk->store = store;
    chunk->single = true;
    chunk->buf = g_malloc(place->len);
    return chunk;
}

static void chunk_read_end(TmemChunk *chunk, int ret)
{
    chunk->state = ret < 0 ? TMEM_CHUNK_FAILED : TMEM_CHUNK_READY;
    fetches_wake(&chunk->waiters);
    chunk_unref(chunk);
}

static void chunk_read_done(void *opaque, int ret)
{
    TmemChunk *chunk = opaque;
    TmemSpill *spill = chunk->store->spill;
    bool single = chunk->single;

    g_mutex_lock(&spill->lock);
    spill->stats.read_errors += ret < 0 && single;
    chunk_read_end(chunk, ret);
    g_mutex_unlock(&spill->lock);
    if (ret < 0 && single) {
        spill->ops->failed(spill->dev, TMEM_SPILL_READ, -ret);
    }
}

static uint64_t chunk_position(const TmemChunk *chunk)
{
    return chunk->extent * (uint64_t)TMEM_EXTENT_SIZE + chunk->offset;
}

static const void *chunk_data(const TmemChunk *chunk,
                              const TmemSpillPlace *place)
{
    return chunk->buf + (place->record.offset - chunk->offset);
}

/*
 * What the fetch has waited for, if it is that. Returns 0 with a reference, 1:
 * not yet, -EIO, or -EAGAIN: it has nothing, or nothing that helps; then
 * *@single says that the page is to be read by itself. Lock held.
 */
static int fetch_result(TmemFetch *fetch, const TmemSpillPlace *place,
                        bool *single)
{
    TmemChunk *chunk = fetch->chunk;

    if (!chunk || !chunk_has(chunk, place)) {
        fetch_release(fetch);
        return -EAGAIN;
    }
    switch (chunk->state) {
    case TMEM_CHUNK_READING:
        fetch_wait(fetch, &chunk->waiters);
        return 1;
    case TMEM_CHUNK_READY:
        chunk->refs++;
        fetch_release(fetch);
        return 0;
    default:
        *single = !chunk->single;
        fetch_release(fetch);
        return *single ? -EAGAIN : -EIO;
    }
}

/*
 * Find the chunk in the cache, or one to read it into: *@begin then. Returns
 * NULL: there is none. Lock held.
 */
static TmemChunk *load_chunk(TmemStore *store, const TmemSpillPlace *place,
                             bool single, bool *begin)
{
    TmemSpill *spill = store->spill;
    TmemChunk *chunk = NULL;

    *begin = false;
    if (!single) {
        chunk = chunk_find(spill, place);
        if (chunk) {
            chunk->refs++;
            chunk->used = ++spill->stamp;
            return chunk;
        }
        chunk = chunk_reuse(spill);
    } else {
        chunk = chunk_new_single(store, place);
    }
    if (chunk) {
        chunk_begin(spill, chunk, place);
        *begin = true;
    }
    return chunk;
}

static int load_async(TmemStore *store, const TmemSpillPlace *place,
                      TmemFetch *fetch, TmemChunk **chunk)
{
    TmemSpill *spill = store->spill;
    bool single = false;
    bool begin = false;
    int ret;

    fetch->begun = true;
    g_mutex_lock(&spill->lock);
    *chunk = fetch->chunk;
    ret = fetch_result(fetch, place, &single);
    if (ret == -EAGAIN) {
        *chunk = load_chunk(store, place, single, &begin);
        if (!*chunk) {
            /*
             * The others may be held by queues that go on only after this one:
             * waiting for them could be for ever.
             */
            *chunk = load_chunk(store, place, true, &begin);
        }
        if ((*chunk)->state == TMEM_CHUNK_READY) {
            spill->stats.read_hits++;
            ret = 0;
        } else {
            fetch->chunk = *chunk;
            fetch_wait(fetch, &(*chunk)->waiters);
            ret = 1;
        }
    }
    g_mutex_unlock(&spill->lock);
    if (begin) {
        spill->ops->read(spill->dev, chunk_position(*chunk), (*chunk)->buf,
                         (*chunk)->len, chunk_read_done, *chunk);
    }
    return ret == 1 ? -EINPROGRESS : ret;
}

/*
 * Read the page at once, with its neighbours or by itself. What others are
 * reading is read again: no waiting for them. Returns 0 or -errno; *@retry says
 * that it may be better without the neighbours.
 */
static int load_try(TmemStore *store, const TmemSpillPlace *place, bool single,
                    TmemChunk **out, bool *retry)
{
    TmemSpill *spill = store->spill;
    TmemChunk *chunk;
    bool begin;
    int ret;

    g_mutex_lock(&spill->lock);
    chunk = load_chunk(store, place, single, &begin);
    if (chunk && !begin && chunk->state != TMEM_CHUNK_READY) {
        chunk_unref(chunk);
        chunk = NULL;
    }
    if (!chunk) {
        chunk = load_chunk(store, place, true, &begin);
    }
    spill->stats.read_hits += !begin;
    g_mutex_unlock(&spill->lock);
    *out = chunk;
    if (!begin) {
        return 0;
    }

    ret = spill->ops->read_now(spill->dev, chunk_position(chunk), chunk->buf,
                               chunk->len);
    g_mutex_lock(&spill->lock);
    *retry = ret < 0 && !chunk->single;
    spill->stats.read_errors += ret < 0 && !*retry;
    chunk_read_end(chunk, ret);
    if (ret < 0) {
        chunk_unref(chunk);
    }
    g_mutex_unlock(&spill->lock);
    return ret;
}

static int load_now(TmemStore *store, const TmemSpillPlace *place,
                    TmemChunk **out)
{
    bool retry = false;
    int ret = load_try(store, place, false, out, &retry);

    if (retry) {
        ret = load_try(store, place, true, out, &retry);
    }
    if (ret < 0) {
        store->spill->ops->failed(store->spill->dev, TMEM_SPILL_READ, -ret);
        return -EIO;
    }
    return 0;
}

int tmem_spill_load(TmemStore *store, const TmemSpillPlace *place,
                    TmemFetch *fetch, TmemChunk **chunk, const void **data)
{
    int ret = fetch ? load_async(store, place, fetch, chunk)
                    : load_now(store, place, chunk);

    if (ret == 0) {
        *data = chunk_data(*chunk, place);
    }
    return ret;
}

void tmem_spill_release(TmemStore *store, TmemChunk *chunk, bool bad)
{
    TmemSpill *spill = store->spill;

    g_mutex_lock(&spill->lock);
    if (bad && chunk->state == TMEM_CHUNK_READY) {
        chunk->state = TMEM_CHUNK_FAILED;
    }
    chunk_unref(chunk);
    g_mutex_unlock(&spill->lock);
}

bool tmem_spill_check(TmemStore *store, const TmemKey *key,
                      const TmemSpillPlace *place, const void *data)
{
    return tmem_checksum(key, place->generation, place->record.kind,
                               data, place->len) == place->record.checksum;
}

void tmem_store_end_fetch(TmemStore *store, TmemFetch *fetch)
{
    TmemSpill *spill = store->spill;

    if (spill) {
        g_mutex_lock(&spill->lock);
        fetch_release(fetch);
        g_mutex_unlock(&spill->lock);
    }
    fetch->begun = false;
}

/* ---- Gets ---- */

/* Where the page is on the device; false: not there (any more). */
static bool page_place(TmemStore *store, const TmemKey *key,
                       TmemSpillPlace *place)
{
    TmemShard *shard = tmem_shard_find(store, key->object, key->index);
    TmemPool *pool;
    uint64_t *slot;

    g_mutex_lock(&shard->lock);
    slot = tmem_key_lookup(store, shard, key, &pool);
    if (slot && tmem_entry_kind(*slot) == ENTRY_SPILLED) {
        *place = tmem_spill_place(store, *slot);
    } else {
        slot = NULL;
    }
    g_mutex_unlock(&shard->lock);
    return slot;
}

static bool same_place(const TmemSpillPlace *a, const TmemSpillPlace *b)
{
    return a->generation == b->generation && a->len == b->len &&
           a->record.extent == b->record.extent &&
           a->record.offset == b->record.offset;
}

/* What is done with the bytes of a page: 0 or -EIO. */
typedef int UseFn(const TmemCoded *coded, void *opaque);

/* As tmem_spill_get(), or -EBADMSG: the bytes are not the page's. */
static int page_use(TmemStore *store, const TmemKey *key,
                    TmemFetch *fetch, UseFn *use, void *opaque)
{
    TmemSpill *spill = store->spill;
    TmemSpillPlace place, again;
    TmemChunk *chunk;
    const void *data;
    bool good = true;
    int ret;

    if (!page_place(store, key, &place)) {
        return -EAGAIN;
    }
    ret = tmem_spill_load(store, &place, fetch, &chunk, &data);
    if (ret == 0) {
        TmemCoded coded = { place.record.kind, place.len, data };

        good = tmem_spill_check(store, key, &place, data);
        ret = good ? use(&coded, opaque) : -EIO;
        tmem_spill_release(store, chunk, !good);
        if (good) {
            return ret;
        }
    } else if (ret == -EINPROGRESS) {
        return ret;
    }
    /* While it was read, it may have been moved, and its extent reused. */
    if (!page_place(store, key, &again) || !same_place(&place, &again)) {
        return -EAGAIN;
    }
    if (!good) {
        g_mutex_lock(&spill->lock);
        spill->stats.bad_pages++;
        g_mutex_unlock(&spill->lock);
        spill->ops->failed(spill->dev, TMEM_SPILL_READ, EBADMSG);
        return -EBADMSG;
    }
    return -EIO;
}

static int use_decode(const TmemCoded *coded, void *page)
{
    return tmem_codec_decode(coded, page);
}

int tmem_spill_get(TmemStore *store, const TmemKey *key, void *page,
                   TmemFetch *fetch)
{
    int ret = page_use(store, key, fetch, use_decode, page);

    return ret == -EBADMSG ? -EIO : ret;
}

/* @opaque: where to, with data that is a buffer */
static int use_copy(const TmemCoded *coded, void *opaque)
{
    TmemCoded *copy = opaque;

    memcpy((void *)copy->data, coded->data, coded->len);
    copy->kind = coded->kind;
    copy->len = coded->len;
    return 0;
}

int tmem_spill_copy(TmemStore *store, const TmemKey *key, void *data,
                    TmemCoded *coded)
{
    coded->data = data;
    return page_use(store, key, NULL, use_copy, coded);
}
