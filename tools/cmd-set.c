/*
 * tmemctl set: change max-size and min-size of a device
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <stdio.h>

#include "tmem-error.h"
#include "tmem-options.h"
#include "tmem-size.h"

static char *max_text;
static char *min_text;
static char *device_id;
static gboolean dry_run;

static const GOptionEntry entries[] = {
    { "max-size", 'M', 0, G_OPTION_ARG_STRING, &max_text,
      "Most host memory that the store may take", "SIZE" },
    { "min-size", 'm', 0, G_OPTION_ARG_STRING, &min_text,
      "Host memory that it may take under any pressure", "SIZE" },
    { "device", 'd', 0, G_OPTION_ARG_STRING, &device_id,
      "The device, for guests that have several", "ID" },
    { "dry-run", 0, 0, G_OPTION_ARG_NONE, &dry_run,
      "Show what would be changed, and change nothing", NULL },
    G_OPTION_ENTRY_NULL
};

static TmemDevice *pick_device(const TmemGuest *guest, GError **error)
{
    TmemDevice *device = NULL;

    if (device_id) {
        device = tmem_guest_device(guest, device_id);
    } else if (guest->devices->len == 1) {
        device = guest->devices->pdata[0];
    } else if (guest->devices->len > 1) {
        g_set_error(error, TMEM_ERROR, TMEM_ERROR_USAGE,
                    "it has %u virtio-tmem devices; name one with --device, "
                    "for example --device %s", guest->devices->len,
                    ((TmemDevice *)guest->devices->pdata[0])->id);
        return NULL;
    }
    if (!device) {
        g_set_error(error, TMEM_ERROR, TMEM_ERROR_NO_GUEST,
                    "it has no virtio-tmem device%s%s", device_id ? " " : "",
                    device_id ?: "");
    }
    return device;
}

/* All is checked before anything is changed. */
static void plan(const uint64_t *max, const uint64_t *min, TmemChange *change)
{
    const TmemGuest *guest = change->guest;
    GPtrArray *commands;
    TmemDevice *device;
    uint64_t new_max, new_min;

    if (guest->error) {
        change->error = g_error_copy(guest->error);
        return;
    }
    device = pick_device(guest, &change->error);
    if (!device) {
        return;
    }
    new_max = max ? *max : device->max_size;
    new_min = min ? *min : device->min_size;
    if (new_min > new_max) {
        g_autofree char *low = tmem_size_format(new_min);
        g_autofree char *high = tmem_size_format(new_max);

        g_set_error(&change->error, TMEM_ERROR, TMEM_ERROR_USAGE,
                    "min-size would be %s, more than max-size, %s; set both",
                    low, high);
        return;
    }
    commands = g_ptr_array_new();
    tmem_fleet_set_sizes(commands, device, new_max, new_min);
    g_ptr_array_add(commands, NULL);
    change->commands = (char **)g_ptr_array_free(commands, FALSE);
}

static void report(const TmemChange *change, uint64_t max, uint64_t min)
{
    const TmemDevice *old = pick_device(change->guest, NULL);
    g_autofree char *name = tmem_printable(change->guest->name);
    g_autofree char *id = tmem_printable(old->id);
    g_autofree char *max_old = tmem_size_format(old->max_size);
    g_autofree char *max_new = tmem_size_format(max);
    g_autofree char *min_old = tmem_size_format(old->min_size);
    g_autofree char *min_new = tmem_size_format(min);

    printf("%s %s: max-size %s -> %s, min-size %s -> %s%s\n", name, id,
           max_old, max_new, min_old, min_new,
           dry_run ? " (not changed)" : "");
}

static void build_size(JsonBuilder *b, const char *name, uint64_t old,
                       uint64_t new)
{
    json_builder_set_member_name(b, name);
    json_builder_begin_object(b);
    json_builder_set_member_name(b, "old");
    json_builder_add_int_value(b, old);
    json_builder_set_member_name(b, "new");
    json_builder_add_int_value(b, new);
    json_builder_end_object(b);
}

static void report_json(JsonBuilder *b, const TmemChange *change, uint64_t max,
                        uint64_t min)
{
    const TmemDevice *old = pick_device(change->guest, NULL);
    g_autofree char *name = g_utf8_make_valid(change->guest->name, -1);

    json_builder_begin_object(b);
    json_builder_set_member_name(b, "guest");
    json_builder_add_string_value(b, name);
    json_builder_set_member_name(b, "id");
    json_builder_add_string_value(b, old->id);
    build_size(b, "max-size", old->max_size, max);
    build_size(b, "min-size", old->min_size, min);
    json_builder_set_member_name(b, "changed");
    json_builder_add_boolean_value(b, !dry_run);
    json_builder_end_object(b);
}

/* What was done; the errors go to standard error. */
static void report_all(const TmemOptions *options, const TmemChange *changes,
                       guint n, const uint64_t *max, const uint64_t *min)
{
    g_autoptr(JsonBuilder) b = json_builder_new();
    guint i;

    json_builder_begin_object(b);
    json_builder_set_member_name(b, "format");
    json_builder_add_int_value(b, 1);
    json_builder_set_member_name(b, "changes");
    json_builder_begin_array(b);
    for (i = 0; i < n; i++) {
        const TmemDevice *old;

        if (changes[i].error) {
            continue;
        }
        old = pick_device(changes[i].guest, NULL);
        if (options->json) {
            report_json(b, &changes[i], max ? *max : old->max_size,
                        min ? *min : old->min_size);
        } else {
            report(&changes[i], max ? *max : old->max_size,
                   min ? *min : old->min_size);
        }
    }
    json_builder_end_array(b);
    json_builder_end_object(b);
    if (options->json) {
        g_autoptr(JsonNode) root = json_builder_get_root(b);
        g_autofree char *text = json_to_string(root, TRUE);

        puts(text);
    }
}

static int print_errors(const TmemChange *changes, guint n)
{
    int status = TMEM_EXIT_OK;
    guint i;

    for (i = 0; i < n; i++) {
        if (changes[i].error) {
            tmem_error_print(changes[i].guest->name, changes[i].error);
            status = status ?: (int)tmem_error_exit(changes[i].error);
        }
    }
    return status;
}

static int set_guests(const TmemOptions *options, const uint64_t *max,
                      const uint64_t *min, GPtrArray *guests)
{
    g_autofree TmemChange *changes = g_new0(TmemChange, guests->len);
    int status;
    guint i;

    for (i = 0; i < guests->len; i++) {
        changes[i].guest = guests->pdata[i];
        plan(max, min, &changes[i]);
    }
    status = print_errors(changes, guests->len);
    if (status != TMEM_EXIT_OK) {
        tmem_warn("set: nothing was changed");
    } else {
        if (!dry_run) {
            tmem_fleet_change(changes, guests->len,
                              options->places.timeout_ms);
        }
        report_all(options, changes, guests->len, max, min);
        status = print_errors(changes, guests->len);
    }
    for (i = 0; i < guests->len; i++) {
        g_strfreev(changes[i].commands);
        g_clear_error(&changes[i].error);
    }
    return status;
}

int tmem_cmd_set(const TmemCommand *command, int argc, char **argv)
{
    g_autoptr(GPtrArray) guests = NULL;
    GError *error = NULL;
    TmemOptions options;
    uint64_t max, min;

    if (!tmem_options_parse(command, entries, &options, argc, argv, &error) ||
        (max_text && !tmem_size_parse("--max-size", max_text, &max, &error)) ||
        (min_text && !tmem_size_parse("--min-size", min_text, &min, &error))) {
        return tmem_options_fail(error);
    }
    if (!max_text && !min_text) {
        tmem_warn("set: nothing to set; give --max-size or --min-size");
        return TMEM_EXIT_USAGE;
    }
    if (!options.arguments[0]) {
        tmem_warn("set: name the guests; '*' is all of them");
        return TMEM_EXIT_USAGE;
    }
    guests = tmem_options_ask(&options, FALSE, &error);
    if (!guests) {
        return tmem_options_fail(error);
    }
    return set_guests(&options, max_text ? &max : NULL,
                      min_text ? &min : NULL, guests);
}
