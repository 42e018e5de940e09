/*
 * tmemctl: the memory of the host
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <string.h>

#include "tmem-error.h"
#include "tmem-host.h"

/* "Name:   1234 kB" */
static gboolean find_kib(char **lines, const char *name, uint64_t *bytes)
{
    size_t length = strlen(name);

    for (; *lines; lines++) {
        if (!strncmp(*lines, name, length) && (*lines)[length] == ':') {
            uint64_t kib = g_ascii_strtoull(*lines + length + 1, NULL, 10);

            *bytes = MIN(kib, UINT64_MAX >> 10) << 10;
            return TRUE;
        }
    }
    return FALSE;
}

gboolean tmem_host_read(const char *path, TmemHost *host, GError **error)
{
    g_auto(GStrv) lines = NULL;
    g_autofree char *text = NULL;

    if (!g_file_get_contents(path, &text, NULL, error)) {
        return FALSE;
    }
    lines = g_strsplit(text, "\n", -1);
    if (!find_kib(lines, "MemTotal", &host->total) ||
        !find_kib(lines, "MemAvailable", &host->available)) {
        g_set_error(error, TMEM_ERROR, TMEM_ERROR_FAILED,
                    "%s has no MemTotal and MemAvailable; it is to look like "
                    "/proc/meminfo", path);
        return FALSE;
    }
    return TRUE;
}
