/*
 * tmemctl: find guests, and ask all of them at once
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <fnmatch.h>
#include <gio/gio.h>
#include <glob.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "tmem-error.h"
#include "tmem-fleet.h"
#include "tmem-libvirt.h"
#include "tmem-qmp.h"

/* ---- Finding ---- */

static gboolean is_socket(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISSOCK(st.st_mode);
}

TmemGuest *tmem_fleet_lookup(GPtrArray *guests, const TmemGuest *like)
{
    guint i;

    for (i = 0; guests && i < guests->len; i++) {
        TmemGuest *guest = guests->pdata[i];

        if (guest->source == like->source &&
            !strcmp(guest->address, like->address)) {
            return guest;
        }
    }
    return NULL;
}

/* vm1 for /run/vm1.sock and /run/vm1.qmp, until QEMU says better */
static void add_socket(GPtrArray *guests, const char *name, const char *path)
{
    g_autofree char *base = g_path_get_basename(path);
    char *dot = strrchr(base, '.');
    TmemGuest *guest;

    if (dot && dot != base) {
        *dot = 0;
    }
    guest = tmem_guest_new(TMEM_SOURCE_QMP, name ?: base, path);
    if (tmem_fleet_lookup(guests, guest)) {
        /* Named twice: asked once, or the one would keep the other waiting */
        tmem_guest_free(guest);
        return;
    }
    guest->name_is_guess = !name;
    g_ptr_array_add(guests, guest);
}

/* Patterns are for guests that come and go; what is none has to be there. */
static void find_qmp(GPtrArray *guests, const char *place)
{
    const char *equals = strchr(place, '=');
    g_autofree char *name = NULL;
    const char *path = place;
    glob_t found;
    size_t i;

    if (equals && equals != place && !memchr(place, '/', equals - place)) {
        name = g_strndup(place, equals - place);
        path = equals + 1;
    }
    if (!strpbrk(path, "*?[")) {
        add_socket(guests, name, path);
        return;
    }
    if (glob(path, 0, NULL, &found) == 0) {
        for (i = 0; i < found.gl_pathc; i++) {
            if (is_socket(found.gl_pathv[i])) {
                add_socket(guests, found.gl_pathc == 1 ? name : NULL,
                           found.gl_pathv[i]);
            }
        }
        globfree(&found);
    }
}

static int compare_strings(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static gboolean find_dir(GPtrArray *guests, const char *path, GError **error)
{
    g_autoptr(GPtrArray) paths = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    const char *entry;
    guint i;

    if (!dir) {
        g_set_error(error, TMEM_ERROR, TMEM_ERROR_USAGE,
                    "--qmp-dir: cannot read the folder %s; is it there, and "
                    "may you read it?", path);
        return FALSE;
    }
    while ((entry = g_dir_read_name(dir))) {
        char *full = g_build_filename(path, entry, NULL);

        if (is_socket(full)) {
            g_ptr_array_add(paths, full);
        } else {
            g_free(full);
        }
    }
    g_ptr_array_sort(paths, compare_strings);
    for (i = 0; i < paths->len; i++) {
        add_socket(guests, NULL, paths->pdata[i]);
    }
    return TRUE;
}

GPtrArray *tmem_fleet_find(const TmemPlaces *places, GError **error)
{
    g_autoptr(GPtrArray) guests =
        g_ptr_array_new_with_free_func((GDestroyNotify)tmem_guest_free);
    guint i;

    for (i = 0; places->qmp && places->qmp[i]; i++) {
        find_qmp(guests, places->qmp[i]);
    }
    if ((places->qmp_dir && !find_dir(guests, places->qmp_dir, error)) ||
        (places->libvirt && !tmem_libvirt_list(places->uri, guests, error))) {
        return NULL;
    }
    return g_steal_pointer(&guests);
}

static gboolean guest_matches(const TmemGuest *guest, const char *pattern)
{
    g_autofree char *source = tmem_guest_source(guest);

    return fnmatch(pattern, guest->name, 0) == 0 || !strcmp(pattern, source) ||
           !strcmp(pattern, guest->address);
}

gboolean tmem_fleet_select(GPtrArray *guests, const char *const *patterns,
                           GError **error)
{
    guint n_patterns = g_strv_length((char **)patterns);
    g_autofree gboolean *used = g_new0(gboolean, n_patterns + 1);
    guint i, j;

    for (i = 0; n_patterns && i < guests->len; ) {
        gboolean keep = FALSE;

        for (j = 0; j < n_patterns; j++) {
            if (guest_matches(guests->pdata[i], patterns[j])) {
                used[j] = keep = TRUE;
            }
        }
        if (keep) {
            i++;
        } else {
            g_ptr_array_remove_index(guests, i);
        }
    }
    for (j = 0; j < n_patterns; j++) {
        if (!used[j]) {
            g_set_error(error, TMEM_ERROR, TMEM_ERROR_NO_GUEST,
                        "there is no guest '%s' here; 'tmemctl list' shows "
                        "those that there are", patterns[j]);
            return FALSE;
        }
    }
    return TRUE;
}

/* ---- Running commands ---- */

static void run_async(TmemGuest *guest, const char *const *commands,
                      guint timeout_ms, GAsyncReadyCallback callback,
                      gpointer data)
{
    if (guest->source == TMEM_SOURCE_QMP) {
        tmem_qmp_run_async(guest->address, commands, timeout_ms, callback,
                           data);
    } else {
        tmem_libvirt_run_async(guest, commands, timeout_ms, callback, data);
    }
}

static GPtrArray *run_finish(TmemGuest *guest, GAsyncResult *result,
                             GError **error)
{
    return guest->source == TMEM_SOURCE_QMP
           ? tmem_qmp_run_finish(result, error)
           : tmem_libvirt_run_finish(result, error);
}

/* Each guest takes a file descriptor, and there may be hundreds. */
static void raise_fd_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 &&
        limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* ---- Asking ---- */

typedef struct {
    GPtrArray *guests;
    guint left;
    GFunc done;
    gpointer data;
} Round;

typedef struct {
    Round *round;
    TmemGuest *guest;
} Question;

static void round_one_done(Round *round)
{
    if (--round->left == 0) {
        round->done(round->guests, round->data);
        g_ptr_array_unref(round->guests);
        g_free(round);
    }
}

static void take_name(TmemGuest *guest, const TmemReply *reply)
{
    JsonNode *node = NULL;

    if (guest->name_is_guess && reply->value &&
        JSON_NODE_HOLDS_OBJECT(reply->value)) {
        node = json_object_get_member(json_node_get_object(reply->value),
                                      "name");
    }
    if (node && JSON_NODE_HOLDS_VALUE(node) &&
        json_node_get_value_type(node) == G_TYPE_STRING &&
        *json_node_get_string(node)) {
        g_free(guest->name);
        guest->name = json_node_dup_string(node);
        guest->name_is_guess = FALSE;
    }
}

static void take_devices(TmemGuest *guest, const TmemReply *reply)
{
    if (reply->value) {
        tmem_guest_parse(guest, reply->value, &guest->error);
    } else if (!g_strcmp0(reply->error_class, "CommandNotFound")) {
        g_set_error(&guest->error, TMEM_ERROR, TMEM_ERROR_UNSUPPORTED,
                    "its QEMU has no query-tmem: it was built without "
                    "virtio-tmem");
    } else {
        g_set_error(&guest->error, TMEM_ERROR, TMEM_ERROR_PROTOCOL,
                    "its QEMU refuses query-tmem: %s", reply->error);
    }
}

static void question_answered(GObject *source G_GNUC_UNUSED,
                              GAsyncResult *result, gpointer data)
{
    g_autofree Question *question = data;
    TmemGuest *guest = question->guest;
    g_autoptr(GPtrArray) replies = NULL;

    g_clear_error(&guest->error);
    replies = run_finish(guest, result, &guest->error);
    if (replies) {
        take_name(guest, replies->pdata[0]);
        take_devices(guest, replies->pdata[1]);
    } else {
        g_ptr_array_set_size(guest->devices, 0);
    }
    guest->sampled_us = g_get_monotonic_time();
    round_one_done(question->round);
}

void tmem_fleet_ask_async(GPtrArray *guests, guint timeout_ms, GFunc done,
                          gpointer data)
{
    static const char *const commands[] = {
        "{\"execute\":\"query-name\"}", "{\"execute\":\"query-tmem\"}", NULL,
    };
    Round *round = g_new(Round, 1);
    guint i;

    raise_fd_limit();
    /* One more than guests: nothing is done before all have been asked */
    *round = (Round) {
        .guests = g_ptr_array_ref(guests),
        .left = guests->len + 1,
        .done = done,
        .data = data,
    };
    for (i = 0; i < guests->len; i++) {
        Question *question = g_new(Question, 1);

        *question = (Question) { .round = round, .guest = guests->pdata[i] };
        run_async(question->guest, commands, timeout_ms, question_answered,
                  question);
    }
    round_one_done(round);
}

static void quit_loop(gpointer guests G_GNUC_UNUSED, gpointer loop)
{
    g_main_loop_quit(loop);
}

/* A context of its own: nothing else happens while it waits. */
typedef struct {
    GMainContext *context;
    GMainLoop *loop;
} Wait;

static Wait wait_begin(void)
{
    Wait wait = { .context = g_main_context_new() };

    g_main_context_push_thread_default(wait.context);
    wait.loop = g_main_loop_new(wait.context, FALSE);
    return wait;
}

static void wait_end(Wait *wait)
{
    g_main_loop_unref(wait->loop);
    g_main_context_pop_thread_default(wait->context);
    g_main_context_unref(wait->context);
}

void tmem_fleet_ask(GPtrArray *guests, guint timeout_ms)
{
    Wait wait;

    if (guests->len == 0) {
        return;
    }
    wait = wait_begin();
    tmem_fleet_ask_async(guests, timeout_ms, quit_loop, wait.loop);
    g_main_loop_run(wait.loop);
    wait_end(&wait);
}

/* ---- Changing ---- */

char *tmem_fleet_set_command(const TmemDevice *device, const char *property,
                             uint64_t bytes)
{
    JsonObject *arguments = json_object_new();
    JsonNode *node = json_node_new(JSON_NODE_OBJECT);

    json_object_set_string_member(arguments, "path", device->path);
    json_object_set_string_member(arguments, "property", property);
    json_object_set_int_member(arguments, "value", bytes);
    json_node_take_object(node, arguments);
    return tmem_qmp_command("qom-set", node);
}

void tmem_fleet_set_sizes(GPtrArray *commands, const TmemDevice *device,
                          uint64_t max, uint64_t min)
{
    gboolean max_first = max >= device->min_size;
    int i;

    for (i = 0; i < 2; i++) {
        if ((i == 0) == max_first) {
            if (max != device->max_size) {
                g_ptr_array_add(commands, tmem_fleet_set_command(device,
                                                         "max-size", max));
            }
        } else if (min != device->min_size) {
            g_ptr_array_add(commands, tmem_fleet_set_command(device,
                                                             "min-size", min));
        }
    }
}

typedef struct {
    TmemChange *change;
    guint *left;
    GMainLoop *loop;
} Order;

static void order_answered(GObject *source G_GNUC_UNUSED,
                           GAsyncResult *result, gpointer data)
{
    g_autofree Order *order = data;
    TmemChange *change = order->change;
    g_autoptr(GPtrArray) replies = run_finish(change->guest, result,
                                              &change->error);
    guint i;

    for (i = 0; replies && i < replies->len; i++) {
        TmemReply *reply = replies->pdata[i];

        if (reply->error && !change->error) {
            g_set_error(&change->error, TMEM_ERROR, TMEM_ERROR_REFUSED,
                        "QEMU refused it: %s", reply->error);
        }
    }
    if (--*order->left == 0) {
        g_main_loop_quit(order->loop);
    }
}

void tmem_fleet_change(TmemChange *changes, guint n, guint timeout_ms)
{
    guint left = n, i;
    Wait wait;

    if (n == 0) {
        return;
    }
    raise_fd_limit();
    wait = wait_begin();
    for (i = 0; i < n; i++) {
        Order *order = g_new(Order, 1);

        *order = (Order) {
            .change = &changes[i], .left = &left, .loop = wait.loop,
        };
        run_async(changes[i].guest,
                  (const char *const *)changes[i].commands, timeout_ms,
                  order_answered, order);
    }
    g_main_loop_run(wait.loop);
    wait_end(&wait);
}
