/*
 * Unit tests of tmemctl's sizes and counts
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <glib.h>

#include "tmem-error.h"
#include "tmem-size.h"

static void test_parse(void)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {
        { "0", 0 }, { "1", 1 }, { "512B", 512 }, { "1K", 1024 },
        { "1k", 1024 }, { "1KiB", 1024 }, { "64kb", 65536 },
        { "1.5G", UINT64_C(3) << 29 }, { "0.25m", 262144 },
        { "4T", UINT64_C(4) << 40 }, { "8192T", UINT64_C(1) << 53 },
    };
    static const char *const bad[] = {
        "", " ", "K", "1X", "1 G", "-1", "+1", "1e3", "0x10", "nan", "inf",
        "1..5", "1.2.3", ".5", "1Gi", "1GB!", "8193T", "1P",
        "99999999999999999999999999",
    };
    guint i;

    for (i = 0; i < G_N_ELEMENTS(good); i++) {
        g_autoptr(GError) error = NULL;
        uint64_t bytes = 42;

        if (!tmem_size_parse("x", good[i].text, &bytes, &error)) {
            g_error("%s", error->message);
        }
        g_assert_cmpuint(bytes, ==, good[i].bytes);
    }
    for (i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        uint64_t bytes = 42;

        if (tmem_size_parse("--what", bad[i], &bytes, &error)) {
            g_error("'%s' is taken for %" G_GUINT64_FORMAT, bad[i], bytes);
        }
        g_assert_error(error, TMEM_ERROR, TMEM_ERROR_USAGE);
        g_assert_true(g_str_has_prefix(error->message, "--what: "));
        g_assert_cmpuint(bytes, ==, 42);
    }
}

static void assert_size(uint64_t bytes, const char *text)
{
    g_autofree char *shown = tmem_size_format(bytes);

    g_assert_cmpstr(shown, ==, text);
}

static void test_format(void)
{
    assert_size(0, "0");
    assert_size(999, "999");
    assert_size(1000, "1.0K");
    assert_size(1024, "1.0K");
    assert_size(1 << 20, "1.0M");
    assert_size(UINT64_C(97) << 20, "97.0M");
    /* Never five digits, nor 1000.0 of one */
    assert_size((UINT64_C(1) << 20) - 1, "1.0M");
    assert_size(1023948 * UINT64_C(1024), "999.9M");
    assert_size(1023949 * UINT64_C(1024), "1.0G");
    assert_size(UINT64_MAX, "16.0E");
}

static void assert_count(double count, const char *text)
{
    g_autofree char *shown = tmem_count_format(count);

    g_assert_cmpstr(shown, ==, text);
}

static void test_count(void)
{
    assert_count(0, "0");
    assert_count(0.4, "0");
    assert_count(98816, "98816");
    assert_count(100000, "100.0k");
    assert_count(999960, "1.00M");
    assert_count(1240000, "1.24M");
    assert_count(9.999e6, "10.0M");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/size/parse", test_parse);
    g_test_add_func("/size/format", test_format);
    g_test_add_func("/size/count", test_count);
    return g_test_run();
}
