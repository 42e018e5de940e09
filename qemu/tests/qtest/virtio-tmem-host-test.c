/*
 * QTest of virtio-tmem: what the host sees and does
 *
 * Counters, monitor commands, resets, and what cannot be done with the device.
 * Invariants are those that virtio-tmem-test.c lists.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "libqtest-single.h"
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "qobject/qlist.h"
#include "qobject/qstring.h"
#include "libqos/qgraph.h"
#include "libqos/qos_external.h"
#include "libqos/virtio-tmem.h"

#define RESP sizeof(struct virtio_tmem_resp)
#define PAGE QTMEM_PAGE_SIZE

/* All queues are there, with an interrupt for each of them and for changes */
static void most_queues_have_a_vector_each(void *obj, void *data,
                                           QGuestAllocator *alloc)
{
    QVirtioPCIDevice *pci;
    uint32_t pool;
    QTMEM t;

    qtmem_start(&t, obj, alloc, 0);
    g_assert_cmpint(qvirtio_config_readl(t.vdev,
        offsetof(struct virtio_tmem_config, num_queues)), ==,
        VIRTIO_TMEM_MAX_QUEUES);
    t.vdev->bus->queue_select(t.vdev, VIRTIO_TMEM_MAX_QUEUES - 1);
    g_assert_cmpint(t.vdev->bus->get_queue_size(t.vdev), >, 0);
    t.vdev->bus->queue_select(t.vdev, VIRTIO_TMEM_MAX_QUEUES);
    g_assert_cmpint(t.vdev->bus->get_queue_size(t.vdev), ==, 0);
    pool = qtmem_make_pool(&t);
    qtmem_put_ok(&t, pool, 0, 0, QTMEM_NORMAL, 1);
    qtmem_assert_holds(&t, pool, 0, 0, QTMEM_NORMAL, 1);

    pci = container_of(t.vdev, QVirtioPCIDevice, vdev);
    qpci_msix_enable(pci->pdev);
    g_assert_cmpint(qpci_msix_table_size(pci->pdev), ==,
                    VIRTIO_TMEM_MAX_QUEUES + 1);
    qpci_msix_disable(pci->pdev);
    qtmem_stop(&t);
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
    return NULL;
}

static void assert_empty(QTMEM *t)
{
    g_autoptr(QDict) info = qtmem_query(t);

    g_assert_cmpint(qdict_get_int(info, "pages"), ==, 0);
    g_assert_cmpint(qdict_get_int(info, "same-filled-pages"), ==, 0);
    g_assert_cmpint(qdict_get_int(info, "raw-pages"), ==, 0);
    g_assert_cmpint(qdict_get_int(info, "bytes-stored"), ==, 0);
    g_assert_true(qlist_empty(qdict_get_qlist(info, "pools")));
}

/* An operator can believe the counters: each counts what it says, once */
static void counters_match_what_was_done(void *obj, void *data,
                                         QGuestAllocator *alloc)
{
    static const struct {
        const char *name;
        int64_t change;
    } expected[] = {
        { "pages", 4 },             /* of 1..10, without 1..6 */
        { "same-filled-pages", 1 },
        { "raw-pages", 1 },
        { "puts", 12 },
        { "rejected-puts", 0 },
        { "gets", 3 },
        { "misses", 2 },
        { "flushes", 7 },
        /* puts, pool create, gets, flush, pool destroy */
        { "requests", 12 + 1 + 3 + 1 + 2 },
        { "invalid-requests", 1 },
        { "notifications", 12 + 1 + 3 + 1 + 2 },
    };
    const uint64_t index[] = { 10, 11, 9 };
    g_autoptr(QDict) before = NULL, after = NULL;
    uint32_t a, b;
    QDict *pool;
    QTMEM t;
    int i;

    qtmem_start(&t, obj, alloc, 0);
    a = qtmem_make_pool(&t);
    before = qtmem_query(&t);
    for (i = 1; i <= 8; i++) {
        qtmem_put_ok(&t, a, 0, i, QTMEM_NORMAL, i);
    }
    qtmem_put_ok(&t, a, 0, 9, QTMEM_RANDOM, 9);
    qtmem_put_ok(&t, a, 0, 10, QTMEM_SAME_FILLED, 1ull << 63);
    qtmem_put_ok(&t, a, 0, 8, QTMEM_NORMAL, 88);
    b = qtmem_make_pool(&t);
    qtmem_put_ok(&t, b, 0, 8, QTMEM_NORMAL, 8);
    qtmem_get_many(&t, a, 0, index, 3);
    qtmem_assert_absent(&t, a, 1, 1);
    qtmem_assert_holds(&t, a, 0, 8, QTMEM_NORMAL, 88);
    g_assert_cmpint(qtmem_flush(&t, a, 0, 0, 6).value, ==, 6);
    g_assert_cmpint(qtmem_pool_destroy(&t, b).value, ==, 1);
    g_assert_cmpint(qtmem_pool_destroy(&t, b).status, ==,
                    VIRTIO_TMEM_S_INVALID);
    after = qtmem_query(&t);

    for (i = 0; i < ARRAY_SIZE(expected); i++) {
        g_test_message("%s", expected[i].name);
        g_assert_cmpint(qdict_get_int(after, expected[i].name) -
                        qdict_get_int(before, expected[i].name), ==,
                        expected[i].change);
    }
    g_assert_cmpstr(qdict_get_str(after, "path"), ==,
                    "/machine/peripheral/" QTMEM_ID);
    g_assert_cmpint(qdict_get_int(after, "limit"), ==, QTMEM_MAX_SIZE);

    /* One raw page, two of half the size or a bit more, and a word */
    g_assert_cmpint(qdict_get_int(after, "bytes-stored"), >=, PAGE * 2);
    g_assert_cmpint(qdict_get_int(after, "bytes-stored"), <, PAGE * 3);
    g_assert_cmpint(qdict_get_int(after, "bytes-used"), >,
                    qdict_get_int(after, "bytes-stored"));

    g_assert_cmpint(qlist_size(qdict_get_qlist(after, "pools")), ==, 1);
    pool = pool_info(after, a);
    g_assert_nonnull(pool);
    g_assert_cmpint(qdict_get_int(pool, "pages"), ==, 4);
    g_assert_cmpint(qdict_get_int(pool, "bytes-stored"), ==,
                    qdict_get_int(after, "bytes-stored"));
    qtmem_stop(&t);
}

/* Invariant 8: what a reset device held goes back to the host, all of it */
static void device_reset_drops_everything(void *obj, void *data,
                                          QGuestAllocator *alloc)
{
    uint64_t puts, fresh;
    uint32_t pool;
    QTMEM t;
    int i;

    qtmem_start(&t, obj, alloc, 0);
    assert_empty(&t);
    fresh = qtmem_counter(&t, "bytes-used");
    pool = qtmem_make_pool(&t);
    for (i = 0; i < 100; i++) {
        qtmem_put_ok(&t, pool, i % 3, i, i % 3, i);
    }
    puts = qtmem_counter(&t, "puts");
    g_assert_cmpint(qtmem_counter(&t, "bytes-used"), >, fresh);

    qvirtio_reset(t.vdev);
    assert_empty(&t);
    g_assert_cmpint(qtmem_counter(&t, "bytes-used"), ==, fresh);
    /* Counters go on */
    g_assert_cmpint(qtmem_counter(&t, "puts"), ==, puts);

    /* The pool of the time before is not there, until a new one is */
    qtmem_restart(&t);
    g_assert_cmpint(qtmem_get(&t, pool, 0, 0).status, ==,
                    VIRTIO_TMEM_S_INVALID);
    pool = qtmem_make_pool(&t);
    qtmem_assert_absent(&t, pool, 0, 0);
    qtmem_put_ok(&t, pool, 0, 0, QTMEM_NORMAL, 5);
    qtmem_assert_holds(&t, pool, 0, 0, QTMEM_NORMAL, 5);
    qtmem_stop(&t);
}

/* Invariant 8: a guest that is reset does not come back for its pages */
static void system_reset_drops_everything(void *obj, void *data,
                                          QGuestAllocator *alloc)
{
    uint32_t pool;
    QTMEM t;

    qtmem_start(&t, obj, alloc, 0);
    pool = qtmem_make_pool(&t);
    qtmem_put_ok(&t, pool, 0, 0, QTMEM_RANDOM, 1);
    qtest_system_reset(t.qts);
    assert_empty(&t);
    qtmem_stop(&t);
}

static void info_tmem_shows_the_device(void *obj, void *data,
                                       QGuestAllocator *alloc)
{
    g_autofree char *text = NULL, *pool_line = NULL;
    uint32_t pool;
    QTMEM t;

    qtmem_start(&t, obj, alloc, 0);
    pool = qtmem_make_pool(&t);
    qtmem_put_ok(&t, pool, 0, 0, QTMEM_RANDOM, 1);
    text = qtest_hmp(t.qts, "info tmem");
    pool_line = g_strdup_printf("pool %u: %d bytes in 1 pages", pool, PAGE);
    g_assert_nonnull(strstr(text, "/machine/peripheral/" QTMEM_ID));
    g_assert_nonnull(strstr(text, "limit: 67108864 bytes"));
    g_assert_nonnull(strstr(text, "4096 bytes in 1 pages (0 same-filled, "
                                  "1 raw, 0 zstd, 0 ephemeral)"));
    g_assert_nonnull(strstr(text, pool_line));
    qtmem_stop(&t);
}

/* QEMU aborts on a device ID or a feature that these commands do not know */
static void virtio_introspection_knows_the_device(void *obj, void *data,
                                                  QGuestAllocator *alloc)
{
    g_autofree char *text = NULL;
    QDict *status, *features;
    QString *name;
    QTMEM t;

    qtmem_start(&t, obj, alloc, 0);
    status = qtest_qmp_assert_success_ref(t.qts,
        "{ 'execute': 'x-query-virtio-status', 'arguments': { 'path':"
        " '/machine/peripheral/" QTMEM_ID "/virtio-backend' } }");
    g_assert_cmpstr(qdict_get_str(status, "name"), ==, "virtio-tmem");
    g_assert_cmpint(qdict_get_int(status, "device-id"), ==, VIRTIO_ID_TMEM);
    g_assert_cmpint(qdict_get_int(status, "num-vqs"), ==, QTMEM_NUM_QUEUES);
    features = qdict_get_qdict(status, "guest-features");
    g_assert_false(qdict_haskey(features, "unknown-dev-features"));
    name = qobject_to(QString,
                      qlist_peek(qdict_get_qlist(features, "dev-features")));
    g_assert_nonnull(strstr(qstring_get_str(name), "VIRTIO_TMEM_F_STATS"));
    qobject_unref(status);

    text = qtest_hmp(t.qts, "info virtio-status /machine/peripheral/"
                     QTMEM_ID "/virtio-backend");
    g_assert_nonnull(strstr(text, "virtio-tmem"));
    qtmem_stop(&t);
}

/* Invariant 1: nobody takes the device away while it holds pages */
static void device_cannot_be_plugged_or_unplugged(void *obj, void *data,
                                                  QGuestAllocator *alloc)
{
    uint32_t pool;
    QDict *error;
    QTMEM t;

    qtmem_start(&t, obj, alloc, 0);
    pool = qtmem_make_pool(&t);
    qtmem_put_ok(&t, pool, 0, 0, QTMEM_NORMAL, 1);
    error = qtest_qmp_assert_failure_ref(t.qts,
        "{ 'execute': 'device_del', 'arguments': { 'id': '" QTMEM_ID "' } }");
    qobject_unref(error);
    error = qtest_qmp_assert_failure_ref(t.qts,
        "{ 'execute': 'device_add', 'arguments': { 'id': 'tmem1',"
        " 'driver': 'virtio-tmem-pci', 'max-size': 1048576 } }");
    qobject_unref(error);
    qtmem_assert_holds(&t, pool, 0, 0, QTMEM_NORMAL, 1);
    qtmem_stop(&t);
}

#ifndef _WIN32
/* Run QEMU with @opts added to the @device; returns its stderr */
static char *run_qemu(const char *device, const char *opts, int *exit_status)
{
    g_auto(GStrv) parts = g_strsplit(qos_get_current_command_line(),
                                     "virtio-tmem-pci", 2);
    g_autofree char *command = g_strdup_printf(
        /* In case it does start: it shall not wait for anything */
        "echo quit | %s -display none -audio none -S -accel qtest"
        " -monitor stdio %s%s%s,%s",
        getenv("QTEST_QEMU_BINARY"), parts[0], device, parts[1], opts);
    const char *argv[] = { "/bin/sh", "-c", command, NULL };
    char *text = NULL;
    int status;

    g_test_message("%s", command);
    g_assert_true(g_spawn_sync(NULL, (char **)argv, NULL,
                               G_SPAWN_STDOUT_TO_DEV_NULL, NULL, NULL, NULL,
                               &text, &status, NULL));
    g_assert_true(WIFEXITED(status));
    *exit_status = WEXITSTATUS(status);
    return text;
}

/* QEMU does not start with @opts, and its message has all of @says in it */
static void assert_refused(const char *device, const char *opts,
                           const char *const *says)
{
    /* QEMU repeats the options first */
    g_autofree char *prefix = g_strdup_printf("%s: ", opts);
    int exit_status;
    g_autofree char *text = run_qemu(device, opts, &exit_status);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    const char *message;
    int i;

    g_test_message("%s", text);
    g_assert_cmpint(exit_status, ==, 1);
    g_assert_cmpint(g_strv_length(lines), ==, 2);
    g_assert_cmpstr(lines[1], ==, "");
    message = strstr(lines[0], prefix);
    g_assert_nonnull(message);
    for (i = 0; i < 3; i++) {
        g_assert_nonnull(strstr(message + strlen(prefix), says[i]));
    }
}

/* One line that names the property, its value and what is right; exit 1 */
static void bad_property_is_one_clear_line(void *obj, void *data,
                                           QGuestAllocator *alloc)
{
    static const struct {
        const char *opts;
        const char *says[3];
    } bad[] = {
        { "max-size=0", { "max-size", " 0 ", "1048576" } },
        { "max-size=1", { "max-size", " 1 ", "1048576" } },
        { "max-size=1048575", { "max-size", "1048575", "1048576" } },
        { "max-size=8E", { "max-size", "9223372036854775808", "host" } },
        { "max-size=x", { "max-size", "expects", "size" } },
        { "num-queues=0", { "num-queues", " 0,", "64" } },
        { "num-queues=65", { "num-queues", " 65,", "64" } },
        { "num-queues=4294967294", { "num-queues", "4294967294", "64" } },
        { "min-size=67108865", { "min-size", "67108865", "67108864" } },
        { "min-size=-1", { "min-size", "expects", "size" } },
        { "compression=gzip",
          { "compression", "'gzip'", "lz4, zstd or none" } },
        { "compression=", { "compression", "''", "lz4, zstd or none" } },
        { "compression=zstd,compression-level=20",
          { "compression-level", " 20,", "19" } },
        { "compression=zstd,compression-level=-1",
          { "compression-level", "expects", "" } },
        { "compression-level=3",
          { "compression-level", "compression=zstd", "lz4" } },
        { "pressure=/nonexistent/file",
          { "pressure", "/nonexistent/file", "No such file" } },
        { "pressure=/proc", { "pressure", "/proc", "irectory" } },
        { "pressure=/proc/version", { "pressure", "/proc/version", "total" } },
        { "pressure=", { "pressure", "", "" } },
        { "pool-quota=some", { "pool-quota", "expects", "size" } },
        { "lock-memory=maybe", { "lock-memory", "on", "off" } },
        { "hugepages=2M", { "hugepages", "on", "off" } },
        { "checksum=crc", { "checksum", "on", "off" } },
        { "hugepages=on", { "huge", "67108864", "1073741824" } },
        { "ephemeral=x", { "ephemeral", "on", "off" } },
        { "target=x", { "target", "on", "off" } },
    };
    int i;

    for (i = 0; i < ARRAY_SIZE(bad); i++) {
        /* Both names, as the second is an alias of the first */
        assert_refused(i % 2 ? "virtio-tmem" : "virtio-tmem-pci", bad[i].opts,
                       bad[i].says);
    }
}
#endif

#ifdef CONFIG_LINUX
/* Left out of core dumps, without huge pages: of QEMU, only page stores are */
static bool is_of_store(const char *flags)
{
    return strstr(flags, " dd") && strstr(flags, " nh");
}

/* More than a store takes here from the beginning of its address space */
#define STORE_LOOK (4 * 1024 * 1024)

/* Change a byte of a page where a mapping of QEMU has it; returns how often. */
static unsigned spoil_mapping(int mem, uint64_t start, uint64_t end,
                              const uint8_t *page)
{
    size_t len = MIN(end - start, STORE_LOOK);
    g_autofree uint8_t *copy = g_malloc(len);
    ssize_t got = pread(mem, copy, len, start);
    unsigned num = 0;
    uint8_t *at;

    for (at = copy; got > 0 && (at = memmem(at, copy + got - at, page, PAGE));
         at += PAGE) {
        uint8_t byte = ~at[100];

        g_assert_cmpint(pwrite(mem, &byte, 1, start + (at - copy) + 100), ==,
                        1);
        num++;
    }
    return num;
}

static unsigned spoil_page(QTMEM *t, const uint8_t *page)
{
    pid_t pid = qtest_pid(t->qts);
    g_autofree char *smaps = g_strdup_printf("/proc/%d/smaps", pid);
    g_autofree char *path = g_strdup_printf("/proc/%d/mem", pid);
    int mem = open(path, O_RDWR);
    g_auto(GStrv) lines = NULL;
    g_autofree char *text = NULL;
    uint64_t start = 0, end = 0;
    unsigned num = 0;

    g_assert_cmpint(mem, >=, 0);
    g_assert_true(g_file_get_contents(smaps, &text, NULL, NULL));
    lines = g_strsplit(text, "\n", -1);
    for (int i = 0; lines[i]; i++) {
        uint64_t from, to;

        if (sscanf(lines[i], "%" SCNx64 "-%" SCNx64, &from, &to) == 2) {
            start = from;
            end = to;
        } else if (g_str_has_prefix(lines[i], "VmFlags:") &&
                   is_of_store(lines[i])) {
            num += spoil_mapping(mem, start, end, page);
        }
    }
    close(mem);
    return num;
}

/* checksum=on: memory that changes is an error of one page, and an event */
static void changed_byte_is_an_io_error(void *obj, void *data,
                                        QGuestAllocator *alloc)
{
    uint8_t page[PAGE];
    uint32_t pool;
    QTMEMReply r;
    QDict *event;
    QTMEM t;

    qtmem_start(&t, obj, alloc, 0);
    pool = qtmem_make_pool(&t);
    for (int i = 0; i < 9; i++) {
        qtmem_put_ok(&t, pool, 0, i, QTMEM_RANDOM, i);
    }
    qtmem_fill_page(page, QTMEM_RANDOM, 4);
    g_assert_cmpint(spoil_page(&t, page), ==, 1);
    for (int n = 0; n < 2; n++) {
        for (int i = 0; i < 9; i++) {
            if (i != 4) {
                qtmem_assert_holds(&t, pool, 0, i, QTMEM_RANDOM, i);
                continue;
            }
            r = qtmem_get(&t, pool, 0, i);
            g_assert_cmpint(r.status, ==, VIRTIO_TMEM_S_IOERR);
            g_assert_cmphex(r.failed, ==, 1);
            g_assert_cmphex(r.done, ==, 0);
        }
    }
    g_assert_cmpint(qtmem_counter(&t, "lost-pages"), ==, 1);
    event = qtest_qmp_eventwait_ref(t.qts, "TMEM_PAGE_LOST");
    g_assert_cmpstr(qdict_get_str(qdict_get_qdict(event, "data"), "qom-path"),
                    ==, "/machine/peripheral/" QTMEM_ID);
    g_assert_cmpint(qdict_get_int(qdict_get_qdict(event, "data"),
                                  "lost-pages"), ==, 1);
    qobject_unref(event);
    /* Until it is put anew */
    qtmem_put_ok(&t, pool, 0, 4, QTMEM_RANDOM, 44);
    qtmem_assert_holds(&t, pool, 0, 4, QTMEM_RANDOM, 44);
    qtmem_stop(&t);
}
#endif

static void register_virtio_tmem_host_test(void)
{
    QOSGraphTestOptions checksum = {
        .edge.extra_device_opts = "checksum=on",
    };
    QOSGraphTestOptions most_queues = {
        .edge.extra_device_opts = "num-queues=64",
    };

    qos_add_test("most_queues_have_a_vector_each", "virtio-tmem",
                 most_queues_have_a_vector_each, &most_queues);
#define ADD(fn) qos_add_test(#fn, "virtio-tmem", fn, NULL)
    ADD(counters_match_what_was_done);
    ADD(device_reset_drops_everything);
    ADD(system_reset_drops_everything);
    ADD(info_tmem_shows_the_device);
    ADD(virtio_introspection_knows_the_device);
    ADD(device_cannot_be_plugged_or_unplugged);
#ifndef _WIN32
    ADD(bad_property_is_one_clear_line);
#endif
#undef ADD
#ifdef CONFIG_LINUX
    qos_add_test("changed_byte_is_an_io_error", "virtio-tmem-cost",
                 changed_byte_is_an_io_error, &checksum);
#endif
}

libqos_init(register_virtio_tmem_host_test);
