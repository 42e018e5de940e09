/*
 * Page store of the virtio-tmem device: its pages on their way to another one
 *
 * An export turns what a store holds, and how that changes meanwhile, into
 * records; importing these in the same order makes another store hold the same.
 * Pages go as they are kept: nobody compresses anything again, and the stores
 * may differ in compression and limit.
 *
 * An export reads the store and changes nothing in it: it may end at any time,
 * and another one may begin.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef HW_VIRTIO_TMEM_STORE_MIGRATE_H
#define HW_VIRTIO_TMEM_STORE_MIGRATE_H

#include "hw/virtio/tmem-store.h"

/* The numbers are part of the migration stream. */
typedef enum TmemRecordType {
    TMEM_RECORD_POOL = 1,       /* there is a pool: pool, flags */
    TMEM_RECORD_POOL_GONE = 2,  /* it was destroyed: pool */
    TMEM_RECORD_PAGE = 3,       /* pool, object, index, kind, len, data */
    TMEM_RECORD_ABSENT = 4,     /* no pages there: pool, object, index, mask */
} TmemRecordType;

/*
 * How a page is kept. The numbers are part of the migration stream.
 *
 *   1 same-filled: 8 bytes, repeated; 2 an lz4 block; 3 the page as it was;
 *   4 a zstd frame; 2, and one byte of 0: the page is lost, and gets of it fail
 */
typedef uint8_t TmemRecordKind;

/* All that is not named for the type has no meaning. */
typedef struct TmemRecord {
    TmemRecordType type;
    uint32_t pool;
    uint32_t flags;             /* as tmem_store_pool_create() takes them */
    uint64_t object;
    uint64_t index;
    uint64_t mask;              /* bit n: index + n is absent */
    TmemRecordKind kind;
    uint16_t len;               /* bytes of data */
    uint8_t data[TMEM_PAGE_SIZE];
} TmemRecord;

/* Indexes of an absent record begin at a multiple of this. */
#define TMEM_RECORD_INDEXES 64

typedef struct TmemExport TmemExport;

/* What an importer can check and has to know when all records are there. */
typedef struct TmemExportTotals {
    uint64_t pages;             /* of persistent pools */
    uint32_t num_pools;
    uint32_t next_pool;         /* id of the next pool to be made */
} TmemExportTotals;

/**
 * tmem_export_begin: export all that the store holds, from the beginning
 *
 * From here on, the store notes what changes; the notes count as used memory,
 * are bounded, and when there are too many of them, the export begins anew by
 * itself.
 *
 * Returns: NULL when there is an export of this store already.
 */
TmemExport *tmem_export_begin(TmemStore *store);

/**
 * tmem_export_next: the next record, while others put, get and flush
 *
 * To be called by one thread at a time.
 *
 * Returns: 1 when @rec was filled in; 0: the importer has what the store holds
 * now, and there will be more when that changes; -EIO: a page that was spilled
 * cannot be read now. It waits for the device that the store spills to.
 */
int tmem_export_next(TmemExport *export, TmemRecord *rec);

/**
 * tmem_export_pending: bytes that the records still to come have, roughly
 */
uint64_t tmem_export_pending(TmemExport *export);

/**
 * tmem_export_totals: fill in @totals, while nobody changes the store
 */
void tmem_export_totals(TmemExport *export, TmemExportTotals *totals);

/**
 * tmem_export_end: no more records (NULL is allowed)
 */
void tmem_export_end(TmemExport *export);

/**
 * tmem_import_begin: empty the store, and make ready for records
 *
 * Up to tmem_import_end(), or a reset, the store may take a little more than
 * its limit: a 16th and 1 MiB, as what comes is not packed yet.
 */
void tmem_import_begin(TmemStore *store);

/**
 * tmem_import_final: what comes now must not fail for want of room
 *
 * The records that end a live migration come when nobody can decide any more
 * to stay. There may be another max_size of them.
 */
void tmem_import_final(TmemStore *store);

/**
 * tmem_import: apply a record
 *
 * Nothing in @rec is believed. A page of an ephemeral pool for which there is
 * no room is left out.
 *
 * Returns: 0; -ENOSPC when there is no room; -EINVAL when @rec is not what an
 * export makes, or not after what came before; -ENOTSUP for a page compressed
 * by zstd when this build has none; -EIO when the page does not decompress.
 */
int tmem_import(TmemStore *store, const TmemRecord *rec);

/**
 * tmem_import_check: whether all is there that @totals says
 *
 * Returns: false when something is missing; @totals takes effect otherwise.
 */
bool tmem_import_check(TmemStore *store, const TmemExportTotals *totals);

/**
 * tmem_import_end: the limit holds again, and maintenance sees to it
 */
void tmem_import_end(TmemStore *store);

#endif
