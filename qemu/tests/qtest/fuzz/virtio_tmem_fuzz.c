/*
 * virtio-tmem Fuzzing Target
 *
 * The input is a program: a byte each for the features of the rings, the
 * features of the device and the size of the rings, then operations with their
 * arguments. Any bytes are a program. Most operations make a request, more or
 * less as it should be, and put it into a split or packed ring, in a table of
 * its own or not; others damage what is there: descriptors that loop, overlap
 * the rings, or point to the device itself or to nothing, indexes that jump,
 * registers of the transport.
 *
 * Between two inputs the device is reset by its status register. All else of
 * the machine stays as it is, so this is some ten times as quick as a reset of
 * the system.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/units.h"
#include "hw/virtio/virtio-tmem.h"
#include "standard-headers/linux/virtio_config.h"
#include "standard-headers/linux/virtio_pci.h"
#include "standard-headers/linux/virtio_ring.h"
#include "standard-headers/linux/virtio_tmem.h"
#include "tests/qtest/libqtest.h"
#include "tests/qtest/libqos/virtio-tmem.h"
#include "fuzz.h"
#include "qos_fuzz.h"

#define RAM_BYTES (64 * MiB)            /* as qos_fuzz.c has it */
#define MAX_RING 256
#define MAX_CHAIN 80
#define MAX_TABLE 128

/* Where things are in guest memory */
#define RINGS (16 * MiB)
#define RING_BYTES (64 * KiB)
#define TABLES (RINGS + QTMEM_NUM_QUEUES * RING_BYTES)
#define TABLE_BYTES (4 * KiB)
#define NUM_TABLES 4
#define ARENA (17 * MiB)
#define ARENA_BYTES (1 * MiB)

typedef struct Input {
    const uint8_t *data;
    size_t left;
} Input;

typedef struct FuzzRing {
    uint64_t desc, avail, used;
    uint16_t slot;          /* next to be written */
    uint16_t avail_idx;
    bool wrap;
} FuzzRing;

typedef struct Driver {
    QTestState *qts;
    QVirtioPCIDevice *pci;
    Input in;
    bool packed;
    bool indirect;
    uint16_t size;          /* of the rings */
    unsigned queue;         /* that operations are about */
    unsigned table;         /* next to be used */
    uint64_t room;          /* next free byte of the arena */
    FuzzRing rings[QTMEM_NUM_QUEUES];
} Driver;

static VirtIOTMEM *tmem;

static unsigned next_byte(Driver *d)
{
    if (!d->in.left) {
        return 0;
    }
    d->in.left--;
    return *d->in.data++;
}

static unsigned next_word(Driver *d)
{
    unsigned low = next_byte(d);

    return low | next_byte(d) << 8;
}

#define COMMON(field) \
    (d->pci->common_cfg_offset + offsetof(struct virtio_pci_common_cfg, field))

static void common_writew(Driver *d, unsigned offset, uint16_t value)
{
    qpci_io_writew(d->pci->pdev, d->pci->bar, offset, value);
}

static void common_writel(Driver *d, unsigned offset, uint32_t value)
{
    qpci_io_writel(d->pci->pdev, d->pci->bar, offset, value);
}

static void set_status(Driver *d, uint8_t status)
{
    qpci_io_writeb(d->pci->pdev, d->pci->bar, COMMON(device_status), status);
}

/* ---- A driver that begins well ---- */

static void set_features(Driver *d)
{
    unsigned how = next_byte(d), refused = next_byte(d);
    uint32_t low = 0xff & ~refused;

    d->packed = how & 1;
    d->indirect = how & 2;
    low |= d->indirect ? 1u << VIRTIO_RING_F_INDIRECT_DESC : 0;
    low |= how & 4 ? 1u << VIRTIO_RING_F_EVENT_IDX : 0;
    common_writel(d, COMMON(guest_feature_select), 0);
    common_writel(d, COMMON(guest_feature), low);
    common_writel(d, COMMON(guest_feature_select), 1);
    /* VERSION_1, which is missing now and then */
    common_writel(d, COMMON(guest_feature),
                  (how < 248) | (d->packed ? 1u << (VIRTIO_F_RING_PACKED - 32)
                                           : 0));
}

static void setup_ring(Driver *d, unsigned index)
{
    static const uint8_t zero[MAX_RING * sizeof(struct vring_desc)];
    FuzzRing *ring = &d->rings[index];

    *ring = (FuzzRing) {
        .desc = RINGS + index * RING_BYTES,
        .avail = RINGS + index * RING_BYTES + 16 * KiB,
        .used = RINGS + index * RING_BYTES + 32 * KiB,
        .wrap = true,
    };
    qtest_memwrite(d->qts, ring->desc, zero, d->size * 16);
    qtest_memwrite(d->qts, ring->avail, zero, 16);
    qtest_memwrite(d->qts, ring->used, zero, 16);
    common_writew(d, COMMON(queue_select), index);
    common_writew(d, COMMON(queue_size), d->size);
    common_writel(d, COMMON(queue_desc_lo), ring->desc);
    common_writel(d, COMMON(queue_desc_hi), 0);
    common_writel(d, COMMON(queue_avail_lo), ring->avail);
    common_writel(d, COMMON(queue_avail_hi), 0);
    common_writel(d, COMMON(queue_used_lo), ring->used);
    common_writel(d, COMMON(queue_used_hi), 0);
    common_writew(d, COMMON(queue_enable), 1);
}

static void start_driver(Driver *d)
{
    static const uint16_t sizes[] = { 256, 128, 64, 16, 4, 2, 1, 100 };
    unsigned i;

    set_status(d, 0);
    set_status(d, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
    set_features(d);
    set_status(d, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
                  VIRTIO_CONFIG_S_FEATURES_OK);
    d->size = sizes[next_byte(d) % ARRAY_SIZE(sizes)];
    for (i = 0; i < QTMEM_NUM_QUEUES; i++) {
        setup_ring(d, i);
    }
    set_status(d, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
                  VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK);
}

static void notify(Driver *d, unsigned queue)
{
    qpci_io_writew(d->pci->pdev, d->pci->bar, d->pci->notify_cfg_offset +
                   queue * d->pci->notify_off_multiplier, queue);
}

/* ---- Descriptors ---- */

/* An address that no driver would give */
static uint64_t odd_address(Driver *d)
{
    unsigned what = next_byte(d);
    uint64_t offset = next_word(d);
    const FuzzRing *ring = &d->rings[what / 128];

    switch (what % 12) {
    case 0:
        return ring->desc + offset % (MAX_RING * 16);
    case 1:
        return ring->avail + offset % 1024;
    case 2:
        return ring->used + offset % 4096;
    case 3:
        return TABLES + offset % (NUM_TABLES * TABLE_BYTES);
    case 4:
        return d->pci->bar.addr + d->pci->notify_cfg_offset + offset % 64;
    case 5:
        return d->pci->bar.addr + offset % 0x4000;
    case 6:
        return RAM_BYTES - offset % 8192;
    case 7:
        return RAM_BYTES + offset * KiB;
    case 8:
        return 0xfee00000 + offset % 4096;
    case 9:
        return 0xfffc0000 + offset;
    case 10:
        return UINT64_MAX - offset;
    default:
        return ARENA + offset * 16;
    }
}

static QTMEMDesc odd_desc(Driver *d, QTMEMDesc desc)
{
    static const uint32_t lengths[] = {
        0, 1, 15, 16, 23, 24, 4095, 4096, 4097, 65536, 1 << 20, 1 << 30,
        INT32_MAX, UINT32_MAX - 4095, UINT32_MAX - 15, UINT32_MAX,
    };
    unsigned what = next_byte(d);

    if (what & 1) {
        desc.addr = odd_address(d);
    }
    if (what & 2) {
        desc.len = lengths[next_byte(d) % ARRAY_SIZE(lengths)];
    }
    if (what & 4) {
        desc.flags ^= what >> 4 & (VRING_DESC_F_WRITE | VRING_DESC_F_INDIRECT |
                                   VRING_DESC_F_NEXT);
    }
    return desc;
}

static void write_split(Driver *d, uint64_t to, QTMEMDesc desc, uint16_t next)
{
    struct vring_desc split = {
        .addr = cpu_to_le64(desc.addr),
        .len = cpu_to_le32(desc.len),
        .flags = cpu_to_le16(desc.flags),
        .next = cpu_to_le16(next),
    };

    qtest_memwrite(d->qts, to, &split, sizeof(split));
}

static void write_packed(Driver *d, uint64_t to, QTMEMDesc desc, uint16_t id)
{
    struct vring_packed_desc packed = {
        .addr = cpu_to_le64(desc.addr),
        .len = cpu_to_le32(desc.len),
        .id = cpu_to_le16(id),
        .flags = cpu_to_le16(desc.flags),
    };

    qtest_memwrite(d->qts, to, &packed, sizeof(packed));
}

static void make_avail(Driver *d, uint16_t head)
{
    FuzzRing *ring = &d->rings[d->queue];
    uint16_t slot = ring->avail_idx++ % d->size;

    qtest_writew(d->qts, ring->avail + offsetof(struct vring_avail, ring[slot]),
                 head);
    qtest_writew(d->qts, ring->avail + offsetof(struct vring_avail, idx),
                 ring->avail_idx);
}

static void add_split(Driver *d, const QTMEMDesc *desc, unsigned num)
{
    FuzzRing *ring = &d->rings[d->queue];
    uint16_t head = ring->slot % d->size;
    unsigned i;

    for (i = 0; i < num; i++) {
        QTMEMDesc now = desc[i];
        uint16_t slot = ring->slot++ % d->size;

        now.flags |= i < num - 1 ? VRING_DESC_F_NEXT : 0;
        write_split(d, ring->desc + slot * 16, now, (slot + 1) % d->size);
    }
    make_avail(d, head);
}

/* The head comes last: it makes the whole chain available. */
static void add_packed(Driver *d, const QTMEMDesc *desc, unsigned num)
{
    FuzzRing *ring = &d->rings[d->queue];
    uint16_t head = ring->slot;
    int i;

    for (i = num - 1; i >= 0; i--) {
        QTMEMDesc now = desc[i];
        bool wrap = ring->wrap ^ ((head + i) / d->size & 1);

        now.flags |= i < num - 1 ? VRING_DESC_F_NEXT : 0;
        now.flags |= 1 << (wrap ? VRING_PACKED_DESC_F_AVAIL :
                                  VRING_PACKED_DESC_F_USED);
        write_packed(d, ring->desc + (head + i) % d->size * 16, now, head);
    }
    ring->wrap ^= (head + num) / d->size & 1;
    ring->slot = (head + num) % d->size;
}

static void add_chain(Driver *d, const QTMEMDesc *desc, unsigned num)
{
    if (d->packed) {
        add_packed(d, desc, num);
    } else {
        add_split(d, desc, num);
    }
}

/* As add_chain(), in a table of its own */
static void add_table(Driver *d, const QTMEMDesc *desc, unsigned num,
                      unsigned odd)
{
    QTMEMDesc table = {
        .addr = TABLES + d->table++ % NUM_TABLES * TABLE_BYTES,
        .len = num * 16,
        .flags = VRING_DESC_F_INDIRECT,
    };
    unsigned i;

    for (i = 0; i < num; i++) {
        QTMEMDesc now = desc[i];

        if (d->packed) {
            write_packed(d, table.addr + i * 16, now, 0);
        } else {
            now.flags |= i < num - 1 ? VRING_DESC_F_NEXT : 0;
            write_split(d, table.addr + i * 16, now, i + 1);
        }
    }
    if (odd == 1) {
        table = odd_desc(d, table);
    } else if (odd == 2) {
        table.len += (int8_t)next_byte(d);
    }
    add_chain(d, &table, 1);
}

/* ---- Requests ---- */

/* Append @len bytes of guest memory to the chain, cut as @how says */
static unsigned cut(QTMEMDesc *desc, unsigned num, uint64_t addr, uint64_t len,
                    unsigned how, uint16_t flags)
{
    static const uint16_t sizes[] = { 0, 4096, 16, 24, 8, 4095, 8192, 1000 };
    uint32_t size = sizes[how % ARRAY_SIZE(sizes)];

    while (len && num < MAX_CHAIN) {
        uint32_t part = size && num < MAX_CHAIN - 1 ? MIN(len, size) : len;

        desc[num++] = (QTMEMDesc) { addr, part, flags };
        addr += part;
        len -= part;
    }
    return num;
}

static uint64_t take_room(Driver *d, uint64_t len)
{
    uint64_t addr;

    if (d->room + len > ARENA_BYTES) {
        d->room = 0;
    }
    addr = ARENA + d->room;
    d->room += ROUND_UP(len, 64);
    return addr;
}

static unsigned next_count(Driver *d)
{
    static const uint16_t odd[] = { 31, 32, 33, 255, 256, 257, 0, 65535 };
    unsigned what = next_byte(d);

    return what < 224 ? what % 5 : odd[what % ARRAY_SIZE(odd)];
}

/* Header and list; returns the bytes of both */
static uint64_t write_request(Driver *d, uint64_t addr, unsigned type,
                              unsigned count, unsigned who)
{
    struct {
        struct virtio_tmem_req hdr;
        uint64_t list[2 * (VIRTIO_TMEM_MAX_RANGES + 1)];
    } req = { };
    unsigned base = 0, stride = 0, n = 0, i;

    req.hdr.type = type;
    req.hdr.flags = who >> 5 == 7 ? next_byte(d) : who >> 5 & 1 ?
                    1 << (type == VIRTIO_TMEM_REQ_PUT ? 1 :
                          type == VIRTIO_TMEM_REQ_GET ? 2 : 0) : 0;
    req.hdr.count = cpu_to_le16(count);
    if (type && type < VIRTIO_TMEM_REQ_RESERVE) {
        req.hdr.pool = cpu_to_le32(who % 4);
        req.hdr.object = cpu_to_le64(type == VIRTIO_TMEM_REQ_POOL_DESTROY ? 0 :
                                     who >> 2 & 1);
    }
    if (type >= VIRTIO_TMEM_REQ_PUT && type <= VIRTIO_TMEM_REQ_FLUSH) {
        base = next_byte(d);
        stride = next_byte(d);
        n = MIN(count, VIRTIO_TMEM_MAX_RANGES + 1) *
            (type == VIRTIO_TMEM_REQ_FLUSH ? 2 : 1);
    }
    for (i = 0; i < n; i++) {
        req.list[i] = cpu_to_le64(base + (uint64_t)i * stride);
    }
    qtest_memwrite(d->qts, addr, &req, sizeof(req.hdr) + n * 8);
    return sizeof(req.hdr) + n * 8;
}

static void op_request(Driver *d, unsigned type)
{
    unsigned who = next_byte(d), count, how, odd, num;
    QTMEMDesc desc[MAX_CHAIN];
    uint64_t out, in, out_len, in_len = sizeof(struct virtio_tmem_resp);

    count = type == VIRTIO_TMEM_REQ_PUT || type == VIRTIO_TMEM_REQ_GET ||
            type == VIRTIO_TMEM_REQ_FLUSH || type == VIRTIO_TMEM_REQ_RESERVE ?
            next_count(d) : who >= 248;
    out = take_room(d, 200 * KiB);
    out_len = write_request(d, out, type, count, who);
    if (type == VIRTIO_TMEM_REQ_PUT) {
        out_len += MIN(count, 40) * QTMEM_PAGE_SIZE;
    } else if (type == VIRTIO_TMEM_REQ_GET) {
        in_len += MIN(count, 40) * QTMEM_PAGE_SIZE;
    } else if (type == VIRTIO_TMEM_REQ_STATS) {
        in_len += sizeof(struct virtio_tmem_stats);
    }
    how = next_byte(d);
    odd = next_byte(d);
    in = odd % 16 == 15 ? out + how : take_room(d, in_len);
    num = cut(desc, 0, out, out_len, how % 8, 0);
    num = cut(desc, num, in, in_len, how / 8 % 8, VRING_DESC_F_WRITE);
    if (odd >= 224) {
        unsigned which = next_byte(d) % num;

        desc[which] = odd_desc(d, desc[which]);
    }
    if (d->indirect && how >= 128) {
        add_table(d, desc, num, odd / 16 % 8);
    } else {
        add_chain(d, desc, num);
    }
}

/* ---- Damage ---- */

static void op_desc(Driver *d)
{
    FuzzRing *ring = &d->rings[d->queue];
    QTMEMDesc desc = { ARENA, 64, 0 };
    unsigned slot = next_byte(d), next = next_byte(d);

    desc.flags = next_byte(d) | next_byte(d) << 8;
    desc = odd_desc(d, desc);
    if (slot >= 224) {
        write_split(d, TABLES + slot % MAX_TABLE * 16, desc, next);
    } else if (d->packed) {
        write_packed(d, ring->desc + slot % d->size * 16, desc, next);
    } else {
        write_split(d, ring->desc + slot % d->size * 16, desc, next);
    }
}

static void op_avail(Driver *d)
{
    FuzzRing *ring = &d->rings[d->queue];
    unsigned what = next_byte(d);

    if (what < 192) {
        make_avail(d, what);
    } else {
        /* More at a time than there is, or fewer than there were */
        ring->avail_idx += (int8_t)next_byte(d);
        qtest_writew(d->qts, ring->avail + offsetof(struct vring_avail, idx),
                     ring->avail_idx);
    }
}

static void op_write(Driver *d)
{
    uint64_t addr = odd_address(d);

    qtest_writel(d->qts, addr, next_word(d));
}

static void op_common(Driver *d)
{
    unsigned field = next_byte(d) % (VIRTIO_PCI_COMMON_Q_RESET + 2);
    unsigned value = next_word(d);

    switch (field % 4) {
    case 0:
        common_writel(d, d->pci->common_cfg_offset + field, value);
        break;
    case 2:
        common_writew(d, d->pci->common_cfg_offset + field, value);
        break;
    default:
        qpci_io_writeb(d->pci->pdev, d->pci->bar,
                       d->pci->common_cfg_offset + field, value);
        break;
    }
}

static void op_queue_reset(Driver *d)
{
    common_writew(d, COMMON(queue_select), d->queue);
    common_writew(d, d->pci->common_cfg_offset + VIRTIO_PCI_COMMON_Q_RESET, 1);
    setup_ring(d, d->queue);
}

static void step(Driver *d)
{
    unsigned op = next_byte(d);

    d->queue = op >> 7;
    switch (op % 24) {
    case 0 ... 6:
        op_request(d, op % 24);
        break;
    case 7 ... 9:
        op_request(d, VIRTIO_TMEM_REQ_PUT);
        break;
    case 10 ... 12:
        op_request(d, VIRTIO_TMEM_REQ_GET);
        break;
    case 13:
        op_request(d, next_byte(d));
        break;
    case 14:
        op_desc(d);
        break;
    case 15:
        op_avail(d);
        break;
    case 16:
        op_write(d);
        break;
    case 17:
        op_common(d);
        break;
    case 18:
        op_queue_reset(d);
        break;
    case 19:
        qpci_io_readl(d->pci->pdev, d->pci->bar,
                      d->pci->device_cfg_offset + next_byte(d));
        break;
    default:
        notify(d, d->queue);
        break;
    }
}

/* What no guest can bring about */
static void check_device(void)
{
    TmemStoreStats stats;

    tmem_store_get_stats(tmem->store, &stats);
    g_assert_cmpuint(stats.bytes_used, <=, stats.max_size);
    g_assert_cmpuint(stats.reserved, <=, 64 * QTMEM_NUM_QUEUES);
}

static void virtio_tmem_fuzz(QTestState *s, const unsigned char *data,
                             size_t size)
{
    QVirtioTMEM *node = fuzz_qos_obj;
    Driver d = {
        .qts = s,
        .pci = container_of(node->vdev, QVirtioPCIDevice, vdev),
        .in = { data, size },
    };
    unsigned i;

    start_driver(&d);
    while (d.in.left) {
        step(&d);
    }
    for (i = 0; i < QTMEM_NUM_QUEUES; i++) {
        notify(&d, i);
    }
    flush_events(s);
    check_device();
    set_status(&d, 0);
    flush_events(s);
}

static void virtio_tmem_pre_fuzz(QTestState *s)
{
    qos_init_path(s);
    tmem = VIRTIO_TMEM(object_resolve_path_type("", TYPE_VIRTIO_TMEM, NULL));
}

static void register_virtio_tmem_fuzz_targets(void)
{
    fuzz_add_qos_target(&(FuzzTarget){
                .name = "virtio-tmem-fuzz",
                .description = "Fuzz the rings and requests of virtio-tmem",
                .pre_fuzz = &virtio_tmem_pre_fuzz,
                .fuzz = virtio_tmem_fuzz,},
                "virtio-tmem",
                &(QOSGraphTestOptions){}
                );
}

fuzz_target_init(register_virtio_tmem_fuzz_targets);
