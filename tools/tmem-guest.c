/*
 * tmemctl: a guest and its devices
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <stddef.h>
#include <string.h>

#include "tmem-error.h"
#include "tmem-guest.h"

/* More than QEMU has or allows; what says it has more is not believed */
#define MAX_DEVICES 256
#define MAX_POOLS 4096
#define MAX_BOUNDARIES 256

#define FIELD(name, member, kind, metric, help) \
    { TMEM_GROUP_DEVICE, name, offsetof(TmemDevice, member), \
      TMEM_FIELD_##kind, metric, NULL, help }
#define GIVEN_BACK(measure) \
    { TMEM_GROUP_GIVEN_BACK, #measure, \
      offsetof(TmemDevice, given_back.measure), TMEM_FIELD_COUNTER_BYTES, \
      "virtio_tmem_given_back_bytes_total", "measure=\"" #measure "\"", \
      "Bytes that each measure gave back while the page store took more " \
      "than its limit" }
#define SPILL(name, member, kind, metric, help) \
    { TMEM_GROUP_SPILL, name, offsetof(TmemDevice, spill.member), \
      TMEM_FIELD_##kind, "virtio_tmem_spill_" metric, NULL, help }

const TmemField tmem_fields[] = {
    FIELD("max-size", max_size, BYTES, "virtio_tmem_max_size_bytes",
          "Most host memory that the page store may take"),
    FIELD("min-size", min_size, BYTES, "virtio_tmem_min_size_bytes",
          "Host memory that it may take under any pressure"),
    FIELD("limit", limit, BYTES, "virtio_tmem_limit_bytes",
          "Host memory that it may take now"),
    FIELD("target-pages", target_pages, PAGES, "virtio_tmem_target_pages",
          "Pages that the guest is asked to hold at most; "
          "absent if it is not asked"),
    FIELD("bytes-used", bytes_used, BYTES, "virtio_tmem_used_bytes",
          "Host memory that the page store takes, payload and overhead"),
    FIELD("bytes-stored", bytes_stored, BYTES, "virtio_tmem_stored_bytes",
          "Bytes that the stored pages take, without overhead"),
    FIELD("bytes-metadata", bytes_metadata, BYTES,
          "virtio_tmem_metadata_bytes", "Bytes that index and tables take"),
    FIELD("bytes-reclaimable", bytes_reclaimable, BYTES,
          "virtio_tmem_reclaimable_bytes",
          "Bytes that compaction could give back"),
    FIELD("pages", pages, PAGES, "virtio_tmem_pages",
          "Pages held, of 4096 bytes"),
    FIELD("same-filled-pages", same_filled_pages, PAGES,
          "virtio_tmem_same_filled_pages",
          "Pages held that consist of one repeated word"),
    FIELD("raw-pages", raw_pages, PAGES, "virtio_tmem_raw_pages",
          "Pages held that could not be compressed"),
    FIELD("zstd-pages", zstd_pages, PAGES, "virtio_tmem_zstd_pages",
          "Pages held that are compressed with zstd"),
    FIELD("ephemeral-pages", ephemeral_pages, PAGES,
          "virtio_tmem_ephemeral_pages", "Pages held that may be dropped"),
    FIELD("reserved-puts", reserved_puts, PAGES, "virtio_tmem_reserved_puts",
          "Puts that the guest was promised and has not made"),
    FIELD("puts", puts, COUNTER, "virtio_tmem_puts_total", "Pages stored"),
    FIELD("rejected-puts", rejected_puts, COUNTER,
          "virtio_tmem_rejected_puts_total", "Pages refused"),
    FIELD("gets", gets, COUNTER, "virtio_tmem_gets_total",
          "Pages found and copied to the guest"),
    FIELD("misses", misses, COUNTER, "virtio_tmem_misses_total",
          "Gets of pages that were not there"),
    FIELD("flushes", flushes, COUNTER, "virtio_tmem_flushes_total",
          "Pages that the guest removed"),
    FIELD("evicted", evicted, COUNTER, "virtio_tmem_evicted_pages_total",
          "Ephemeral pages dropped for want of room"),
    FIELD("recompressed", recompressed, COUNTER,
          "virtio_tmem_recompressed_pages_total",
          "Pages made smaller with zstd later on"),
    FIELD("moved", moved, COUNTER, "virtio_tmem_moved_pages_total",
          "Pages moved by compaction"),
    FIELD("lost-pages", lost_pages, COUNTER, "virtio_tmem_lost_pages_total",
          "Pages whose bytes had changed in memory; counted with checksum=on"),
    FIELD("requests", requests, COUNTER, "virtio_tmem_requests_total",
          "Requests taken from the virtqueues"),
    FIELD("invalid-requests", invalid_requests, COUNTER,
          "virtio_tmem_invalid_requests_total",
          "Requests refused as malformed"),
    FIELD("notifications", notifications, COUNTER,
          "virtio_tmem_notifications_total",
          "Notifications from the guest"),
    GIVEN_BACK(refuse),
    GIVEN_BACK(drop),
    GIVEN_BACK(compact),
    GIVEN_BACK(recompress),
    GIVEN_BACK(spill),
    GIVEN_BACK(target),
    SPILL("size", size, BYTES, "size_bytes",
          "Bytes of the block node to spill to that can be used"),
    SPILL("bytes-free", bytes_free, BYTES, "free_bytes",
          "Bytes of the block node that no page takes"),
    SPILL("pages", pages, PAGES, "pages",
          "Pages held that are on the block node"),
    SPILL("bytes-stored", bytes_stored, BYTES, "stored_bytes",
          "Bytes that the pages on the block node take, without overhead"),
    SPILL("writes", writes, COUNTER, "writes_total",
          "Writes to the block node that succeeded"),
    SPILL("bytes-written", bytes_written, COUNTER_BYTES,
          "written_bytes_total", "Bytes written to the block node"),
    SPILL("average-write", average_write, BYTES, "average_write_bytes",
          "Bytes that each write to the block node wrote, on average"),
    SPILL("reads", reads, COUNTER, "reads_total", "Reads of the block node"),
    SPILL("bytes-read", bytes_read, COUNTER_BYTES, "read_bytes_total",
          "Bytes read from the block node"),
    SPILL("read-hits", read_hits, COUNTER, "read_hits_total",
          "Pages that came with the read of another one"),
    SPILL("write-errors", write_errors, COUNTER, "write_errors_total",
          "Writes to the block node that failed; their pages stayed in "
          "memory"),
    SPILL("read-errors", read_errors, COUNTER, "read_errors_total",
          "Reads of one page that failed"),
    SPILL("bad-pages", bad_pages, COUNTER, "bad_pages_total",
          "Pages read that were not what had been written"),
    SPILL("cleaned", cleaned, COUNTER, "cleaned_pages_total",
          "Pages moved to free space of the block node"),
    SPILL("discarded", discarded, COUNTER, "discarded_extents_total",
          "Extents of the block node that were discarded"),
    SPILL("full", full, COUNTER, "full_total",
          "Times that the block node became full"),
};

const guint tmem_n_fields = G_N_ELEMENTS(tmem_fields);

TmemGuest *tmem_guest_new(TmemSource source, const char *name,
                          const char *address)
{
    TmemGuest *guest = g_new0(TmemGuest, 1);

    guest->source = source;
    guest->name = g_strdup(name);
    guest->address = g_strdup(address);
    guest->devices =
        g_ptr_array_new_with_free_func((GDestroyNotify)tmem_device_free);
    return guest;
}

void tmem_guest_free(TmemGuest *guest)
{
    g_clear_error(&guest->error);
    g_ptr_array_unref(guest->devices);
    if (guest->domain && guest->free_domain) {
        guest->free_domain(guest->domain);
    }
    g_free(guest->name);
    g_free(guest->address);
    g_free(guest);
}

char *tmem_guest_source(const TmemGuest *guest)
{
    return g_strconcat(guest->source == TMEM_SOURCE_QMP ? "qmp:" : "libvirt:",
                       guest->address, NULL);
}

void tmem_device_free(TmemDevice *device)
{
    g_free(device->path);
    g_free(device->id);
    g_free(device->limit_reason);
    g_free(device->pressure_path);
    g_free(device->pressure_error);
    g_free(device->spill_node);
    g_free(device->spill_status);
    g_free(device->put_latency.boundaries);
    g_free(device->put_latency.bins);
    g_free(device->get_latency.boundaries);
    g_free(device->get_latency.bins);
    if (device->pools) {
        g_array_unref(device->pools);
    }
    g_free(device);
}

uint64_t tmem_device_get(const TmemDevice *device, const TmemField *field)
{
    return *(const uint64_t *)((const char *)device + field->offset);
}

gboolean tmem_device_has(const TmemDevice *device, const TmemField *field)
{
    return device->has_group[field->group] &&
           (field->offset != offsetof(TmemDevice, target_pages) ||
            device->target_pages != TMEM_NO_TARGET);
}

const char *tmem_group_name(TmemGroup group)
{
    static const char *const names[TMEM_N_GROUPS] = {
        [TMEM_GROUP_GIVEN_BACK] = "given-back",
        [TMEM_GROUP_SPILL] = "spill",
    };

    return names[group];
}

TmemDevice *tmem_guest_device(const TmemGuest *guest, const char *id)
{
    guint i;

    for (i = 0; i < guest->devices->len; i++) {
        TmemDevice *device = guest->devices->pdata[i];

        if (!strcmp(device->id, id)) {
            return device;
        }
    }
    return NULL;
}

/* ---- Reading ---- */

static gboolean bad_answer(GError **error, const char *name,
                           const char *expected)
{
    g_set_error(error, TMEM_ERROR, TMEM_ERROR_PROTOCOL,
                "its query-tmem has no '%s' that is %s: tmemctl does not know "
                "this version of virtio-tmem", name, expected);
    return FALSE;
}

static JsonNode *get_member(JsonObject *object, const char *name, GType type)
{
    JsonNode *node = json_object_get_member(object, name);

    return node && JSON_NODE_HOLDS_VALUE(node) &&
           json_node_get_value_type(node) == type ? node : NULL;
}

/*
 * No number here is beyond INT64_MAX: QEMU's sizes and counts are not, and a
 * greater one is a double to json-glib.
 */
static gboolean node_to_u64(JsonNode *node, uint64_t *value)
{
    if (!node || !JSON_NODE_HOLDS_VALUE(node) ||
        json_node_get_value_type(node) != G_TYPE_INT64 ||
        json_node_get_int(node) < 0) {
        return FALSE;
    }
    *value = json_node_get_int(node);
    return TRUE;
}

static gboolean read_u64(JsonObject *object, const char *name, uint64_t *value,
                         GError **error)
{
    return node_to_u64(json_object_get_member(object, name), value) ||
           bad_answer(error, name, "a number");
}

static gboolean read_string(JsonObject *object, const char *name, char **value,
                            GError **error)
{
    JsonNode *node = get_member(object, name, G_TYPE_STRING);

    if (!node) {
        return bad_answer(error, name, "a string");
    }
    *value = json_node_dup_string(node);
    return TRUE;
}

static gboolean read_bool(JsonObject *object, const char *name,
                          gboolean *value, GError **error)
{
    JsonNode *node = get_member(object, name, G_TYPE_BOOLEAN);

    if (!node) {
        return bad_answer(error, name, "true or false");
    }
    *value = json_node_get_boolean(node);
    return TRUE;
}

static JsonObject *read_object(JsonObject *object, const char *name,
                               GError **error)
{
    JsonNode *node = json_object_get_member(object, name);

    if (!node || !JSON_NODE_HOLDS_OBJECT(node)) {
        bad_answer(error, name, "an object");
        return NULL;
    }
    return json_node_get_object(node);
}

static JsonArray *read_array(JsonObject *object, const char *name, guint max,
                             GError **error)
{
    JsonNode *node = json_object_get_member(object, name);

    if (!node || !JSON_NODE_HOLDS_ARRAY(node) ||
        json_array_get_length(json_node_get_array(node)) > max) {
        bad_answer(error, name, "a list of sensible length");
        return NULL;
    }
    return json_node_get_array(node);
}

static uint64_t *read_numbers(JsonArray *array)
{
    guint n = json_array_get_length(array);
    g_autofree uint64_t *numbers = g_new(uint64_t, n + 1);
    guint i;

    for (i = 0; i < n; i++) {
        if (!node_to_u64(json_array_get_element(array, i), &numbers[i])) {
            return NULL;
        }
    }
    return g_steal_pointer(&numbers);
}

static gboolean read_latency(JsonObject *device, const char *name,
                             TmemLatency *latency, GError **error)
{
    JsonObject *object = read_object(device, name, error);
    JsonArray *boundaries, *bins;
    guint i;

    if (!object) {
        return FALSE;
    }
    boundaries = read_array(object, "boundaries", MAX_BOUNDARIES, error);
    bins = boundaries ? read_array(object, "bins", MAX_BOUNDARIES + 1, error)
                      : NULL;
    if (!bins) {
        return FALSE;
    }
    latency->n = json_array_get_length(boundaries);
    latency->boundaries = read_numbers(boundaries);
    latency->bins = read_numbers(bins);
    if (!latency->boundaries || !latency->bins ||
        json_array_get_length(bins) != latency->n + 1) {
        return bad_answer(error, name, "a histogram");
    }
    for (i = 1; i < latency->n; i++) {
        if (latency->boundaries[i] <= latency->boundaries[i - 1]) {
            return bad_answer(error, name, "a histogram in ascending order");
        }
    }
    return TRUE;
}

static gboolean read_pressure(JsonObject *object, TmemDevice *device,
                              GError **error)
{
    JsonObject *pressure = read_object(object, "pressure", error);
    uint64_t permille;

    device->pressure_permille = -1;
    if (!pressure ||
        !read_bool(pressure, "trigger", &device->pressure_trigger, error) ||
        (json_object_has_member(pressure, "path") &&
         !read_string(pressure, "path", &device->pressure_path, error)) ||
        (json_object_has_member(pressure, "error") &&
         !read_string(pressure, "error", &device->pressure_error, error))) {
        return FALSE;
    }
    if (json_object_has_member(pressure, "permille")) {
        if (!read_u64(pressure, "permille", &permille, error)) {
            return FALSE;
        }
        device->pressure_permille = MIN(permille, 1000);
    }
    return TRUE;
}

static gboolean read_pools(JsonObject *object, TmemDevice *device,
                           GError **error)
{
    JsonArray *array = read_array(object, "pools", MAX_POOLS, error);
    guint i;

    if (!array) {
        return FALSE;
    }
    for (i = 0; i < json_array_get_length(array); i++) {
        JsonNode *node = json_array_get_element(array, i);
        JsonObject *entry;
        TmemPool pool;

        if (!JSON_NODE_HOLDS_OBJECT(node)) {
            return bad_answer(error, "pools", "a list of objects");
        }
        entry = json_node_get_object(node);
        if (!read_u64(entry, "id", &pool.id, error) ||
            !read_bool(entry, "ephemeral", &pool.ephemeral, error) ||
            !read_u64(entry, "pages", &pool.pages, error) ||
            !read_u64(entry, "bytes-stored", &pool.bytes_stored, error)) {
            return FALSE;
        }
        g_array_append_val(device->pools, pool);
    }
    return TRUE;
}

static gboolean read_fields(JsonObject *object, TmemDevice *device,
                            TmemGroup group, GError **error)
{
    const char *prefix = tmem_group_name(group);
    guint i;

    for (i = 0; i < tmem_n_fields; i++) {
        const TmemField *field = &tmem_fields[i];
        uint64_t *value = (void *)((char *)device + field->offset);

        if (field->group == group &&
            !node_to_u64(json_object_get_member(object, field->name), value)) {
            g_autofree char *name =
                g_strconcat(prefix ?: "", prefix ? "." : "", field->name,
                            NULL);

            return bad_answer(error, name, "a number");
        }
    }
    device->has_group[group] = TRUE;
    return TRUE;
}

/* What is not there is none: *@object is NULL then */
static gboolean read_group(JsonObject *parent, TmemDevice *device,
                           TmemGroup group, JsonObject **object,
                           GError **error)
{
    const char *name = tmem_group_name(group);

    *object = NULL;
    if (!json_object_has_member(parent, name)) {
        return TRUE;
    }
    *object = read_object(parent, name, error);
    return *object && read_fields(*object, device, group, error);
}

static gboolean read_measures(JsonObject *object, TmemDevice *device,
                              GError **error)
{
    JsonObject *given_back, *spill;

    if (!read_group(object, device, TMEM_GROUP_GIVEN_BACK, &given_back,
                    error) ||
        !read_group(object, device, TMEM_GROUP_SPILL, &spill, error)) {
        return FALSE;
    }
    return !spill ||
           (read_string(spill, "node", &device->spill_node, error) &&
            read_string(spill, "status", &device->spill_status, error));
}

static gboolean read_device(JsonObject *object, TmemDevice *device,
                            GError **error)
{
    device->pools = g_array_new(FALSE, FALSE, sizeof(TmemPool));
    if (!read_string(object, "path", &device->path, error) ||
        !read_string(object, "limit-reason", &device->limit_reason, error) ||
        !read_pressure(object, device, error) ||
        !read_latency(object, "put-latency", &device->put_latency, error) ||
        !read_latency(object, "get-latency", &device->get_latency, error) ||
        !read_pools(object, device, error) ||
        !read_fields(object, device, TMEM_GROUP_DEVICE, error) ||
        !read_measures(object, device, error)) {
        return FALSE;
    }
    /*
     * Devices without an id= are /machine/peripheral-anon/device[3]: that is
     * as good a name as any.
     */
    device->id = g_path_get_basename(device->path);
    return TRUE;
}

/* QEMU has them in the order of a hash table */
static int compare_devices(gconstpointer a, gconstpointer b)
{
    return strcmp((*(TmemDevice *const *)a)->path,
                  (*(TmemDevice *const *)b)->path);
}

gboolean tmem_guest_parse(TmemGuest *guest, JsonNode *answer, GError **error)
{
    JsonArray *array;
    guint i;

    g_ptr_array_set_size(guest->devices, 0);
    if (!JSON_NODE_HOLDS_ARRAY(answer) ||
        json_array_get_length(json_node_get_array(answer)) > MAX_DEVICES) {
        g_set_error(error, TMEM_ERROR, TMEM_ERROR_PROTOCOL,
                    "its query-tmem did not return a list of devices");
        return FALSE;
    }
    array = json_node_get_array(answer);
    for (i = 0; i < json_array_get_length(array); i++) {
        JsonNode *node = json_array_get_element(array, i);
        TmemDevice *device = g_new0(TmemDevice, 1);

        g_ptr_array_add(guest->devices, device);
        if (!JSON_NODE_HOLDS_OBJECT(node)) {
            bad_answer(error, "return", "a list of objects");
        } else if (read_device(json_node_get_object(node), device, error)) {
            continue;
        }
        g_ptr_array_set_size(guest->devices, 0);
        return FALSE;
    }
    g_ptr_array_sort(guest->devices, compare_devices);
    return TRUE;
}

/* ---- What follows from it ---- */

double tmem_device_ratio(const TmemDevice *device)
{
    return device->pages && device->bytes_used ?
           (double)device->pages * TMEM_PAGE_SIZE / device->bytes_used : 0;
}

uint64_t tmem_latency_quantile(const TmemLatency *latency, double q)
{
    double sum = 0, below = 0;
    guint i;

    for (i = 0; i <= latency->n; i++) {
        sum += latency->bins[i];
    }
    if (sum == 0) {
        return 0;
    }
    for (i = 0; i < latency->n; i++) {
        below += latency->bins[i];
        if (below >= q * sum) {
            return latency->boundaries[i];
        }
    }
    return UINT64_MAX;
}

gboolean tmem_device_rates(const TmemGuest *before, const TmemGuest *now,
                           const TmemDevice *device, TmemRates *rates)
{
    const TmemDevice *old = before ? tmem_guest_device(before, device->id)
                                   : NULL;
    double seconds;

    if (!old || now->sampled_us <= before->sampled_us ||
        device->puts < old->puts || device->gets < old->gets ||
        device->rejected_puts < old->rejected_puts ||
        device->flushes < old->flushes ||
        device->notifications < old->notifications) {
        return FALSE;
    }
    seconds = (now->sampled_us - before->sampled_us) / 1e6;
    rates->seconds = seconds;
    rates->puts = (device->puts - old->puts) / seconds;
    rates->gets = (device->gets - old->gets) / seconds;
    rates->rejected = (device->rejected_puts - old->rejected_puts) / seconds;
    rates->flushes = (device->flushes - old->flushes) / seconds;
    rates->notifications =
        (device->notifications - old->notifications) / seconds;
    return TRUE;
}
