/*
 * tmemctl: tables of text
 *
 * Cells are collected, then printed in columns as wide as they need to be. How
 * a cell is marked is said by what it means; colours are for the printer.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TMEM_TABLE_H
#define TMEM_TABLE_H

#include <glib.h>
#include <stdio.h>

typedef enum {
    TMEM_PLAIN,
    TMEM_GOOD,
    TMEM_WARNING,
    TMEM_BAD,
    TMEM_HEADING,
    TMEM_N_STYLES,
} TmemStyle;

typedef struct TmemCell {
    char *text;                 /* fit for a terminal */
    TmemStyle style;
} TmemCell;

typedef struct TmemTable TmemTable;

/* Columns whose @titles begin with '<' are left-aligned, others right. */
TmemTable *tmem_table_new(const char *const *titles);
void tmem_table_free(TmemTable *table);

/* Add a cell; rows begin by themselves. @text is consumed. */
void tmem_table_add(TmemTable *table, TmemStyle style, char *text);

guint tmem_table_rows(const TmemTable *table);

/*
 * Column @column of row @row, padded to the width of the column; row -1:
 * titles
 */
char *tmem_table_cell(const TmemTable *table, int row, guint column,
                      TmemStyle *style);
guint tmem_table_columns(const TmemTable *table);

void tmem_table_print(const TmemTable *table, FILE *out, gboolean color);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(TmemTable, tmem_table_free)

#endif
