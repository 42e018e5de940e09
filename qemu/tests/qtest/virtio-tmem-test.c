/*
 * QTest of virtio-tmem: what good requests do
 *
 * Each test names the promise it keeps, and the invariant of the design it
 * guards, if any:
 *   1 what was put can be got until it is put again or flushed
 *   2 a put replaces or flushes, no get returns stale bytes
 *   3 a get does not remove the page
 *   4 operations take effect in the order in which they were issued
 *   7 the device trusts nothing from the guest
 *   8 payload and overhead count against the limit, freed memory goes back
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "libqtest-single.h"
#include "qemu/bswap.h"
#include "qemu/host-utils.h"
#include "qemu/module.h"
#include "qobject/qlist.h"
#include "libqos/qgraph.h"
#include "libqos/virtio-tmem.h"

#define RESP sizeof(struct virtio_tmem_resp)
#define PAGE QTMEM_PAGE_SIZE
#define MAX_PAGES VIRTIO_TMEM_MAX_PAGES

/* Pools that the device can hold at one time */
#define MAX_POOLS 64

static uint64_t flush_ok(QTMEM *t, uint32_t pool, uint64_t object,
                         uint64_t first, uint64_t last)
{
    QTMEMReply r = qtmem_flush(t, pool, object, first, last);

    g_assert_cmpint(r.status, ==, VIRTIO_TMEM_S_OK);
    g_assert_cmphex(r.done, ==, 0);
    g_assert_cmpint(r.used_len, ==, RESP);
    return r.value;
}

static unsigned int num_pools(QTMEM *t)
{
    QDict *info = qtmem_query(t);
    unsigned int n = qlist_size(qdict_get_qlist(info, "pools"));

    qobject_unref(info);
    return n;
}

static uint64_t max_pages(QTMEM *t)
{
    return qvirtio_config_readq(t->vdev, offsetof(struct virtio_tmem_config,
                                                  max_pages));
}

/* A driver reads the properties of the command line from configuration space */
static void config_space_tells_the_properties(void *obj, void *data,
                                              QGuestAllocator *alloc)
{
    QTMEM t;
    int i;

    qtmem_start(&t, obj, alloc, 0);
    g_assert_cmpint(t.vdev->device_type, ==, VIRTIO_ID_TMEM);
    /* The second time around after an attempt to write over it */
    for (i = 0; i < 2; i++) {
        QVirtioPCIDevice *pci = container_of(t.vdev, QVirtioPCIDevice, vdev);

        g_assert_cmpint(qvirtio_config_readb(t.vdev,
            offsetof(struct virtio_tmem_config, page_shift)), ==, 12);
        g_assert_cmpint(qvirtio_config_readl(t.vdev,
            offsetof(struct virtio_tmem_config, num_queues)), ==,
            QTMEM_NUM_QUEUES);
        /* The store's own metadata needs a small part */
        g_assert_cmpint(max_pages(&t), <, QTMEM_MAX_SIZE / PAGE);
        g_assert_cmpint(max_pages(&t), >, QTMEM_MAX_SIZE / PAGE / 100 * 98);
        g_assert_cmpint(qvirtio_config_readq(t.vdev,
            offsetof(struct virtio_tmem_config, target_pages)), ==,
            INT64_MAX);
        qpci_io_writel(pci->pdev, pci->bar, pci->device_cfg_offset, ~0u);
        qpci_io_writel(pci->pdev, pci->bar, pci->device_cfg_offset +
                       offsetof(struct virtio_tmem_config, num_queues), ~0u);
    }
    qtmem_stop(&t);
}

/* What is not there yet must not be offered */
static void features_are_those_that_work(void *obj, void *data,
                                        QGuestAllocator *alloc)
{
    QVirtioTMEM *node = obj;
    uint64_t features = qvirtio_get_features(node->vdev);

    g_assert_cmphex(features & 0xffffff, ==,
                    1 << VIRTIO_TMEM_F_STATS | 1 << VIRTIO_TMEM_F_TARGET |
                    1 << VIRTIO_TMEM_F_EPHEMERAL | 1 << VIRTIO_TMEM_F_RESERVE |
                    1 << VIRTIO_TMEM_F_EXCLUSIVE_GET);
}

/* Invariants 1 and 3 */
static void put_page_comes_back_each_time(void *obj, void *data,
                                          QGuestAllocator *alloc)
{
    uint32_t pool;
    QTMEM t;
    int i;

    qtmem_start(&t, obj, alloc, 0);
    pool = qtmem_make_pool(&t);
    qtmem_put_ok(&t, pool, 3, 5, QTMEM_NORMAL, 1);
    for (i = 0; i < 3; i++) {
        qtmem_assert_holds(&t, pool, 3, 5, QTMEM_NORMAL, 1);
        g_assert_cmpint(qtmem_counter(&t, "pages"), ==, 1);
    }
    qtmem_stop(&t);
}

/* Invariant 1, for each way in which the store keeps a page */
static void any_contents_come_back(void *obj, void *data,
                                   QGuestAllocator *alloc)
{
    uint8_t zero[PAGE] = { 0 }, one_off[PAGE] = { [PAGE - 1] = 1 };
    uint32_t pool;
    QTMEMReply r;
    QTMEM t;

    qtmem_start(&t, obj, alloc, 0);
    pool = qtmem_make_pool(&t);
    qtmem_put_ok(&t, pool, 0, 0, QTMEM_NORMAL, 1);
    qtmem_put_ok(&t, pool, 0, 1, QTMEM_RANDOM, 2);
    qtmem_put_ok(&t, pool, 0, 2, QTMEM_SAME_FILLED, 0xfedcba9876543210);
    qtmem_put(&t, pool, 0, 3, zero);
    qtmem_put(&t, pool, 0, 4, one_off);
    qtmem_put_ok(&t, pool, UINT64_MAX, UINT64_MAX, QTMEM_NORMAL, 3);

    qtmem_assert_holds(&t, pool, 0, 0, QTMEM_NORMAL, 1);
    qtmem_assert_holds(&t, pool, 0, 1, QTMEM_RANDOM, 2);
    qtmem_assert_holds(&t, pool, 0, 2, QTMEM_SAME_FILLED, 0xfedcba9876543210);
    r = qtmem_get(&t, pool, 0, 3);
    g_assert_cmpint(r.status, ==, VIRTIO_TMEM_S_OK);
    g_assert_cmpmem(r.payload, PAGE, zero, PAGE);
    r = qtmem_get(&t, pool, 0, 4);
    g_assert_cmpint(r.status, ==, VIRTIO_TMEM_S_OK);
    g_assert_cmpmem(r.payload, PAGE, one_off, PAGE);
    qtmem_assert_holds(&t, pool, UINT64_MAX, UINT64_MAX, QTMEM_NORMAL, 3);

    g_assert_cmpint(qtmem_counter(&t, "pages"), ==, 6);
    g_assert_cmpint(qtmem_counter(&t, "same-filled-pages"), ==, 2);
    g_assert_cmpint(qtmem_counter(&t, "raw-pages"), ==, 1);
    qtmem_stop(&t);
}

/* Invariant 2 */
static void put_replaces(void *obj, void *data, QGuestAllocator *alloc)
{
    static const QTMEMKind kinds[] = {
        QTMEM_NORMAL, QTMEM_RANDOM, QTMEM_SAME_FILLED, QTMEM_NORMAL,
    };
    uint32_t pool;
    QTMEM t;
    int i;

    qtmem_start(&t, obj, alloc, 0);
    pool = qtmem_make_pool(&t);
    for (i = 0; i < ARRAY_SIZE(kinds); i++) {
        qtmem_put_ok(&t, pool, 1, 2, kinds[i], i);
        qtmem_assert_holds(&t, pool, 1, 2, kinds[i], i);
        g_assert_cmpint(qtmem_counter(&t, "pages"), ==, 1);
    }
    qtmem_stop(&t);
}

/* Invariants 2 and 4: within a request too, the later put wins */
static void last_of_a_duplicate_index_wins(void *obj, void *data,
                                           QGuestAllocator *alloc)
{
    const uint64_t index[] = { 9, 8, 9 };
    uint8_t pages[3 * PAGE];
    uint32_t pool;
    QTMEMReply r;
    QTMEM t;
    int i;

    qtmem_start(&t, obj, alloc, 0);
    pool = qtmem_make_pool(&t);
    for (i = 0; i < 3; i++) {
        qtmem_fill_page(pages + i * PAGE, QTMEM_NORMAL, i);
    }
    r = qtmem_put_many(&t, pool, 0, index, 3, pages);
    g_assert_cmpint(r.status, ==, VIRTIO_TMEM_S_OK);
    g_assert_cmphex(r.done, ==, 7);
    g_assert_cmpint(qtmem_counter(&t, "pages"), ==, 2);

    r = qtmem_get_many(&t, pool, 0, index, 3);
    g_assert_cmpint(r.status, ==, VIRTIO_TMEM_S_OK);
    qtmem_assert_page(r.payload, QTMEM_NORMAL, 2);
    qtmem_assert_page(r.payload + PAGE, QTMEM_NORMAL, 1);
    qtmem_assert_page(r.payload + 2 * PAGE, QTMEM_NORMAL, 2);
    qtmem_stop(&t);
}

static QTMEMReply get_exclusive(QTMEM *t, uint32_t pool, const uint64_t *index,
                                uint16_t count)
{
    g_autoptr(GByteArray) get = qtmem_msg(VIRTIO_TMEM_REQ_GET, pool, 0, count);
    int i;

    ((struct virtio_tmem_req *)get->data)->flags = VIRTIO_TMEM_FLAG_EXCLUSIVE;
    for (i = 0; i < count; i++) {
        qtmem_msg_u64(get, index[i]);
    }
    return qtmem_send(t, get, RESP + count * PAGE);
}

/* Found, and removed: each page that was asked for, once, and no other */
static void exclusive_get_removes_what_it_found(void *obj, void *data,
                                                QGuestAllocator *alloc)
{
    const uint64_t index[] = { 5, 6, 5, 9 };
    uint32_t pool;
    QTMEMReply r;
    QTMEM t;

    qtmem_start(&t, obj, alloc, 0);
    pool = qtmem_make_pool(&t);
    qtmem_put_ok(&t, pool, 0, 5, QTMEM_NORMAL, 5);
    qtmem_put_ok(&t, pool, 0, 6, QTMEM_RANDOM, 6);
    qtmem_put_ok(&t, pool, 0, 7, QTMEM_NORMAL, 7);
    qtmem_put_ok(&t, pool, 1, 5, QTMEM_NORMAL, 8);

    r = get_exclusive(&t, pool, index, 4);
    g_assert_cmpint(r.status, ==, VIRTIO_TMEM_S_ABSENT);
    g_assert_cmphex(r.done, ==, 3);
    qtmem_assert_page(r.payload, QTMEM_NORMAL, 5);
    qtmem_assert_page(r.payload + PAGE, QTMEM_RANDOM, 6);

    qtmem_assert_absent(&t, pool, 0, 5);
    qtmem_assert_absent(&t, pool, 0, 6);
    qtmem_assert_holds(&t, pool, 0, 7, QTMEM_NORMAL, 7);
    qtmem_assert_holds(&t, pool, 1, 5, QTMEM_NORMAL, 8);
    g_assert_cmpint(qtmem_counter(&t, "pages"), ==, 2);
    qtmem_stop(&t);
}

static void without_the_feature_no_get_is_exclusive(void *obj, void *data,
                                                    QGuestAllocator *alloc)
{
    const uint64_t index = 5;
    uint32_t pool;
    QTMEM t;

    qtmem_start(&t, obj, alloc, 0);
    pool = qtmem_make_pool(&t);
    qtmem_put_ok(&t, pool, 0, 5, QTMEM_NORMAL, 5);
    g_assert_cmpint(get_exclusive(&t, pool, &index, 1).status, ==,
                    VIRTIO_TMEM_S_INVALID);
    qtmem_assert_holds(&t, pool, 0, 5, QTMEM_NORMAL, 5);
    qtmem_stop(&t);
}

/* Put @count pages of indexes 0, 7, 14... and get them back in one go */
static void round_trip(QTMEM *t, int count)
{
    g_autofree uint8_t *pages = g_malloc(count * PAGE);
    uint32_t pool = qtmem_make_pool(t);
    uint64_t index[MAX_PAGES];
    QTMEMReply r;
    int i;

    for (i = 0; i < count; i++) {
        index[i] = i * 7;
        qtmem_fill_page(pages + i * PAGE, i % 3, 100 + i);
    }
    r = qtmem_put_many(t, pool, 0, index, count, pages);
    g_assert_cmpint(r.status, ==, VIRTIO_TMEM_S_OK);
    g_assert_cmphex(r.done, ==, (1ull << count) - 1);
    g_assert_cmpint(r.used_len, ==, RESP);

    r = qtmem_get_many(t, pool, 0, index, count);
    g_assert_cmpint(r.status, ==, VIRTIO_TMEM_S_OK);
    g_assert_cmphex(r.done, ==, (1ull << count) - 1);
    g_assert_cmpint(r.used_len, ==, RESP + count * PAGE);
    g_assert_cmpmem(r.payload, count * PAGE, pages, count * PAGE);
    g_assert_cmpint(qtmem_pool_destroy(t, pool).value, ==, count);
}

/* Invariant 1 */
static void any_number_of_pages_up_to_32_in_a_request(void *obj, void *data,
                                                      QGuestAllocator *alloc)
{
    QTMEM t;
    int i;

    qtmem_start(&t, obj, alloc, 0);
    for (i = 1; i <= MAX_PAGES; i++) {
        round_trip(&t, i);
    }
    qtmem_stop(&t);
}

/*
 * Invariant 7, and "Message Framing" of the spec: header, list and pages may
 * share descriptors and may be spread over any number of them.
 */
static void descriptor_boundaries_carry_no_meaning(void *obj, void *data,
                                                   QGuestAllocator *alloc)
{
    static const uint32_t layouts[][20] = {
        { 0 },                                  /* all in one */
        { 16, 24, PAGE, PAGE, PAGE, 0 },        /* by the structure */
        { 16, 24, PAGE / 2, PAGE, PAGE, 0 },    /* pages across */
        { 1, 1, 1, 13, 1, 7, 15, 2, 4000, 3, 90, 5000, 1, 1, 0 },
        { 15, 2, 1000, 3000, 2000, 1, 1, 1, 2000, 0 },
        { 39, PAGE + 2, PAGE, 0 },              /* first byte of the pages */
        { 41, PAGE - 1, 1, PAGE - 1, 1, 0 },
        { 24, PAGE, PAGE, PAGE, 0 },            /* for the response */
        { 23, PAGE + 1, PAGE, 0 },
        { 25, PAGE - 1, PAGE, 0 },
    };
    const uint64_t index[] = { 4, 5, 6 };
    uint8_t pages[3 * PAGE];
    uint32_t pool;
    QTMEM t;
    int i, j, k;

    qtmem_start(&t, obj, alloc, 0);
    pool = qtmem_make_pool(&t);
    for (i = 0; i < ARRAY_SIZE(layouts); i++) {
        for (j = 0; j < ARRAY_SIZE(layouts); j++) {
            g_autoptr(GByteArray) put = NULL, get = NULL;
            QTMEMReply r;

            put = qtmem_msg(VIRTIO_TMEM_REQ_PUT, pool, 2, 3);
            get = qtmem_msg(VIRTIO_TMEM_REQ_GET, pool, 2, 3);
            for (k = 0; k < 3; k++) {
                qtmem_msg_u64(put, index[k]);
                qtmem_msg_u64(get, index[k]);
                qtmem_fill_page(pages + k * PAGE, (i + k) % 3,
                                i * 1000 + j * 10 + k);
            }
            g_byte_array_append(put, pages, sizeof(pages));

            r = qtmem_send_cut(&t, put, layouts[i], RESP, layouts[j]);
            g_assert_cmpint(r.status, ==, VIRTIO_TMEM_S_OK);
            g_assert_cmphex(r.done, ==, 7);
            r = qtmem_send_cut(&t, get, layouts[j], RESP + sizeof(pages),
                               layouts[i]);
            g_assert_cmpint(r.status, ==, VIRTIO_TMEM_S_OK);
            g_assert_cmpint(r.used_len, ==, RESP + sizeof(pages));
            g_assert_cmpmem(r.payload, sizeof(pages), pages, sizeof(pages));
        }
    }
    qtmem_stop(&t);
}

/*
 * Absent pages do not end the answer: the used length covers all pages, so all
 * of them are written. Stale bytes of the host must not be seen (invariant 7).
 */
static void absent_pages_are_zero_filled(void *obj, void *data,
                                         QGuestAllocator *alloc)
{
    static const uint32_t cuts[] = { 100, 5000, 0 };
    const uint64_t index[] = { 10, 11, 12, 13 };
    g_autoptr(GByteArray) get = NULL;
    uint8_t zero[PAGE] = { 0 };
    uint32_t pool;
    QTMEM t;
    int i;

    qtmem_start(&t, obj, alloc, 0);
    pool = qtmem_make_pool(&t);
    qtmem_put_ok(&t, pool, 0, 11, QTMEM_RANDOM, 1);
    get = qtmem_msg(VIRTIO_TMEM_REQ_GET, pool, 0, 4);
    for (i = 0; i < 4; i++) {
        qtmem_msg_u64(get, index[i]);
    }
    for (i = 0; i < 2; i++) {
        QTMEMReply r = qtmem_send_cut(&t, get, NULL, RESP + 4 * PAGE,
                                      i ? cuts : NULL);

        g_assert_cmpint(r.status, ==, VIRTIO_TMEM_S_ABSENT);
        g_assert_cmphex(r.done, ==, 1 << 1);
        g_assert_cmphex(r.failed, ==, 0);
        g_assert_cmpint(r.used_len, ==, RESP + 4 * PAGE);
        g_assert_cmpmem(r.payload, PAGE, zero, PAGE);
        qtmem_assert_page(r.payload + PAGE, QTMEM_RANDOM, 1);
        g_assert_cmpmem(r.payload + 2 * PAGE, PAGE, zero, PAGE);
        g_assert_cmpmem(r.payload + 3 * PAGE, PAGE, zero, PAGE);
    }
    qtmem_stop(&t);
}

/* A flush of @num ranges, given as pairs of first and last */
static uint64_t flush_ranges(QTMEM *t, uint32_t pool, const uint64_t *range,
                             uint16_t num)
{
    g_autoptr(GByteArray) msg = qtmem_msg(VIRTIO_TMEM_REQ_FLUSH, pool, 0, num);
    QTMEMReply r;
    int i;

    for (i = 0; i < 2 * num; i++) {
        qtmem_msg_u64(msg, range[i]);
    }
    r = qtmem_send(t, msg, RESP);
    g_assert_cmpint(r.status, ==, VIRTIO_TMEM_S_OK);
    return r.value;
}

/* Invariants 1 and 2: what is flushed is gone, its neighbours are not */
static void flush_removes_exactly_its_ranges(void *obj, void *data,
                                             QGuestAllocator *alloc)
{
    /* overlapping, adjacent, of one page, of nothing, out of order */
    static const uint64_t ranges[] = {
        10, 12, 11, 14, 15, 15, 1000, UINT64_MAX, 3, 4,
    };
    uint32_t pool;
    QTMEM t;
    int i;

    qtmem_start(&t, obj, alloc, 0);
    pool = qtmem_make_pool(&t);
    for (i = 0; i < 20; i++) {
        qtmem_put_ok(&t, pool, 0, i, QTMEM_NORMAL, i);
    }
    qtmem_put_ok(&t, pool, 1, 11, QTMEM_NORMAL, 99);

    g_assert_cmpint(flush_ranges(&t, pool, ranges, 5), ==, 8);
    for (i = 0; i < 20; i++) {
        if (i == 3 || i == 4 || (i >= 10 && i <= 15)) {
            qtmem_assert_absent(&t, pool, 0, i);
        } else {
            qtmem_assert_holds(&t, pool, 0, i, QTMEM_NORMAL, i);
        }
    }
    qtmem_assert_holds(&t, pool, 1, 11, QTMEM_NORMAL, 99);

    /* What is gone is not counted again */
    g_assert_cmpint(flush_ranges(&t, pool, ranges, 5), ==, 0);
    g_assert_cmpint(qtmem_counter(&t, "pages"), ==, 13);
    qtmem_stop(&t);
}

/* A range may be anything; what it costs is what it frees */
static void flush_takes_any_range(void *obj, void *data,
                                  QGuestAllocator *alloc)
{
    uint64_t ranges[2 * VIRTIO_TMEM_MAX_RANGES];
    uint32_t pool;
    QTMEM t;
    int i;

    qtmem_start(&t, obj, alloc, 0);
    pool = qtmem_make_pool(&t);
    qtmem_put_ok(&t, pool, 0, 0, QTMEM_NORMAL, 1);
    qtmem_put_ok(&t, pool, 0, 1ull << 40, QTMEM_NORMAL, 2);
    qtmem_put_ok(&t, pool, 0, UINT64_MAX, QTMEM_NORMAL, 3);
    g_assert_cmpint(flush_ok(&t, pool, 0, 1, UINT64_MAX - 1), ==, 1);
    qtmem_assert_holds(&t, pool, 0, 0, QTMEM_NORMAL, 1);
    qtmem_assert_holds(&t, pool, 0, UINT64_MAX, QTMEM_NORMAL, 3);
    g_assert_cmpint(flush_ok(&t, pool, 0, 0, UINT64_MAX), ==, 2);
    qtmem_assert_absent(&t, pool, 0, 0);
    qtmem_assert_absent(&t, pool, 0, UINT64_MAX);

    for (i = 0; i < VIRTIO_TMEM_MAX_RANGES; i++) {
        ranges[2 * i] = ranges[2 * i + 1] = i;
    }
    qtmem_put_ok(&t, pool, 0, VIRTIO_TMEM_MAX_RANGES - 1, QTMEM_NORMAL, 4);
    qtmem_put_ok(&t, pool, 0, VIRTIO_TMEM_MAX_RANGES, QTMEM_NORMAL, 5);
    g_assert_cmpint(flush_ranges(&t, pool, ranges, VIRTIO_TMEM_MAX_RANGES),
                    ==, 1);
    qtmem_assert_holds(&t, pool, 0, VIRTIO_TMEM_MAX_RANGES, QTMEM_NORMAL, 5);
    qtmem_stop(&t);
}

/* Put random pages until one does not fit; returns how many fit */
static uint64_t fill_store(QTMEM *t, uint32_t pool, uint64_t object)
{
    g_autofree uint8_t *pages = g_malloc(MAX_PAGES * PAGE);
    uint64_t index[MAX_PAGES];
    uint64_t stored = 0;
    QTMEMReply r;
    int i;

    for (i = 0; i < MAX_PAGES; i++) {
        qtmem_fill_page(pages + i * PAGE, QTMEM_RANDOM, i);
    }
    do {
        for (i = 0; i < MAX_PAGES; i++) {
            index[i] = stored + i;
        }
        r = qtmem_put_many(t, pool, object, index, MAX_PAGES, pages);
        stored += ctpop32(r.done);
        g_assert_cmpint(stored * PAGE, <=, QTMEM_MAX_SIZE);
    } while (r.status == VIRTIO_TMEM_S_OK);

    g_assert_cmpint(r.status, ==, VIRTIO_TMEM_S_REJECTED);
    /* All raw pages are alike: those in front fit, those behind do not */
    g_assert_cmphex(r.done, ==, (1ull << stored % MAX_PAGES) - 1);
    for (i = 0; i < MAX_PAGES; i++) {
        if (r.done & (1u << i)) {
            qtmem_assert_holds(t, pool, object, index[i], QTMEM_RANDOM, i);
        } else {
            qtmem_assert_absent(t, pool, object, index[i]);
        }
    }
    return stored;
}

/* Invariants 1, 2 and 8: what does not fit is refused, not forgotten later */
static void full_store_rejects_exactly_what_does_not_fit(void *obj, void *data,
    QGuestAllocator *alloc)
{
    uint64_t stored, rejected, i;
    uint32_t pool;
    QTMEM t;

    qtmem_start(&t, obj, alloc, 0);
    pool = qtmem_make_pool(&t);
    rejected = qtmem_counter(&t, "rejected-puts");
    stored = fill_store(&t, pool, 0);
    /* What configuration space promises, and hardly more */
    g_assert_cmpint(stored, >=, max_pages(&t));
    g_assert_cmpint(stored, <=, max_pages(&t) + max_pages(&t) / 100);
    g_assert_cmpint(qtmem_counter(&t, "pages"), ==, stored);
    g_assert_cmpint(qtmem_counter(&t, "raw-pages"), ==, stored);
    g_assert_cmpint(qtmem_counter(&t, "bytes-stored"), ==, stored * PAGE);
    g_assert_cmpint(qtmem_counter(&t, "bytes-used"), >, stored * PAGE);
    g_assert_cmpint(qtmem_counter(&t, "bytes-used"), <=,
                    qtmem_counter(&t, "limit"));
    g_assert_cmpint(qtmem_counter(&t, "rejected-puts"), ==,
                    rejected + MAX_PAGES - stored % MAX_PAGES);
    for (i = 0; i < stored; i += 97) {
        qtmem_assert_holds(&t, pool, 0, i, QTMEM_RANDOM, i % MAX_PAGES);
    }

    /* Room again: for as many pages as were flushed, and with their contents */
    g_assert_cmpint(flush_ok(&t, pool, 0, 0, UINT64_MAX), ==, stored);
    g_assert_cmpint(qtmem_counter(&t, "bytes-stored"), ==, 0);
    g_assert_cmpint(qtmem_counter(&t, "bytes-used"), <,
                    qtmem_counter(&t, "limit") / 10);
    g_assert_cmpint(fill_store(&t, pool, 1), ==, stored);
    qtmem_stop(&t);
}

/* Invariant 2: a put that fails flushes what the key had */
static void rejected_put_leaves_no_stale_page(void *obj, void *data,
                                              QGuestAllocator *alloc)
{
    uint8_t page[PAGE];
    uint64_t i, stored;
    int rejected = 0;
    uint32_t pool;
    QTMEM t;

    qtmem_start(&t, obj, alloc, 0);
    g_assert_cmpint(qtmem_counter(&t, "limit"), ==, 1024 * 1024);
    pool = qtmem_make_pool(&t);
    /* Small ones first, to be replaced by large ones when the store is full */
    for (i = 0; i < 64; i++) {
        qtmem_put_ok(&t, pool, 7, i, QTMEM_NORMAL, i);
    }
    stored = fill_store(&t, pool, 8);
    for (i = 0; i < 64; i++) {
        QTMEMReply r;

        qtmem_fill_page(page, QTMEM_RANDOM, 1000 + i);
        r = qtmem_put(&t, pool, 7, i, page);
        if (r.done) {
            g_assert_cmpint(r.status, ==, VIRTIO_TMEM_S_OK);
            qtmem_assert_holds(&t, pool, 7, i, QTMEM_RANDOM, 1000 + i);
        } else {
            g_assert_cmpint(r.status, ==, VIRTIO_TMEM_S_REJECTED);
            qtmem_assert_absent(&t, pool, 7, i);
            rejected++;
        }
    }
    g_assert_cmpint(rejected, >, 0);
    for (i = 0; i < stored; i++) {
        qtmem_assert_holds(&t, pool, 8, i, QTMEM_RANDOM, i % MAX_PAGES);
    }
    qtmem_stop(&t);
}

/* Invariant 1: a key is pool, object and index, all of them */
static void pools_and_objects_do_not_see_each_other(void *obj, void *data,
                                                    QGuestAllocator *alloc)
{
    uint32_t a, b;
    QTMEM t;

    qtmem_start(&t, obj, alloc, 0);
    a = qtmem_make_pool(&t);
    b = qtmem_make_pool(&t);
    g_assert_cmpint(a, !=, b);
    qtmem_put_ok(&t, a, 1, 2, QTMEM_NORMAL, 1);
    qtmem_assert_absent(&t, b, 1, 2);
    qtmem_assert_absent(&t, a, 2, 1);
    qtmem_put_ok(&t, b, 1, 2, QTMEM_NORMAL, 2);
    qtmem_put_ok(&t, a, 2, 2, QTMEM_NORMAL, 3);
    g_assert_cmpint(flush_ok(&t, b, 1, 0, UINT64_MAX), ==, 1);
    qtmem_assert_absent(&t, b, 1, 2);
    qtmem_assert_holds(&t, a, 1, 2, QTMEM_NORMAL, 1);
    qtmem_assert_holds(&t, a, 2, 2, QTMEM_NORMAL, 3);

    qtmem_put_ok(&t, b, 1, 2, QTMEM_NORMAL, 4);
    g_assert_cmpint(qtmem_pool_destroy(&t, a).value, ==, 2);
    qtmem_assert_holds(&t, b, 1, 2, QTMEM_NORMAL, 4);
    g_assert_cmpint(qtmem_counter(&t, "pages"), ==, 1);
    qtmem_stop(&t);
}

/* Invariant 7: an id is dead once its pool is, and only then */
static void destroyed_pool_is_refused(void *obj, void *data,
                                      QGuestAllocator *alloc)
{
    uint8_t page[PAGE] = { 0 };
    uint32_t pool, other;
    QTMEM t;

    qtmem_start(&t, obj, alloc, 0);
    pool = qtmem_make_pool(&t);
    other = qtmem_make_pool(&t);
    qtmem_put_ok(&t, pool, 0, 0, QTMEM_NORMAL, 1);
    g_assert_cmpint(qtmem_pool_destroy(&t, pool).status, ==, VIRTIO_TMEM_S_OK);
    g_assert_cmpint(qtmem_pool_destroy(&t, pool).status, ==,
                    VIRTIO_TMEM_S_INVALID);
    g_assert_cmpint(qtmem_put(&t, pool, 0, 0, page).status, ==,
                    VIRTIO_TMEM_S_INVALID);
    g_assert_cmpint(qtmem_get(&t, pool, 0, 0).status, ==,
                    VIRTIO_TMEM_S_INVALID);
    g_assert_cmpint(qtmem_flush(&t, pool, 0, 0, 0).status, ==,
                    VIRTIO_TMEM_S_INVALID);
    qtmem_put_ok(&t, other, 0, 0, QTMEM_NORMAL, 2);
    qtmem_assert_holds(&t, other, 0, 0, QTMEM_NORMAL, 2);
    qtmem_stop(&t);
}

/* Invariants 7 and 8: pools cost memory too, so they are bounded */
static void one_pool_too_many_is_rejected(void *obj, void *data,
                                          QGuestAllocator *alloc)
{
    uint32_t pool[MAX_POOLS];
    QTMEMReply r;
    QTMEM t;
    int i, j;

    qtmem_start(&t, obj, alloc, 0);
    for (i = 0; i < MAX_POOLS; i++) {
        pool[i] = qtmem_make_pool(&t);
        for (j = 0; j < i; j++) {
            g_assert_cmpint(pool[i], !=, pool[j]);
        }
    }
    r = qtmem_pool_create(&t);
    g_assert_cmpint(r.status, ==, VIRTIO_TMEM_S_REJECTED);
    g_assert_cmpint(r.value, ==, 0);
    g_assert_cmpint(num_pools(&t), ==, MAX_POOLS);
    qtmem_put_ok(&t, pool[17], 0, 0, QTMEM_NORMAL, 1);

    g_assert_cmpint(qtmem_pool_destroy(&t, pool[17]).value, ==, 1);
    pool[17] = qtmem_make_pool(&t);
    qtmem_assert_absent(&t, pool[17], 0, 0);
    qtmem_stop(&t);
}

/* The guest is told the same numbers as the host's operator */
static void statistics_are_those_of_query_tmem(void *obj, void *data,
                                               QGuestAllocator *alloc)
{
    g_autoptr(GByteArray) msg = qtmem_msg(VIRTIO_TMEM_REQ_STATS, 0, 0, 0);
    struct virtio_tmem_stats stats;
    uint32_t pool;
    QTMEMReply r;
    QTMEM t;
    int i;

    qtmem_start(&t, obj, alloc, 0);
    pool = qtmem_make_pool(&t);
    for (i = 0; i < 100; i++) {
        qtmem_put_ok(&t, pool, 0, i, QTMEM_RANDOM, i);
    }
    r = qtmem_send(&t, msg, RESP + sizeof(stats));
    g_assert_cmpint(r.status, ==, VIRTIO_TMEM_S_OK);
    g_assert_cmpint(r.used_len, ==, RESP + sizeof(stats));
    memcpy(&stats, r.payload, sizeof(stats));
    g_assert_cmpint(le64_to_cpu(stats.pages), ==, 100);
    g_assert_cmpint(le64_to_cpu(stats.bytes_used), ==,
                    qtmem_counter(&t, "bytes-used"));
    g_assert_cmpint(le64_to_cpu(stats.bytes_used), >, 100 * PAGE);
    g_assert_cmpint(le64_to_cpu(stats.limit), ==, QTMEM_MAX_SIZE);
    qtmem_stop(&t);
}

/* A request whose feature is not there is as unknown as any other type */
static void without_stats_the_request_is_unknown(void *obj, void *data,
                                                 QGuestAllocator *alloc)
{
    g_autoptr(GByteArray) msg = qtmem_msg(VIRTIO_TMEM_REQ_STATS, 0, 0, 0);
    QTMEMReply r;
    QTMEM t;

    qtmem_start(&t, obj, alloc, 0);
    g_assert_cmphex(qvirtio_get_features(t.vdev) & 1 << VIRTIO_TMEM_F_STATS,
                    ==, 0);
    r = qtmem_send(&t, msg, RESP + sizeof(struct virtio_tmem_stats));
    g_assert_cmpint(r.status, ==, VIRTIO_TMEM_S_INVALID);
    g_assert_cmpint(r.used_len, ==, RESP);
    qtmem_stop(&t);
}

/* Queues share the store: which one a request takes is the driver's choice */
static void all_queues_reach_the_same_store(void *obj, void *data,
                                            QGuestAllocator *alloc)
{
    uint32_t pool;
    QTMEM t;

    qtmem_start(&t, obj, alloc, 0);
    t.queue = 1;
    pool = qtmem_make_pool(&t);
    qtmem_put_ok(&t, pool, 0, 1, QTMEM_NORMAL, 1);
    t.queue = 0;
    qtmem_assert_holds(&t, pool, 0, 1, QTMEM_NORMAL, 1);
    qtmem_put_ok(&t, pool, 0, 1, QTMEM_NORMAL, 2);
    t.queue = 1;
    qtmem_assert_holds(&t, pool, 0, 1, QTMEM_NORMAL, 2);
    qtmem_stop(&t);
}

static void register_virtio_tmem_test(void)
{
    QOSGraphTestOptions small = {
        .edge.extra_device_opts = "max-size=1M",
    };
    QOSGraphTestOptions no_stats = {
        .edge.extra_device_opts = "stats=off",
    };
    QOSGraphTestOptions no_exclusive = {
        .edge.extra_device_opts = "exclusive-get=off",
    };

#define ADD(fn, opts) qos_add_test(#fn, "virtio-tmem", fn, opts)
    ADD(config_space_tells_the_properties, NULL);
    ADD(features_are_those_that_work, NULL);
    ADD(put_page_comes_back_each_time, NULL);
    ADD(any_contents_come_back, NULL);
    ADD(put_replaces, NULL);
    ADD(last_of_a_duplicate_index_wins, NULL);
    ADD(any_number_of_pages_up_to_32_in_a_request, NULL);
    ADD(descriptor_boundaries_carry_no_meaning, NULL);
    ADD(absent_pages_are_zero_filled, NULL);
    ADD(flush_removes_exactly_its_ranges, NULL);
    ADD(flush_takes_any_range, NULL);
    ADD(full_store_rejects_exactly_what_does_not_fit, NULL);
    ADD(rejected_put_leaves_no_stale_page, &small);
    ADD(pools_and_objects_do_not_see_each_other, NULL);
    ADD(destroyed_pool_is_refused, NULL);
    ADD(one_pool_too_many_is_rejected, NULL);
    ADD(exclusive_get_removes_what_it_found, NULL);
    ADD(without_the_feature_no_get_is_exclusive, &no_exclusive);
    ADD(statistics_are_those_of_query_tmem, NULL);
    ADD(without_stats_the_request_is_unknown, &no_stats);
    ADD(all_queues_reach_the_same_store, NULL);
#undef ADD
}

libqos_init(register_virtio_tmem_test);
