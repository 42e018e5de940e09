/*
 * Virtio transcendent memory (tmem) device: which thread works on a ring
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "block/aio-wait.h"
#include "hw/core/cpu.h"
#include "hw/virtio/iothread-vq-mapping.h"
#include "hw/virtio/virtio-bus.h"
#include "qapi/error.h"
#include "qemu/iov.h"
#include "standard-headers/linux/virtio_tmem.h"
#include "system/iothread.h"
#include "virtio-tmem-internal.h"

/*
 * Requests are served in ring order, each used before the next is begun, by
 * the thread that takes the notification:
 *
 * - a vCPU (ioeventfd=off, the default). It has the BQL, and drops it while it
 *   serves a request: vCPUs with rings of their own do not wait for each
 *   other. Not in the handler of the notification, though: that may be called
 *   by the handler of another device, which relies on the BQL and whose DMA
 *   goes where the guest says. Work that is queued for the vCPU itself runs
 *   when it is out of all that. With one queue no other vCPU swaps at the same
 *   time, and the request is served at once, with the BQL.
 * - an IOThread (iothread, iothread-vq-mapping), which never has the BQL, and
 *   works on rings as those of virtio-blk do;
 * - the main loop (ioeventfd=on without an IOThread), which keeps the BQL, as
 *   does the bottom half that goes on with a ring too full for one go.
 *
 * Except in IOThreads, all that virtio.c does to a ring is done with the BQL.
 * The BQL is dropped only while virtio_tmem_serve() works on the memory of a
 * request that is off the ring, under the queue's lock. Nothing there needs
 * the BQL, so who has it may wait for the lock: the lock comes after the BQL.
 * q->task says that a request is under way, and nobody begins another one
 * then.
 *
 * When the device stops, is reset or goes away meanwhile, the request is ended
 * by who does that, virtio_tmem_queue_quiesce(), before the ring changes. The
 * thread that served it finds q->task gone. It has a reference to the device.
 *
 * A request that has to wait for a page that was spilled is parked: it stays
 * off the ring, and the queue takes no other, as they are to be used in order.
 * When the page is there, the main loop goes on with request and ring, or the
 * IOThread if it began it. Nothing but the store's own memory is read to in the
 * meantime, so a request can be abandoned at any time. One that frees many
 * pages is parked after each portion of them, and gone on with at once, but
 * after those who waited meanwhile; with the BQL, unless it is an IOThread's.
 */

/*
 * Work that is done for one notification before others get a chance: at some
 * microseconds for each page put or got, for each page freed and for each range
 * of a flush, about 10 ms. A driver that waits for each request never gets near
 * it.
 */
#define VIRTIO_TMEM_BUDGET 2048

/* And in any case not beyond the request with which it has taken so long */
#define VIRTIO_TMEM_BUDGET_NS (50 * SCALE_MS)

static void virtio_tmem_begin_budget(VirtIOTMEMQueue *q)
{
    q->spent = 0;
    q->began = get_clock();
}

static bool virtio_tmem_budget_is_spent(const VirtIOTMEMQueue *q)
{
    return q->spent >= VIRTIO_TMEM_BUDGET ||
           get_clock() - q->began >= VIRTIO_TMEM_BUDGET_NS;
}

static bool virtio_tmem_may_run(VirtIOTMEM *tmem)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(tmem);

    return vdev->vm_running && (vdev->status & VIRTIO_CONFIG_S_DRIVER_OK) &&
           !vdev->broken;
}

static bool virtio_tmem_check_driver(VirtIOTMEMQueue *q)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(q->tmem);

    if (!virtio_vdev_has_feature(vdev, VIRTIO_F_VERSION_1)) {
        virtio_error(vdev, "virtio-tmem: the driver has not accepted "
                     "VIRTIO_F_VERSION_1");
        return false;
    }
    return true;
}

/*
 * The next request, or NULL: there is none, or the device has broken over it.
 * With the BQL held, or in an IOThread.
 */
static VirtQueueElement *virtio_tmem_pop(VirtIOTMEMQueue *q)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(q->tmem);
    VirtQueueElement *elem = virtqueue_pop(q->vq, sizeof(*elem));
    size_t in_size;

    if (!elem) {
        return NULL;
    }
    stat64_add(&q->tmem->requests, 1);
    in_size = iov_size(elem->in_sg, elem->in_num);
    if (in_size < sizeof(struct virtio_tmem_resp)) {
        virtio_error(vdev, "virtio-tmem: no room for a response: "
                     "%zu bytes given, %zu needed", in_size,
                     sizeof(struct virtio_tmem_resp));
        virtqueue_detach_element(q->vq, elem, 0);
        g_free(elem);
        return NULL;
    }
    return elem;
}

/*
 * With the BQL held, and the guard against a device that is made to write to
 * its own registers: the request under way is used.
 */
static void virtio_tmem_end_task(VirtIOTMEMQueue *q)
{
    VirtIOTMEMTask *task = q->task;

    q->task = NULL;
    virtqueue_push(q->vq, task->elem, task->used_len);
    virtio_notify(VIRTIO_DEVICE(q->tmem), q->vq);
    g_free(task->elem);
}

/*
 * Serve one request, with the BQL held but for @drop_bql. Returns: false when
 * it is parked, or somebody else has ended it: the device may not even exist
 * any more.
 */
static bool virtio_tmem_serve_one(VirtIOTMEMQueue *q, VirtQueueElement *elem,
                                  bool drop_bql)
{
    VirtIOTMEMTask task = { .elem = elem };
    bool served;

    q->task = &task;
    qemu_mutex_lock(&q->lock);
    if (drop_bql) {
        q->guard->engaged_in_io = false;
        bql_unlock();
    }
    qatomic_set(&q->resume_bh, q->bh);
    served = virtio_tmem_serve(q, elem, &task.used_len);
    qemu_mutex_unlock(&q->lock);
    if (drop_bql) {
        bql_lock();
        q->guard->engaged_in_io = true;
        if (q->task != &task) {
            return false;
        }
    }
    if (!served && q->parked) {
        q->parked_task = task;
        q->task = &q->parked_task;
        return false;
    }
    virtio_tmem_end_task(q);
    /* An interrupt goes where the guest says, too: it may unplug the device */
    return DEVICE(q->tmem)->realized;
}

/*
 * Serve what is in the ring, or as much as the budget allows. With the BQL
 * held, and the guard, which a notification of ioeventfd has no need of.
 */
static void virtio_tmem_serve_ring(VirtIOTMEMQueue *q, bool drop_bql)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(q->tmem);
    VirtQueueElement *elem;

    /* Who has begun a request looks at the ring again after it */
    if (q->task || !virtio_tmem_may_run(q->tmem) ||
        (q->tmem->ioeventfd_started && q->ctx != qemu_get_aio_context()) ||
        !virtio_tmem_check_driver(q)) {
        return;
    }

    virtio_tmem_begin_budget(q);
    do {
        virtio_queue_set_notification(q->vq, 0);
        while ((elem = virtio_tmem_pop(q))) {
            if (!virtio_tmem_serve_one(q, elem, drop_bql)) {
                return;
            }
            if (virtio_tmem_budget_is_spent(q)) {
                virtio_tmem_queue_kick(q);
                return;
            }
        }
        virtio_queue_set_notification(q->vq, 1);
    } while (!vdev->broken && !virtio_queue_empty(q->vq));
}

static void virtio_tmem_vcpu_work(CPUState *cpu, run_on_cpu_data data)
{
    VirtIOTMEMQueue *q = data.host_ptr;
    Object *proxy = q->proxy;

    q->work_queued = false;
    if (DEVICE(q->tmem)->realized) {
        q->guard->engaged_in_io = true;
        virtio_tmem_serve_ring(q, true);
        q->guard->engaged_in_io = false;
    }
    object_unref(OBJECT(q->tmem));
    object_unref(proxy);
}

typedef enum VirtIOTMEMProgress {
    VIRTIO_TMEM_NOT_PARKED,  /* who has begun the request ends it */
    VIRTIO_TMEM_WAITS,
    VIRTIO_TMEM_DONE,        /* to be used */
} VirtIOTMEMProgress;

/*
 * Go on with the request if it is parked. The lock makes it wait for a vCPU
 * that is about to park it: nobody would come back for it otherwise.
 */
static VirtIOTMEMProgress virtio_tmem_go_on(VirtIOTMEMQueue *q)
{
    VirtIOTMEMProgress progress = VIRTIO_TMEM_NOT_PARKED;

    qemu_mutex_lock(&q->lock);
    if (q->parked) {
        progress = virtio_tmem_resume(q, &q->task->used_len) ?
                   VIRTIO_TMEM_DONE : VIRTIO_TMEM_WAITS;
    }
    qemu_mutex_unlock(&q->lock);
    return progress;
}

static void virtio_tmem_queue_bh(void *opaque)
{
    VirtIOTMEMQueue *q = opaque;

    if (q->tmem->ioeventfd_started && q->ctx != qemu_get_aio_context()) {
        return;
    }
    if (q->task) {
        if (virtio_tmem_go_on(q) != VIRTIO_TMEM_DONE) {
            return;
        }
        virtio_tmem_end_task(q);
        if (!DEVICE(q->tmem)->realized) {
            return;
        }
    }
    virtio_tmem_serve_ring(q, false);
}

/* In an IOThread: as virtio-blk, without the BQL */
static void virtio_tmem_serve_in_iothread(VirtIOTMEMQueue *q)
{
    /* Who polls the ring has them off already, and wants them to stay so */
    bool suppress = virtio_queue_get_notification(q->vq);
    bool served = false;
    VirtQueueElement *elem;

    if (q->task || !virtio_tmem_check_driver(q)) {
        return;
    }
    virtio_tmem_begin_budget(q);
    do {
        if (suppress) {
            virtio_queue_set_notification(q->vq, 0);
        }
        while (!q->task && !virtio_tmem_budget_is_spent(q) &&
               (elem = virtio_tmem_pop(q))) {
            size_t used_len;

            qemu_mutex_lock(&q->lock);
            qatomic_set(&q->resume_bh, q->iothread_bh);
            if (!virtio_tmem_serve(q, elem, &used_len)) {
                q->parked_task.elem = elem;
                q->task = &q->parked_task;
            }
            qemu_mutex_unlock(&q->lock);
            if (q->task) {
                break;
            }
            virtqueue_push(q->vq, elem, used_len);
            g_free(elem);
            served = true;
        }
        if (suppress) {
            virtio_queue_set_notification(q->vq, 1);
        }
        if (virtio_tmem_budget_is_spent(q)) {
            event_notifier_set(virtio_queue_get_host_notifier(q->vq));
            break;
        }
    } while (!q->task && !virtio_queue_empty(q->vq));

    if (served) {
        virtio_notify_irqfd(VIRTIO_DEVICE(q->tmem), q->vq);
    }
}

/* In an IOThread, if it still looks after the ring */
static void virtio_tmem_iothread_bh(void *opaque)
{
    VirtIOTMEMQueue *q = opaque;

    if (!q->attached || !q->task ||
        virtio_tmem_go_on(q) != VIRTIO_TMEM_DONE) {
        return;
    }
    virtqueue_push(q->vq, q->task->elem, q->task->used_len);
    g_free(q->task->elem);
    q->task = NULL;
    virtio_notify_irqfd(VIRTIO_DEVICE(q->tmem), q->vq);
    virtio_tmem_serve_in_iothread(q);
}

static void virtio_tmem_handle_output(VirtIODevice *vdev, VirtQueue *vq)
{
    VirtIOTMEM *tmem = VIRTIO_TMEM(vdev);
    VirtIOTMEMQueue *q = &tmem->queues[virtio_get_queue_index(vq)];

    stat64_add(&tmem->notifications, 1);
    if (!bql_locked()) {
        virtio_tmem_serve_in_iothread(q);
    } else if (!current_cpu || tmem->num_queues == 1) {
        virtio_tmem_serve_ring(q, false);
    } else if (!q->work_queued && !q->task) {
        q->work_queued = true;
        object_ref(q->proxy);
        object_ref(OBJECT(tmem));
        async_run_on_cpu(current_cpu, virtio_tmem_vcpu_work,
                         RUN_ON_CPU_HOST_PTR(q));
    }
}

void virtio_tmem_queue_kick(VirtIOTMEMQueue *q)
{
    qemu_bh_schedule(q->bh);
}

void virtio_tmem_queue_quiesce(VirtIOTMEMQueue *q, bool abandon)
{
    bool engaged = q->guard->engaged_in_io;
    bool abandoned = false;

    if (!q->task) {
        return;
    }
    qemu_mutex_lock(&q->lock);
    if (q->parked && abandon) {
        virtio_tmem_abandon(q);
        abandoned = true;
    }
    qemu_mutex_unlock(&q->lock);
    if (abandoned) {
        VirtQueueElement *elem = q->task->elem;

        q->task = NULL;
        virtqueue_detach_element(q->vq, elem, 0);
        g_free(elem);
        return;
    }
    AIO_WAIT_WHILE_UNLOCKED(NULL, virtio_tmem_go_on(q) == VIRTIO_TMEM_WAITS);
    /* The bottom half may have run meanwhile */
    if (q->task) {
        q->guard->engaged_in_io = true;
        virtio_tmem_end_task(q);
        q->guard->engaged_in_io = engaged;
    }
}

/* Of the first @num queues */
static void virtio_tmem_clear_host_notifiers(VirtIOTMEM *tmem, int num)
{
    VirtioBusState *bus = VIRTIO_BUS(qdev_get_parent_bus(DEVICE(tmem)));
    int i;

    memory_region_transaction_begin();
    for (i = 0; i < num; i++) {
        virtio_bus_set_host_notifier(bus, i, false);
    }
    /* It expects the notifiers to be open when it commits */
    memory_region_transaction_commit();
    for (i = 0; i < num; i++) {
        virtio_bus_cleanup_host_notifier(bus, i);
    }
}

static int virtio_tmem_set_host_notifiers(VirtIOTMEM *tmem)
{
    VirtioBusState *bus = VIRTIO_BUS(qdev_get_parent_bus(DEVICE(tmem)));
    int i, r = 0;

    /* One transaction, as each costs the whole list of ioeventfds */
    memory_region_transaction_begin();
    for (i = 0; i < tmem->num_queues; i++) {
        r = virtio_bus_set_host_notifier(bus, i, true);
        if (r < 0) {
            break;
        }
    }
    memory_region_transaction_commit();
    if (r < 0) {
        virtio_tmem_clear_host_notifiers(tmem, i);
    }
    return r;
}

void virtio_tmem_queue_attach(VirtIOTMEMQueue *q)
{
    if (q->tmem->ioeventfd_started) {
        q->attached = true;
        /* Serves what is in the ring already, too */
        virtio_queue_aio_attach_host_notifier(q->vq, q->ctx);
    }
}

/* In the thread of the queue's context, so that no handler of it is running */
static void virtio_tmem_detach_bh(void *opaque)
{
    VirtIOTMEMQueue *q = opaque;

    virtio_queue_aio_detach_host_notifier(q->vq, q->ctx);
    q->attached = false;
    /* virtio_tmem_queue_quiesce() sees to what it was to go on with */
    qemu_bh_cancel(q->iothread_bh);
}

void virtio_tmem_queue_detach(VirtIOTMEMQueue *q)
{
    if (q->tmem->ioeventfd_started) {
        aio_wait_bh_oneshot(q->ctx, virtio_tmem_detach_bh, q);
    }
}

int virtio_tmem_start_ioeventfd(VirtIODevice *vdev)
{
    VirtIOTMEM *tmem = VIRTIO_TMEM(vdev);
    BusState *bus = qdev_get_parent_bus(DEVICE(tmem));
    VirtioBusClass *k = VIRTIO_BUS_GET_CLASS(bus);
    int i, r;

    if (tmem->ioeventfd_started) {
        return 0;
    }
    r = k->set_guest_notifiers(bus->parent, tmem->num_queues, true);
    if (r < 0) {
        return r;
    }
    r = virtio_tmem_set_host_notifiers(tmem);
    if (r < 0) {
        k->set_guest_notifiers(bus->parent, tmem->num_queues, false);
        return r;
    }
    tmem->ioeventfd_started = true;
    for (i = 0; i < tmem->num_queues; i++) {
        virtio_tmem_queue_quiesce(&tmem->queues[i], false);
        virtio_tmem_queue_attach(&tmem->queues[i]);
    }
    return 0;
}

void virtio_tmem_stop_ioeventfd(VirtIODevice *vdev)
{
    VirtIOTMEM *tmem = VIRTIO_TMEM(vdev);
    BusState *bus = qdev_get_parent_bus(DEVICE(tmem));
    VirtioBusClass *k = VIRTIO_BUS_GET_CLASS(bus);
    int i;

    if (!tmem->ioeventfd_started) {
        return;
    }
    for (i = 0; i < tmem->num_queues; i++) {
        virtio_tmem_queue_detach(&tmem->queues[i]);
    }
    virtio_tmem_clear_host_notifiers(tmem, tmem->num_queues);
    tmem->ioeventfd_started = false;
    k->set_guest_notifiers(bus->parent, tmem->num_queues, false);
}

static bool virtio_tmem_check_iothreads(VirtIOTMEM *tmem, Error **errp)
{
    BusState *bus = qdev_get_parent_bus(DEVICE(tmem));
    VirtioBusClass *k = VIRTIO_BUS_GET_CLASS(bus);

    if (tmem->iothread && tmem->iothread_vq_mapping_list) {
        error_setg(errp, "properties 'iothread' and 'iothread-vq-mapping' are "
                   "set, it must be one of them");
        return false;
    }
    if (!k->set_guest_notifiers ||
        !virtio_device_ioeventfd_enabled(VIRTIO_DEVICE(tmem))) {
        error_setg(errp, "properties 'iothread' and 'iothread-vq-mapping' need "
                   "ioeventfd=on, and a transport that has it");
        return false;
    }
    return true;
}

/* Fills in @ctx for each queue: NULL for one that no IOThread serves */
static bool virtio_tmem_get_iothreads(VirtIOTMEM *tmem, AioContext **ctx,
                                      Error **errp)
{
    int i;

    if (!tmem->iothread && !tmem->iothread_vq_mapping_list) {
        return true;
    }
    if (!virtio_tmem_check_iothreads(tmem, errp)) {
        return false;
    }
    if (tmem->iothread_vq_mapping_list) {
        return iothread_vq_mapping_apply(tmem->iothread_vq_mapping_list, ctx,
                                         tmem->num_queues, errp);
    }
    for (i = 0; i < tmem->num_queues; i++) {
        ctx[i] = iothread_get_aio_context(tmem->iothread);
    }
    object_ref(OBJECT(tmem->iothread));
    return true;
}

bool virtio_tmem_queues_init(VirtIOTMEM *tmem, Error **errp)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(tmem);
    DeviceState *proxy = qdev_get_parent_bus(DEVICE(tmem))->parent;
    g_autofree AioContext **ctx = g_new0(AioContext *, tmem->num_queues);
    int i;

    if (!virtio_tmem_get_iothreads(tmem, ctx, errp)) {
        return false;
    }
    tmem->queues = g_new0(VirtIOTMEMQueue, tmem->num_queues);
    for (i = 0; i < tmem->num_queues; i++) {
        VirtIOTMEMQueue *q = &tmem->queues[i];

        q->tmem = tmem;
        qemu_mutex_init(&q->lock);
        q->ctx = ctx[i] ?: qemu_get_aio_context();
        q->proxy = OBJECT(proxy);
        q->guard = &proxy->mem_reentrancy_guard;
        q->fetch.done = virtio_tmem_fetch_done;
        q->iothread_bh = aio_bh_new(q->ctx, virtio_tmem_iothread_bh, q);
        q->bh = virtio_bh_new_guarded(DEVICE(tmem), virtio_tmem_queue_bh, q);
        q->vq = virtio_add_queue(vdev, VIRTQUEUE_MAX_SIZE,
                                 virtio_tmem_handle_output);
    }
    return true;
}

void virtio_tmem_queues_cleanup(VirtIOTMEM *tmem)
{
    int i;

    for (i = 0; i < tmem->num_queues; i++) {
        virtio_tmem_queue_quiesce(&tmem->queues[i], true);
        qemu_bh_delete(tmem->queues[i].bh);
        qemu_bh_delete(tmem->queues[i].iothread_bh);
        virtio_delete_queue(tmem->queues[i].vq);
    }
    if (tmem->iothread_vq_mapping_list) {
        iothread_vq_mapping_cleanup(tmem->iothread_vq_mapping_list);
    }
    if (tmem->iothread) {
        object_unref(OBJECT(tmem->iothread));
    }
}

void virtio_tmem_queues_free(VirtIOTMEM *tmem)
{
    int i;

    for (i = 0; tmem->queues && i < tmem->num_queues; i++) {
        qemu_mutex_destroy(&tmem->queues[i].lock);
    }
    g_free(tmem->queues);
}
