/*
 * Virtio transcendent memory (tmem) device
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef HW_VIRTIO_TMEM_H
#define HW_VIRTIO_TMEM_H

#include "hw/virtio/virtio.h"
#include "hw/virtio/tmem-store.h"
#include "hw/virtio/tmem-store-spill.h"
#include "hw/virtio/tmem-store-worker.h"
#include "qapi/qapi-types-tmem.h"
#include "qapi/qapi-types-virtio.h"
#include "qemu/stats64.h"
#include "qom/object.h"
#include "system/iothread.h"

#define TYPE_VIRTIO_TMEM "virtio-tmem-device"

OBJECT_DECLARE_SIMPLE_TYPE(VirtIOTMEM, VIRTIO_TMEM)

#define VIRTIO_TMEM_MAX_SIZE_PROP "max-size"
#define VIRTIO_TMEM_MIN_SIZE_PROP "min-size"
#define VIRTIO_TMEM_NUM_QUEUES_PROP "num-queues"
#define VIRTIO_TMEM_COMPRESSION_PROP "compression"
#define VIRTIO_TMEM_LEVEL_PROP "compression-level"
#define VIRTIO_TMEM_PRESSURE_PROP "pressure"
#define VIRTIO_TMEM_SPILL_PROP "spill"

/* Value of num-queues that stands for "one for each vCPU" */
#define VIRTIO_TMEM_AUTO_NUM_QUEUES UINT32_MAX

/* A request from virtqueue_pop() to virtqueue_push() */
typedef struct VirtIOTMEMTask {
    VirtQueueElement *elem;
    size_t used_len;
} VirtIOTMEMTask;

typedef struct VirtIOTMEMReq VirtIOTMEMReq;
typedef struct VirtIOTMEMSpill VirtIOTMEMSpill;
typedef struct VirtIOTMEMMigration VirtIOTMEMMigration;

typedef struct VirtIOTMEMQueue {
    VirtIOTMEM *tmem;
    /* Of the transport, which tmem may be a part of */
    Object *proxy;
    MemReentrancyGuard *guard;
    VirtQueue *vq;
    /* Of the IOThread that serves the queue, or of the main loop */
    AioContext *ctx;
    /* Goes on with a ring that one notification could not empty */
    QEMUBH *bh;
    /* A vCPU is going to look at the ring */
    bool work_queued;
    /* The request that is being served; in IOThreads, only one that waits */
    VirtIOTMEMTask *task;
    /* For a page that was spilled: no other request is begun meanwhile */
    VirtIOTMEMReq *parked;
    VirtIOTMEMTask parked_task;
    TmemFetch fetch;
    /* Goes on with it in the thread that began it: bh, or iothread_bh */
    QEMUBH *resume_bh;
    QEMUBH *iothread_bh;
    /* The context's thread looks after the ring; written when it does not */
    bool attached;
    /* Held while a request is served: virtio-tmem-queue.c */
    QemuMutex lock;
    /* Puts that the guest may still make without being refused; the lock's */
    uint32_t reservations;
    /* What was done since it was last looked whether others want a turn */
    uint64_t spent;
    int64_t began;              /* ns, of get_clock() */
} VirtIOTMEMQueue;

/* All fields but counters are protected by the BQL; the store locks itself. */
struct VirtIOTMEM {
    VirtIODevice parent_obj;

    /* properties */
    uint64_t max_size;          /* these two: also at run time */
    uint64_t min_size;
    uint32_t num_queues;
    char *compression;
    uint32_t compression_level;
    char *pressure;
    uint64_t pool_quota;
    bool lock_memory;
    bool hugepages;
    bool checksum;
    BlockBackend *spill_blk;
    IOThread *iothread;
    IOThreadVirtQueueMappingList *iothread_vq_mapping_list;
    uint64_t host_features;

    VirtIOTMEMQueue *queues;
    /* Contexts of queues look after their rings */
    bool ioeventfd_started;
    TmemStore *store;
    TmemWorker *worker;
    /* NULL: no node to spill to */
    VirtIOTMEMSpill *spill;
    /* Tells guest and monitors of a new limit, for the worker's thread */
    QEMUBH *limit_bh;
    /* Tells monitors of a lost page, for any thread */
    QEMUBH *lost_bh;
    /* Lowers or lifts target_pages, at most once in a while */
    QEMUTimer *target_timer;
    uint64_t target_pages;
    /* Fixed between two resets, whatever max-size is set to meanwhile */
    uint64_t max_pages;
    /* Of virtio-tmem-migration.c, for its handlers */
    VirtIOTMEMMigration *migration;

    /* counters, since the device was created */
    Stat64 requests;
    Stat64 invalid_requests;
    Stat64 notifications;
};

/**
 * virtio_tmem_get_path: the QOM path that users know the device by
 *
 * The caller frees with g_free().
 */
char *virtio_tmem_get_path(VirtIOTMEM *tmem);

/**
 * virtio_tmem_limit_reason: the limit's cause as QAPI has it
 */
TmemLimitReason virtio_tmem_limit_reason(const TmemStoreStats *stats);

#endif
