/*
 * Virtio transcendent memory (tmem) device: what its files share
 *
 *   virtio-tmem.c          device, properties, configuration, target
 *   virtio-tmem-queue.c    which thread works on a ring, and when
 *   virtio-tmem-request.c  one request
 *   virtio-tmem-qmp.c      query-tmem
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef HW_VIRTIO_TMEM_INTERNAL_H
#define HW_VIRTIO_TMEM_INTERNAL_H

#include "hw/virtio/virtio-tmem.h"

/* virtio-tmem-request.c: with the queue's lock held, or nobody serving it */

/**
 * virtio_tmem_serve: do what one request asks for, and write the response
 * @elem: has room for a response, and memory only (or copies of what is none)
 *
 * Touches neither the ring nor anything else of the virtio core.
 *
 * Returns: the used length.
 */
size_t virtio_tmem_serve(VirtIOTMEMQueue *q, VirtQueueElement *elem);

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
 *
 * No other is begun before the BQL is dropped, nor later if the device may not
 * run then. Not for queues of IOThreads while ioeventfd is started.
 */
void virtio_tmem_queue_quiesce(VirtIOTMEMQueue *q);

/**
 * virtio_tmem_queue_attach, virtio_tmem_queue_detach: let the thread of the
 * queue's context look after the ring, or no longer. Nothing when ioeventfd is
 * not started.
 */
void virtio_tmem_queue_attach(VirtIOTMEMQueue *q);
void virtio_tmem_queue_detach(VirtIOTMEMQueue *q);

/* As VirtioDeviceClass has them */
int virtio_tmem_start_ioeventfd(VirtIODevice *vdev);
void virtio_tmem_stop_ioeventfd(VirtIODevice *vdev);

#endif
