/*
 * tmemctl export: metrics for Prometheus, on standard output, in a file for
 * node_exporter's textfile collector, or over HTTP
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <errno.h>
#include <gio/gio.h>
#include <microhttpd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tmem-error.h"
#include "tmem-metrics.h"
#include "tmem-options.h"

#define CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* A scraper needs one connection; what more there is may wait or be refused. */
#define MAX_CONNECTIONS 16
#define CONNECTION_TIMEOUT 30

static char *textfile;
static char *listen_text;
static double interval;

static const GOptionEntry entries[] = {
    { "textfile", 'o', 0, G_OPTION_ARG_FILENAME, &textfile,
      "Write to FILE, whole or not at all; its name ends in .prom for "
      "node_exporter", "FILE" },
    { "interval", 'i', 0, G_OPTION_ARG_DOUBLE, &interval,
      "Go on, and write the file again so often", "SECONDS" },
    { "listen", 'l', 0, G_OPTION_ARG_STRING, &listen_text,
      "Answer scrapes of http://ADDRESS:PORT/metrics until killed",
      "ADDRESS:PORT" },
    G_OPTION_ENTRY_NULL
};

/* Returns NULL with an error if guests could not even be looked for. */
static char *make_text(const TmemOptions *options, gboolean complain,
                       int *status, GError **error)
{
    int64_t start = g_get_monotonic_time();
    g_autoptr(GPtrArray) guests = tmem_options_ask(options, complain, error);

    if (!guests) {
        return NULL;
    }
    *status = tmem_options_exit(guests);
    return tmem_metrics_text(guests, (g_get_monotonic_time() - start) / 1e6);
}

/*
 * By rename(): node_exporter never sees half a file. The temporary name does
 * not end in .prom, so it does not see that one either.
 */
static gboolean write_textfile(const char *text, GError **error)
{
    g_autofree char *temporary = g_strdup_printf("%s.%d.tmp", textfile,
                                                 (int)getpid());

    if (g_file_set_contents_full(temporary, text, -1,
                                 G_FILE_SET_CONTENTS_NONE, 0644, error) &&
        rename(temporary, textfile) == 0) {
        return TRUE;
    }
    if (error && !*error) {
        g_set_error(error, TMEM_ERROR, TMEM_ERROR_FAILED,
                    "cannot write %s: %s", textfile, g_strerror(errno));
    }
    unlink(temporary);
    return FALSE;
}

static int export_textfile(const TmemOptions *options)
{
    for (;;) {
        g_autofree char *text = NULL;
        GError *error = NULL;
        int status;

        text = make_text(options, TRUE, &status, &error);
        if (!text || !write_textfile(text, &error)) {
            return tmem_options_fail(error);
        }
        if (interval == 0) {
            return status;
        }
        g_usleep(interval * G_USEC_PER_SEC);
    }
}

/* ---- HTTP ---- */

static enum MHD_Result respond(struct MHD_Connection *connection, int code,
                               const char *type, char *text)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(strlen(text), text,
                                        MHD_RESPMEM_MUST_COPY);
    enum MHD_Result result;

    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    result = MHD_queue_response(connection, code, response);
    MHD_destroy_response(response);
    g_free(text);
    return result;
}

/* In the server's only thread: scrapes are answered one after the other. */
static enum MHD_Result answer(void *data, struct MHD_Connection *connection,
                              const char *url, const char *method,
                              const char *version G_GNUC_UNUSED,
                              const char *upload G_GNUC_UNUSED,
                              size_t *upload_size G_GNUC_UNUSED,
                              void **state G_GNUC_UNUSED)
{
    const TmemOptions *options = data;
    g_autoptr(GError) error = NULL;
    char *text;
    int status;

    if (strcmp(method, MHD_HTTP_METHOD_GET) &&
        strcmp(method, MHD_HTTP_METHOD_HEAD)) {
        return respond(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "text/plain",
                       g_strdup("GET /metrics\n"));
    }
    if (strcmp(url, "/metrics")) {
        return respond(connection, MHD_HTTP_NOT_FOUND, "text/plain",
                       g_strdup("The metrics are at /metrics\n"));
    }
    text = make_text(options, FALSE, &status, &error);
    if (!text) {
        tmem_error_print(NULL, error);
        return respond(connection, MHD_HTTP_SERVICE_UNAVAILABLE, "text/plain",
                       g_strdup_printf("%s\n", error->message));
    }
    return respond(connection, MHD_HTTP_OK, CONTENT_TYPE, text);
}

/* A bound and listening socket, or -1 */
static int open_port(GError **error)
{
    g_autoptr(GSocketConnectable) connectable =
        g_network_address_parse(listen_text, 0, NULL);
    GNetworkAddress *named = (GNetworkAddress *)connectable;
    g_autoptr(GInetAddress) inet = NULL;
    g_autoptr(GSocketAddress) address = NULL;
    g_autoptr(GSocket) sock = NULL;
    int fd;

    if (named && g_network_address_get_port(named)) {
        inet = g_inet_address_new_from_string(
            g_network_address_get_hostname(named));
    }
    if (!inet) {
        g_set_error(error, TMEM_ERROR, TMEM_ERROR_USAGE,
                    "--listen: '%s' is no address with a port, such as "
                    "127.0.0.1:9779 or [::1]:9779", listen_text);
        return -1;
    }
    address = g_inet_socket_address_new(inet,
                                        g_network_address_get_port(named));
    sock = g_socket_new(g_inet_address_get_family(inet),
                        G_SOCKET_TYPE_STREAM, G_SOCKET_PROTOCOL_TCP, error);
    if (!sock || !g_socket_bind(sock, address, TRUE, error) ||
        !g_socket_listen(sock, error)) {
        g_prefix_error(error, "--listen %s: ", listen_text);
        return -1;
    }
    /* GSocket closes its own descriptor, libmicrohttpd closes this one */
    fd = dup(g_socket_get_fd(sock));
    if (fd < 0) {
        g_set_error(error, TMEM_ERROR, TMEM_ERROR_FAILED, "%s",
                    g_strerror(errno));
    }
    return fd;
}

static int export_http(TmemOptions *options)
{
    struct MHD_Daemon *server;
    GError *error = NULL;
    int fd = open_port(&error);

    if (fd < 0) {
        return tmem_options_fail(error);
    }
    server = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL,
                              0, NULL, NULL, answer, options,
                              MHD_OPTION_LISTEN_SOCKET, fd,
                              MHD_OPTION_CONNECTION_LIMIT, MAX_CONNECTIONS,
                              MHD_OPTION_CONNECTION_TIMEOUT,
                              CONNECTION_TIMEOUT, MHD_OPTION_END);
    if (!server) {
        tmem_warn("cannot start the HTTP server on %s", listen_text);
        close(fd);
        return TMEM_EXIT_FAILED;
    }
    fprintf(stderr, "tmemctl: metrics at http://%s/metrics\n", listen_text);
    /* Nothing is kept, so there is nothing to do when a signal ends it */
    for (;;) {
        pause();
    }
}

int tmem_cmd_export(const TmemCommand *command, int argc, char **argv)
{
    g_autofree char *text = NULL;
    GError *error = NULL;
    TmemOptions options;
    int status;

    if (!tmem_options_parse(command, entries, &options, argc, argv, &error)) {
        return tmem_options_fail(error);
    }
    if ((textfile && listen_text) || options.json) {
        tmem_warn("export: it is either --textfile or --listen; and JSON is "
                  "what 'stat --json' prints");
        return TMEM_EXIT_USAGE;
    }
    if (interval != 0 && !(textfile && interval >= 0.1 && interval <= 86400)) {
        tmem_warn("export: --interval is from 0.1 to 86400 seconds, and for "
                  "--textfile only");
        return TMEM_EXIT_USAGE;
    }
    if (listen_text) {
        return export_http(&options);
    }
    if (textfile) {
        return export_textfile(&options);
    }
    text = make_text(&options, TRUE, &status, &error);
    if (!text) {
        return tmem_options_fail(error);
    }
    fputs(text, stdout);
    return status;
}
