/*
 * QTest of virtio-tmem: pages that are spilled to a block node
 *
 * Real block nodes: a file, blkdebug that fails, throttle that is slow.
 * Invariants are those that virtio-tmem-test.c lists.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include "libqtest-single.h"
#include "qemu/module.h"
#include "libqos/qgraph.h"
#include "libqos/virtio-tmem.h"

#define MIB (1024 * 1024ull)
#define DEVICE_PATH "/machine/peripheral/" QTMEM_ID
#define NO_TARGET INT64_MAX

/* Pages that do not compress, 24 MiB of them, and what is left of the limit */
#define NUM_PAGES 6144
#define LOW_SIZE (16 * MIB)

/* Seconds after which something that should have happened has not */
#define PATIENCE 60

static char *spill_path;

static void remove_file(void *path)
{
    g_unlink(path);
}

/* A file of @mib MiB with the node on top of it that the format is about */
static void add_node(GString *cmd_line, unsigned mib, const char *format)
{
    static int n;
    FILE *f = fopen(spill_path, "w");

    g_assert_nonnull(f);
    g_assert_cmpint(ftruncate(fileno(f), mib * MIB), ==, 0);
    fclose(f);
    g_test_queue_destroy(remove_file, spill_path);
    g_string_append_printf(cmd_line, " -name spill%d -blockdev driver=file,"
                           "node-name=file,discard=unmap,filename=%s ", n++,
                           spill_path);
    g_string_append(cmd_line, format);
}

static void *plain_begin(GString *cmd_line, void *arg)
{
    add_node(cmd_line, 64, "-blockdev driver=raw,node-name=spill,file=file,"
             "discard=unmap ");
    return arg;
}

static void *small_begin(GString *cmd_line, void *arg)
{
    add_node(cmd_line, 4, "-blockdev driver=raw,node-name=spill,file=file ");
    return arg;
}

static void *write_error_begin(GString *cmd_line, void *arg)
{
    add_node(cmd_line, 64, "-blockdev driver=blkdebug,node-name=spill,"
             "image=file,inject-error.0.event=none,"
             "inject-error.0.iotype=write,inject-error.0.errno=5 ");
    return arg;
}

static void *read_error_begin(GString *cmd_line, void *arg)
{
    add_node(cmd_line, 64, "-blockdev driver=blkdebug,node-name=spill,"
             "image=file,inject-error.0.event=none,"
             "inject-error.0.iotype=read,inject-error.0.errno=5,"
             "inject-error.0.sector=2000 ");
    return arg;
}

/* Bytes a second: a chunk of 64 KiB takes four of them */
#define SLOW_BPS 16384
#define SLOW_USEC (4 * G_USEC_PER_SEC)

static void *slow_begin(GString *cmd_line, void *arg)
{
    add_node(cmd_line, 64, "-object throttle-group,id=slow,x-bps-read="
             stringify(SLOW_BPS) " -blockdev driver=throttle,node-name=spill,"
             "file=file,throttle-group=slow ");
    return arg;
}

/* A disk that does so many requests a second */
#define IOPS 50

static void *iops_begin(GString *cmd_line, void *arg)
{
    g_autofree char *node = g_strdup_printf(
        "-object throttle-group,id=slow,x-iops-read=%d "
        "-blockdev driver=throttle,node-name=spill,file=file,"
        "throttle-group=slow ", IOPS);

    add_node(cmd_line, 64, node);
    return arg;
}

static void *slow_iothread_begin(GString *cmd_line, void *arg)
{
    slow_begin(cmd_line, arg);
    g_string_append(cmd_line, "-object iothread,id=io0 ");
    return arg;
}

static uint64_t spill_counter(QTMEM *t, const char *name)
{
    g_autoptr(QDict) info = qtmem_query(t);

    return qdict_get_int(qdict_get_qdict(info, "spill"), name);
}

static bool spill_is(QTMEM *t, const char *status)
{
    g_autoptr(QDict) info = qtmem_query(t);

    return !strcmp(qdict_get_str(qdict_get_qdict(info, "spill"), "status"),
                   status);
}

static void set_max_size(QTMEM *t, uint64_t size)
{
    qtest_qmp_assert_success(t->qts,
        "{ 'execute': 'qom-set', 'arguments': { 'path': '" DEVICE_PATH "',"
        " 'property': 'max-size', 'value': %" PRIu64 " } }", size);
}

#define WAIT_FOR(cond) do { \
    int64_t end_ = g_get_monotonic_time() + PATIENCE * G_USEC_PER_SEC; \
    while (!(cond)) { \
        g_assert_cmpint(g_get_monotonic_time(), <, end_); \
        g_usleep(10 * 1000); \
    } \
} while (0)

/* Put pages, and have a third of them spilled */
static uint32_t start_and_spill(QTMEM *t, void *obj, QGuestAllocator *alloc)
{
    uint32_t pool;

    qtmem_start(t, obj, alloc, 0);
    pool = qtmem_make_pool(t);
    g_assert_cmpint(qtmem_put_range(t, pool, 0, NUM_PAGES, QTMEM_RANDOM), ==,
                    NUM_PAGES);
    set_max_size(t, LOW_SIZE);
    WAIT_FOR(qtmem_counter(t, "bytes-used") <= LOW_SIZE);
    g_assert_cmpint(spill_counter(t, "pages"), >, NUM_PAGES / 4);
    return pool;
}

/* inv. 1: below the limit at once, in large writes, and everything is there */
static void pages_leave_and_come_back(void *obj, void *data,
                                      QGuestAllocator *alloc)
{
    uint32_t pool;
    QTMEM t;

    pool = start_and_spill(&t, obj, alloc);
    g_assert_true(spill_is(&t, "active"));
    g_assert_cmpint(spill_counter(&t, "average-write"), >=, 256 * 1024);
    g_assert_cmpint(qtmem_counter(&t, "pages"), ==, NUM_PAGES);
    g_assert_cmpint(qtmem_counter(&t, "target-pages"), ==, NO_TARGET);
    qtmem_assert_range(&t, pool, 0, NUM_PAGES, QTMEM_RANDOM);
    g_assert_cmpint(spill_counter(&t, "reads"), >, 0);
    /* One read for 16 pages here: they do not compress */
    g_assert_cmpint(spill_counter(&t, "reads"), <,
                    spill_counter(&t, "pages") / 10);

    /* What is flushed is free */
    g_assert_cmpint(qtmem_flush(&t, pool, 0, 0, NUM_PAGES).value, ==,
                    NUM_PAGES);
    WAIT_FOR(spill_counter(&t, "bytes-free") == 64 * MIB);
    WAIT_FOR(spill_counter(&t, "discarded") > 0);
    qtmem_stop(&t);
}

/* Read again in order, pages come three times as fast as one by one at least */
static void neighbours_come_along(void *obj, void *data,
                                  QGuestAllocator *alloc)
{
    int64_t start, usec, one_by_one;
    uint32_t pool;
    QTMEM t;

    pool = start_and_spill(&t, obj, alloc);
    one_by_one = spill_counter(&t, "pages") * G_USEC_PER_SEC / IOPS;
    start = g_get_monotonic_time();
    qtmem_assert_range(&t, pool, 0, NUM_PAGES, QTMEM_RANDOM);
    usec = g_get_monotonic_time() - start;
    g_test_message("%" PRId64 " us, one by one %" PRId64, usec, one_by_one);
    g_assert_cmpint(usec * 3, <, one_by_one);
    qtmem_stop(&t);
}

/* Write errors: the pages stay in memory, and one event says so */
static void write_errors_lose_nothing(void *obj, void *data,
                                      QGuestAllocator *alloc)
{
    QDict *event;
    uint32_t pool;
    QTMEM t;

    qtmem_start(&t, obj, alloc, 0);
    pool = qtmem_make_pool(&t);
    g_assert_cmpint(qtmem_put_range(&t, pool, 0, NUM_PAGES, QTMEM_RANDOM), ==,
                    NUM_PAGES);
    set_max_size(&t, LOW_SIZE);
    event = qtest_qmp_eventwait_ref(t.qts, "TMEM_SPILL_ERROR");
    g_assert_cmpstr(qdict_get_str(qdict_get_qdict(event, "data"),
                                  "operation"), ==, "write");
    g_assert_cmpstr(qdict_get_str(qdict_get_qdict(event, "data"),
                                  "qom-path"), ==, DEVICE_PATH);
    qobject_unref(event);
    WAIT_FOR(spill_is(&t, "failed"));
    g_assert_cmpint(spill_counter(&t, "write-errors"), >, 0);
    g_assert_cmpint(spill_counter(&t, "pages"), ==, 0);
    qtmem_assert_range(&t, pool, 0, NUM_PAGES, QTMEM_RANDOM);
    /* Then it is for the guest to give up pages */
    WAIT_FOR(qtmem_counter(&t, "target-pages") < NUM_PAGES);
    qtmem_stop(&t);
}

/* Read errors: those pages are reported as lost, their neighbours are not */
static void read_errors_are_of_one_page(void *obj, void *data,
                                        QGuestAllocator *alloc)
{
    unsigned lost = 0;
    uint32_t pool;
    QDict *event;
    QTMEM t;
    int i;

    pool = start_and_spill(&t, obj, alloc);
    for (i = 0; i < NUM_PAGES; i++) {
        QTMEMReply r = qtmem_get(&t, pool, 0, i);

        if (r.status == VIRTIO_TMEM_S_IOERR) {
            g_assert_cmphex(r.failed, ==, 1);
            g_assert_cmphex(r.done, ==, 0);
            lost++;
        } else {
            g_assert_cmpint(r.status, ==, VIRTIO_TMEM_S_OK);
            qtmem_assert_page(r.payload, QTMEM_RANDOM, i);
        }
    }
    /* A sector is of one page, or of two */
    g_assert_cmpint(lost, >=, 1);
    g_assert_cmpint(lost, <=, 2);
    g_assert_cmpint(spill_counter(&t, "read-errors"), ==, lost);
    event = qtest_qmp_eventwait_ref(t.qts, "TMEM_SPILL_ERROR");
    g_assert_cmpstr(qdict_get_str(qdict_get_qdict(event, "data"),
                                  "operation"), ==, "read");
    qobject_unref(event);
    qtmem_stop(&t);
}

/* A device that is full: spilling stops, and the guest is asked to help */
static void full_device_lowers_the_target(void *obj, void *data,
                                          QGuestAllocator *alloc)
{
    uint64_t target;
    uint32_t pool;
    QTMEM t;

    qtmem_start(&t, obj, alloc, 0);
    pool = qtmem_make_pool(&t);
    g_assert_cmpint(qtmem_put_range(&t, pool, 0, NUM_PAGES, QTMEM_RANDOM), ==,
                    NUM_PAGES);
    set_max_size(&t, LOW_SIZE);
    WAIT_FOR(spill_is(&t, "full"));
    WAIT_FOR(qtmem_counter(&t, "target-pages") < NUM_PAGES);
    qtmem_assert_range(&t, pool, 0, NUM_PAGES, QTMEM_RANDOM);

    /* What the guest gives up now is counted */
    target = qtmem_counter(&t, "target-pages");
    qtmem_flush(&t, pool, 0, target / 2, NUM_PAGES);
    WAIT_FOR(qtmem_counter(&t, "target-pages") == NO_TARGET);
    {
        g_autoptr(QDict) info = qtmem_query(&t);
        QDict *given = qdict_get_qdict(info, "given-back");

        g_assert_cmpint(qdict_get_int(given, "target"), >, 0);
        g_assert_cmpint(qdict_get_int(given, "spill"), >, 0);
    }
    qtmem_assert_range(&t, pool, 0, target / 2, QTMEM_RANDOM);
    qtmem_stop(&t);
}

/* The index of a page that is on the node and in no cache: the last spilled */
static uint64_t spilled_index(QTMEM *t, uint32_t pool)
{
    uint64_t reads = spill_counter(t, "reads");
    uint64_t i;

    for (i = 0; i < NUM_PAGES; i += 256) {
        qtmem_assert_holds(t, pool, 0, i, QTMEM_RANDOM, i);
        if (spill_counter(t, "reads") != reads) {
            /* Two chunks on: not what has just been read */
            return i + 40;
        }
    }
    g_assert_not_reached();
}

static QTMEMDesc get_desc_out(QTMEM *t, uint32_t pool, uint64_t index)
{
    g_autoptr(GByteArray) msg = qtmem_msg(VIRTIO_TMEM_REQ_GET, pool, 0, 1);

    qtmem_msg_u64(msg, index);
    qtest_memwrite(t->qts, t->out, msg->data, msg->len);
    return (QTMEMDesc) { t->out, msg->len, 0 };
}

/* A get of a spilled page, not waited for. Returns its id. */
static uint16_t begin_get(QTMEM *t, uint32_t pool, uint64_t index)
{
    QTMEMDesc desc[] = {
        get_desc_out(t, pool, index),
        { t->in, sizeof(struct virtio_tmem_resp) + QTMEM_PAGE_SIZE,
          VRING_DESC_F_WRITE },
    };
    uint16_t id = qtmem_add(t, desc, 2);

    qtmem_kick(t);
    return id;
}

static void end_get(QTMEM *t, uint16_t id, uint64_t index)
{
    struct virtio_tmem_resp resp;
    uint8_t page[QTMEM_PAGE_SIZE];

    g_assert_cmpint(qtmem_wait(t, id), ==, sizeof(resp) + sizeof(page));
    qtest_memread(t->qts, t->in, &resp, sizeof(resp));
    qtest_memread(t->qts, t->in + sizeof(resp), page, sizeof(page));
    g_assert_cmpint(resp.status, ==, VIRTIO_TMEM_S_OK);
    qtmem_assert_page(page, QTMEM_RANDOM, index);
}

/* Get one page after another until one has to wait. Returns its index. */
static uint64_t park(QTMEM *t, uint32_t pool, uint16_t *id)
{
    uint64_t index = spilled_index(t, pool);
    unsigned n;

    for (n = 0; n < 20; n++, index += 40) {
        uint64_t requests = qtmem_counter(t, "requests");

        *id = begin_get(t, pool, index);
        qtmem_wait_counter_above(t, "requests", requests);
        g_usleep(20 * 1000);
        if (!qtmem_poll(t)) {
            return index;
        }
        end_get(t, *id, index);
    }
    g_assert_not_reached();
}

/* inv. 4: a get that waits keeps its queue waiting, and no other */
static void a_slow_get_keeps_its_queue_only(void *obj, void *data,
                                            QGuestAllocator *alloc)
{
    uint64_t out, in, index;
    uint32_t pool;
    uint16_t id;
    QTMEM t;

    pool = start_and_spill(&t, obj, alloc);
    index = park(&t, pool, &id);
    /* The other queue, with memory of its own */
    out = t.out;
    in = t.in;
    t.out = guest_alloc(alloc, QTMEM_AREA_SIZE);
    t.in = guest_alloc(alloc, QTMEM_AREA_SIZE);
    t.queue = 1;
    qtmem_flush(&t, pool, 1, 0, 10);
    qtmem_assert_absent(&t, pool, 1, 5);
    t.queue = 0;
    t.out = out;
    t.in = in;
    g_assert_false(qtmem_poll(&t));
    end_get(&t, id, index);
    qtmem_assert_range(&t, pool, index, 1, QTMEM_RANDOM);
    qtmem_stop(&t);
}

/* A reset does not wait for the node, and nothing of the old guest is left */
static void a_reset_does_not_wait(void *obj, void *data,
                                  QGuestAllocator *alloc)
{
    int64_t start;
    uint32_t pool;
    uint16_t id;
    QTMEM t;

    pool = start_and_spill(&t, obj, alloc);
    park(&t, pool, &id);
    start = g_get_monotonic_time();
    qtmem_restart(&t);
    g_assert_cmpint(g_get_monotonic_time() - start, <, SLOW_USEC / 2);
    g_assert_cmpint(qtmem_counter(&t, "pages"), ==, 0);
    pool = qtmem_make_pool(&t);
    g_assert_cmpint(qtmem_put_range(&t, pool, 0, 100, QTMEM_RANDOM), ==, 100);
    qtmem_assert_range(&t, pool, 0, 100, QTMEM_RANDOM);
    /* Also after the read has come to its end */
    g_usleep(SLOW_USEC + G_USEC_PER_SEC / 2);
    qtmem_assert_range(&t, pool, 0, 100, QTMEM_RANDOM);
    qtmem_stop(&t);
}

/* A VM that stops has answered the request before, and goes on afterwards */
static void a_stop_answers_first(void *obj, void *data,
                                 QGuestAllocator *alloc)
{
    uint64_t index;
    uint32_t pool;
    uint16_t id;
    QTMEM t;

    pool = start_and_spill(&t, obj, alloc);
    index = park(&t, pool, &id);
    qtest_qmp_assert_success(t.qts, "{ 'execute': 'stop' }");
    g_assert_true(qtmem_poll(&t));
    qtest_qmp_assert_success(t.qts, "{ 'execute': 'cont' }");
    end_get(&t, id, index);
    qtmem_assert_holds(&t, pool, 0, index, QTMEM_RANDOM, index);
    qtmem_stop(&t);
}

/* A device that goes away with all of it under way */
static void a_system_reset_does_not_wait(void *obj, void *data,
                                         QGuestAllocator *alloc)
{
    uint32_t pool;
    uint16_t id;
    QTMEM t;

    pool = start_and_spill(&t, obj, alloc);
    park(&t, pool, &id);
    qtest_system_reset(t.qts);
    g_assert_cmpint(qtmem_counter(&t, "pages"), ==, 0);
    qtmem_stop(&t);
}

static void register_virtio_tmem_spill_test(void)
{
    QOSGraphTestOptions opts = {
        .edge.extra_device_opts = "spill=spill",
    };

    spill_path = g_strdup_printf("%s/virtio-tmem-spill-%d", g_get_tmp_dir(),
                                 getpid());
#define ADD(fn, begin) do { \
    opts.before = begin; \
    qos_add_test(#fn, "virtio-tmem-spill", fn, &opts); \
} while (0)
    ADD(pages_leave_and_come_back, plain_begin);
    ADD(neighbours_come_along, iops_begin);
    ADD(write_errors_lose_nothing, write_error_begin);
    ADD(read_errors_are_of_one_page, read_error_begin);
    ADD(full_device_lowers_the_target, small_begin);
    ADD(a_slow_get_keeps_its_queue_only, slow_begin);
    ADD(a_reset_does_not_wait, slow_begin);
    ADD(a_stop_answers_first, slow_begin);
    ADD(a_system_reset_does_not_wait, slow_begin);
#undef ADD
    opts.edge.extra_device_opts = "spill=spill,ioeventfd=on,iothread=io0";
    opts.before = slow_iothread_begin;
#define ADD_IOTHREAD(fn) \
    qos_add_test("iothread_" #fn, "virtio-tmem-spill", fn, &opts)
    ADD_IOTHREAD(a_slow_get_keeps_its_queue_only);
    ADD_IOTHREAD(a_reset_does_not_wait);
    ADD_IOTHREAD(a_stop_answers_first);
    ADD_IOTHREAD(a_system_reset_does_not_wait);
#undef ADD_IOTHREAD
}

libqos_init(register_virtio_tmem_spill_test);
