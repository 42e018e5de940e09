/*
 * Page store of virtio-tmem: where it learns of the host's memory pressure
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <glib/gstdio.h>
#include "hw/virtio/tmem-store-pressure.h"
#include "tmem-store-pages.h"

#define NS_PER_MS INT64_C(1000000)
#define NS_PER_SEC INT64_C(1000000000)

#define PSI(total) \
    "some avg10=0.00 avg60=0.12 avg300=1.00 total=" total "\n" \
    "full avg10=0.00 avg60=0.00 avg300=0.00 total=77\n"

/* A directory of files that are gone when the test is over. */
typedef struct Dir {
    char *path;
} Dir;

static void dir_init(Dir *dir)
{
    dir->path = g_dir_make_tmp("tmem-policy-XXXXXX", NULL);
    g_assert_nonnull(dir->path);
}

static void dir_remove(const char *path)
{
    GDir *dir = g_dir_open(path, 0, NULL);
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *file = g_build_filename(path, name, NULL);

        dir_remove(file);
    }
    g_clear_pointer(&dir, g_dir_close);
    g_remove(path);
}

static void dir_free(Dir *dir)
{
    dir_remove(dir->path);
    g_free(dir->path);
}

static char *dir_file(Dir *dir, const char *name)
{
    return g_build_filename(dir->path, name, NULL);
}

/* g_file_set_contents() replaces the file by rename(). */
static void dir_write(Dir *dir, const char *name, const char *text)
{
    g_autofree char *file = dir_file(dir, name);
    g_autofree char *parent = g_path_get_dirname(file);

    g_assert_cmpint(g_mkdir_with_parents(parent, 0700), ==, 0);
    g_assert_true(g_file_set_contents(file, text, -1, NULL));
}

static TmemPressure *dir_open(Dir *dir, const char *name)
{
    g_autofree char *file = dir_file(dir, name);
    GError *err = NULL;
    TmemPressure *source = tmem_pressure_open(file, &err);

    g_assert_no_error(err);
    g_assert_cmpstr(tmem_pressure_path(source), ==, file);
    return source;
}

static int read_at(TmemPressure *source, int64_t ms)
{
    int permille = tmem_pressure_read(source, ms * NS_PER_MS);

    if (permille >= 0) {
        g_assert_null(tmem_pressure_error(source));
    }
    return permille;
}

static void test_source_tells_share_of_stalled_time(void)
{
    TmemPressure *source;
    Dir dir;

    dir_init(&dir);
    dir_write(&dir, "psi", PSI("1000000"));
    source = dir_open(&dir, "psi");

    g_assert_cmpint(read_at(source, 5000), ==, -1);
    g_assert_null(tmem_pressure_error(source));
    g_assert_cmpint(read_at(source, 5250), ==, 0);
    dir_write(&dir, "psi", PSI("1025000"));
    g_assert_cmpint(read_at(source, 5500), ==, 100);
    dir_write(&dir, "psi", PSI("1035000"));
    g_assert_cmpint(read_at(source, 15500), ==, 1);
    /* More than there is: the clocks differ a little. */
    dir_write(&dir, "psi", PSI("1286000"));
    g_assert_cmpint(read_at(source, 15750), ==, 1000);
    dir_write(&dir, "psi", PSI("18446744073709551615"));
    g_assert_cmpint(read_at(source, 16000), ==, 1000);

    tmem_pressure_free(source);
    dir_free(&dir);
}

static void test_source_survives_counts_and_clocks_that_go_back(void)
{
    TmemPressure *source;
    Dir dir;

    dir_init(&dir);
    dir_write(&dir, "psi", PSI("900000"));
    source = dir_open(&dir, "psi");
    g_assert_cmpint(read_at(source, 1000), ==, -1);

    /* A count that begins anew says nothing, until the next read. */
    dir_write(&dir, "psi", PSI("50000"));
    g_assert_cmpint(read_at(source, 2000), ==, -1);
    g_assert_null(tmem_pressure_error(source));
    dir_write(&dir, "psi", PSI("150000"));
    g_assert_cmpint(read_at(source, 3000), ==, 100);

    /* No time has passed: nothing is said, and nothing is lost. */
    dir_write(&dir, "psi", PSI("250000"));
    g_assert_cmpint(read_at(source, 3000), ==, -1);
    g_assert_cmpint(read_at(source, 4000), ==, 100);

    dir_write(&dir, "psi", PSI("350000"));
    g_assert_cmpint(read_at(source, 500), ==, -1);
    dir_write(&dir, "psi", PSI("450000"));
    g_assert_cmpint(read_at(source, 1500), ==, 100);

    tmem_pressure_free(source);
    dir_free(&dir);
}

static unsigned open_files(void)
{
    GDir *dir = g_dir_open("/proc/self/fd", 0, NULL);
    unsigned num = 0;

    while (dir && g_dir_read_name(dir)) {
        num++;
    }
    g_clear_pointer(&dir, g_dir_close);
    return num;
}

static void test_source_knows_its_format(void)
{
    static const struct {
        const char *text;
        bool good;
    } cases[] = {
        { PSI("5"), true },
        { "some avg10=0.00 avg60=0.00 avg300=0.00 total=5\n", true },
        { "full avg10=0.00 total=7\nsome avg10=0.00 total=5\n", true },
        { "some total=5\n", true },
        { "some avg10=0.00 total=5 later=1\n", true },
        { PSI("18446744073709551615"), true },
        { PSI("18446744073709551616"), false },
        { PSI("-5"), false },
        { PSI(" 5"), false },
        { PSI("5x"), false },
        { PSI(""), false },
        { "", false },
        { "\n", false },
        { "some\n", false },
        { "5\n", false },
        { "some avg10=0.00 avg60=0.00 avg300=0.00\n", false },
        { "full avg10=0.00 avg60=0.00 avg300=0.00 total=5\n", false },
        { "awesome avg10=0.00 avg60=0.00 avg300=0.00 total=5\n", false },
        /* Cut off while it was written: the number may go on. */
        { "some avg10=0.00 avg60=0.00 avg300=0.00 total=5", false },
        { "some avg10=0.00 avg60=0.00 avg3", false },
    };
    unsigned before = open_files();
    Dir dir;

    dir_init(&dir);
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *file = dir_file(&dir, "psi");
        g_autoptr(GError) err = NULL;
        TmemPressure *source;

        dir_write(&dir, "psi", cases[i].text);
        source = tmem_pressure_open(file, &err);
        g_test_message("case %u: %s", i, err ? err->message : "good");
        g_assert_cmpint(source != NULL, ==, cases[i].good);
        g_assert_cmpint(err == NULL, ==, cases[i].good);
        if (err) {
            g_assert_nonnull(strstr(err->message, "is not in PSI format"));
        }
        tmem_pressure_free(source);
    }
    g_assert_cmpuint(open_files(), ==, before);
    dir_free(&dir);
}

/* A file without end is not read to its end, and a FIFO not waited for */
static void test_source_refuses_what_is_no_file(void)
{
    g_autofree char *large = g_strnfill(100000, 'x');
    g_autofree char *fifo = NULL;
    unsigned before = open_files();
    Dir dir;

    dir_init(&dir);
    dir_write(&dir, "large", large);
    fifo = dir_file(&dir, "fifo");
    g_assert_cmpint(mkfifo(fifo, 0600), ==, 0);
    for (unsigned i = 0; i < 6; i++) {
        g_autofree char *file = NULL;
        g_autoptr(GError) err = NULL;

        file = i == 0 ? dir_file(&dir, "absent") :
               i == 1 ? g_strdup(dir.path) :
               i == 2 ? g_strdup(fifo) :
               i == 3 ? dir_file(&dir, "large") :
               i == 4 ? g_strdup("/dev/zero") : g_strdup("");
        g_assert_null(tmem_pressure_open(file, &err));
        g_test_message("%s", err->message);
        g_assert_cmpint(err->domain, ==, G_FILE_ERROR);
        g_assert_nonnull(strstr(err->message, file));
    }
    g_assert_cmpuint(open_files(), ==, before);
    dir_free(&dir);
}

/* What cannot be read is not known, which is not the same as calm */
static void test_source_recovers_when_readable_again(void)
{
    g_autofree char *file = NULL;
    TmemPressure *source;
    Dir dir;

    dir_init(&dir);
    file = dir_file(&dir, "psi");
    dir_write(&dir, "psi", PSI("1000"));
    source = dir_open(&dir, "psi");
    g_assert_cmpint(read_at(source, 1000), ==, -1);
    g_assert_cmpint(read_at(source, 2000), ==, 0);

    g_assert_cmpint(g_remove(file), ==, 0);
    for (unsigned i = 0; i < 3; i++) {
        g_assert_cmpint(read_at(source, 3000), ==, -1);
        g_assert_nonnull(strstr(tmem_pressure_error(source), "No such file"));
    }
    dir_write(&dir, "psi", "some avg10=0.0");
    g_assert_cmpint(read_at(source, 3500), ==, -1);
    g_assert_nonnull(strstr(tmem_pressure_error(source), "not in PSI format"));

    /* Over all of the time since the last good read. */
    dir_write(&dir, "psi", PSI("201000"));
    g_assert_cmpint(read_at(source, 4000), ==, 100);
    g_assert_cmpstr(tmem_pressure_path(source), ==, file);

    tmem_pressure_free(source);
    dir_free(&dir);
}

/* What a hybrid machine has in mountinfo before its cgroup2 mount */
#define MOUNTS \
    "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n" \
    "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"

static void test_cgroup_is_found(void)
{
    static const struct {
        const char *cgroup;
        const char *mountinfo;
        const char *file;
    } cases[] = {
        /* cgroup v2 only */
        { "0::/a/b\n",
          "41 31 0:38 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw\n",
          "/sys/fs/cgroup/a/b/memory.pressure" },
        /* in its root, or in the root of a cgroup namespace */
        { "0::/\n",
          "41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n",
          "/sys/fs/cgroup/memory.pressure" },
        /* hybrid, more than one optional field */
        { "4:memory:/x\n1:name=systemd:/y\n0::/z\n",
          MOUNTS "41 31 0:38 / /sys/fs/cgroup/unified rw shared:9 master:2 "
          "- cgroup2 cgroup2 rw\n",
          "/sys/fs/cgroup/unified/z/memory.pressure" },
        /* cgroup v1 only */
        { "4:memory:/x\n1:name=systemd:/y\n", MOUNTS, NULL },
        { "4:memory:/x\n0::/\n", MOUNTS, NULL },
        /* a container that shares the cgroup namespace of the host */
        { "0::/docker/123\n",
          "41 31 0:38 /docker/123 /sys/fs/cgroup ro - cgroup2 cgroup ro\n",
          "/sys/fs/cgroup/memory.pressure" },
        { "0::/docker/123/sub\n",
          "41 31 0:38 /docker/123 /sys/fs/cgroup ro - cgroup2 cgroup ro\n",
          "/sys/fs/cgroup/sub/memory.pressure" },
        /* a mount that does not show us, then one that does */
        { "0::/docker/1234\n",
          "41 31 0:38 /docker/123 /mnt ro - cgroup2 cgroup ro\n"
          "42 31 0:38 / /sys/fs/cgroup ro - cgroup2 cgroup ro\n",
          "/sys/fs/cgroup/docker/1234/memory.pressure" },
        { "0::/\n", "41 31 0:38 /a /mnt ro - cgroup2 cgroup ro\n", NULL },
        /* mounted from above our cgroup namespace, and we outside of it */
        { "0::/a\n", "41 31 0:38 /.. /mnt ro - cgroup2 cgroup ro\n", NULL },
        { "0::/../b\n", "41 31 0:38 / /mnt ro - cgroup2 cgroup ro\n", NULL },
        { "0::/..\n", "41 31 0:38 / /mnt ro - cgroup2 cgroup ro\n", NULL },
        { "0::/../../c\n",
          "41 31 0:38 /.. /mnt ro - cgroup2 cgroup ro\n", NULL },
        { "0::/../b\n",
          "41 31 0:38 /.. /mnt ro - cgroup2 cgroup ro\n",
          "/mnt/b/memory.pressure" },
        /* blanks and backslashes */
        { "0::/a b\\c\n",
          "41 31 0:38 /a\\040b\\134c /m\\011n ro - cgroup2 cgroup ro\n",
          "/m\tn/memory.pressure" },
        /* looks like one, is none */
        { "0::/a\n", "41 31 0:38 / /mnt ro - cgroup cgroup2 ro\n", NULL },
        { "0::/a\n", "41 31 0:38 / /mnt ro - cgroup2x cgroup2 ro\n", NULL },
        { "10::/a\n", "41 31 0:38 / /mnt ro - cgroup2 cgroup2 ro\n", NULL },
        { "0::a\n", "41 31 0:38 / /mnt ro - cgroup2 cgroup2 ro\n", NULL },
        { "0::/a\n", "41 31 - cgroup2 cgroup2 ro\n", NULL },
        { "0::/a\n", " - cgroup2 ", NULL },
        { "0::/a\n", "", NULL },
        { "", "41 31 0:38 / /mnt ro - cgroup2 cgroup2 ro\n", NULL },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *file = tmem_pressure_cgroup_file(cases[i].cgroup,
                                                          cases[i].mountinfo);

        g_test_message("case %u", i);
        g_assert_cmpstr(file, ==, cases[i].file);
    }
}

/* A /proc with us in cgroup @path of a cgroup2 mount at "cgroup" beside it. */
static void dir_write_proc(Dir *dir, const char *path)
{
    g_autofree char *cgroup = g_strdup_printf("0::%s\n", path);
    g_autofree char *mountinfo =
        g_strdup_printf("1 2 0:3 / %s/cgroup rw - cgroup2 cgroup2 rw\n",
                        dir->path);

    dir_write(dir, "self/cgroup", cgroup);
    dir_write(dir, "self/mountinfo", mountinfo);
}

static TmemPressure *dir_open_auto(Dir *dir)
{
    GError *err = NULL;
    TmemPressure *source = tmem_pressure_open_at("auto", dir->path, &err);

    g_assert_no_error(err);
    return source;
}

static void assert_path(TmemPressure *source, Dir *dir, const char *name)
{
    g_autofree char *file = dir_file(dir, name);

    g_assert_cmpstr(tmem_pressure_path(source), ==, file);
}

static void test_auto_takes_cgroup_before_host(void)
{
    g_autoptr(GError) err = NULL;
    TmemPressure *source;
    Dir dir;

    dir_init(&dir);
    g_assert_null(tmem_pressure_open_at("auto", dir.path, &err));
    g_test_message("%s", err->message);
    g_assert_nonnull(strstr(err->message, "psi=1"));

    dir_write(&dir, "pressure/memory", PSI("1"));
    source = dir_open_auto(&dir);
    assert_path(source, &dir, "pressure/memory");
    tmem_pressure_free(source);

    /* There may be no such file, or one that is of no use. */
    dir_write_proc(&dir, "/vm");
    source = dir_open_auto(&dir);
    assert_path(source, &dir, "pressure/memory");
    tmem_pressure_free(source);
    dir_write(&dir, "cgroup/vm/memory.pressure", "");
    source = dir_open_auto(&dir);
    assert_path(source, &dir, "pressure/memory");
    tmem_pressure_free(source);

    dir_write(&dir, "cgroup/vm/memory.pressure", PSI("2"));
    source = dir_open_auto(&dir);
    assert_path(source, &dir, "cgroup/vm/memory.pressure");
    tmem_pressure_free(source);
    dir_free(&dir);
}

static void test_auto_follows_the_process(void)
{
    g_autofree char *file = NULL;
    TmemPressure *source;
    Dir dir;

    dir_init(&dir);
    dir_write_proc(&dir, "/a");
    dir_write(&dir, "pressure/memory", PSI("0"));
    dir_write(&dir, "cgroup/a/memory.pressure", PSI("1000"));
    source = dir_open_auto(&dir);
    g_assert_cmpint(read_at(source, 10000), ==, -1);
    g_assert_cmpint(read_at(source, 11000), ==, 0);
    g_assert_cmpint(read_at(source, 20000), ==, 0);

    /* Moved: found within 10 s, and its count is not taken for the old one. */
    dir_write(&dir, "cgroup/b/memory.pressure", PSI("900000"));
    dir_write_proc(&dir, "/b");
    g_assert_cmpint(read_at(source, 29000), ==, 0);
    assert_path(source, &dir, "cgroup/a/memory.pressure");
    g_assert_cmpint(read_at(source, 30000), ==, -1);
    g_assert_null(tmem_pressure_error(source));
    assert_path(source, &dir, "cgroup/b/memory.pressure");
    dir_write(&dir, "cgroup/b/memory.pressure", PSI("1000000"));
    g_assert_cmpint(read_at(source, 31000), ==, 100);

    /* Gone: the host's, at once. */
    file = dir_file(&dir, "cgroup/b/memory.pressure");
    g_assert_cmpint(g_remove(file), ==, 0);
    g_assert_cmpint(read_at(source, 32000), ==, -1);
    g_assert_null(tmem_pressure_error(source));
    assert_path(source, &dir, "pressure/memory");
    dir_write(&dir, "pressure/memory", PSI("500000"));
    g_assert_cmpint(read_at(source, 33000), ==, 500);

    /* That too, and back. */
    g_free(file);
    file = dir_file(&dir, "pressure/memory");
    g_assert_cmpint(g_remove(file), ==, 0);
    g_assert_cmpint(read_at(source, 34000), ==, -1);
    g_assert_nonnull(strstr(tmem_pressure_error(source), "psi=1"));
    dir_write(&dir, "cgroup/b/memory.pressure", PSI("1"));
    g_assert_cmpint(read_at(source, 35000), ==, -1);
    assert_path(source, &dir, "cgroup/b/memory.pressure");
    g_assert_cmpint(read_at(source, 36000), ==, 0);

    tmem_pressure_free(source);
    dir_free(&dir);
}

static void test_plain_file_is_never_written(void)
{
    g_autofree char *file = NULL;
    g_autofree char *text = NULL;
    TmemPressure *source;
    Dir dir;

    dir_init(&dir);
    file = dir_file(&dir, "psi");
    dir_write(&dir, "psi", PSI("1"));
    source = dir_open(&dir, "psi");
    g_assert_cmpint(tmem_pressure_fd(source), ==, -1);
    g_assert_false(tmem_pressure_has_trigger(source));
    read_at(source, 1000);
    g_remove(file);
    read_at(source, 2000);
    dir_write(&dir, "psi", PSI("2"));
    read_at(source, 3000);
    g_assert_cmpint(tmem_pressure_fd(source), ==, -1);
    tmem_pressure_free(source);

    g_assert_true(g_file_get_contents(file, &text, NULL, NULL));
    g_assert_cmpstr(text, ==, PSI("2"));
    dir_free(&dir);
}

/* True if we may have a trigger, were it only the least of all. */
static bool kernel_has_triggers(const char *path)
{
    static const char trigger[] = "some 100000 2000000";
    int fd = open(path, O_RDWR | O_CLOEXEC);
    bool ok = fd >= 0 && write(fd, trigger, sizeof(trigger)) > 0;

    if (fd >= 0) {
        close(fd);
    }
    return ok;
}

static int events_now(int fd)
{
    struct pollfd pfd = { .fd = fd, .events = POLLPRI | POLLERR };

    g_assert_cmpint(poll(&pfd, 1, 0), >=, 0);
    return pfd.revents;
}

static void test_kernel_tells_its_pressure(void)
{
    unsigned before = open_files();
    g_autoptr(GError) err = NULL;
    TmemPressure *source = tmem_pressure_open("/proc/pressure/memory", &err);

    if (!source) {
        g_test_skip(err->message);
        return;
    }
    g_assert_cmpint(tmem_pressure_read(source, g_get_monotonic_time() * 1000),
                    ==, -1);
    for (unsigned i = 0; i < 10; i++) {
        int permille;

        g_usleep(10000);
        permille = tmem_pressure_read(source, g_get_monotonic_time() * 1000);
        g_assert_null(tmem_pressure_error(source));
        g_assert_cmpint(permille, >=, 0);
        g_assert_cmpint(permille, <=, 1000);
    }
    g_test_message("trigger: %s",
                   tmem_pressure_has_trigger(source) ? "yes" : "no");
    g_assert_cmpint(tmem_pressure_has_trigger(source), ==,
                    kernel_has_triggers("/proc/pressure/memory"));
    g_assert_cmpint(tmem_pressure_has_trigger(source), ==,
                    tmem_pressure_fd(source) >= 0);
    if (tmem_pressure_has_trigger(source)) {
        g_assert_cmpint(events_now(tmem_pressure_fd(source)) & ~POLLPRI, ==, 0);
    }
    tmem_pressure_free(source);
    g_assert_cmpuint(open_files(), ==, before);
}

/* Whoever polls it does not spin, and keeps a valid descriptor */
static void test_trigger_of_dead_cgroup_falls_silent(void)
{
    g_autofree char *cgroup = NULL;
    g_autofree char *mountinfo = NULL;
    g_autofree char *own = NULL;
    g_autofree char *parent = NULL;
    g_autofree char *dir = NULL;
    g_autofree char *file = NULL;
    unsigned before = open_files();
    TmemPressure *source;
    int fd;

    g_file_get_contents("/proc/self/cgroup", &cgroup, NULL, NULL);
    g_file_get_contents("/proc/self/mountinfo", &mountinfo, NULL, NULL);
    if (cgroup && mountinfo) {
        own = tmem_pressure_cgroup_file(cgroup, mountinfo);
    }
    if (own) {
        parent = g_path_get_dirname(own);
        dir = g_strdup_printf("%s/tmem-test-%d", parent, (int)getpid());
        file = g_build_filename(dir, "memory.pressure", NULL);
    }
    if (!own || mkdir(dir, 0755) < 0) {
        g_test_skip("no cgroup v2 in which to make one");
        return;
    }
    source = tmem_pressure_open(file, NULL);
    if (!source || !tmem_pressure_has_trigger(source)) {
        tmem_pressure_free(source);
        rmdir(dir);
        g_test_skip("no trigger in a cgroup");
        return;
    }

    fd = tmem_pressure_fd(source);
    g_assert_cmpint(tmem_pressure_read(source, 1), ==, -1);
    g_assert_cmpint(tmem_pressure_read(source, NS_PER_SEC), ==, 0);
    g_assert_cmpint(rmdir(dir), ==, 0);
    g_assert_cmpint(events_now(fd) & POLLERR, ==, POLLERR);
    g_assert_cmpint(tmem_pressure_read(source, 2 * NS_PER_SEC), ==, -1);
    g_test_message("%s", tmem_pressure_error(source));
    g_assert_cmpint(events_now(fd), ==, 0);
    g_assert_cmpint(tmem_pressure_fd(source), ==, fd);
    g_assert_false(tmem_pressure_has_trigger(source));

    /* Made again under the same name: another cgroup, the same number. */
    g_assert_cmpint(mkdir(dir, 0755), ==, 0);
    g_assert_cmpint(tmem_pressure_read(source, 3 * NS_PER_SEC), ==, -1);
    g_assert_null(tmem_pressure_error(source));
    g_assert_cmpint(tmem_pressure_read(source, 4 * NS_PER_SEC), ==, 0);
    g_assert_true(tmem_pressure_has_trigger(source));
    g_assert_cmpint(tmem_pressure_fd(source), ==, fd);
    g_assert_cmpint(events_now(fd), ==, 0);

    tmem_pressure_free(source);
    g_assert_cmpint(rmdir(dir), ==, 0);
    g_assert_cmpuint(open_files(), ==, before);
}

int main(int argc, char **argv)
{
    test_init(argc, argv);
    g_test_add_func("/tmem-pressure/tells-share-of-stalled-time",
                    test_source_tells_share_of_stalled_time);
    g_test_add_func("/tmem-pressure/survives-counts-and-clocks-that-go-back",
                    test_source_survives_counts_and_clocks_that_go_back);
    g_test_add_func("/tmem-pressure/knows-its-format",
                    test_source_knows_its_format);
    g_test_add_func("/tmem-pressure/refuses-what-is-no-file",
                    test_source_refuses_what_is_no_file);
    g_test_add_func("/tmem-pressure/recovers-when-readable-again",
                    test_source_recovers_when_readable_again);
    g_test_add_func("/tmem-pressure/cgroup-is-found", test_cgroup_is_found);
    g_test_add_func("/tmem-pressure/auto-takes-cgroup-before-host",
                    test_auto_takes_cgroup_before_host);
    g_test_add_func("/tmem-pressure/auto-follows-the-process",
                    test_auto_follows_the_process);
    g_test_add_func("/tmem-pressure/plain-file-is-never-written",
                    test_plain_file_is_never_written);
    g_test_add_func("/tmem-pressure/kernel-tells-its-pressure",
                    test_kernel_tells_its_pressure);
    g_test_add_func("/tmem-pressure/trigger-of-dead-cgroup-falls-silent",
                    test_trigger_of_dead_cgroup_falls_silent);
    return g_test_run();
}
