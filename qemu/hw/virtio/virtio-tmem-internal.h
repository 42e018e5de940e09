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

/* virtio-tmem-request.c: with the lock of the queue held */

/**
 * virtio_tmem_serve: serve one request, and use it
 *
 * Returns: false when it cannot even be answered: the device is broken then.
 */
bool virtio_tmem_serve(VirtIOTMEMQueue *q, VirtQueueElement *elem);

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
void virtio_tmem_queues_cleanup(VirtIOTMEM *tmem);

/**
 * virtio_tmem_queues_start: requests may be served from now on
 *
 * Those that are in the ring are served soon.
 */
void virtio_tmem_queues_start(VirtIOTMEM *tmem);

/**
 * virtio_tmem_queues_stop: no request is served from now on
 *
 * When it returns, no thread is working on a ring. While one is, the BQL is
 * dropped.
 */
void virtio_tmem_queues_stop(VirtIOTMEM *tmem);

/* The same for one queue, for VIRTIO_F_RING_RESET */
void virtio_tmem_queue_start(VirtIOTMEMQueue *q);
void virtio_tmem_queue_stop(VirtIOTMEMQueue *q);

/* As VirtioDeviceClass has them */
int virtio_tmem_start_ioeventfd(VirtIODevice *vdev);
void virtio_tmem_stop_ioeventfd(VirtIODevice *vdev);

#endif
