/*
 * tmemctl: a full screen of text, with ncurses
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <curses.h>
#include <sys/ioctl.h>
#include <term.h>
#include <unistd.h>

#include "tmem-error.h"
#include "tmem-screen.h"

/* term.h has "lines" and "columns" as macros, among many others */
#undef lines
#undef columns

static SCREEN *terminal;
static gboolean colored;

static const short pairs[TMEM_N_STYLES] = {
    [TMEM_GOOD] = COLOR_GREEN,
    [TMEM_WARNING] = COLOR_YELLOW,
    [TMEM_BAD] = COLOR_RED,
};

gboolean tmem_screen_begin(gboolean color, GError **error)
{
    int style;

    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)) {
        g_set_error(error, TMEM_ERROR, TMEM_ERROR_USAGE,
                    "top needs a terminal; --batch does without");
        return FALSE;
    }
    terminal = newterm(NULL, stdout, stdin);
    if (!terminal) {
        g_set_error(error, TMEM_ERROR, TMEM_ERROR_USAGE,
                    "top does not know the terminal TERM=%s; --batch does "
                    "without", g_getenv("TERM") ?: "");
        return FALSE;
    }
    cbreak();
    noecho();
    curs_set(0);
    keypad(stdscr, TRUE);
    nodelay(stdscr, TRUE);
    colored = color && has_colors() && start_color() == OK;
    if (colored) {
        use_default_colors();
        for (style = 0; style < TMEM_N_STYLES; style++) {
            if (pairs[style]) {
                init_pair(style, pairs[style], -1);
            }
        }
    }
    return TRUE;
}

void tmem_screen_end(void)
{
    if (terminal) {
        endwin();
        delscreen(terminal);
        terminal = NULL;
    }
}

static attr_t attributes(TmemStyle style)
{
    if (style == TMEM_HEADING) {
        return A_BOLD;
    }
    return colored && pairs[style] ? COLOR_PAIR(style) : A_NORMAL;
}

/* Text at the cursor, no further than the right edge; returns where it ends */
static int put_text(int y, int x, const char *text, attr_t attr)
{
    const char *p = text;

    attrset(attr);
    for (; *p && x < COLS; p = g_utf8_next_char(p)) {
        gunichar c = g_utf8_get_char(p);
        int width = g_unichar_iswide(c) ? 2 : g_unichar_iszerowidth(c) ? 0 : 1;

        if (x + width > COLS) {
            break;
        }
        mvaddnstr(y, x, p, g_utf8_next_char(p) - p);
        x += width;
    }
    attrset(A_NORMAL);
    return x;
}

static void put_row(const TmemScreen *screen, int y, int row)
{
    int x = 0;
    guint i;

    for (i = 0; i < tmem_table_columns(screen->table); i++) {
        TmemStyle style;
        g_autofree char *text = tmem_table_cell(screen->table, row, i, &style);
        attr_t attr = attributes(style);

        if (row < 0 && (int)i == screen->marked) {
            attr |= A_REVERSE;
        }
        x = put_text(y, x + (i ? 2 : 0), text, attr);
    }
}

void tmem_screen_draw(const TmemScreen *screen)
{
    int rows = tmem_table_rows(screen->table);
    int y = 0, row;
    char **line;

    erase();
    for (line = screen->head; *line && y < LINES; line++) {
        put_text(y++, 0, *line, A_NORMAL);
    }
    if (y < LINES) {
        put_row(screen, y++, -1);
    }
    for (row = screen->first; row < rows && y < LINES - 1; row++) {
        put_row(screen, y++, row);
    }
    for (line = screen->tail; *line && y < LINES - 1; line++) {
        put_text(y++, 0, *line, attributes(TMEM_BAD));
    }
    put_text(LINES - 1, 0, screen->foot, A_DIM);
    refresh();
}

guint tmem_screen_room(guint head)
{
    int room = LINES - (int)head - 2;

    return MAX(room, 1);
}

void tmem_screen_resize(void)
{
    struct winsize size;

    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row &&
        size.ws_col) {
        resizeterm(size.ws_row, size.ws_col);
    }
}

int tmem_screen_key(void)
{
    int key = getch();

    switch (key) {
    case ERR:
        return TMEM_KEY_NONE;
    case KEY_UP:
        return TMEM_KEY_UP;
    case KEY_DOWN:
        return TMEM_KEY_DOWN;
    case KEY_PPAGE:
        return TMEM_KEY_PAGE_UP;
    case KEY_NPAGE:
        return TMEM_KEY_PAGE_DOWN;
    case KEY_HOME:
        return TMEM_KEY_HOME;
    case KEY_RESIZE:
        return TMEM_KEY_RESIZE;
    default:
        return key;
    }
}
