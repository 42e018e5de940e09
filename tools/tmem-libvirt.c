/*
 * tmemctl: guests of libvirt
 *
 * libvirt's calls block. They are made in threads of GLib's pool, and a thread
 * whose guest does not answer in time is left to itself: libvirt has no way to
 * call it back. It holds a reference to all it uses.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "tmem-error.h"
#include "tmem-libvirt.h"
#include "tmem-qmp.h"

#ifdef WITH_LIBVIRT

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <libvirt/libvirt-qemu.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

typedef struct {
    virDomainPtr domain;
    char **commands;
    GSource *timer;
    guint timeout_ms;
    GCancellable *cancellable;
} Call;

static virConnectPtr connection;

/*
 * Domains (by UUID) with a call under way. A guest that hangs would take one
 * more thread with each look otherwise.
 */
static GHashTable *busy;
static GMutex busy_lock;

gboolean tmem_libvirt_built_in(void)
{
    return TRUE;
}

/* They come back as results; without this, libvirt prints them as well */
static void no_print(void *data G_GNUC_UNUSED, virErrorPtr error G_GNUC_UNUSED)
{
}

static const char *last_message(void)
{
    virErrorPtr error = virGetLastError();

    return error && error->message ? error->message : "no reason given";
}

static gboolean libvirt_connect(const char *uri, GError **error)
{
    if (connection && virConnectIsAlive(connection) == 1) {
        return TRUE;
    }
    if (connection) {
        virConnectClose(connection);
    }
    virSetErrorFunc(NULL, no_print);
    /* A libvirtd that ends is an error, and not the end of us */
    signal(SIGPIPE, SIG_IGN);
    connection = virConnectOpenAuth(uri, virConnectAuthPtrDefault, 0);
    if (!connection) {
        g_set_error(error, TMEM_ERROR, TMEM_ERROR_UNREACHABLE,
                    "cannot connect to libvirt%s%s: %s; name guests with "
                    "--qmp or --qmp-dir if they do not run under libvirt",
                    uri ? " at " : "", uri ?: "", last_message());
        return FALSE;
    }
    return TRUE;
}

static void free_domain(gpointer domain)
{
    virDomainFree(domain);
}

gboolean tmem_libvirt_list(const char *uri, GPtrArray *guests, GError **error)
{
    virDomainPtr *domains = NULL;
    int n, i;

    if (!libvirt_connect(uri, error)) {
        return FALSE;
    }
    n = virConnectListAllDomains(connection, &domains,
                                 VIR_CONNECT_LIST_DOMAINS_ACTIVE);
    if (n < 0) {
        g_set_error(error, TMEM_ERROR, TMEM_ERROR_UNREACHABLE,
                    "libvirt does not list its domains: %s", last_message());
        return FALSE;
    }
    for (i = 0; i < n; i++) {
        const char *name = virDomainGetName(domains[i]);
        TmemGuest *guest = tmem_guest_new(TMEM_SOURCE_LIBVIRT, name, name);

        guest->domain = domains[i];
        guest->free_domain = free_domain;
        g_ptr_array_add(guests, guest);
    }
    free(domains);
    return TRUE;
}

static void domain_key(virDomainPtr domain, char *key)
{
    if (virDomainGetUUIDString(domain, key) < 0) {
        *key = 0;
    }
}

/* FALSE if there is a call under way already */
static gboolean begin_call(virDomainPtr domain)
{
    char key[VIR_UUID_STRING_BUFLEN];
    gboolean first;

    domain_key(domain, key);
    g_mutex_lock(&busy_lock);
    if (!busy) {
        busy = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    }
    first = !g_hash_table_contains(busy, key) &&
            g_hash_table_add(busy, g_strdup(key));
    g_mutex_unlock(&busy_lock);
    return first;
}

static void end_call(virDomainPtr domain)
{
    char key[VIR_UUID_STRING_BUFLEN];

    domain_key(domain, key);
    g_mutex_lock(&busy_lock);
    g_hash_table_remove(busy, key);
    g_mutex_unlock(&busy_lock);
}

/* When the thread has ended, and nobody waits any more */
static void call_free(gpointer data)
{
    Call *call = data;

    if (call->timer) {
        g_source_destroy(call->timer);
        g_source_unref(call->timer);
    }
    g_object_unref(call->cancellable);
    virDomainFree(call->domain);
    g_strfreev(call->commands);
    g_free(call);
}

static gboolean call_time_up(gpointer data)
{
    g_cancellable_cancel(data);
    return G_SOURCE_REMOVE;
}

void tmem_libvirt_close(void)
{
    gboolean idle;

    g_mutex_lock(&busy_lock);
    idle = !busy || g_hash_table_size(busy) == 0;
    g_mutex_unlock(&busy_lock);
    if (connection && idle) {
        virConnectClose(connection);
        connection = NULL;
    }
}

/* Returns NULL with an error if there is no answer at all. */
static TmemReply *call_one(virDomainPtr domain, const char *command,
                           GError **error)
{
    g_autoptr(JsonNode) message = NULL;
    TmemReply *reply;
    char *text = NULL;

    virResetLastError();
    if (virDomainQemuMonitorCommand(domain, command, &text, 0) < 0) {
        g_set_error(error, TMEM_ERROR, TMEM_ERROR_UNREACHABLE,
                    "libvirt does not pass the question on: %s",
                    last_message());
        return NULL;
    }
    message = tmem_qmp_parse(text, strlen(text), error);
    free(text);
    if (!message) {
        return NULL;
    }
    reply = tmem_qmp_reply(message);
    if (!reply) {
        g_set_error(error, TMEM_ERROR, TMEM_ERROR_PROTOCOL,
                    "its answer is neither a result nor an error");
    }
    return reply;
}

/*
 * The answers to all commands; NULL if there is none, or nobody waits for them
 */
static GPtrArray *call_all(const Call *call, GCancellable *cancellable,
                           GError **error)
{
    g_autoptr(GPtrArray) replies =
        g_ptr_array_new_with_free_func((GDestroyNotify)tmem_reply_free);
    guint i;

    for (i = 0; call->commands[i]; i++) {
        TmemReply *reply;

        /* Do not set what is believed to have failed */
        if (g_cancellable_set_error_if_cancelled(cancellable, error)) {
            return NULL;
        }
        reply = call_one(call->domain, call->commands[i], error);
        if (!reply) {
            return NULL;
        }
        g_ptr_array_add(replies, reply);
    }
    return g_steal_pointer(&replies);
}

/* Once a task is begun this is run, even if it was cancelled before. */
static void call_thread(GTask *task, gpointer source G_GNUC_UNUSED,
                        gpointer data, GCancellable *cancellable)
{
    Call *call = data;
    GError *error = NULL;
    GPtrArray *replies = call_all(call, cancellable, &error);

    /* Before the result is told: the next call may follow on it */
    end_call(call->domain);
    if (replies) {
        g_task_return_pointer(task, replies,
                              (GDestroyNotify)g_ptr_array_unref);
    } else {
        g_task_return_error(task, error);
    }
}

void tmem_libvirt_run_async(TmemGuest *guest, const char *const *commands,
                            guint timeout_ms, GAsyncReadyCallback callback,
                            gpointer data)
{
    Call *call = g_new0(Call, 1);
    GTask *task;

    call->domain = guest->domain;
    virDomainRef(call->domain);
    call->commands = g_strdupv((char **)commands);
    call->timeout_ms = timeout_ms;
    call->cancellable = g_cancellable_new();
    task = g_task_new(NULL, call->cancellable, callback, data);
    g_task_set_task_data(task, call, call_free);
    g_task_set_return_on_cancel(task, TRUE);
    if (!begin_call(call->domain)) {
        g_task_return_new_error(task, TMEM_ERROR, TMEM_ERROR_TIMEOUT,
                                "still no answer to an earlier question: its "
                                "QEMU hangs, or another job holds the domain");
        g_object_unref(task);
        return;
    }
    call->timer = g_timeout_source_new(timeout_ms);
    g_source_set_callback(call->timer, call_time_up, call->cancellable, NULL);
    g_source_attach(call->timer, g_main_context_get_thread_default());
    g_task_run_in_thread(task, call_thread);
    g_object_unref(task);
}

GPtrArray *tmem_libvirt_run_finish(GAsyncResult *result, GError **error)
{
    Call *call = g_task_get_task_data(G_TASK(result));
    GPtrArray *replies = g_task_propagate_pointer(G_TASK(result), error);

    if (call->timer) {
        g_source_destroy(call->timer);
    }
    if (!replies && g_error_matches(*error, G_IO_ERROR,
                                    G_IO_ERROR_CANCELLED)) {
        g_clear_error(error);
        g_set_error(error, TMEM_ERROR, TMEM_ERROR_TIMEOUT,
                    "no answer through libvirt within %g s: its QEMU hangs, "
                    "or another job holds the domain",
                    call->timeout_ms / 1000.0);
    }
    return replies;
}

#else

static gboolean not_built_in(GError **error)
{
    g_set_error(error, TMEM_ERROR, TMEM_ERROR_USAGE,
                "this tmemctl was built without libvirt; name guests with "
                "--qmp or --qmp-dir");
    return FALSE;
}

gboolean tmem_libvirt_built_in(void)
{
    return FALSE;
}

void tmem_libvirt_close(void)
{
}

gboolean tmem_libvirt_list(const char *uri G_GNUC_UNUSED,
                           GPtrArray *guests G_GNUC_UNUSED, GError **error)
{
    return not_built_in(error);
}

void tmem_libvirt_run_async(TmemGuest *guest G_GNUC_UNUSED,
                            const char *const *commands G_GNUC_UNUSED,
                            guint timeout_ms G_GNUC_UNUSED,
                            GAsyncReadyCallback callback G_GNUC_UNUSED,
                            gpointer data G_GNUC_UNUSED)
{
    /* No guest comes from tmem_libvirt_list() */
    g_assert_not_reached();
}

GPtrArray *tmem_libvirt_run_finish(GAsyncResult *result G_GNUC_UNUSED,
                                   GError **error)
{
    not_built_in(error);
    return NULL;
}

#endif
