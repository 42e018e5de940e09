/*
 * libqos driver for virtio-tmem
 *
 * A driver that does exactly what a test tells it, right or wrong: requests
 * are bytes, and how they are cut into descriptors is up to the test. It knows
 * split and packed rings. One request after the other, unless a test adds
 * several before it kicks.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_LIBQOS_VIRTIO_TMEM_H
#define TESTS_LIBQOS_VIRTIO_TMEM_H

#include "qgraph.h"
#include "virtio.h"
#include "virtio-pci.h"
#include "qobject/qdict.h"
#include "standard-headers/linux/virtio_tmem.h"

/* What the node puts on the command line, for tests to compare with */
#define QTMEM_ID         "tmem0"
#define QTMEM_MAX_SIZE   (64 * 1024 * 1024)
#define QTMEM_NUM_QUEUES 2

#define QTMEM_PAGE_SIZE  4096

/* Entries of each ring: less than the device allows, as it is quicker */
#define QTMEM_RING_SIZE  512

/* Room in guest memory for each direction of a request */
#define QTMEM_AREA_SIZE  (256 * 1024)

/*
 * The nodes "virtio-tmem", "virtio-tmem-cost", "virtio-tmem-limit",
 * "virtio-tmem-migration" and "virtio-tmem-spill": the same device, but qgraph
 * has room for some 40 tests of a node only.
 */
typedef struct QVirtioTMEM {
    QVirtioDevice *vdev;
} QVirtioTMEM;

typedef struct QVirtioTMEMPCI {
    QVirtioPCIDevice pci_vdev;
    QVirtioTMEM tmem;
} QVirtioTMEMPCI;

/* A descriptor; qtmem_add() does the chaining. @flags: VRING_DESC_F_WRITE */
typedef struct QTMEMDesc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags;
} QTMEMDesc;

typedef struct QTMEMQueue {
    QVirtQueue *vq;
    /* next slot of the descriptor table to write */
    uint16_t next_desc;
    /* split: as in the rings. packed: next slot that will be used */
    uint16_t avail_idx;
    uint16_t used_idx;
    /* packed only */
    bool avail_wrap;
    bool used_wrap;
    uint16_t chain_len[QTMEM_RING_SIZE];
} QTMEMQueue;

/* A running driver */
typedef struct QTMEM {
    QTestState *qts;
    QVirtioDevice *vdev;
    QGuestAllocator *alloc;
    uint64_t ring_features;
    /* Features of the device that qtmem_restart() leaves alone */
    uint64_t refused_features;
    bool packed;
    /* Leave it to the test to set DRIVER_OK after qtmem_restart() */
    bool no_driver_ok;
    /* Put the descriptors of each request into an indirect table */
    bool indirect;
    /* The queue that requests go to */
    unsigned int queue;
    QTMEMQueue queues[QTMEM_NUM_QUEUES];
    /* Guest memory for the two parts of a request, and an indirect table */
    uint64_t out;
    uint64_t in;
    uint64_t table;
    /* What the device wrote for the last request */
    uint8_t *reply;
} QTMEM;

/* The answer to a request. @payload is valid until the next request. */
typedef struct QTMEMReply {
    uint32_t used_len;
    uint8_t status;
    uint32_t done;
    uint32_t failed;
    uint32_t reservations;
    uint64_t value;
    const uint8_t *payload;
} QTMEMReply;

/**
 * qtmem_start: negotiate and set up all queues, on the device of a fresh node
 * @ring_features: which of INDIRECT_DESC, EVENT_IDX and RING_PACKED to take
 */
void qtmem_start(QTMEM *t, QVirtioTMEM *node, QGuestAllocator *alloc,
                 uint64_t ring_features);

/**
 * qtmem_restart: what a rebooted guest does: reset, negotiate, set up
 */
void qtmem_restart(QTMEM *t);

/**
 * qtmem_stop: free what qtmem_start() allocated; leaves the device as it is
 */
void qtmem_stop(QTMEM *t);

/**
 * qtmem_needs_reset: whether the device gave up
 */
bool qtmem_needs_reset(QTMEM *t);

/**
 * qtmem_add: make a chain of descriptors available, without a notification
 * Returns: the id that the device uses it under, for qtmem_wait()
 */
uint16_t qtmem_add(QTMEM *t, const QTMEMDesc *desc, unsigned int num);

/**
 * qtmem_write_desc, qtmem_make_avail: the same by hand, for split rings that
 * are not what they should be
 */
void qtmem_write_desc(QTMEM *t, uint16_t slot, uint64_t addr, uint32_t len,
                      uint16_t flags, uint16_t next);
void qtmem_make_avail(QTMEM *t, uint16_t head);

/**
 * qtmem_kick: notify the device, no matter whether it wants to be
 */
void qtmem_kick(QTMEM *t);

/**
 * qtmem_poll: whether the device has used a buffer that was not waited for
 */
bool qtmem_poll(QTMEM *t);

/**
 * qtmem_wait: wait until the next buffer is used, which must be @id
 * Returns: the used length
 */
uint32_t qtmem_wait(QTMEM *t, uint16_t id);

/**
 * qtmem_msg: the device-readable part of a request, to be appended to
 */
GByteArray *qtmem_msg(uint8_t type, uint32_t pool, uint64_t object,
                      uint16_t count);
void qtmem_msg_u64(GByteArray *msg, uint64_t value);

/**
 * qtmem_send: do one request, waiting for its end
 * @in_len: size of the device-writable part
 *
 * Fails the test when the device writes beyond @in_len or the used length.
 */
QTMEMReply qtmem_send(QTMEM *t, const GByteArray *msg, size_t in_len);

/**
 * qtmem_send_cut: qtmem_send() with a descriptor layout
 * @out_cuts, @in_cuts: length of each descriptor, ended by a 0 that stands for
 *                      "the rest"; NULL: one descriptor
 *
 * Descriptors are never adjacent in memory.
 */
QTMEMReply qtmem_send_cut(QTMEM *t, const GByteArray *msg,
                          const uint32_t *out_cuts, size_t in_len,
                          const uint32_t *in_cuts);

/**
 * qtmem_fault: qtmem_send() of a request that cannot be answered
 *
 * Fails the test unless the device asks for a reset and uses nothing.
 */
void qtmem_fault(QTMEM *t, const GByteArray *msg, size_t in_len);

/* Requests, without a word on whether they succeed */
QTMEMReply qtmem_pool_create(QTMEM *t);
QTMEMReply qtmem_pool_create_flags(QTMEM *t, uint8_t flags);
QTMEMReply qtmem_pool_destroy(QTMEM *t, uint32_t pool);
QTMEMReply qtmem_put(QTMEM *t, uint32_t pool, uint64_t object, uint64_t index,
                     const void *page);
QTMEMReply qtmem_put_many(QTMEM *t, uint32_t pool, uint64_t object,
                          const uint64_t *index, uint16_t count,
                          const void *pages);
QTMEMReply qtmem_get(QTMEM *t, uint32_t pool, uint64_t object, uint64_t index);
QTMEMReply qtmem_get_many(QTMEM *t, uint32_t pool, uint64_t object,
                          const uint64_t *index, uint16_t count);
QTMEMReply qtmem_flush(QTMEM *t, uint32_t pool, uint64_t object,
                       uint64_t first, uint64_t last);

/**
 * qtmem_query: the device's entry of query-tmem
 */
QDict *qtmem_query(QTMEM *t);

/**
 * qtmem_counter: one number of query-tmem
 */
uint64_t qtmem_counter(QTMEM *t, const char *name);

/**
 * qtmem_wait_counter_above: until it is more than @bound; fails after a minute
 */
void qtmem_wait_counter_above(QTMEM *t, const char *name, uint64_t bound);

/* What a page is like: it compresses 2:1, or not at all, or is one word */
typedef enum QTMEMKind {
    QTMEM_NORMAL,
    QTMEM_RANDOM,
    QTMEM_SAME_FILLED,
} QTMEMKind;

/**
 * qtmem_fill_page: make a page whose contents are different for each @seed
 */
void qtmem_fill_page(void *page, QTMEMKind kind, uint64_t seed);

/* The common claims: each fails the test when it does not hold */
uint32_t qtmem_make_pool(QTMEM *t);
uint32_t qtmem_make_ephemeral_pool(QTMEM *t);
void qtmem_put_ok(QTMEM *t, uint32_t pool, uint64_t object, uint64_t index,
                  QTMEMKind kind, uint64_t seed);
void qtmem_assert_page(const uint8_t *got, QTMEMKind kind, uint64_t seed);
void qtmem_assert_holds(QTMEM *t, uint32_t pool, uint64_t object,
                        uint64_t index, QTMEMKind kind, uint64_t seed);
void qtmem_assert_absent(QTMEM *t, uint32_t pool, uint64_t object,
                         uint64_t index);

/**
 * qtmem_put_range: put pages of object 0, in as few requests as it takes
 *
 * The seed of a page is its index. Returns: how many of them were stored.
 */
uint64_t qtmem_put_range(QTMEM *t, uint32_t pool, uint64_t first,
                         uint64_t count, QTMEMKind kind);

/**
 * qtmem_assert_range: all that qtmem_put_range() has put is there
 */
void qtmem_assert_range(QTMEM *t, uint32_t pool, uint64_t first,
                        uint64_t count, QTMEMKind kind);

#endif
