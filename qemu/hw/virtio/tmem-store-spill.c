/*
 * Spill of the virtio-tmem page store: space on the device
 *
 * tmem-store-spill-internal.h has the structure. Here: which extents are free,
 * how pages get into one and what happens when it was written, and what becomes
 * of it when its pages go.
 *
 * Checksums are 32 bits of xxHash64, which QEMU has the parts of: it misses one
 * error in 2^32, and takes half of the time of zlib's CRC-32. They cover the
 * key and the generation of the extent too, so that a page of another time or
 * place is no better than noise. They are kept in memory: it takes more than a
 * broken device to get past them, but not more than one that means to.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <sys/mman.h>
#include "tmem-store-spill-internal.h"

/* Extents that only cleaning may take: it needs some to free others. */
#define CLEAN_RESERVE 2

/* Least size of a device, in extents. */
#define MIN_EXTENTS 8

/* Most space that is used, in sizes of the store: bounds the table. */
#define MAX_SPACE 64

/* Discards under way. */
#define MAX_DISCARDS 4

/* A device that has failed is tried again after this time. */
#define RETRY_USEC (10 * G_USEC_PER_SEC)

/* Extents that one choice of victims looks at, with the lock held. */
#define CLEAN_LOOK 4096
#define CLEAN_VICTIMS 16

G_STATIC_ASSERT(sizeof(TmemExtent) == 24);
G_STATIC_ASSERT(sizeof(TmemSpillRecord) == 16);

static uint64_t spill_overhead(uint32_t num_extents)
{
    return sizeof(TmemSpill) + num_extents * (uint64_t)sizeof(TmemExtent) +
           TMEM_SPILL_BATCHES * (TMEM_EXTENT_SIZE + TMEM_EXTENT_PAGES *
                                 (uint64_t)sizeof(TmemSpillItem)) +
           TMEM_SPILL_CHUNKS * (uint64_t)TMEM_CHUNK_SIZE;
}

/* Buffers, and the table, which is only taken from the host as it is used. */
static bool spill_map(TmemStore *store, TmemSpill *spill, GError **errp)
{
    size_t size = TMEM_SPILL_BATCHES * TMEM_EXTENT_SIZE +
                  TMEM_SPILL_CHUNKS * TMEM_CHUNK_SIZE;
    size_t table = spill->num_extents * sizeof(TmemExtent);

    spill->memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    spill->extents = mmap(NULL, table, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (spill->memory != MAP_FAILED && spill->extents != MAP_FAILED &&
        (!store->arena.locked ||
         mlock2(spill->memory, size, MLOCK_ONFAULT) == 0)) {
        madvise(spill->memory, size, MADV_DONTDUMP);
        madvise(spill->memory, size, MADV_NOHUGEPAGE);
        return true;
    }
    g_set_error(errp, G_FILE_ERROR, g_file_error_from_errno(errno),
                "cannot have %zu bytes of %smemory for spilling: %s",
                size, store->arena.locked ? "locked " : "",
                g_strerror(errno));
    if (spill->memory != MAP_FAILED) {
        munmap(spill->memory, size);
    }
    if (spill->extents != MAP_FAILED) {
        munmap(spill->extents, table);
    }
    return false;
}

static void spill_init(TmemStore *store, TmemSpill *spill)
{
    char *buf = spill->memory;

    g_mutex_init(&spill->lock);
    spill->overhead = spill_overhead(spill->num_extents);
    spill->num_free = spill->num_extents;
    spill->free_list = TMEM_NO_EXTENT;
    spill->dead_list = TMEM_NO_EXTENT;
    spill->age = TMEM_COLD_AGE;
    spill->stats.state = TMEM_SPILL_ACTIVE;
    spill->stats.size = spill->num_extents * (uint64_t)TMEM_EXTENT_SIZE;
    for (unsigned b = 0; b < TMEM_SPILL_BATCHES; b++) {
        spill->batches[b] = (TmemSpillBatch) {
            .store = store,
            .number = b + 1,
            .items = g_new(TmemSpillItem, TMEM_EXTENT_PAGES),
            .buf = buf,
        };
        buf += TMEM_EXTENT_SIZE;
    }
    for (unsigned c = 0; c < TMEM_SPILL_CHUNKS; c++) {
        spill->chunks[c] = (TmemChunk) { .store = store, .buf = buf };
        buf += TMEM_CHUNK_SIZE;
    }
}

/* With the lock held. */
static void spill_wake(TmemSpill *spill)
{
    if (spill->wake) {
        spill->wake(spill->wake_opaque);
    }
}

/* For cleaning. With the lock held. */
static void clean_fetched(TmemFetch *fetch)
{
    spill_wake(container_of(fetch, TmemSpill, fetch));
}

bool tmem_store_set_spill(TmemStore *store, const TmemSpillOps *ops, void *dev,
                          uint64_t size, GError **errp)
{
    TmemSpill *spill;

    if (store->max_size < TMEM_STORE_MIN_SPILL_LIMIT) {
        g_set_error(errp, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                    "a page store of %" PRIu64 " bytes is too small to spill, "
                    "it takes at least %d", store->max_size,
                    TMEM_STORE_MIN_SPILL_LIMIT);
        return false;
    }
    if (size < MIN_EXTENTS * TMEM_EXTENT_SIZE) {
        g_set_error(errp, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                    "a device of %" PRIu64 " bytes is too small to spill to, "
                    "it takes at least %d", size,
                    MIN_EXTENTS * TMEM_EXTENT_SIZE);
        return false;
    }
    spill = g_new0(TmemSpill, 1);
    spill->ops = ops;
    spill->dev = dev;
    size = MIN(size, MIN(store->max_size, UINT64_MAX / MAX_SPACE) * MAX_SPACE);
    spill->num_extents = MIN(size / TMEM_EXTENT_SIZE, TMEM_NO_EXTENT);
    if (!spill_map(store, spill, errp)) {
        g_free(spill);
        return false;
    }
    spill_init(store, spill);
    spill->fetch.done = clean_fetched;
    store->spill = spill;
    g_mutex_lock(&store->size_lock);
    tmem_store_apply_limit(store, store->limit);
    g_mutex_unlock(&store->size_lock);
    return true;
}

void tmem_spill_free(TmemSpill *spill)
{
    if (!spill) {
        return;
    }
    munmap(spill->memory, TMEM_SPILL_BATCHES * TMEM_EXTENT_SIZE +
                          TMEM_SPILL_CHUNKS * TMEM_CHUNK_SIZE);
    munmap(spill->extents, spill->num_extents * sizeof(TmemExtent));
    for (unsigned b = 0; b < TMEM_SPILL_BATCHES; b++) {
        g_free(spill->batches[b].items);
    }
    g_mutex_clear(&spill->lock);
    g_free(spill);
}

uint64_t tmem_spill_overhead(const TmemSpill *spill)
{
    return spill ? spill->overhead : 0;
}

void tmem_store_set_wake(TmemStore *store, TmemStoreWakeFn *wake, void *opaque)
{
    TmemSpill *spill = store->spill;

    if (spill) {
        g_mutex_lock(&spill->lock);
        spill->wake = wake;
        spill->wake_opaque = opaque;
        g_mutex_unlock(&spill->lock);
    }
}

/* Called with the lock held, as all up to extent_sub_page(). */
static void extent_put_free(TmemSpill *spill, uint32_t e)
{
    spill->extents[e].state = TMEM_EXTENT_FREE;
    spill->extents[e].next = spill->free_list;
    spill->free_list = e;
    spill->num_free++;
}

/* Its last page has gone, and nobody is writing to it. */
static void extent_put_dead(TmemSpill *spill, uint32_t e)
{
    TmemExtent *extent = &spill->extents[e];

    spill->victims -= extent->victim;
    extent->victim = false;
    extent->stuck = false;
    extent->state = TMEM_EXTENT_DEAD;
    extent->next = spill->dead_list;
    spill->dead_list = e;
    spill->num_dead++;
}

static uint32_t extent_take(TmemSpill *spill)
{
    uint32_t e = spill->free_list;

    if (e != TMEM_NO_EXTENT) {
        spill->free_list = spill->extents[e].next;
    } else if (spill->num_touched < spill->num_extents) {
        e = spill->num_touched++;
    } else {
        return TMEM_NO_EXTENT;
    }
    spill->num_free--;
    spill->extents[e] = (TmemExtent) {
        .generation = ++spill->generation,
        .state = TMEM_EXTENT_WRITING,
    };
    return e;
}

static void extent_sub_page(TmemSpill *spill, uint32_t e, uint32_t len)
{
    TmemExtent *extent = &spill->extents[e];

    extent->pages--;
    extent->bytes -= len;
    if (extent->pages == 0 && extent->state == TMEM_EXTENT_LIVE) {
        extent_put_dead(spill, e);
    }
}

static TmemSpillRecord *entry_record(TmemStore *store, uint64_t entry)
{
    return tmem_arena_ptr(&store->arena, tmem_entry_handle(entry));
}

TmemSpillPlace tmem_spill_place(TmemStore *store, uint64_t entry)
{
    const TmemSpillRecord *record = entry_record(store, entry);

    /* While there is a record of it, the extent keeps its generation. */
    return (TmemSpillPlace) {
        .generation = store->spill->extents[record->extent].generation,
        .record = *record,
        .len = tmem_entry_len(entry),
    };
}

void tmem_spill_drop(TmemStore *store, uint64_t entry)
{
    TmemSpill *spill = store->spill;

    g_mutex_lock(&spill->lock);
    extent_sub_page(spill, entry_record(store, entry)->extent,
                    tmem_entry_len(entry));
    g_mutex_unlock(&spill->lock);
}

void tmem_spill_reset(TmemStore *store)
{
    TmemSpill *spill = store->spill;

    if (!spill) {
        return;
    }
    g_mutex_lock(&spill->lock);
    /* From the end on: then the list is in ascending order, for discards. */
    for (uint32_t e = spill->num_touched; e-- > 0; ) {
        spill->extents[e].pages = 0;
        spill->extents[e].bytes = 0;
        if (spill->extents[e].state == TMEM_EXTENT_LIVE) {
            extent_put_dead(spill, e);
        }
    }
    g_mutex_unlock(&spill->lock);
}

/* ---- Batches ---- */

/* For @batch, which is empty. Called with the lock held. */
static bool batch_open(TmemSpill *spill, TmemSpillBatch *batch, bool clean)
{
    if (spill->num_free <= (clean ? 0 : CLEAN_RESERVE)) {
        return false;
    }
    batch->extent = extent_take(spill);
    batch->generation = spill->generation;
    batch->state = TMEM_BATCH_FILLING;
    batch->fill = 0;
    batch->bytes = 0;
    batch->num_items = 0;
    return true;
}

/* No extent is free: soon, or not at all. Called with the lock held. */
static TmemStep spill_no_space(TmemSpill *spill)
{
    if (spill->num_dead || spill->discarding) {
        return TMEM_STEP_WAIT;
    }
    if (spill->stats.state == TMEM_SPILL_ACTIVE) {
        spill->stats.state = TMEM_SPILL_FULL;
        spill->stats.full++;
    }
    return TMEM_STEP_STOP;
}

TmemSpillBatch *tmem_spill_batch(TmemSpill *spill, bool clean, int64_t now,
                                 TmemStep *step)
{
    TmemSpillBatch *empty = NULL;

    *step = TMEM_STEP_WAIT;
    g_mutex_lock(&spill->lock);
    for (unsigned b = 0; b < TMEM_SPILL_BATCHES; b++) {
        TmemSpillBatch *batch = &spill->batches[b];

        if (batch->state == TMEM_BATCH_FILLING) {
            g_mutex_unlock(&spill->lock);
            return batch;
        } else if (batch->state == TMEM_BATCH_EMPTY) {
            empty = batch;
        }
    }
    if (now < spill->retry) {
        empty = NULL;
        *step = TMEM_STEP_STOP;
    } else if (empty && !batch_open(spill, empty, clean)) {
        empty = NULL;
        *step = spill_no_space(spill);
    } else if (empty && spill->stats.state == TMEM_SPILL_FULL) {
        spill->stats.state = TMEM_SPILL_ACTIVE;
    }
    g_mutex_unlock(&spill->lock);
    return empty;
}

TmemSpillItem *tmem_spill_add(TmemSpillBatch *batch, const void *data,
                              uint32_t len)
{
    uint32_t offset = batch->fill;
    TmemSpillItem *item = &batch->items[batch->num_items];

    if (offset / TMEM_CHUNK_SIZE != (offset + len - 1) / TMEM_CHUNK_SIZE) {
        offset = QEMU_ALIGN_UP(offset, TMEM_CHUNK_SIZE);
    }
    if (offset + len > TMEM_EXTENT_SIZE ||
        batch->num_items == TMEM_EXTENT_PAGES) {
        return NULL;
    }
    /* Others get, too, what was here before: nothing of another VM, at least */
    memset(batch->buf + batch->fill, 0, offset - batch->fill);
    memcpy(batch->buf + offset, data, len);
    item->offset = offset;
    item->len = len;
    return item;
}

/* The batch that is being filled, or NULL. */
static TmemSpillBatch *spill_filling(TmemSpill *spill)
{
    TmemSpillBatch *batch = NULL;

    g_mutex_lock(&spill->lock);
    for (unsigned b = 0; b < TMEM_SPILL_BATCHES; b++) {
        if (spill->batches[b].state == TMEM_BATCH_FILLING) {
            batch = &spill->batches[b];
        }
    }
    g_mutex_unlock(&spill->lock);
    return batch;
}

void tmem_spill_commit(TmemSpillBatch *batch, TmemSpillItem *item)
{
    batch->fill = item->offset + item->len;
    batch->num_items++;
}

static void batch_written(void *opaque, int ret)
{
    TmemSpillBatch *batch = opaque;
    TmemSpill *spill = batch->store->spill;

    g_mutex_lock(&spill->lock);
    batch->ret = ret;
    batch->state = TMEM_BATCH_WRITTEN;
    spill_wake(spill);
    g_mutex_unlock(&spill->lock);
}

void tmem_spill_submit(TmemStore *store)
{
    TmemSpill *spill = store->spill;
    TmemSpillBatch *batch = spill_filling(spill);

    if (!batch) {
        return;
    }
    if (batch->num_items == 0) {
        g_mutex_lock(&spill->lock);
        batch->state = TMEM_BATCH_EMPTY;
        extent_put_free(spill, batch->extent);
        g_mutex_unlock(&spill->lock);
        return;
    }
    for (unsigned i = 0; i < batch->num_items; i++) {
        TmemSpillItem *item = &batch->items[i];

        item->checksum = tmem_checksum(&item->key, batch->generation,
                                             item->kind,
                                             batch->buf + item->offset,
                                             item->len);
    }
    memset(batch->buf + batch->fill, 0, TMEM_EXTENT_SIZE - batch->fill);
    g_mutex_lock(&spill->lock);
    batch->state = TMEM_BATCH_WRITING;
    g_mutex_unlock(&spill->lock);
    spill->ops->write(spill->dev,
                      batch->extent * (uint64_t)TMEM_EXTENT_SIZE, batch->buf,
                      TMEM_EXTENT_SIZE, batch_written, batch);
}

/* The item's entry if it is still the one that was marked. Shard is locked. */
static uint64_t *item_entry(TmemStore *store, TmemShard *shard,
                            const TmemSpillBatch *batch,
                            const TmemSpillItem *item, TmemPool **pool)
{
    uint64_t *slot = tmem_key_lookup(store, shard, &item->key, pool);

    if (!slot || tmem_entry_kind(*slot) == ENTRY_INLINE ||
        tmem_entry_kind(*slot) == ENTRY_NODE ||
        (*slot & ENTRY_MARK_MASK) != tmem_batch_mark(batch->number)) {
        return NULL;
    }
    return slot;
}

/* The page is where the item says from now on. The shard is locked. */
static void item_place(TmemStore *store, TmemShard *shard, TmemPool *pool,
                       uint64_t *slot, const TmemSpillBatch *batch,
                       const TmemSpillItem *item)
{
    TmemSpill *spill = store->spill;
    const TmemSpillRecord record = {
        batch->extent, item->offset, item->checksum, item->kind
    };
    TmemSpillRecord *place;

    if (tmem_entry_kind(*slot) == ENTRY_SPILLED) {
        place = entry_record(store, *slot);
        g_mutex_lock(&spill->lock);
        extent_sub_page(spill, place->extent, item->len);
        spill->stats.cleaned++;
    } else {
        TmemHandle handle = tmem_arena_alloc(&store->arena, sizeof(record),
                                             TMEM_ALLOC_EXCEED);

        if (!handle) {
            *slot &= ~ENTRY_MARK_MASK;
            return;
        }
        tmem_entry_drop(store, shard, pool, *slot);
        *slot = handle << ENTRY_HANDLE_SHIFT |
                (uint64_t)item->len << ENTRY_LEN_SHIFT | ENTRY_SPILLED;
        tmem_entry_count(shard, pool, *slot, 1);
        shard->counts.given[TMEM_MEASURE_SPILL] += item->len;
        place = entry_record(store, *slot);
        g_mutex_lock(&spill->lock);
    }
    spill->extents[batch->extent].pages++;
    spill->extents[batch->extent].bytes += item->len;
    g_mutex_unlock(&spill->lock);
    *place = record;
    *slot &= ~ENTRY_MARK_MASK;
}

static void batch_finish_item(TmemStore *store, const TmemSpillBatch *batch,
                              const TmemSpillItem *item)
{
    TmemShard *shard = tmem_shard_find(store, item->key.object,
                                       item->key.index);
    TmemPool *pool;
    uint64_t *slot;

    g_mutex_lock(&shard->lock);
    slot = item_entry(store, shard, batch, item, &pool);
    if (slot && batch->ret == 0) {
        item_place(store, shard, pool, slot, batch, item);
    } else if (slot) {
        *slot &= ~ENTRY_MARK_MASK;
    }
    g_mutex_unlock(&shard->lock);
}

static void batch_count(TmemSpill *spill, const TmemSpillBatch *batch,
                        int64_t now)
{
    if (batch->ret == 0) {
        spill->stats.writes++;
        spill->stats.bytes_written += TMEM_EXTENT_SIZE;
        spill->stats.state = TMEM_SPILL_ACTIVE;
        spill->retry = 0;
        return;
    }
    spill->stats.write_errors++;
    spill->retry = now + RETRY_USEC;
    if (batch->ret == -ENOSPC) {
        spill->stats.full += spill->stats.state != TMEM_SPILL_FULL;
        spill->stats.state = TMEM_SPILL_FULL;
    } else {
        spill->stats.state = TMEM_SPILL_FAILED;
    }
}

static void batch_finish(TmemStore *store, TmemSpillBatch *batch, int64_t now)
{
    TmemSpill *spill = store->spill;
    TmemSpillState before;
    TmemSpillState after;

    /* No key is in it twice: a batch ends with its pass, if not before. */
    for (unsigned i = 0; i < batch->num_items; i++) {
        batch_finish_item(store, batch, &batch->items[i]);
    }
    g_mutex_lock(&spill->lock);
    before = spill->stats.state;
    batch_count(spill, batch, now);
    after = spill->stats.state;
    batch->state = TMEM_BATCH_EMPTY;
    if (!batch->ret && batch->num_items &&
        !spill->extents[batch->extent].pages) {
        /* Written for nothing: not again at once */
        spill->next_pass = now + G_USEC_PER_SEC / 2;
    }
    if (spill->extents[batch->extent].pages) {
        spill->extents[batch->extent].state = TMEM_EXTENT_LIVE;
    } else {
        extent_put_dead(spill, batch->extent);
    }
    g_mutex_unlock(&spill->lock);
    if (after == TMEM_SPILL_FAILED && before != after) {
        spill->ops->failed(spill->dev, TMEM_SPILL_WRITE, -batch->ret);
    }
}

bool tmem_spill_is_active(TmemStore *store)
{
    TmemSpill *spill = store->spill;
    bool active;

    if (!spill) {
        return false;
    }
    g_mutex_lock(&spill->lock);
    active = spill->stats.state == TMEM_SPILL_ACTIVE;
    g_mutex_unlock(&spill->lock);
    return active;
}

void tmem_spill_stalled(TmemStore *store, int64_t now)
{
    TmemSpill *spill = store->spill;
    bool news;

    g_mutex_lock(&spill->lock);
    news = spill->stats.state != TMEM_SPILL_FAILED;
    spill->stats.state = TMEM_SPILL_FAILED;
    spill->retry = now + RETRY_USEC;
    g_mutex_unlock(&spill->lock);
    if (news) {
        spill->ops->failed(spill->dev, store->pass == TMEM_PASS_CLEAN ?
                           TMEM_SPILL_READ : TMEM_SPILL_WRITE, ETIMEDOUT);
    }
}

uint64_t tmem_spill_pending(TmemSpill *spill)
{
    uint64_t bytes = 0;

    g_mutex_lock(&spill->lock);
    for (unsigned b = 0; b < TMEM_SPILL_BATCHES; b++) {
        if (spill->batches[b].state != TMEM_BATCH_EMPTY) {
            bytes += spill->batches[b].bytes;
        }
    }
    g_mutex_unlock(&spill->lock);
    return bytes;
}

/* ---- Dead extents ---- */

typedef struct SpillDiscard {
    TmemStore *store;
    uint32_t first;
    uint32_t num;
} SpillDiscard;

static void discard_done(void *opaque, int ret)
{
    SpillDiscard *discard = opaque;
    TmemSpill *spill = discard->store->spill;

    g_mutex_lock(&spill->lock);
    for (uint32_t i = 0; i < discard->num; i++) {
        extent_put_free(spill, discard->first + i);
    }
    spill->discarding--;
    spill->stats.discarded += discard->num;
    spill_wake(spill);
    g_mutex_unlock(&spill->lock);
    g_free(discard);
}

/* Neighbours that died one after the other. Called with the lock held. */
static SpillDiscard *discard_next(TmemStore *store)
{
    TmemSpill *spill = store->spill;
    SpillDiscard *discard;

    if (!spill->num_dead || spill->discarding == MAX_DISCARDS) {
        return NULL;
    }
    discard = g_new(SpillDiscard, 1);
    *discard = (SpillDiscard) { store, spill->dead_list, 0 };
    do {
        TmemExtent *extent = &spill->extents[spill->dead_list];

        extent->state = TMEM_EXTENT_DISCARDING;
        spill->dead_list = extent->next;
        spill->num_dead--;
        discard->num++;
    } while (spill->dead_list == discard->first + discard->num);
    spill->discarding++;
    return discard;
}

void tmem_spill_poll(TmemStore *store, int64_t now)
{
    TmemSpill *spill = store->spill;
    SpillDiscard *discard;

    if (!spill) {
        return;
    }
    for (unsigned b = 0; b < TMEM_SPILL_BATCHES; b++) {
        bool written;

        g_mutex_lock(&spill->lock);
        written = spill->batches[b].state == TMEM_BATCH_WRITTEN;
        g_mutex_unlock(&spill->lock);
        if (written) {
            batch_finish(store, &spill->batches[b], now);
        }
    }
    for (;;) {
        g_mutex_lock(&spill->lock);
        discard = discard_next(store);
        g_mutex_unlock(&spill->lock);
        if (!discard) {
            return;
        }
        spill->ops->discard(spill->dev,
                            discard->first * (uint64_t)TMEM_EXTENT_SIZE,
                            discard->num * (uint64_t)TMEM_EXTENT_SIZE,
                            discard_done, discard);
    }
}

/* ---- Cleaning ---- */

/* The emptiest extents of those looked at, at most @num of them, sorted. */
static unsigned victims_find(TmemSpill *spill, uint32_t *victims, unsigned num)
{
    unsigned found = 0;

    for (unsigned n = 0; n < MIN(CLEAN_LOOK, spill->num_touched); n++) {
        uint32_t e = spill->clean_cursor++ % spill->num_touched;
        const TmemExtent *extent = &spill->extents[e];
        unsigned i;

        if (extent->state != TMEM_EXTENT_LIVE || extent->stuck ||
            extent->bytes > TMEM_EXTENT_SIZE / 4 * 3) {
            continue;
        }
        for (i = found; i > 0 &&
             spill->extents[victims[i - 1]].bytes > extent->bytes; i--) {
            if (i < num) {
                victims[i] = victims[i - 1];
            }
        }
        if (i < num) {
            victims[i] = e;
            found = MIN(found + 1, num);
        }
    }
    return found;
}

bool tmem_spill_choose_victims(TmemSpill *spill)
{
    uint32_t victims[CLEAN_VICTIMS];
    uint64_t bytes = 0;
    unsigned num = 0;

    g_mutex_lock(&spill->lock);
    if (spill->num_touched) {
        num = victims_find(spill, victims, CLEAN_VICTIMS);
    }
    /* What they have must fit in what is free, with some loss at the ends. */
    for (unsigned i = 0; i < num; i++) {
        bytes += spill->extents[victims[i]].bytes;
        if (bytes + bytes / 8 >
            spill->num_free * (uint64_t)TMEM_EXTENT_SIZE) {
            bytes -= spill->extents[victims[i]].bytes;
            num = i;
        }
    }
    if (num < 2 || DIV_ROUND_UP(bytes + bytes / 8, TMEM_EXTENT_SIZE) >= num) {
        num = 0;
    }
    for (unsigned i = 0; i < num; i++) {
        spill->extents[victims[i]].victim = true;
    }
    spill->victims = num;
    g_mutex_unlock(&spill->lock);
    return num;
}

uint32_t tmem_spill_forget_victims(TmemSpill *spill)
{
    uint32_t left;

    g_mutex_lock(&spill->lock);
    left = spill->victims;
    for (uint32_t e = 0; spill->victims && e < spill->num_touched; e++) {
        spill->victims -= spill->extents[e].victim;
        spill->extents[e].victim = false;
    }
    g_mutex_unlock(&spill->lock);
    return left;
}
