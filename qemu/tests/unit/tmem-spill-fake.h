/*
 * A device for virtio-tmem's page store to spill to, in memory, that fails,
 * lies and waits as it is told
 *
 * Threads: any.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TESTS_UNIT_TMEM_SPILL_FAKE_H
#define TESTS_UNIT_TMEM_SPILL_FAKE_H

#include "hw/virtio/tmem-store-spill.h"

typedef enum FakeKind {
    FAKE_READ,
    FAKE_WRITE,
    FAKE_DISCARD,
} FakeKind;

typedef struct FakeRequest {
    FakeKind kind;
    uint64_t offset;
    uint64_t len;
    void *buf;
    TmemSpillDoneFn *done;
    void *opaque;
} FakeRequest;

typedef struct FakeSpill {
    uint64_t size;
    uint8_t *bytes;
    GMutex lock;            /* protects all below */
    bool defer;             /* requests wait for fake_run() */
    bool held;              /* and it says that it is to blame for that */
    GQueue waiting;
    unsigned fail_writes;   /* so many that come next */
    int write_error;
    uint64_t bad_first;     /* reads of these bytes fail */
    uint64_t bad_last;
    uint64_t wrong_first;   /* reads of these bytes do not fail, but should */
    uint64_t wrong_last;
    unsigned reads, writes, discards;
    unsigned read_failures, write_failures;   /* that the store told of */
} FakeSpill;

static inline bool fake_overlap(uint64_t offset, uint64_t len, uint64_t first,
                                uint64_t last)
{
    return first < last && offset < last && offset + len > first;
}

/* Called with the lock held. */
static inline int fake_do(FakeSpill *fake, FakeKind kind, uint64_t offset,
                          uint64_t len, void *buf)
{
    g_assert_cmpuint(offset + len, <=, fake->size);
    switch (kind) {
    case FAKE_READ:
        fake->reads++;
        if (fake_overlap(offset, len, fake->bad_first, fake->bad_last)) {
            memset(buf, 0xbb, len);
            return -EIO;
        }
        memcpy(buf, fake->bytes + offset, len);
        for (uint64_t i = MAX(offset, fake->wrong_first);
             i < MIN(offset + len, fake->wrong_last); i++) {
            ((uint8_t *)buf)[i - offset] ^= 1;
        }
        return 0;
    case FAKE_WRITE:
        g_assert_cmpuint(offset % TMEM_EXTENT_SIZE, ==, 0);
        g_assert_cmpuint(len, ==, TMEM_EXTENT_SIZE);
        fake->writes++;
        if (fake->fail_writes) {
            fake->fail_writes--;
            memset(fake->bytes + offset, 0xee, len / 2);
            return -fake->write_error;
        }
        memcpy(fake->bytes + offset, buf, len);
        return 0;
    default:
        g_assert_cmpuint(offset % TMEM_EXTENT_SIZE, ==, 0);
        fake->discards++;
        memset(fake->bytes + offset, 0xdd, len);
        return 0;
    }
}

static inline void fake_start(FakeSpill *fake, FakeKind kind, uint64_t offset,
                              uint64_t len, void *buf, TmemSpillDoneFn *done,
                              void *opaque)
{
    FakeRequest *req;
    int ret;

    g_mutex_lock(&fake->lock);
    if (fake->defer) {
        req = g_new(FakeRequest, 1);
        *req = (FakeRequest) { kind, offset, len, buf, done, opaque };
        g_queue_push_tail(&fake->waiting, req);
        g_mutex_unlock(&fake->lock);
        return;
    }
    ret = fake_do(fake, kind, offset, len, buf);
    g_mutex_unlock(&fake->lock);
    done(opaque, ret);
}

static inline void fake_read(void *dev, uint64_t offset, void *buf, size_t len,
                             TmemSpillDoneFn *done, void *opaque)
{
    fake_start(dev, FAKE_READ, offset, len, buf, done, opaque);
}

static inline void fake_write(void *dev, uint64_t offset, const void *buf,
                              size_t len, TmemSpillDoneFn *done, void *opaque)
{
    fake_start(dev, FAKE_WRITE, offset, len, (void *)buf, done, opaque);
}

static inline void fake_discard(void *dev, uint64_t offset, uint64_t len,
                                TmemSpillDoneFn *done, void *opaque)
{
    fake_start(dev, FAKE_DISCARD, offset, len, NULL, done, opaque);
}

static inline int fake_read_now(void *dev, uint64_t offset, void *buf,
                                size_t len)
{
    FakeSpill *fake = dev;
    int ret;

    g_mutex_lock(&fake->lock);
    ret = fake_do(fake, FAKE_READ, offset, len, buf);
    g_mutex_unlock(&fake->lock);
    return ret;
}

static inline void fake_failed(void *dev, TmemSpillOp op, int err)
{
    FakeSpill *fake = dev;

    g_assert_cmpint(err, >, 0);
    g_mutex_lock(&fake->lock);
    fake->read_failures += op == TMEM_SPILL_READ;
    fake->write_failures += op == TMEM_SPILL_WRITE;
    g_mutex_unlock(&fake->lock);
}

/* Do the next request that waits, or the next write; false: there is none. */
static inline bool fake_run(FakeSpill *fake)
{
    FakeRequest *req;
    int ret;

    g_mutex_lock(&fake->lock);
    req = g_queue_pop_head(&fake->waiting);
    if (!req) {
        g_mutex_unlock(&fake->lock);
        return false;
    }
    ret = fake_do(fake, req->kind, req->offset, req->len, req->buf);
    g_mutex_unlock(&fake->lock);
    req->done(req->opaque, ret);
    g_free(req);
    return true;
}

static inline void fake_set_defer(FakeSpill *fake, bool defer)
{
    g_mutex_lock(&fake->lock);
    fake->defer = defer;
    g_mutex_unlock(&fake->lock);
    while (!defer && fake_run(fake)) {
        continue;
    }
}

static bool fake_held(void *dev)
{
    FakeSpill *fake = dev;

    return fake->held;
}

static const TmemSpillOps fake_ops = {
    .read = fake_read,
    .write = fake_write,
    .discard = fake_discard,
    .read_now = fake_read_now,
    .failed = fake_failed,
    .held = fake_held,
};

static inline FakeSpill *fake_new(uint64_t size)
{
    FakeSpill *fake = g_new0(FakeSpill, 1);

    fake->size = size;
    fake->bytes = g_malloc(size);
    memset(fake->bytes, 0xcc, size);
    fake->write_error = EIO;
    g_mutex_init(&fake->lock);
    g_queue_init(&fake->waiting);
    return fake;
}

/* After the store: nothing is under way any more. */
static inline void fake_free(FakeSpill *fake)
{
    g_assert_cmpuint(fake->waiting.length, ==, 0);
    g_mutex_clear(&fake->lock);
    g_free(fake->bytes);
    g_free(fake);
}

#endif
