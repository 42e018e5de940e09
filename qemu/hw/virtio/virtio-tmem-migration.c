/*
 * Virtio transcendent memory (tmem) device: live migration and snapshots
 *
 * The page store has a section of its own, "virtio-tmem-store", that moves
 * while the guest runs; queues, reservations and configuration follow with the
 * virtio device, when the store is complete on the other side.
 *
 * Nothing in the stream is believed: what is out of order, too long, spoilt or
 * does not decompress fails the migration, with one line that says why.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <zlib.h>
#include "qemu/bswap.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "qemu/lockable.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "qapi/error.h"
#include "block/aio-wait.h"
#include "hw/virtio/tmem-store-migrate.h"
#include "hw/virtio/virtio-tmem.h"
#include "io/channel-file.h"
#include "migration/misc.h"
#include "migration/options.h"
#include "migration/qemu-file.h"
#include "migration/register.h"
#include "migration/vmstate.h"
#include "standard-headers/linux/virtio_tmem.h"
#include "system/runstate.h"
#include "trace.h"
#include "virtio-tmem-internal.h"

/*
 * Each part of the section is a sequence of chunks, all numbers big-endian:
 *
 *   u32 type, u32 length, u32 CRC-32 of the payload, payload of that length
 *
 *   0 END      ends the part; no payload
 *   1 HEADER   once, at the beginning, see VirtIOTMEMHeader
 *   2 RECORDS  any number: records, one after the other, none cut in two
 *   3 FINAL    the guest has stopped; no payload
 *   4 TOTALS   last, see VirtIOTMEMTotals
 *
 *   record: u8 type, u32 pool, and for type
 *   1 pool is there     u32 flags
 *   2 pool is gone      nothing
 *   3 page              u64 object, u64 index, u8 kind, u16 length, data
 *   4 pages are absent  u64 object, u64 index, u64 mask of indexes from there
 *
 * tmem-store-migrate.h says what records mean. A later one overrides an earlier
 * one. The section has its version, which changes when any of this does.
 */
#define VIRTIO_TMEM_SECTION "virtio-tmem-store"
#define VIRTIO_TMEM_SECTION_VERSION 1

typedef enum VirtIOTMEMChunkType {
    VIRTIO_TMEM_CHUNK_END = 0,
    VIRTIO_TMEM_CHUNK_HEADER = 1,
    VIRTIO_TMEM_CHUNK_RECORDS = 2,
    VIRTIO_TMEM_CHUNK_FINAL = 3,
    VIRTIO_TMEM_CHUNK_TOTALS = 4,
} VirtIOTMEMChunkType;

/* Bytes of payload, at most */
#define VIRTIO_TMEM_CHUNK_SIZE 65536

/* Bytes of a record, at most: a page */
#define VIRTIO_TMEM_RECORD_SIZE (1 + 4 + 8 + 8 + 1 + 2 + TMEM_PAGE_SIZE)

/* Time for one part, as RAM has it: other sections want to be sent too */
#define VIRTIO_TMEM_ITERATE_MS 50

/* What must fit, or migration had better fail at once */
typedef struct QEMU_PACKED VirtIOTMEMHeader {
    uint32_t page_shift;
    uint32_t num_queues;
    uint64_t guest_features;
    uint64_t pages;
    uint64_t bytes;             /* payload and metadata of the store */
    uint64_t max_size;          /* of the source; for its messages only */
} VirtIOTMEMHeader;

typedef struct QEMU_PACKED VirtIOTMEMTotals {
    uint64_t pages;
    uint32_t num_pools;
    uint32_t next_pool;
} VirtIOTMEMTotals;

/* How far the section has been read */
typedef enum VirtIOTMEMLoad {
    VIRTIO_TMEM_LOAD_NONE,      /* not begun, or at its end */
    VIRTIO_TMEM_LOAD_BEGUN,     /* the store is empty; HEADER is next */
    VIRTIO_TMEM_LOAD_LIVE,
    VIRTIO_TMEM_LOAD_FINAL,
    VIRTIO_TMEM_LOAD_COMPLETE,
} VirtIOTMEMLoad;

/*
 * A guest can take the device away at any time, by its PCIe slot, and the
 * migration thread may be in here then, without the BQL. So it has the store
 * only with the lock held, and what migration knows of, the section and this,
 * stays until it is over: then nobody can be in between any more.
 */
struct VirtIOTMEMMigration {
    QemuMutex lock;             /* not held while something is sent */
    VirtIOTMEM *tmem;           /* NULL: the device is gone */
    char section[256];
    bool active;                /* of the source: begun, not cleaned up yet */
    TmemExport *export;         /* of the source */
    VirtIOTMEMLoad load;        /* of the destination */
    TmemRecord record;          /* of both: the one under way */
    size_t used;                /* bytes of payload at chunk */
    uint8_t chunk[VIRTIO_TMEM_CHUNK_SIZE];
};

/* ---- Source ---- */

static void virtio_tmem_put_chunk(QEMUFile *f, VirtIOTMEMChunkType type,
                                  const void *payload, size_t len)
{
    qemu_put_be32(f, type);
    qemu_put_be32(f, len);
    qemu_put_be32(f, len ? crc32(0, payload, len) : 0);
    qemu_put_buffer(f, payload, len);
}

static void virtio_tmem_add(VirtIOTMEMMigration *m, const void *data,
                            size_t len)
{
    assert(m->used + len <= sizeof(m->chunk));
    memcpy(m->chunk + m->used, data, len);
    m->used += len;
}

static void virtio_tmem_add_u8(VirtIOTMEMMigration *m, uint8_t value)
{
    virtio_tmem_add(m, &value, sizeof(value));
}

static void virtio_tmem_add_be16(VirtIOTMEMMigration *m, uint16_t value)
{
    value = cpu_to_be16(value);
    virtio_tmem_add(m, &value, sizeof(value));
}

static void virtio_tmem_add_be32(VirtIOTMEMMigration *m, uint32_t value)
{
    value = cpu_to_be32(value);
    virtio_tmem_add(m, &value, sizeof(value));
}

static void virtio_tmem_add_be64(VirtIOTMEMMigration *m, uint64_t value)
{
    value = cpu_to_be64(value);
    virtio_tmem_add(m, &value, sizeof(value));
}

static void virtio_tmem_add_record(VirtIOTMEMMigration *m)
{
    const TmemRecord *rec = &m->record;

    virtio_tmem_add_u8(m, rec->type);
    virtio_tmem_add_be32(m, rec->pool);
    switch (rec->type) {
    case TMEM_RECORD_POOL:
        virtio_tmem_add_be32(m, rec->flags);
        break;
    case TMEM_RECORD_POOL_GONE:
        break;
    case TMEM_RECORD_PAGE:
        virtio_tmem_add_be64(m, rec->object);
        virtio_tmem_add_be64(m, rec->index);
        virtio_tmem_add_u8(m, rec->kind);
        virtio_tmem_add_be16(m, rec->len);
        virtio_tmem_add(m, rec->data, rec->len);
        break;
    case TMEM_RECORD_ABSENT:
        virtio_tmem_add_be64(m, rec->object);
        virtio_tmem_add_be64(m, rec->index);
        virtio_tmem_add_be64(m, rec->mask);
        break;
    }
}

/* What has changed, as much as a chunk can take. Returns: as the next one. */
static int virtio_tmem_get_records(VirtIOTMEMMigration *m)
{
    int more = 1;

    QEMU_LOCK_GUARD(&m->lock);
    m->used = 0;
    if (!m->tmem) {
        error_report("virtio-tmem: the guest has removed the device");
        return -ENODEV;
    }
    while (more > 0 &&
           m->used + VIRTIO_TMEM_RECORD_SIZE <= VIRTIO_TMEM_CHUNK_SIZE) {
        more = tmem_export_next(m->export, &m->record);
        if (more > 0) {
            virtio_tmem_add_record(m);
        }
    }
    if (more < 0) {
        error_report("virtio-tmem: a page that was spilled cannot be read");
    } else if (m->used) {
        trace_virtio_tmem_save(m->tmem, m->used);
    }
    return more;
}

/*
 * Send a chunk of what has changed. Returns: 1 when there was more than it; 0;
 * or a negative error.
 */
static int virtio_tmem_send_records(VirtIOTMEMMigration *m, QEMUFile *f)
{
    int more = virtio_tmem_get_records(m);

    /* Who removes the device may wait for the lock */
    aio_wait_kick();
    if (more >= 0 && m->used) {
        virtio_tmem_put_chunk(f, VIRTIO_TMEM_CHUNK_RECORDS, m->chunk, m->used);
    }
    return more;
}

static int virtio_tmem_save_prepare(void *opaque, Error **errp)
{
    /* It keeps what RAM was at its beginning, but of no other section */
    if (migrate_background_snapshot()) {
        error_setg(errp, "virtio-tmem: the page store cannot be in a background"
                   " snapshot; use savevm, or migrate to a file");
        return -ENOTSUP;
    }
    if (migrate_colo()) {
        error_setg(errp, "virtio-tmem: the page store cannot be kept in step "
                   "by COLO");
        return -ENOTSUP;
    }
    return 0;
}

/*
 * Whether the guest is gone when somebody finds out that it cannot be loaded: a
 * destination that is there would say so, and the guest goes on here.
 */
static bool virtio_tmem_goes_to_file(QEMUFile *f)
{
    return runstate_check(RUN_STATE_SAVE_VM) ||
           object_dynamic_cast(OBJECT(qemu_file_get_ioc(f)),
                               TYPE_QIO_CHANNEL_FILE);
}

/* Payload, wherever it is kept, and metadata */
static uint64_t virtio_tmem_held_bytes(const TmemStoreStats *stats)
{
    return stats->bytes_stored + stats->spill.bytes_stored +
           stats->bytes_metadata;
}

/*
 * Whether all could not be loaded again into a store like this, in a file from
 * which nobody can go back.
 */
static bool virtio_tmem_is_too_large(VirtIOTMEM *tmem, QEMUFile *f,
                                     const TmemStoreStats *stats, Error **errp)
{
    uint64_t bytes = virtio_tmem_held_bytes(stats);

    if (bytes <= stats->max_size || !virtio_tmem_goes_to_file(f)) {
        return false;
    }
    error_setg(errp, "virtio-tmem: with spilled pages the store holds %"
               PRIu64 " bytes, more than '%s' (%" PRIu64 "): it could not "
               "be loaded again; raise it, or migrate to another QEMU",
               bytes, VIRTIO_TMEM_MAX_SIZE_PROP, stats->max_size);
    return true;
}

static int virtio_tmem_save_setup(QEMUFile *f, void *opaque, Error **errp)
{
    VirtIOTMEMMigration *m = opaque;
    VirtIOTMEM *tmem = m->tmem;
    VirtIOTMEMHeader header;
    TmemStoreStats stats;
    int ret;

    if (!tmem) {
        error_setg(errp, "virtio-tmem: the guest has removed the device");
        return -ENODEV;
    }
    tmem_store_get_stats(tmem->store, &stats);
    if (virtio_tmem_is_too_large(tmem, f, &stats, errp)) {
        return -ENOSPC;
    }
    m->active = true;
    m->export = tmem_export_begin(tmem->store);
    if (!m->export) {
        error_setg(errp, "virtio-tmem: the page store is being sent already");
        return -EBUSY;
    }
    header.page_shift = cpu_to_be32(VIRTIO_TMEM_PAGE_SHIFT);
    header.num_queues = cpu_to_be32(tmem->num_queues);
    header.guest_features = cpu_to_be64(VIRTIO_DEVICE(tmem)->guest_features);
    header.pages = cpu_to_be64(stats.pages);
    header.bytes = cpu_to_be64(virtio_tmem_held_bytes(&stats));
    header.max_size = cpu_to_be64(stats.max_size);
    virtio_tmem_put_chunk(f, VIRTIO_TMEM_CHUNK_HEADER, &header, sizeof(header));
    virtio_tmem_put_chunk(f, VIRTIO_TMEM_CHUNK_END, NULL, 0);
    trace_virtio_tmem_save_setup(tmem, stats.pages, stats.bytes_stored);
    ret = qemu_file_get_error(f);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "virtio-tmem: cannot send the header");
    }
    return ret;
}

static void virtio_tmem_end_export(VirtIOTMEMMigration *m)
{
    QEMU_LOCK_GUARD(&m->lock);
    tmem_export_end(m->export);
    m->export = NULL;
}

static void virtio_tmem_migration_free(void *opaque)
{
    VirtIOTMEMMigration *m = opaque;

    unregister_savevm(NULL, m->section, m);
    qemu_mutex_destroy(&m->lock);
    g_free(m);
}

static void virtio_tmem_save_cleanup(void *opaque)
{
    VirtIOTMEMMigration *m = opaque;

    virtio_tmem_end_export(m);
    if (m->active && !m->tmem) {
        /* Not while sections are looked at one after the other */
        aio_bh_schedule_oneshot(qemu_get_aio_context(),
                                virtio_tmem_migration_free, m);
    }
    m->active = false;
}

/* Without the BQL in a migration: vCPUs put, get and flush meanwhile */
static int virtio_tmem_save_live_iterate(QEMUFile *f, void *opaque)
{
    VirtIOTMEMMigration *m = opaque;
    int64_t end = qemu_clock_get_ms(QEMU_CLOCK_REALTIME) +
                  VIRTIO_TMEM_ITERATE_MS;
    int more, ret;

    do {
        more = virtio_tmem_send_records(m, f);
        ret = more < 0 ? more : qemu_file_get_error(f);
    } while (!ret && more && !migration_rate_exceeded(f) &&
             qemu_clock_get_ms(QEMU_CLOCK_REALTIME) < end);
    virtio_tmem_put_chunk(f, VIRTIO_TMEM_CHUNK_END, NULL, 0);
    return ret ?: !more;
}

/* The guest has stopped, and its last request has been answered */
static int virtio_tmem_save_live_complete(QEMUFile *f, void *opaque)
{
    VirtIOTMEMMigration *m = opaque;
    TmemExportTotals totals;
    VirtIOTMEMTotals out;
    TmemStoreStats stats;
    Error *err = NULL;
    int more;

    if (m->tmem) {
        /* It may have grown since, and the guest can still go on */
        tmem_store_get_stats(m->tmem->store, &stats);
        if (virtio_tmem_is_too_large(m->tmem, f, &stats, &err)) {
            error_report_err(err);
            return -ENOSPC;
        }
    }
    virtio_tmem_put_chunk(f, VIRTIO_TMEM_CHUNK_FINAL, NULL, 0);
    do {
        more = virtio_tmem_send_records(m, f);
        if (more < 0) {
            return more;
        }
    } while (more && !qemu_file_get_error(f));
    tmem_export_totals(m->export, &totals);
    out.pages = cpu_to_be64(totals.pages);
    out.num_pools = cpu_to_be32(totals.num_pools);
    out.next_pool = cpu_to_be32(totals.next_pool);
    virtio_tmem_put_chunk(f, VIRTIO_TMEM_CHUNK_TOTALS, &out, sizeof(out));
    virtio_tmem_put_chunk(f, VIRTIO_TMEM_CHUNK_END, NULL, 0);
    trace_virtio_tmem_save_complete(m->tmem, totals.pages);
    /* In postcopy, RAM follows: what happens here then is of no account */
    virtio_tmem_end_export(m);
    return qemu_file_get_error(f);
}

static void virtio_tmem_state_pending(void *opaque, uint64_t *must_precopy,
                                      uint64_t *can_postcopy)
{
    VirtIOTMEMMigration *m = opaque;

    QEMU_LOCK_GUARD(&m->lock);
    /*
     * In postcopy, only RAM follows later: the store moves before the
     * destination starts, so that a get never waits for the network.
     */
    if (m->export) {
        *must_precopy += tmem_export_pending(m->export);
    }
}

/* ---- Destination ---- */

/* The next @len bytes of the chunk, or NULL: it ends before */
static const uint8_t *virtio_tmem_take(const uint8_t **data, size_t *left,
                                       size_t len)
{
    const uint8_t *ret = *data;

    if (*left < len) {
        return NULL;
    }
    *data += len;
    *left -= len;
    return ret;
}

/* Read one record; false: it is not one, or the chunk ends within it */
static bool virtio_tmem_take_record(TmemRecord *rec, const uint8_t **data,
                                    size_t *left)
{
    const uint8_t *p = virtio_tmem_take(data, left, 1 + 4);

    if (!p) {
        return false;
    }
    rec->type = p[0];
    rec->pool = ldl_be_p(p + 1);
    switch (rec->type) {
    case TMEM_RECORD_POOL:
        p = virtio_tmem_take(data, left, 4);
        if (!p) {
            return false;
        }
        rec->flags = ldl_be_p(p);
        return true;
    case TMEM_RECORD_POOL_GONE:
        return true;
    case TMEM_RECORD_PAGE:
        p = virtio_tmem_take(data, left, 8 + 8 + 1 + 2);
        if (!p) {
            return false;
        }
        rec->object = ldq_be_p(p);
        rec->index = ldq_be_p(p + 8);
        rec->kind = p[16];
        rec->len = lduw_be_p(p + 17);
        if (rec->len > sizeof(rec->data)) {
            return false;
        }
        p = virtio_tmem_take(data, left, rec->len);
        if (!p) {
            return false;
        }
        memcpy(rec->data, p, rec->len);
        return true;
    case TMEM_RECORD_ABSENT:
        p = virtio_tmem_take(data, left, 8 + 8 + 8);
        if (!p) {
            return false;
        }
        rec->object = ldq_be_p(p);
        rec->index = ldq_be_p(p + 8);
        rec->mask = ldq_be_p(p + 16);
        return true;
    }
    return false;
}

static int virtio_tmem_record_error(VirtIOTMEM *tmem, int ret)
{
    TmemStoreStats stats;

    switch (ret) {
    case -ENOSPC:
        tmem_store_get_stats(tmem->store, &stats);
        error_report("virtio-tmem: the page store has no room for what comes: "
                     "it may take %" PRIu64 " bytes now, and '%s' is %" PRIu64,
                     stats.limit, VIRTIO_TMEM_MAX_SIZE_PROP, stats.max_size);
        break;
    case -ENOTSUP:
        error_report("virtio-tmem: pages come compressed by zstd, which this "
                     "QEMU was built without");
        break;
    case -EIO:
        error_report("virtio-tmem: a page that comes does not decompress");
        break;
    default:
        error_report("virtio-tmem: the migration stream has a record that is "
                     "not valid, or not at this place");
        break;
    }
    return ret;
}

static int virtio_tmem_load_records(VirtIOTMEM *tmem, const uint8_t *data,
                                    size_t left)
{
    TmemRecord *rec = &tmem->migration->record;

    while (left) {
        int ret = -EINVAL;

        if (virtio_tmem_take_record(rec, &data, &left)) {
            ret = tmem_import(tmem->store, rec);
        }
        if (ret < 0) {
            return virtio_tmem_record_error(tmem, ret);
        }
    }
    return 0;
}

/* Fail while the guest can still go on where it is */
static int virtio_tmem_load_header(VirtIOTMEM *tmem, const uint8_t *data,
                                   size_t len)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(tmem);
    uint64_t features, bytes, limit;
    VirtIOTMEMHeader header;
    TmemStoreStats stats;

    if (len != sizeof(header)) {
        error_report("virtio-tmem: the header in the migration stream has %zu "
                     "bytes, it must have %zu", len, sizeof(header));
        return -EINVAL;
    }
    memcpy(&header, data, sizeof(header));
    if (be32_to_cpu(header.page_shift) != VIRTIO_TMEM_PAGE_SHIFT) {
        error_report("virtio-tmem: the source has a page shift of %" PRIu32
                     ", here it is %d", be32_to_cpu(header.page_shift),
                     VIRTIO_TMEM_PAGE_SHIFT);
        return -EINVAL;
    }
    if (be32_to_cpu(header.num_queues) != tmem->num_queues) {
        error_report("virtio-tmem: property '%s' is %" PRIu32 ", it must be %"
                     PRIu32 " as in the source", VIRTIO_TMEM_NUM_QUEUES_PROP,
                     tmem->num_queues, be32_to_cpu(header.num_queues));
        return -EINVAL;
    }
    features = be64_to_cpu(header.guest_features) & ~vdev->host_features;
    if (features) {
        error_report("virtio-tmem: the guest uses features 0x%" PRIx64
                     " that this device does not offer", features);
        return -EINVAL;
    }
    tmem_store_get_stats(tmem->store, &stats);
    bytes = be64_to_cpu(header.bytes);
    limit = stats.limit;
    if (runstate_check(RUN_STATE_RESTORE_VM)) {
        /* What ran before is gone: a limit that pressure has set can wait */
        limit = stats.max_size;
        tmem_import_final(tmem->store);
    }
    if (bytes > limit) {
        error_report("virtio-tmem: the page store of the source holds %" PRIu64
                     " pages in %" PRIu64 " bytes, here it may take %" PRIu64
                     " bytes now, and '%s' is %" PRIu64,
                     be64_to_cpu(header.pages), bytes, limit,
                     VIRTIO_TMEM_MAX_SIZE_PROP, stats.max_size);
        return -ENOSPC;
    }
    trace_virtio_tmem_load_header(tmem, be64_to_cpu(header.pages), bytes,
                                  be64_to_cpu(header.max_size));
    return 0;
}

static int virtio_tmem_load_totals(VirtIOTMEM *tmem, const uint8_t *data,
                                   size_t len)
{
    VirtIOTMEMTotals in;
    TmemExportTotals totals;

    if (len == sizeof(in)) {
        memcpy(&in, data, sizeof(in));
        totals.pages = be64_to_cpu(in.pages);
        totals.num_pools = be32_to_cpu(in.num_pools);
        totals.next_pool = be32_to_cpu(in.next_pool);
        if (tmem_import_check(tmem->store, &totals)) {
            trace_virtio_tmem_load_complete(tmem, totals.pages);
            return 0;
        }
    }
    error_report("virtio-tmem: the migration stream does not have all pages "
                 "that it says it has");
    return -EINVAL;
}

static int virtio_tmem_load_chunk(VirtIOTMEM *tmem, uint32_t type, size_t len)
{
    VirtIOTMEMMigration *m = tmem->migration;
    int ret;

    if (type == VIRTIO_TMEM_CHUNK_HEADER &&
        m->load == VIRTIO_TMEM_LOAD_BEGUN) {
        ret = virtio_tmem_load_header(tmem, m->chunk, len);
        if (!ret) {
            m->load = VIRTIO_TMEM_LOAD_LIVE;
        }
        return ret;
    }
    if (type == VIRTIO_TMEM_CHUNK_RECORDS &&
        (m->load == VIRTIO_TMEM_LOAD_LIVE ||
         m->load == VIRTIO_TMEM_LOAD_FINAL)) {
        return virtio_tmem_load_records(tmem, m->chunk, len);
    }
    if (type == VIRTIO_TMEM_CHUNK_FINAL && !len &&
        m->load == VIRTIO_TMEM_LOAD_LIVE) {
        tmem_import_final(tmem->store);
        m->load = VIRTIO_TMEM_LOAD_FINAL;
        return 0;
    }
    if (type == VIRTIO_TMEM_CHUNK_TOTALS &&
        m->load == VIRTIO_TMEM_LOAD_FINAL) {
        ret = virtio_tmem_load_totals(tmem, m->chunk, len);
        if (!ret) {
            m->load = VIRTIO_TMEM_LOAD_COMPLETE;
        }
        return ret;
    }
    error_report("virtio-tmem: the migration stream has a chunk of type %"
                 PRIu32 " and %zu bytes where there can be none", type, len);
    return -EINVAL;
}

static int virtio_tmem_load_state(QEMUFile *f, void *opaque, int version_id)
{
    VirtIOTMEMMigration *m = opaque;
    VirtIOTMEM *tmem = m->tmem;

    for (;;) {
        uint32_t type = qemu_get_be32(f);
        uint32_t len = qemu_get_be32(f);
        uint32_t crc = qemu_get_be32(f);
        int ret = qemu_file_get_error(f);

        if (ret) {
            return ret;
        }
        if (len > sizeof(m->chunk)) {
            error_report("virtio-tmem: the migration stream has a chunk of %"
                         PRIu32 " bytes, there can be %zu at most", len,
                         sizeof(m->chunk));
            return -EINVAL;
        }
        if (qemu_get_buffer(f, m->chunk, len) != len) {
            return qemu_file_get_error(f) ?: -EIO;
        }
        if (crc != (len ? crc32(0, m->chunk, len) : 0)) {
            error_report("virtio-tmem: the migration stream is spoilt: a chunk "
                         "of type %" PRIu32 " and %" PRIu32 " bytes does not "
                         "match its checksum", type, len);
            return -EINVAL;
        }
        if (type == VIRTIO_TMEM_CHUNK_END && !len &&
            m->load > VIRTIO_TMEM_LOAD_BEGUN) {
            return 0;
        }
        ret = virtio_tmem_load_chunk(tmem, type, len);
        if (ret) {
            return ret;
        }
    }
}

static void virtio_tmem_forget_reservations(VirtIOTMEM *tmem)
{
    int i;

    for (i = 0; i < tmem->num_queues; i++) {
        tmem->queues[i].reservations = 0;
    }
}

static int virtio_tmem_load_setup(QEMUFile *f, void *opaque, Error **errp)
{
    VirtIOTMEMMigration *m = opaque;

    virtio_tmem_forget_reservations(m->tmem);
    tmem_import_begin(m->tmem->store);
    m->load = VIRTIO_TMEM_LOAD_BEGUN;
    return 0;
}

static int virtio_tmem_load_cleanup(void *opaque)
{
    VirtIOTMEMMigration *m = opaque;

    if (m->load != VIRTIO_TMEM_LOAD_NONE) {
        /* It has failed: the store knows of none that the stream has said */
        tmem_store_reset(m->tmem->store);
        virtio_tmem_forget_reservations(m->tmem);
        m->load = VIRTIO_TMEM_LOAD_NONE;
    }
    tmem_import_end(m->tmem->store);
    return 0;
}

static const SaveVMHandlers virtio_tmem_savevm_handlers = {
    .save_prepare = virtio_tmem_save_prepare,
    .save_setup = virtio_tmem_save_setup,
    .save_cleanup = virtio_tmem_save_cleanup,
    .save_live_iterate = virtio_tmem_save_live_iterate,
    .save_live_complete_precopy = virtio_tmem_save_live_complete,
    .state_pending_estimate = virtio_tmem_state_pending,
    .state_pending_exact = virtio_tmem_state_pending,
    .load_setup = virtio_tmem_load_setup,
    .load_cleanup = virtio_tmem_load_cleanup,
    .load_state = virtio_tmem_load_state,
};

/* ---- The device proper, whose section comes after that of the store ---- */

/* Promises that the guest relies on are made again */
static int virtio_tmem_load_reservations(VirtIOTMEMQueue *q, uint32_t wanted)
{
    if (wanted > VIRTIO_TMEM_MAX_RESERVATIONS) {
        error_report("virtio-tmem: a queue has %" PRIu32 " reservations, there "
                     "can be %d at most", wanted, VIRTIO_TMEM_MAX_RESERVATIONS);
        return -EINVAL;
    }
    virtio_tmem_set_reservations(q, wanted);
    if (q->reservations != wanted) {
        error_report("virtio-tmem: no room for the %" PRIu32 " reservations of "
                     "a queue", wanted);
        return -ENOSPC;
    }
    return 0;
}

static int virtio_tmem_post_load(void *opaque, int version_id)
{
    VirtIOTMEM *tmem = opaque;
    int i, ret;

    if (tmem->migration->load != VIRTIO_TMEM_LOAD_COMPLETE) {
        error_report("virtio-tmem: the migration stream has the device, but "
                     "not all of its page store");
        return -EINVAL;
    }
    for (i = 0; i < tmem->num_queues; i++) {
        VirtIOTMEMQueue *q = &tmem->queues[i];
        uint32_t wanted = q->reservations;

        q->reservations = 0;
        ret = virtio_tmem_load_reservations(q, wanted);
        if (ret) {
            return ret;
        }
    }
    tmem_import_end(tmem->store);
    tmem->migration->load = VIRTIO_TMEM_LOAD_NONE;
    return 0;
}

static const VMStateDescription vmstate_virtio_tmem_queue = {
    .name = "virtio-tmem-queue",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT32(reservations, VirtIOTMEMQueue),
        VMSTATE_END_OF_LIST()
    },
};

const VMStateDescription vmstate_virtio_tmem_device = {
    .name = "virtio-tmem-device",
    .version_id = 1,
    .minimum_version_id = 1,
    .post_load = virtio_tmem_post_load,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT32_EQUAL(num_queues, VirtIOTMEM,
                             "num-queues must be as in the source"),
        VMSTATE_STRUCT_VARRAY_POINTER_UINT32(queues, VirtIOTMEM, num_queues,
                                             vmstate_virtio_tmem_queue,
                                             VirtIOTMEMQueue),
        VMSTATE_UINT64(target_pages, VirtIOTMEM),
        VMSTATE_UINT64(max_pages, VirtIOTMEM),
        VMSTATE_END_OF_LIST()
    },
};

void virtio_tmem_migration_init(VirtIOTMEM *tmem)
{
    g_autofree char *path = vmstate_if_get_id(VMSTATE_IF(tmem));
    g_autofree char *id = path ? g_strdup_printf("%s/" VIRTIO_TMEM_SECTION,
                                                 path)
                               : g_strdup(VIRTIO_TMEM_SECTION);
    VirtIOTMEMMigration *m = g_new0(VirtIOTMEMMigration, 1);

    qemu_mutex_init(&m->lock);
    m->tmem = tmem;
    tmem->migration = m;
    pstrcpy(m->section, sizeof(m->section), id);
    register_savevm_live(m->section, VMSTATE_INSTANCE_ID_ANY,
                         VIRTIO_TMEM_SECTION_VERSION,
                         &virtio_tmem_savevm_handlers, m);
}

/* The migration thread may wait for a page that the main loop is to read */
static bool virtio_tmem_is_sending(VirtIOTMEMMigration *m)
{
    return qemu_mutex_trylock(&m->lock);
}

void virtio_tmem_migration_cleanup(VirtIOTMEM *tmem)
{
    VirtIOTMEMMigration *m = tmem->migration;

    AIO_WAIT_WHILE_UNLOCKED(NULL, virtio_tmem_is_sending(m));
    tmem_export_end(m->export);
    m->export = NULL;
    m->tmem = NULL;
    tmem->migration = NULL;
    qemu_mutex_unlock(&m->lock);
    if (!m->active) {
        virtio_tmem_migration_free(m);
    }
}
