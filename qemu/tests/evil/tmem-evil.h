/*
 * A virtio-tmem device that lies: where it gets between, see meson.build
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TESTS_TMEM_EVIL_H
#define TESTS_TMEM_EVIL_H

#include "hw/virtio/virtio-tmem.h"

/* The linker makes of each call of NAME one of __wrap_NAME. */
bool __real_virtio_tmem_serve(VirtIOTMEMQueue *q, VirtQueueElement *elem,
                              size_t *used_len);
bool __wrap_virtio_tmem_serve(VirtIOTMEMQueue *q, VirtQueueElement *elem,
                              size_t *used_len);
bool __real_virtio_tmem_queues_init(VirtIOTMEM *tmem, Error **errp);
bool __wrap_virtio_tmem_queues_init(VirtIOTMEM *tmem, Error **errp);
void __real_virtqueue_push(VirtQueue *vq, const VirtQueueElement *elem,
                           unsigned int len);
void __wrap_virtqueue_push(VirtQueue *vq, const VirtQueueElement *elem,
                           unsigned int len);

#endif
