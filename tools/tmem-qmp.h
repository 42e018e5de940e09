/*
 * tmemctl: talk to QEMU's monitor (QMP) on a Unix socket
 *
 * A session connects, takes the greeting, runs a few commands one after the
 * other and hangs up: a monitor serves one client at a time, so it is not kept.
 * Sessions wait for nothing but their own socket, and any number of them may be
 * under way. Everything happens in the thread-default GMainContext.
 *
 * QEMU is not trusted: what it sends is bounded in time, length and depth.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TMEM_QMP_H
#define TMEM_QMP_H

#include <gio/gio.h>
#include <json-glib/json-glib.h>

/* What QEMU answered to a command: one of the two is NULL */
typedef struct TmemReply {
    JsonNode *value;        /* of "return" */
    char *error;            /* QEMU's description of it */
    char *error_class;
} TmemReply;

void tmem_reply_free(TmemReply *reply);

/*
 * Read the JSON text of one message.
 *
 * Returns NULL and sets a TMEM_ERROR_PROTOCOL if it is no object, or one that
 * is nested deeper than anything that QEMU says.
 */
JsonNode *tmem_qmp_parse(const char *text, gsize length, GError **error);

/*
 * What an object with "return" or "error" says; NULL if it is neither. The
 * caller frees it.
 */
TmemReply *tmem_qmp_reply(JsonNode *message);

/* The JSON text of a command; @arguments (an object, or NULL) is consumed */
char *tmem_qmp_command(const char *execute, JsonNode *arguments);

/*
 * Run @commands (JSON texts, NULL at the end) on the monitor at @path, the
 * whole within @timeout_ms.
 *
 * A command that QEMU refuses does not end the session. Errors of the session
 * are TMEM_ERROR_TIMEOUT, _UNREACHABLE and _PROTOCOL; their messages say what
 * to do and name the path.
 */
void tmem_qmp_run_async(const char *path, const char *const *commands,
                        guint timeout_ms, GAsyncReadyCallback callback,
                        gpointer data);

/* Returns one TmemReply for each command, in order, or NULL with an error. */
GPtrArray *tmem_qmp_run_finish(GAsyncResult *result, GError **error);

#endif
