/*
 * Pressure source of the virtio-tmem page store
 *
 * How long tasks stalled on memory, from Linux pressure stall information
 * (PSI): of the cgroup this process runs in, of the host, or from any file in
 * that format. Private to tmem-store*.c and their unit tests.
 *
 * Threads: none of its own; the caller serializes. Reading a kernel file does
 * not wait for I/O.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef HW_VIRTIO_TMEM_STORE_PRESSURE_H
#define HW_VIRTIO_TMEM_STORE_PRESSURE_H

#include <stdbool.h>
#include <stdint.h>
#include <glib.h>

typedef struct TmemPressure TmemPressure;

/**
 * tmem_pressure_open: find a source of memory pressure and read it once
 * @spec: "auto": memory.pressure of the cgroup v2 this process runs in, where
 *        there is one that can be read, else /proc/pressure/memory. Anything
 *        else is the path of a file in the same format.
 * @errp: set when NULL is returned, in one sentence
 *
 * "auto" follows the process to another cgroup, within 10 s. A file that is not
 * the kernel's is opened anew for each read: it may be replaced at any time,
 * best by rename(), since half a file is an error.
 */
TmemPressure *tmem_pressure_open(const char *spec, GError **errp);

/**
 * tmem_pressure_free: close the source (NULL is allowed)
 */
void tmem_pressure_free(TmemPressure *source);

/**
 * tmem_pressure_fd: what to poll() for POLLPRI | POLLERR, and nothing else:
 * POLLIN and POLLOUT are always set
 *
 * An event says that pressure begins: read then, and often while it lasts. It
 * does not replace sampling once a second, because an unprivileged trigger may
 * be 2 s late. The number stays the same until tmem_pressure_free(), also when
 * the source changes to another cgroup.
 *
 * Returns: the descriptor, or -1 when only sampling is possible.
 */
int tmem_pressure_fd(const TmemPressure *source);

/**
 * tmem_pressure_read: how much of the time some task stalled on memory
 * @now_ns: time of a monotonic clock
 *
 * Returns: permille of the time since the last read that was good, or -1: on
 * the first read, when no time has passed, when the count began anew, and when
 * the source cannot be read, which tmem_pressure_error() then explains.
 */
int tmem_pressure_read(TmemPressure *source, int64_t now_ns);

/**
 * tmem_pressure_path: the file that is read; may change with each read
 */
const char *tmem_pressure_path(const TmemPressure *source);

/**
 * tmem_pressure_error: why the last read failed, in one sentence, or NULL; may
 * change with each read
 */
const char *tmem_pressure_error(const TmemPressure *source);

/**
 * tmem_pressure_has_trigger: true if the kernel tells when pressure begins
 */
bool tmem_pressure_has_trigger(const TmemPressure *source);

/* What follows is for unit tests. */

/**
 * tmem_pressure_open_at: tmem_pressure_open() with another place for /proc
 */
TmemPressure *tmem_pressure_open_at(const char *spec, const char *proc,
                                    GError **errp);

/**
 * tmem_pressure_cgroup_file: where a process finds its own memory.pressure
 * @cgroup: contents of its /proc/self/cgroup
 * @mountinfo: contents of its /proc/self/mountinfo
 *
 * Returns: the path, which need not exist (older kernels have no such file in
 * the root cgroup), or NULL when the process sees no cgroup v2 of its own. Free
 * it with g_free().
 */
char *tmem_pressure_cgroup_file(const char *cgroup, const char *mountinfo);

#endif
