/*
 * QTest of virtio-tmem: pools, and what a page costs the host
 *
 * Ephemeral pools, quotas, compression, memory that is locked or in huge pages.
 * Invariants are those that virtio-tmem-test.c lists.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/mman.h>
#include "libqtest-single.h"
#include "qemu/module.h"
#include "qobject/qlist.h"
#include "qobject/qnum.h"
#include "libqos/qgraph.h"
#include "libqos/virtio-pci.h"
#include "libqos/virtio-tmem.h"
#include "standard-headers/linux/virtio_pci.h"

#define PAGE QTMEM_PAGE_SIZE
#define MIB (1024 * 1024ull)
#define GIB (1024 * MIB)

/* Counters and sizes outlive a reset: each test has a QEMU of its own */
static void *fresh_begin(GString *cmd_line, void *arg)
{
    static int n;

    g_string_append_printf(cmd_line, " -name cost%d ", n++);
    return arg;
}

static bool is_held(QTMEM *t, uint32_t pool, uint64_t index)
{
    return qtmem_get(t, pool, 0, index).done == 1;
}

static QDict *pool_info(QDict *info, uint32_t id)
{
    const QListEntry *e;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(info, "pools"), e) {
        QDict *pool = qobject_to(QDict, qlist_entry_obj(e));

        if (qdict_get_int(pool, "id") == id) {
            return pool;
        }
    }
    g_assert_not_reached();
}

/* ---- Ephemeral pools ---- */

/* Invariant 1: what makes room is what may be dropped, the oldest first */
static void full_store_drops_the_oldest_ephemeral_pages(void *obj, void *data,
    QGuestAllocator *alloc)
{
    uint32_t persistent, ephemeral;
    uint64_t i, first, held = 1;
    QTMEM t;

    qtmem_start(&t, obj, alloc, 0);
    persistent = qtmem_make_pool(&t);
    ephemeral = qtmem_make_ephemeral_pool(&t);
    g_assert_cmpint(qtmem_put_range(&t, persistent, 0, 32, QTMEM_RANDOM), ==,
                    32);
    /* Twice what fits. Index 0 is used again and again: never the oldest. */
    for (i = 0; i < 512; i += 16) {
        g_assert_cmpint(qtmem_put_range(&t, ephemeral, i, 16, QTMEM_RANDOM), ==,
                        16);
        g_assert_true(is_held(&t, ephemeral, 0));
    }
    for (first = 1; !is_held(&t, ephemeral, first); first++) {
        g_assert_cmpint(first, <, 512);
    }
    g_assert_cmpint(first, >, 1);
    qtmem_assert_range(&t, ephemeral, first, 512 - first, QTMEM_RANDOM);
    qtmem_assert_range(&t, ephemeral, 0, 1, QTMEM_RANDOM);
    held += 512 - first;
    g_assert_cmpint(qtmem_counter(&t, "ephemeral-pages"), ==, held);
    g_assert_cmpint(qtmem_counter(&t, "evicted"), ==, 512 - held);
    g_assert_cmpint(qtmem_counter(&t, "rejected-puts"), ==, 0);
    qtmem_assert_range(&t, persistent, 0, 32, QTMEM_RANDOM);
    qtmem_stop(&t);
}

/* Invariant 1: persistent pages take the room of ephemeral ones, and stay */
static void persistent_pages_drive_ephemeral_ones_out(void *obj, void *data,
    QGuestAllocator *alloc)
{
    uint32_t persistent, ephemeral;
    g_autoptr(QDict) info = NULL;
    uint64_t stored;
    QDict *pool;
    QTMEM t;

    qtmem_start(&t, obj, alloc, 0);
    persistent = qtmem_make_pool(&t);
    ephemeral = qtmem_make_ephemeral_pool(&t);
    g_assert_cmpint(qtmem_put_range(&t, ephemeral, 0, 96, QTMEM_RANDOM), ==,
                    96);
    g_assert_cmpint(qtmem_counter(&t, "ephemeral-pages"), ==, 96);
    g_assert_cmpint(qtmem_counter(&t, "evicted"), ==, 0);

    stored = qtmem_put_range(&t, persistent, 0, 512, QTMEM_RANDOM);
    g_assert_cmpint(stored, >=, qvirtio_config_readq(t.vdev,
        offsetof(struct virtio_tmem_config, max_pages)));
    g_assert_cmpint(stored, <, 512);
    qtmem_assert_range(&t, persistent, 0, stored, QTMEM_RANDOM);

    info = qtmem_query(&t);
    g_assert_cmpint(qdict_get_int(info, "ephemeral-pages"), ==, 0);
    g_assert_cmpint(qdict_get_int(info, "evicted"), ==, 96);
    g_assert_cmpint(qdict_get_int(info, "rejected-puts"), ==, 512 - stored);
    /* They were not flushed: the guest had no part in it */
    g_assert_cmpint(qdict_get_int(info, "flushes"), ==, 0);
    pool = pool_info(info, ephemeral);
    g_assert_true(qdict_get_bool(pool, "ephemeral"));
    g_assert_cmpint(qdict_get_int(pool, "pages"), ==, 0);
    g_assert_cmpint(qdict_get_int(pool, "bytes-stored"), ==, 0);
    pool = pool_info(info, persistent);
    g_assert_false(qdict_get_bool(pool, "ephemeral"));
    g_assert_cmpint(qdict_get_int(pool, "pages"), ==, stored);

    /* Absent is all that a guest hears of it */
    qtmem_assert_absent(&t, ephemeral, 0, 95);
    qtmem_stop(&t);
}

/* Invariant 7: no flag without its feature, whoever left it out */
static void ephemeral_flag_needs_its_feature(void *obj, void *data,
                                             QGuestAllocator *alloc)
{
    QTMEMReply r;
    QTMEM t;

    qtmem_start(&t, obj, alloc, 0);
    t.refused_features = 1 << VIRTIO_TMEM_F_EPHEMERAL;
    qtmem_restart(&t);
    r = qtmem_pool_create_flags(&t, VIRTIO_TMEM_FLAG_EPHEMERAL);
    g_assert_cmpint(r.status, ==, VIRTIO_TMEM_S_INVALID);
    g_assert_cmpint(r.value, ==, 0);
    g_assert_cmpint(qtmem_pool_create_flags(&t, 0).status, ==,
                    VIRTIO_TMEM_S_OK);

    t.refused_features = 0;
    qtmem_restart(&t);
    r = qtmem_pool_create_flags(&t, VIRTIO_TMEM_FLAG_EPHEMERAL);
    g_assert_cmpint(r.status, ==,
                    data ? VIRTIO_TMEM_S_INVALID : VIRTIO_TMEM_S_OK);
    r = qtmem_pool_create_flags(&t, VIRTIO_TMEM_FLAG_EPHEMERAL | 0x40);
    g_assert_cmpint(r.status, ==, VIRTIO_TMEM_S_INVALID);
    qtmem_stop(&t);
}

/* A quota is for each pool, and what is over it is as if there was no room */
static void pool_quota_bounds_each_pool(void *obj, void *data,
                                        QGuestAllocator *alloc)
{
    uint8_t page[PAGE] = { 1 };
    uint32_t a, b;
    QTMEM t;

    qtmem_start(&t, obj, alloc, 0);
    a = qtmem_make_pool(&t);
    b = qtmem_make_pool(&t);
    /* 1 MiB of the guest's pages, however well they compress */
    g_assert_cmpint(qtmem_put_range(&t, a, 0, 300, QTMEM_NORMAL), ==, 256);
    g_assert_cmpint(qtmem_counter(&t, "rejected-puts"), ==, 44);
    qtmem_assert_range(&t, a, 0, 256, QTMEM_NORMAL);
    qtmem_assert_absent(&t, a, 0, 256);
    g_assert_cmpint(qtmem_put(&t, a, 1, 0, page).status, ==,
                    VIRTIO_TMEM_S_REJECTED);
    g_assert_cmpint(qtmem_put_range(&t, b, 0, 256, QTMEM_NORMAL), ==, 256);

    /* Invariant 2: what the pool has may be replaced */
    qtmem_put_ok(&t, a, 0, 255, QTMEM_RANDOM, 1);
    qtmem_assert_holds(&t, a, 0, 255, QTMEM_RANDOM, 1);
    g_assert_cmpint(qtmem_flush(&t, a, 0, 7, 7).value, ==, 1);
    qtmem_put_ok(&t, a, 0, 1000, QTMEM_NORMAL, 2);
    g_assert_cmpint(qtmem_put(&t, a, 0, 1001, page).status, ==,
                    VIRTIO_TMEM_S_REJECTED);
    qtmem_stop(&t);
}

/* ---- What a page costs ---- */

/* What @compression makes of 64 ordinary, 8 random and 8 same-filled pages */
typedef struct Costs {
    uint64_t raw;
    uint64_t zstd;
    uint64_t min_bytes;
    uint64_t max_bytes;
} Costs;

/* Invariant 1, whatever becomes of a page in between */
static void compression_is_what_was_asked_for(void *obj, void *data,
                                              QGuestAllocator *alloc)
{
    const Costs *costs = data;
    uint32_t pool;
    uint64_t i;
    QTMEM t;

    qtmem_start(&t, obj, alloc, 0);
    pool = qtmem_make_pool(&t);
    g_assert_cmpint(qtmem_put_range(&t, pool, 0, 64, QTMEM_NORMAL), ==, 64);
    g_assert_cmpint(qtmem_put_range(&t, pool, 64, 8, QTMEM_RANDOM), ==, 8);
    g_assert_cmpint(qtmem_put_range(&t, pool, 72, 8, QTMEM_SAME_FILLED), ==, 8);
    for (i = 0; i < 2; i++) {
        qtmem_assert_range(&t, pool, 0, 64, QTMEM_NORMAL);
        qtmem_assert_range(&t, pool, 64, 8, QTMEM_RANDOM);
        qtmem_assert_range(&t, pool, 72, 8, QTMEM_SAME_FILLED);
    }
    g_assert_cmpint(qtmem_counter(&t, "same-filled-pages"), ==, 8);
    g_assert_cmpint(qtmem_counter(&t, "raw-pages"), ==, costs->raw);
    g_assert_cmpint(qtmem_counter(&t, "zstd-pages"), ==, costs->zstd);
    g_assert_cmpint(qtmem_counter(&t, "bytes-stored"), >=, costs->min_bytes);
    g_assert_cmpint(qtmem_counter(&t, "bytes-stored"), <=, costs->max_bytes);
    qtmem_stop(&t);
}

/* A page of words that recur far apart: more effort finds more of them */
static void fill_text_page(uint8_t *page, uint64_t seed)
{
    static const char *const words[] = {
        "transcend", "memory", "a page", "of the host", "swap", "slot ",
        "balloon", "reclaim", "store ", "pool", "guest", "index ", "object",
        "persist", "ephemeral", "pressure",
    };
    uint64_t x = seed + 1;
    size_t pos = 0;

    while (pos < PAGE) {
        const char *word;
        size_t len;

        x = x * 6364136223846793005ull + 1442695040888963407ull;
        word = words[x >> 60];
        len = MIN(strlen(word), PAGE - pos);
        memcpy(page + pos, word, len);
        pos += len;
    }
}

/* @data: what 16 pages of text take at this level */
static void compression_level_is_heeded(void *obj, void *data,
                                        QGuestAllocator *alloc)
{
    const Costs *costs = data;
    uint8_t page[PAGE];
    uint32_t pool;
    uint64_t i;
    QTMEM t;

    qtmem_start(&t, obj, alloc, 0);
    pool = qtmem_make_pool(&t);
    for (i = 0; i < 16; i++) {
        fill_text_page(page, i);
        g_assert_cmpint(qtmem_put(&t, pool, 0, i, page).done, ==, 1);
    }
    for (i = 0; i < 16; i++) {
        fill_text_page(page, i);
        g_assert_cmpmem(qtmem_get(&t, pool, 0, i).payload, PAGE, page, PAGE);
    }
    g_test_message("%" PRIu64 " bytes", qtmem_counter(&t, "bytes-stored"));
    g_assert_cmpint(qtmem_counter(&t, "zstd-pages"), ==, costs->zstd);
    g_assert_cmpint(qtmem_counter(&t, "bytes-stored"), >=, costs->min_bytes);
    g_assert_cmpint(qtmem_counter(&t, "bytes-stored"), <=, costs->max_bytes);
    qtmem_stop(&t);
}

/* Calls in all bins; there is one more of these than of boundaries */
static uint64_t count_calls(QTMEM *t, const char *name)
{
    g_autoptr(QDict) info = qtmem_query(t);
    QDict *latency = qdict_get_qdict(info, name);
    const QListEntry *bound = qlist_first(qdict_get_qlist(latency,
                                                          "boundaries"));
    const QListEntry *bin;
    uint64_t calls = 0, last = 0, value;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(latency, "bins"), bin) {
        g_assert_true(qnum_get_try_uint(qobject_to(QNum, bin->value), &value));
        calls += value;
        if (qlist_next(bin)) {
            g_assert_true(qnum_get_try_uint(qobject_to(QNum, bound->value),
                                            &value));
            g_assert_cmpint(value, >, last);
            last = value;
            bound = qlist_next(bound);
        }
    }
    g_assert_null(bound);
    return calls;
}

/* One call in 16 of each kind, in whatever order they come */
static void latencies_of_puts_and_gets_are_counted(void *obj, void *data,
                                                   QGuestAllocator *alloc)
{
    uint32_t pool;
    QTMEM t;
    int i;

    qtmem_start(&t, obj, alloc, 0);
    g_assert_cmpint(count_calls(&t, "put-latency"), ==, 0);
    g_assert_cmpint(count_calls(&t, "get-latency"), ==, 0);
    /* In turns, as a guest does that swaps in for each page that goes out */
    pool = qtmem_make_pool(&t);
    for (i = 0; i < 160; i++) {
        qtmem_put_ok(&t, pool, 0, i, QTMEM_NORMAL, i);
        qtmem_assert_holds(&t, pool, 0, i, QTMEM_NORMAL, i);
    }
    g_assert_cmpint(count_calls(&t, "put-latency"), ==, 10);
    g_assert_cmpint(count_calls(&t, "get-latency"), ==, 10);
    g_assert_cmpint(qtmem_put_range(&t, pool, 0, 320, QTMEM_RANDOM), ==, 320);
    g_assert_cmpint(count_calls(&t, "put-latency"), ==, 30);
    g_assert_cmpint(count_calls(&t, "get-latency"), ==, 10);
    qtmem_stop(&t);
}

/* ---- Memory of the host ---- */

/*
 * Address space of the store that has this flag of the kernel's. Of all that
 * QEMU maps, only the store's part is left out of core dumps ("dd").
 */
static uint64_t store_kib(QTMEM *t, const char *flag)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/smaps",
                                            qtest_pid(t->qts));
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;
    uint64_t size = 0, sum = 0;
    int i;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    lines = g_strsplit(text, "\n", -1);
    for (i = 0; lines[i]; i++) {
        if (g_str_has_prefix(lines[i], "Size:")) {
            size = g_ascii_strtoull(lines[i] + strlen("Size:"), NULL, 10);
        } else if (g_str_has_prefix(lines[i], "VmFlags:") &&
                   strstr(lines[i], " dd ") && strstr(lines[i], flag)) {
            sum += size;
        }
    }
    return sum;
}

/* Of no file: the host may take the program's text away at any time */
static uint64_t resident_kib(QTMEM *t)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/status",
                                            qtest_pid(t->qts));
    g_autofree char *text = NULL;
    const char *line;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    line = strstr(text, "\nRssAnon:");
    g_assert_nonnull(line);
    return g_ascii_strtoull(line + strlen("\nRssAnon:"), NULL, 10);
}

/* Whether as much as a store reserves can be locked here */
static bool may_lock_memory(void)
{
    size_t size = qemu_get_host_physmem();
    void *base = mmap(NULL, size, PROT_NONE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    bool ok = base != MAP_FAILED && mlock2(base, size, MLOCK_ONFAULT) == 0;

    if (base != MAP_FAILED) {
        munmap(base, size);
    }
    return ok;
}

/* "before" of a test whose options take a right that not everyone has */
static void *lock_begin(GString *cmd_line, void *arg)
{
    if (!may_lock_memory()) {
        return NULL;
    }
    g_string_append(cmd_line, arg);
    return fresh_begin(cmd_line, arg);
}

/* Invariant 1; and memory comes as pages come, not all of max-size at once */
static void locked_store_takes_memory_as_pages_come(void *obj, void *data,
    QGuestAllocator *alloc)
{
    uint64_t fresh;
    uint32_t pool;
    QTMEM t;
    int i;

    if (!data) {
        g_test_skip("RLIMIT_MEMLOCK does not allow to lock that much");
        return;
    }
    qtmem_start(&t, obj, alloc, 0);
    /* The store's reservation is at least its max-size */
    g_assert_cmpint(store_kib(&t, " lo"), >=, QTMEM_MAX_SIZE / 1024);
    fresh = resident_kib(&t);
    g_assert_cmpint(fresh, <, 1024 * 1024);
    pool = qtmem_make_pool(&t);
    for (i = 0; i < 2; i++) {
        g_assert_cmpint(qtmem_put_range(&t, pool, 0, 2048, QTMEM_RANDOM), ==,
                        2048);
        qtmem_assert_range(&t, pool, 0, 2048, QTMEM_RANDOM);
        g_assert_cmpint(resident_kib(&t), >=, fresh + 6 * 1024);
        g_assert_cmpint(resident_kib(&t), <, fresh + 32 * 1024);
        /* Invariant 8: locked or not, what is free goes back to the host */
        g_assert_cmpint(qtmem_flush(&t, pool, 0, 0, UINT64_MAX).value, ==,
                        2048);
        g_assert_cmpint(resident_kib(&t), <, fresh + 4 * 1024);
    }
    qtmem_stop(&t);
}

/* Invariant 1 */
static void huge_pages_hold_pages(void *obj, void *data, QGuestAllocator *alloc)
{
    uint32_t pool;
    QTMEM t;

    qtmem_start(&t, obj, alloc, 0);
    g_assert_cmpint(store_kib(&t, " hg"), >=, GIB / 1024);
    pool = qtmem_make_pool(&t);
    g_assert_cmpint(qtmem_put_range(&t, pool, 0, 2048, QTMEM_RANDOM), ==, 2048);
    g_assert_cmpint(qtmem_put_range(&t, pool, 2048, 2048, QTMEM_NORMAL), ==,
                    2048);
    qtmem_assert_range(&t, pool, 0, 2048, QTMEM_RANDOM);
    qtmem_assert_range(&t, pool, 2048, 2048, QTMEM_NORMAL);
    /* Invariant 8: blocks of 2 MiB are counted as a whole, and go back */
    g_assert_cmpint(qtmem_counter(&t, "bytes-used"), >=, 12 * MIB);
    g_assert_cmpint(qtmem_flush(&t, pool, 0, 0, UINT64_MAX).value, ==, 4096);
    g_assert_cmpint(qtmem_counter(&t, "bytes-used"), <, 4 * MIB);
    qtmem_stop(&t);
}

/* ---- Registration ---- */

/* ---- Reservations ---- */

static QTMEMReply reserve(QTMEM *t, uint16_t wanted)
{
    g_autoptr(GByteArray) msg = qtmem_msg(VIRTIO_TMEM_REQ_RESERVE, 0, 0,
                                          wanted);

    return qtmem_send(t, msg, sizeof(struct virtio_tmem_resp));
}

static QTMEMReply put_reserved(QTMEM *t, uint32_t pool, uint64_t index,
                               uint64_t seed)
{
    g_autoptr(GByteArray) msg = qtmem_msg(VIRTIO_TMEM_REQ_PUT, pool, 0, 1);
    uint8_t page[PAGE];

    ((struct virtio_tmem_req *)msg->data)->flags = VIRTIO_TMEM_FLAG_RESERVED;
    qtmem_msg_u64(msg, index);
    qtmem_fill_page(page, QTMEM_RANDOM, seed);
    g_byte_array_append(msg, page, sizeof(page));
    return qtmem_send(t, msg, sizeof(struct virtio_tmem_resp));
}

/* Invariant 5: in a full store, what was promised is stored, and no more */
static void reserved_puts_are_never_refused(void *obj, void *data,
                                            QGuestAllocator *alloc)
{
    QTMEMReply r;
    uint32_t pool;
    uint64_t held;
    QTMEM t;
    int i;

    qtmem_start(&t, obj, alloc, 0);
    pool = qtmem_make_pool(&t);
    r = reserve(&t, 8);
    g_assert_cmpint(r.status, ==, VIRTIO_TMEM_S_OK);
    g_assert_cmpint(r.reservations, ==, 8);

    held = qtmem_put_range(&t, pool, 0, 512, QTMEM_RANDOM);
    g_assert_cmpint(held, <, 512);
    for (i = 0; i < 8; i++) {
        r = put_reserved(&t, pool, 100000 * (i + 1), i);
        g_assert_cmpint(r.status, ==, VIRTIO_TMEM_S_OK);
        g_assert_cmpint(r.done, ==, 1);
        g_assert_cmpint(r.reservations, ==, 7 - i);
    }
    r = put_reserved(&t, pool, 999, 0);
    g_assert_cmpint(r.status, ==, VIRTIO_TMEM_S_INVALID);
    qtmem_assert_range(&t, pool, 0, held, QTMEM_RANDOM);
    for (i = 0; i < 8; i++) {
        qtmem_assert_holds(&t, pool, 0, 100000 * (i + 1), QTMEM_RANDOM, i);
    }
    qtmem_stop(&t);
}

/* Each queue has its own; they are given back by asking for fewer, and reset */
static void reservations_belong_to_their_queue(void *obj, void *data,
                                               QGuestAllocator *alloc)
{
    uint64_t empty, reserved;
    QTMEMReply r;
    uint32_t pool;
    QTMEM t;

    qtmem_start(&t, obj, alloc, 0);
    pool = qtmem_make_pool(&t);
    empty = qtmem_counter(&t, "bytes-used");
    r = reserve(&t, UINT16_MAX);
    g_assert_cmpint(r.status, ==, VIRTIO_TMEM_S_OK);
    g_assert_cmpint(r.reservations, ==, 64);
    reserved = qtmem_counter(&t, "bytes-used");
    g_assert_cmpint(reserved, >=, empty + 64 * PAGE);

    t.queue = 1;
    r = put_reserved(&t, pool, 1, 1);
    g_assert_cmpint(r.status, ==, VIRTIO_TMEM_S_INVALID);
    g_assert_cmpint(r.reservations, ==, 0);
    t.queue = 0;
    r = put_reserved(&t, pool, 1, 1);
    g_assert_cmpint(r.status, ==, VIRTIO_TMEM_S_OK);
    g_assert_cmpint(r.reservations, ==, 63);
    g_assert_cmpint(qtmem_flush(&t, pool, 0, 1, 1).value, ==, 1);
    r = reserve(&t, 0);
    g_assert_cmpint(r.reservations, ==, 0);
    g_assert_cmpint(qtmem_counter(&t, "bytes-used"), ==, empty);

    g_assert_cmpint(reserve(&t, 10).reservations, ==, 10);
    qtmem_restart(&t);
    pool = qtmem_make_pool(&t);
    g_assert_cmpint(qtmem_counter(&t, "bytes-used"), ==, empty);
    g_assert_cmpint(put_reserved(&t, pool, 1, 1).status, ==,
                    VIRTIO_TMEM_S_INVALID);
    qtmem_stop(&t);
}

/* Invariant 7: a guest may reset any queue that the transport can name */
static void queue_reset_gives_reservations_back(void *obj, void *data,
                                                QGuestAllocator *alloc)
{
    static const uint16_t beyond[] = { QTMEM_NUM_QUEUES, 63, 64, 1023 };
    QVirtioPCIDevice *pci;
    uint64_t empty;
    QTMEM t;
    int i;

    qtmem_start(&t, obj, alloc, 0);
    pci = container_of(t.vdev, QVirtioPCIDevice, vdev);
    empty = qtmem_counter(&t, "bytes-used");
    t.queue = 1;
    g_assert_cmpint(reserve(&t, 32).reservations, ==, 32);
    t.queue = 0;
    g_assert_cmpint(reserve(&t, 8).reservations, ==, 8);
    g_assert_cmpint(qtmem_counter(&t, "bytes-used"), >, empty);

    for (i = 0; i < ARRAY_SIZE(beyond); i++) {
        qpci_io_writew(pci->pdev, pci->bar, pci->common_cfg_offset +
                       VIRTIO_PCI_COMMON_Q_SELECT, beyond[i]);
        qpci_io_writew(pci->pdev, pci->bar, pci->common_cfg_offset +
                       VIRTIO_PCI_COMMON_Q_RESET, 1);
    }
    g_assert_cmpint(reserve(&t, 8).reservations, ==, 8);
    qpci_io_writew(pci->pdev, pci->bar, pci->common_cfg_offset +
                   VIRTIO_PCI_COMMON_Q_SELECT, 1);
    qpci_io_writew(pci->pdev, pci->bar, pci->common_cfg_offset +
                   VIRTIO_PCI_COMMON_Q_RESET, 1);
    g_assert_cmpint(reserve(&t, 0).reservations, ==, 0);
    g_assert_cmpint(qtmem_counter(&t, "bytes-used"), ==, empty);
    qtmem_stop(&t);
}

static void without_reserve_the_request_is_unknown(void *obj, void *data,
                                                   QGuestAllocator *alloc)
{
    uint32_t pool;
    QTMEM t;

    qtmem_start(&t, obj, alloc, 0);
    pool = qtmem_make_pool(&t);
    g_assert_cmpint(reserve(&t, 1).status, ==, VIRTIO_TMEM_S_INVALID);
    g_assert_cmpint(put_reserved(&t, pool, 1, 1).status, ==,
                    VIRTIO_TMEM_S_INVALID);
    qtmem_stop(&t);
}

#define ADD(fn, opts) qos_add_test(#fn, "virtio-tmem-cost", fn, opts)

static void register_pools(void)
{
    QOSGraphTestOptions fresh = { .before = fresh_begin };
    QOSGraphTestOptions small = {
        .edge.extra_device_opts = "max-size=1M",
        .before = fresh_begin,
    };
    QOSGraphTestOptions no_ephemeral = {
        .edge.extra_device_opts = "ephemeral=off",
        .before = fresh_begin,
        .arg = (void *)"off",
    };
    QOSGraphTestOptions quota = {
        .edge.extra_device_opts = "pool-quota=1M",
        .before = fresh_begin,
    };

    ADD(full_store_drops_the_oldest_ephemeral_pages, &small);
    ADD(persistent_pages_drive_ephemeral_ones_out, &small);
    ADD(ephemeral_flag_needs_its_feature, &fresh);
    qos_add_test("without_ephemeral_the_flag_is_unknown", "virtio-tmem-cost",
                 ephemeral_flag_needs_its_feature, &no_ephemeral);
    ADD(pool_quota_bounds_each_pool, &quota);
    ADD(latencies_of_puts_and_gets_are_counted, &fresh);
}

static void register_costs(void)
{
    /*
     * An ordinary page is half random: no codec gets it below 2 KiB, and lz4
     * not near to it. The bounds on text tell level 1 of zstd from level 19.
     */
    static const struct {
        const char *name;
        const char *opts;
        Costs costs;
    } codecs[] = {
        { "lz4_is_the_default", "",
          { 8, 0, 64 * 2500 + 8 * PAGE, 64 * 2900 + 8 * PAGE } },
        { "compression_lz4", "compression=lz4",
          { 8, 0, 64 * 2500 + 8 * PAGE, 64 * 2900 + 8 * PAGE } },
        { "compression_zstd", "compression=zstd",
          { 8, 64, 64 * 2048 + 8 * PAGE, 64 * 2400 + 8 * PAGE } },
        { "compression_none", "compression=none",
          { 72, 0, 72 * PAGE, 72 * PAGE + 8 * 8 } },
    };
    static const struct {
        const char *name;
        const char *opts;
        Costs costs;
    } levels[] = {
        { "zstd_level_1_is_the_default", "compression=zstd",
          { 0, 16, 14300, 16300 } },
        { "zstd_level_19", "compression=zstd,compression-level=19",
          { 0, 16, 11500, 13700 } },
    };
    int i;

    for (i = 0; i < ARRAY_SIZE(codecs); i++) {
        QOSGraphTestOptions opts = {
            .edge.extra_device_opts = codecs[i].opts,
            .before = fresh_begin,
            .arg = (void *)&codecs[i].costs,
        };

        qos_add_test(codecs[i].name, "virtio-tmem-cost",
                     compression_is_what_was_asked_for, &opts);
    }
    for (i = 0; i < ARRAY_SIZE(levels); i++) {
        QOSGraphTestOptions opts = {
            .edge.extra_device_opts = levels[i].opts,
            .before = fresh_begin,
            .arg = (void *)&levels[i].costs,
        };

        qos_add_test(levels[i].name, "virtio-tmem-cost",
                     compression_level_is_heeded, &opts);
    }
}

static void register_reservations(void)
{
    QOSGraphTestOptions fresh = { .before = fresh_begin };
    QOSGraphTestOptions small = {
        .edge.extra_device_opts = "max-size=1M",
        .before = fresh_begin,
    };
    QOSGraphTestOptions off = {
        .edge.extra_device_opts = "reserve=off",
        .before = fresh_begin,
    };

    ADD(reserved_puts_are_never_refused, &small);
    ADD(reservations_belong_to_their_queue, &fresh);
    ADD(queue_reset_gives_reservations_back, &fresh);
    ADD(without_reserve_the_request_is_unknown, &off);
}

static void register_memory(void)
{
    QOSGraphTestOptions lock = {
        .before = lock_begin,
        .arg = (void *)" -global virtio-tmem-device.lock-memory=on",
    };
    QOSGraphTestOptions lock_all = {
        .before = lock_begin,
        .arg = (void *)" -overcommit mem-lock=on",
    };
    QOSGraphTestOptions huge = {
        .edge.extra_device_opts = "hugepages=on,max-size=1G",
        .before = fresh_begin,
    };

    ADD(locked_store_takes_memory_as_pages_come, &lock);
    qos_add_test("store_works_in_a_locked_qemu", "virtio-tmem-cost",
                 locked_store_takes_memory_as_pages_come, &lock_all);
    if (qemu_get_host_physmem() >= GIB) {
        ADD(huge_pages_hold_pages, &huge);
    }
}

static void register_virtio_tmem_cost_test(void)
{
    register_pools();
    register_costs();
    register_reservations();
    register_memory();
}

libqos_init(register_virtio_tmem_cost_test);
