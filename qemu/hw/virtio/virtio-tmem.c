/*
 * Virtio transcendent memory (tmem) device
 *
 * Takes requests from the rings and turns them into calls of the page store.
 * Rules:
 *  - Nothing that the guest says is believed: header and lists are copied out
 *    of guest memory once, checked, and only the copy is used.
 *  - A request is served and used in the thread that took the notification,
 *    in ring order, before the next one: the order that the spec promises.
 *  - A page payload may be changed by the guest at any time; only the store
 *    reads it, and copes.
 *  - All of this runs under the BQL. The store's worker does not: it schedules
 *    limit_bh when the limit has changed, and nothing else.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qemu/iov.h"
#include "qemu/main-loop.h"
#include "qapi/error.h"
#include "qapi/qapi-events-tmem.h"
#include "qapi/visitor.h"
#include "hw/qdev-properties.h"
#include "hw/virtio/virtio-tmem.h"
#include "migration/vmstate.h"
#include "standard-headers/linux/virtio_tmem.h"
#include "trace.h"

#define VIRTIO_TMEM_PAGE_SHIFT 12

QEMU_BUILD_BUG_ON(1 << VIRTIO_TMEM_PAGE_SHIFT != TMEM_PAGE_SIZE);

/*
 * Requests that are served for one notification before the main loop gets a
 * chance to run: at 32 pages each and some microseconds a page, a queue of puts
 * and gets keeps the BQL for about 10 ms. A driver that waits for each request
 * never gets near it. Flushes are not bounded by it: one may free all that the
 * store holds, at about a second for each 4 GiB.
 */
#define VIRTIO_TMEM_REQUEST_BUDGET 64

/*
 * The guest hears of a new target at most once a second, and not at all when it
 * differs by less than a 16th: it may have thousands of pages to write back for
 * each, and must not be driven to and fro by the noise of the limit.
 */
#define VIRTIO_TMEM_TARGET_INTERVAL_MS 1000
#define VIRTIO_TMEM_TARGET_SHARE 16

/* A target that asks for nothing */
#define VIRTIO_TMEM_NO_TARGET INT64_MAX

/*
 * Reservations that one queue can have: enough for what a driver puts between
 * two requests for more, and they cost some time and 22 KiB each.
 */
#define VIRTIO_TMEM_MAX_RESERVATIONS 64

/* The indexes of a put or get, or the ranges of a flush, as the guest sent */
typedef union VirtIOTMEMList {
    uint64_t index[VIRTIO_TMEM_MAX_PAGES];
    struct virtio_tmem_range range[VIRTIO_TMEM_MAX_RANGES];
} VirtIOTMEMList;

/* One request while it is served: all values in host byte order */
typedef struct VirtIOTMEMReq {
    VirtIOTMEMQueue *queue;
    VirtQueueElement *elem;
    uint8_t type;
    uint8_t flags;
    uint16_t count;
    uint32_t pool;
    uint64_t object;
    size_t out_size;
    size_t in_size;
    /* bytes of payload that were written after the response */
    size_t payload_len;
    VirtIOTMEMList list;
} VirtIOTMEMReq;

/* A position in an I/O vector that only moves forward */
typedef struct IOVCursor {
    const struct iovec *iov;
    unsigned int num;
    size_t offset;
} IOVCursor;

static void iov_cursor_advance(IOVCursor *c, size_t bytes)
{
    c->offset += bytes;
    while (c->num && c->offset >= c->iov->iov_len) {
        c->offset -= c->iov->iov_len;
        c->iov++;
        c->num--;
    }
}

/* The next page of the vector if it is in one piece, else NULL */
static void *iov_cursor_page(const IOVCursor *c)
{
    if (c->num && c->iov->iov_len - c->offset >= TMEM_PAGE_SIZE) {
        return c->iov->iov_base + c->offset;
    }
    return NULL;
}

static uint8_t virtio_tmem_pool_create(VirtIOTMEM *tmem, VirtIOTMEMReq *req,
                                       struct virtio_tmem_resp *resp)
{
    uint32_t pool;

    if (req->count || req->pool || req->object) {
        return VIRTIO_TMEM_S_INVALID;
    }
    if (tmem_store_pool_create(tmem->store,
                               req->flags & VIRTIO_TMEM_FLAG_EPHEMERAL ?
                               TMEM_POOL_EPHEMERAL : 0, &pool) < 0) {
        return VIRTIO_TMEM_S_REJECTED;
    }
    resp->value = cpu_to_le64(pool);
    trace_virtio_tmem_pool_create(tmem, pool, req->flags);
    return VIRTIO_TMEM_S_OK;
}

static uint8_t virtio_tmem_pool_destroy(VirtIOTMEM *tmem, VirtIOTMEMReq *req,
                                        struct virtio_tmem_resp *resp)
{
    int64_t pages;

    if (req->count || req->object) {
        return VIRTIO_TMEM_S_INVALID;
    }
    pages = tmem_store_pool_destroy(tmem->store, req->pool);
    if (pages < 0) {
        return VIRTIO_TMEM_S_INVALID;
    }
    resp->value = cpu_to_le64(pages);
    trace_virtio_tmem_pool_destroy(tmem, req->pool, pages);
    return VIRTIO_TMEM_S_OK;
}

/* Store one page, under a reservation of the queue if the request says so */
static int virtio_tmem_put_page(VirtIOTMEM *tmem, VirtIOTMEMReq *req,
                                uint64_t index, const void *page)
{
    if (req->flags & VIRTIO_TMEM_FLAG_RESERVED) {
        req->queue->reservations--;
        return tmem_store_put_reserved(tmem->store, req->pool, req->object,
                                       index, page);
    }
    return tmem_store_put(tmem->store, req->pool, req->object, index, page);
}

static uint8_t virtio_tmem_put(VirtIOTMEM *tmem, VirtIOTMEMReq *req,
                               struct virtio_tmem_resp *resp)
{
    IOVCursor c = { .iov = req->elem->out_sg, .num = req->elem->out_num };
    uint8_t bounce[TMEM_PAGE_SIZE];
    uint32_t done = 0;
    int i;

    if (!tmem_store_pool_exists(tmem->store, req->pool) ||
        ((req->flags & VIRTIO_TMEM_FLAG_RESERVED) &&
         req->count > req->queue->reservations)) {
        return VIRTIO_TMEM_S_INVALID;
    }
    iov_cursor_advance(&c, sizeof(struct virtio_tmem_req) +
                           req->count * sizeof(req->list.index[0]));
    for (i = 0; i < req->count; i++) {
        const void *page = iov_cursor_page(&c);

        if (!page) {
            iov_to_buf(c.iov, c.num, c.offset, bounce, TMEM_PAGE_SIZE);
            page = bounce;
        }
        if (!virtio_tmem_put_page(tmem, req, req->list.index[i], page)) {
            done |= 1u << i;
        }
        iov_cursor_advance(&c, TMEM_PAGE_SIZE);
    }
    resp->done = cpu_to_le32(done);
    trace_virtio_tmem_put(tmem, req->pool, req->object, req->list.index[0],
                          req->count, done);
    return ctpop32(done) == req->count ? VIRTIO_TMEM_S_OK :
                                         VIRTIO_TMEM_S_REJECTED;
}

/* Get one page into the guest's buffer at @c; returns as tmem_store_get() */
static int virtio_tmem_get_page(VirtIOTMEM *tmem, VirtIOTMEMReq *req,
                                uint64_t index, const IOVCursor *c)
{
    uint8_t bounce[TMEM_PAGE_SIZE];
    void *page = iov_cursor_page(c);
    int ret;

    if (page) {
        return tmem_store_get(tmem->store, req->pool, req->object, index, page);
    }
    ret = tmem_store_get(tmem->store, req->pool, req->object, index, bounce);
    if (!ret) {
        iov_from_buf(c->iov, c->num, c->offset, bounce, TMEM_PAGE_SIZE);
    }
    return ret;
}

static uint8_t virtio_tmem_get(VirtIOTMEM *tmem, VirtIOTMEMReq *req,
                               struct virtio_tmem_resp *resp)
{
    IOVCursor c = { .iov = req->elem->in_sg, .num = req->elem->in_num };
    uint8_t status = VIRTIO_TMEM_S_OK;
    uint32_t done = 0, failed = 0;
    int i;

    if (!tmem_store_pool_exists(tmem->store, req->pool)) {
        return VIRTIO_TMEM_S_INVALID;
    }
    iov_cursor_advance(&c, sizeof(struct virtio_tmem_resp));
    for (i = 0; i < req->count; i++) {
        int ret = virtio_tmem_get_page(tmem, req, req->list.index[i], &c);

        if (!ret) {
            done |= 1u << i;
        } else {
            /*
             * A used length says that every byte up to it was written, so a
             * page that is not found must not leave a hole before one that is.
             */
            iov_memset(c.iov, c.num, c.offset, 0, TMEM_PAGE_SIZE);
            if (ret != -ENOENT) {
                failed |= 1u << i;
            }
        }
        iov_cursor_advance(&c, TMEM_PAGE_SIZE);
    }
    resp->done = cpu_to_le32(done);
    resp->failed = cpu_to_le32(failed);
    req->payload_len = req->count * TMEM_PAGE_SIZE;
    if (failed) {
        status = VIRTIO_TMEM_S_IOERR;
    } else if (ctpop32(done) != req->count) {
        status = VIRTIO_TMEM_S_ABSENT;
    }
    trace_virtio_tmem_get(tmem, req->pool, req->object, req->list.index[0],
                          req->count, done, failed);
    return status;
}

static uint8_t virtio_tmem_flush(VirtIOTMEM *tmem, VirtIOTMEMReq *req,
                                 struct virtio_tmem_resp *resp)
{
    const struct virtio_tmem_range *range = req->list.range;
    uint64_t pages = 0;
    int i;

    if (!tmem_store_pool_exists(tmem->store, req->pool)) {
        return VIRTIO_TMEM_S_INVALID;
    }
    for (i = 0; i < req->count; i++) {
        if (range[i].first > range[i].last) {
            return VIRTIO_TMEM_S_INVALID;
        }
    }
    for (i = 0; i < req->count; i++) {
        pages += tmem_store_flush(tmem->store, req->pool, req->object,
                                  range[i].first, range[i].last);
    }
    resp->value = cpu_to_le64(pages);
    trace_virtio_tmem_flush(tmem, req->pool, req->object, req->count, pages);
    return VIRTIO_TMEM_S_OK;
}

static void virtio_tmem_set_reservations(VirtIOTMEMQueue *q, uint32_t wanted)
{
    TmemStore *store = q->tmem->store;

    if (wanted > q->reservations) {
        q->reservations += tmem_store_reserve(store, wanted - q->reservations);
    } else {
        tmem_store_unreserve(store, q->reservations - wanted);
        q->reservations = wanted;
    }
}

static uint8_t virtio_tmem_reserve(VirtIOTMEM *tmem, VirtIOTMEMReq *req)
{
    if (req->pool || req->object) {
        return VIRTIO_TMEM_S_INVALID;
    }
    virtio_tmem_set_reservations(req->queue,
                                 MIN(req->count, VIRTIO_TMEM_MAX_RESERVATIONS));
    trace_virtio_tmem_reserve(tmem, virtio_get_queue_index(req->queue->vq),
                              req->count, req->queue->reservations);
    /* How many there are now is in every response */
    return VIRTIO_TMEM_S_OK;
}

static uint8_t virtio_tmem_stats(VirtIOTMEM *tmem, VirtIOTMEMReq *req)
{
    struct virtio_tmem_stats out;
    TmemStoreStats stats;

    if (req->count || req->pool || req->object) {
        return VIRTIO_TMEM_S_INVALID;
    }
    tmem_store_get_stats(tmem->store, &stats);
    out.pages = cpu_to_le64(stats.pages);
    out.bytes_used = cpu_to_le64(stats.bytes_used);
    out.limit = cpu_to_le64(stats.limit);
    req->payload_len = iov_from_buf(req->elem->in_sg, req->elem->in_num,
                                    sizeof(struct virtio_tmem_resp),
                                    &out, sizeof(out));
    return VIRTIO_TMEM_S_OK;
}

/*
 * What a request of this type must look like. Returns false for a type or
 * count that is not allowed (or not negotiated). @list_size: bytes of the list
 * after the header, @out_size and @in_size: bytes of payload after the list
 * and after the response.
 */
static bool virtio_tmem_req_shape(VirtIOTMEM *tmem, const VirtIOTMEMReq *req,
                                  size_t *list_size, size_t *out_size,
                                  size_t *in_size)
{
    bool pages_ok = req->count > 0 && req->count <= VIRTIO_TMEM_MAX_PAGES;
    size_t payload = (size_t)req->count * TMEM_PAGE_SIZE;

    *list_size = *out_size = *in_size = 0;
    switch (req->type) {
    case VIRTIO_TMEM_REQ_POOL_CREATE:
    case VIRTIO_TMEM_REQ_POOL_DESTROY:
        return true;
    case VIRTIO_TMEM_REQ_PUT:
        *list_size = req->count * sizeof(req->list.index[0]);
        *out_size = payload;
        return pages_ok;
    case VIRTIO_TMEM_REQ_GET:
        *list_size = req->count * sizeof(req->list.index[0]);
        *in_size = payload;
        return pages_ok;
    case VIRTIO_TMEM_REQ_FLUSH:
        *list_size = req->count * sizeof(req->list.range[0]);
        return req->count > 0 && req->count <= VIRTIO_TMEM_MAX_RANGES;
    case VIRTIO_TMEM_REQ_RESERVE:
        return virtio_vdev_has_feature(VIRTIO_DEVICE(tmem),
                                       VIRTIO_TMEM_F_RESERVE);
    case VIRTIO_TMEM_REQ_STATS:
        *in_size = sizeof(struct virtio_tmem_stats);
        return virtio_vdev_has_feature(VIRTIO_DEVICE(tmem),
                                       VIRTIO_TMEM_F_STATS);
    default:
        return false;
    }
}

/* Flags that a request of this type may have, as features were negotiated */
static uint8_t virtio_tmem_req_flags(VirtIOTMEM *tmem, uint8_t type)
{
    if (type == VIRTIO_TMEM_REQ_POOL_CREATE &&
        virtio_vdev_has_feature(VIRTIO_DEVICE(tmem),
                                VIRTIO_TMEM_F_EPHEMERAL)) {
        return VIRTIO_TMEM_FLAG_EPHEMERAL;
    }
    if (type == VIRTIO_TMEM_REQ_PUT &&
        virtio_vdev_has_feature(VIRTIO_DEVICE(tmem), VIRTIO_TMEM_F_RESERVE)) {
        return VIRTIO_TMEM_FLAG_RESERVED;
    }
    return 0;
}

/*
 * Copy header and list out of guest memory and check every length. Returns
 * false when the request is not one that the spec allows.
 */
static bool virtio_tmem_parse(VirtIOTMEM *tmem, VirtIOTMEMReq *req)
{
    VirtQueueElement *elem = req->elem;
    size_t list_size, out_size, in_size;
    struct virtio_tmem_req hdr;
    int i;

    if (iov_to_buf(elem->out_sg, elem->out_num, 0, &hdr, sizeof(hdr)) !=
        sizeof(hdr)) {
        return false;
    }
    req->type = hdr.type;
    req->flags = hdr.flags;
    req->count = le16_to_cpu(hdr.count);
    req->pool = le32_to_cpu(hdr.pool);
    req->object = le64_to_cpu(hdr.object);

    if ((req->flags & ~virtio_tmem_req_flags(tmem, req->type)) ||
        !virtio_tmem_req_shape(tmem, req, &list_size, &out_size, &in_size) ||
        req->out_size != sizeof(hdr) + list_size + out_size ||
        req->in_size < sizeof(struct virtio_tmem_resp) + in_size) {
        return false;
    }

    iov_to_buf(elem->out_sg, elem->out_num, sizeof(hdr), &req->list, list_size);
    if (req->type == VIRTIO_TMEM_REQ_FLUSH) {
        for (i = 0; i < req->count; i++) {
            le64_to_cpus(&req->list.range[i].first);
            le64_to_cpus(&req->list.range[i].last);
        }
    } else if (list_size) {
        for (i = 0; i < req->count; i++) {
            le64_to_cpus(&req->list.index[i]);
        }
    }
    return true;
}

static uint8_t virtio_tmem_execute(VirtIOTMEM *tmem, VirtIOTMEMReq *req,
                                   struct virtio_tmem_resp *resp)
{
    switch (req->type) {
    case VIRTIO_TMEM_REQ_POOL_CREATE:
        return virtio_tmem_pool_create(tmem, req, resp);
    case VIRTIO_TMEM_REQ_POOL_DESTROY:
        return virtio_tmem_pool_destroy(tmem, req, resp);
    case VIRTIO_TMEM_REQ_PUT:
        return virtio_tmem_put(tmem, req, resp);
    case VIRTIO_TMEM_REQ_GET:
        return virtio_tmem_get(tmem, req, resp);
    case VIRTIO_TMEM_REQ_FLUSH:
        return virtio_tmem_flush(tmem, req, resp);
    case VIRTIO_TMEM_REQ_RESERVE:
        return virtio_tmem_reserve(tmem, req);
    case VIRTIO_TMEM_REQ_STATS:
        return virtio_tmem_stats(tmem, req);
    default:
        g_assert_not_reached(); /* virtio_tmem_req_shape() let it in */
    }
}

/*
 * Serve one request and fill in its response. Returns false when it cannot
 * even be answered: the device is broken then.
 */
static bool virtio_tmem_serve(VirtIOTMEMQueue *q, VirtQueueElement *elem)
{
    VirtIOTMEM *tmem = q->tmem;
    VirtIODevice *vdev = VIRTIO_DEVICE(tmem);
    struct virtio_tmem_resp resp = { 0 };
    VirtIOTMEMReq req;

    req.queue = q;
    req.elem = elem;
    req.payload_len = 0;
    req.out_size = iov_size(elem->out_sg, elem->out_num);
    req.in_size = iov_size(elem->in_sg, elem->in_num);
    tmem->requests++;

    if (req.in_size < sizeof(resp)) {
        virtio_error(vdev, "virtio-tmem: no room for a response: "
                     "%zu bytes given, %zu needed", req.in_size, sizeof(resp));
        virtqueue_detach_element(q->vq, elem, 0);
        return false;
    }
    if (virtio_tmem_parse(tmem, &req)) {
        resp.status = virtio_tmem_execute(tmem, &req, &resp);
    } else {
        resp.status = VIRTIO_TMEM_S_INVALID;
    }
    if (resp.status == VIRTIO_TMEM_S_INVALID) {
        tmem->invalid_requests++;
        trace_virtio_tmem_invalid(tmem, virtio_get_queue_index(q->vq),
                                  req.out_size, req.in_size);
    }

    resp.reservations = cpu_to_le32(q->reservations);

    iov_from_buf(elem->in_sg, elem->in_num, 0, &resp, sizeof(resp));
    virtqueue_push(q->vq, elem, sizeof(resp) + req.payload_len);
    return true;
}

/* Returns false when there is no request, or the device has broken over it. */
static bool virtio_tmem_serve_next(VirtIOTMEMQueue *q)
{
    g_autofree VirtQueueElement *elem = virtqueue_pop(q->vq, sizeof(*elem));

    return elem && virtio_tmem_serve(q, elem);
}

/* Serve what is in the ring, or as much as the budget allows */
static void virtio_tmem_run_queue(VirtIOTMEMQueue *q)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(q->tmem);
    unsigned int served = 0;

    /* Not started, stopped, or reset: set_status() returns to what is left */
    if (!vdev->vm_running || !(vdev->status & VIRTIO_CONFIG_S_DRIVER_OK)) {
        return;
    }
    if (!virtio_vdev_has_feature(vdev, VIRTIO_F_VERSION_1)) {
        virtio_error(vdev, "virtio-tmem: the driver has not accepted "
                     "VIRTIO_F_VERSION_1");
        return;
    }

    do {
        virtio_queue_set_notification(q->vq, 0);
        while (served < VIRTIO_TMEM_REQUEST_BUDGET &&
               virtio_tmem_serve_next(q)) {
            served++;
        }
        if (served == VIRTIO_TMEM_REQUEST_BUDGET) {
            qemu_bh_schedule(q->bh);
            break;
        }
        virtio_queue_set_notification(q->vq, 1);
    } while (!vdev->broken && !virtio_queue_empty(q->vq));

    if (served) {
        virtio_notify(vdev, q->vq);
    }
}

static void virtio_tmem_queue_bh(void *opaque)
{
    virtio_tmem_run_queue(opaque);
}

static void virtio_tmem_handle_output(VirtIODevice *vdev, VirtQueue *vq)
{
    VirtIOTMEM *tmem = VIRTIO_TMEM(vdev);

    tmem->notifications++;
    virtio_tmem_run_queue(&tmem->queues[virtio_get_queue_index(vq)]);
}

static void virtio_tmem_set_status(VirtIODevice *vdev, uint8_t status)
{
    VirtIOTMEM *tmem = VIRTIO_TMEM(vdev);
    int i;

    /* What came too early, or a bottom half left when the VM stopped */
    if (vdev->vm_running && (status & VIRTIO_CONFIG_S_DRIVER_OK)) {
        for (i = 0; i < tmem->num_queues; i++) {
            qemu_bh_schedule(tmem->queues[i].bh);
        }
        timer_mod(tmem->target_timer,
                  qemu_clock_get_ms(QEMU_CLOCK_REALTIME));
    }
}

static void virtio_tmem_reset(VirtIODevice *vdev)
{
    VirtIOTMEM *tmem = VIRTIO_TMEM(vdev);
    int i;

    for (i = 0; i < tmem->num_queues; i++) {
        qemu_bh_cancel(tmem->queues[i].bh);
        tmem->queues[i].reservations = 0;
    }
    tmem_store_reset(tmem->store);
    timer_del(tmem->target_timer);
    tmem->target_pages = VIRTIO_TMEM_NO_TARGET;
    tmem->max_pages = tmem_store_capacity(tmem->store);
    trace_virtio_tmem_reset(tmem);
}

static void virtio_tmem_queue_reset(VirtIODevice *vdev, uint32_t index)
{
    VirtIOTMEM *tmem = VIRTIO_TMEM(vdev);

    /* The guest may name any queue that the transport could have */
    if (index < tmem->num_queues) {
        qemu_bh_cancel(tmem->queues[index].bh);
        virtio_tmem_set_reservations(&tmem->queues[index], 0);
    }
}

static void virtio_tmem_get_config(VirtIODevice *vdev, uint8_t *config_data)
{
    VirtIOTMEM *tmem = VIRTIO_TMEM(vdev);
    struct virtio_tmem_config config = {
        .page_shift = VIRTIO_TMEM_PAGE_SHIFT,
        .num_queues = cpu_to_le32(tmem->num_queues),
        .max_pages = cpu_to_le64(tmem->max_pages),
    };

    if (virtio_host_has_feature(vdev, VIRTIO_TMEM_F_TARGET)) {
        config.target_pages = cpu_to_le64(tmem->target_pages);
    }
    memcpy(config_data, &config, sizeof(config));
}

static uint64_t virtio_tmem_get_features(VirtIODevice *vdev, uint64_t features,
                                         Error **errp)
{
    return features | VIRTIO_TMEM(vdev)->host_features;
}

/*
 * Pages that the guest should hold: as many as the store has room for now, if
 * they go on to compress as they do; no bound, below the limit.
 */
static uint64_t virtio_tmem_want_target(VirtIOTMEM *tmem)
{
    TmemStoreStats stats;
    uint64_t pages;

    tmem_store_get_stats(tmem->store, &stats);
    pages = stats.pages - stats.ephemeral;
    if (stats.limit >= stats.bytes_used &&
        (stats.limit >= stats.max_size || tmem->target_pages >= pages)) {
        /* Nothing to give up, and nothing that was asked for before */
        return VIRTIO_TMEM_NO_TARGET;
    }
    return muldiv64(pages, MIN(stats.limit >> 12, UINT32_MAX),
                    MAX(MIN(stats.bytes_used >> 12, UINT32_MAX), 1));
}

static void virtio_tmem_update_target(void *opaque)
{
    VirtIOTMEM *tmem = opaque;
    VirtIODevice *vdev = VIRTIO_DEVICE(tmem);
    uint64_t want = virtio_tmem_want_target(tmem);
    uint64_t old = tmem->target_pages;
    uint64_t share = MAX(old, want) / VIRTIO_TMEM_TARGET_SHARE;

    /* Until the driver is there, it has not heard of the old one either */
    if (want == old || !(vdev->status & VIRTIO_CONFIG_S_DRIVER_OK)) {
        return;
    }
    /* Noise, unless there is really something to be given up */
    if (want + share > old && old + share > want &&
        !tmem_store_over_limit(tmem->store)) {
        return;
    }
    tmem->target_pages = want;
    trace_virtio_tmem_target(tmem, old, want);
    if (virtio_vdev_has_feature(vdev, VIRTIO_TMEM_F_TARGET)) {
        virtio_notify_config(vdev);
    }
}

static void virtio_tmem_limit_changed(void *opaque)
{
    VirtIOTMEM *tmem = opaque;
    g_autofree char *path = virtio_tmem_get_path(tmem);
    TmemStoreStats stats;

    tmem_store_get_stats(tmem->store, &stats);
    trace_virtio_tmem_limit(tmem, stats.limit, stats.bytes_used, stats.cause);
    qapi_event_send_tmem_limit_changed(path, stats.limit,
                                       virtio_tmem_limit_reason(&stats),
                                       stats.bytes_used);
    if (!timer_pending(tmem->target_timer)) {
        timer_mod(tmem->target_timer,
                  qemu_clock_get_ms(QEMU_CLOCK_REALTIME) +
                  VIRTIO_TMEM_TARGET_INTERVAL_MS);
    }
}

/* Called from the worker's thread */
static void virtio_tmem_worker_notify(void *opaque)
{
    VirtIOTMEM *tmem = opaque;

    qemu_bh_schedule(tmem->limit_bh);
}

static bool virtio_tmem_check_properties(VirtIOTMEM *tmem, Error **errp)
{
    uint64_t host_ram = qemu_get_host_physmem();

    if (tmem->max_size < TMEM_STORE_MIN_LIMIT) {
        error_setg(errp, "property '%s' is %" PRIu64 " bytes, it must be at "
                   "least %d bytes (for example %s=1G)",
                   VIRTIO_TMEM_MAX_SIZE_PROP, tmem->max_size,
                   TMEM_STORE_MIN_LIMIT, VIRTIO_TMEM_MAX_SIZE_PROP);
        return false;
    }
    /* 0: the host would not say */
    if (host_ram && tmem->max_size > host_ram) {
        g_autofree char *ram = size_to_str(host_ram);

        error_setg(errp, "property '%s' is %" PRIu64 " bytes, it must not be "
                   "more than the memory of the host, %" PRIu64 " bytes (%s)",
                   VIRTIO_TMEM_MAX_SIZE_PROP, tmem->max_size, host_ram, ram);
        return false;
    }
    if (tmem->min_size > tmem->max_size) {
        error_setg(errp, "property '%s' is %" PRIu64 " bytes, it must not be "
                   "more than '%s', %" PRIu64 " bytes",
                   VIRTIO_TMEM_MIN_SIZE_PROP, tmem->min_size,
                   VIRTIO_TMEM_MAX_SIZE_PROP, tmem->max_size);
        return false;
    }
    if (tmem->num_queues == VIRTIO_TMEM_AUTO_NUM_QUEUES) {
        tmem->num_queues = 1;
    }
    if (tmem->num_queues < 1 || tmem->num_queues > VIRTIO_TMEM_MAX_QUEUES) {
        error_setg(errp, "property '%s' is %" PRIu32 ", it must be from 1 to "
                   "%d", VIRTIO_TMEM_NUM_QUEUES_PROP, tmem->num_queues,
                   VIRTIO_TMEM_MAX_QUEUES);
        return false;
    }
    return true;
}

static bool virtio_tmem_parse_compression(VirtIOTMEM *tmem,
                                          TmemStoreConfig *config, Error **errp)
{
    static const char *const names[] = {
        [TMEM_COMPRESSION_LZ4] = "lz4",
        [TMEM_COMPRESSION_ZSTD] = "zstd",
        [TMEM_COMPRESSION_NONE] = "none",
    };
    const char *name = tmem->compression ?: names[TMEM_COMPRESSION_LZ4];
    int i;

    for (i = 0; i < ARRAY_SIZE(names) && strcmp(name, names[i]); i++) {
        continue;
    }
    if (i == ARRAY_SIZE(names)) {
        error_setg(errp, "property '%s' is '%s', it must be lz4, zstd or none",
                   VIRTIO_TMEM_COMPRESSION_PROP, name);
        return false;
    }
    if (tmem->compression_level > TMEM_ZSTD_LEVEL_MAX) {
        error_setg(errp, "property '%s' is %" PRIu32 ", it must be from 1 to "
                   "%d, or 0 for the default", VIRTIO_TMEM_LEVEL_PROP,
                   tmem->compression_level, TMEM_ZSTD_LEVEL_MAX);
        return false;
    }
    if (tmem->compression_level && i != TMEM_COMPRESSION_ZSTD) {
        error_setg(errp, "property '%s' is for %s=zstd only, not for %s",
                   VIRTIO_TMEM_LEVEL_PROP, VIRTIO_TMEM_COMPRESSION_PROP, name);
        return false;
    }
    config->compression = i;
    config->level = tmem->compression_level;
    return true;
}

static bool virtio_tmem_create_store(VirtIOTMEM *tmem, Error **errp)
{
    TmemStoreConfig config = {
        .max_size = tmem->max_size,
        .min_size = tmem->min_size,
        /* max-size can be raised to all that could be given to it */
        .span = qemu_get_host_physmem(),
        .pool_quota = DIV_ROUND_UP(tmem->pool_quota, TMEM_PAGE_SIZE),
        .lock_memory = tmem->lock_memory,
        .hugepages = tmem->hugepages,
    };
    g_autoptr(GError) err = NULL;

    if (!virtio_tmem_parse_compression(tmem, &config, errp)) {
        return false;
    }
    tmem->store = tmem_store_new(&config, &err);
    if (!tmem->store) {
        error_setg(errp, "cannot make the page store: %s", err->message);
        return false;
    }
    tmem->target_pages = VIRTIO_TMEM_NO_TARGET;
    tmem->max_pages = tmem_store_capacity(tmem->store);
    return true;
}

/* "auto" is a wish: without PSI there is a store, but no pressure to follow. */
static bool virtio_tmem_create_worker(VirtIOTMEM *tmem, Error **errp)
{
    const char *pressure = tmem->pressure ?: "auto";
    g_autoptr(GError) err = NULL;

    tmem->worker = tmem_worker_new(tmem->store, pressure,
                                   virtio_tmem_worker_notify, tmem, &err);
    if (!tmem->worker && !strcmp(pressure, "auto")) {
        warn_report("virtio-tmem: the page store will not follow the memory "
                    "pressure of the host: %s", err->message);
        g_clear_error(&err);
        tmem->worker = tmem_worker_new(tmem->store, "off",
                                       virtio_tmem_worker_notify, tmem, &err);
    }
    if (!tmem->worker) {
        error_setg(errp, "property '%s': %s", VIRTIO_TMEM_PRESSURE_PROP,
                   err->message);
        return false;
    }
    return true;
}

static void virtio_tmem_destroy_store(VirtIOTMEM *tmem)
{
    /* In this order: the worker uses the store and schedules the bh */
    tmem_worker_free(tmem->worker);
    qemu_bh_delete(tmem->limit_bh);
    timer_free(tmem->target_timer);
    tmem_store_free(tmem->store);
    tmem->worker = NULL;
    tmem->store = NULL;
}

static void virtio_tmem_device_realize(DeviceState *dev, Error **errp)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(dev);
    VirtIOTMEM *tmem = VIRTIO_TMEM(dev);
    int i;

    if (!virtio_tmem_check_properties(tmem, errp) ||
        !virtio_tmem_create_store(tmem, errp)) {
        return;
    }
    tmem->limit_bh = qemu_bh_new_guarded(virtio_tmem_limit_changed, tmem,
                                         &dev->mem_reentrancy_guard);
    tmem->target_timer = timer_new_ms(QEMU_CLOCK_REALTIME,
                                      virtio_tmem_update_target, tmem);
    if (!virtio_tmem_create_worker(tmem, errp)) {
        virtio_tmem_destroy_store(tmem);
        return;
    }

    virtio_init(vdev, VIRTIO_ID_TMEM, sizeof(struct virtio_tmem_config));
    tmem->queues = g_new0(VirtIOTMEMQueue, tmem->num_queues);
    for (i = 0; i < tmem->num_queues; i++) {
        VirtIOTMEMQueue *q = &tmem->queues[i];

        q->tmem = tmem;
        q->vq = virtio_add_queue(vdev, VIRTQUEUE_MAX_SIZE,
                                 virtio_tmem_handle_output);
        q->bh = virtio_bh_new_guarded(dev, virtio_tmem_queue_bh, q);
    }
}

static void virtio_tmem_device_unrealize(DeviceState *dev)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(dev);
    VirtIOTMEM *tmem = VIRTIO_TMEM(dev);
    int i;

    for (i = 0; i < tmem->num_queues; i++) {
        qemu_bh_delete(tmem->queues[i].bh);
        virtio_delete_queue(tmem->queues[i].vq);
    }
    g_free(tmem->queues);
    virtio_cleanup(vdev);
    virtio_tmem_destroy_store(tmem);
}

/* max-size and min-size: the store has them once the device is realized */
static void virtio_tmem_get_size(Object *obj, Visitor *v, const char *name,
                                 void *opaque, Error **errp)
{
    VirtIOTMEM *tmem = VIRTIO_TMEM(obj);
    uint64_t *size = strcmp(name, VIRTIO_TMEM_MAX_SIZE_PROP) ? &tmem->min_size
                                                             : &tmem->max_size;

    visit_type_size(v, name, size, errp);
}

static void virtio_tmem_set_size(Object *obj, Visitor *v, const char *name,
                                 void *opaque, Error **errp)
{
    VirtIOTMEM *tmem = VIRTIO_TMEM(obj);
    uint64_t old_max = tmem->max_size, old_min = tmem->min_size;
    uint64_t *size = strcmp(name, VIRTIO_TMEM_MAX_SIZE_PROP) ? &tmem->min_size
                                                             : &tmem->max_size;
    g_autoptr(GError) err = NULL;
    uint64_t value;

    if (!visit_type_size(v, name, &value, errp)) {
        return;
    }
    *size = value;
    if (!tmem->store) {
        /* realize() will look at it */
        return;
    }
    if (!virtio_tmem_check_properties(tmem, errp)) {
        goto restore;
    }
    if (!tmem_store_set_size(tmem->store, tmem->min_size, tmem->max_size,
                             &err)) {
        error_setg(errp, "property '%s': %s", name, err->message);
        goto restore;
    }
    tmem_worker_kick(tmem->worker);
    virtio_tmem_limit_changed(tmem);
    return;

restore:
    tmem->max_size = old_max;
    tmem->min_size = old_min;
}

/* Until the pages of the store can move too, the VM must stay where it is. */
static const VMStateDescription vmstate_virtio_tmem = {
    .name = "virtio-tmem",
    .unmigratable = 1,
};

static const Property virtio_tmem_properties[] = {
    DEFINE_PROP_UINT32(VIRTIO_TMEM_NUM_QUEUES_PROP, VirtIOTMEM, num_queues,
                       VIRTIO_TMEM_AUTO_NUM_QUEUES),
    DEFINE_PROP_STRING(VIRTIO_TMEM_COMPRESSION_PROP, VirtIOTMEM, compression),
    DEFINE_PROP_UINT32(VIRTIO_TMEM_LEVEL_PROP, VirtIOTMEM, compression_level,
                       0),
    DEFINE_PROP_STRING(VIRTIO_TMEM_PRESSURE_PROP, VirtIOTMEM, pressure),
    DEFINE_PROP_SIZE("pool-quota", VirtIOTMEM, pool_quota, 0),
    DEFINE_PROP_BOOL("lock-memory", VirtIOTMEM, lock_memory, false),
    DEFINE_PROP_BOOL("hugepages", VirtIOTMEM, hugepages, false),
    DEFINE_PROP_BIT64("ephemeral", VirtIOTMEM, host_features,
                      VIRTIO_TMEM_F_EPHEMERAL, true),
    DEFINE_PROP_BIT64("reserve", VirtIOTMEM, host_features,
                      VIRTIO_TMEM_F_RESERVE, true),
    DEFINE_PROP_BIT64("target", VirtIOTMEM, host_features,
                      VIRTIO_TMEM_F_TARGET, true),
    DEFINE_PROP_BIT64("stats", VirtIOTMEM, host_features,
                      VIRTIO_TMEM_F_STATS, true),
};

static void virtio_tmem_class_init(ObjectClass *klass, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(klass);
    VirtioDeviceClass *vdc = VIRTIO_DEVICE_CLASS(klass);

    device_class_set_props(dc, virtio_tmem_properties);
    object_class_property_add(klass, VIRTIO_TMEM_MAX_SIZE_PROP, "size",
                              virtio_tmem_get_size, virtio_tmem_set_size,
                              NULL, NULL);
    object_class_property_set_description(klass, VIRTIO_TMEM_MAX_SIZE_PROP,
        "most memory that the page store may take (also at run time)");
    object_class_property_add(klass, VIRTIO_TMEM_MIN_SIZE_PROP, "size",
                              virtio_tmem_get_size, virtio_tmem_set_size,
                              NULL, NULL);
    object_class_property_set_description(klass, VIRTIO_TMEM_MIN_SIZE_PROP,
        "memory that it may take under any pressure (also at run time)");
    dc->vmsd = &vmstate_virtio_tmem;
    dc->desc = "Transcendent memory: guest swap in compressed host memory";
    set_bit(DEVICE_CATEGORY_MISC, dc->categories);

    vdc->realize = virtio_tmem_device_realize;
    vdc->unrealize = virtio_tmem_device_unrealize;
    vdc->get_config = virtio_tmem_get_config;
    vdc->get_features = virtio_tmem_get_features;
    vdc->set_status = virtio_tmem_set_status;
    vdc->reset = virtio_tmem_reset;
    vdc->queue_reset = virtio_tmem_queue_reset;
}

static const TypeInfo virtio_tmem_info = {
    .name = TYPE_VIRTIO_TMEM,
    .parent = TYPE_VIRTIO_DEVICE,
    .instance_size = sizeof(VirtIOTMEM),
    .class_init = virtio_tmem_class_init,
};

static void virtio_tmem_register_types(void)
{
    type_register_static(&virtio_tmem_info);
}

type_init(virtio_tmem_register_types)
