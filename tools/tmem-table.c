/*
 * tmemctl: tables of text
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <string.h>

#include "tmem-error.h"
#include "tmem-table.h"

struct TmemTable {
    guint columns;
    GArray *cells;              /* of TmemCell; the first row is the titles */
    gboolean *left;
    glong *width;
};

static void clear_cell(gpointer data)
{
    g_free(((TmemCell *)data)->text);
}

TmemTable *tmem_table_new(const char *const *titles)
{
    TmemTable *table = g_new0(TmemTable, 1);
    guint i;

    table->columns = g_strv_length((char **)titles);
    table->cells = g_array_new(FALSE, FALSE, sizeof(TmemCell));
    g_array_set_clear_func(table->cells, clear_cell);
    table->left = g_new0(gboolean, table->columns);
    table->width = g_new0(glong, table->columns);
    for (i = 0; i < table->columns; i++) {
        table->left[i] = titles[i][0] == '<';
        tmem_table_add(table, TMEM_HEADING,
                       g_strdup(titles[i] + table->left[i]));
    }
    return table;
}

void tmem_table_free(TmemTable *table)
{
    g_array_unref(table->cells);
    g_free(table->left);
    g_free(table->width);
    g_free(table);
}

void tmem_table_add(TmemTable *table, TmemStyle style, char *text)
{
    TmemCell cell = { .text = tmem_printable(text), .style = style };
    guint column = table->cells->len % table->columns;

    table->width[column] = MAX(table->width[column],
                               g_utf8_strlen(cell.text, -1));
    g_array_append_val(table->cells, cell);
    g_free(text);
}

guint tmem_table_rows(const TmemTable *table)
{
    return table->cells->len / table->columns - 1;
}

guint tmem_table_columns(const TmemTable *table)
{
    return table->columns;
}

char *tmem_table_cell(const TmemTable *table, int row, guint column,
                      TmemStyle *style)
{
    TmemCell *cell = &g_array_index(table->cells, TmemCell,
                                    (row + 1) * table->columns + column);
    glong pad = table->width[column] - g_utf8_strlen(cell->text, -1);

    *style = cell->style;
    return table->left[column] ? g_strdup_printf("%s%*s", cell->text, (int)pad,
                                                 "")
                               : g_strdup_printf("%*s%s", (int)pad, "",
                                                 cell->text);
}

/* ECMA-48: bold, and the colours that terminals have had for ever */
static const char *const sequences[TMEM_N_STYLES] = {
    [TMEM_PLAIN] = "",
    [TMEM_GOOD] = "\033[32m",
    [TMEM_WARNING] = "\033[33m",
    [TMEM_BAD] = "\033[31m",
    [TMEM_HEADING] = "\033[1m",
};

static void print_row(const TmemTable *table, int row, FILE *out,
                      gboolean color)
{
    g_autoptr(GString) line = g_string_new(NULL);
    guint i;

    for (i = 0; i < table->columns; i++) {
        TmemStyle style;
        g_autofree char *text = tmem_table_cell(table, row, i, &style);
        gboolean mark = color && style != TMEM_PLAIN;

        if (i + 1 == table->columns) {
            g_strchomp(text);
        }
        g_string_append_printf(line, "%s%s%s%s", i ? "  " : "",
                               mark ? sequences[style] : "", text,
                               mark ? "\033[0m" : "");
    }
    fprintf(out, "%s\n", line->str);
}

void tmem_table_print(const TmemTable *table, FILE *out, gboolean color)
{
    int row;

    for (row = -1; row < (int)tmem_table_rows(table); row++) {
        print_row(table, row, out, color);
    }
}
