/*
 * Virtio transcendent memory (tmem) device: the block node to spill to
 *
 * The page store asks from any thread, most of which no block layer knows: what
 * it asks for is queued here and begun in the main loop, which the node belongs
 * to. Each request counts as the block backend's from then on, so that those
 * who drain it wait for it.
 *
 * What is queued is not begun
 * - while the node is drained. The backend is told not to queue requests by
 *   itself: a page that is wanted at once (read_now) can be read even then, by
 *   who saves the VM with all nodes drained;
 * - while the VM does not run, but for reads: its nodes may be another QEMU's
 *   by then.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "qapi/error.h"
#include "qapi/qapi-events-tmem.h"
#include "block/aio-wait.h"
#include "hw/virtio/tmem-store-spill.h"
#include "hw/virtio/virtio-tmem.h"
#include "system/block-backend.h"
#include "system/runstate.h"
#include "trace.h"
#include "virtio-tmem-internal.h"

typedef enum SpillKind {
    SPILL_READ,
    SPILL_WRITE,
    SPILL_DISCARD,
} SpillKind;

typedef struct SpillRequest {
    VirtIOTMEMSpill *spill;
    SpillKind kind;
    uint64_t offset;
    uint64_t len;
    QEMUIOVector qiov;
    TmemSpillDoneFn *done;
    void *opaque;
    QSIMPLEQ_ENTRY(SpillRequest) next;
} SpillRequest;

struct VirtIOTMEMSpill {
    VirtIOTMEM *tmem;
    BlockBackend *blk;
    VMChangeStateEntry *vmstate;
    QEMUBH *bh;             /* begins what is queued, and sends events */
    bool running;           /* the VM */
    bool drained;
    bool closing;
    unsigned int in_flight;

    QemuMutex lock;         /* protects these; all else is the BQL's */
    QSIMPLEQ_HEAD(, SpillRequest) queue;
    int failed[2];          /* errno of what has failed, by TmemSpillOp */
};

static void spill_complete(void *opaque, int ret)
{
    SpillRequest *req = opaque;
    VirtIOTMEMSpill *spill = req->spill;

    trace_virtio_tmem_spill_done(spill->tmem, req->kind, req->offset,
                                 req->len, ret);
    req->done(req->opaque, MIN(ret, 0));
    spill->in_flight--;
    g_free(req);
    aio_wait_kick();
}

static void spill_begin(VirtIOTMEMSpill *spill, SpillRequest *req)
{
    spill->in_flight++;
    switch (req->kind) {
    case SPILL_READ:
        blk_aio_preadv(spill->blk, req->offset, &req->qiov, 0, spill_complete,
                       req);
        break;
    case SPILL_WRITE:
        blk_aio_pwritev(spill->blk, req->offset, &req->qiov, 0, spill_complete,
                        req);
        break;
    default:
        blk_aio_pdiscard(spill->blk, req->offset, req->len, spill_complete,
                         req);
    }
}

/* The first request that may be begun now, off the queue, or NULL */
static SpillRequest *spill_next(VirtIOTMEMSpill *spill)
{
    SpillRequest *req;

    qemu_mutex_lock(&spill->lock);
    QSIMPLEQ_FOREACH(req, &spill->queue, next) {
        if (spill->closing ||
            (!spill->drained && (spill->running || req->kind == SPILL_READ))) {
            QSIMPLEQ_REMOVE(&spill->queue, req, SpillRequest, next);
            break;
        }
    }
    qemu_mutex_unlock(&spill->lock);
    return req;
}

static void spill_send_events(VirtIOTMEMSpill *spill)
{
    g_autofree char *path = NULL;
    int failed[ARRAY_SIZE(spill->failed)];
    int i;

    qemu_mutex_lock(&spill->lock);
    memcpy(failed, spill->failed, sizeof(failed));
    memset(spill->failed, 0, sizeof(spill->failed));
    qemu_mutex_unlock(&spill->lock);
    for (i = 0; i < ARRAY_SIZE(failed); i++) {
        if (failed[i]) {
            path = path ?: virtio_tmem_get_path(spill->tmem);
            qapi_event_send_tmem_spill_error(path, i == TMEM_SPILL_READ ?
                                             IO_OPERATION_TYPE_READ :
                                             IO_OPERATION_TYPE_WRITE,
                                             failed[i] == EBADMSG ?
                                             "the data is not what was "
                                             "written" : strerror(failed[i]));
        }
    }
}

static void spill_bh(void *opaque)
{
    VirtIOTMEMSpill *spill = opaque;
    SpillRequest *req;

    spill_send_events(spill);
    while ((req = spill_next(spill))) {
        if (spill->closing) {
            spill->in_flight++;
            spill_complete(req, -ECANCELED);
        } else {
            spill_begin(spill, req);
        }
    }
}

/* From any thread */
static void spill_submit(VirtIOTMEMSpill *spill, SpillKind kind,
                         uint64_t offset, void *buf, uint64_t len,
                         TmemSpillDoneFn *done, void *opaque)
{
    SpillRequest *req = g_new0(SpillRequest, 1);

    req->spill = spill;
    req->kind = kind;
    req->offset = offset;
    req->len = len;
    req->done = done;
    req->opaque = opaque;
    if (buf) {
        qemu_iovec_init_buf(&req->qiov, buf, len);
    }
    qemu_mutex_lock(&spill->lock);
    QSIMPLEQ_INSERT_TAIL(&spill->queue, req, next);
    qemu_mutex_unlock(&spill->lock);
    qemu_bh_schedule(spill->bh);
}

static void virtio_tmem_spill_read(void *dev, uint64_t offset, void *buf,
                                   size_t len, TmemSpillDoneFn *done,
                                   void *opaque)
{
    spill_submit(dev, SPILL_READ, offset, buf, len, done, opaque);
}

static void virtio_tmem_spill_write(void *dev, uint64_t offset,
                                    const void *buf, size_t len,
                                    TmemSpillDoneFn *done, void *opaque)
{
    spill_submit(dev, SPILL_WRITE, offset, (void *)buf, len, done, opaque);
}

static void virtio_tmem_spill_discard(void *dev, uint64_t offset, uint64_t len,
                                      TmemSpillDoneFn *done, void *opaque)
{
    spill_submit(dev, SPILL_DISCARD, offset, NULL, len, done, opaque);
}

typedef struct SpillWait {
    QemuEvent event;
    int ret;
} SpillWait;

static void spill_wait_done(void *opaque, int ret)
{
    SpillWait *wait = opaque;

    wait->ret = ret;
    qemu_event_set(&wait->event);
}

/*
 * Who has the BQL keeps the main loop from doing it, and does it itself. Others
 * must not be what the main loop waits for.
 */
static int virtio_tmem_spill_read_now(void *dev, uint64_t offset, void *buf,
                                      size_t len)
{
    VirtIOTMEMSpill *spill = dev;
    SpillWait wait;

    if (bql_locked()) {
        return MIN(blk_pread(spill->blk, offset, len, buf, 0), 0);
    }
    qemu_event_init(&wait.event, false);
    spill_submit(spill, SPILL_READ, offset, buf, len, spill_wait_done, &wait);
    qemu_event_wait(&wait.event);
    qemu_event_destroy(&wait.event);
    return wait.ret;
}

static void virtio_tmem_spill_failed(void *dev, TmemSpillOp op, int err)
{
    VirtIOTMEMSpill *spill = dev;

    qemu_mutex_lock(&spill->lock);
    spill->failed[op] = err;
    qemu_mutex_unlock(&spill->lock);
    qemu_bh_schedule(spill->bh);
}

/* As spill_next(), of writes */
static bool virtio_tmem_spill_held(void *dev)
{
    VirtIOTMEMSpill *spill = dev;

    return !qatomic_read(&spill->running) || qatomic_read(&spill->drained);
}

static const TmemSpillOps virtio_tmem_spill_ops = {
    .read = virtio_tmem_spill_read,
    .write = virtio_tmem_spill_write,
    .discard = virtio_tmem_spill_discard,
    .read_now = virtio_tmem_spill_read_now,
    .failed = virtio_tmem_spill_failed,
    .held = virtio_tmem_spill_held,
};

static void spill_drained_begin(void *opaque)
{
    VirtIOTMEMSpill *spill = opaque;

    qatomic_set(&spill->drained, true);
}

static void spill_drained_end(void *opaque)
{
    VirtIOTMEMSpill *spill = opaque;

    qatomic_set(&spill->drained, false);
    qemu_bh_schedule(spill->bh);
}

static const BlockDevOps spill_dev_ops = {
    .drained_begin = spill_drained_begin,
    .drained_end = spill_drained_end,
};

static void spill_vm_state(void *opaque, bool running, RunState state)
{
    VirtIOTMEMSpill *spill = opaque;

    qatomic_set(&spill->running, running);
    qemu_bh_schedule(spill->bh);
}

/* Take hold of the node. Returns its size in bytes, or -1 with @errp set. */
static int64_t spill_open(VirtIOTMEM *tmem, Error **errp)
{
    BlockBackend *blk = tmem->spill_blk;
    int64_t size;

    if (!blk_is_inserted(blk)) {
        error_setg(errp, "property '%s': there is no medium in the drive",
                   VIRTIO_TMEM_SPILL_PROP);
        return -1;
    }
    if (!blk_supports_write_perm(blk)) {
        error_setg(errp, "property '%s': the node is read-only, it must be "
                   "writable", VIRTIO_TMEM_SPILL_PROP);
        return -1;
    }
    /* What is written there is of no use to others, nor can it be shared */
    if (blk_set_perm(blk, BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE,
                     BLK_PERM_CONSISTENT_READ, errp) < 0) {
        error_prepend(errp, "property '%s': ", VIRTIO_TMEM_SPILL_PROP);
        return -1;
    }
    size = blk_getlength(blk);
    if (size < 0) {
        error_setg_errno(errp, -size, "property '%s': cannot get the size of "
                         "the node", VIRTIO_TMEM_SPILL_PROP);
        return -1;
    }
    return size;
}

bool virtio_tmem_spill_init(VirtIOTMEM *tmem, Error **errp)
{
    g_autoptr(GError) err = NULL;
    VirtIOTMEMSpill *spill;
    int64_t size;

    if (!tmem->spill_blk) {
        return true;
    }
    size = spill_open(tmem, errp);
    if (size < 0) {
        return false;
    }
    spill = g_new0(VirtIOTMEMSpill, 1);
    spill->tmem = tmem;
    spill->blk = tmem->spill_blk;
    if (!tmem_store_set_spill(tmem->store, &virtio_tmem_spill_ops, spill,
                              size, &err)) {
        error_setg(errp, "property '%s': %s", VIRTIO_TMEM_SPILL_PROP,
                   err->message);
        g_free(spill);
        return false;
    }
    qemu_mutex_init(&spill->lock);
    QSIMPLEQ_INIT(&spill->queue);
    spill->running = runstate_is_running();
    spill->bh = qemu_bh_new(spill_bh, spill);
    spill->vmstate = qemu_add_vm_change_state_handler(spill_vm_state, spill);
    tmem->spill = spill;
    blk_set_disable_request_queuing(spill->blk, true);
    blk_set_dev_ops(spill->blk, &spill_dev_ops, spill);
    return true;
}

void virtio_tmem_spill_cleanup(VirtIOTMEM *tmem)
{
    VirtIOTMEMSpill *spill = tmem->spill;

    if (!spill) {
        return;
    }
    spill->closing = true;
    spill_bh(spill);
    AIO_WAIT_WHILE_UNLOCKED(NULL, spill->in_flight > 0);
    qemu_del_vm_change_state_handler(spill->vmstate);
    blk_set_dev_ops(spill->blk, NULL, NULL);
    qemu_bh_delete(spill->bh);
    qemu_mutex_destroy(&spill->lock);
    g_free(spill);
    tmem->spill = NULL;
}
