/*
 * Pressure source of the virtio-tmem page store
 *
 * Reads the "some" line of a PSI file and turns the growth of its total, in
 * microseconds, into a share of the time that passed. The kernel brings total
 * up to date when it is read; its averages lag by 2 s and are not used. See
 * Linux Documentation/accounting/psi.rst and admin-guide/cgroup-v2.rst.
 *
 * Rules: a trigger is written to the kernel's files only, never to a file that
 * somebody named; a source that fails is looked for again at each read, and
 * meanwhile pressure is not known, which is not the same as none.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <fcntl.h>
#include <sys/vfs.h>
#include <linux/magic.h>
#include "tmem-store-pressure.h"

/* A PSI file has two lines of 100 bytes at most; more is not looked at. */
#define PSI_FILE_SIZE 512

/* How often "auto" looks whether the process is still in the same cgroup. */
#define FOLLOW_NS INT64_C(10000000000)

/*
 * "some", stall and window in microseconds. Half of the pressure at which the
 * limit falls, so that sampling is at its pace by then. Without
 * CAP_SYS_RESOURCE the window must be a multiple of 2 s.
 */
static const char *const triggers[] = {
    "some 50000 1000000",
    "some 100000 2000000",
};

struct TmemPressure {
    char *path;
    char *proc;            /* "auto" only: where /proc is, else NULL */
    char *cgroup;          /* "auto" only: /proc/self/cgroup when opened */
    char *error;           /* why the last read failed, or NULL */
    int fd;                /* to read; -1: open for each read */
    int trigger_fd;        /* to poll, or -1 */
    bool has_trigger;      /* else trigger_fd, if there is one, is silent */
    bool has_total;        /* the two below are from an earlier read */
    uint64_t total_us;
    int64_t total_ns;
    int64_t followed_ns;   /* when the cgroup was last looked at */
};

static bool is_kernel_file(int fd)
{
    struct statfs fs;

    return fstatfs(fd, &fs) == 0 && (fs.f_type == PROC_SUPER_MAGIC ||
                                     fs.f_type == CGROUP2_SUPER_MAGIC);
}

/* Find the total of the "some" line, which must be there to its end. */
static bool psi_parse(const char *text, uint64_t *total_us)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);

    /* What follows the last newline is not a whole line. */
    for (unsigned i = 0; lines[i] && lines[i + 1]; i++) {
        const char *total = strstr(lines[i], " total=");

        if (g_str_has_prefix(lines[i], "some ") && total) {
            const char *digits = total + strlen(" total=");
            char *end;

            errno = 0;
            *total_us = g_ascii_strtoull(digits, &end, 10);
            return g_ascii_isdigit(*digits) && errno == 0 &&
                   (*end == '\0' || *end == ' ');
        }
    }
    return false;
}

static bool psi_read(int fd, const char *path, uint64_t *total_us,
                     GError **errp)
{
    char text[PSI_FILE_SIZE];
    ssize_t len = pread(fd, text, sizeof(text) - 1, 0);

    if (len < 0) {
        int err = errno;

        g_set_error(errp, G_FILE_ERROR, g_file_error_from_errno(err),
                    "cannot read memory pressure from '%s': %s", path,
                    g_strerror(err));
        return false;
    }
    text[len] = '\0';
    if (!psi_parse(text, total_us)) {
        g_set_error(errp, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                    "'%s' is not in PSI format, it has no line like "
                    "'some avg10=0.00 avg60=0.00 avg300=0.00 total=0'", path);
        return false;
    }
    return true;
}

static int psi_open(const char *path, GError **errp)
{
    /* O_NONBLOCK: whatever was named, a FIFO for one, must not make us wait. */
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0) {
        int err = errno;

        g_set_error(errp, G_FILE_ERROR, g_file_error_from_errno(err),
                    "cannot open memory pressure file '%s': %s", path,
                    g_strerror(err));
    }
    return fd;
}

/* Returns a descriptor to poll, or -1 when the kernel gives us no trigger. */
static int psi_open_trigger(const char *path)
{
    int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0) {
        return -1;
    }
    if (is_kernel_file(fd)) {
        for (unsigned i = 0; i < G_N_ELEMENTS(triggers); i++) {
            /* With the final 0: the kernel overwrites the last byte. */
            if (write(fd, triggers[i], strlen(triggers[i]) + 1) > 0) {
                return fd;
            }
        }
    }
    close(fd);
    return -1;
}

/* The rest of @path below @root, "" for @root itself; NULL: not below. */
static const char *path_below(const char *path, const char *root)
{
    size_t len = strcmp(root, "/") == 0 ? 0 : strlen(root);

    if (strncmp(path, root, len) != 0 || (path[len] && path[len] != '/')) {
        return NULL;
    }
    return strcmp(path + len, "/") == 0 ? "" : path + len;
}

/* The path in the line of cgroup v2, "0::/path", or NULL. */
static char *cgroup_v2_path(const char *cgroup)
{
    g_auto(GStrv) lines = g_strsplit(cgroup, "\n", -1);

    for (unsigned i = 0; lines[i]; i++) {
        if (g_str_has_prefix(lines[i], "0::/")) {
            return g_strdup(lines[i] + strlen("0::"));
        }
    }
    return NULL;
}

/*
 * Where cgroup @path is, if this line of mountinfo is a cgroup2 mount that
 * shows it:
 *
 *   id parent dev ROOT MOUNTPOINT options [optional...] - cgroup2 ...
 *
 * ROOT is the cgroup that is mounted, as seen from our cgroup namespace, as
 * @path is: either of them is above the namespace if it begins with "/..".
 * Blanks are written in octal.
 */
static char *cgroup_mount_file(const char *line, const char *path)
{
    const char *type = strstr(line, " - ");
    g_auto(GStrv) fields = g_strsplit(line, " ", 7);
    g_autofree char *root = NULL;
    g_autofree char *mountpoint = NULL;
    const char *below;

    if (!type || !g_str_has_prefix(type, " - cgroup2 ") ||
        g_strv_length(fields) < 7) {
        return NULL;
    }
    root = g_strcompress(fields[3]);
    mountpoint = g_strcompress(fields[4]);
    below = path_below(path, root);
    if (!below || g_str_has_prefix(below, "/..")) {
        return NULL;
    }
    return g_strconcat(mountpoint, below, "/memory.pressure", NULL);
}

char *tmem_pressure_cgroup_file(const char *cgroup, const char *mountinfo)
{
    g_autofree char *path = cgroup_v2_path(cgroup);
    g_auto(GStrv) lines = g_strsplit(mountinfo, "\n", -1);

    for (unsigned i = 0; path && lines[i]; i++) {
        char *file = cgroup_mount_file(lines[i], path);

        if (file) {
            return file;
        }
    }
    return NULL;
}

static char *proc_read(const char *proc, const char *name)
{
    g_autofree char *path = g_build_filename(proc, name, NULL);
    char *text = NULL;

    g_file_get_contents(path, &text, NULL, NULL);
    return text ? text : g_strdup("");
}

/* Take @path for the file to read from now on, if it can be read. */
static bool pressure_use(TmemPressure *source, const char *path, GError **errp)
{
    int fd = psi_open(path, errp);
    uint64_t total_us;

    if (fd < 0) {
        return false;
    }
    if (!psi_read(fd, path, &total_us, errp)) {
        close(fd);
        return false;
    }
    if (!is_kernel_file(fd)) {
        close(fd);
        fd = -1;
    }

    if (source->fd >= 0) {
        close(source->fd);
    }
    source->fd = fd;
    source->has_total = false;
    if (path != source->path) {
        g_free(source->path);
        source->path = g_strdup(path);
    }
    return true;
}

/* Look for the cgroup's file, else for the host's. */
static bool pressure_use_auto(TmemPressure *source, GError **errp)
{
    g_autofree char *mountinfo = proc_read(source->proc, "self/mountinfo");
    g_autofree char *host = g_build_filename(source->proc, "pressure/memory",
                                             NULL);
    g_autofree char *file = NULL;

    g_free(source->cgroup);
    source->cgroup = proc_read(source->proc, "self/cgroup");
    file = tmem_pressure_cgroup_file(source->cgroup, mountinfo);

    if (file && pressure_use(source, file, NULL)) {
        return true;
    }
    if (pressure_use(source, host, errp)) {
        return true;
    }
    g_prefix_error(errp, "this kernel tells no memory pressure, it may have to "
                   "be booted with psi=1: ");
    return false;
}

static bool pressure_sample(TmemPressure *source, uint64_t *total_us,
                            GError **errp)
{
    int fd = source->fd;
    bool ok;

    if (fd >= 0) {
        return psi_read(fd, source->path, total_us, errp);
    }
    fd = psi_open(source->path, errp);
    if (fd < 0) {
        return false;
    }
    ok = psi_read(fd, source->path, total_us, errp);
    close(fd);
    return ok;
}

/*
 * Take the trigger of the new file, or none, under the number of the old one:
 * somebody may be polling it. A dead trigger must not stay, it has POLLERR set
 * for ever; /dev/null has never POLLPRI.
 */
static void pressure_replace_trigger(TmemPressure *source, int fd)
{
    source->has_trigger = fd >= 0;
    if (fd < 0) {
        fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    }
    if (fd >= 0) {
        dup3(fd, source->trigger_fd, O_CLOEXEC);
        close(fd);
    }
}

/* Find the source again, after it failed or the process has moved. */
static bool pressure_renew(TmemPressure *source, GError **errp)
{
    bool ok = source->proc ? pressure_use_auto(source, errp)
                           : pressure_use(source, source->path, errp);

    if (source->trigger_fd >= 0) {
        bool kernel_file = ok && source->fd >= 0;

        pressure_replace_trigger(source, kernel_file
                                 ? psi_open_trigger(source->path) : -1);
    }
    return ok;
}

static bool pressure_has_moved(TmemPressure *source, int64_t now_ns)
{
    g_autofree char *cgroup = NULL;

    if (!source->proc || now_ns - source->followed_ns < FOLLOW_NS) {
        return false;
    }
    source->followed_ns = now_ns;
    cgroup = proc_read(source->proc, "self/cgroup");
    return strcmp(cgroup, source->cgroup) != 0;
}

TmemPressure *tmem_pressure_open_at(const char *spec, const char *proc,
                                    GError **errp)
{
    TmemPressure *source = g_new0(TmemPressure, 1);
    bool ok;

    source->fd = -1;
    source->trigger_fd = -1;
    if (strcmp(spec, "auto") == 0) {
        source->proc = g_strdup(proc);
        ok = pressure_use_auto(source, errp);
    } else {
        ok = pressure_use(source, spec, errp);
    }
    if (!ok) {
        tmem_pressure_free(source);
        return NULL;
    }
    if (source->fd >= 0) {
        source->trigger_fd = psi_open_trigger(source->path);
        source->has_trigger = source->trigger_fd >= 0;
    }
    return source;
}

TmemPressure *tmem_pressure_open(const char *spec, GError **errp)
{
    return tmem_pressure_open_at(spec, "/proc", errp);
}

void tmem_pressure_free(TmemPressure *source)
{
    if (!source) {
        return;
    }
    if (source->fd >= 0) {
        close(source->fd);
    }
    if (source->trigger_fd >= 0) {
        close(source->trigger_fd);
    }
    g_free(source->path);
    g_free(source->proc);
    g_free(source->cgroup);
    g_free(source->error);
    g_free(source);
}

/* Compare with the last read that was good, and take the place of it. */
static int pressure_since(TmemPressure *source, uint64_t total_us,
                          int64_t now_ns)
{
    int permille = -1;

    if (source->has_total && now_ns == source->total_ns) {
        return -1;
    }
    if (source->has_total && now_ns > source->total_ns &&
        total_us >= source->total_us) {
        double stalled_ns = (total_us - source->total_us) * 1000.0;
        double elapsed_ns = now_ns - source->total_ns;

        /* The kernel's clock and ours are not read at the same moment. */
        permille = MIN(stalled_ns / elapsed_ns, 1.0) * 1000;
    }
    source->has_total = true;
    source->total_us = total_us;
    source->total_ns = now_ns;
    return permille;
}

int tmem_pressure_read(TmemPressure *source, int64_t now_ns)
{
    g_autoptr(GError) err = NULL;
    uint64_t total_us;

    g_clear_pointer(&source->error, g_free);
    if (pressure_has_moved(source, now_ns)) {
        pressure_renew(source, NULL);
    }
    if (!pressure_sample(source, &total_us, NULL) &&
        !(pressure_renew(source, &err) &&
          pressure_sample(source, &total_us, &err))) {
        source->error = g_strdup(err->message);
        return -1;
    }
    return pressure_since(source, total_us, now_ns);
}

int tmem_pressure_fd(const TmemPressure *source)
{
    return source->trigger_fd;
}

const char *tmem_pressure_path(const TmemPressure *source)
{
    return source->path;
}

const char *tmem_pressure_error(const TmemPressure *source)
{
    return source->error;
}

bool tmem_pressure_has_trigger(const TmemPressure *source)
{
    return source->has_trigger;
}
