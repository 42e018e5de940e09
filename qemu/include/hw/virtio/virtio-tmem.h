/*
 * Virtio transcendent memory (tmem) device
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef HW_VIRTIO_TMEM_H
#define HW_VIRTIO_TMEM_H

#include "hw/virtio/virtio.h"
#include "hw/virtio/tmem-store.h"
#include "qapi/qapi-types-tmem.h"
#include "qom/object.h"

#define TYPE_VIRTIO_TMEM "virtio-tmem-device"

OBJECT_DECLARE_SIMPLE_TYPE(VirtIOTMEM, VIRTIO_TMEM)

#define VIRTIO_TMEM_MAX_SIZE_PROP "max-size"
#define VIRTIO_TMEM_NUM_QUEUES_PROP "num-queues"

/* Value of num-queues that stands for "one for each vCPU" */
#define VIRTIO_TMEM_AUTO_NUM_QUEUES UINT32_MAX

typedef struct VirtIOTMEMQueue {
    VirtIOTMEM *tmem;
    VirtQueue *vq;
    /* Goes on with a ring that one notification could not empty */
    QEMUBH *bh;
} VirtIOTMEMQueue;

/* All fields are protected by the BQL; the store locks itself. */
struct VirtIOTMEM {
    VirtIODevice parent_obj;

    /* properties */
    uint64_t max_size;
    uint32_t num_queues;
    uint64_t host_features;

    VirtIOTMEMQueue *queues;
    TmemStore *store;

    /* counters, since the device was created */
    uint64_t requests;
    uint64_t invalid_requests;
    uint64_t notifications;
};

/**
 * virtio_tmem_get_info: numbers of a device for query-tmem
 *
 * Called with the BQL held. The caller frees with qapi_free_TmemInfo().
 */
TmemInfo *virtio_tmem_get_info(VirtIOTMEM *tmem);

#endif
