/*
 * tmemctl: sizes and counts, as people write and read them
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TMEM_SIZE_H
#define TMEM_SIZE_H

#include <glib.h>
#include <stdint.h>

/*
 * Read a size: a number, which may have a fraction, and a suffix K, M, G or T
 * (powers of 1024; "KiB" and so on too), none for bytes.
 *
 * Returns FALSE and sets a TMEM_ERROR_USAGE that begins with @what if it is
 * none.
 */
gboolean tmem_size_parse(const char *what, const char *text, uint64_t *bytes,
                         GError **error);

/* "97.5M": four characters of number at most, powers of 1024 */
char *tmem_size_format(uint64_t bytes);

/* "98816", "1.24M": powers of 1000; five characters at most, up to 10^18 */
char *tmem_count_format(double count);

#endif
