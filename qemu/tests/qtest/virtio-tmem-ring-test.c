/*
 * QTest of virtio-tmem: rings and notifications
 *
 * Each test names the promise it keeps, and the invariant of the design it
 * guards (the list is in virtio-tmem-test.c).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "libqtest-single.h"
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "libqos/qgraph.h"
#include "libqos/virtio-tmem.h"
#include "standard-headers/linux/virtio_ring.h"

#define RESP sizeof(struct virtio_tmem_resp)
#define PAGE QTMEM_PAGE_SIZE

#define INDIRECT (1ull << VIRTIO_RING_F_INDIRECT_DESC)
#define EVENT_IDX (1ull << VIRTIO_RING_F_EVENT_IDX)
#define IN_ORDER (1ull << VIRTIO_F_IN_ORDER)
#define PACKED (1ull << VIRTIO_F_RING_PACKED)

/* Requests that the device serves before it lets the main loop run */
#define BUDGET 64

/* Most requests in a batch: three descriptors each */
#define MAX_BATCH (QTMEM_RING_SIZE / 3)

/*
 * Several requests that are in the ring at one time. Each has a slot in guest
 * memory for header and index, for its response, and for its page.
 */
typedef struct Batch {
    QTMEM *t;
    uint32_t pool;
    uint64_t mem;
    unsigned int num;
    uint16_t id[MAX_BATCH];
} Batch;

#define SLOT (3 * PAGE)
#define SLOT_RESP PAGE
#define SLOT_PAGE (2 * PAGE)

static void batch_start(Batch *b, QTMEM *t, uint32_t pool)
{
    *b = (Batch) { .t = t, .pool = pool };
    b->mem = guest_alloc(t->alloc, MAX_BATCH * SLOT);
}

static void batch_end(Batch *b)
{
    guest_free(b->t->alloc, b->mem);
}

/* The page that is put is that of @seed; a flush is from @index to @seed */
static void batch_add(Batch *b, uint8_t type, uint64_t index, uint64_t seed)
{
    g_autoptr(GByteArray) msg = qtmem_msg(type, b->pool, 0, 1);
    uint64_t slot = b->mem + b->num * SLOT;
    QTMEMDesc readable = { slot, 0, 0 };
    QTMEMDesc resp = { slot + SLOT_RESP, RESP, VRING_DESC_F_WRITE };
    QTMEMDesc page = { slot + SLOT_PAGE, PAGE, 0 };

    qtmem_msg_u64(msg, index);
    if (type == VIRTIO_TMEM_REQ_FLUSH) {
        qtmem_msg_u64(msg, seed);
    }
    readable.len = msg->len;
    qtest_memwrite(b->t->qts, slot, msg->data, msg->len);
    qtest_memset(b->t->qts, slot + SLOT_RESP, 0xff, RESP);

    if (type == VIRTIO_TMEM_REQ_PUT) {
        QTMEMDesc desc[] = { readable, page, resp };
        uint8_t contents[PAGE];

        qtmem_fill_page(contents, QTMEM_NORMAL, seed);
        qtest_bufwrite(b->t->qts, page.addr, contents, PAGE);
        b->id[b->num] = qtmem_add(b->t, desc, 3);
    } else if (type == VIRTIO_TMEM_REQ_GET) {
        QTMEMDesc desc[] = { readable, resp, page };

        desc[2].flags = VRING_DESC_F_WRITE;
        b->id[b->num] = qtmem_add(b->t, desc, 3);
    } else {
        QTMEMDesc desc[] = { readable, resp };

        b->id[b->num] = qtmem_add(b->t, desc, 2);
    }
    b->num++;
}

/* Wait for all requests, in the order in which they were added */
static void batch_wait(Batch *b)
{
    unsigned int i;

    for (i = 0; i < b->num; i++) {
        qtmem_wait(b->t, b->id[i]);
    }
    g_assert_false(qtmem_poll(b->t));
}

/* Add as many puts as there is room for, of an index and a page each */
static void batch_add_puts(Batch *b)
{
    unsigned int i;

    for (i = 0; i < MAX_BATCH; i++) {
        batch_add(b, VIRTIO_TMEM_REQ_PUT, i, i);
    }
}

/* What batch_add_puts() has put is there */
static void batch_assert_held(Batch *b)
{
    unsigned int i;

    for (i = 0; i < MAX_BATCH; i++) {
        qtmem_assert_holds(b->t, b->pool, 0, i, QTMEM_NORMAL, i);
    }
}

static uint8_t batch_status(Batch *b, unsigned int i)
{
    return qtest_readb(b->t->qts, b->mem + i * SLOT + SLOT_RESP);
}

static uint64_t batch_value(Batch *b, unsigned int i)
{
    g_assert_cmpint(batch_status(b, i), ==, VIRTIO_TMEM_S_OK);
    return qtest_readq(b->t->qts, b->mem + i * SLOT + SLOT_RESP +
                                  offsetof(struct virtio_tmem_resp, value));
}

static void batch_assert_page(Batch *b, unsigned int i, uint64_t seed)
{
    uint8_t page[PAGE];

    g_assert_cmpint(batch_status(b, i), ==, VIRTIO_TMEM_S_OK);
    qtest_bufread(b->t->qts, b->mem + i * SLOT + SLOT_PAGE, page, PAGE);
    qtmem_assert_page(page, QTMEM_NORMAL, seed);
}

/* Cut @len bytes into @num descriptors, or a few less */
static unsigned int cut_evenly(QTMEMDesc *desc, unsigned int num,
                               uint64_t addr, size_t len, uint16_t flags)
{
    size_t part = DIV_ROUND_UP(len, num);
    unsigned int n = 0;

    for (; len; len -= MIN(part, len)) {
        desc[n++] = (QTMEMDesc) { addr, MIN(part, len), flags };
        addr += part;
    }
    return n;
}

/*
 * inv. 7: a request of as many descriptors as the ring has costs what its bytes
 * cost, and a little for each of them.
 */
static void longest_chain_is_served(void *obj, void *data,
                                    QGuestAllocator *alloc)
{
    g_autofree uint8_t *got = g_malloc(VIRTIO_TMEM_MAX_PAGES * PAGE);
    QTMEMDesc desc[QTMEM_RING_SIZE];
    g_autoptr(GByteArray) msg = NULL;
    size_t list_len, in_len = RESP + VIRTIO_TMEM_MAX_PAGES * PAGE;
    unsigned int i, num;
    uint8_t page[PAGE];
    gint64 begin;
    QTMEM t;

    qtmem_start(&t, obj, alloc, 0);
    msg = qtmem_msg(VIRTIO_TMEM_REQ_PUT, qtmem_make_pool(&t), 0,
                    VIRTIO_TMEM_MAX_PAGES);
    for (i = 0; i < VIRTIO_TMEM_MAX_PAGES; i++) {
        qtmem_msg_u64(msg, i);
    }
    list_len = msg->len;
    for (i = 0; i < VIRTIO_TMEM_MAX_PAGES; i++) {
        qtmem_fill_page(page, QTMEM_NORMAL, i);
        g_byte_array_append(msg, page, PAGE);
    }

    qtest_bufwrite(t.qts, t.out, msg->data, msg->len);
    num = cut_evenly(desc, QTMEM_RING_SIZE - 1, t.out, msg->len, 0);
    desc[num++] = (QTMEMDesc) { t.in, RESP, VRING_DESC_F_WRITE };
    begin = g_get_monotonic_time();
    i = qtmem_add(&t, desc, num);
    qtmem_kick(&t);
    g_assert_cmpint(qtmem_wait(&t, i), ==, RESP);
    g_test_message("put of %u descriptors: %" PRId64 " us", num,
                   g_get_monotonic_time() - begin);
    g_assert_cmpint(qtest_readb(t.qts, t.in), ==, VIRTIO_TMEM_S_OK);

    qtest_writeb(t.qts, t.out, VIRTIO_TMEM_REQ_GET);
    desc[0] = (QTMEMDesc) { t.out, list_len, 0 };
    num = 1 + cut_evenly(desc + 1, QTMEM_RING_SIZE - 1, t.in, in_len,
                         VRING_DESC_F_WRITE);
    begin = g_get_monotonic_time();
    i = qtmem_add(&t, desc, num);
    qtmem_kick(&t);
    g_assert_cmpint(qtmem_wait(&t, i), ==, in_len);
    g_test_message("get of %u descriptors: %" PRId64 " us", num,
                   g_get_monotonic_time() - begin);
    g_assert_cmpint(qtest_readb(t.qts, t.in), ==, VIRTIO_TMEM_S_OK);
    qtest_bufread(t.qts, t.in + RESP, got, VIRTIO_TMEM_MAX_PAGES * PAGE);
    for (i = 0; i < VIRTIO_TMEM_MAX_PAGES; i++) {
        qtmem_assert_page(got + i * PAGE, QTMEM_NORMAL, i);
    }
    qtmem_stop(&t);
}

/* Every request type, with pages enough to fill the ring and wrap around */
static void use_every_request(QTMEM *t)
{
    const uint64_t index[] = { 1, 2, 3, 4, 5 };
    uint8_t pages[5 * PAGE];
    int round, i;

    for (round = 0; round < 100; round++) {
        uint32_t cuts[] = { 16, 40, 1 + round, PAGE, 3000, PAGE, 0 };
        g_autoptr(GByteArray) get = NULL;
        uint32_t pool = qtmem_make_pool(t);
        QTMEMReply r;

        t->queue = round % QTMEM_NUM_QUEUES;
        for (i = 0; i < 5; i++) {
            qtmem_fill_page(pages + i * PAGE, (round + i) % 3, 10 * round + i);
        }
        r = qtmem_put_many(t, pool, 0, index, 5, pages);
        g_assert_cmpint(r.status, ==, VIRTIO_TMEM_S_OK);
        g_assert_cmpint(r.used_len, ==, RESP);

        get = qtmem_msg(VIRTIO_TMEM_REQ_GET, pool, 0, 5);
        for (i = 0; i < 5; i++) {
            qtmem_msg_u64(get, index[i]);
        }
        r = qtmem_send_cut(t, get, cuts, RESP + sizeof(pages), cuts);
        g_assert_cmpint(r.status, ==, VIRTIO_TMEM_S_OK);
        g_assert_cmpint(r.used_len, ==, RESP + sizeof(pages));
        g_assert_cmpmem(r.payload, sizeof(pages), pages, sizeof(pages));

        g_assert_cmpint(qtmem_flush(t, pool, 0, 2, 3).value, ==, 2);
        qtmem_assert_absent(t, pool, 0, 2);
        g_assert_cmpint(qtmem_pool_destroy(t, pool).value, ==, 3);
    }
    g_assert_cmpint(qtmem_counter(t, "pages"), ==, 0);
}

/* Invariant 1, with each ring feature and all of them */
static void split_rings_work(void *obj, void *data, QGuestAllocator *alloc)
{
    QTMEM t;

    qtmem_start(&t, obj, alloc, 0);
    use_every_request(&t);
    qtmem_stop(&t);
}

static void indirect_descriptors_work(void *obj, void *data,
                                      QGuestAllocator *alloc)
{
    QTMEM t;

    qtmem_start(&t, obj, alloc, INDIRECT);
    t.indirect = true;
    use_every_request(&t);
    qtmem_stop(&t);
}

static void packed_rings_work(void *obj, void *data, QGuestAllocator *alloc)
{
    QTMEM t;

    qtmem_start(&t, obj, alloc, PACKED);
    use_every_request(&t);
    qtmem_stop(&t);
}

static void packed_indirect_descriptors_work(void *obj, void *data,
                                             QGuestAllocator *alloc)
{
    QTMEM t;

    qtmem_start(&t, obj, alloc, PACKED | INDIRECT | EVENT_IDX);
    t.indirect = true;
    use_every_request(&t);
    qtmem_stop(&t);
}

/* Requests and notifications from one point of time on */
typedef struct Count {
    uint64_t requests;
    uint64_t notifications;
} Count;

static Count count_from_here(QTMEM *t)
{
    return (Count) {
        qtmem_counter(t, "requests"), qtmem_counter(t, "notifications"),
    };
}

static void assert_counted(QTMEM *t, Count from, unsigned int requests,
                           unsigned int notifications)
{
    Count now = count_from_here(t);

    g_assert_cmpint(now.requests - from.requests, ==, requests);
    g_assert_cmpint(now.notifications - from.notifications, ==, notifications);
}

/* Batching is what the driver lives by: one exit, many requests */
static void one_notification_serves_many_requests(void *obj, void *data,
                                                  QGuestAllocator *alloc)
{
    Count from;
    Batch b;
    QTMEM t;
    int i;

    qtmem_start(&t, obj, alloc, 0);
    batch_start(&b, &t, qtmem_make_pool(&t));
    for (i = 0; i < BUDGET; i++) {
        batch_add(&b, VIRTIO_TMEM_REQ_PUT, i, i);
    }
    from = count_from_here(&t);
    qtmem_kick(&t);
    batch_wait(&b);
    assert_counted(&t, from, BUDGET, 1);
    for (i = 0; i < BUDGET; i++) {
        g_assert_cmpint(batch_status(&b, i), ==, VIRTIO_TMEM_S_OK);
        qtmem_assert_holds(&t, b.pool, 0, i, QTMEM_NORMAL, i);
    }
    batch_end(&b);
    qtmem_stop(&t);
}

/*
 * A guest cannot keep the main loop from running, nor does it wait for ever:
 * what exceeds the budget is served without another notification.
 */
static void more_requests_than_the_budget_are_all_served(void *obj, void *data,
    QGuestAllocator *alloc)
{
    uint64_t features = *(uint64_t *)data;
    Count from;
    Batch b;
    QTMEM t;

    qtmem_start(&t, obj, alloc, features);
    batch_start(&b, &t, qtmem_make_pool(&t));
    batch_add_puts(&b);
    from = count_from_here(&t);
    qtmem_kick(&t);
    batch_wait(&b);
    assert_counted(&t, from, MAX_BATCH, 1);
    batch_assert_held(&b);
    batch_end(&b);
    qtmem_stop(&t);
}

/* Invariant 4, over more requests than are served in one go */
static void requests_take_effect_in_ring_order(void *obj, void *data,
                                               QGuestAllocator *alloc)
{
    Batch b;
    QTMEM t;
    int i;

    qtmem_start(&t, obj, alloc, 0);
    batch_start(&b, &t, qtmem_make_pool(&t));
    for (i = 0; i < 30; i++) {
        batch_add(&b, VIRTIO_TMEM_REQ_GET, 5, 0);
        batch_add(&b, VIRTIO_TMEM_REQ_PUT, 5, 2 * i);
        batch_add(&b, VIRTIO_TMEM_REQ_PUT, 5, 2 * i + 1);
        batch_add(&b, VIRTIO_TMEM_REQ_GET, 5, 0);
        batch_add(&b, VIRTIO_TMEM_REQ_FLUSH, 5, 5);
    }
    qtmem_kick(&t);
    batch_wait(&b);
    for (i = 0; i < 30; i++) {
        g_assert_cmpint(batch_status(&b, 5 * i), ==, VIRTIO_TMEM_S_ABSENT);
        g_assert_cmpint(batch_status(&b, 5 * i + 1), ==, VIRTIO_TMEM_S_OK);
        g_assert_cmpint(batch_status(&b, 5 * i + 2), ==, VIRTIO_TMEM_S_OK);
        batch_assert_page(&b, 5 * i + 3, 2 * i + 1);
        g_assert_cmpint(batch_status(&b, 5 * i + 4), ==, VIRTIO_TMEM_S_OK);
    }
    batch_end(&b);
    qtmem_stop(&t);
}

/*
 * Invariant 1: what is in a ring when the VM stops is served when it goes on,
 * without another notification.
 */
static void stopped_vm_goes_on_where_it_was(void *obj, void *data,
                                            QGuestAllocator *alloc)
{
    Count from;
    Batch b;
    QTMEM t;

    qtmem_start(&t, obj, alloc, 0);
    batch_start(&b, &t, qtmem_make_pool(&t));
    batch_add_puts(&b);
    from = count_from_here(&t);
    qtest_qmp_assert_success(t.qts, "{ 'execute': 'stop' }");
    qtmem_kick(&t);
    assert_counted(&t, from, 0, 1);
    g_assert_false(qtmem_poll(&t));
    qtest_qmp_assert_success(t.qts, "{ 'execute': 'cont' }");
    batch_wait(&b);
    assert_counted(&t, from, MAX_BATCH, 1);
    batch_assert_held(&b);
    batch_end(&b);
    qtmem_stop(&t);
}

/* A driver may fill its rings early, but nothing is served before DRIVER_OK */
static void requests_wait_for_driver_ok(void *obj, void *data,
                                        QGuestAllocator *alloc)
{
    Count from;
    Batch b;
    QTMEM t;

    qtmem_start(&t, obj, alloc, 0);
    t.no_driver_ok = true;
    qtmem_restart(&t);
    batch_start(&b, &t, 0);
    batch_add(&b, VIRTIO_TMEM_REQ_FLUSH, 0, 0);
    from = count_from_here(&t);
    qtmem_kick(&t);
    assert_counted(&t, from, 0, 1);
    g_assert_false(qtmem_poll(&t));
    qvirtio_set_driver_ok(t.vdev);
    batch_wait(&b);
    /* There is no such pool */
    g_assert_cmpint(batch_status(&b, 0), ==, VIRTIO_TMEM_S_INVALID);
    assert_counted(&t, from, 1, 1);
    batch_end(&b);
    qtmem_stop(&t);
}

/* Invariant 8: a reset does not leave work behind that fills the store again */
static void reset_forgets_what_was_in_the_ring(void *obj, void *data,
                                               QGuestAllocator *alloc)
{
    Count from;
    Batch b;
    QTMEM t;
    int i;

    qtmem_start(&t, obj, alloc, 0);
    batch_start(&b, &t, qtmem_make_pool(&t));
    batch_add_puts(&b);
    qtest_qmp_assert_success(t.qts, "{ 'execute': 'stop' }");
    qtmem_kick(&t);
    qvirtio_reset(t.vdev);
    g_assert_cmpint(qtmem_counter(&t, "pages"), ==, 0);
    from = count_from_here(&t);
    qtest_qmp_assert_success(t.qts, "{ 'execute': 'cont' }");
    qtmem_restart(&t);
    g_assert_cmpint(qtmem_counter(&t, "pages"), ==, 0);
    b.pool = qtmem_make_pool(&t);
    assert_counted(&t, from, 1, 1);
    for (i = 0; i < MAX_BATCH; i += 20) {
        qtmem_assert_absent(&t, b.pool, 0, i);
    }
    batch_end(&b);
    qtmem_stop(&t);
}

/* Whether the queue has raised an interrupt since the last call */
static bool interrupted(QTMEM *t)
{
    return t->vdev->bus->get_queue_isr_status(t->vdev, t->queues[t->queue].vq);
}

static uint16_t read16(QTMEM *t, uint64_t addr)
{
    uint16_t le;

    qtest_memread(t->qts, addr, &le, sizeof(le));
    return le16_to_cpu(le);
}

static void write16(QTMEM *t, uint64_t addr, uint16_t value)
{
    uint16_t le = cpu_to_le16(value);

    qtest_memwrite(t->qts, addr, &le, sizeof(le));
}

/* A driver that polls gets no interrupt, and one that asks for it gets one */
static void interrupts_come_only_when_asked_for(void *obj, void *data,
                                                QGuestAllocator *alloc)
{
    uint64_t flags;
    Batch b;
    QTMEM t;
    int i;

    qtmem_start(&t, obj, alloc, 0);
    batch_start(&b, &t, qtmem_make_pool(&t));
    g_assert_true(interrupted(&t));
    g_assert_false(interrupted(&t));
    flags = t.queues[0].vq->avail + offsetof(struct vring_avail, flags);
    write16(&t, flags, VRING_AVAIL_F_NO_INTERRUPT);
    for (i = 0; i < 10; i++) {
        qtmem_put_ok(&t, b.pool, 0, i, QTMEM_NORMAL, i);
    }
    g_assert_false(interrupted(&t));
    write16(&t, flags, 0);
    for (i = 0; i < 10; i++) {
        batch_add(&b, VIRTIO_TMEM_REQ_PUT, i, i);
    }
    qtmem_kick(&t);
    batch_wait(&b);
    g_assert_true(interrupted(&t));
    g_assert_false(interrupted(&t));

    /* The device is idle: it must want to hear of the next request */
    g_assert_cmpint(read16(&t, t.queues[0].vq->used +
                           offsetof(struct vring_used, flags)) &
                    VRING_USED_F_NO_NOTIFY, ==, 0);
    batch_end(&b);
    qtmem_stop(&t);
}

/* The same with EVENT_IDX: nothing before the index that the driver names */
static void event_index_is_respected(void *obj, void *data,
                                     QGuestAllocator *alloc)
{
    uint64_t avail_event, used_event;
    uint32_t pool;
    QTMEM t;
    int i;

    qtmem_start(&t, obj, alloc, EVENT_IDX);
    pool = qtmem_make_pool(&t);
    interrupted(&t);
    used_event = t.queues[0].vq->avail +
                 offsetof(struct vring_avail, ring[QTMEM_RING_SIZE]);
    avail_event = t.queues[0].vq->used +
                  offsetof(struct vring_used, ring[QTMEM_RING_SIZE]);
    write16(&t, used_event, t.queues[0].used_idx + 5);
    for (i = 0; i < 5; i++) {
        qtmem_put_ok(&t, pool, 0, i, QTMEM_NORMAL, i);
        g_assert_false(interrupted(&t));
        /* Idle, so the next request is the one to notify of */
        g_assert_cmpint(read16(&t, avail_event), ==, t.queues[0].avail_idx);
    }
    qtmem_put_ok(&t, pool, 0, i, QTMEM_NORMAL, i);
    g_assert_true(interrupted(&t));
    qtmem_put_ok(&t, pool, 0, i, QTMEM_NORMAL, i);
    g_assert_false(interrupted(&t));
    qtmem_stop(&t);
}

/* Pages in the store; in the ring a flush of more than go at once */
static void begin_long_flush(Batch *b, QTMEM *t, void *obj,
                             QGuestAllocator *alloc)
{
    qtmem_start(t, obj, alloc, 0);
    batch_start(b, t, qtmem_make_pool(t));
    g_assert_cmpint(qtmem_put_range(t, b->pool, 0, 9000, QTMEM_SAME_FILLED),
                    ==, 9000);
    batch_add(b, VIRTIO_TMEM_REQ_FLUSH, 0, 8499);
}

/* inv. 4: what follows a request that is served in portions comes after it */
static void long_flush_keeps_ring_order(void *obj, void *data,
                                        QGuestAllocator *alloc)
{
    Batch b;
    QTMEM t;

    begin_long_flush(&b, &t, obj, alloc);
    batch_add(&b, VIRTIO_TMEM_REQ_GET, 8499, 0);
    batch_add(&b, VIRTIO_TMEM_REQ_PUT, 8499, 3);
    qtmem_kick(&t);
    batch_wait(&b);
    g_assert_cmpint(batch_value(&b, 0), ==, 8500);
    g_assert_cmpint(batch_status(&b, 1), ==, VIRTIO_TMEM_S_ABSENT);
    qtmem_assert_holds(&t, b.pool, 0, 8499, QTMEM_NORMAL, 3);
    qtmem_assert_holds(&t, b.pool, 0, 8500, QTMEM_SAME_FILLED, 8500);
    g_assert_cmpint(qtmem_counter(&t, "pages"), ==, 501);
    g_assert_cmpint(qtmem_put_range(&t, b.pool, 0, 8000, QTMEM_SAME_FILLED),
                    ==, 8000);
    g_assert_cmpint(qtmem_pool_destroy(&t, b.pool).value, ==, 8501);
    g_assert_cmpint(qtmem_counter(&t, "pages"), ==, 0);
    batch_end(&b);
    qtmem_stop(&t);
}

/* What the VM stops for finds no request half done: none is migrated */
static void stop_ends_a_long_flush(void *obj, void *data,
                                   QGuestAllocator *alloc)
{
    uint64_t requests;
    Batch b;
    QTMEM t;

    begin_long_flush(&b, &t, obj, alloc);
    requests = qtmem_counter(&t, "requests");
    qtmem_kick(&t);
    qtmem_wait_counter_above(&t, "requests", requests);
    qtest_qmp_assert_success(t.qts, "{ 'execute': 'stop' }");
    g_assert_cmpint(qtmem_counter(&t, "pages"), ==, 500);
    qtest_qmp_assert_success(t.qts, "{ 'execute': 'cont' }");
    batch_wait(&b);
    g_assert_cmpint(batch_value(&b, 0), ==, 8500);
    batch_end(&b);
    qtmem_stop(&t);
}

/* Invariant 8: nor does it go on with what the next driver puts */
static void reset_ends_a_long_flush(void *obj, void *data,
                                    QGuestAllocator *alloc)
{
    Batch b;
    QTMEM t;

    begin_long_flush(&b, &t, obj, alloc);
    qtmem_kick(&t);
    qtmem_restart(&t);
    g_assert_cmpint(qtmem_counter(&t, "pages"), ==, 0);
    b.pool = qtmem_make_pool(&t);
    g_assert_cmpint(qtmem_put_range(&t, b.pool, 0, 9000, QTMEM_SAME_FILLED),
                    ==, 9000);
    g_assert_cmpint(qtmem_counter(&t, "pages"), ==, 9000);
    g_assert_cmpint(qtmem_pool_destroy(&t, b.pool).value, ==, 9000);
    batch_end(&b);
    qtmem_stop(&t);
}

/* Another thread takes the notification, the result is the same */
static void ioeventfd_works_too(void *obj, void *data, QGuestAllocator *alloc)
{
    QTMEM t;

    qtmem_start(&t, obj, alloc, EVENT_IDX | INDIRECT);
    use_every_request(&t);
    qtmem_stop(&t);
}

static void *add_iothread(GString *cmd_line, void *arg)
{
    g_string_append(cmd_line, " -object iothread,id=io0 ");
    return arg;
}

static void register_virtio_tmem_ring_test(void)
{
    static uint64_t none, event_idx = EVENT_IDX, all = PACKED | EVENT_IDX;
    static uint64_t in_order = IN_ORDER, packed_in_order = PACKED | IN_ORDER;
    QOSGraphTestOptions packed = {
        .edge.extra_device_opts = "packed=on",
    };
    QOSGraphTestOptions ioeventfd = {
        .edge.extra_device_opts = "ioeventfd=on",
    };
    QOSGraphTestOptions iothread = {
        .before = add_iothread,
        .edge.extra_device_opts = "ioeventfd=on,iothread=io0",
    };

#define ADD(fn, opts) qos_add_test(#fn, "virtio-tmem", fn, opts)
    ADD(split_rings_work, NULL);
    ADD(indirect_descriptors_work, NULL);
    ADD(packed_rings_work, &packed);
    ADD(packed_indirect_descriptors_work, &packed);
    ADD(longest_chain_is_served, NULL);
    ADD(one_notification_serves_many_requests, NULL);
    ADD(requests_take_effect_in_ring_order, NULL);
    ADD(stopped_vm_goes_on_where_it_was, NULL);
    ADD(requests_wait_for_driver_ok, NULL);
    ADD(reset_forgets_what_was_in_the_ring, NULL);
    ADD(interrupts_come_only_when_asked_for, NULL);
    ADD(event_index_is_respected, NULL);
    ADD(ioeventfd_works_too, &ioeventfd);
    qos_add_test("iothread_works_too", "virtio-tmem", ioeventfd_works_too,
                 &iothread);
#undef ADD

#define ADD_LONG(fn) do {                                                   \
        qos_add_test(#fn, "virtio-tmem", fn, NULL);                         \
        qos_add_test(#fn "_ioeventfd", "virtio-tmem", fn, &ioeventfd);      \
        qos_add_test(#fn "_iothread", "virtio-tmem", fn, &iothread);        \
    } while (0)
    ADD_LONG(long_flush_keeps_ring_order);
    ADD_LONG(stop_ends_a_long_flush);
    ADD_LONG(reset_ends_a_long_flush);
#undef ADD_LONG

#define ADD_BUDGET(ring, features, device_opts)                             \
    qos_add_test("more_requests_than_the_budget_are_all_served_" ring,      \
                 "virtio-tmem", more_requests_than_the_budget_are_all_served, \
                 &(QOSGraphTestOptions) {                                   \
                     .arg = &features,                                      \
                     .edge.extra_device_opts = device_opts,                 \
                 })
    ADD_BUDGET("split", none, NULL);
    ADD_BUDGET("event_idx", event_idx, NULL);
    ADD_BUDGET("packed", all, "packed=on");
    ADD_BUDGET("in_order", in_order, "in_order=on");
    ADD_BUDGET("packed_in_order", packed_in_order, "packed=on,in_order=on");
#undef ADD_BUDGET
}

libqos_init(register_virtio_tmem_ring_test);
