/*
 * tmemctl: errors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <stdio.h>

#include "tmem-error.h"

G_DEFINE_QUARK(tmem-error, tmem_error)

const char *tmem_error_kind(const GError *error)
{
    static const char *const kinds[] = {
        [TMEM_ERROR_FAILED] = "failed",
        [TMEM_ERROR_USAGE] = "usage",
        [TMEM_ERROR_NO_GUEST] = "no-guest",
        [TMEM_ERROR_TIMEOUT] = "timeout",
        [TMEM_ERROR_UNREACHABLE] = "unreachable",
        [TMEM_ERROR_PROTOCOL] = "protocol",
        [TMEM_ERROR_UNSUPPORTED] = "unsupported",
        [TMEM_ERROR_REFUSED] = "refused",
    };

    if (error->domain != TMEM_ERROR ||
        (guint)error->code >= G_N_ELEMENTS(kinds)) {
        return "failed";
    }
    return kinds[error->code];
}

TmemExit tmem_error_exit(const GError *error)
{
    if (error->domain == G_OPTION_ERROR) {
        return TMEM_EXIT_USAGE;
    }
    if (error->domain != TMEM_ERROR) {
        return TMEM_EXIT_FAILED;
    }
    switch ((TmemErrorCode)error->code) {
    case TMEM_ERROR_USAGE:
        return TMEM_EXIT_USAGE;
    case TMEM_ERROR_NO_GUEST:
        return TMEM_EXIT_NO_GUEST;
    case TMEM_ERROR_TIMEOUT:
    case TMEM_ERROR_UNREACHABLE:
    case TMEM_ERROR_PROTOCOL:
    case TMEM_ERROR_UNSUPPORTED:
        return TMEM_EXIT_PARTIAL;
    case TMEM_ERROR_REFUSED:
        return TMEM_EXIT_REFUSED;
    case TMEM_ERROR_FAILED:
        break;
    }
    return TMEM_EXIT_FAILED;
}

char *tmem_printable(const char *text)
{
    g_autofree char *valid = g_utf8_make_valid(text, -1);
    GString *out = g_string_new(NULL);
    const char *p;

    for (p = valid; *p; p = g_utf8_next_char(p)) {
        gunichar c = g_utf8_get_char(p);

        g_string_append_unichar(out, g_unichar_isprint(c) ? c : '?');
    }
    return g_string_free(out, FALSE);
}

void tmem_error_print(const char *subject, const GError *error)
{
    g_autofree char *message = tmem_printable(error->message);
    g_autofree char *name = subject ? tmem_printable(subject) : NULL;

    fprintf(stderr, "tmemctl: %s%s%s\n", name ?: "", name ? ": " : "",
            message);
}

void tmem_warn(const char *format, ...)
{
    g_autofree char *message = NULL;
    g_autofree char *printable = NULL;
    va_list ap;

    va_start(ap, format);
    message = g_strdup_vprintf(format, ap);
    va_end(ap);
    printable = tmem_printable(message);
    fprintf(stderr, "tmemctl: %s\n", printable);
}
