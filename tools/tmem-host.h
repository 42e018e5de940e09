/*
 * tmemctl: the memory of the host
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TMEM_HOST_H
#define TMEM_HOST_H

#include <glib.h>
#include <stdint.h>

typedef struct TmemHost {
    uint64_t total;             /* bytes */
    uint64_t available;         /* that programs could take without swapping */
} TmemHost;

/* Reads @path, a file like /proc/meminfo */
gboolean tmem_host_read(const char *path, TmemHost *host, GError **error);

#endif
