/*
 * tmemctl stat: what guests hold and do, once or again and again
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <stdio.h>

#include "tmem-error.h"
#include "tmem-options.h"
#include "tmem-view.h"

static gboolean watch;
static gboolean show_long;
static double interval = 1;
static int count;

static const GOptionEntry entries[] = {
    { "watch", 'w', 0, G_OPTION_ARG_NONE, &watch,
      "Go on, and show rates instead of totals", NULL },
    { "interval", 'i', 0, G_OPTION_ARG_DOUBLE, &interval,
      "Time between two looks, with --watch (default: 1)", "SECONDS" },
    { "count", 'n', 0, G_OPTION_ARG_INT, &count,
      "End after so many looks, with --watch", "NUMBER" },
    { "long", 'l', 0, G_OPTION_ARG_NONE, &show_long,
      "Show all that is known of each device", NULL },
    G_OPTION_ENTRY_NULL
};

static void show(const TmemOptions *options, GPtrArray *guests,
                 GPtrArray *before)
{
    if (options->json) {
        g_autofree char *text = tmem_view_json(guests, before, !watch);

        puts(text);
    } else if (show_long) {
        tmem_view_long(guests, stdout);
    } else {
        g_autoptr(GArray) rows = tmem_view_rows(guests, before);
        g_autoptr(TmemTable) table = tmem_view_stat(rows, watch);

        tmem_table_print(table, stdout, options->color);
    }
}

/*
 * The first look has nothing to compare with: its rates are missing, but it
 * says at once that all is well, and what there is.
 */
static int watch_guests(const TmemOptions *options)
{
    g_autoptr(GPtrArray) before = NULL;
    int64_t next = g_get_monotonic_time();
    int looks, status = TMEM_EXIT_OK;

    for (looks = 0; count == 0 || looks < count; looks++) {
        g_autoptr(GPtrArray) guests = NULL;
        GError *error = NULL;
        int64_t now = g_get_monotonic_time();

        if (now < next) {
            g_usleep(next - now);
        }
        next = MAX(next, now) + interval * G_USEC_PER_SEC;
        guests = tmem_options_ask(options, TRUE, &error);
        if (!guests) {
            return tmem_options_fail(error);
        }
        show(options, guests, before);
        if (!options->json) {
            puts("");
        }
        /* Nobody reads any more */
        if (fflush(stdout) != 0) {
            return TMEM_EXIT_FAILED;
        }
        status = tmem_options_exit(guests);
        g_clear_pointer(&before, g_ptr_array_unref);
        before = g_steal_pointer(&guests);
    }
    return status;
}

int tmem_cmd_stat(const TmemCommand *command, int argc, char **argv)
{
    g_autoptr(GPtrArray) guests = NULL;
    GError *error = NULL;
    TmemOptions options;

    if (!tmem_options_parse(command, entries, &options, argc, argv, &error)) {
        return tmem_options_fail(error);
    }
    if (!(interval >= 0.1 && interval <= 86400) || count < 0) {
        tmem_warn("stat: --interval is from 0.1 to 86400 seconds, and --count "
                  "not negative");
        return TMEM_EXIT_USAGE;
    }
    if (watch) {
        return watch_guests(&options);
    }
    guests = tmem_options_ask(&options, TRUE, &error);
    if (!guests) {
        return tmem_options_fail(error);
    }
    show(&options, guests, NULL);
    return tmem_options_exit(guests);
}
