/*
 * tmemctl: guests in Prometheus' text format
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <string.h>

#include "tmem-metrics.h"

static const char *const reasons[] = {
    "max", "pressure", "hold", "growing", "min",
};

static const char *const spill_states[] = {
    "active", "full", "failed",
};

typedef struct {
    GString *out;
    GPtrArray *guests;
    char **labels;              /* guest="NAME" of each guest, escaped */
} Page;

/*
 * A label's value: backslash, quote and newline are escaped, all else is
 * UTF-8.
 */
static char *escape_label(const char *text)
{
    g_autofree char *valid = g_utf8_make_valid(text, -1);
    GString *out = g_string_new(NULL);
    const char *p;

    for (p = valid; *p; p++) {
        if (*p == '\\' || *p == '"') {
            g_string_append_c(out, '\\');
        }
        if (*p == '\n') {
            g_string_append(out, "\\n");
        } else {
            g_string_append_c(out, *p);
        }
    }
    return g_string_free(out, FALSE);
}

static char **guest_labels(GPtrArray *guests)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);
    char **labels = g_new0(char *, guests->len + 1);
    guint i;

    for (i = 0; i < guests->len; i++) {
        TmemGuest *guest = guests->pdata[i];
        g_autofree char *name = g_hash_table_add(seen, guest->name)
                                ? escape_label(guest->name) : NULL;

        if (!name) {
            g_autofree char *source = tmem_guest_source(guest);

            name = escape_label(source);
        }
        labels[i] = g_strdup_printf("guest=\"%s\"", name);
    }
    return labels;
}

static void head(Page *page, const char *name, const char *type,
                 const char *help)
{
    g_string_append_printf(page->out, "# HELP %s %s.\n# TYPE %s %s\n", name,
                           help, name, type);
}

static char *device_labels(const Page *page, guint i, const TmemDevice *device)
{
    g_autofree char *id = escape_label(device->id);

    return g_strdup_printf("%s,device=\"%s\"", page->labels[i], id);
}

/* A number as it is, and nothing that depends on the locale */
static void sample(Page *page, const char *name, const char *labels,
                   double value)
{
    char text[G_ASCII_DTOSTR_BUF_SIZE];

    g_ascii_formatd(text, sizeof(text), "%.17g", value);
    g_string_append_printf(page->out, "%s%s%s%s %s\n", name,
                           labels ? "{" : "", labels ?: "", labels ? "}" : "",
                           text);
}

typedef void DeviceFunc(Page *page, const char *labels,
                        const TmemDevice *device, const void *data);

static void each_device(Page *page, DeviceFunc *func, const void *data)
{
    guint i, j;

    for (i = 0; i < page->guests->len; i++) {
        TmemGuest *guest = page->guests->pdata[i];

        for (j = 0; j < guest->devices->len; j++) {
            TmemDevice *device = guest->devices->pdata[j];
            g_autofree char *labels = device_labels(page, i, device);

            func(page, labels, device, data);
        }
    }
}

static void add_field(Page *page, const char *labels,
                      const TmemDevice *device, const void *data)
{
    const TmemField *field = data;

    if (tmem_device_has(device, field)) {
        g_autofree char *full = g_strconcat(labels, field->label ? "," : "",
                                            field->label, NULL);

        sample(page, field->metric, full, tmem_device_get(device, field));
    }
}

static gboolean is_counter(const TmemField *field)
{
    return field->kind == TMEM_FIELD_COUNTER ||
           field->kind == TMEM_FIELD_COUNTER_BYTES;
}

/* Fields that differ by a label are one metric, which has one head */
static void add_fields(Page *page)
{
    guint i;

    for (i = 0; i < tmem_n_fields; i++) {
        const TmemField *field = &tmem_fields[i];

        if (i == 0 || strcmp(field->metric, tmem_fields[i - 1].metric)) {
            head(page, field->metric, is_counter(field) ? "counter" : "gauge",
                 field->help);
        }
        each_device(page, add_field, field);
    }
}

static void add_reason(Page *page, const char *labels,
                       const TmemDevice *device,
                       const void *data G_GNUC_UNUSED)
{
    guint i;

    for (i = 0; i < G_N_ELEMENTS(reasons); i++) {
        g_autofree char *full = g_strdup_printf("%s,reason=\"%s\"", labels,
                                                reasons[i]);

        sample(page, "virtio_tmem_limit_reason", full,
               !strcmp(device->limit_reason, reasons[i]));
    }
}

static void add_spill_status(Page *page, const char *labels,
                             const TmemDevice *device,
                             const void *data G_GNUC_UNUSED)
{
    guint i;

    for (i = 0; device->spill_status && i < G_N_ELEMENTS(spill_states); i++) {
        g_autofree char *full = g_strdup_printf("%s,status=\"%s\"", labels,
                                                spill_states[i]);

        sample(page, "virtio_tmem_spill_status", full,
               !strcmp(device->spill_status, spill_states[i]));
    }
}

static void add_pressure(Page *page, const char *labels,
                         const TmemDevice *device,
                         const void *data G_GNUC_UNUSED)
{
    if (device->pressure_permille >= 0) {
        sample(page, "virtio_tmem_pressure_ratio", labels,
               device->pressure_permille / 1000.0);
    }
}

static void add_pools(Page *page, const char *labels,
                      const TmemDevice *device,
                      const void *data G_GNUC_UNUSED)
{
    guint i;

    for (i = 0; i < device->pools->len; i++) {
        TmemPool *pool = &g_array_index(device->pools, TmemPool, i);
        g_autofree char *full =
            g_strdup_printf("%s,pool=\"%" G_GUINT64_FORMAT "\"", labels,
                            pool->id);

        sample(page, "virtio_tmem_pool_pages", full, pool->pages);
    }
}

typedef struct {
    const char *metric;
    size_t offset;              /* of the TmemLatency */
} LatencyMetric;

/* Bins are counted upwards, as Prometheus has them. QEMU keeps no sum. */
static void add_latency(Page *page, const char *labels,
                        const TmemDevice *device, const void *data)
{
    const LatencyMetric *metric = data;
    const TmemLatency *latency =
        (const void *)((const char *)device + metric->offset);
    g_autofree char *bucket = g_strconcat(metric->metric, "_bucket", NULL);
    g_autofree char *total = g_strconcat(metric->metric, "_count", NULL);
    double count = 0;
    guint i;

    for (i = 0; i <= latency->n; i++) {
        char le[G_ASCII_DTOSTR_BUF_SIZE] = "+Inf";
        g_autofree char *full = NULL;

        if (i < latency->n) {
            g_ascii_formatd(le, sizeof(le), "%.9g",
                            latency->boundaries[i] / 1e9);
        }
        full = g_strdup_printf("%s,le=\"%s\"", labels, le);
        count += latency->bins[i];
        sample(page, bucket, full, count);
    }
    sample(page, total, labels, count);
}

static void add_guests(Page *page)
{
    guint i;

    head(page, "virtio_tmem_guest_up", "gauge",
         "Whether the guest's QEMU could be asked");
    for (i = 0; i < page->guests->len; i++) {
        TmemGuest *guest = page->guests->pdata[i];

        sample(page, "virtio_tmem_guest_up", page->labels[i], !guest->error);
    }
}

char *tmem_metrics_text(GPtrArray *guests, double seconds)
{
    static const LatencyMetric latencies[] = {
        { "virtio_tmem_put_duration_seconds",
          G_STRUCT_OFFSET(TmemDevice, put_latency) },
        { "virtio_tmem_get_duration_seconds",
          G_STRUCT_OFFSET(TmemDevice, get_latency) },
    };
    Page page = {
        .out = g_string_new(NULL),
        .guests = guests,
        .labels = guest_labels(guests),
    };
    guint i;

    add_guests(&page);
    add_fields(&page);
    head(&page, "virtio_tmem_limit_reason", "gauge",
         "Why the limit is what it is: 1 for the reason that holds");
    each_device(&page, add_reason, NULL);
    head(&page, "virtio_tmem_spill_status", "gauge",
         "How the block node to spill to is: 1 for the status that holds; "
         "absent if there is no node");
    each_device(&page, add_spill_status, NULL);
    head(&page, "virtio_tmem_pressure_ratio", "gauge",
         "Share of the time in which some task waited for memory, as the "
         "device sees it");
    each_device(&page, add_pressure, NULL);
    head(&page, "virtio_tmem_pool_pages", "gauge", "Pages held in a pool");
    each_device(&page, add_pools, NULL);
    for (i = 0; i < G_N_ELEMENTS(latencies); i++) {
        head(&page, latencies[i].metric, "histogram",
             i ? "Time that the store took for a page found, one in 16 timed"
               : "Time that the store took for a page put, one in 16 timed");
        each_device(&page, add_latency, &latencies[i]);
    }
    head(&page, "virtio_tmem_scrape_duration_seconds", "gauge",
         "Time that it took to ask all guests");
    sample(&page, "virtio_tmem_scrape_duration_seconds", NULL, seconds);
    g_strfreev(page.labels);
    return g_string_free(page.out, FALSE);
}
