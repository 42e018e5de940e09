/*
 * tmemctl list: which guests there are, and which devices they have
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <stdio.h>

#include "tmem-error.h"
#include "tmem-options.h"
#include "tmem-view.h"

int tmem_cmd_list(const TmemCommand *command, int argc, char **argv)
{
    g_autoptr(GPtrArray) guests = NULL;
    g_autoptr(TmemTable) table = NULL;
    GError *error = NULL;
    TmemOptions options;

    if (!tmem_options_parse(command, NULL, &options, argc, argv, &error)) {
        return tmem_options_fail(error);
    }
    guests = tmem_options_ask(&options, TRUE, &error);
    if (!guests) {
        return tmem_options_fail(error);
    }
    if (options.json) {
        g_autofree char *text = tmem_view_json(guests, NULL, TRUE);

        puts(text);
    } else {
        table = tmem_view_list(guests);
        tmem_table_print(table, stdout, options.color);
    }
    return tmem_options_exit(guests);
}
