/*
 * tmemctl: how guests look, as tables and as JSON
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <string.h>

#include "tmem-error.h"
#include "tmem-fleet.h"
#include "tmem-size.h"
#include "tmem-view.h"

#define FORMAT_VERSION 1

/* Red from here on: the device itself takes more than 10 % for an emergency */
#define PRESSURE_BAD 100
#define PRESSURE_WARNING 20

static char *ratio_text(const TmemDevice *device)
{
    double ratio = tmem_device_ratio(device);

    return ratio > 0 ? g_strdup_printf("%.2f", ratio) : g_strdup("-");
}

static char *pressure_text(const TmemDevice *device)
{
    return device->pressure_permille < 0
           ? g_strdup("-")
           : g_strdup_printf("%.1f%%", device->pressure_permille / 10.0);
}

static TmemStyle pressure_style(const TmemDevice *device)
{
    return device->pressure_permille > PRESSURE_BAD ? TMEM_BAD
           : device->pressure_permille >= PRESSURE_WARNING ? TMEM_WARNING
           : TMEM_PLAIN;
}

static TmemStyle reason_style(const TmemDevice *device)
{
    if (!strcmp(device->limit_reason, "max")) {
        return TMEM_GOOD;
    }
    return !strcmp(device->limit_reason, "growing") ||
           !strcmp(device->limit_reason, "hold") ? TMEM_WARNING : TMEM_BAD;
}

static void add_counters(TmemTable *table, const TmemRow *row,
                         gboolean want_rates)
{
    double puts = row->device->puts, gets = row->device->gets;
    double rejected = row->device->rejected_puts;

    if (want_rates) {
        if (!row->has_rates) {
            tmem_table_add(table, TMEM_PLAIN, g_strdup("-"));
            tmem_table_add(table, TMEM_PLAIN, g_strdup("-"));
            tmem_table_add(table, TMEM_PLAIN, g_strdup("-"));
            return;
        }
        puts = row->rates.puts;
        gets = row->rates.gets;
        rejected = row->rates.rejected;
    }
    tmem_table_add(table, TMEM_PLAIN, tmem_count_format(puts));
    tmem_table_add(table, TMEM_PLAIN, tmem_count_format(gets));
    tmem_table_add(table, rejected >= 0.5 && want_rates ? TMEM_WARNING
                                                        : TMEM_PLAIN,
                   tmem_count_format(rejected));
}

GArray *tmem_view_rows(GPtrArray *guests, GPtrArray *before)
{
    GArray *rows = g_array_new(FALSE, TRUE, sizeof(TmemRow));
    guint i, j;

    for (i = 0; i < guests->len; i++) {
        TmemGuest *guest = guests->pdata[i];
        TmemGuest *old = tmem_fleet_lookup(before, guest);

        for (j = 0; j < guest->devices->len; j++) {
            TmemRow row = {
                .guest = guest, .device = guest->devices->pdata[j],
            };

            row.has_rates = tmem_device_rates(old, guest, row.device,
                                              &row.rates);
            g_array_append_val(rows, row);
        }
    }
    return rows;
}

static double row_key(const TmemRow *row, TmemSort sort)
{
    switch (sort) {
    case TMEM_SORT_USED:
        return row->device->bytes_used;
    case TMEM_SORT_LIMIT:
        return row->device->limit;
    case TMEM_SORT_PUTS:
        return row->rates.puts;
    case TMEM_SORT_GETS:
        return row->rates.gets;
    case TMEM_SORT_REJECTED:
        return row->rates.rejected;
    case TMEM_SORT_NAME:
        break;
    }
    return 0;
}

/* The greatest first; what is equal by name, so that rows do not jump about */
static int compare_rows(gconstpointer a, gconstpointer b, gpointer sort)
{
    const TmemRow *one = a, *two = b;
    double x = row_key(one, *(TmemSort *)sort);
    double y = row_key(two, *(TmemSort *)sort);

    if (x != y) {
        return x > y ? -1 : 1;
    }
    return strcmp(one->guest->name, two->guest->name) ?:
           strcmp(one->device->id, two->device->id);
}

void tmem_view_sort(GArray *rows, TmemSort sort)
{
    g_array_sort_with_data(rows, compare_rows, &sort);
}

TmemTable *tmem_view_stat(const GArray *rows, gboolean rates)
{
    static const char *const totals[] = {
        "<GUEST", "<DEVICE", "HELD", "USED", "RATIO", "LIMIT", "MAX", "<WHY",
        "PRESSURE", "PUTS", "GETS", "REJECTED", NULL,
    };
    static const char *const per_second[] = {
        "<GUEST", "<DEVICE", "HELD", "USED", "RATIO", "LIMIT", "MAX", "<WHY",
        "PRESSURE", "PUTS/S", "GETS/S", "REJ/S", NULL,
    };
    TmemTable *table = tmem_table_new(rates ? per_second : totals);
    guint i;

    for (i = 0; i < rows->len; i++) {
        const TmemRow *row = &g_array_index(rows, TmemRow, i);
        const TmemDevice *device = row->device;

        tmem_table_add(table, TMEM_PLAIN, g_strdup(row->guest->name));
        tmem_table_add(table, TMEM_PLAIN, g_strdup(device->id));
        tmem_table_add(table, TMEM_PLAIN,
                       tmem_size_format(device->pages * TMEM_PAGE_SIZE));
        tmem_table_add(table, TMEM_PLAIN,
                       tmem_size_format(device->bytes_used));
        tmem_table_add(table, TMEM_PLAIN, ratio_text(device));
        tmem_table_add(table, TMEM_PLAIN, tmem_size_format(device->limit));
        tmem_table_add(table, TMEM_PLAIN, tmem_size_format(device->max_size));
        tmem_table_add(table, reason_style(device),
                       g_strdup(device->limit_reason));
        tmem_table_add(table, pressure_style(device), pressure_text(device));
        add_counters(table, row, rates);
    }
    return table;
}

TmemTable *tmem_view_list(GPtrArray *guests)
{
    static const char *const titles[] = {
        "<GUEST", "<DEVICE", "USED", "MIN", "MAX", "POOLS", "<STATE",
        "<SOURCE", NULL,
    };
    TmemTable *table = tmem_table_new(titles);
    guint i, j;

    for (i = 0; i < guests->len; i++) {
        TmemGuest *guest = guests->pdata[i];

        for (j = 0; j < MAX(guest->devices->len, 1); j++) {
            TmemDevice *device = guest->devices->len ? guest->devices->pdata[j]
                                                     : NULL;

            tmem_table_add(table, TMEM_PLAIN, g_strdup(guest->name));
            if (!device) {
                int k;

                for (k = 0; k < 5; k++) {
                    tmem_table_add(table, TMEM_PLAIN, g_strdup("-"));
                }
                tmem_table_add(table, guest->error ? TMEM_BAD : TMEM_WARNING,
                               g_strdup(guest->error
                                        ? tmem_error_kind(guest->error)
                                        : "no device"));
            } else {
                tmem_table_add(table, TMEM_PLAIN, g_strdup(device->id));
                tmem_table_add(table, TMEM_PLAIN,
                               tmem_size_format(device->bytes_used));
                tmem_table_add(table, TMEM_PLAIN,
                               tmem_size_format(device->min_size));
                tmem_table_add(table, TMEM_PLAIN,
                               tmem_size_format(device->max_size));
                tmem_table_add(table, TMEM_PLAIN,
                               g_strdup_printf("%u", device->pools->len));
                tmem_table_add(table, TMEM_GOOD, g_strdup("ok"));
            }
            tmem_table_add(table, TMEM_PLAIN, tmem_guest_source(guest));
        }
    }
    return table;
}

/* ---- All of it ---- */

/* Room for "given-back recompress" */
#define LONG_NAME "22"

static void long_latency(FILE *out, const char *name,
                         const TmemLatency *latency)
{
    static const double quantiles[] = { 0.5, 0.99 };
    guint i;

    fprintf(out, "  %-" LONG_NAME "s", name);
    for (i = 0; i < G_N_ELEMENTS(quantiles); i++) {
        uint64_t ns = tmem_latency_quantile(latency, quantiles[i]);

        if (ns == 0) {
            fprintf(out, " none timed");
            break;
        } else if (ns == UINT64_MAX) {
            fprintf(out, "%s %g %% above %" G_GUINT64_FORMAT " ns",
                    i ? "," : "", 100 - quantiles[i] * 100,
                    latency->n ? latency->boundaries[latency->n - 1] : 0);
        } else {
            fprintf(out, "%s %g %% below %" G_GUINT64_FORMAT " ns",
                    i ? "," : "", quantiles[i] * 100, ns);
        }
    }
    fprintf(out, "\n");
}

static void long_field(FILE *out, const TmemDevice *device,
                       const TmemField *field)
{
    uint64_t value = tmem_device_get(device, field);
    const char *group = tmem_group_name(field->group);
    g_autofree char *name = g_strconcat(group ?: "", group ? " " : "",
                                        field->name, NULL);
    g_autofree char *size = NULL;

    if (!tmem_device_has(device, field)) {
        fprintf(out, "  %-" LONG_NAME "s none\n", name);
        return;
    }
    fprintf(out, "  %-" LONG_NAME "s %" G_GUINT64_FORMAT, name, value);
    if ((field->kind == TMEM_FIELD_BYTES ||
         field->kind == TMEM_FIELD_COUNTER_BYTES) && value >= 1000) {
        size = tmem_size_format(value);
        fprintf(out, " (%s)", size);
    }
    fprintf(out, "\n");
}

static void long_fields(FILE *out, const TmemDevice *device, TmemGroup group)
{
    guint i;

    for (i = 0; i < tmem_n_fields; i++) {
        if (tmem_fields[i].group == group) {
            long_field(out, device, &tmem_fields[i]);
        }
    }
}

static void long_measures(FILE *out, const TmemDevice *device)
{
    g_autofree char *node = NULL;
    g_autofree char *status = NULL;

    if (device->has_group[TMEM_GROUP_GIVEN_BACK]) {
        long_fields(out, device, TMEM_GROUP_GIVEN_BACK);
    } else {
        fprintf(out, "  %-" LONG_NAME "s not known\n", "given-back");
    }
    if (!device->has_group[TMEM_GROUP_SPILL]) {
        fprintf(out, "  %-" LONG_NAME "s none\n", "spill");
        return;
    }
    node = tmem_printable(device->spill_node);
    status = tmem_printable(device->spill_status);
    fprintf(out, "  %-" LONG_NAME "s %s\n", "spill node", node);
    fprintf(out, "  %-" LONG_NAME "s %s\n", "spill status", status);
    long_fields(out, device, TMEM_GROUP_SPILL);
}

static void long_device(FILE *out, const TmemGuest *guest,
                        const TmemDevice *device)
{
    g_autofree char *name = tmem_printable(guest->name);
    g_autofree char *path = tmem_printable(device->path);
    g_autofree char *reason = tmem_printable(device->limit_reason);
    g_autofree char *file = tmem_printable(device->pressure_path ?: "none");
    g_autofree char *permille = pressure_text(device);
    g_autofree char *ratio = ratio_text(device);
    guint i;

    fprintf(out, "%s %s\n", name, path);
    long_fields(out, device, TMEM_GROUP_DEVICE);
    fprintf(out, "  %-" LONG_NAME "s %s\n", "limit-reason", reason);
    fprintf(out, "  %-" LONG_NAME "s %s of %s\n", "pressure", permille, file);
    if (device->pressure_error) {
        g_autofree char *error = tmem_printable(device->pressure_error);

        fprintf(out, "  %-" LONG_NAME "s %s\n", "pressure error", error);
    }
    fprintf(out, "  %-" LONG_NAME "s %s\n", "ratio", ratio);
    long_measures(out, device);
    long_latency(out, "put-latency", &device->put_latency);
    long_latency(out, "get-latency", &device->get_latency);
    for (i = 0; i < device->pools->len; i++) {
        TmemPool *pool = &g_array_index(device->pools, TmemPool, i);

        fprintf(out, "  pool %-17" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT
                " pages, %" G_GUINT64_FORMAT " bytes%s\n", pool->id,
                pool->pages, pool->bytes_stored,
                pool->ephemeral ? ", ephemeral" : "");
    }
}

void tmem_view_long(GPtrArray *guests, FILE *out)
{
    guint i, j;

    for (i = 0; i < guests->len; i++) {
        TmemGuest *guest = guests->pdata[i];

        for (j = 0; j < guest->devices->len; j++) {
            long_device(out, guest, guest->devices->pdata[j]);
        }
    }
}

/* ---- JSON ---- */

static void build_string(JsonBuilder *b, const char *name, const char *value)
{
    json_builder_set_member_name(b, name);
    if (value) {
        /* Paths can be anything */
        g_autofree char *valid = g_utf8_make_valid(value, -1);

        json_builder_add_string_value(b, valid);
    } else {
        json_builder_add_null_value(b);
    }
}

static void build_int(JsonBuilder *b, const char *name, int64_t value)
{
    json_builder_set_member_name(b, name);
    json_builder_add_int_value(b, value);
}

static void build_double(JsonBuilder *b, const char *name, double value)
{
    json_builder_set_member_name(b, name);
    json_builder_add_double_value(b, value);
}

static void build_numbers(JsonBuilder *b, const char *name,
                          const uint64_t *numbers, guint n)
{
    guint i;

    json_builder_set_member_name(b, name);
    json_builder_begin_array(b);
    for (i = 0; i < n; i++) {
        json_builder_add_int_value(b, numbers[i]);
    }
    json_builder_end_array(b);
}

static void build_latency(JsonBuilder *b, const char *name,
                          const TmemLatency *latency)
{
    json_builder_set_member_name(b, name);
    json_builder_begin_object(b);
    build_numbers(b, "boundaries", latency->boundaries, latency->n);
    build_numbers(b, "bins", latency->bins, latency->n + 1);
    json_builder_end_object(b);
}

static void build_pressure(JsonBuilder *b, const TmemDevice *device)
{
    json_builder_set_member_name(b, "pressure");
    json_builder_begin_object(b);
    build_string(b, "path", device->pressure_path);
    json_builder_set_member_name(b, "trigger");
    json_builder_add_boolean_value(b, device->pressure_trigger);
    json_builder_set_member_name(b, "permille");
    if (device->pressure_permille < 0) {
        json_builder_add_null_value(b);
    } else {
        json_builder_add_int_value(b, device->pressure_permille);
    }
    build_string(b, "error", device->pressure_error);
    json_builder_end_object(b);
}

static void build_rates(JsonBuilder *b, const TmemRates *rates)
{
    json_builder_set_member_name(b, "rates");
    if (!rates) {
        json_builder_add_null_value(b);
        return;
    }
    json_builder_begin_object(b);
    build_double(b, "seconds", rates->seconds);
    build_double(b, "puts", rates->puts);
    build_double(b, "gets", rates->gets);
    build_double(b, "rejected-puts", rates->rejected);
    build_double(b, "flushes", rates->flushes);
    build_double(b, "notifications", rates->notifications);
    json_builder_end_object(b);
}

static void build_fields(JsonBuilder *b, const TmemDevice *device,
                         TmemGroup group)
{
    guint i;

    for (i = 0; i < tmem_n_fields; i++) {
        const TmemField *field = &tmem_fields[i];

        if (field->group != group) {
            continue;
        }
        if (tmem_device_has(device, field)) {
            build_int(b, field->name, tmem_device_get(device, field));
        } else {
            json_builder_set_member_name(b, field->name);
            json_builder_add_null_value(b);
        }
    }
}

static void build_group(JsonBuilder *b, const TmemDevice *device,
                        TmemGroup group)
{
    json_builder_set_member_name(b, tmem_group_name(group));
    if (!device->has_group[group]) {
        json_builder_add_null_value(b);
        return;
    }
    json_builder_begin_object(b);
    if (group == TMEM_GROUP_SPILL) {
        build_string(b, "node", device->spill_node);
        build_string(b, "status", device->spill_status);
    }
    build_fields(b, device, group);
    json_builder_end_object(b);
}

static void build_device(JsonBuilder *b, const TmemDevice *device,
                         const TmemRates *rates)
{
    guint i;

    json_builder_begin_object(b);
    build_string(b, "id", device->id);
    build_string(b, "path", device->path);
    build_fields(b, device, TMEM_GROUP_DEVICE);
    build_group(b, device, TMEM_GROUP_GIVEN_BACK);
    build_group(b, device, TMEM_GROUP_SPILL);
    build_string(b, "limit-reason", device->limit_reason);
    build_pressure(b, device);
    build_latency(b, "put-latency", &device->put_latency);
    build_latency(b, "get-latency", &device->get_latency);
    json_builder_set_member_name(b, "pools");
    json_builder_begin_array(b);
    for (i = 0; i < device->pools->len; i++) {
        TmemPool *pool = &g_array_index(device->pools, TmemPool, i);

        json_builder_begin_object(b);
        build_int(b, "id", pool->id);
        json_builder_set_member_name(b, "ephemeral");
        json_builder_add_boolean_value(b, pool->ephemeral);
        build_int(b, "pages", pool->pages);
        build_int(b, "bytes-stored", pool->bytes_stored);
        json_builder_end_object(b);
    }
    json_builder_end_array(b);
    build_double(b, "ratio", tmem_device_ratio(device));
    build_rates(b, rates);
    json_builder_end_object(b);
}

static void build_guest(JsonBuilder *b, const TmemGuest *guest,
                        GPtrArray *before)
{
    g_autofree char *source = tmem_guest_source(guest);
    TmemGuest *old = tmem_fleet_lookup(before, guest);
    TmemRates rates;
    guint i;

    json_builder_begin_object(b);
    build_string(b, "guest", guest->name);
    build_string(b, "source", source);
    json_builder_set_member_name(b, "error");
    if (guest->error) {
        json_builder_begin_object(b);
        build_string(b, "kind", tmem_error_kind(guest->error));
        build_string(b, "message", guest->error->message);
        json_builder_end_object(b);
    } else {
        json_builder_add_null_value(b);
    }
    json_builder_set_member_name(b, "devices");
    json_builder_begin_array(b);
    for (i = 0; i < guest->devices->len; i++) {
        TmemDevice *device = guest->devices->pdata[i];

        build_device(b, device, tmem_device_rates(old, guest, device, &rates)
                                ? &rates : NULL);
    }
    json_builder_end_array(b);
    json_builder_end_object(b);
}

char *tmem_view_json(GPtrArray *guests, GPtrArray *before, gboolean pretty)
{
    g_autoptr(JsonBuilder) b = json_builder_new();
    g_autoptr(JsonNode) root = NULL;
    guint i;

    json_builder_begin_object(b);
    build_int(b, "format", FORMAT_VERSION);
    json_builder_set_member_name(b, "guests");
    json_builder_begin_array(b);
    for (i = 0; i < guests->len; i++) {
        build_guest(b, guests->pdata[i], before);
    }
    json_builder_end_array(b);
    json_builder_end_object(b);
    root = json_builder_get_root(b);
    return json_to_string(root, pretty);
}
