/*
 * tmemctl: a full screen of text
 *
 * Knows lines, a table and where the eye is in it; what they mean is for the
 * caller. Only one screen at a time.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TMEM_SCREEN_H
#define TMEM_SCREEN_H

#include <glib.h>

#include "tmem-table.h"

typedef struct TmemScreen {
    char **head;                /* lines above the table */
    const TmemTable *table;
    char **tail;                /* lines right below it, marked as bad */
    const char *foot;           /* the last line */
    int marked;                 /* column whose title is marked, or -1 */
    guint first;                /* row of the table that comes first */
} TmemScreen;

enum {
    TMEM_KEY_NONE = 0,
    TMEM_KEY_UP = 0x110000,     /* beyond all characters */
    TMEM_KEY_DOWN,
    TMEM_KEY_PAGE_UP,
    TMEM_KEY_PAGE_DOWN,
    TMEM_KEY_HOME,
    TMEM_KEY_RESIZE,
};

/* Take over the terminal, until tmem_screen_end() */
gboolean tmem_screen_begin(gboolean color, GError **error);
void tmem_screen_end(void);

void tmem_screen_draw(const TmemScreen *screen);

/* Rows of a table that there is room for, below @head lines */
guint tmem_screen_room(guint head);

/* The terminal has another size now */
void tmem_screen_resize(void);

/* The next key that was pressed: a character, a TMEM_KEY_, or _NONE */
int tmem_screen_key(void);

#endif
