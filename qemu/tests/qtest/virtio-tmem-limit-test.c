/*
 * QTest of virtio-tmem: how much the store may hold, and why
 *
 * Sizes at run time, pressure, target. Invariants are those that
 * virtio-tmem-test.c lists. Pressure comes from a script: a file as the kernel
 * writes it, in which stalls take the share of the time that the test wants.
 *
 * Bounds on time are generous, they are there to end a test that fails. What is
 * exact is the order of things.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include "libqtest-single.h"
#include "qemu/atomic.h"
#include "qemu/module.h"
#include "qapi/error.h"
#include "qobject/qjson.h"
#include "libqos/qgraph.h"
#include "libqos/virtio-tmem.h"

#define PAGE QTMEM_PAGE_SIZE
#define MIB (1024 * 1024ull)
#define GIB (1024 * MIB)

#define DEVICE_PATH "/machine/peripheral/" QTMEM_ID

/* Seconds after which something that should have happened has not */
#define PATIENCE 60

/* How long the device gets to do what it must not do: twice what it takes */
#define PROOF_USEC (2500 * 1000)

/* A target that asks for nothing */
#define NO_TARGET INT64_MAX

/* ---- Scripted pressure ---- */

typedef struct Script {
    const char *path;
    GThread *thread;
    int percent;            /* atomic; below 0: there is no file */
    bool stop;              /* atomic */
} Script;

/* One for each test program; made when the tests are registered */
static char *script_path;

static void script_write(const char *path, uint64_t total)
{
    g_autofree char *tmp = g_strdup_printf("%s.new", path);
    FILE *f = fopen(tmp, "w");

    g_assert_nonnull(f);
    fprintf(f, "some avg10=0.00 avg60=0.00 avg300=0.00 total=%" PRIu64 "\n",
            total);
    g_assert_cmpint(fclose(f), ==, 0);
    g_assert_cmpint(rename(tmp, path), ==, 0);
}

static void *script_run(void *opaque)
{
    Script *script = opaque;
    int64_t last = g_get_monotonic_time();
    uint64_t total = 0;

    while (!qatomic_read(&script->stop)) {
        int percent = qatomic_read(&script->percent);
        int64_t now = g_get_monotonic_time();

        if (percent >= 0) {
            total += (now - last) * percent / 100;
            script_write(script->path, total);
        } else {
            g_unlink(script->path);
        }
        last = now;
        g_usleep(30 * 1000);
    }
    return NULL;
}

static void script_end(void *opaque)
{
    Script *script = opaque;

    qatomic_set(&script->stop, true);
    g_thread_join(script->thread);
    g_unlink(script->path);
    g_free(script);
}

/* Counters and sizes outlive a reset: each test has a QEMU of its own */
static void *fresh_begin(GString *cmd_line, void *arg)
{
    static int n;

    g_string_append_printf(cmd_line, " -name limit%d ", n++);
    return arg;
}

/* "before" of a test with pressure=script_path: a calm host */
static void *script_begin(GString *cmd_line, void *arg)
{
    Script *script = g_new0(Script, 1);

    fresh_begin(cmd_line, NULL);
    script->path = script_path;
    script_write(script->path, 0);
    script->thread = g_thread_new("script", script_run, script);
    g_test_queue_destroy(script_end, script);
    return script;
}

/* Tasks stall for this share of the time from now on */
static void script_set(Script *script, int percent)
{
    qatomic_set(&script->percent, percent);
}

/* ---- What the host and the guest see ---- */

static uint64_t config_target(QTMEM *t)
{
    return qvirtio_config_readq(t->vdev, offsetof(struct virtio_tmem_config,
                                                  target_pages));
}

static uint64_t config_max_pages(QTMEM *t)
{
    return qvirtio_config_readq(t->vdev, offsetof(struct virtio_tmem_config,
                                                  max_pages));
}

/* Whether the configuration has changed since the last call; ISR bit 1 */
static bool config_interrupt(QTMEM *t)
{
    QVirtioPCIDevice *pci = container_of(t->vdev, QVirtioPCIDevice, vdev);

    return qpci_io_readb(pci->pdev, pci->bar, pci->isr_cfg_offset) & 2;
}

static void wait_config_interrupt(QTMEM *t)
{
    int64_t end = g_get_monotonic_time() + PATIENCE * G_USEC_PER_SEC;

    while (!config_interrupt(t)) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(20 * 1000);
    }
}

/* The limit's reason is not there as a number: compare with a name */
static bool limit_reason_is(QTMEM *t, const char *reason)
{
    g_autoptr(QDict) info = qtmem_query(t);

    return !strcmp(qdict_get_str(info, "limit-reason"), reason);
}

static void wait_limit_reason(QTMEM *t, const char *reason)
{
    int64_t end = g_get_monotonic_time() + PATIENCE * G_USEC_PER_SEC;

    while (!limit_reason_is(t, reason)) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(20 * 1000);
    }
}

static void wait_counter_below(QTMEM *t, const char *name, uint64_t bound)
{
    int64_t end = g_get_monotonic_time() + PATIENCE * G_USEC_PER_SEC;

    while (qtmem_counter(t, name) >= bound) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(20 * 1000);
    }
}

/* qom-set of a property of the device that users know: the PCI proxy */
static void set_size(QTMEM *t, const char *name, uint64_t value)
{
    qtest_qmp_assert_success(t->qts,
        "{ 'execute': 'qom-set', 'arguments': { 'path': '" DEVICE_PATH "',"
        " 'property': %s, 'value': %" PRIu64 " } }", name, value);
}

static uint64_t get_size(QTMEM *t, const char *name)
{
    QDict *rsp = qtest_qmp(t->qts,
        "{ 'execute': 'qom-get', 'arguments': { 'path': '" DEVICE_PATH "',"
        " 'property': %s } }", name);
    uint64_t value;

    g_assert_true(qdict_haskey(rsp, "return"));
    value = qdict_get_int(rsp, "return");
    qobject_unref(rsp);
    return value;
}

/* @value: JSON. The error is a sentence that has all of @says in it. */
static void assert_size_refused(QTMEM *t, const char *name, const char *value,
                                const char *const says[3])
{
    g_autoptr(QDict) error = NULL;
    const char *desc;
    int i;

    error = qtest_qmp_assert_failure_ref(t->qts,
        "{ 'execute': 'qom-set', 'arguments': { 'path': '" DEVICE_PATH "',"
        " 'property': %s, 'value': %p } }", name,
        qobject_from_json(value, &error_abort));
    desc = qdict_get_str(error, "desc");
    g_test_message("%s", desc);
    g_assert_null(strchr(desc, '\n'));
    for (i = 0; i < 3; i++) {
        g_assert_nonnull(strstr(desc, says[i]));
    }
}

/* ---- Sizes at run time ---- */

/* An operator's word is law at once */
static void sizes_change_at_run_time(void *obj, void *data,
                                     QGuestAllocator *alloc)
{
    uint32_t pool;
    QDict *event;
    QTMEM t;

    qtmem_start(&t, obj, alloc, 0);
    pool = qtmem_make_pool(&t);
    g_assert_cmpint(get_size(&t, "max-size"), ==, QTMEM_MAX_SIZE);
    g_assert_cmpint(get_size(&t, "min-size"), ==, 0);

    set_size(&t, "max-size", 32 * MIB);
    g_assert_cmpint(get_size(&t, "max-size"), ==, 32 * MIB);
    g_assert_cmpint(qtmem_counter(&t, "max-size"), ==, 32 * MIB);
    g_assert_cmpint(qtmem_counter(&t, "limit"), ==, 32 * MIB);
    g_assert_true(limit_reason_is(&t, "max"));
    event = qtest_qmp_eventwait_ref(t.qts, "TMEM_LIMIT_CHANGED");
    g_assert_cmpint(qdict_get_int(qdict_get_qdict(event, "data"), "limit"), ==,
                    32 * MIB);
    qobject_unref(event);

    set_size(&t, "min-size", 16 * MIB);
    g_assert_cmpint(get_size(&t, "min-size"), ==, 16 * MIB);
    g_assert_cmpint(qtmem_counter(&t, "min-size"), ==, 16 * MIB);
    g_assert_cmpint(qtmem_counter(&t, "limit"), ==, 32 * MIB);

    /* More than at the start */
    set_size(&t, "max-size", 128 * MIB);
    g_assert_cmpint(qtmem_counter(&t, "limit"), ==, 128 * MIB);
    g_assert_cmpint(qtmem_put_range(&t, pool, 0, 128 * MIB / PAGE / 2,
                                    QTMEM_RANDOM), ==, 128 * MIB / PAGE / 2);
    qtmem_stop(&t);
}

/* Invariant 1: a smaller store refuses, it does not forget */
static void lower_max_size_keeps_what_is_held(void *obj, void *data,
                                              QGuestAllocator *alloc)
{
    uint8_t page[PAGE];
    uint32_t pool;
    QTMEM t;

    qtmem_start(&t, obj, alloc, 0);
    pool = qtmem_make_pool(&t);
    g_assert_cmpint(qtmem_put_range(&t, pool, 0, 1024, QTMEM_RANDOM), ==, 1024);
    set_size(&t, "max-size", 2 * MIB);
    g_assert_cmpint(qtmem_counter(&t, "limit"), ==, 2 * MIB);
    g_assert_cmpint(qtmem_counter(&t, "pages"), ==, 1024);
    qtmem_fill_page(page, QTMEM_RANDOM, 1);
    g_assert_cmpint(qtmem_put(&t, pool, 0, 5000, page).status, ==,
                    VIRTIO_TMEM_S_REJECTED);

    /* The guest is asked for what is too much: half of it, random data stays */
    wait_config_interrupt(&t);
    g_assert_cmpint(config_target(&t), <, 1024 * 6 / 10);
    g_assert_cmpint(config_target(&t), >, 1024 * 3 / 10);
    qtmem_assert_range(&t, pool, 0, 1024, QTMEM_RANDOM);

    /* It does so, and there is room again */
    qtmem_flush(&t, pool, 0, config_target(&t) / 2, UINT64_MAX);
    wait_counter_below(&t, "bytes-used", 2 * MIB);
    qtmem_put_ok(&t, pool, 0, 5000, QTMEM_RANDOM, 1);
    qtmem_stop(&t);
}

/* One sentence that names the property and what is right; nothing changes */
static void bad_sizes_are_refused_at_run_time(void *obj, void *data,
                                              QGuestAllocator *alloc)
{
    static const struct {
        const char *name;
        const char *value;
        const char *says[3];
    } bad[] = {
        { "max-size", "0", { "max-size", " 0 ", "1048576" } },
        { "max-size", "1048575", { "max-size", "1048575", "1048576" } },
        { "max-size", "4611686018427387904",
          { "max-size", "4611686018427387904", "host" } },
        { "max-size", "4194303", { "min-size", "4194304", "4194303" } },
        { "max-size", "'64M'", { "max-size", "", "" } },
        { "max-size", "-1", { "max-size", "", "" } },
        { "min-size", "67108865", { "min-size", "67108865", "67108864" } },
        { "min-size", "true", { "min-size", "", "" } },
    };
    QTMEM t;
    int i;

    qtmem_start(&t, obj, alloc, 0);
    set_size(&t, "min-size", 4 * MIB);
    for (i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_size_refused(&t, bad[i].name, bad[i].value, bad[i].says);
        g_assert_cmpint(get_size(&t, "max-size"), ==, QTMEM_MAX_SIZE);
        g_assert_cmpint(get_size(&t, "min-size"), ==, 4 * MIB);
        g_assert_cmpint(qtmem_counter(&t, "max-size"), ==, QTMEM_MAX_SIZE);
        g_assert_cmpint(qtmem_counter(&t, "min-size"), ==, 4 * MIB);
        g_assert_cmpint(qtmem_counter(&t, "limit"), ==, QTMEM_MAX_SIZE);
    }
    qtmem_stop(&t);
}

/* Huge pages need room for a block of each size, also later on */
static void huge_pages_keep_their_least_size(void *obj, void *data,
                                             QGuestAllocator *alloc)
{
    static const char *const says[] = { "max-size", "1073741823",
                                        "1073741824" };
    QTMEM t;

    qtmem_start(&t, obj, alloc, 0);
    assert_size_refused(&t, "max-size", "1073741823", says);
    g_assert_cmpint(get_size(&t, "max-size"), ==, GIB);
    g_assert_cmpint(qtmem_counter(&t, "limit"), ==, GIB);
    qtmem_stop(&t);
}

/* ---- Target ---- */

/* A guest that holds no more than it may has nothing to be asked for */
static void target_asks_for_nothing_below_the_limit(void *obj, void *data,
                                                    QGuestAllocator *alloc)
{
    static const uint64_t sizes[] = { 62 * MIB, 8 * MIB, 128 * MIB };
    uint64_t max_pages;
    uint32_t pool;
    QTMEM t;
    int i;

    qtmem_start(&t, obj, alloc, 0);
    max_pages = config_max_pages(&t);
    pool = qtmem_make_pool(&t);
    g_assert_cmpint(qtmem_put_range(&t, pool, 0, 1024, QTMEM_RANDOM), ==,
                    1024);
    for (i = 0; i < ARRAY_SIZE(sizes); i++) {
        set_size(&t, "max-size", sizes[i]);
        g_usleep(PROOF_USEC / 2);
        g_assert_cmpint(config_target(&t), ==, NO_TARGET);
        /* What swap areas were sized after does not change without a word */
        g_assert_cmpint(config_max_pages(&t), ==, max_pages);
        g_assert_false(config_interrupt(&t));
    }
    qtmem_stop(&t);
}

/* Who does not know of the target hears nothing of it */
static void without_target_there_is_no_config_interrupt(void *obj, void *data,
    QGuestAllocator *alloc)
{
    bool offered = !data;
    uint32_t pool;
    QTMEM t;

    qtmem_start(&t, obj, alloc, 0);
    g_assert_cmpint(!!(qvirtio_get_features(t.vdev) &
                       1 << VIRTIO_TMEM_F_TARGET), ==, offered);
    t.refused_features = 1 << VIRTIO_TMEM_F_TARGET;
    qtmem_restart(&t);
    if (!offered) {
        g_assert_cmpint(config_target(&t), ==, 0);
    }
    /* What would lower it, see lower_max_size_keeps_what_is_held */
    pool = qtmem_make_pool(&t);
    g_assert_cmpint(qtmem_put_range(&t, pool, 0, 1024, QTMEM_RANDOM), ==,
                    1024);
    set_size(&t, "max-size", 2 * MIB);
    g_usleep(PROOF_USEC);
    g_assert_false(config_interrupt(&t));
    if (!offered) {
        g_assert_cmpint(config_target(&t), ==, 0);
    }
    qtmem_stop(&t);
}

/* Pressure asks the guest for pages; when it has given them, it may hold all */
static void target_falls_under_pressure_and_comes_back(void *obj, void *data,
    QGuestAllocator *alloc)
{
    Script *script = data;
    uint64_t held, target;
    uint32_t pool;
    QTMEM t;

    qtmem_start(&t, obj, alloc, 0);
    pool = qtmem_make_pool(&t);
    g_assert_cmpint(qtmem_put_range(&t, pool, 0, 2048, QTMEM_RANDOM), ==, 2048);
    held = qtmem_counter(&t, "pages");
    g_assert_cmpint(config_target(&t), ==, NO_TARGET);
    g_assert_false(config_interrupt(&t));

    script_set(script, 60);
    wait_config_interrupt(&t);
    target = config_target(&t);
    g_assert_cmpint(target, <, held);
    g_assert_cmpint(target, >, 0);
    g_assert_cmpint(qtmem_counter(&t, "limit"), <,
                    qtmem_counter(&t, "bytes-used"));
    qtmem_assert_range(&t, pool, 0, 2048, QTMEM_RANDOM);

    script_set(script, 0);
    wait_limit_reason(&t, "hold");
    /* More than it was asked for: the limit had not come to rest */
    qtmem_flush(&t, pool, 0, target / 4, UINT64_MAX);
    config_interrupt(&t);
    qtmem_wait_counter_above(&t, "target-pages", NO_TARGET - 1);
    g_assert_cmpint(config_target(&t), ==, NO_TARGET);
    g_assert_true(config_interrupt(&t));
    qtmem_assert_range(&t, pool, 0, target / 4, QTMEM_RANDOM);
    qtmem_stop(&t);
}

/* ---- Pressure ---- */

/* The part of query-tmem on pressure; free with qobject_unref() */
static QDict *query_pressure(QTMEM *t)
{
    g_autoptr(QDict) info = qtmem_query(t);
    QDict *pressure = qdict_get_qdict(info, "pressure");

    return qobject_ref(pressure);
}

static int64_t pressure_permille(QTMEM *t)
{
    g_autoptr(QDict) pressure = query_pressure(t);

    return qdict_get_try_int(pressure, "permille", -1);
}

static void wait_pressure_above(QTMEM *t, int64_t permille)
{
    int64_t end = g_get_monotonic_time() + PATIENCE * G_USEC_PER_SEC;

    while (pressure_permille(t) <= permille) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(20 * 1000);
    }
}

static void wait_pressure_key(QTMEM *t, const char *key, bool there)
{
    int64_t end = g_get_monotonic_time() + PATIENCE * G_USEC_PER_SEC;

    for (;;) {
        g_autoptr(QDict) pressure = query_pressure(t);

        if (qdict_haskey(pressure, key) == there) {
            return;
        }
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(20 * 1000);
    }
}

/* Invariants 1 and 8: down at once, no further than min-size, and up again */
static void limit_follows_pressure(void *obj, void *data,
                                   QGuestAllocator *alloc)
{
    Script *script = data;
    uint32_t persistent, ephemeral;
    uint64_t used;
    int64_t begin;
    QTMEM t;

    qtmem_start(&t, obj, alloc, 0);
    persistent = qtmem_make_pool(&t);
    ephemeral = qtmem_make_ephemeral_pool(&t);
    g_assert_cmpint(qtmem_put_range(&t, persistent, 0, 1024, QTMEM_RANDOM), ==,
                    1024);
    g_assert_cmpint(qtmem_put_range(&t, ephemeral, 0, 1024, QTMEM_RANDOM), ==,
                    1024);
    g_assert_cmpint(qtmem_counter(&t, "limit"), ==, QTMEM_MAX_SIZE);
    g_assert_true(limit_reason_is(&t, "max"));
    used = qtmem_counter(&t, "bytes-used");

    begin = g_get_monotonic_time();
    script_set(script, 60);
    wait_counter_below(&t, "limit", used);
    g_test_message("it fell after %" PRId64 " ms",
                   (g_get_monotonic_time() - begin) / 1000);
    wait_limit_reason(&t, "min");
    g_assert_cmpint(qtmem_counter(&t, "limit"), ==, 3 * MIB);
    wait_pressure_above(&t, 200);

    /* Of what is over it, the store gives what it may, and keeps the rest */
    wait_counter_below(&t, "ephemeral-pages", 1);
    g_assert_cmpint(qtmem_counter(&t, "pages"), ==, 1024);
    g_assert_cmpint(qtmem_counter(&t, "evicted"), ==, 1024);
    g_assert_cmpint(qtmem_put_range(&t, persistent, 5000, 1, QTMEM_RANDOM), ==,
                    0);
    qtmem_assert_range(&t, persistent, 0, 1024, QTMEM_RANDOM);

    script_set(script, 0);
    wait_limit_reason(&t, "hold");
    wait_limit_reason(&t, "growing");
    qtmem_wait_counter_above(&t, "limit", 5 * MIB);
    g_assert_cmpint(qtmem_put_range(&t, persistent, 5000, 1, QTMEM_RANDOM), ==,
                    1);
    qtmem_assert_range(&t, persistent, 0, 1024, QTMEM_RANDOM);
    qtmem_stop(&t);
}

/* Invariants 1 and 8: what is over the limit is made smaller, not dropped */
static void cold_pages_are_recompressed_over_the_limit(void *obj, void *data,
    QGuestAllocator *alloc)
{
    Script *script = data;
    uint64_t stored, used;
    uint32_t pool;
    QTMEM t;

    qtmem_start(&t, obj, alloc, 0);
    pool = qtmem_make_pool(&t);
    g_assert_cmpint(qtmem_put_range(&t, pool, 0, 1024, QTMEM_NORMAL), ==,
                    1024);
    stored = qtmem_counter(&t, "bytes-stored");
    used = qtmem_counter(&t, "bytes-used");
    g_assert_cmpint(qtmem_counter(&t, "zstd-pages"), ==, 0);

    script_set(script, 60);
    qtmem_wait_counter_above(&t, "recompressed", 1023);
    g_assert_cmpint(qtmem_counter(&t, "zstd-pages"), ==, 1024);
    g_assert_cmpint(qtmem_counter(&t, "pages"), ==, 1024);
    g_assert_cmpint(qtmem_counter(&t, "bytes-stored"), <, stored * 9 / 10);
    wait_counter_below(&t, "bytes-used", used * 9 / 10);
    qtmem_assert_range(&t, pool, 0, 1024, QTMEM_NORMAL);
    qtmem_stop(&t);
}

/* An operator's sizes hold in every state of the limit */
static void sizes_change_under_pressure(void *obj, void *data,
                                        QGuestAllocator *alloc)
{
    Script *script = data;
    uint32_t pool;
    QTMEM t;

    qtmem_start(&t, obj, alloc, 0);
    pool = qtmem_make_pool(&t);
    /* Calm: what is given is there, now and at the next look */
    set_size(&t, "max-size", 16 * MIB);
    g_assert_cmpint(qtmem_counter(&t, "limit"), ==, 16 * MIB);
    g_usleep(PROOF_USEC);
    set_size(&t, "max-size", 24 * MIB);
    qtmem_wait_counter_above(&t, "limit", 24 * MIB - 1);
    wait_limit_reason(&t, "max");

    g_assert_cmpint(qtmem_put_range(&t, pool, 0, 1024, QTMEM_RANDOM), ==, 1024);
    script_set(script, 60);
    wait_counter_below(&t, "limit", 4 * MIB);
    set_size(&t, "min-size", 8 * MIB);
    g_assert_cmpint(qtmem_counter(&t, "limit"), >=, 8 * MIB);
    wait_limit_reason(&t, "min");
    g_assert_cmpint(qtmem_counter(&t, "limit"), ==, 8 * MIB);
    g_assert_cmpint(qtmem_put_range(&t, pool, 1024, 32, QTMEM_RANDOM), ==, 32);
    qtmem_assert_range(&t, pool, 0, 1056, QTMEM_RANDOM);
    qtmem_stop(&t);
}

/* What the operator is told of the source, good or bad */
static void query_tmem_tells_the_pressure(void *obj, void *data,
                                          QGuestAllocator *alloc)
{
    Script *script = data;
    QDict *pressure;
    QTMEM t;

    qtmem_start(&t, obj, alloc, 0);
    wait_pressure_key(&t, "permille", true);
    pressure = query_pressure(&t);
    g_assert_cmpstr(qdict_get_str(pressure, "path"), ==, script->path);
    g_assert_false(qdict_get_bool(pressure, "trigger"));
    g_assert_cmpint(qdict_get_int(pressure, "permille"), <, 10);
    g_assert_false(qdict_haskey(pressure, "error"));
    qobject_unref(pressure);

    script_set(script, 100);
    wait_pressure_above(&t, 500);
    qtmem_stop(&t);
}

/* Nobody knows: no reason to take more, or to give more away */
static void limit_holds_when_the_pressure_file_vanishes(void *obj, void *data,
    QGuestAllocator *alloc)
{
    Script *script = data;
    QDict *pressure;
    uint32_t pool;
    uint64_t limit;
    QTMEM t;

    qtmem_start(&t, obj, alloc, 0);
    pool = qtmem_make_pool(&t);
    g_assert_cmpint(qtmem_put_range(&t, pool, 0, 1024, QTMEM_RANDOM), ==, 1024);
    script_set(script, 60);
    /* It may be at min-size before anybody has looked */
    wait_counter_below(&t, "limit", 6 * MIB);
    script_set(script, -1);
    wait_pressure_key(&t, "error", true);
    limit = qtmem_counter(&t, "limit");
    g_assert_cmpint(limit, <, 6 * MIB);

    g_usleep(PROOF_USEC);
    pressure = query_pressure(&t);
    g_assert_nonnull(strstr(qdict_get_str(pressure, "error"), script->path));
    g_test_message("%s", qdict_get_str(pressure, "error"));
    g_assert_cmpstr(qdict_get_str(pressure, "path"), ==, script->path);
    g_assert_false(qdict_haskey(pressure, "permille"));
    qobject_unref(pressure);
    g_assert_cmpint(qtmem_counter(&t, "limit"), ==, limit);
    g_assert_true(limit_reason_is(&t, "hold"));

    script_set(script, 0);
    wait_pressure_key(&t, "error", false);
    wait_pressure_key(&t, "permille", true);
    qtmem_assert_range(&t, pool, 0, 1024, QTMEM_RANDOM);
    qtmem_stop(&t);
}

/* A source that was never there is no pressure, and no path either */
static void pressure_off_reads_nothing(void *obj, void *data,
                                       QGuestAllocator *alloc)
{
    g_autofree char *text = NULL;
    QDict *pressure;
    QTMEM t;

    qtmem_start(&t, obj, alloc, 0);
    g_usleep(PROOF_USEC / 2);
    pressure = query_pressure(&t);
    g_assert_false(qdict_haskey(pressure, "path"));
    g_assert_false(qdict_get_bool(pressure, "trigger"));
    g_assert_false(qdict_haskey(pressure, "permille"));
    g_assert_false(qdict_haskey(pressure, "error"));
    qobject_unref(pressure);
    g_assert_true(limit_reason_is(&t, "max"));
    text = qtest_hmp(t.qts, "info tmem");
    g_assert_nonnull(strstr(text, "pressure: off"));
    qtmem_stop(&t);
}

/* Without a word on it the store follows the host, if the host says anything */
static void pressure_of_the_host_is_the_default(void *obj, void *data,
                                                QGuestAllocator *alloc)
{
    QTestState *qts = qtest_init("-device virtio-tmem-pci,id=" QTMEM_ID
                                 ",max-size=8M");
    QTMEM t = { .qts = qts };
    QDict *pressure;

    if (access("/proc/pressure/memory", R_OK) < 0) {
        g_test_skip("this kernel tells no memory pressure");
    } else {
        wait_pressure_key(&t, "permille", true);
        pressure = query_pressure(&t);
        g_test_message("%s", qdict_get_str(pressure, "path"));
        g_assert_true(g_str_has_suffix(qdict_get_str(pressure, "path"),
                                       "/pressure/memory") ||
                      g_str_has_suffix(qdict_get_str(pressure, "path"),
                                       "/memory.pressure"));
        qobject_unref(pressure);
    }
    qtest_quit(qts);
}

/* The data of an event, and the event, are checked and gone */
static uint64_t take_limit_event(QTMEM *t, QDict *event)
{
    QDict *data = qdict_get_qdict(event, "data");
    const char *reason = qdict_get_str(data, "reason");
    uint64_t limit = qdict_get_int(data, "limit");

    g_assert_cmpstr(qdict_get_str(data, "qom-path"), ==, DEVICE_PATH);
    g_assert_cmpint(qdict_size(data), ==, 4);
    g_assert_cmpint(limit, >=, 3 * MIB);
    g_assert_cmpint(limit, <=, QTMEM_MAX_SIZE);
    g_assert_cmpint(qdict_get_int(data, "bytes-used"), >, 1024 * PAGE);
    g_assert_true(!strcmp(reason, "pressure") || !strcmp(reason, "min"));
    qobject_unref(event);
    return limit;
}

/* Nobody has to poll, and nobody is flooded: one event a second, the latest */
static void limit_events_are_rate_limited(void *obj, void *data,
                                          QGuestAllocator *alloc)
{
    Script *script = data;
    uint64_t first, last;
    uint32_t pool;
    QDict *event;
    QTMEM t;

    qtmem_start(&t, obj, alloc, 0);
    pool = qtmem_make_pool(&t);
    /* One fall does not come down to min-size from there, however late */
    g_assert_cmpint(qtmem_put_range(&t, pool, 0, 4096, QTMEM_RANDOM), ==, 4096);
    g_assert_null(qtest_qmp_event_ref(t.qts, "TMEM_LIMIT_CHANGED"));

    script_set(script, 60);
    event = qtest_qmp_eventwait_ref(t.qts, "TMEM_LIMIT_CHANGED");
    first = take_limit_event(&t, event);
    g_assert_cmpint(first, <, QTMEM_MAX_SIZE);

    /* qtest's clock stands still, so the second is not over */
    wait_limit_reason(&t, "min");
    g_usleep(PROOF_USEC / 2);
    qtmem_counter(&t, "limit");
    g_assert_null(qtest_qmp_event_ref(t.qts, "TMEM_LIMIT_CHANGED"));

    qtest_clock_step(t.qts, 1100 * 1000 * 1000);
    event = qtest_qmp_eventwait_ref(t.qts, "TMEM_LIMIT_CHANGED");
    last = take_limit_event(&t, event);
    g_assert_cmpint(last, ==, 3 * MIB);
    g_assert_cmpint(last, <, first);
    qtmem_counter(&t, "limit");
    g_assert_null(qtest_qmp_event_ref(t.qts, "TMEM_LIMIT_CHANGED"));
    qtmem_stop(&t);
}

/* ---- Registration ---- */

static void register_limits(void)
{
    QOSGraphTestOptions fresh = { .before = fresh_begin };
    QOSGraphTestOptions no_target = {
        .edge.extra_device_opts = "target=off",
        .before = fresh_begin,
        .arg = (void *)"off",
    };
    QOSGraphTestOptions huge = {
        .edge.extra_device_opts = "hugepages=on,max-size=1G",
        .before = fresh_begin,
    };

#define ADD(fn, opts) qos_add_test(#fn, "virtio-tmem-limit", fn, opts)
    ADD(sizes_change_at_run_time, &fresh);
    ADD(lower_max_size_keeps_what_is_held, &fresh);
    ADD(bad_sizes_are_refused_at_run_time, &fresh);
    if (qemu_get_host_physmem() >= GIB) {
        ADD(huge_pages_keep_their_least_size, &huge);
    }
    ADD(target_asks_for_nothing_below_the_limit, &fresh);
    ADD(without_target_there_is_no_config_interrupt, &fresh);
    qos_add_test("target_off_reads_zero", "virtio-tmem-limit",
                 without_target_there_is_no_config_interrupt, &no_target);
}

static void register_pressure(void)
{
    QOSGraphTestOptions fresh = { .before = fresh_begin };
    g_autofree char *source = g_strdup_printf("pressure=%s", script_path);
    g_autofree char *bounded = g_strdup_printf("%s,min-size=3M", source);
    QOSGraphTestOptions script = {
        .edge.extra_device_opts = source,
        .before = script_begin,
    };
    QOSGraphTestOptions min_size = {
        .edge.extra_device_opts = bounded,
        .before = script_begin,
    };

    ADD(target_falls_under_pressure_and_comes_back, &script);
    ADD(limit_follows_pressure, &min_size);
    ADD(cold_pages_are_recompressed_over_the_limit, &script);
    ADD(sizes_change_under_pressure, &script);
    ADD(query_tmem_tells_the_pressure, &script);
    ADD(limit_holds_when_the_pressure_file_vanishes, &min_size);
    ADD(limit_events_are_rate_limited, &min_size);
    ADD(pressure_off_reads_nothing, &fresh);
    ADD(pressure_of_the_host_is_the_default, &fresh);
#undef ADD
}

static void register_virtio_tmem_limit_test(void)
{
    script_path = g_strdup_printf("%s/virtio-tmem-pressure-%d",
                                  g_get_tmp_dir(), getpid());
    register_limits();
    register_pressure();
}

libqos_init(register_virtio_tmem_limit_test);
