/*
 * QTest of virtio-tmem: live migration
 *
 * The driver talks to the source, and after the migration goes on with the same
 * rings in the destination. Invariants are those that virtio-tmem-test.c lists.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include "libqtest-single.h"
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "libqos/qgraph.h"
#include "libqos/qos_external.h"
#include "libqos/virtio-tmem.h"

#define PAGE QTMEM_PAGE_SIZE
#define RESP sizeof(struct virtio_tmem_resp)

/* Seconds after which what should have happened has not */
#define PATIENCE 120

/* Bytes a second that leave a test the time to do something meanwhile */
#define SLOW (2 * 1024 * 1024)
#define FAST (1024ull * 1024 * 1024)

/* Pages that do not compress, and take some seconds at that rate */
#define MANY 3000

/* Streams that are spoilt at some place */
#define NUM_SPOILT 24

/* Two QEMUs, and the driver of the first that moves to the second */
typedef struct Pair {
    QTMEM t;
    QTestState *from;
    QTestState *to;
    char *dir;
    char *uri;
    char *stderr_path;
    bool return_path;
} Pair;

static void pair_start(Pair *pair, void *obj, QGuestAllocator *alloc)
{
    *pair = (Pair) { 0 };
    qtmem_start(&pair->t, obj, alloc, 0);
    pair->from = pair->t.qts;
    pair->return_path = true;
    pair->dir = g_dir_make_tmp("tmem-migration.XXXXXX", NULL);
    g_assert_nonnull(pair->dir);
    pair->uri = g_strdup_printf("unix:%s/socket", pair->dir);
    pair->stderr_path = g_strdup_printf("%s/stderr", pair->dir);
}

/* Make a QEMU that waits for a stream, with other options of the device */
static void pair_add_destination(Pair *pair, const char *opts)
{
    g_autofree char *args = g_strdup_printf(
        "%s%s%s -incoming defer 2>%s", qos_get_current_command_line(),
        *opts ? "," : "", opts, pair->stderr_path);

    pair->to = qtest_init(args);
}

static void pair_end_destination(Pair *pair)
{
    g_autofree char *path = g_strdup_printf("%s/socket", pair->dir);

    qtest_quit(pair->to);
    pair->to = NULL;
    g_unlink(path);
}

static void set_qts(Pair *pair, QTestState *qts)
{
    QVirtioPCIDevice *pci = container_of(pair->t.vdev, QVirtioPCIDevice, vdev);

    pci->pdev->bus->qts = qts;
    pair->t.qts = qts;
}

static void pair_stop(Pair *pair)
{
    g_autofree char *stream = g_strdup_printf("%s/stream", pair->dir);

    set_qts(pair, pair->from);
    if (pair->to) {
        pair_end_destination(pair);
    }
    /* The next test may go on with this QEMU */
    qtest_qmp_assert_success(pair->from, "{ 'execute': 'cont' }");
    qtmem_stop(&pair->t);
    g_unlink(pair->stderr_path);
    g_unlink(stream);
    g_assert_cmpint(g_rmdir(pair->dir), ==, 0);
    g_free(pair->stderr_path);
    g_free(pair->uri);
    g_free(pair->dir);
}

static char *migration_status(QTestState *qts)
{
    QDict *info = qtest_qmp_assert_success_ref(
        qts, "{ 'execute': 'query-migrate' }");
    char *status = g_strdup(qdict_get_try_str(info, "status") ?: "none");

    qobject_unref(info);
    return status;
}

static void wait_for_status(QTestState *qts, const char *wanted)
{
    int64_t end = g_get_monotonic_time() + PATIENCE * G_USEC_PER_SEC;

    for (;;) {
        g_autofree char *status = migration_status(qts);

        if (!strcmp(status, wanted)) {
            return;
        }
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        if (!strcmp(status, "completed") || !strcmp(status, "failed") ||
            !strcmp(status, "cancelled")) {
            g_test_message("%s", status);
            g_assert_cmpstr(status, ==, wanted);
        }
        g_usleep(10 * 1000);
    }
}

static void wait_until_running(QTestState *qts)
{
    int64_t end = g_get_monotonic_time() + PATIENCE * G_USEC_PER_SEC;
    bool running = false;

    while (!running) {
        QDict *info = qtest_qmp_assert_success_ref(
            qts, "{ 'execute': 'query-status' }");

        running = qdict_get_bool(info, "running");
        qobject_unref(info);
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(10 * 1000);
    }
}

/* The header is sent, with what there was to say then */
static void wait_until_active(QTestState *qts)
{
    int64_t end = g_get_monotonic_time() + PATIENCE * G_USEC_PER_SEC;
    bool active = false;

    while (!active) {
        g_autofree char *status = migration_status(qts);

        active = !strcmp(status, "active");
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(10 * 1000);
    }
}

static void set_bandwidth(QTestState *qts, int64_t bandwidth)
{
    qtest_qmp_assert_success(qts,
        "{ 'execute': 'migrate-set-parameters', 'arguments':"
        " { 'max-bandwidth': %" PRId64 " } }", bandwidth);
}

/* So that the source learns of what goes wrong at the very end, too */
static void set_return_path(QTestState *qts, bool on)
{
    qtest_qmp_assert_success(qts,
        "{ 'execute': 'migrate-set-capabilities', 'arguments':"
        " { 'capabilities': ["
        "   { 'capability': 'return-path', 'state': %i } ] } }", on);
}

static void pair_begin(Pair *pair, int64_t bandwidth)
{
    set_return_path(pair->from, pair->return_path);
    set_return_path(pair->to, pair->return_path);
    set_bandwidth(pair->from, bandwidth);
    qtest_qmp_assert_success(pair->to,
        "{ 'execute': 'migrate-incoming', 'arguments':"
        " { 'uri': %s, 'exit-on-error': false } }", pair->uri);
    qtest_qmp_assert_success(pair->from,
        "{ 'execute': 'migrate', 'arguments': { 'uri': %s } }", pair->uri);
}

/* All has arrived: the driver goes on in the destination */
static void pair_finish(Pair *pair)
{
    set_bandwidth(pair->from, FAST);
    wait_for_status(pair->from, "completed");
    wait_until_running(pair->to);
    set_qts(pair, pair->to);
}

/* It has failed, and all is as before; the destination said @why */
static void pair_failed(Pair *pair, const char *why)
{
    g_autofree char *text = NULL;

    wait_for_status(pair->from, "failed");
    wait_until_running(pair->from);
    wait_for_status(pair->to, "failed");
    pair_end_destination(pair);
    g_assert_true(g_file_get_contents(pair->stderr_path, &text, NULL, NULL));
    g_test_message("%s", text);
    g_assert_nonnull(strstr(text, why));
}

static void put_one_of_each(QTMEM *t, uint32_t pool, uint64_t object)
{
    int i;

    for (i = 0; i < 300; i++) {
        qtmem_put_ok(t, pool, object, i * 7, i % 3, i);
    }
}

static void assert_one_of_each(QTMEM *t, uint32_t pool, uint64_t object)
{
    int i;

    for (i = 0; i < 300; i++) {
        qtmem_assert_holds(t, pool, object, i * 7, i % 3, i);
    }
}

/* Invariants 1 and 2: pages, pools and what was flushed, as they were */
static void migrate_to(void *obj, QGuestAllocator *alloc, const char *opts)
{
    uint32_t a, b, gone;
    uint64_t stored;
    QDict *info;
    Pair pair;
    QTMEM *t = &pair.t;

    pair_start(&pair, obj, alloc);
    pair_add_destination(&pair, opts);
    gone = qtmem_make_pool(t);
    a = qtmem_make_pool(t);
    b = qtmem_make_ephemeral_pool(t);
    put_one_of_each(t, gone, 0);
    put_one_of_each(t, a, 0);
    put_one_of_each(t, a, UINT64_MAX);
    put_one_of_each(t, b, 5);
    qtmem_pool_destroy(t, gone);
    qtmem_flush(t, a, 0, 0, 100 * 7);
    stored = qtmem_counter(t, "bytes-stored");

    pair_begin(&pair, FAST);
    pair_finish(&pair);
    info = qtmem_query(t);
    g_assert_cmpint(qlist_size(qdict_get_qlist(info, "pools")), ==, 2);
    qobject_unref(info);
    g_assert_cmpint(qtmem_counter(t, "bytes-stored"), ==, stored);
    g_assert_cmpint(qtmem_counter(t, "pages"), ==, 199 + 300 + 300);
    g_assert_cmpint(qtmem_counter(t, "ephemeral-pages"), ==, 300);
    assert_one_of_each(t, a, UINT64_MAX);
    assert_one_of_each(t, b, 5);
    qtmem_assert_absent(t, a, 0, 100 * 7);
    qtmem_assert_holds(t, a, 0, 101 * 7, 101 % 3, 101);
    g_assert_cmpint(qtmem_get(t, gone, 0, 0).status, ==,
                    VIRTIO_TMEM_S_INVALID);

    /* And it goes on */
    put_one_of_each(t, a, 1);
    assert_one_of_each(t, a, 1);
    t->queue = 1;
    assert_one_of_each(t, a, 1);
    t->queue = 0;
    g_assert_cmpint(qtmem_make_pool(t), ==, b + 1);
    pair_stop(&pair);
}

static void pages_arrive(void *obj, void *data, QGuestAllocator *alloc)
{
    migrate_to(obj, alloc, "");
}

static void stores_may_differ(void *obj, void *data, QGuestAllocator *alloc)
{
    migrate_to(obj, alloc, "max-size=8M,compression=zstd");
}

/* Invariant 1: pages that did not compress come back from where all does */
static void compression_may_be_off(void *obj, void *data,
                                   QGuestAllocator *alloc)
{
    migrate_to(obj, alloc, "max-size=128M,compression=none");
}

/* Invariants 1 and 2: what the guest does meanwhile arrives, too */
static void changes_arrive(void *obj, void *data, QGuestAllocator *alloc)
{
    uint32_t a, b, c;
    Pair pair;
    QTMEM *t = &pair.t;
    int i;

    pair_start(&pair, obj, alloc);
    pair_add_destination(&pair, "");
    a = qtmem_make_pool(t);
    b = qtmem_make_pool(t);
    g_assert_cmpint(qtmem_put_range(t, a, 0, MANY, QTMEM_RANDOM), ==, MANY);
    qtmem_put_ok(t, b, 0, 0, QTMEM_NORMAL, 1);

    pair_begin(&pair, SLOW);
    for (i = 0; i < 20; i++) {
        qtmem_put_ok(t, a, 0, i * 100, QTMEM_NORMAL, 1000000 + i);
        g_assert_cmpint(qtmem_flush(t, a, 0, i * 100 + 50,
                                    i * 100 + 59).value, ==, 10);
        qtmem_put_ok(t, a, 0, i * 100 + 55, QTMEM_SAME_FILLED, i);
        if (i == 5) {
            /* Not to be over before the rest is done, on a slow machine */
            set_bandwidth(pair.from, SLOW / 16);
        }
        g_usleep(50 * 1000);
    }
    c = qtmem_make_pool(t);
    put_one_of_each(t, c, 3);
    qtmem_pool_destroy(t, b);
    {
        g_autofree char *status = migration_status(pair.from);

        g_assert_cmpstr(status, ==, "active");
    }
    pair_finish(&pair);

    for (i = 0; i < 20; i++) {
        qtmem_assert_holds(t, a, 0, i * 100, QTMEM_NORMAL, 1000000 + i);
        qtmem_assert_holds(t, a, 0, i * 100 + 1, QTMEM_RANDOM, i * 100 + 1);
        qtmem_assert_absent(t, a, 0, i * 100 + 50);
        qtmem_assert_absent(t, a, 0, i * 100 + 59);
        qtmem_assert_holds(t, a, 0, i * 100 + 55, QTMEM_SAME_FILLED, i);
    }
    qtmem_assert_range(t, a, 2000, MANY - 2000, QTMEM_RANDOM);
    assert_one_of_each(t, c, 3);
    g_assert_cmpint(qtmem_get(t, b, 0, 0).status, ==, VIRTIO_TMEM_S_INVALID);
    g_assert_cmpint(qtmem_counter(t, "pages"), ==, MANY - 20 * 9 + 300);
    pair_stop(&pair);
}

/* A guest that reboots meanwhile comes without its pages */
static void reset_arrives(void *obj, void *data, QGuestAllocator *alloc)
{
    uint32_t a, b;
    Pair pair;
    QTMEM *t = &pair.t;

    pair_start(&pair, obj, alloc);
    pair_add_destination(&pair, "");
    a = qtmem_make_pool(t);
    qtmem_put_range(t, a, 0, MANY, QTMEM_RANDOM);
    pair_begin(&pair, SLOW);
    g_usleep(G_USEC_PER_SEC);
    qvirtio_reset(t->vdev);
    /* There is nothing left to wait for */
    pair_finish(&pair);
    g_assert_cmpint(qtmem_counter(t, "pages"), ==, 0);
    qtmem_restart(t);
    g_assert_cmpint(qtmem_get(t, a, 0, 0).status, ==, VIRTIO_TMEM_S_INVALID);
    b = qtmem_make_pool(t);
    g_assert_cmpint(b, >, a);
    put_one_of_each(t, b, 0);
    assert_one_of_each(t, b, 0);
    pair_stop(&pair);
}

static QTMEMReply reserve(QTMEM *t, uint16_t count)
{
    g_autoptr(GByteArray) msg = qtmem_msg(VIRTIO_TMEM_REQ_RESERVE, 0, 0,
                                          count);

    return qtmem_send(t, msg, RESP);
}

/* Invariant 5: a promise is kept on the other side */
static void reservations_arrive(void *obj, void *data, QGuestAllocator *alloc)
{
    uint8_t page[PAGE];
    uint32_t pool;
    Pair pair;
    QTMEM *t = &pair.t;
    QTMEMReply r;
    int i;

    pair_start(&pair, obj, alloc);
    pair_add_destination(&pair, "");
    pool = qtmem_make_pool(t);
    g_assert_cmpint(reserve(t, 20).reservations, ==, 20);
    t->queue = 1;
    g_assert_cmpint(reserve(t, 5).reservations, ==, 5);
    t->queue = 0;
    pair_begin(&pair, FAST);
    pair_finish(&pair);

    g_assert_cmpint(qtmem_counter(t, "reserved-puts"), ==, 25);
    qtmem_fill_page(page, QTMEM_RANDOM, 7);
    for (i = 0; i < 20; i++) {
        g_autoptr(GByteArray) msg = qtmem_msg(VIRTIO_TMEM_REQ_PUT, pool, 0, 1);

        msg->data[offsetof(struct virtio_tmem_req, flags)] =
            VIRTIO_TMEM_FLAG_RESERVED;
        qtmem_msg_u64(msg, i);
        g_byte_array_append(msg, page, PAGE);
        r = qtmem_send(t, msg, RESP);
        g_assert_cmpint(r.status, ==, VIRTIO_TMEM_S_OK);
        g_assert_cmpint(r.reservations, ==, 19 - i);
        qtmem_assert_holds(t, pool, 0, i, QTMEM_RANDOM, 7);
    }
    t->queue = 1;
    qtmem_put_ok(t, pool, 1, 0, QTMEM_NORMAL, 1);
    g_assert_cmpint(reserve(t, 5).reservations, ==, 5);
    t->queue = 0;
    pair_stop(&pair);
}

/*
 * Invariant 1: a destination that is too small, or not the same, fails the
 * migration, the guest goes on, and the next one succeeds
 */
static void unfit_destination_is_refused(void *obj, void *data,
                                         QGuestAllocator *alloc)
{
    static const struct {
        const char *opts;
        const char *says;
    } unfit[] = {
        { "max-size=4M", "'max-size' is 4194304" },
        { "num-queues=1", "'num-queues' is 1, it must be 2" },
        { "exclusive-get=off", "features 0x4 " },
    };
    uint32_t pool;
    Pair pair;
    QTMEM *t = &pair.t;
    int i;

    pair_start(&pair, obj, alloc);
    pool = qtmem_make_pool(t);
    g_assert_cmpint(qtmem_put_range(t, pool, 0, MANY, QTMEM_RANDOM), ==, MANY);
    for (i = 0; i < ARRAY_SIZE(unfit); i++) {
        pair_add_destination(&pair, unfit[i].opts);
        pair_begin(&pair, FAST);
        pair_failed(&pair, unfit[i].says);
        qtmem_put_ok(t, pool, 1, i, QTMEM_NORMAL, i);
        qtmem_assert_range(t, pool, 0, MANY, QTMEM_RANDOM);
    }
    pair_add_destination(&pair, "");
    pair_begin(&pair, FAST);
    pair_finish(&pair);
    qtmem_assert_range(t, pool, 0, MANY, QTMEM_RANDOM);
    for (i = 0; i < ARRAY_SIZE(unfit); i++) {
        qtmem_assert_holds(t, pool, 1, i, QTMEM_NORMAL, i);
    }
    pair_stop(&pair);
}

/* What does not fit any more when half of it is there: the same */
static void store_that_outgrows_the_destination(void *obj, void *data,
                                                QGuestAllocator *alloc)
{
    uint32_t pool;
    Pair pair;
    QTMEM *t = &pair.t;

    pair_start(&pair, obj, alloc);
    pair_add_destination(&pair, "max-size=10M");
    pool = qtmem_make_pool(t);
    g_assert_cmpint(qtmem_put_range(t, pool, 0, 2000, QTMEM_RANDOM), ==, 2000);
    pair_begin(&pair, SLOW);
    wait_until_active(pair.from);
    g_assert_cmpint(qtmem_put_range(t, pool, 2000, 4000, QTMEM_RANDOM), ==,
                    4000);
    set_bandwidth(pair.from, 4 * SLOW);
    pair_failed(&pair, "has no room");
    qtmem_assert_range(t, pool, 0, 6000, QTMEM_RANDOM);
    pair_stop(&pair);
}

/* Cancelled at any point; then again, and to the end */
static void migration_can_be_cancelled(void *obj, void *data,
                                       QGuestAllocator *alloc)
{
    uint32_t pool;
    Pair pair;
    QTMEM *t = &pair.t;
    int i;

    pair_start(&pair, obj, alloc);
    /* With it, QEMU may take the end of its own socket for a failure first */
    pair.return_path = false;
    pool = qtmem_make_pool(t);
    qtmem_put_range(t, pool, 0, MANY, QTMEM_RANDOM);
    for (i = 0; i < 4; i++) {
        pair_add_destination(&pair, "");
        pair_begin(&pair, SLOW);
        qtmem_put_ok(t, pool, 1, 0, QTMEM_NORMAL, i);
        g_usleep(i * 300 * 1000);
        qtest_qmp_assert_success(pair.from, "{ 'execute': 'migrate_cancel' }");
        wait_for_status(pair.from, "cancelled");
        pair_end_destination(&pair);
        qtmem_assert_holds(t, pool, 1, 0, QTMEM_NORMAL, i);
        g_assert_cmpint(qtmem_flush(t, pool, 0, i, i).value, ==, 1);
    }
    pair_add_destination(&pair, "");
    pair_begin(&pair, FAST);
    pair_finish(&pair);
    qtmem_assert_range(t, pool, 4, MANY - 4, QTMEM_RANDOM);
    qtmem_assert_absent(t, pool, 0, 3);
    qtmem_assert_holds(t, pool, 1, 0, QTMEM_NORMAL, 3);
    pair_stop(&pair);
}

static void to_file(Pair *pair, const char *uri)
{
    qtest_qmp_assert_success(pair->from,
        "{ 'execute': 'migrate', 'arguments': { 'uri': %s } }", uri);
    wait_for_status(pair->from, "completed");
}

/* Returns whether the stream at @uri could be loaded */
static bool from_file(Pair *pair, const char *uri)
{
    g_autofree char *status = NULL;

    pair_add_destination(pair, "");
    qtest_qmp_assert_success(pair->to,
        "{ 'execute': 'migrate-incoming', 'arguments':"
        " { 'uri': %s, 'exit-on-error': false } }", uri);
    do {
        g_free(status);
        g_usleep(10 * 1000);
        status = migration_status(pair->to);
    } while (strcmp(status, "failed") && strcmp(status, "completed"));
    return !strcmp(status, "completed");
}

/* Where the section's data begins: after its name, instance and version */
static size_t find_section(const char *stream, size_t len)
{
    static const char name[] = "/virtio-tmem-store";
    size_t at = 0;

    while (memcmp(stream + at, name, strlen(name))) {
        g_assert_cmpuint(++at, <, len - 100);
    }
    return at + strlen(name) + 8;
}

/* Where the first chunk of records begins, that of a pool and its pages */
static size_t find_records(const char *stream, size_t len, size_t begin,
                           uint32_t pool)
{
    for (size_t at = begin; at < len - 100; at++) {
        if (ldl_be_p(stream + at) == 2 && stream[at + 12] == 1 &&
            ldl_be_p(stream + at + 13) == pool &&
            ldl_be_p(stream + at + 17) == 0 && stream[at + 21] == 3) {
            g_assert_cmpuint(ldl_be_p(stream + at + 4), >, 60000);
            return at;
        }
    }
    g_assert_not_reached();
}

/* Invariants 1 and 7: no bad page, no crash, whatever byte is a wrong one */
static void spoilt_stream_is_refused(void *obj, void *data,
                                     QGuestAllocator *alloc)
{
    g_autofree char *path = NULL, *uri = NULL, *stream = NULL, *says = NULL;
    size_t len, begin, pages;
    uint32_t pool;
    Pair pair;
    QTMEM *t = &pair.t;
    QTMEM before;
    int i;

    pair_start(&pair, obj, alloc);
    path = g_strdup_printf("%s/stream", pair.dir);
    uri = g_strdup_printf("file:%s", path);
    pool = qtmem_make_pool(t);
    put_one_of_each(t, pool, 0);
    to_file(&pair, uri);
    g_assert_true(g_file_get_contents(path, &stream, &len, NULL));

    /* Two QEMUs go on from here, each with rings of its own */
    before = *t;
    g_assert_true(from_file(&pair, uri));
    set_qts(&pair, pair.to);
    wait_until_running(pair.to);
    assert_one_of_each(t, pool, 0);
    set_qts(&pair, pair.from);
    memcpy(t->queues, before.queues, sizeof(t->queues));
    pair_end_destination(&pair);

    begin = find_section(stream, len);
    pages = find_records(stream, len, begin, pool);
    for (i = 0; i < NUM_SPOILT; i++) {
        /* All of the header; then in the first 60 KiB of pages */
        size_t at = i < NUM_SPOILT / 2 ? begin + i * 5
                                       : pages + 100 +
                                         (i - NUM_SPOILT / 2) * 5003;

        g_test_message("byte %zu of the section", at - begin);
        stream[at] ^= 1 << i % 8;
        g_assert_true(g_file_set_contents(path, stream, len, NULL));
        stream[at] ^= 1 << i % 8;
        g_assert_false(from_file(&pair, uri));
        pair_end_destination(&pair);
        g_free(says);
        g_assert_true(g_file_get_contents(pair.stderr_path, &says, NULL, NULL));
        g_test_message("%s", says);
        /* What is not of a chunk is somebody else's to refuse */
        g_assert_nonnull(strstr(says, i < NUM_SPOILT / 2 ? "qemu" : "spoilt"));
    }
    qtest_qmp_assert_success(pair.from, "{ 'execute': 'cont' }");
    assert_one_of_each(t, pool, 0);
    pair_stop(&pair);
}

/* Sections that go on without RAM's: the store would not be what it was */
static void background_snapshot_is_refused(void *obj, void *data,
                                           QGuestAllocator *alloc)
{
    QDict *error, *rsp;
    Pair pair;

    pair_start(&pair, obj, alloc);
    rsp = qtest_qmp(pair.from,
        "{ 'execute': 'migrate-set-capabilities', 'arguments':"
        " { 'capabilities': ["
        "   { 'capability': 'background-snapshot', 'state': true } ] } }");
    if (qdict_haskey(rsp, "error")) {
        qobject_unref(rsp);
        pair_stop(&pair);
        g_test_skip("the host kernel has no background snapshots");
        return;
    }
    qobject_unref(rsp);
    error = qtest_qmp_assert_failure_ref(pair.from,
        "{ 'execute': 'migrate', 'arguments': { 'uri': %s } }", pair.uri);
    g_assert_nonnull(strstr(qdict_get_str(error, "desc"), "virtio-tmem"));
    qobject_unref(error);
    qtest_qmp_assert_success(pair.from,
        "{ 'execute': 'migrate-set-capabilities', 'arguments':"
        " { 'capabilities': ["
        "   { 'capability': 'background-snapshot', 'state': false } ] } }");
    pair_stop(&pair);
}

static void register_virtio_tmem_migration_test(void)
{
#define ADD(fn) qos_add_test(#fn, "virtio-tmem-migration", fn, NULL)
    ADD(pages_arrive);
    ADD(stores_may_differ);
    ADD(compression_may_be_off);
    ADD(changes_arrive);
    ADD(reset_arrives);
    ADD(reservations_arrive);
    ADD(unfit_destination_is_refused);
    ADD(store_that_outgrows_the_destination);
    ADD(migration_can_be_cancelled);
    ADD(spoilt_stream_is_refused);
    ADD(background_snapshot_is_refused);
#undef ADD
}

libqos_init(register_virtio_tmem_migration_test);
