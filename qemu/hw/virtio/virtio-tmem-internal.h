/*
 * Virtio transcendent memory (tmem) device: what its files share
 *
 *   virtio-tmem.c          device, properties, configuration, target
 *   virtio-tmem-queue.c    which thread works on a ring, and when
 *   virtio-tmem-request.c  one request
 *   virtio-tmem-migration.c  the page store in a migration stream
 *   virtio-tmem-spill.c    the block node that pages are spilled to
 *   virtio-tmem-qmp.c      query-tmem
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef HW_VIRTIO_TMEM_INTERNAL_H
#define HW_VIRTIO_TMEM_INTERNAL_H

#include "hw/virtio/virtio-tmem.h"

#define VIRTIO_TMEM_PAGE_SHIFT 12

/*
 * Reservations that one queue can have: enough for what a driver puts between
 * two requests for more, and they cost some time and 22 KiB each.
 */
#define VIRTIO_TMEM_MAX_RESERVATIONS 64

/* virtio-tmem-request.c: with the queue's lock held, or nobody serving it */

/**
 * virtio_tmem_serve: do what one request asks for, and write the response
 * @elem: has room for a response, and memory only (or copies of what is none)
 *
 * @used_len: set to the used length
 *
 * Touches neither the ring nor anything else of the virtio core.
 *
 * Adds what it has done to q->spent, unless it returns false.
 *
 * Returns: false when it has to wait for a page that was spilled, or has done
 * enough for once: q->parked is the request then. When it can go on, resume_bh
 * is scheduled.
 */
bool virtio_tmem_serve(VirtIOTMEMQueue *q, VirtQueueElement *elem,
                       size_t *used_len);

/**
 * virtio_tmem_resume: go on with the request that waits
 *
 * Returns: as virtio_tmem_serve()
 */
bool virtio_tmem_resume(VirtIOTMEMQueue *q, size_t *used_len);

/**
 * virtio_tmem_abandon: forget the request that waits, without a response
 */
void virtio_tmem_abandon(VirtIOTMEMQueue *q);

/**
 * virtio_tmem_fetch_done: q->fetch.done(), from any thread
 */
void virtio_tmem_fetch_done(TmemFetch *fetch);

/**
 * virtio_tmem_set_reservations: have as many of @wanted as the store grants
 */
void virtio_tmem_set_reservations(VirtIOTMEMQueue *q, uint32_t wanted);

/* virtio-tmem-queue.c: with the BQL held */

/**
 * virtio_tmem_queues_init: make the queues, and take hold of their IOThreads
 *
 * Returns: false with @errp set when the IOThreads that were asked for cannot
 * serve this device.
 */
bool virtio_tmem_queues_init(VirtIOTMEM *tmem, Error **errp);

/**
 * virtio_tmem_queues_cleanup: undo it, as far as others could see it
 *
 * Who is still in virtio-tmem-queue.c has a reference to the device:
 * virtio_tmem_queues_free() comes when it is finalized.
 */
void virtio_tmem_queues_cleanup(VirtIOTMEM *tmem);
void virtio_tmem_queues_free(VirtIOTMEM *tmem);

/**
 * virtio_tmem_queue_kick: serve what is in the ring, soon
 */
void virtio_tmem_queue_kick(VirtIOTMEMQueue *q);

/**
 * virtio_tmem_queue_quiesce: end the request that is being served
 * @abandon: do not wait for a page that was spilled: nobody looks at the ring
 *           any more
 *
 * No other is begun before the BQL is dropped, nor later if the device may not
 * run then. Not for queues of IOThreads while ioeventfd is started.
 */
void virtio_tmem_queue_quiesce(VirtIOTMEMQueue *q, bool abandon);

/**
 * virtio_tmem_queue_attach, virtio_tmem_queue_detach: let the thread of the
 * queue's context look after the ring, or no longer. Nothing when ioeventfd is
 * not started.
 */
void virtio_tmem_queue_attach(VirtIOTMEMQueue *q);
void virtio_tmem_queue_detach(VirtIOTMEMQueue *q);

/* virtio-tmem-spill.c: with the BQL held */

/**
 * virtio_tmem_spill_init: have the store spill to the node, if there is one
 *
 * Returns: false with @errp set when the node will not do.
 */
bool virtio_tmem_spill_init(VirtIOTMEM *tmem, Error **errp);

/**
 * virtio_tmem_spill_cleanup: end all that is under way
 *
 * Nobody may ask for more: neither worker nor queues.
 */
void virtio_tmem_spill_cleanup(VirtIOTMEM *tmem);

/* As VirtioDeviceClass has them */
int virtio_tmem_start_ioeventfd(VirtIODevice *vdev);
void virtio_tmem_stop_ioeventfd(VirtIODevice *vdev);

/* virtio-tmem-migration.c: with the BQL held */

/**
 * virtio_tmem_migration_init: let the page store migrate with the device
 *
 * The last step of realize; virtio_tmem_migration_cleanup() undoes it.
 */
void virtio_tmem_migration_init(VirtIOTMEM *tmem);
void virtio_tmem_migration_cleanup(VirtIOTMEM *tmem);

/* Queues and configuration: what VirtioDeviceClass has as vmsd */
extern const VMStateDescription vmstate_virtio_tmem_device;

#endif
