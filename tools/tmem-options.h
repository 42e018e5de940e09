/*
 * tmemctl: what all commands share on the command line
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TMEM_OPTIONS_H
#define TMEM_OPTIONS_H

#include <glib.h>

#include "tmem-fleet.h"

typedef struct TmemCommand {
    const char *name;
    const char *arguments;      /* for the usage line */
    const char *summary;        /* one line */
    /* argv[0] is the name; returns a TmemExit */
    int (*run)(const struct TmemCommand *command, int argc, char **argv);
} TmemCommand;

typedef struct TmemOptions {
    TmemPlaces places;
    gboolean json;
    gboolean color;             /* on standard output */
    char **arguments;           /* what is left: never NULL */
} TmemOptions;

/*
 * Parse the command line of @command, which has the options @own besides the
 * common ones. With --help it prints and exits. The result lives as long as
 * the process.
 */
gboolean tmem_options_parse(const TmemCommand *command,
                            const GOptionEntry *own, TmemOptions *options,
                            int argc, char **argv, GError **error);

/*
 * Find, select (by the arguments) and ask guests. Prints an error for each that
 * could not be asked, if @complain.
 *
 * Returns NULL with an error if there is nothing to go on with.
 */
GPtrArray *tmem_options_ask(const TmemOptions *options, gboolean complain,
                            GError **error);

/* TMEM_EXIT_PARTIAL if some guest could not be asked, else TMEM_EXIT_OK */
int tmem_options_exit(const GPtrArray *guests);

/* An error that ends a command: print it and say the exit status */
int tmem_options_fail(GError *error);

int tmem_cmd_list(const TmemCommand *command, int argc, char **argv);
int tmem_cmd_stat(const TmemCommand *command, int argc, char **argv);
int tmem_cmd_set(const TmemCommand *command, int argc, char **argv);
int tmem_cmd_top(const TmemCommand *command, int argc, char **argv);
int tmem_cmd_export(const TmemCommand *command, int argc, char **argv);
int tmem_cmd_balance(const TmemCommand *command, int argc, char **argv);

#endif
