/*
 * libqos driver for virtio-tmem
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "../libqtest.h"
#include "qemu/bswap.h"
#include "qemu/host-utils.h"
#include "qemu/module.h"
#include "qobject/qlist.h"
#include "qgraph.h"
#include "virtio-tmem.h"
#include "standard-headers/linux/virtio_config.h"
#include "standard-headers/linux/virtio_pci.h"
#include "standard-headers/linux/virtio_ring.h"

/* Long enough for the slowest host; a test that succeeds never waits for it */
#define QTMEM_TIMEOUT_US (60 * 1000 * 1000)

/* Bytes between descriptors, and their contents: the device leaves them so */
#define QTMEM_GAP 48
#define QTMEM_JUNK 0xa5

/* Descriptors of one request */
#define QTMEM_MAX_DESC 64

static void qtmem_setup_queue(QTMEM *t, int index)
{
    QVirtioPCIDevice *pci = container_of(t->vdev, QVirtioPCIDevice, vdev);
    QTMEMQueue *q = &t->queues[index];

    t->vdev->bus->queue_select(t->vdev, index);
    qpci_io_writew(pci->pdev, pci->bar, pci->common_cfg_offset +
                   offsetof(struct virtio_pci_common_cfg, queue_size),
                   QTMEM_RING_SIZE);

    *q = (QTMEMQueue) { .avail_wrap = true, .used_wrap = true };
    q->vq = qvirtqueue_setup(t->vdev, t->alloc, index);
    g_assert_cmpint(q->vq->size, ==, QTMEM_RING_SIZE);
    if (t->packed) {
        /* libqos has put a split ring there. The areas are large enough. */
        qtest_memset(t->qts, q->vq->desc, 0,
                     QTMEM_RING_SIZE * sizeof(struct vring_packed_desc));
    }
}

static void qtmem_setup(QTMEM *t)
{
    uint64_t offered = qvirtio_get_features(t->vdev);
    /* Bits 0 to 23 belong to the device type */
    uint64_t features = (offered & 0xffffff & ~t->refused_features) |
                        (1ull << VIRTIO_F_VERSION_1) | t->ring_features;
    int i;

    g_assert_cmphex(features & ~offered, ==, 0);
    qvirtio_set_features(t->vdev, features);
    for (i = 0; i < QTMEM_NUM_QUEUES; i++) {
        qtmem_setup_queue(t, i);
    }
    if (!t->no_driver_ok) {
        qvirtio_set_driver_ok(t->vdev);
    }
}

static void qtmem_cleanup(QTMEM *t)
{
    int i;

    for (i = 0; i < QTMEM_NUM_QUEUES; i++) {
        qvirtqueue_cleanup(t->vdev->bus, t->queues[i].vq, t->alloc);
    }
}

void qtmem_start(QTMEM *t, QVirtioTMEM *node, QGuestAllocator *alloc,
                 uint64_t ring_features)
{
    QVirtioPCIDevice *pci = container_of(node->vdev, QVirtioPCIDevice, vdev);

    *t = (QTMEM) {
        .qts = pci->pdev->bus->qts,
        .vdev = node->vdev,
        .alloc = alloc,
        .ring_features = ring_features,
        .packed = ring_features & (1ull << VIRTIO_F_RING_PACKED),
        .out = guest_alloc(alloc, QTMEM_AREA_SIZE),
        .in = guest_alloc(alloc, QTMEM_AREA_SIZE),
        .table = guest_alloc(alloc, QTMEM_PAGE_SIZE),
        .reply = g_malloc(QTMEM_AREA_SIZE),
    };
    qtmem_setup(t);
}

void qtmem_restart(QTMEM *t)
{
    qvirtio_start_device(t->vdev);
    qtmem_cleanup(t);
    qtmem_setup(t);
}

void qtmem_stop(QTMEM *t)
{
    qtmem_cleanup(t);
    guest_free(t->alloc, t->out);
    guest_free(t->alloc, t->in);
    guest_free(t->alloc, t->table);
    g_free(t->reply);
}

bool qtmem_needs_reset(QTMEM *t)
{
    return t->vdev->bus->get_status(t->vdev) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

void qtmem_write_desc(QTMEM *t, uint16_t slot, uint64_t addr, uint32_t len,
                      uint16_t flags, uint16_t next)
{
    struct vring_desc d = {
        .addr = cpu_to_le64(addr),
        .len = cpu_to_le32(len),
        .flags = cpu_to_le16(flags),
        .next = cpu_to_le16(next),
    };

    qtest_memwrite(t->qts, t->queues[t->queue].vq->desc + slot * sizeof(d), &d,
                   sizeof(d));
}

void qtmem_make_avail(QTMEM *t, uint16_t head)
{
    QTMEMQueue *q = &t->queues[t->queue];
    uint16_t slot = q->avail_idx++ % QTMEM_RING_SIZE;
    uint16_t head_le = cpu_to_le16(head);
    uint16_t idx_le = cpu_to_le16(q->avail_idx);

    qtest_memwrite(t->qts, q->vq->avail +
                   offsetof(struct vring_avail, ring[slot]), &head_le, 2);
    qtest_memwrite(t->qts, q->vq->avail + offsetof(struct vring_avail, idx),
                   &idx_le, 2);
}

static uint16_t qtmem_split_add(QTMEM *t, const QTMEMDesc *desc,
                                unsigned int num)
{
    QTMEMQueue *q = &t->queues[t->queue];
    uint16_t head;
    unsigned int i;

    if (q->avail_idx == q->used_idx) {
        q->next_desc = 0;
    }
    g_assert_cmpint(q->next_desc + num, <=, QTMEM_RING_SIZE);
    head = q->next_desc;
    for (i = 0; i < num; i++) {
        qtmem_write_desc(t, head + i, desc[i].addr, desc[i].len,
                         desc[i].flags |
                         (i < num - 1 ? VRING_DESC_F_NEXT : 0), head + i + 1);
    }
    q->next_desc += num;
    qtmem_make_avail(t, head);
    return head;
}

static uint16_t qtmem_packed_add(QTMEM *t, const QTMEMDesc *desc,
                                 unsigned int num)
{
    QTMEMQueue *q = &t->queues[t->queue];
    uint16_t head = q->next_desc;
    int i;

    g_assert_cmpint(num, <=, QTMEM_RING_SIZE);
    /* The head comes last: it makes the whole chain available */
    for (i = num - 1; i >= 0; i--) {
        uint16_t slot = (head + i) % QTMEM_RING_SIZE;
        bool wrap = q->avail_wrap ^ (head + i >= QTMEM_RING_SIZE);
        uint16_t flags = desc[i].flags |
                         (i < num - 1 ? VRING_DESC_F_NEXT : 0) |
                         1 << (wrap ? VRING_PACKED_DESC_F_AVAIL :
                                      VRING_PACKED_DESC_F_USED);
        struct vring_packed_desc d = {
            .addr = cpu_to_le64(desc[i].addr),
            .len = cpu_to_le32(desc[i].len),
            .id = cpu_to_le16(head),
            .flags = cpu_to_le16(flags),
        };

        qtest_memwrite(t->qts, q->vq->desc + slot * sizeof(d), &d, sizeof(d));
    }
    q->chain_len[head] = num;
    q->next_desc = (head + num) % QTMEM_RING_SIZE;
    q->avail_wrap ^= head + num >= QTMEM_RING_SIZE;
    return head;
}

uint16_t qtmem_add(QTMEM *t, const QTMEMDesc *desc, unsigned int num)
{
    return t->packed ? qtmem_packed_add(t, desc, num) :
                       qtmem_split_add(t, desc, num);
}

/* Make one descriptor available that stands for a table of all of @desc */
static uint16_t qtmem_add_indirect(QTMEM *t, const QTMEMDesc *desc,
                                   unsigned int num)
{
    QTMEMDesc ring_desc = {
        .addr = t->table,
        .len = num * sizeof(struct vring_desc),
        .flags = VRING_DESC_F_INDIRECT,
    };
    unsigned int i;

    g_assert_cmpint(ring_desc.len, <=, QTMEM_PAGE_SIZE);
    for (i = 0; i < num; i++) {
        bool next = i < num - 1;
        struct vring_desc split = {
            .addr = cpu_to_le64(desc[i].addr),
            .len = cpu_to_le32(desc[i].len),
            .flags = cpu_to_le16(desc[i].flags |
                                 (next ? VRING_DESC_F_NEXT : 0)),
            .next = cpu_to_le16(next ? i + 1 : 0),
        };
        struct vring_packed_desc packed = {
            .addr = split.addr,
            .len = split.len,
            .flags = cpu_to_le16(desc[i].flags),
        };

        qtest_memwrite(t->qts, t->table + i * sizeof(split),
                       t->packed ? (void *)&packed : &split, sizeof(split));
    }
    return qtmem_add(t, &ring_desc, 1);
}

void qtmem_kick(QTMEM *t)
{
    t->vdev->bus->virtqueue_kick(t->vdev, t->queues[t->queue].vq);
}

/* One look at the ring: false, or the next used buffer and its length */
static bool qtmem_split_used(QTMEM *t, uint16_t *id, uint32_t *len)
{
    QTMEMQueue *q = &t->queues[t->queue];
    uint16_t slot = q->used_idx % QTMEM_RING_SIZE;
    struct vring_used_elem elem;
    uint16_t idx;

    qtest_memread(t->qts, q->vq->used + offsetof(struct vring_used, idx), &idx,
                  sizeof(idx));
    if (le16_to_cpu(idx) == q->used_idx) {
        return false;
    }
    qtest_memread(t->qts, q->vq->used + offsetof(struct vring_used, ring[slot]),
                  &elem, sizeof(elem));
    *id = le32_to_cpu(elem.id);
    *len = le32_to_cpu(elem.len);
    return true;
}

static bool qtmem_packed_used(QTMEM *t, uint16_t *id, uint32_t *len)
{
    QTMEMQueue *q = &t->queues[t->queue];
    struct vring_packed_desc d;
    bool avail, used;

    qtest_memread(t->qts, q->vq->desc + q->used_idx * sizeof(d), &d, sizeof(d));
    avail = le16_to_cpu(d.flags) & (1 << VRING_PACKED_DESC_F_AVAIL);
    used = le16_to_cpu(d.flags) & (1 << VRING_PACKED_DESC_F_USED);
    if (avail != used || used != q->used_wrap) {
        return false;
    }
    *id = le16_to_cpu(d.id);
    *len = le32_to_cpu(d.len);
    return true;
}

static bool qtmem_used(QTMEM *t, uint16_t *id, uint32_t *len)
{
    return t->packed ? qtmem_packed_used(t, id, len) :
                       qtmem_split_used(t, id, len);
}

bool qtmem_poll(QTMEM *t)
{
    uint16_t id;
    uint32_t len;

    return qtmem_used(t, &id, &len);
}

uint32_t qtmem_wait(QTMEM *t, uint16_t id)
{
    gint64 end = g_get_monotonic_time() + QTMEM_TIMEOUT_US;
    QTMEMQueue *q = &t->queues[t->queue];
    uint16_t used_id;
    uint32_t len;

    while (!qtmem_used(t, &used_id, &len)) {
        g_assert_false(qtmem_needs_reset(t));
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    }
    g_assert_cmpint(used_id, ==, id);
    if (t->packed) {
        q->used_idx += q->chain_len[id];
        if (q->used_idx >= QTMEM_RING_SIZE) {
            q->used_idx -= QTMEM_RING_SIZE;
            q->used_wrap = !q->used_wrap;
        }
    } else {
        q->used_idx++;
    }
    return len;
}

GByteArray *qtmem_msg(uint8_t type, uint32_t pool, uint64_t object,
                      uint16_t count)
{
    GByteArray *msg = g_byte_array_new();
    struct virtio_tmem_req req = {
        .type = type,
        .count = cpu_to_le16(count),
        .pool = cpu_to_le32(pool),
        .object = cpu_to_le64(object),
    };

    return g_byte_array_append(msg, (void *)&req, sizeof(req));
}

void qtmem_msg_u64(GByteArray *msg, uint64_t value)
{
    uint64_t le = cpu_to_le64(value);

    g_byte_array_append(msg, (void *)&le, sizeof(le));
}

/* Cut @len bytes at @addr into descriptors; returns their number */
static unsigned int qtmem_cut(QTMEMDesc *desc, uint64_t addr, size_t len,
                              const uint32_t *cuts, uint16_t flags)
{
    unsigned int num = 0;

    while (len) {
        size_t part = cuts && *cuts ? MIN(len, *cuts++) : len;

        g_assert_cmpint(num, <, QTMEM_MAX_DESC);
        desc[num++] = (QTMEMDesc) { addr, part, flags };
        addr += part + QTMEM_GAP;
        len -= part;
    }
    return num;
}

static uint8_t *qtmem_junk(void)
{
    uint8_t *buf = g_malloc(QTMEM_AREA_SIZE);

    memset(buf, QTMEM_JUNK, QTMEM_AREA_SIZE);
    return buf;
}

/* Bytes of an area that descriptors take, with the junk around them */
static size_t qtmem_span(uint64_t area, const QTMEMDesc *last)
{
    size_t span = last->addr + last->len + QTMEM_GAP - area;

    g_assert_cmpint(span, <=, QTMEM_AREA_SIZE);
    return span;
}

static void qtmem_write_out(QTMEM *t, const GByteArray *msg,
                            const QTMEMDesc *desc, unsigned int num)
{
    g_autofree uint8_t *buf = qtmem_junk();
    size_t pos = 0;
    unsigned int i;

    for (i = 0; i < num; i++) {
        memcpy(buf + (desc[i].addr - t->out), msg->data + pos, desc[i].len);
        pos += desc[i].len;
    }
    if (num) {
        qtest_bufwrite(t->qts, t->out, buf,
                       qtmem_span(t->out, &desc[num - 1]));
    }
}

/* Collect what the device wrote into t->reply; nothing else may have changed */
static void qtmem_read_in(QTMEM *t, const QTMEMDesc *desc, unsigned int num,
                          uint32_t used_len)
{
    size_t span = qtmem_span(t->in, &desc[num - 1]);
    g_autofree uint8_t *buf = g_malloc(span);
    size_t pos = 0, left = used_len;
    unsigned int i;

    qtest_bufread(t->qts, t->in, buf, span);
    for (i = 0; i < num; i++) {
        size_t part = MIN(desc[i].len, left);
        uint8_t *from = buf + (desc[i].addr - t->in);

        memcpy(t->reply + pos, from, part);
        memset(from, QTMEM_JUNK, part);
        pos += part;
        left -= part;
    }
    g_assert_cmpint(left, ==, 0);
    for (pos = 0; pos < span; pos++) {
        g_assert_cmphex(buf[pos], ==, QTMEM_JUNK);
    }
}

/* Make a request available and notify the device */
static uint16_t qtmem_submit(QTMEM *t, const GByteArray *msg,
                             const uint32_t *out_cuts, size_t in_len,
                             const uint32_t *in_cuts, QTMEMDesc **in_desc,
                             unsigned int *in_num)
{
    QTMEMDesc desc[QTMEM_MAX_DESC * 2];
    g_autofree uint8_t *junk = qtmem_junk();
    unsigned int out_num;
    uint16_t id;

    out_num = qtmem_cut(desc, t->out, msg->len, out_cuts, 0);
    *in_num = qtmem_cut(desc + out_num, t->in, in_len, in_cuts,
                        VRING_DESC_F_WRITE);
    *in_desc = g_memdup2(desc + out_num, *in_num * sizeof(desc[0]));

    qtmem_write_out(t, msg, desc, out_num);
    if (*in_num) {
        qtest_memset(t->qts, t->in, QTMEM_JUNK,
                     qtmem_span(t->in, *in_desc + *in_num - 1));
    }
    id = t->indirect ? qtmem_add_indirect(t, desc, out_num + *in_num) :
                       qtmem_add(t, desc, out_num + *in_num);
    qtmem_kick(t);
    return id;
}

QTMEMReply qtmem_send_cut(QTMEM *t, const GByteArray *msg,
                          const uint32_t *out_cuts, size_t in_len,
                          const uint32_t *in_cuts)
{
    g_autofree QTMEMDesc *in_desc = NULL;
    struct virtio_tmem_resp resp;
    unsigned int in_num;
    uint32_t used_len;
    uint16_t id;

    id = qtmem_submit(t, msg, out_cuts, in_len, in_cuts, &in_desc, &in_num);
    used_len = qtmem_wait(t, id);
    g_assert_cmpint(used_len, >=, sizeof(resp));
    qtmem_read_in(t, in_desc, in_num, used_len);
    memcpy(&resp, t->reply, sizeof(resp));
    return (QTMEMReply) {
        .used_len = used_len,
        .status = resp.status,
        .done = le32_to_cpu(resp.done),
        .failed = le32_to_cpu(resp.failed),
        .reservations = le32_to_cpu(resp.reservations),
        .value = le64_to_cpu(resp.value),
        .payload = t->reply + sizeof(resp),
    };
}

QTMEMReply qtmem_send(QTMEM *t, const GByteArray *msg, size_t in_len)
{
    return qtmem_send_cut(t, msg, NULL, in_len, NULL);
}

void qtmem_fault(QTMEM *t, const GByteArray *msg, size_t in_len)
{
    g_autofree QTMEMDesc *in_desc = NULL;
    unsigned int in_num;

    qtmem_submit(t, msg, NULL, in_len, NULL, &in_desc, &in_num);
    g_assert_true(qtmem_needs_reset(t));
    g_assert_false(qtmem_poll(t));
    if (in_num) {
        qtmem_read_in(t, in_desc, in_num, 0);
    }
}

QTMEMReply qtmem_pool_create_flags(QTMEM *t, uint8_t flags)
{
    g_autoptr(GByteArray) msg = qtmem_msg(VIRTIO_TMEM_REQ_POOL_CREATE, 0, 0, 0);

    msg->data[offsetof(struct virtio_tmem_req, flags)] = flags;
    return qtmem_send(t, msg, sizeof(struct virtio_tmem_resp));
}

QTMEMReply qtmem_pool_create(QTMEM *t)
{
    return qtmem_pool_create_flags(t, 0);
}

QTMEMReply qtmem_pool_destroy(QTMEM *t, uint32_t pool)
{
    g_autoptr(GByteArray) msg = qtmem_msg(VIRTIO_TMEM_REQ_POOL_DESTROY, pool,
                                          0, 0);

    return qtmem_send(t, msg, sizeof(struct virtio_tmem_resp));
}

QTMEMReply qtmem_put_many(QTMEM *t, uint32_t pool, uint64_t object,
                          const uint64_t *index, uint16_t count,
                          const void *pages)
{
    g_autoptr(GByteArray) msg = qtmem_msg(VIRTIO_TMEM_REQ_PUT, pool, object,
                                          count);
    int i;

    for (i = 0; i < count; i++) {
        qtmem_msg_u64(msg, index[i]);
    }
    g_byte_array_append(msg, pages, count * QTMEM_PAGE_SIZE);
    return qtmem_send(t, msg, sizeof(struct virtio_tmem_resp));
}

QTMEMReply qtmem_put(QTMEM *t, uint32_t pool, uint64_t object, uint64_t index,
                     const void *page)
{
    return qtmem_put_many(t, pool, object, &index, 1, page);
}

QTMEMReply qtmem_get_many(QTMEM *t, uint32_t pool, uint64_t object,
                          const uint64_t *index, uint16_t count)
{
    g_autoptr(GByteArray) msg = qtmem_msg(VIRTIO_TMEM_REQ_GET, pool, object,
                                          count);
    int i;

    for (i = 0; i < count; i++) {
        qtmem_msg_u64(msg, index[i]);
    }
    return qtmem_send(t, msg, sizeof(struct virtio_tmem_resp) +
                              count * QTMEM_PAGE_SIZE);
}

QTMEMReply qtmem_get(QTMEM *t, uint32_t pool, uint64_t object, uint64_t index)
{
    return qtmem_get_many(t, pool, object, &index, 1);
}

QTMEMReply qtmem_flush(QTMEM *t, uint32_t pool, uint64_t object,
                       uint64_t first, uint64_t last)
{
    g_autoptr(GByteArray) msg = qtmem_msg(VIRTIO_TMEM_REQ_FLUSH, pool, object,
                                          1);

    qtmem_msg_u64(msg, first);
    qtmem_msg_u64(msg, last);
    return qtmem_send(t, msg, sizeof(struct virtio_tmem_resp));
}

QDict *qtmem_query(QTMEM *t)
{
    QDict *rsp = qtest_qmp(t->qts, "{ 'execute': 'query-tmem' }");
    QList *list = qdict_get_qlist(rsp, "return");
    QDict *info;

    g_assert_nonnull(list);
    g_assert_cmpint(qlist_size(list), ==, 1);
    info = qobject_to(QDict, qlist_pop(list));
    qobject_unref(rsp);
    return info;
}

uint64_t qtmem_counter(QTMEM *t, const char *name)
{
    QDict *info = qtmem_query(t);
    uint64_t value = qdict_get_int(info, name);

    qobject_unref(info);
    return value;
}

void qtmem_wait_counter_above(QTMEM *t, const char *name, uint64_t bound)
{
    int64_t end = g_get_monotonic_time() + QTMEM_TIMEOUT_US;

    while (qtmem_counter(t, name) <= bound) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(1000);
    }
}

void qtmem_fill_page(void *page, QTMEMKind kind, uint64_t seed)
{
    uint64_t x = seed * 0x9e3779b97f4a7c15ull + 1;
    int i;

    for (i = 0; i < QTMEM_PAGE_SIZE / 8; i++) {
        if (kind == QTMEM_RANDOM || (kind == QTMEM_NORMAL && i % 2)) {
            /* xorshift64 */
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
        }
        stq_le_p((uint8_t *)page + 8 * i,
                 kind == QTMEM_NORMAL && i % 2 == 0 ? 0x20 : x);
    }
}

uint32_t qtmem_make_pool(QTMEM *t)
{
    QTMEMReply r = qtmem_pool_create(t);

    g_assert_cmpint(r.status, ==, VIRTIO_TMEM_S_OK);
    g_assert_cmpint(r.used_len, ==, sizeof(struct virtio_tmem_resp));
    return r.value;
}

uint32_t qtmem_make_ephemeral_pool(QTMEM *t)
{
    QTMEMReply r = qtmem_pool_create_flags(t, VIRTIO_TMEM_FLAG_EPHEMERAL);

    g_assert_cmpint(r.status, ==, VIRTIO_TMEM_S_OK);
    return r.value;
}

void qtmem_put_ok(QTMEM *t, uint32_t pool, uint64_t object, uint64_t index,
                  QTMEMKind kind, uint64_t seed)
{
    uint8_t page[QTMEM_PAGE_SIZE];
    QTMEMReply r;

    qtmem_fill_page(page, kind, seed);
    r = qtmem_put(t, pool, object, index, page);
    g_assert_cmpint(r.status, ==, VIRTIO_TMEM_S_OK);
    g_assert_cmphex(r.done, ==, 1);
    g_assert_cmphex(r.failed, ==, 0);
    g_assert_cmpint(r.used_len, ==, sizeof(struct virtio_tmem_resp));
}

void qtmem_assert_page(const uint8_t *got, QTMEMKind kind, uint64_t seed)
{
    uint8_t page[QTMEM_PAGE_SIZE];

    qtmem_fill_page(page, kind, seed);
    g_assert_cmpmem(got, QTMEM_PAGE_SIZE, page, QTMEM_PAGE_SIZE);
}

void qtmem_assert_holds(QTMEM *t, uint32_t pool, uint64_t object,
                        uint64_t index, QTMEMKind kind, uint64_t seed)
{
    QTMEMReply r = qtmem_get(t, pool, object, index);

    g_assert_cmpint(r.status, ==, VIRTIO_TMEM_S_OK);
    g_assert_cmphex(r.done, ==, 1);
    g_assert_cmphex(r.failed, ==, 0);
    g_assert_cmpint(r.used_len, ==, sizeof(struct virtio_tmem_resp) +
                    QTMEM_PAGE_SIZE);
    qtmem_assert_page(r.payload, kind, seed);
}

void qtmem_assert_absent(QTMEM *t, uint32_t pool, uint64_t object,
                         uint64_t index)
{
    QTMEMReply r = qtmem_get(t, pool, object, index);

    g_assert_cmpint(r.status, ==, VIRTIO_TMEM_S_ABSENT);
    g_assert_cmphex(r.done, ==, 0);
    g_assert_cmphex(r.failed, ==, 0);
}

uint64_t qtmem_put_range(QTMEM *t, uint32_t pool, uint64_t first,
                          uint64_t count, QTMEMKind kind)
{
    g_autofree uint8_t *pages = g_malloc(VIRTIO_TMEM_MAX_PAGES *
                                         QTMEM_PAGE_SIZE);
    uint64_t index[VIRTIO_TMEM_MAX_PAGES];
    uint64_t stored = 0, i, n;

    while (count) {
        QTMEMReply r;

        n = MIN(count, VIRTIO_TMEM_MAX_PAGES);
        for (i = 0; i < n; i++) {
            index[i] = first + i;
            qtmem_fill_page(pages + i * QTMEM_PAGE_SIZE, kind, first + i);
        }
        r = qtmem_put_many(t, pool, 0, index, n, pages);
        g_assert_true(r.status == VIRTIO_TMEM_S_OK ||
                      r.status == VIRTIO_TMEM_S_REJECTED);
        stored += ctpop32(r.done);
        first += n;
        count -= n;
    }
    return stored;
}

void qtmem_assert_range(QTMEM *t, uint32_t pool, uint64_t first,
                         uint64_t count, QTMEMKind kind)
{
    uint64_t index[VIRTIO_TMEM_MAX_PAGES];
    uint64_t i, n;

    while (count) {
        QTMEMReply r;

        n = MIN(count, VIRTIO_TMEM_MAX_PAGES);
        for (i = 0; i < n; i++) {
            index[i] = first + i;
        }
        r = qtmem_get_many(t, pool, 0, index, n);
        g_assert_cmpint(r.status, ==, VIRTIO_TMEM_S_OK);
        for (i = 0; i < n; i++) {
            qtmem_assert_page(r.payload + i * QTMEM_PAGE_SIZE, kind, first + i);
        }
        first += n;
        count -= n;
    }
}

static void *qvirtio_tmem_pci_get_driver(void *object, const char *interface)
{
    QVirtioTMEMPCI *tmem_pci = object;

    if (!g_strcmp0(interface, "pci-device")) {
        return tmem_pci->pci_vdev.pdev;
    }
    if (g_str_has_prefix(interface, "virtio-tmem")) {
        return &tmem_pci->tmem;
    }
    if (!g_strcmp0(interface, "virtio")) {
        return tmem_pci->tmem.vdev;
    }

    fprintf(stderr, "%s not present in virtio-tmem-pci\n", interface);
    g_assert_not_reached();
}

static void *virtio_tmem_pci_create(void *pci_bus, QGuestAllocator *t_alloc,
                                    void *addr)
{
    QVirtioTMEMPCI *tmem_pci = g_new0(QVirtioTMEMPCI, 1);
    QOSGraphObject *obj = &tmem_pci->pci_vdev.obj;

    virtio_pci_init(&tmem_pci->pci_vdev, pci_bus, addr);
    tmem_pci->tmem.vdev = &tmem_pci->pci_vdev.vdev;

    obj->get_driver = qvirtio_tmem_pci_get_driver;

    return obj;
}

static void virtio_tmem_register_nodes(void)
{
    QPCIAddress addr = {
        .devfn = QPCI_DEVFN(4, 0),
    };
    g_autofree char *device_opts = g_strdup_printf(
        /* Tests do not depend on what else the host has to do */
        "id=%s,addr=04.0,max-size=%d,num-queues=%d,pressure=off",
        QTMEM_ID, QTMEM_MAX_SIZE, QTMEM_NUM_QUEUES);
    QOSGraphEdgeOptions opts = {
        .extra_device_opts = device_opts,
    };

    add_qpci_address(&opts, &addr);
    qos_node_create_driver("virtio-tmem-pci", virtio_tmem_pci_create);
    qos_node_consumes("virtio-tmem-pci", "pci-bus", &opts);
    qos_node_produces("virtio-tmem-pci", "pci-device");
    qos_node_produces("virtio-tmem-pci", "virtio");
    qos_node_produces("virtio-tmem-pci", "virtio-tmem");
    qos_node_produces("virtio-tmem-pci", "virtio-tmem-cost");
    qos_node_produces("virtio-tmem-pci", "virtio-tmem-limit");
    qos_node_produces("virtio-tmem-pci", "virtio-tmem-migration");
    qos_node_produces("virtio-tmem-pci", "virtio-tmem-spill");
}

libqos_init(virtio_tmem_register_nodes);
