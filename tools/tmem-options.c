/*
 * tmemctl: what all commands share on the command line
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tmem-error.h"
#include "tmem-libvirt.h"
#include "tmem-options.h"

#define TIMEOUT_MIN 0.01
#define TIMEOUT_MAX 3600.0

static char *uri;
static char **qmp;
static char *qmp_dir;
static double timeout = 2;
static gboolean json;
static char *color;
static char **arguments;

static const GOptionEntry common[] = {
    { "connect", 'c', 0, G_OPTION_ARG_STRING, &uri,
      "Ask libvirt at URI for its guests (this is the default, with "
      "libvirt's own default URI)", "URI" },
    { "qmp", 'q', 0, G_OPTION_ARG_STRING_ARRAY, &qmp,
      "Ask the QMP monitor at the socket PATH, which may be a pattern; can "
      "be given more than once", "[NAME=]PATH" },
    { "qmp-dir", 'Q', 0, G_OPTION_ARG_STRING, &qmp_dir,
      "Ask all QMP monitors whose sockets are in DIR", "DIR" },
    { "timeout", 't', 0, G_OPTION_ARG_DOUBLE, &timeout,
      "Wait so long for a guest (default: 2)", "SECONDS" },
    { "json", 'j', 0, G_OPTION_ARG_NONE, &json,
      "Print JSON", NULL },
    { "color", 0, 0, G_OPTION_ARG_STRING, &color,
      "Use colours: auto (on a terminal), always or never", "WHEN" },
    { G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_STRING_ARRAY, &arguments,
      NULL, NULL },
    G_OPTION_ENTRY_NULL
};

static gboolean want_color(gboolean *want, GError **error)
{
    const char *term = g_getenv("TERM");
    const char *no_color = g_getenv("NO_COLOR");

    *want = FALSE;
    if (!color || !strcmp(color, "auto")) {
        *want = isatty(STDOUT_FILENO) && term && strcmp(term, "dumb") &&
                !(no_color && *no_color);
    } else if (!strcmp(color, "always")) {
        *want = TRUE;
    } else if (strcmp(color, "never")) {
        g_set_error(error, TMEM_ERROR, TMEM_ERROR_USAGE,
                    "--color: '%s' is not auto, always or never", color);
        return FALSE;
    }
    return TRUE;
}

gboolean tmem_options_parse(const TmemCommand *command,
                            const GOptionEntry *own, TmemOptions *options,
                            int argc, char **argv, GError **error)
{
    static char *no_arguments[] = { NULL };
    g_autoptr(GOptionContext) context =
        g_option_context_new(command->arguments);
    g_autofree char *title = g_strdup_printf("tmemctl %s", command->name);

    g_set_prgname(title);
    g_option_context_set_summary(context, command->summary);
    g_option_context_set_description(context, "See tmemctl(1).");
    if (own) {
        g_option_context_add_main_entries(context, own, NULL);
    }
    g_option_context_add_main_entries(context, common, NULL);
    if (!g_option_context_parse(context, &argc, &argv, error)) {
        g_prefix_error(error, "%s: ", command->name);
        return FALSE;
    }
    /* A comparison that is also false for what is not a number */
    if (!(timeout >= TIMEOUT_MIN && timeout <= TIMEOUT_MAX)) {
        g_set_error(error, TMEM_ERROR, TMEM_ERROR_USAGE,
                    "--timeout: %g is not from %g to %g seconds", timeout,
                    TIMEOUT_MIN, TIMEOUT_MAX);
        return FALSE;
    }
    *options = (TmemOptions) {
        .places = {
            .uri = uri,
            .libvirt = uri || (!qmp && !qmp_dir),
            .qmp = (const char *const *)qmp,
            .qmp_dir = qmp_dir,
            .timeout_ms = timeout * 1000 + 0.5,
        },
        .json = json,
        .arguments = arguments ?: no_arguments,
    };
    return want_color(&options->color, error);
}

GPtrArray *tmem_options_ask(const TmemOptions *options, gboolean complain,
                            GError **error)
{
    const char *const *patterns = (const char *const *)options->arguments;
    g_autoptr(GPtrArray) guests = tmem_fleet_find(&options->places, error);
    guint i;

    if (!guests) {
        return NULL;
    }
    /* QEMU knows the names, so all are asked before names are looked at */
    tmem_fleet_ask(guests, options->places.timeout_ms);
    if (!tmem_fleet_select(guests, patterns, error)) {
        return NULL;
    }
    for (i = 0; complain && i < guests->len; i++) {
        TmemGuest *guest = guests->pdata[i];

        if (guest->error) {
            tmem_error_print(guest->name, guest->error);
        }
    }
    return g_steal_pointer(&guests);
}

int tmem_options_exit(const GPtrArray *guests)
{
    guint i;

    for (i = 0; i < guests->len; i++) {
        if (((TmemGuest *)guests->pdata[i])->error) {
            return TMEM_EXIT_PARTIAL;
        }
    }
    return TMEM_EXIT_OK;
}

int tmem_options_fail(GError *error)
{
    int status = tmem_error_exit(error);

    tmem_error_print(NULL, error);
    if (status == TMEM_EXIT_USAGE && error->domain == G_OPTION_ERROR) {
        fprintf(stderr, "Try '%s --help'.\n", g_get_prgname());
    }
    g_error_free(error);
    return status;
}
