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
#include "system/iothread.h"
#include "virtio-tmem-internal.h"

/*
 * Requests are served in ring order, each used before the next, by the thread
 * that takes the notification:
 *
 * - a vCPU (ioeventfd=off, the default). It has the BQL, and drops it for as
 *   long as it serves: other vCPUs, with rings of their own, need not wait.
 * - an IOThread (iothread, iothread-vq-mapping), which never has the BQL;
 * - the main loop (ioeventfd=on without an IOThread), which keeps the BQL, as
 *   does the bottom half that goes on with a ring too full for one go.
 *
 * A queue's lock is held by who works on its ring. It comes before the BQL:
 * who has the BQL may only try to get it, or must drop the BQL first. A ring
 * and what virtio.c knows of it may be taken away (reset, stop) only under the
 * BQL and after virtio_tmem_queue_stop(). That waits, with the BQL dropped,
 * until nobody works on the ring; who has dropped the BQL is counted in
 * q->users, so that the queue does not go before they are back.
 *
 * A guest can make the device write to its own registers: a ring or a buffer
 * may lie there. The guard in memory.c sees only accesses that come from MMIO,
 * and it would refuse the notifications of other vCPUs, so that region does
 * without it (virtio-tmem-pci.c) and "serving" stands in for it: such a
 * notification is left to the bottom half, and a thread that stops the queue
 * that it is serving itself does not wait for itself.
 */

/*
 * Requests that are served for one notification before others get a chance: at
 * 32 pages each and some microseconds a page, about 10 ms of puts and gets. A
 * driver that waits for each request never gets near it. Flushes are not
 * bounded by it: one may free all that the store holds, at about a second for
 * each 4 GiB.
 */
#define VIRTIO_TMEM_REQUEST_BUDGET 64

/* The queue that this thread is working on */
static __thread VirtIOTMEMQueue *serving;

/* Returns false when there is no request, or the device has broken over it. */
static bool virtio_tmem_serve_next(VirtIOTMEMQueue *q)
{
    g_autofree VirtQueueElement *elem = virtqueue_pop(q->vq, sizeof(*elem));

    return elem && virtio_tmem_serve(q, elem);
}

/* Serve what is in the ring, or as much as the budget allows; how much? */
static unsigned int virtio_tmem_serve_ring(VirtIOTMEMQueue *q)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(q->tmem);
    /* Who polls the ring has them off already, and wants them to stay so */
    bool suppress = virtio_queue_get_notification(q->vq);
    unsigned int served = 0;

    if (!qatomic_read(&q->enabled)) {
        return 0;
    }
    if (!virtio_vdev_has_feature(vdev, VIRTIO_F_VERSION_1)) {
        virtio_error(vdev, "virtio-tmem: the driver has not accepted "
                     "VIRTIO_F_VERSION_1");
        return 0;
    }

    do {
        if (suppress) {
            virtio_queue_set_notification(q->vq, 0);
        }
        while (qatomic_read(&q->enabled) &&
               served < VIRTIO_TMEM_REQUEST_BUDGET &&
               virtio_tmem_serve_next(q)) {
            served++;
        }
        if (suppress) {
            virtio_queue_set_notification(q->vq, 1);
        }
        if (served == VIRTIO_TMEM_REQUEST_BUDGET) {
            qemu_bh_schedule(q->bh);
            break;
        }
    } while (qatomic_read(&q->enabled) && !vdev->broken &&
             !virtio_queue_empty(q->vq));

    return served;
}

/* Tell the guest, if it wants to hear of it. With the queue's lock held. */
static void virtio_tmem_interrupt(VirtIOTMEMQueue *q)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(q->tmem);

    if (bql_locked()) {
        virtio_notify(vdev, q->vq);
    } else if (qatomic_load_acquire(&q->tmem->ioeventfd_started)) {
        virtio_notify_irqfd(vdev, q->vq);
    } else {
        /* An IOThread, as long as ioeventfd is not, or cannot be, started */
        BQL_LOCK_GUARD();
        virtio_notify(vdev, q->vq);
    }
}

/* With or without the BQL */
static void virtio_tmem_run_queue(VirtIOTMEMQueue *q)
{
    bool had_bql = bql_locked();
    bool is_vcpu = had_bql && current_cpu;

    if (serving) {
        /* The device has notified itself: see above */
        qemu_bh_schedule(q->bh);
        return;
    }
    if (is_vcpu) {
        q->users++;
        bql_unlock();
    }
    if (is_vcpu || !had_bql) {
        qemu_mutex_lock(&q->lock);
    } else if (qemu_mutex_trylock(&q->lock)) {
        /* Who has it may need the BQL before it lets go */
        qemu_bh_schedule(q->bh);
        return;
    }

    serving = q;
    if (virtio_tmem_serve_ring(q)) {
        if (is_vcpu) {
            bql_lock();
        }
        virtio_tmem_interrupt(q);
    } else if (is_vcpu) {
        bql_lock();
    }
    serving = NULL;

    qemu_mutex_unlock(&q->lock);
    if (is_vcpu) {
        q->users--;
    }
}

static void virtio_tmem_queue_bh(void *opaque)
{
    virtio_tmem_run_queue(opaque);
}

static void virtio_tmem_handle_output(VirtIODevice *vdev, VirtQueue *vq)
{
    VirtIOTMEM *tmem = VIRTIO_TMEM(vdev);

    stat64_add(&tmem->notifications, 1);
    virtio_tmem_run_queue(&tmem->queues[virtio_get_queue_index(vq)]);
}

void virtio_tmem_queue_start(VirtIOTMEMQueue *q)
{
    qatomic_set(&q->enabled, true);
}

void virtio_tmem_queue_stop(VirtIOTMEMQueue *q)
{
    qatomic_set(&q->enabled, false);
    if (serving == q) {
        return;
    }
    while (q->users || qemu_mutex_trylock(&q->lock)) {
        bql_unlock();
        qemu_mutex_lock(&q->lock);
        qemu_mutex_unlock(&q->lock);
        bql_lock();
    }
    qemu_mutex_unlock(&q->lock);
}

void virtio_tmem_queues_start(VirtIOTMEM *tmem)
{
    int i;

    for (i = 0; i < tmem->num_queues; i++) {
        virtio_tmem_queue_start(&tmem->queues[i]);
        /* What came too early, or a bottom half left when the VM stopped */
        qemu_bh_schedule(tmem->queues[i].bh);
    }
}

void virtio_tmem_queues_stop(VirtIOTMEM *tmem)
{
    int i;

    for (i = 0; i < tmem->num_queues; i++) {
        virtio_tmem_queue_stop(&tmem->queues[i]);
    }
}

static int virtio_tmem_set_host_notifiers(VirtIOTMEM *tmem)
{
    VirtioBusState *bus = VIRTIO_BUS(qdev_get_parent_bus(DEVICE(tmem)));
    int i, j, r = 0;

    /* One transaction, as each costs the whole list of ioeventfds */
    memory_region_transaction_begin();
    for (i = 0; i < tmem->num_queues; i++) {
        r = virtio_bus_set_host_notifier(bus, i, true);
        if (r < 0) {
            break;
        }
    }
    if (r < 0) {
        for (j = 0; j < i; j++) {
            virtio_bus_set_host_notifier(bus, j, false);
        }
    }
    /* It expects the notifiers to be open when it commits */
    memory_region_transaction_commit();
    if (r < 0) {
        for (j = 0; j < i; j++) {
            virtio_bus_cleanup_host_notifier(bus, j);
        }
    }
    return r;
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
    qatomic_store_release(&tmem->ioeventfd_started, true);
    for (i = 0; i < tmem->num_queues; i++) {
        /* Serves what is in the ring already, too */
        virtio_queue_aio_attach_host_notifier(tmem->queues[i].vq,
                                              tmem->queues[i].ctx);
    }
    return 0;
}

/* In the thread of the queue's context, so that no handler of it is running */
static void virtio_tmem_detach_bh(void *opaque)
{
    VirtIOTMEMQueue *q = opaque;

    virtio_queue_aio_detach_host_notifier(q->vq, q->ctx);
    qemu_bh_cancel(q->bh);
}

void virtio_tmem_stop_ioeventfd(VirtIODevice *vdev)
{
    VirtIOTMEM *tmem = VIRTIO_TMEM(vdev);
    VirtioBusState *bus = VIRTIO_BUS(qdev_get_parent_bus(DEVICE(tmem)));
    VirtioBusClass *k = VIRTIO_BUS_GET_CLASS(bus);
    int i;

    /* Stays attached over a reset that the device itself was made to write */
    if (!tmem->ioeventfd_started || serving) {
        return;
    }
    virtio_tmem_queues_stop(tmem);
    for (i = 0; i < tmem->num_queues; i++) {
        aio_wait_bh_oneshot(tmem->queues[i].ctx, virtio_tmem_detach_bh,
                            &tmem->queues[i]);
    }

    memory_region_transaction_begin();
    for (i = 0; i < tmem->num_queues; i++) {
        virtio_bus_set_host_notifier(bus, i, false);
    }
    memory_region_transaction_commit();
    for (i = 0; i < tmem->num_queues; i++) {
        virtio_bus_cleanup_host_notifier(bus, i);
    }
    tmem->ioeventfd_started = false;
    k->set_guest_notifiers(BUS(bus)->parent, tmem->num_queues, false);
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
        error_setg(errp, "IOThreads need ioeventfd=on, and a transport that "
                   "has it");
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
        /* A guard of its own: that of the device is for those with the BQL */
        q->bh = aio_bh_new_guarded(q->ctx, virtio_tmem_queue_bh, q, &q->guard);
        q->vq = virtio_add_queue(vdev, VIRTQUEUE_MAX_SIZE,
                                 virtio_tmem_handle_output);
    }
    return true;
}

void virtio_tmem_queues_cleanup(VirtIOTMEM *tmem)
{
    int i;

    virtio_tmem_queues_stop(tmem);
    for (i = 0; i < tmem->num_queues; i++) {
        qemu_bh_delete(tmem->queues[i].bh);
        virtio_delete_queue(tmem->queues[i].vq);
        qemu_mutex_destroy(&tmem->queues[i].lock);
    }
    g_free(tmem->queues);
    tmem->queues = NULL;
    if (tmem->iothread_vq_mapping_list) {
        iothread_vq_mapping_cleanup(tmem->iothread_vq_mapping_list);
    }
    if (tmem->iothread) {
        object_unref(OBJECT(tmem->iothread));
    }
}
