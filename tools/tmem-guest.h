/*
 * tmemctl: a guest, and what its virtio-tmem devices say of themselves
 *
 * The numbers are those of query-tmem, and keep its names. One table has them
 * all: how they are read, printed, told to Prometheus and explained follows
 * from it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TMEM_GUEST_H
#define TMEM_GUEST_H

#include <glib.h>
#include <json-glib/json-glib.h>
#include <stdint.h>

#define TMEM_PAGE_SIZE 4096

/* target-pages of a guest that is not asked to give anything up */
#define TMEM_NO_TARGET INT64_MAX

typedef struct TmemLatency {
    guint n;                /* boundaries; there is one more bin */
    uint64_t *boundaries;   /* nanoseconds, ascending */
    uint64_t *bins;
} TmemLatency;

typedef struct TmemPool {
    uint64_t id;
    gboolean ephemeral;
    uint64_t pages;
    uint64_t bytes_stored;
} TmemPool;

/* Where in query-tmem a number is: objects of it can be missing as a whole */
typedef enum {
    TMEM_GROUP_DEVICE,
    TMEM_GROUP_GIVEN_BACK,  /* missing in a QEMU older than it */
    TMEM_GROUP_SPILL,       /* missing without a block node to spill to */
    TMEM_N_GROUPS,
} TmemGroup;

typedef struct TmemDevice {
    char *path;             /* in QOM */
    char *id;               /* its last part, or all of it if that is no name */
    char *limit_reason;
    char *pressure_path;    /* NULL: none */
    char *pressure_error;   /* NULL: none */
    gboolean pressure_trigger;
    int pressure_permille;  /* -1: not known */
    TmemLatency put_latency;
    TmemLatency get_latency;
    gboolean has_group[TMEM_N_GROUPS];
    char *spill_node;       /* NULL: none */
    char *spill_status;     /* NULL: none */
    GArray *pools;          /* of TmemPool */

    uint64_t max_size;
    uint64_t min_size;
    uint64_t limit;
    uint64_t target_pages;
    uint64_t bytes_used;
    uint64_t bytes_stored;
    uint64_t bytes_metadata;
    uint64_t bytes_reclaimable;
    uint64_t pages;
    uint64_t same_filled_pages;
    uint64_t raw_pages;
    uint64_t zstd_pages;
    uint64_t ephemeral_pages;
    uint64_t reserved_puts;
    uint64_t puts;
    uint64_t rejected_puts;
    uint64_t gets;
    uint64_t misses;
    uint64_t flushes;
    uint64_t evicted;
    uint64_t recompressed;
    uint64_t moved;
    uint64_t lost_pages;
    uint64_t requests;
    uint64_t invalid_requests;
    uint64_t notifications;

    struct {
        uint64_t refuse;
        uint64_t drop;
        uint64_t compact;
        uint64_t recompress;
        uint64_t spill;
        uint64_t target;
    } given_back;
    struct {
        uint64_t size;
        uint64_t bytes_free;
        uint64_t pages;
        uint64_t bytes_stored;
        uint64_t writes;
        uint64_t bytes_written;
        uint64_t average_write;
        uint64_t reads;
        uint64_t bytes_read;
        uint64_t read_hits;
        uint64_t write_errors;
        uint64_t read_errors;
        uint64_t bad_pages;
        uint64_t cleaned;
        uint64_t discarded;
        uint64_t full;
    } spill;
} TmemDevice;

typedef enum {
    TMEM_FIELD_BYTES,
    TMEM_FIELD_PAGES,
    /* These only grow, until QEMU is started anew */
    TMEM_FIELD_COUNTER,
    TMEM_FIELD_COUNTER_BYTES,
} TmemFieldKind;

typedef struct TmemField {
    TmemGroup group;
    const char *name;       /* in query-tmem and in the JSON output */
    size_t offset;          /* in TmemDevice */
    TmemFieldKind kind;
    const char *metric;     /* for Prometheus; fields of one stand together */
    const char *label;      /* tells them apart; NULL: it is the only one */
    const char *help;
} TmemField;

extern const TmemField tmem_fields[];
extern const guint tmem_n_fields;

typedef enum {
    TMEM_SOURCE_QMP,
    TMEM_SOURCE_LIBVIRT,
} TmemSource;

typedef struct TmemGuest {
    char *name;
    gboolean name_is_guess; /* until QEMU has told its own */
    TmemSource source;
    char *address;          /* path of the socket, or name of the domain */
    gpointer domain;        /* virDomainPtr, for TMEM_SOURCE_LIBVIRT */
    GDestroyNotify free_domain;

    /* The answer: either an error, or devices, maybe none */
    GError *error;
    GPtrArray *devices;     /* of TmemDevice */
    int64_t sampled_us;     /* g_get_monotonic_time() */
} TmemGuest;

TmemGuest *tmem_guest_new(TmemSource source, const char *name,
                          const char *address);
void tmem_guest_free(TmemGuest *guest);

/* "qmp:/run/vm1.sock" or "libvirt:vm1"; no two guests share it */
char *tmem_guest_source(const TmemGuest *guest);

/*
 * Take what query-tmem returned, in place of the devices before, by path.
 *
 * Nothing is believed of it: FALSE with TMEM_ERROR_PROTOCOL says what was not
 * as it should be, and leaves the guest without devices.
 */
gboolean tmem_guest_parse(TmemGuest *guest, JsonNode *answer, GError **error);

void tmem_device_free(TmemDevice *device);
uint64_t tmem_device_get(const TmemDevice *device, const TmemField *field);

/* A group's name in query-tmem; NULL for TMEM_GROUP_DEVICE */
const char *tmem_group_name(TmemGroup group);

/* FALSE if there is none: of a group that is missing, or no target */
gboolean tmem_device_has(const TmemDevice *device, const TmemField *field);

TmemDevice *tmem_guest_device(const TmemGuest *guest, const char *id);

/*
 * Guest memory held for each byte that it takes, overhead counted; 0: unknown
 */
double tmem_device_ratio(const TmemDevice *device);

/*
 * A value in ns that the share @q of all calls stayed below, as far as the bins
 * tell; 0 if there was none, UINT64_MAX if it is beyond the last boundary
 */
uint64_t tmem_latency_quantile(const TmemLatency *latency, double q);

/* Rates between two samples of one device, for each second */
typedef struct TmemRates {
    double seconds;
    double puts;
    double gets;
    double rejected;
    double flushes;
    double notifications;
} TmemRates;

/*
 * FALSE if there is none: @before is NULL or not older, or QEMU was started
 * anew in between
 */
gboolean tmem_device_rates(const TmemGuest *before, const TmemGuest *now,
                           const TmemDevice *device, TmemRates *rates);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(TmemGuest, tmem_guest_free)

#endif
