/*
 * tmemctl: talk to QEMU's monitor (QMP) on a Unix socket
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <errno.h>
#include <gio/gunixsocketaddress.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "tmem-error.h"
#include "tmem-qmp.h"

/*
 * query-tmem takes 4 KiB for each device. json-glib has no bound of its own,
 * and goes down one level of its stack for each level of the text.
 */
#define MAX_MESSAGE (4 << 20)
#define MAX_DEPTH 64

/* How often to try again when the queue of those who wait to connect is full */
#define RETRY_MS 20

typedef struct {
    char *path;
    char **commands;
    guint timeout_ms;
    guint sent;                 /* commands; 0 is qmp_capabilities */
    gboolean greeted;
    gboolean timed_out;
    GPtrArray *replies;

    GSocket *socket;
    GIOStream *stream;
    GByteArray *in;
    gsize scanned;              /* bytes of it that have no newline */
    char *out;
    gsize out_length;
    GSource *timer;
    GSource *retry;
    GCancellable *cancellable;
    char buffer[16384];
} Session;

void tmem_reply_free(TmemReply *reply)
{
    g_clear_pointer(&reply->value, json_node_unref);
    g_free(reply->error);
    g_free(reply->error_class);
    g_free(reply);
}

/* ---- Messages ---- */

/* Brackets open at once; those in strings do not count. */
static guint text_depth(const char *text, gsize length)
{
    guint depth = 0, most = 0;
    gboolean in_string = FALSE;
    gsize i;

    for (i = 0; i < length; i++) {
        char c = text[i];

        if (in_string) {
            if (c == '\\') {
                i++;
            } else if (c == '"') {
                in_string = FALSE;
            }
        } else if (c == '"') {
            in_string = TRUE;
        } else if (c == '{' || c == '[') {
            most = MAX(most, ++depth);
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        }
    }
    return most;
}

JsonNode *tmem_qmp_parse(const char *text, gsize length, GError **error)
{
    g_autoptr(JsonParser) parser = json_parser_new();
    JsonNode *root = NULL;

    if (!memchr(text, 0, length) && g_utf8_validate(text, length, NULL) &&
        text_depth(text, length) <= MAX_DEPTH &&
        json_parser_load_from_data(parser, text, length, NULL)) {
        root = json_parser_get_root(parser);
    }
    if (!root || !JSON_NODE_HOLDS_OBJECT(root)) {
        g_set_error(error, TMEM_ERROR, TMEM_ERROR_PROTOCOL,
                    "what it sends is not QMP");
        return NULL;
    }
    return json_node_copy(root);
}

static char *dup_string_member(JsonObject *object, const char *name)
{
    JsonNode *node = json_object_get_member(object, name);

    return node && JSON_NODE_HOLDS_VALUE(node) ? json_node_dup_string(node)
                                               : NULL;
}

TmemReply *tmem_qmp_reply(JsonNode *message)
{
    JsonObject *object = json_node_get_object(message);
    JsonNode *value = json_object_get_member(object, "return");
    JsonNode *error = json_object_get_member(object, "error");
    TmemReply *reply;

    if (!value == !error || (error && !JSON_NODE_HOLDS_OBJECT(error))) {
        return NULL;
    }
    reply = g_new0(TmemReply, 1);
    if (value) {
        reply->value = json_node_copy(value);
    } else {
        object = json_node_get_object(error);
        reply->error = dup_string_member(object, "desc") ?:
                       g_strdup("no reason given");
        reply->error_class = dup_string_member(object, "class");
    }
    return reply;
}

char *tmem_qmp_command(const char *execute, JsonNode *arguments)
{
    g_autoptr(JsonNode) root = json_node_new(JSON_NODE_OBJECT);
    JsonObject *object = json_object_new();

    json_object_set_string_member(object, "execute", execute);
    if (arguments) {
        json_object_set_member(object, "arguments", arguments);
    }
    json_node_take_object(root, object);
    return json_to_string(root, FALSE);
}

/* ---- A session ---- */

static void session_take(GTask *task);
static void session_read_done(GObject *source, GAsyncResult *result,
                              gpointer data);

static void session_free(gpointer data)
{
    Session *s = data;

    if (s->timer) {
        g_source_destroy(s->timer);
        g_source_unref(s->timer);
    }
    if (s->retry) {
        g_source_destroy(s->retry);
        g_source_unref(s->retry);
    }
    g_clear_object(&s->stream);
    g_clear_object(&s->socket);
    g_object_unref(s->cancellable);
    g_ptr_array_unref(s->replies);
    g_byte_array_unref(s->in);
    g_strfreev(s->commands);
    g_free(s->path);
    g_free(s->out);
    g_free(s);
}

/* Ends the session. Consumes the caller's reference to the task, as all ends */
static void session_fail(GTask *task, TmemErrorCode code, const char *format,
                         ...) G_GNUC_PRINTF(3, 4);

static void session_fail(GTask *task, TmemErrorCode code, const char *format,
                         ...)
{
    g_autofree char *message = NULL;
    va_list ap;

    va_start(ap, format);
    message = g_strdup_vprintf(format, ap);
    va_end(ap);
    g_task_return_new_error(task, TMEM_ERROR, code, "%s", message);
    g_object_unref(task);
}

static const char *seconds_text(guint ms, char *text, gsize size)
{
    snprintf(text, size, "%g", ms / 1000.0);
    return text;
}

static void session_fail_late(GTask *task)
{
    Session *s = g_task_get_task_data(task);
    char seconds[32];

    seconds_text(s->timeout_ms, seconds, sizeof(seconds));
    if (s->greeted) {
        session_fail(task, TMEM_ERROR_TIMEOUT,
                     "no answer within %s s: its QEMU hangs, or is very busy; "
                     "--timeout makes tmemctl wait longer (%s)",
                     seconds, s->path);
    } else {
        session_fail(task, TMEM_ERROR_TIMEOUT,
                     "no greeting within %s s: another program holds this "
                     "monitor, which serves one client at a time, or its QEMU "
                     "hangs; give it a -qmp socket for tmemctl alone (%s)",
                     seconds, s->path);
    }
}

/* An operation on the socket has failed, maybe because the time is up. */
static void session_fail_io(GTask *task, const GError *error)
{
    Session *s = g_task_get_task_data(task);

    if (s->timed_out) {
        session_fail_late(task);
    } else {
        session_fail(task, TMEM_ERROR_UNREACHABLE,
                     "the connection broke: %s; its QEMU has ended (%s)",
                     error->message, s->path);
    }
}

static void session_write_done(GObject *source, GAsyncResult *result,
                               gpointer data)
{
    GTask *task = data;
    Session *s = g_task_get_task_data(task);
    g_autoptr(GError) error = NULL;

    if (!g_output_stream_write_all_finish(G_OUTPUT_STREAM(source), result,
                                          NULL, &error)) {
        session_fail_io(task, error);
        return;
    }
    g_clear_pointer(&s->out, g_free);
    session_take(task);
}

/* The next command, or the end */
static void session_next(GTask *task)
{
    Session *s = g_task_get_task_data(task);
    const char *command = "{\"execute\":\"qmp_capabilities\"}";

    if (s->sent > 0) {
        command = s->commands[s->sent - 1];
        if (!command) {
            g_task_return_pointer(task, g_ptr_array_ref(s->replies),
                                  (GDestroyNotify)g_ptr_array_unref);
            g_object_unref(task);
            return;
        }
    }
    s->sent++;
    s->out = g_strconcat(command, "\n", NULL);
    s->out_length = strlen(s->out);
    g_output_stream_write_all_async(g_io_stream_get_output_stream(s->stream),
                                    s->out, s->out_length, G_PRIORITY_DEFAULT,
                                    s->cancellable, session_write_done, task);
}

/*
 * A whole message. Returns TRUE if the session waits for more, FALSE if it has
 * gone on with something else, or ended.
 */
static gboolean session_message(GTask *task, const char *text, gsize length)
{
    Session *s = g_task_get_task_data(task);
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonNode) message = tmem_qmp_parse(text, length, &error);
    JsonObject *object;
    TmemReply *reply;

    if (!message) {
        session_fail(task, TMEM_ERROR_PROTOCOL,
                     "%s; is this the socket of a QMP monitor? (%s)",
                     error->message, s->path);
        return FALSE;
    }
    object = json_node_get_object(message);
    if (json_object_has_member(object, "event")) {
        return TRUE;
    }
    if (!s->greeted) {
        if (!json_object_has_member(object, "QMP")) {
            session_fail(task, TMEM_ERROR_PROTOCOL,
                         "it does not greet as QMP does; is this the socket "
                         "of a QMP monitor? (%s)", s->path);
            return FALSE;
        }
        s->greeted = TRUE;
        session_next(task);
        return FALSE;
    }
    reply = tmem_qmp_reply(message);
    if (!reply) {
        session_fail(task, TMEM_ERROR_PROTOCOL,
                     "its answer is neither a result nor an error (%s)",
                     s->path);
        return FALSE;
    }
    if (s->sent > 1) {
        g_ptr_array_add(s->replies, reply);
    } else {
        g_autofree char *refused = g_steal_pointer(&reply->error);

        tmem_reply_free(reply);
        if (refused) {
            session_fail(task, TMEM_ERROR_PROTOCOL,
                         "it refuses to talk: %s (%s)", refused, s->path);
            return FALSE;
        }
    }
    session_next(task);
    return FALSE;
}

/* Take the messages that are there; read on if that was not enough. */
static void session_take(GTask *task)
{
    Session *s = g_task_get_task_data(task);

    for (;;) {
        const char *text = (const char *)s->in->data;
        const char *end = s->in->len > s->scanned ?
                          memchr(text + s->scanned, '\n',
                                 s->in->len - s->scanned) : NULL;
        g_autofree char *line = NULL;
        gsize length;

        if (!end) {
            s->scanned = s->in->len;
            break;
        }
        length = end - text;
        line = g_strndup(text, length);
        g_byte_array_remove_range(s->in, 0, length + 1);
        s->scanned = 0;
        if (!session_message(task, line, length)) {
            return;
        }
    }
    if (s->in->len > MAX_MESSAGE) {
        session_fail(task, TMEM_ERROR_PROTOCOL,
                     "its answer is longer than %d MiB (%s)",
                     MAX_MESSAGE >> 20, s->path);
        return;
    }
    g_input_stream_read_async(g_io_stream_get_input_stream(s->stream),
                              s->buffer, sizeof(s->buffer),
                              G_PRIORITY_DEFAULT, s->cancellable,
                              session_read_done, task);
}

static void session_read_done(GObject *source, GAsyncResult *result,
                              gpointer data)
{
    GTask *task = data;
    Session *s = g_task_get_task_data(task);
    g_autoptr(GError) error = NULL;
    gssize n = g_input_stream_read_finish(G_INPUT_STREAM(source), result,
                                          &error);

    if (n < 0) {
        session_fail_io(task, error);
    } else if (n == 0) {
        session_fail(task, TMEM_ERROR_UNREACHABLE,
                     "it hung up in the middle: its QEMU has ended (%s)",
                     s->path);
    } else {
        g_byte_array_append(s->in, (const guint8 *)s->buffer, n);
        session_take(task);
    }
}

/* ---- Connecting ---- */

static void session_fail_connect(GTask *task, const GError *error)
{
    Session *s = g_task_get_task_data(task);

    if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND)) {
        session_fail(task, TMEM_ERROR_UNREACHABLE,
                     "there is no socket %s: is the guest running?", s->path);
    } else if (g_error_matches(error, G_IO_ERROR,
                               G_IO_ERROR_PERMISSION_DENIED)) {
        session_fail(task, TMEM_ERROR_UNREACHABLE,
                     "no permission to use %s: be root, or the user that QEMU "
                     "runs as", s->path);
    } else if (g_error_matches(error, G_IO_ERROR,
                               G_IO_ERROR_CONNECTION_REFUSED)) {
        session_fail(task, TMEM_ERROR_UNREACHABLE,
                     "nobody listens on %s: the guest has ended, or it is no "
                     "socket", s->path);
    } else {
        session_fail(task, TMEM_ERROR_UNREACHABLE, "cannot connect to %s: %s",
                     s->path, error->message);
    }
}

static gboolean session_connect(gpointer data)
{
    GTask *task = data;
    Session *s = g_task_get_task_data(task);
    g_autoptr(GSocketAddress) address = g_unix_socket_address_new(s->path);
    g_autoptr(GError) error = NULL;

    if (s->timed_out) {
        session_fail_late(task);
    } else if (g_socket_connect(s->socket, address, NULL, &error)) {
        s->stream = G_IO_STREAM(
            g_socket_connection_factory_create_connection(s->socket));
        session_take(task);
    } else if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK)) {
        /* Others wait to connect already: QEMU keeps room for one or two */
        return G_SOURCE_CONTINUE;
    } else {
        session_fail_connect(task, error);
    }
    return G_SOURCE_REMOVE;
}

static gboolean session_time_up(gpointer data)
{
    Session *s = data;

    s->timed_out = TRUE;
    g_cancellable_cancel(s->cancellable);
    return G_SOURCE_REMOVE;
}

static GSource *session_timer(guint ms, GSourceFunc func, gpointer data)
{
    GSource *source = g_timeout_source_new(ms);

    g_source_set_callback(source, func, data, NULL);
    g_source_attach(source, g_main_context_get_thread_default());
    return source;
}

static gboolean session_open(Session *s, GError **error)
{
    if (strlen(s->path) >= sizeof(((struct sockaddr_un *)0)->sun_path)) {
        g_set_error(error, TMEM_ERROR, TMEM_ERROR_UNREACHABLE,
                    "the path of a socket can have %zu bytes, this one is "
                    "longer: %s",
                    sizeof(((struct sockaddr_un *)0)->sun_path) - 1, s->path);
        return FALSE;
    }
    s->socket = g_socket_new(G_SOCKET_FAMILY_UNIX, G_SOCKET_TYPE_STREAM,
                             G_SOCKET_PROTOCOL_DEFAULT, error);
    if (!s->socket) {
        g_prefix_error(error, "cannot make a socket: ");
        return FALSE;
    }
    g_socket_set_blocking(s->socket, FALSE);
    return TRUE;
}

void tmem_qmp_run_async(const char *path, const char *const *commands,
                        guint timeout_ms, GAsyncReadyCallback callback,
                        gpointer data)
{
    GTask *task = g_task_new(NULL, NULL, callback, data);
    Session *s = g_new0(Session, 1);
    GError *error = NULL;

    s->path = g_strdup(path);
    s->commands = g_strdupv((char **)commands);
    s->timeout_ms = timeout_ms;
    s->replies =
        g_ptr_array_new_with_free_func((GDestroyNotify)tmem_reply_free);
    s->in = g_byte_array_new();
    s->cancellable = g_cancellable_new();
    g_task_set_task_data(task, s, session_free);
    if (!session_open(s, &error)) {
        g_task_return_error(task, error);
        g_object_unref(task);
        return;
    }
    s->timer = session_timer(timeout_ms, session_time_up, s);
    if (session_connect(task)) {
        s->retry = session_timer(RETRY_MS, session_connect, task);
    }
}

GPtrArray *tmem_qmp_run_finish(GAsyncResult *result, GError **error)
{
    return g_task_propagate_pointer(G_TASK(result), error);
}
