/*
 * tmemctl: what can go wrong, and the exit status that tells of it
 *
 * Messages are whole: what was wrong, and what would be right. They are printed
 * behind "tmemctl: " and, if they are about a guest, its name.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TMEM_ERROR_H
#define TMEM_ERROR_H

#include <glib.h>

#define TMEM_ERROR (tmem_error_quark())

typedef enum {
    TMEM_ERROR_FAILED,      /* the system: a file, a port */
    TMEM_ERROR_USAGE,       /* the command line or a configuration file */
    TMEM_ERROR_NO_GUEST,    /* there is no such guest or device */
    TMEM_ERROR_TIMEOUT,     /* a guest did not answer in time */
    TMEM_ERROR_UNREACHABLE, /* no connection to a guest */
    TMEM_ERROR_PROTOCOL,    /* an answer that makes no sense */
    TMEM_ERROR_UNSUPPORTED, /* the guest's QEMU has no virtio-tmem */
    TMEM_ERROR_REFUSED,     /* QEMU refused a new value */
} TmemErrorCode;

/* Exit status, as in tmemctl(1) */
typedef enum {
    TMEM_EXIT_OK = 0,
    TMEM_EXIT_FAILED = 1,
    TMEM_EXIT_USAGE = 2,
    TMEM_EXIT_NO_GUEST = 3,
    TMEM_EXIT_PARTIAL = 4,  /* some guest could not be asked */
    TMEM_EXIT_REFUSED = 5,
} TmemExit;

GQuark tmem_error_quark(void);

/* A word for the error, as in the JSON output: "timeout" and the like */
const char *tmem_error_kind(const GError *error);

/* The exit status that an error ends tmemctl with */
TmemExit tmem_error_exit(const GError *error);

/* Print "tmemctl: [SUBJECT: ]MESSAGE" on standard error, as one line */
void tmem_error_print(const char *subject, const GError *error);
void tmem_warn(const char *format, ...) G_GNUC_PRINTF(1, 2);

/*
 * A copy of @text that is fit for a terminal: valid UTF-8, and no control
 * characters, whoever wrote it.
 */
char *tmem_printable(const char *text);

#endif
