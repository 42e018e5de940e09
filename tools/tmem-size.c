/*
 * tmemctl: sizes and counts
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <math.h>
#include <string.h>

#include "tmem-error.h"
#include "tmem-size.h"

static const char suffixes[] = "KMGT";

/* Bits to shift for the suffix that @text is, -1 if it is none. */
static int suffix_shift(const char *text)
{
    const char *p;

    if (!*text || !g_ascii_strcasecmp(text, "b")) {
        return 0;
    }
    p = strchr(suffixes, g_ascii_toupper(*text));
    if (!p || (text[1] && g_ascii_strcasecmp(text + 1, "ib") &&
               g_ascii_strcasecmp(text + 1, "b"))) {
        return -1;
    }
    return 10 * (p - suffixes + 1);
}

gboolean tmem_size_parse(const char *what, const char *text, uint64_t *bytes,
                         GError **error)
{
    size_t digits = strspn(text, "0123456789.");
    g_autofree char *number = g_strndup(text, digits);
    int shift = suffix_shift(text + digits);
    char *end;
    double value;

    value = g_ascii_strtod(number, &end);
    if (!g_ascii_isdigit(*number) || *end || shift < 0) {
        g_set_error(error, TMEM_ERROR, TMEM_ERROR_USAGE,
                    "%s: '%s' is no size; write a number with K, M, G or T "
                    "behind it, for example 512M", what, text);
        return FALSE;
    }
    value = ldexp(value, shift);
    /* What a double holds exactly, and more than a host has */
    if (value > ldexp(1, 53)) {
        g_set_error(error, TMEM_ERROR, TMEM_ERROR_USAGE,
                    "%s: %s is more than 8192T", what, text);
        return FALSE;
    }
    *bytes = value;
    return TRUE;
}

static char *scaled(double value, double unit, const char *units, int plain)
{
    int i = -1;

    if (value < plain) {
        return g_strdup_printf("%.0f", value);
    }
    do {
        value /= unit;
        i++;
        /* What would be shown as 1000.0 is 1.0 of the next */
    } while (value >= 999.95 && units[i + 1]);
    return g_strdup_printf(value < 9.995 && unit == 1000 ? "%.2f%c" : "%.1f%c",
                           value, units[i]);
}

char *tmem_size_format(uint64_t bytes)
{
    return scaled(bytes, 1024, "KMGTPE", 1000);
}

char *tmem_count_format(double count)
{
    return scaled(count, 1000, "kMGTPE", 100000);
}
