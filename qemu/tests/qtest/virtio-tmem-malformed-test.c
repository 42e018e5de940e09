/*
 * QTest of virtio-tmem: what malformed requests do not do
 *
 * All of it guards invariant 7 of the design: the device trusts nothing from
 * the guest. A bad request gets an INVALID status or marks the device broken,
 * never a crash, and never changes what the store holds.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "libqtest-single.h"
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "libqos/qgraph.h"
#include "libqos/virtio-tmem.h"
#include "standard-headers/linux/virtio_pci.h"
#include "standard-headers/linux/virtio_ring.h"

#define RESP sizeof(struct virtio_tmem_resp)
#define PAGE QTMEM_PAGE_SIZE

/* The page that must survive everything */
#define CANARY_OBJECT 7
#define CANARY_INDEX 70

/* Neither RAM nor a device, on any machine of the size that tests run */
#define NOWHERE (1ull << 38)

#define INDIRECT (1ull << VIRTIO_RING_F_INDIRECT_DESC)

/* A driver, a pool with the canary in it, and what query-tmem said last */
typedef struct Fixture {
    QTMEM t;
    uint32_t pool;
    QDict *before;
} Fixture;

static void look(Fixture *f)
{
    qobject_unref(f->before);
    f->before = qtmem_query(&f->t);
}

static void populate(Fixture *f)
{
    f->pool = qtmem_make_pool(&f->t);
    qtmem_put_ok(&f->t, f->pool, CANARY_OBJECT, CANARY_INDEX, QTMEM_NORMAL, 1);
    look(f);
}

static void set_up(Fixture *f, void *obj, QGuestAllocator *alloc,
                   uint64_t ring_features)
{
    *f = (Fixture) { 0 };
    qtmem_start(&f->t, obj, alloc, ring_features);
    populate(f);
}

static void tear_down(Fixture *f)
{
    qtmem_stop(&f->t);
    qobject_unref(f->before);
}

/* One request was counted as invalid, and nothing else happened */
static void assert_unharmed(Fixture *f)
{
    static const char *const same[] = {
        "limit", "bytes-used", "bytes-stored", "pages", "same-filled-pages",
        "raw-pages", "puts", "rejected-puts", "gets", "misses", "flushes",
    };
    static const char *const one_more[] = {
        "requests", "invalid-requests", "notifications",
    };
    g_autoptr(QDict) after = qtmem_query(&f->t);
    int i;

    for (i = 0; i < ARRAY_SIZE(same); i++) {
        g_assert_cmpint(qdict_get_int(after, same[i]), ==,
                        qdict_get_int(f->before, same[i]));
    }
    for (i = 0; i < ARRAY_SIZE(one_more); i++) {
        g_assert_cmpint(qdict_get_int(after, one_more[i]), ==,
                        qdict_get_int(f->before, one_more[i]) + 1);
    }
    g_assert_true(qobject_is_equal(
        QOBJECT(qdict_get_qlist(after, "pools")),
        QOBJECT(qdict_get_qlist(f->before, "pools"))));
}

static void assert_works(Fixture *f)
{
    qtmem_assert_holds(&f->t, f->pool, CANARY_OBJECT, CANARY_INDEX,
                       QTMEM_NORMAL, 1);
    qtmem_put_ok(&f->t, f->pool, 0, 0, QTMEM_RANDOM, 2);
    qtmem_assert_holds(&f->t, f->pool, 0, 0, QTMEM_RANDOM, 2);
    g_assert_cmpint(qtmem_flush(&f->t, f->pool, 0, 0, 0).value, ==, 1);
    look(f);
}

/* The claim of most tests here */
static void assert_invalid(Fixture *f, const GByteArray *msg, size_t in_len)
{
    QTMEMReply r = qtmem_send(&f->t, msg, in_len);

    g_assert_cmpint(r.status, ==, VIRTIO_TMEM_S_INVALID);
    g_assert_cmphex(r.done, ==, 0);
    g_assert_cmphex(r.failed, ==, 0);
    g_assert_cmpint(r.value, ==, 0);
    g_assert_cmpint(r.used_len, ==, RESP);
    assert_unharmed(f);
    assert_works(f);
}

/* The device gave up; it ignores the driver until a reset, which mends it */
static void assert_broken_until_reset(Fixture *f)
{
    g_assert_true(qtmem_needs_reset(&f->t));
    g_assert_false(qtmem_poll(&f->t));
    look(f);
    qtmem_kick(&f->t);
    g_assert_cmpint(qtmem_counter(&f->t, "requests"), ==,
                    qdict_get_int(f->before, "requests"));

    qtmem_restart(&f->t);
    g_assert_false(qtmem_needs_reset(&f->t));
    g_assert_cmpint(qtmem_counter(&f->t, "pages"), ==, 0);
    populate(f);
    assert_works(f);
}

/* A request to change one thing in: @pages pages, put or got */
static GByteArray *put_msg(Fixture *f, uint16_t count, size_t payload)
{
    GByteArray *msg = qtmem_msg(VIRTIO_TMEM_REQ_PUT, f->pool, CANARY_OBJECT,
                                count);
    g_autofree uint8_t *pages = g_malloc0(payload);
    int i;

    for (i = 0; i < count; i++) {
        qtmem_msg_u64(msg, CANARY_INDEX + i);
    }
    return g_byte_array_append(msg, pages, payload);
}

static GByteArray *get_msg(Fixture *f, uint16_t count, int list)
{
    GByteArray *msg = qtmem_msg(VIRTIO_TMEM_REQ_GET, f->pool, CANARY_OBJECT,
                                count);
    int i;

    for (i = 0; i < list; i++) {
        qtmem_msg_u64(msg, CANARY_INDEX + i);
    }
    return msg;
}

static GByteArray *flush_msg(Fixture *f, uint16_t count, int list)
{
    GByteArray *msg = qtmem_msg(VIRTIO_TMEM_REQ_FLUSH, f->pool, CANARY_OBJECT,
                                count);
    int i;

    for (i = 0; i < list; i++) {
        qtmem_msg_u64(msg, 0);
        qtmem_msg_u64(msg, UINT64_MAX);
    }
    return msg;
}

static struct virtio_tmem_req *header(GByteArray *msg)
{
    return (struct virtio_tmem_req *)msg->data;
}

static void short_header_is_invalid(void *obj, void *data,
                                    QGuestAllocator *alloc)
{
    static const int lengths[] = { 0, 1, 4, 8, 15 };
    Fixture f;
    int i;

    set_up(&f, obj, alloc, 0);
    for (i = 0; i < ARRAY_SIZE(lengths); i++) {
        g_autoptr(GByteArray) msg = qtmem_msg(VIRTIO_TMEM_REQ_POOL_CREATE,
                                              0, 0, 0);

        g_byte_array_set_size(msg, lengths[i]);
        assert_invalid(&f, msg, RESP);
    }
    tear_down(&f);
}

static void unknown_type_is_invalid(void *obj, void *data,
                                    QGuestAllocator *alloc)
{
    static const uint8_t types[] = {
        VIRTIO_TMEM_REQ_STATS + 1, 127, 128, 255,
    };
    Fixture f;
    int i;

    set_up(&f, obj, alloc, 0);
    for (i = 0; i < ARRAY_SIZE(types); i++) {
        g_autoptr(GByteArray) msg = qtmem_msg(types[i], 0, 0, 0);
        g_autoptr(GByteArray) put = put_msg(&f, 1, PAGE);

        assert_invalid(&f, msg, RESP);
        header(put)->type = types[i];
        assert_invalid(&f, put, RESP + PAGE);
    }
    tear_down(&f);
}

/* Defined flags are those of features that are not offered */
static void any_flag_is_invalid(void *obj, void *data, QGuestAllocator *alloc)
{
    Fixture f;
    int bit;

    set_up(&f, obj, alloc, 0);
    for (bit = 0; bit < 8; bit++) {
        g_autoptr(GByteArray) create = qtmem_msg(VIRTIO_TMEM_REQ_POOL_CREATE,
                                                 0, 0, 0);
        g_autoptr(GByteArray) destroy = qtmem_msg(VIRTIO_TMEM_REQ_POOL_DESTROY,
                                                  f.pool, 0, 0);
        g_autoptr(GByteArray) put = put_msg(&f, 1, PAGE);
        g_autoptr(GByteArray) get = get_msg(&f, 1, 1);
        g_autoptr(GByteArray) flush = flush_msg(&f, 1, 1);
        g_autoptr(GByteArray) stats = qtmem_msg(VIRTIO_TMEM_REQ_STATS, 0, 0, 0);

        header(create)->flags = 1 << bit;
        header(destroy)->flags = 1 << bit;
        header(put)->flags = 1 << bit;
        header(get)->flags = 1 << bit;
        header(flush)->flags = 1 << bit;
        header(stats)->flags = 1 << bit;
        if (1 << bit != VIRTIO_TMEM_FLAG_EPHEMERAL) {
            assert_invalid(&f, create, RESP);
        }
        assert_invalid(&f, destroy, RESP);
        assert_invalid(&f, put, RESP);
        if (1 << bit != VIRTIO_TMEM_FLAG_EXCLUSIVE) {
            assert_invalid(&f, get, RESP + PAGE);
        }
        assert_invalid(&f, flush, RESP);
        assert_invalid(&f, stats, RESP + sizeof(struct virtio_tmem_stats));
    }
    tear_down(&f);
}

static void unknown_pool_is_invalid(void *obj, void *data,
                                    QGuestAllocator *alloc)
{
    Fixture f;
    int i;

    set_up(&f, obj, alloc, 0);
    for (i = 0; i < 5; i++) {
        const uint32_t pools[] = {
            0, f.pool + 1, f.pool + 64, f.pool | 1u << 31, UINT32_MAX,
        };
        g_autoptr(GByteArray) destroy = qtmem_msg(VIRTIO_TMEM_REQ_POOL_DESTROY,
                                                  pools[i], 0, 0);
        g_autoptr(GByteArray) put = put_msg(&f, 1, PAGE);
        g_autoptr(GByteArray) get = get_msg(&f, 1, 1);
        g_autoptr(GByteArray) flush = flush_msg(&f, 1, 1);

        header(put)->pool = cpu_to_le32(pools[i]);
        header(get)->pool = cpu_to_le32(pools[i]);
        header(flush)->pool = cpu_to_le32(pools[i]);
        assert_invalid(&f, destroy, RESP);
        assert_invalid(&f, put, RESP);
        assert_invalid(&f, get, RESP + PAGE);
        assert_invalid(&f, flush, RESP);
    }
    tear_down(&f);
}

/* Counts out of range, with as much list and payload as they ask for */
static void count_out_of_range_is_invalid(void *obj, void *data,
                                          QGuestAllocator *alloc)
{
    static const uint16_t counts[] = { 0, 33, 34, 57 };
    Fixture f;
    int i;

    set_up(&f, obj, alloc, 0);
    for (i = 0; i < ARRAY_SIZE(counts); i++) {
        g_autoptr(GByteArray) put = put_msg(&f, counts[i], counts[i] * PAGE);
        g_autoptr(GByteArray) get = get_msg(&f, counts[i], counts[i]);

        assert_invalid(&f, put, RESP);
        assert_invalid(&f, get, RESP + counts[i] * PAGE);
    }
    for (i = 0; i < 3; i++) {
        static const uint16_t ranges[] = { 0, 257, 4096 };
        g_autoptr(GByteArray) flush = flush_msg(&f, ranges[i], ranges[i]);

        assert_invalid(&f, flush, RESP);
    }
    tear_down(&f);
}

/* Counts that the rest of the request belies, also where a sum may overflow */
static void count_that_lies_is_invalid(void *obj, void *data,
                                       QGuestAllocator *alloc)
{
    static const uint16_t counts[] = {
        0, 2, 32, 33, 256, 257, 4096, 0x7fff, 0x8000, 0xffff,
    };
    Fixture f;
    int i;

    set_up(&f, obj, alloc, 0);
    for (i = 0; i < ARRAY_SIZE(counts); i++) {
        g_autoptr(GByteArray) put = put_msg(&f, 1, PAGE);
        g_autoptr(GByteArray) get = get_msg(&f, 1, 1);
        g_autoptr(GByteArray) flush = flush_msg(&f, 1, 1);

        header(put)->count = cpu_to_le16(counts[i]);
        header(get)->count = cpu_to_le16(counts[i]);
        header(flush)->count = cpu_to_le16(counts[i]);
        assert_invalid(&f, put, RESP);
        assert_invalid(&f, get, RESP + PAGE);
        assert_invalid(&f, flush, RESP);
    }
    tear_down(&f);
}

/* One byte, one entry, one page too little or too much */
static void list_of_another_length_is_invalid(void *obj, void *data,
                                              QGuestAllocator *alloc)
{
    static const int wrong[] = { -16, -8, -1, 1, 8, 16, PAGE };
    Fixture f;
    int i;

    set_up(&f, obj, alloc, 0);
    for (i = 0; i < ARRAY_SIZE(wrong); i++) {
        g_autoptr(GByteArray) get = get_msg(&f, 2, 2);
        g_autoptr(GByteArray) flush = flush_msg(&f, 2, 2);

        g_byte_array_set_size(get, get->len + wrong[i]);
        g_byte_array_set_size(flush, flush->len + wrong[i]);
        assert_invalid(&f, get, RESP + 2 * PAGE);
        assert_invalid(&f, flush, RESP);
    }
    tear_down(&f);
}

static void payload_of_another_length_is_invalid(void *obj, void *data,
                                                 QGuestAllocator *alloc)
{
    static const size_t payload[] = {
        0, 1, PAGE - 1, PAGE, 2 * PAGE - 8, 2 * PAGE - 1, 2 * PAGE + 1,
        2 * PAGE + 8, 3 * PAGE,
    };
    Fixture f;
    int i;

    set_up(&f, obj, alloc, 0);
    for (i = 0; i < ARRAY_SIZE(payload); i++) {
        g_autoptr(GByteArray) put = put_msg(&f, 2, payload[i]);

        assert_invalid(&f, put, RESP);
    }
    tear_down(&f);
}

/* Requests that have neither list nor payload take none */
static void request_with_a_tail_is_invalid(void *obj, void *data,
                                           QGuestAllocator *alloc)
{
    static const uint8_t types[] = {
        VIRTIO_TMEM_REQ_POOL_CREATE, VIRTIO_TMEM_REQ_POOL_DESTROY,
        VIRTIO_TMEM_REQ_STATS,
    };
    static const int tails[] = { 1, 8, PAGE };
    Fixture f;
    int i, j;

    set_up(&f, obj, alloc, 0);
    for (i = 0; i < ARRAY_SIZE(types); i++) {
        for (j = 0; j < ARRAY_SIZE(tails); j++) {
            uint32_t pool = types[i] == VIRTIO_TMEM_REQ_POOL_DESTROY ?
                            f.pool : 0;
            g_autoptr(GByteArray) msg = qtmem_msg(types[i], pool, 0, 0);

            g_byte_array_set_size(msg, msg->len + tails[j]);
            assert_invalid(&f, msg, RESP + PAGE);
        }
    }
    tear_down(&f);
}

/* Fields that a request type has no use for are 0 */
static void unused_field_that_is_set_is_invalid(void *obj, void *data,
                                                QGuestAllocator *alloc)
{
    Fixture f;
    int i;

    set_up(&f, obj, alloc, 0);
    for (i = 0; i < 3; i++) {
        uint16_t count = i == 0;
        uint64_t object = i == 1 ? 1ull << 63 : 0;
        uint32_t pool = i == 2 ? f.pool : 0;
        g_autoptr(GByteArray) create = qtmem_msg(VIRTIO_TMEM_REQ_POOL_CREATE,
                                                 pool, object, count);
        g_autoptr(GByteArray) stats = qtmem_msg(VIRTIO_TMEM_REQ_STATS,
                                                pool, object, count);
        g_autoptr(GByteArray) destroy = qtmem_msg(VIRTIO_TMEM_REQ_POOL_DESTROY,
                                                  f.pool, object, count);

        assert_invalid(&f, create, RESP);
        assert_invalid(&f, stats, RESP + sizeof(struct virtio_tmem_stats));
        if (count || object) {
            assert_invalid(&f, destroy, RESP);
        }
    }
    tear_down(&f);
}

/* No room for what the device would have to write: it writes a response only */
static void no_room_for_the_payload_is_invalid(void *obj, void *data,
                                               QGuestAllocator *alloc)
{
    static const size_t room[] = { 0, 1, PAGE, 2 * PAGE - 1 };
    g_autoptr(GByteArray) stats = qtmem_msg(VIRTIO_TMEM_REQ_STATS, 0, 0, 0);
    g_autoptr(GByteArray) get = NULL;
    Fixture f;
    int i;

    set_up(&f, obj, alloc, 0);
    get = get_msg(&f, 2, 2);
    for (i = 0; i < ARRAY_SIZE(room); i++) {
        assert_invalid(&f, get, RESP + room[i]);
    }
    assert_invalid(&f, stats, RESP);
    assert_invalid(&f, stats, RESP + sizeof(struct virtio_tmem_stats) - 1);
    tear_down(&f);
}

/* More room than needed is allowed, and stays as it was */
static void more_room_than_needed_is_good(void *obj, void *data,
                                          QGuestAllocator *alloc)
{
    static const size_t more[] = { 1, 8, PAGE, 40 * PAGE };
    Fixture f;
    int i;

    set_up(&f, obj, alloc, 0);
    for (i = 0; i < ARRAY_SIZE(more); i++) {
        g_autoptr(GByteArray) create = qtmem_msg(VIRTIO_TMEM_REQ_POOL_CREATE,
                                                 0, 0, 0);
        g_autoptr(GByteArray) stats = qtmem_msg(VIRTIO_TMEM_REQ_STATS, 0, 0, 0);
        g_autoptr(GByteArray) get = get_msg(&f, 1, 1);
        g_autoptr(GByteArray) put = put_msg(&f, 1, PAGE);
        QTMEMReply r;

        r = qtmem_send(&f.t, create, RESP + more[i]);
        g_assert_cmpint(r.status, ==, VIRTIO_TMEM_S_OK);
        g_assert_cmpint(r.used_len, ==, RESP);
        r = qtmem_send(&f.t, put, RESP + more[i]);
        g_assert_cmpint(r.status, ==, VIRTIO_TMEM_S_OK);
        g_assert_cmpint(r.used_len, ==, RESP);
        r = qtmem_send(&f.t, get, RESP + PAGE + more[i]);
        g_assert_cmpint(r.status, ==, VIRTIO_TMEM_S_OK);
        g_assert_cmpint(r.used_len, ==, RESP + PAGE);
        r = qtmem_send(&f.t, stats,
                       RESP + sizeof(struct virtio_tmem_stats) + more[i]);
        g_assert_cmpint(r.status, ==, VIRTIO_TMEM_S_OK);
        g_assert_cmpint(r.used_len, ==,
                        RESP + sizeof(struct virtio_tmem_stats));
    }
    tear_down(&f);
}

/* All ranges are checked before the first is flushed */
static void backward_range_is_invalid(void *obj, void *data,
                                      QGuestAllocator *alloc)
{
    static const uint64_t ranges[][4] = {
        { 1, 0, 0, UINT64_MAX },
        { 0, UINT64_MAX, 1, 0 },
        { 0, UINT64_MAX, UINT64_MAX, UINT64_MAX - 1 },
        { 0, UINT64_MAX, 1ull << 63, 0 },
    };
    Fixture f;
    int i, j;

    set_up(&f, obj, alloc, 0);
    for (i = 0; i < ARRAY_SIZE(ranges); i++) {
        g_autoptr(GByteArray) flush = flush_msg(&f, 2, 0);

        for (j = 0; j < 4; j++) {
            qtmem_msg_u64(flush, ranges[i][j]);
        }
        assert_invalid(&f, flush, RESP);
    }
    tear_down(&f);
}

/* There is nowhere to say INVALID, and a driver must not wait for ever */
static void no_room_for_a_response_breaks_the_device(void *obj, void *data,
    QGuestAllocator *alloc)
{
    static const size_t lengths[] = { 0, 1, 8, RESP - 1 };
    Fixture f;
    int i;

    set_up(&f, obj, alloc, 0);
    for (i = 0; i < ARRAY_SIZE(lengths); i++) {
        g_autoptr(GByteArray) flush = flush_msg(&f, 1, 1);
        g_autoptr(QDict) before = qobject_ref(f.before);

        qtmem_fault(&f.t, flush, lengths[i]);
        /* The flush was not done either */
        g_assert_cmpint(qtmem_counter(&f.t, "flushes"), ==,
                        qdict_get_int(before, "flushes"));
        g_assert_cmpint(qtmem_counter(&f.t, "pages"), ==, 1);
        assert_broken_until_reset(&f);
    }
    tear_down(&f);
}

/* A split ring that is not what it should be */
static void ring_error_breaks_the_device(void *obj, void *data,
                                         QGuestAllocator *alloc)
{
    enum {
        WRITABLE_FIRST, LOOP, LOOP_OF_TWO, NEXT_OUT_OF_RANGE, HEAD_OUT_OF_RANGE,
        EMPTY_DESCRIPTOR, NUM_CASES,
    };
    const uint16_t wr = VRING_DESC_F_WRITE, next = VRING_DESC_F_NEXT;
    Fixture f;
    int i;

    set_up(&f, obj, alloc, 0);
    for (i = 0; i < NUM_CASES; i++) {
        g_autoptr(GByteArray) msg = flush_msg(&f, 1, 1);
        QTMEM *t = &f.t;
        uint16_t head = 0;

        qtest_memwrite(t->qts, t->out, msg->data, msg->len);
        qtmem_write_desc(t, 0, t->out, msg->len, next, 1);
        qtmem_write_desc(t, 1, t->in, RESP, wr, 0);
        switch (i) {
        case WRITABLE_FIRST:
            qtmem_write_desc(t, 0, t->in, RESP, wr | next, 1);
            qtmem_write_desc(t, 1, t->out, msg->len, 0, 0);
            break;
        case LOOP:
            qtmem_write_desc(t, 1, t->in, RESP, wr | next, 1);
            break;
        case LOOP_OF_TWO:
            qtmem_write_desc(t, 0, t->in, RESP, wr | next, 1);
            qtmem_write_desc(t, 1, t->in, RESP, wr | next, 0);
            break;
        case NEXT_OUT_OF_RANGE:
            qtmem_write_desc(t, 0, t->out, msg->len, next, QTMEM_RING_SIZE);
            break;
        case HEAD_OUT_OF_RANGE:
            head = QTMEM_RING_SIZE;
            break;
        case EMPTY_DESCRIPTOR:
            qtmem_write_desc(t, 1, t->in, 0, wr, 0);
            break;
        }
        qtmem_make_avail(t, head);
        qtmem_kick(t);
        g_assert_cmpint(qtmem_counter(t, "pages"), ==, 1);
        assert_broken_until_reset(&f);
    }
    tear_down(&f);
}

/*
 * An index that says more than the ring can hold: QEMU takes what is in the
 * ring, old entries too, so these may be served; and that may still go on in
 * the background when the reset comes.
 */
static void avail_index_beyond_the_ring_does_no_harm(void *obj, void *data,
    QGuestAllocator *alloc)
{
    Fixture f;
    int i;

    set_up(&f, obj, alloc, 0);
    for (i = 0; i < 20; i++) {
        assert_works(&f);
        f.t.queues[0].avail_idx += 30000;
        qtmem_make_avail(&f.t, 0);
        qtmem_kick(&f.t);
        qtmem_restart(&f.t);
        populate(&f);
        assert_works(&f);
    }
    tear_down(&f);
}

static void indirect_table_error_breaks_the_device(void *obj, void *data,
                                                   QGuestAllocator *alloc)
{
    enum {
        NO_LENGTH, ODD_LENGTH, NOT_IN_MEMORY, NEXT_OUT_OF_TABLE, LOOP,
        EMPTY_DESCRIPTOR, NUM_CASES,
    };
    Fixture f;
    int i;

    set_up(&f, obj, alloc, INDIRECT);
    for (i = 0; i < NUM_CASES; i++) {
        g_autoptr(GByteArray) msg = flush_msg(&f, 1, 1);
        QTMEM *t = &f.t;
        struct vring_desc d[] = {
            { .addr = cpu_to_le64(t->out), .len = cpu_to_le32(msg->len),
              .flags = cpu_to_le16(VRING_DESC_F_NEXT),
              .next = cpu_to_le16(1) },
            { .addr = cpu_to_le64(t->in), .len = cpu_to_le32(RESP),
              .flags = cpu_to_le16(VRING_DESC_F_WRITE) },
        };
        uint64_t table = t->table;
        uint32_t len = sizeof(d);

        switch (i) {
        case NO_LENGTH:
            len = 0;
            break;
        case ODD_LENGTH:
            len--;
            break;
        case NOT_IN_MEMORY:
            table = NOWHERE;
            break;
        case NEXT_OUT_OF_TABLE:
            d[0].next = cpu_to_le16(2);
            break;
        case LOOP:
            d[1].flags |= cpu_to_le16(VRING_DESC_F_NEXT);
            d[1].next = cpu_to_le16(1);
            break;
        case EMPTY_DESCRIPTOR:
            d[1].len = 0;
            break;
        }
        qtest_memwrite(t->qts, t->out, msg->data, msg->len);
        qtest_memwrite(t->qts, t->table, d, sizeof(d));
        qtmem_write_desc(t, 0, table, len, VRING_DESC_F_INDIRECT, 0);
        qtmem_make_avail(t, 0);
        qtmem_kick(t);
        g_assert_cmpint(qtmem_counter(t, "pages"), ==, 1);
        assert_broken_until_reset(&f);
    }
    tear_down(&f);
}

/* Malformed is malformed in an indirect table too */
static void malformed_indirect_request_is_invalid(void *obj, void *data,
                                                  QGuestAllocator *alloc)
{
    g_autoptr(GByteArray) put = NULL, flush = NULL;
    Fixture f;

    set_up(&f, obj, alloc, INDIRECT);
    f.t.indirect = true;
    put = put_msg(&f, 2, 2 * PAGE - 1);
    flush = flush_msg(&f, 2, 1);
    assert_invalid(&f, put, RESP);
    assert_invalid(&f, flush, RESP);
    qtmem_fault(&f.t, flush, RESP - 1);
    assert_broken_until_reset(&f);
    tear_down(&f);
}

/* Malformed is malformed in a packed ring too */
static void malformed_packed_request_is_refused(void *obj, void *data,
                                                QGuestAllocator *alloc)
{
    g_autoptr(GByteArray) put = NULL, flush = NULL;
    Fixture f;
    int i;

    set_up(&f, obj, alloc, INDIRECT | 1ull << VIRTIO_F_RING_PACKED);
    put = put_msg(&f, 2, 2 * PAGE - 1);
    flush = flush_msg(&f, 2, 1);
    for (i = 0; i < 2; i++) {
        QTMEMDesc wrong_way_round[] = {
            { f.t.in, RESP, VRING_DESC_F_WRITE },
            { f.t.out, flush->len, 0 },
        };
        QTMEMDesc empty[] = { { f.t.out, flush->len, 0 }, { f.t.in, 0, 0 } };
        QTMEMDesc table = { f.t.table, 17, VRING_DESC_F_INDIRECT };

        f.t.indirect = i;
        assert_invalid(&f, put, RESP);
        assert_invalid(&f, flush, RESP);
        qtmem_fault(&f.t, flush, RESP - 1);
        assert_broken_until_reset(&f);
        qtmem_add(&f.t, wrong_way_round, 2);
        qtmem_kick(&f.t);
        assert_broken_until_reset(&f);
        qtmem_add(&f.t, empty, 2);
        qtmem_kick(&f.t);
        assert_broken_until_reset(&f);
        qtmem_add(&f.t, &table, 1);
        qtmem_kick(&f.t);
        assert_broken_until_reset(&f);
    }
    tear_down(&f);
}

/* Put or get with the page at @page and the response at @resp */
static void request_at(Fixture *f, bool put, uint64_t page, uint64_t resp)
{
    g_autoptr(GByteArray) msg = put ? put_msg(f, 1, 0) : get_msg(f, 1, 1);
    QTMEMDesc desc[] = {
        { f->t.out, msg->len, 0 },
        { put ? page : resp, put ? PAGE : RESP, put ? 0 : VRING_DESC_F_WRITE },
        { put ? resp : page, put ? RESP : PAGE, VRING_DESC_F_WRITE },
    };

    qtest_memwrite(f->t.qts, f->t.out, msg->data, msg->len);
    /* An object of its own, for the canary's sake */
    qtest_memset(f->t.qts, f->t.out + offsetof(struct virtio_tmem_req, object),
                 0xff, 8);
    qtmem_add(&f->t, desc, 3);
    qtmem_kick(&f->t);
}

/*
 * Not memory: what happens to such a page is nobody's business, but the device
 * lives on, or asks for a reset.
 */
static void payload_outside_of_memory_does_no_harm(void *obj, void *data,
                                                   QGuestAllocator *alloc)
{
    static const uint64_t addr[] = {
        NOWHERE, NOWHERE - PAGE / 2, UINT64_MAX - PAGE + 1, UINT64_MAX - 10,
    };
    Fixture f;
    int i;

    set_up(&f, obj, alloc, 0);
    for (i = 0; i < 4 * ARRAY_SIZE(addr); i++) {
        uint64_t a = addr[i / 4];
        bool put = i & 1, both = i & 2;

        request_at(&f, put, a, both ? a : f.t.in);
        if (qtmem_needs_reset(&f.t)) {
            assert_broken_until_reset(&f);
        } else {
            g_assert_true(qtmem_poll(&f.t));
            qtmem_wait(&f.t, 0);
            assert_works(&f);
        }
    }
    tear_down(&f);
}

/*
 * The device's own registers: a get makes it notify, configure or reset itself
 * in the middle of serving it. Then it may not answer, but a reset mends that.
 */
static void payload_in_own_registers_does_no_harm(void *obj, void *data,
                                                  QGuestAllocator *alloc)
{
    uint8_t ones[PAGE];
    Fixture f;
    int i;

    memset(ones, 0xff, sizeof(ones));
    set_up(&f, obj, alloc, 0);
    for (i = 0; i < 24; i++) {
        QVirtioPCIDevice *pci = container_of(f.t.vdev, QVirtioPCIDevice, vdev);
        const uint64_t addr[] = {
            pci->bar.addr + pci->common_cfg_offset,
            pci->bar.addr + pci->notify_cfg_offset,
            pci->bar.addr + pci->device_cfg_offset,
        };
        uint64_t a = addr[i / 8];
        bool put = i & 1, both = i & 2;

        /* Else the page is not found, and zeros in the status reset it */
        if (i & 4) {
            qtmem_put(&f.t, f.pool, UINT64_MAX, CANARY_INDEX, ones);
        }
        request_at(&f, put, a, both ? a : f.t.in);
        qtmem_restart(&f.t);
        g_assert_false(qtmem_needs_reset(&f.t));
        g_assert_cmpint(qtmem_counter(&f.t, "pages"), ==, 0);
        populate(&f);
        assert_works(&f);
    }
    tear_down(&f);
}

static void write_common_cfg(Fixture *f, int offset, uint16_t value)
{
    QVirtioPCIDevice *pci = container_of(f->t.vdev, QVirtioPCIDevice, vdev);

    qpci_io_writew(pci->pdev, pci->bar, pci->common_cfg_offset + offset, value);
}

/* Rings that are not in memory: nothing comes of it but a reset */
static void ring_outside_of_memory_does_no_harm(void *obj, void *data,
                                                QGuestAllocator *alloc)
{
    static const int areas[] = {
        offsetof(struct virtio_pci_common_cfg, queue_desc_hi),
        offsetof(struct virtio_pci_common_cfg, queue_avail_hi),
        offsetof(struct virtio_pci_common_cfg, queue_used_hi),
    };
    Fixture f;
    int i;

    set_up(&f, obj, alloc, 0);
    for (i = 0; i < ARRAY_SIZE(areas); i++) {
        qvirtio_start_device(f.t.vdev);
        qvirtio_set_features(f.t.vdev, 1ull << VIRTIO_F_VERSION_1);
        f.t.vdev->bus->queue_select(f.t.vdev, 0);
        f.t.vdev->bus->set_queue_address(f.t.vdev, f.t.queues[0].vq);
        write_common_cfg(&f, areas[i], NOWHERE >> 32);
        write_common_cfg(&f, offsetof(struct virtio_pci_common_cfg,
                                      queue_enable), 1);
        f.t.vdev->bus->set_status(f.t.vdev,
                                  f.t.vdev->bus->get_status(f.t.vdev) |
                                  VIRTIO_CONFIG_S_DRIVER_OK);
        qtmem_kick(&f.t);
        qtmem_restart(&f.t);
        g_assert_cmpint(qtmem_counter(&f.t, "pages"), ==, 0);
        populate(&f);
        assert_works(&f);
    }
    tear_down(&f);
}

/* There is no legacy device: a driver that does not know 1.0 gets nothing */
static void driver_without_version_1_is_not_served(void *obj, void *data,
                                                   QGuestAllocator *alloc)
{
    g_autoptr(GByteArray) flush = NULL;
    QTMEMDesc desc[2];
    QVirtioDevice *d;
    Fixture f;

    set_up(&f, obj, alloc, 0);
    flush = flush_msg(&f, 1, 1);
    d = f.t.vdev;
    f.t.no_driver_ok = true;
    qtmem_restart(&f.t);
    look(&f);

    /* All features are 0 after a reset; the rings stay where they are */
    qvirtio_start_device(d);
    d->bus->queue_select(d, 0);
    write_common_cfg(&f, offsetof(struct virtio_pci_common_cfg, queue_size),
                     QTMEM_RING_SIZE);
    d->bus->set_queue_address(d, f.t.queues[0].vq);
    write_common_cfg(&f, offsetof(struct virtio_pci_common_cfg, queue_enable),
                     1);
    d->bus->set_status(d, d->bus->get_status(d) | VIRTIO_CONFIG_S_DRIVER_OK);
    qtest_memwrite(f.t.qts, f.t.out, flush->data, flush->len);
    desc[0] = (QTMEMDesc) { f.t.out, flush->len, 0 };
    desc[1] = (QTMEMDesc) { f.t.in, RESP, VRING_DESC_F_WRITE };
    qtmem_add(&f.t, desc, 2);
    qtmem_kick(&f.t);
    g_assert_false(qtmem_poll(&f.t));
    g_assert_cmpint(qtmem_counter(&f.t, "requests"), ==,
                    qdict_get_int(f.before, "requests"));

    f.t.no_driver_ok = false;
    qtmem_restart(&f.t);
    populate(&f);
    assert_works(&f);
    tear_down(&f);
}

/* What nobody thought of. Reproduce with --seed, which the log tells. */
static void random_requests_do_no_harm(void *obj, void *data,
                                       QGuestAllocator *alloc)
{
    Fixture f;
    int i, j;

    set_up(&f, obj, alloc, 0);
    for (i = 0; i < 1000; i++) {
        uint16_t count = g_test_rand_bit() ? g_test_rand_int_range(0, 40) :
                                             g_test_rand_int();
        g_autoptr(GByteArray) msg =
            qtmem_msg(g_test_rand_int_range(0, 8),
                      g_test_rand_int_range(0, 4), 0, count);
        size_t in_len = g_test_rand_int_range(0, 3 * PAGE);
        uint32_t cuts[8] = { 0 };

        for (j = g_test_rand_int_range(0, 40); j; j--) {
            qtmem_msg_u64(msg, g_test_rand_int_range(0, 50));
        }
        g_byte_array_set_size(msg, msg->len + (g_test_rand_bit() ?
                              PAGE * g_test_rand_int_range(0, 5) :
                              g_test_rand_int_range(0, 2 * PAGE)));
        for (j = 0; j < 7; j++) {
            cuts[j] = g_test_rand_int_range(1, PAGE);
        }
        if (in_len < RESP) {
            qtmem_fault(&f.t, msg, in_len);
            qtmem_restart(&f.t);
        } else {
            QTMEMReply r = qtmem_send_cut(&f.t, msg, cuts, in_len, cuts + 1);

            g_assert_cmpint(r.status, <=, VIRTIO_TMEM_S_INVALID);
        }
    }
    qtmem_restart(&f.t);
    populate(&f);
    assert_works(&f);
    tear_down(&f);
}

static void register_virtio_tmem_malformed_test(void)
{
    QOSGraphTestOptions packed = {
        .edge.extra_device_opts = "packed=on",
    };

#define ADD(fn, opts) qos_add_test(#fn, "virtio-tmem", fn, opts)
    ADD(short_header_is_invalid, NULL);
    ADD(unknown_type_is_invalid, NULL);
    ADD(any_flag_is_invalid, NULL);
    ADD(unknown_pool_is_invalid, NULL);
    ADD(count_out_of_range_is_invalid, NULL);
    ADD(count_that_lies_is_invalid, NULL);
    ADD(list_of_another_length_is_invalid, NULL);
    ADD(payload_of_another_length_is_invalid, NULL);
    ADD(request_with_a_tail_is_invalid, NULL);
    ADD(unused_field_that_is_set_is_invalid, NULL);
    ADD(no_room_for_the_payload_is_invalid, NULL);
    ADD(more_room_than_needed_is_good, NULL);
    ADD(backward_range_is_invalid, NULL);
    ADD(no_room_for_a_response_breaks_the_device, NULL);
    ADD(ring_error_breaks_the_device, NULL);
    ADD(avail_index_beyond_the_ring_does_no_harm, NULL);
    ADD(indirect_table_error_breaks_the_device, NULL);
    ADD(malformed_indirect_request_is_invalid, NULL);
    ADD(malformed_packed_request_is_refused, &packed);
    ADD(payload_in_own_registers_does_no_harm, NULL);
    ADD(payload_outside_of_memory_does_no_harm, NULL);
    ADD(ring_outside_of_memory_does_no_harm, NULL);
    ADD(driver_without_version_1_is_not_served, NULL);
    ADD(random_requests_do_no_harm, NULL);
#undef ADD
}

libqos_init(register_virtio_tmem_malformed_test);
