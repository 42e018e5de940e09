/*
 * Virtio transcendent memory (tmem) device: one request
 *
 * Nothing that the guest says is believed: header and lists are copied out of
 * guest memory once, checked, and only the copy is used. A page payload may be
 * changed by the guest at any time; only the store reads it, and copes.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/iov.h"
#include "block/aio-wait.h"
#include "hw/virtio/virtio-tmem.h"
#include "standard-headers/linux/virtio_tmem.h"
#include "trace.h"
#include "virtio-tmem-internal.h"

/* The indexes of a put or get, or the ranges of a flush, as the guest sent */
typedef union VirtIOTMEMList {
    uint64_t index[VIRTIO_TMEM_MAX_PAGES];
    struct virtio_tmem_range range[VIRTIO_TMEM_MAX_RANGES];
} VirtIOTMEMList;

/* A position in an I/O vector that only moves forward */
typedef struct IOVCursor {
    const struct iovec *iov;
    unsigned int num;
    size_t offset;
} IOVCursor;

/* One request while it is served: all values in host byte order */
struct VirtIOTMEMReq {
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
    /* How far a get is: it may have to wait */
    IOVCursor cursor;
    unsigned int pages;
    uint32_t done;
    uint32_t failed;
    /* How far what frees pages is: it is done in portions */
    TmemFlush flush;
    unsigned int ranges;
    VirtIOTMEMList list;
};

/* Instead of a status: the request waits for a page that was spilled... */
#define VIRTIO_TMEM_PARKED (-1)
/* ... or lets others have a turn */
#define VIRTIO_TMEM_MORE (-2)

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

static int virtio_tmem_pool_destroy(VirtIOTMEM *tmem, VirtIOTMEMReq *req,
                                    struct virtio_tmem_resp *resp)
{
    int ret;

    if (req->count || req->object) {
        return VIRTIO_TMEM_S_INVALID;
    }
    ret = tmem_store_pool_destroy_some(tmem->store, req->pool, &req->flush);
    if (ret == -EINPROGRESS) {
        return VIRTIO_TMEM_MORE;
    } else if (ret < 0) {
        return VIRTIO_TMEM_S_INVALID;
    }
    resp->value = cpu_to_le64(req->flush.pages);
    trace_virtio_tmem_pool_destroy(tmem, req->pool, req->flush.pages);
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
            void *bounce = tmem_store_bounce();

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

/* Get one page into the guest's buffer; returns as tmem_store_get_async() */
static int virtio_tmem_get_page(VirtIOTMEM *tmem, VirtIOTMEMReq *req,
                                uint64_t index)
{
    TmemFetch *fetch = &req->queue->fetch;
    const IOVCursor *c = &req->cursor;
    void *page = iov_cursor_page(c);
    void *bounce;
    int ret;

    if (page) {
        return tmem_store_get_async(tmem->store, req->pool, req->object, index,
                                    page, fetch);
    }
    bounce = tmem_store_bounce();
    ret = tmem_store_get_async(tmem->store, req->pool, req->object, index,
                               bounce, fetch);
    if (!ret) {
        iov_from_buf(c->iov, c->num, c->offset, bounce, TMEM_PAGE_SIZE);
    }
    return ret;
}

static int virtio_tmem_get(VirtIOTMEM *tmem, VirtIOTMEMReq *req,
                           struct virtio_tmem_resp *resp)
{
    IOVCursor *c = &req->cursor;
    int status = VIRTIO_TMEM_S_OK;

    if (!req->pages) {
        if (!tmem_store_pool_exists(tmem->store, req->pool)) {
            return VIRTIO_TMEM_S_INVALID;
        }
        *c = (IOVCursor) { .iov = req->elem->in_sg, .num = req->elem->in_num };
        iov_cursor_advance(c, sizeof(struct virtio_tmem_resp));
    }
    for (; req->pages < req->count; req->pages++) {
        uint64_t index = req->list.index[req->pages];
        int ret = virtio_tmem_get_page(tmem, req, index);

        if (ret == -EINPROGRESS) {
            return VIRTIO_TMEM_PARKED;
        } else if (!ret) {
            req->done |= 1u << req->pages;
            if (req->flags & VIRTIO_TMEM_FLAG_EXCLUSIVE) {
                tmem_store_flush(tmem->store, req->pool, req->object,
                                 index, index);
            }
        } else {
            /*
             * A used length says that every byte up to it was written, so a
             * page that is not found must not leave a hole before one that is.
             */
            iov_memset(c->iov, c->num, c->offset, 0, TMEM_PAGE_SIZE);
            /* -EINVAL: the pool has been destroyed meanwhile */
            if (ret != -ENOENT && ret != -EINVAL) {
                req->failed |= 1u << req->pages;
            }
        }
        iov_cursor_advance(c, TMEM_PAGE_SIZE);
    }
    resp->done = cpu_to_le32(req->done);
    resp->failed = cpu_to_le32(req->failed);
    req->payload_len = req->count * TMEM_PAGE_SIZE;
    if (req->failed) {
        status = VIRTIO_TMEM_S_IOERR;
    } else if (ctpop32(req->done) != req->count) {
        status = VIRTIO_TMEM_S_ABSENT;
    }
    trace_virtio_tmem_get(tmem, req->pool, req->object, req->list.index[0],
                          req->count, req->done, req->failed);
    return status;
}

static bool virtio_tmem_flush_is_valid(VirtIOTMEM *tmem, VirtIOTMEMReq *req)
{
    const struct virtio_tmem_range *range = req->list.range;
    int i;

    for (i = 0; i < req->count; i++) {
        if (range[i].first > range[i].last) {
            return false;
        }
    }
    return tmem_store_pool_exists(tmem->store, req->pool);
}

static int virtio_tmem_flush(VirtIOTMEM *tmem, VirtIOTMEMReq *req,
                             struct virtio_tmem_resp *resp)
{
    uint64_t end = req->flush.pages + TMEM_FLUSH_PORTION;

    if (!req->flush.begun && !virtio_tmem_flush_is_valid(tmem, req)) {
        return VIRTIO_TMEM_S_INVALID;
    }
    while (req->ranges < req->count) {
        const struct virtio_tmem_range *range = &req->list.range[req->ranges];
        int ret = req->flush.pages < end ?
                  tmem_store_flush_some(tmem->store, req->pool, req->object,
                                        range->first, range->last,
                                        end - req->flush.pages, &req->flush) :
                  -EINPROGRESS;

        if (ret == -EINPROGRESS) {
            return VIRTIO_TMEM_MORE;
        } else if (ret < 0) {
            /* The pool has been destroyed meanwhile */
            return VIRTIO_TMEM_S_INVALID;
        }
        req->ranges++;
    }
    resp->value = cpu_to_le64(req->flush.pages);
    trace_virtio_tmem_flush(tmem, req->pool, req->object, req->count,
                            req->flush.pages);
    return VIRTIO_TMEM_S_OK;
}

void virtio_tmem_set_reservations(VirtIOTMEMQueue *q, uint32_t wanted)
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
    if (type == VIRTIO_TMEM_REQ_GET &&
        virtio_vdev_has_feature(VIRTIO_DEVICE(tmem),
                                VIRTIO_TMEM_F_EXCLUSIVE_GET)) {
        return VIRTIO_TMEM_FLAG_EXCLUSIVE;
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

/* Returns the status, or VIRTIO_TMEM_PARKED or _MORE: call it again */
static int virtio_tmem_execute(VirtIOTMEM *tmem, VirtIOTMEMReq *req,
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

/* Write the response. Returns: the used length. */
static size_t virtio_tmem_respond(VirtIOTMEMReq *req,
                                  struct virtio_tmem_resp *resp)
{
    VirtIOTMEMQueue *q = req->queue;
    VirtIOTMEM *tmem = q->tmem;

    if (resp->status == VIRTIO_TMEM_S_INVALID) {
        stat64_add(&tmem->invalid_requests, 1);
        trace_virtio_tmem_invalid(tmem, virtio_get_queue_index(q->vq),
                                  req->out_size, req->in_size);
    }

    resp->reservations = cpu_to_le32(q->reservations);

    iov_from_buf(req->elem->in_sg, req->elem->in_num, 0, resp, sizeof(*resp));
    return sizeof(*resp) + req->payload_len;
}

/* Go on with the request that waits, in the thread that began it */
static void virtio_tmem_wake(VirtIOTMEMQueue *q)
{
    qemu_bh_schedule(qatomic_read(&q->resume_bh));
    /* virtio_tmem_queue_quiesce() may be waiting */
    aio_wait_kick();
}

bool virtio_tmem_serve(VirtIOTMEMQueue *q, VirtQueueElement *elem,
                       size_t *used_len)
{
    VirtIOTMEM *tmem = q->tmem;
    struct virtio_tmem_resp resp = { 0 };
    int status = VIRTIO_TMEM_S_INVALID;
    VirtIOTMEMReq req;

    req.queue = q;
    req.elem = elem;
    req.payload_len = 0;
    req.pages = 0;
    req.done = 0;
    req.failed = 0;
    req.flush = (TmemFlush) { 0 };
    req.ranges = 0;
    req.count = 0;
    req.out_size = iov_size(elem->out_sg, elem->out_num);
    req.in_size = iov_size(elem->in_sg, elem->in_num);
    assert(req.in_size >= sizeof(resp));

    if (virtio_tmem_parse(tmem, &req)) {
        status = virtio_tmem_execute(tmem, &req, &resp);
    }
    if (status < 0) {
        trace_virtio_tmem_park(tmem, virtio_get_queue_index(q->vq), req.pages);
        q->parked = g_memdup2(&req, sizeof(req));
        if (status == VIRTIO_TMEM_MORE) {
            virtio_tmem_wake(q);
        }
        return false;
    }
    /* Ring and response cost something, too */
    q->spent += MAX(VIRTIO_TMEM_MAX_PAGES, req.count + req.flush.pages);
    resp.status = status;
    *used_len = virtio_tmem_respond(&req, &resp);
    return true;
}

bool virtio_tmem_resume(VirtIOTMEMQueue *q, size_t *used_len)
{
    struct virtio_tmem_resp resp = { 0 };
    int status = virtio_tmem_execute(q->tmem, q->parked, &resp);

    if (status < 0) {
        if (status == VIRTIO_TMEM_MORE) {
            virtio_tmem_wake(q);
        }
        return false;
    }
    /* Its pool may have gone while it waited for a page */
    tmem_store_end_fetch(q->tmem->store, &q->fetch);
    resp.status = status;
    *used_len = virtio_tmem_respond(q->parked, &resp);
    g_free(q->parked);
    q->parked = NULL;
    return true;
}

void virtio_tmem_abandon(VirtIOTMEMQueue *q)
{
    tmem_store_end_fetch(q->tmem->store, &q->fetch);
    if (q->parked->type == VIRTIO_TMEM_REQ_POOL_DESTROY) {
        tmem_store_pool_keep(q->tmem->store, q->parked->pool);
    }
    g_free(q->parked);
    q->parked = NULL;
}

void virtio_tmem_fetch_done(TmemFetch *fetch)
{
    virtio_tmem_wake(container_of(fetch, VirtIOTMEMQueue, fetch));
}
