/*
 * tmemctl top: the guests, live
 *
 * Guests are asked in the background: keys work while one hangs. What is shown
 * is the last round that is complete.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <glib-unix.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tmem-error.h"
#include "tmem-host.h"
#include "tmem-options.h"
#include "tmem-screen.h"
#include "tmem-size.h"
#include "tmem-view.h"

static double interval = 2;
static int count;
static gboolean batch;
static char *sort_text;

static const GOptionEntry entries[] = {
    { "interval", 'i', 0, G_OPTION_ARG_DOUBLE, &interval,
      "Time between two looks (default: 2)", "SECONDS" },
    { "count", 'n', 0, G_OPTION_ARG_INT, &count,
      "End after so many looks", "NUMBER" },
    { "batch", 'b', 0, G_OPTION_ARG_NONE, &batch,
      "Print one screen after the other, for a file or a pipe", NULL },
    { "sort", 's', 0, G_OPTION_ARG_STRING, &sort_text,
      "Sort by name, used, limit, puts, gets or rejected (default: used)",
      "KEY" },
    G_OPTION_ENTRY_NULL
};

/* How to sort: its name, its key, and the column of tmem_view_stat() */
static const struct {
    const char *name;
    char key;
    int column;
} sorts[] = {
    [TMEM_SORT_NAME] = { "name", 'n', 0 },
    [TMEM_SORT_USED] = { "used", 'u', 3 },
    [TMEM_SORT_LIMIT] = { "limit", 'l', 5 },
    [TMEM_SORT_PUTS] = { "puts", 'p', 9 },
    [TMEM_SORT_GETS] = { "gets", 'g', 10 },
    [TMEM_SORT_REJECTED] = { "rejected", 'r', 11 },
};

typedef struct {
    TmemOptions options;
    GMainLoop *loop;
    GPtrArray *guests;          /* the last round, and the one before it */
    GPtrArray *before;
    GError *find_error;         /* why there was none */
    gboolean asking;
    gboolean over;              /* all looks that were asked for were made */
    int looks;
    TmemSort sort;
    guint first;                /* row at the top */
    int status;
} Top;

/* ---- What is shown ---- */

static char *head_line(const GArray *rows, guint guests, guint silent)
{
    g_autoptr(GDateTime) now = g_date_time_new_now_local();
    g_autofree char *time = g_date_time_format(now, "%H:%M:%S");
    g_autofree char *held_text = NULL, *used_text = NULL, *limit_text = NULL;
    uint64_t held = 0, used = 0, limit = 0;
    guint i;

    for (i = 0; i < rows->len; i++) {
        const TmemDevice *device = g_array_index(rows, TmemRow, i).device;

        held += device->pages * TMEM_PAGE_SIZE;
        used += device->bytes_used;
        limit += device->limit;
    }
    held_text = tmem_size_format(held);
    used_text = tmem_size_format(used);
    limit_text = tmem_size_format(limit);
    return g_strdup_printf("tmemctl top  %s  guests: %u, %u silent  "
                           "held: %s in %s of %s", time, guests, silent,
                           held_text, used_text, limit_text);
}

static char *host_line(void)
{
    g_autofree char *available = NULL, *total = NULL;
    TmemHost host;

    if (!tmem_host_read("/proc/meminfo", &host, NULL)) {
        return g_strdup("host: memory not known");
    }
    available = tmem_size_format(host.available);
    total = tmem_size_format(host.total);
    return g_strdup_printf("host: %s of %s available", available, total);
}

/* A line for each guest that did not answer */
static char **silent_lines(const Top *top)
{
    GPtrArray *lines = g_ptr_array_new();
    guint i;

    if (top->find_error) {
        g_ptr_array_add(lines, tmem_printable(top->find_error->message));
    }
    for (i = 0; i < top->guests->len; i++) {
        TmemGuest *guest = top->guests->pdata[i];

        if (guest->error) {
            g_autofree char *line = g_strdup_printf("%s: %s", guest->name,
                                                    guest->error->message);

            g_ptr_array_add(lines, tmem_printable(line));
        }
    }
    g_ptr_array_add(lines, NULL);
    return (char **)g_ptr_array_free(lines, FALSE);
}

static void print_batch(const char *const *head, const TmemTable *table,
                        char **tail, gboolean color)
{
    for (; *head; head++) {
        puts(*head);
    }
    tmem_table_print(table, stdout, color);
    for (; *tail; tail++) {
        puts(*tail);
    }
    puts("");
    if (fflush(stdout) != 0) {
        /* Nobody reads any more */
        exit(TMEM_EXIT_FAILED);
    }
}

static void draw(Top *top)
{
    g_autoptr(GArray) rows = tmem_view_rows(top->guests, top->before);
    g_autoptr(TmemTable) table = NULL;
    g_auto(GStrv) tail = silent_lines(top);
    guint silent = g_strv_length(tail) - !!top->find_error;
    g_autofree char *line = head_line(rows, top->guests->len, silent);
    g_autofree char *host = host_line();
    char *head[] = { line, host, NULL };
    guint room;

    tmem_view_sort(rows, top->sort);
    table = tmem_view_stat(rows, TRUE);
    if (batch) {
        print_batch((const char *const *)head, table, tail,
                    top->options.color);
        return;
    }
    room = tmem_screen_room(G_N_ELEMENTS(head) - 1);
    top->first = MIN(top->first, rows->len > room ? rows->len - room : 0);
    tmem_screen_draw(&(TmemScreen) {
        .head = head,
        .table = table,
        .tail = tail,
        .foot = "q quit  sort: n name  u used  l limit  p puts  g gets  "
                "r rejected",
        .marked = sorts[top->sort].column,
        .first = top->first,
    });
}

/* ---- Asking ---- */

/* Without any guest, this comes before the loop runs */
static void look_made(Top *top)
{
    draw(top);
    top->looks++;
    if (count && top->looks >= count) {
        top->over = TRUE;
        g_main_loop_quit(top->loop);
    }
}

static void round_done(gpointer data, gpointer user_data)
{
    GPtrArray *guests = data;
    Top *top = user_data;

    top->asking = FALSE;
    g_clear_error(&top->find_error);
    tmem_fleet_select(guests,
                      (const char *const *)top->options.arguments,
                      &top->find_error);
    g_clear_pointer(&top->before, g_ptr_array_unref);
    top->before = top->guests;
    top->guests = g_ptr_array_ref(guests);
    top->status = top->find_error ? TMEM_EXIT_NO_GUEST
                                  : tmem_options_exit(guests);
    look_made(top);
}

static gboolean look(gpointer data)
{
    Top *top = data;
    g_autoptr(GPtrArray) guests = NULL;

    /* The last round still waits for someone: what is new comes later */
    if (top->asking) {
        return G_SOURCE_CONTINUE;
    }
    g_clear_error(&top->find_error);
    guests = tmem_fleet_find(&top->options.places, &top->find_error);
    if (!guests) {
        top->status = tmem_error_exit(top->find_error);
        look_made(top);
        return G_SOURCE_CONTINUE;
    }
    top->asking = TRUE;
    tmem_fleet_ask_async(guests, top->options.places.timeout_ms, round_done,
                         top);
    return G_SOURCE_CONTINUE;
}

/* ---- Keys ---- */

static void move_to(Top *top, int64_t first)
{
    top->first = MAX(first, 0);
    draw(top);
}

static void take_key(Top *top, int key)
{
    int page = tmem_screen_room(2);
    guint i;

    switch (key) {
    case 'q':
        top->status = TMEM_EXIT_OK;
        g_main_loop_quit(top->loop);
        return;
    case TMEM_KEY_UP:
        move_to(top, (int64_t)top->first - 1);
        return;
    case TMEM_KEY_DOWN:
        move_to(top, (int64_t)top->first + 1);
        return;
    case TMEM_KEY_PAGE_UP:
        move_to(top, (int64_t)top->first - page);
        return;
    case TMEM_KEY_PAGE_DOWN:
        move_to(top, (int64_t)top->first + page);
        return;
    case TMEM_KEY_HOME:
        move_to(top, 0);
        return;
    case TMEM_KEY_RESIZE:
        draw(top);
        return;
    case ' ':
        look(top);
        return;
    }
    for (i = 0; i < G_N_ELEMENTS(sorts); i++) {
        if (key == sorts[i].key) {
            top->sort = i;
            draw(top);
        }
    }
}

static gboolean keys_there(gint fd G_GNUC_UNUSED, GIOCondition condition,
                           gpointer data)
{
    Top *top = data;
    int key;

    while ((key = tmem_screen_key()) != TMEM_KEY_NONE) {
        take_key(top, key);
    }
    /* The terminal has gone */
    if (condition & (G_IO_HUP | G_IO_ERR)) {
        g_main_loop_quit(top->loop);
    }
    return G_SOURCE_CONTINUE;
}

static gboolean resized(gpointer data)
{
    tmem_screen_resize();
    draw(data);
    return G_SOURCE_CONTINUE;
}

static gboolean ended(gpointer loop)
{
    g_main_loop_quit(loop);
    return G_SOURCE_CONTINUE;
}

static gboolean parse_sort(TmemSort *sort, GError **error)
{
    guint i;

    *sort = TMEM_SORT_USED;
    for (i = 0; sort_text && i < G_N_ELEMENTS(sorts); i++) {
        if (!strcmp(sort_text, sorts[i].name)) {
            *sort = i;
            return TRUE;
        }
    }
    if (sort_text) {
        g_set_error(error, TMEM_ERROR, TMEM_ERROR_USAGE,
                    "--sort: '%s' is not name, used, limit, puts, gets or "
                    "rejected", sort_text);
    }
    return !sort_text;
}

int tmem_cmd_top(const TmemCommand *command, int argc, char **argv)
{
    GError *error = NULL;
    Top top = { .status = TMEM_EXIT_OK };

    if (!tmem_options_parse(command, entries, &top.options, argc, argv,
                            &error) ||
        !parse_sort(&top.sort, &error)) {
        return tmem_options_fail(error);
    }
    if (!(interval >= 0.1 && interval <= 3600) || count < 0 ||
        top.options.json) {
        tmem_warn("top: --interval is from 0.1 to 3600 seconds, --count not "
                  "negative; and JSON is what 'stat --watch --json' prints");
        return TMEM_EXIT_USAGE;
    }
    if (!batch && !tmem_screen_begin(top.options.color, &error)) {
        return tmem_options_fail(error);
    }
    top.guests = g_ptr_array_new();
    top.loop = g_main_loop_new(NULL, FALSE);
    if (!batch) {
        g_unix_fd_add(STDIN_FILENO, G_IO_IN | G_IO_HUP | G_IO_ERR, keys_there,
                      &top);
        g_unix_signal_add(SIGWINCH, resized, &top);
        /* The terminal is to be as it was */
        g_unix_signal_add(SIGINT, ended, top.loop);
        g_unix_signal_add(SIGTERM, ended, top.loop);
        g_unix_signal_add(SIGHUP, ended, top.loop);
    }
    g_timeout_add(interval * 1000, look, &top);
    look(&top);
    if (!top.over) {
        g_main_loop_run(top.loop);
    }
    if (!batch) {
        tmem_screen_end();
    }
    g_main_loop_unref(top.loop);
    g_clear_pointer(&top.before, g_ptr_array_unref);
    g_ptr_array_unref(top.guests);
    g_clear_error(&top.find_error);
    return top.status;
}
