/*
 * tmemctl: look at and steer the virtio-tmem devices of the guests of a host
 *
 * Each command is a file, cmd-*.c. tmemctl(1) is the manual.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <locale.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tmem-error.h"
#include "tmem-libvirt.h"
#include "tmem-options.h"

static const TmemCommand commands[] = {
    { "list", "[GUEST...]",
      "List guests and their virtio-tmem devices", tmem_cmd_list },
    { "stat", "[GUEST...]",
      "Show what guests hold and do", tmem_cmd_stat },
    { "set", "GUEST...",
      "Change the sizes of a device at run time", tmem_cmd_set },
    { "top", "[GUEST...]",
      "Watch guests live", tmem_cmd_top },
    { "export", "[GUEST...]",
      "Tell Prometheus what stat shows", tmem_cmd_export },
    { "balance", "[GUEST...]",
      "Share the host's spare memory between guests", tmem_cmd_balance },
};

static void print_help(FILE *out)
{
    guint i;

    fprintf(out, "Usage:\n  tmemctl COMMAND [OPTION...] [GUEST...]\n\n"
            "Commands:\n");
    for (i = 0; i < G_N_ELEMENTS(commands); i++) {
        fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].summary);
    }
    fprintf(out, "\nOptions:\n"
            "  --help     Show this, or behind a COMMAND its options\n"
            "  --version  Show the version\n\n"
            "A GUEST is a name, a shell pattern of names, or a QMP socket.\n"
            "See tmemctl(1).\n");
}

static int usage_error(const char *what, const char *value)
{
    tmem_warn("%s '%s'; it is one of list, stat, set, top, export and "
              "balance", what, value);
    fprintf(stderr, "Try 'tmemctl --help'.\n");
    return TMEM_EXIT_USAGE;
}

static int run_command(int argc, char **argv)
{
    guint i;

    for (i = 0; i < G_N_ELEMENTS(commands); i++) {
        if (!strcmp(commands[i].name, argv[0])) {
            int status = commands[i].run(&commands[i], argc, argv);

            tmem_libvirt_close();
            return status;
        }
    }
    return usage_error("there is no command", argv[0]);
}

/* What was printed has to have gone somewhere: a full disk is an error. */
static int close_output(int status)
{
    if (fflush(stdout) != 0 || ferror(stdout)) {
        tmem_warn("cannot write the output: the disk is full, or nobody reads "
                  "it");
        return status ?: TMEM_EXIT_FAILED;
    }
    return status;
}

int main(int argc, char **argv)
{
    setlocale(LC_CTYPE, "");
    g_set_prgname("tmemctl");

    if (argc < 2) {
        print_help(stderr);
        return TMEM_EXIT_USAGE;
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") ||
        !strcmp(argv[1], "help")) {
        print_help(stdout);
        return close_output(TMEM_EXIT_OK);
    }
    if (!strcmp(argv[1], "--version")) {
        printf("tmemctl %s (libvirt: %s)\n", TMEM_VERSION,
               tmem_libvirt_built_in() ? "yes" : "no");
        return close_output(TMEM_EXIT_OK);
    }
    if (argv[1][0] == '-') {
        return usage_error("a command comes first, not", argv[1]);
    }
    return close_output(run_command(argc - 1, argv + 1));
}
