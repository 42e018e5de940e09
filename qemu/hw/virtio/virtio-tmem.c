/*
 * Virtio transcendent memory (tmem) device
 *
 * Keeps pages that the guest swaps out in a page store. virtio-tmem-queue.c
 * says in which thread requests are served; what is here runs under the BQL.
 * The store's worker does not: it schedules limit_bh when the limit has
 * changed, and lost_bh, as whoever finds a page lost, and nothing else.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qapi/error.h"
#include "qapi/qapi-events-tmem.h"
#include "qapi/visitor.h"
#include "hw/qdev-properties.h"
#include "hw/qdev-properties-system.h"
#include "hw/virtio/virtio-tmem.h"
#include "migration/vmstate.h"
#include "standard-headers/linux/virtio_tmem.h"
#include "trace.h"
#include "virtio-tmem-internal.h"

QEMU_BUILD_BUG_ON(1 << VIRTIO_TMEM_PAGE_SHIFT != TMEM_PAGE_SIZE);

/*
 * The guest hears of a new target at most once a second, and not at all when it
 * differs by less than a 16th: it may have thousands of pages to write back for
 * each, and must not be driven to and fro by the noise of the limit.
 */
#define VIRTIO_TMEM_TARGET_INTERVAL_MS 1000
#define VIRTIO_TMEM_TARGET_SHARE 16
#define VIRTIO_TMEM_SPILL_SHARE 8

/* A target that asks for nothing */
#define VIRTIO_TMEM_NO_TARGET INT64_MAX

static void virtio_tmem_set_status(VirtIODevice *vdev, uint8_t status)
{
    VirtIOTMEM *tmem = VIRTIO_TMEM(vdev);
    bool run = vdev->vm_running && (status & VIRTIO_CONFIG_S_DRIVER_OK);
    int i;

    for (i = 0; i < tmem->num_queues; i++) {
        if (run) {
            /* What came too early, or was left when the VM stopped */
            virtio_tmem_queue_kick(&tmem->queues[i]);
        } else {
            /* Without the driver, it is about to be reset */
            virtio_tmem_queue_quiesce(&tmem->queues[i],
                                      !(status & VIRTIO_CONFIG_S_DRIVER_OK));
        }
    }
    if (run) {
        timer_mod(tmem->target_timer,
                  qemu_clock_get_ms(QEMU_CLOCK_REALTIME));
    }
}

static void virtio_tmem_reset(VirtIODevice *vdev)
{
    VirtIOTMEM *tmem = VIRTIO_TMEM(vdev);
    int i;

    /* Nobody is serving: set_status() was here before */
    for (i = 0; i < tmem->num_queues; i++) {
        qemu_bh_cancel(tmem->queues[i].bh);
        tmem->queues[i].reservations = 0;
    }
    tmem_store_reset(tmem->store);
    timer_del(tmem->target_timer);
    tmem->target_pages = VIRTIO_TMEM_NO_TARGET;
    tmem_store_ask(tmem->store, false);
    tmem->max_pages = tmem_store_capacity(tmem->store);
    trace_virtio_tmem_reset(tmem);
}

static void virtio_tmem_queue_reset(VirtIODevice *vdev, uint32_t index)
{
    VirtIOTMEM *tmem = VIRTIO_TMEM(vdev);

    /* The guest may name any queue that the transport could have */
    if (index < tmem->num_queues) {
        virtio_tmem_queue_detach(&tmem->queues[index]);
        virtio_tmem_queue_quiesce(&tmem->queues[index], true);
        qemu_bh_cancel(tmem->queues[index].bh);
        virtio_tmem_set_reservations(&tmem->queues[index], 0);
    }
}

static void virtio_tmem_queue_enable(VirtIODevice *vdev, uint32_t index)
{
    VirtIOTMEM *tmem = VIRTIO_TMEM(vdev);

    /* After it was reset; others are attached when ioeventfd is started */
    if (index < tmem->num_queues) {
        virtio_tmem_queue_attach(&tmem->queues[index]);
    }
}

static void virtio_tmem_get_config(VirtIODevice *vdev, uint8_t *config_data)
{
    VirtIOTMEM *tmem = VIRTIO_TMEM(vdev);
    struct virtio_tmem_config config = {
        .page_shift = VIRTIO_TMEM_PAGE_SHIFT,
        .num_queues = cpu_to_le32(tmem->num_queues),
        .max_pages = cpu_to_le64(tmem->max_pages),
    };

    if (virtio_host_has_feature(vdev, VIRTIO_TMEM_F_TARGET)) {
        config.target_pages = cpu_to_le64(tmem->target_pages);
    }
    memcpy(config_data, &config, sizeof(config));
}

static uint64_t virtio_tmem_get_features(VirtIODevice *vdev, uint64_t features,
                                         Error **errp)
{
    return features | VIRTIO_TMEM(vdev)->host_features;
}

/*
 * Whether pages leave for the node instead: it takes some, and there are some
 * that can. What the guest was asked for when the node was full stands until
 * some of it is free again.
 */
static bool virtio_tmem_has_spill_room(VirtIOTMEM *tmem,
                                       const TmemSpillStats *spill)
{
    return spill->state == TMEM_SPILL_ACTIVE && !spill->exhausted &&
           (tmem->target_pages == VIRTIO_TMEM_NO_TARGET ||
            spill->bytes_free >= spill->size / VIRTIO_TMEM_SPILL_SHARE);
}

/*
 * Pages that the guest should hold: as many as the store has room for now, if
 * they go on to compress as they do; no bound, below the limit, or as long as
 * others can be spilled.
 */
static uint64_t virtio_tmem_want_target(VirtIOTMEM *tmem)
{
    TmemStoreStats stats;
    uint64_t pages;

    tmem_store_get_stats(tmem->store, &stats);
    pages = stats.pages - stats.ephemeral;
    if (virtio_tmem_has_spill_room(tmem, &stats.spill) ||
        (stats.limit >= stats.bytes_used &&
         (stats.limit >= stats.max_size || tmem->target_pages >= pages))) {
        /* Nothing to give up, and nothing that was asked for before */
        return VIRTIO_TMEM_NO_TARGET;
    }
    return muldiv64(pages, MIN(stats.limit >> 12, UINT32_MAX),
                    MAX(MIN(stats.bytes_used >> 12, UINT32_MAX), 1));
}

static void virtio_tmem_set_target(VirtIOTMEM *tmem)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(tmem);
    uint64_t want = virtio_tmem_want_target(tmem);
    uint64_t old = tmem->target_pages;
    uint64_t share = MAX(old, want) / VIRTIO_TMEM_TARGET_SHARE;

    /* Until the driver is there, it has not heard of the old one either */
    if (want == old || !(vdev->status & VIRTIO_CONFIG_S_DRIVER_OK)) {
        return;
    }
    /* Noise, unless there is really something to be given up */
    if (want + share > old && old + share > want &&
        !tmem_store_over_limit(tmem->store)) {
        return;
    }
    tmem->target_pages = want;
    tmem_store_ask(tmem->store, want != VIRTIO_TMEM_NO_TARGET);
    trace_virtio_tmem_target(tmem, old, want);
    if (virtio_vdev_has_feature(vdev, VIRTIO_TMEM_F_TARGET)) {
        virtio_notify_config(vdev);
    }
}

static void virtio_tmem_update_target(void *opaque)
{
    VirtIOTMEM *tmem = opaque;

    virtio_tmem_set_target(tmem);
    /* What the limit asks for changes with what the store holds and spills */
    if (VIRTIO_DEVICE(tmem)->vm_running &&
        (tmem->target_pages != VIRTIO_TMEM_NO_TARGET ||
         tmem_store_over_limit(tmem->store))) {
        timer_mod(tmem->target_timer,
                  qemu_clock_get_ms(QEMU_CLOCK_REALTIME) +
                  VIRTIO_TMEM_TARGET_INTERVAL_MS);
    }
}

static void virtio_tmem_limit_changed(void *opaque)
{
    VirtIOTMEM *tmem = opaque;
    g_autofree char *path = virtio_tmem_get_path(tmem);
    TmemStoreStats stats;

    tmem_store_get_stats(tmem->store, &stats);
    trace_virtio_tmem_limit(tmem, stats.limit, stats.bytes_used, stats.cause);
    qapi_event_send_tmem_limit_changed(path, stats.limit,
                                       virtio_tmem_limit_reason(&stats),
                                       stats.bytes_used);
    if (!timer_pending(tmem->target_timer)) {
        timer_mod(tmem->target_timer,
                  qemu_clock_get_ms(QEMU_CLOCK_REALTIME) +
                  VIRTIO_TMEM_TARGET_INTERVAL_MS);
    }
}

/* Called from the worker's thread */
static void virtio_tmem_worker_notify(void *opaque)
{
    VirtIOTMEM *tmem = opaque;

    qemu_bh_schedule(tmem->limit_bh);
}

static void virtio_tmem_tell_lost(void *opaque)
{
    VirtIOTMEM *tmem = opaque;
    g_autofree char *path = virtio_tmem_get_path(tmem);
    TmemStoreStats stats;

    tmem_store_get_stats(tmem->store, &stats);
    qapi_event_send_tmem_page_lost(path, stats.lost);
}

/* Called from any thread, with a lock of the store held */
static void virtio_tmem_page_lost(void *opaque, uint32_t pool, uint64_t object,
                                  uint64_t index)
{
    VirtIOTMEM *tmem = opaque;

    trace_virtio_tmem_page_lost(tmem, pool, object, index);
    qemu_bh_schedule(tmem->lost_bh);
}

static bool virtio_tmem_check_properties(VirtIOTMEM *tmem, Error **errp)
{
    uint64_t host_ram = qemu_get_host_physmem();

    if (tmem->max_size < TMEM_STORE_MIN_LIMIT) {
        error_setg(errp, "property '%s' is %" PRIu64 " bytes, it must be at "
                   "least %d bytes (for example %s=1G)",
                   VIRTIO_TMEM_MAX_SIZE_PROP, tmem->max_size,
                   TMEM_STORE_MIN_LIMIT, VIRTIO_TMEM_MAX_SIZE_PROP);
        return false;
    }
    /* 0: the host would not say */
    if (host_ram && tmem->max_size > host_ram) {
        g_autofree char *ram = size_to_str(host_ram);

        error_setg(errp, "property '%s' is %" PRIu64 " bytes, it must not be "
                   "more than the memory of the host, %" PRIu64 " bytes (%s)",
                   VIRTIO_TMEM_MAX_SIZE_PROP, tmem->max_size, host_ram, ram);
        return false;
    }
    if (tmem->min_size > tmem->max_size) {
        error_setg(errp, "property '%s' is %" PRIu64 " bytes, it must not be "
                   "more than '%s', %" PRIu64 " bytes",
                   VIRTIO_TMEM_MIN_SIZE_PROP, tmem->min_size,
                   VIRTIO_TMEM_MAX_SIZE_PROP, tmem->max_size);
        return false;
    }
    if (tmem->num_queues == VIRTIO_TMEM_AUTO_NUM_QUEUES) {
        tmem->num_queues = 1;
    }
    if (tmem->num_queues < 1 || tmem->num_queues > VIRTIO_TMEM_MAX_QUEUES) {
        error_setg(errp, "property '%s' is %" PRIu32 ", it must be from 1 to "
                   "%d", VIRTIO_TMEM_NUM_QUEUES_PROP, tmem->num_queues,
                   VIRTIO_TMEM_MAX_QUEUES);
        return false;
    }
    return true;
}

static bool virtio_tmem_parse_compression(VirtIOTMEM *tmem,
                                          TmemStoreConfig *config, Error **errp)
{
    static const char *const names[] = {
        [TMEM_COMPRESSION_LZ4] = "lz4",
        [TMEM_COMPRESSION_ZSTD] = "zstd",
        [TMEM_COMPRESSION_NONE] = "none",
    };
    const char *name = tmem->compression ?: names[TMEM_COMPRESSION_LZ4];
    int i;

    for (i = 0; i < ARRAY_SIZE(names) && strcmp(name, names[i]); i++) {
        continue;
    }
    if (i == ARRAY_SIZE(names)) {
        error_setg(errp, "property '%s' is '%s', it must be lz4, zstd or none",
                   VIRTIO_TMEM_COMPRESSION_PROP, name);
        return false;
    }
    if (tmem->compression_level > TMEM_ZSTD_LEVEL_MAX) {
        error_setg(errp, "property '%s' is %" PRIu32 ", it must be from 1 to "
                   "%d, or 0 for the default", VIRTIO_TMEM_LEVEL_PROP,
                   tmem->compression_level, TMEM_ZSTD_LEVEL_MAX);
        return false;
    }
    if (tmem->compression_level && i != TMEM_COMPRESSION_ZSTD) {
        error_setg(errp, "property '%s' is for %s=zstd only, not for %s",
                   VIRTIO_TMEM_LEVEL_PROP, VIRTIO_TMEM_COMPRESSION_PROP, name);
        return false;
    }
    config->compression = i;
    config->level = tmem->compression_level;
    return true;
}

static bool virtio_tmem_create_store(VirtIOTMEM *tmem, Error **errp)
{
    TmemStoreConfig config = {
        .max_size = tmem->max_size,
        .min_size = tmem->min_size,
        /* max-size can be raised to all that could be given to it */
        .span = qemu_get_host_physmem(),
        .pool_quota = DIV_ROUND_UP(tmem->pool_quota, TMEM_PAGE_SIZE),
        .lock_memory = tmem->lock_memory,
        .hugepages = tmem->hugepages,
        .checksum = tmem->checksum,
    };
    g_autoptr(GError) err = NULL;

    if (!virtio_tmem_parse_compression(tmem, &config, errp)) {
        return false;
    }
    tmem->store = tmem_store_new(&config, &err);
    if (!tmem->store) {
        error_setg(errp, "cannot make the page store: %s", err->message);
        return false;
    }
    tmem_store_set_lost(tmem->store, virtio_tmem_page_lost, tmem);
    tmem->target_pages = VIRTIO_TMEM_NO_TARGET;
    tmem->max_pages = tmem_store_capacity(tmem->store);
    return true;
}

/* "auto" is a wish: without PSI there is a store, but no pressure to follow. */
static bool virtio_tmem_create_worker(VirtIOTMEM *tmem, Error **errp)
{
    const char *pressure = tmem->pressure ?: "auto";
    g_autoptr(GError) err = NULL;

    tmem->worker = tmem_worker_new(tmem->store, pressure,
                                   virtio_tmem_worker_notify, tmem, &err);
    if (!tmem->worker && !strcmp(pressure, "auto")) {
        warn_report("virtio-tmem: the page store will not follow the memory "
                    "pressure of the host: %s", err->message);
        g_clear_error(&err);
        tmem->worker = tmem_worker_new(tmem->store, "off",
                                       virtio_tmem_worker_notify, tmem, &err);
    }
    if (!tmem->worker) {
        error_setg(errp, "property '%s': %s", VIRTIO_TMEM_PRESSURE_PROP,
                   err->message);
        return false;
    }
    return true;
}

static void virtio_tmem_destroy_store(VirtIOTMEM *tmem)
{
    /* In this order: the worker uses the store and schedules the bh */
    tmem_worker_free(tmem->worker);
    virtio_tmem_spill_cleanup(tmem);
    qemu_bh_delete(tmem->limit_bh);
    qemu_bh_delete(tmem->lost_bh);
    timer_free(tmem->target_timer);
    tmem_store_free(tmem->store);
    tmem->worker = NULL;
    tmem->store = NULL;
}

static void virtio_tmem_device_realize(DeviceState *dev, Error **errp)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(dev);
    VirtIOTMEM *tmem = VIRTIO_TMEM(dev);

    if (!virtio_tmem_check_properties(tmem, errp) ||
        !virtio_tmem_create_store(tmem, errp)) {
        return;
    }
    tmem->limit_bh = qemu_bh_new_guarded(virtio_tmem_limit_changed, tmem,
                                         &dev->mem_reentrancy_guard);
    tmem->lost_bh = qemu_bh_new_guarded(virtio_tmem_tell_lost, tmem,
                                        &dev->mem_reentrancy_guard);
    tmem->target_timer = timer_new_ms(QEMU_CLOCK_REALTIME,
                                      virtio_tmem_update_target, tmem);
    if (!virtio_tmem_spill_init(tmem, errp) ||
        !virtio_tmem_create_worker(tmem, errp)) {
        virtio_tmem_destroy_store(tmem);
        return;
    }

    virtio_init(vdev, VIRTIO_ID_TMEM, sizeof(struct virtio_tmem_config));
    if (!virtio_tmem_queues_init(tmem, errp)) {
        virtio_cleanup(vdev);
        virtio_tmem_destroy_store(tmem);
        return;
    }
    virtio_tmem_migration_init(tmem);
}

static void virtio_tmem_device_unrealize(DeviceState *dev)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(dev);
    VirtIOTMEM *tmem = VIRTIO_TMEM(dev);

    virtio_tmem_migration_cleanup(tmem);
    virtio_tmem_queues_cleanup(tmem);
    virtio_cleanup(vdev);
    virtio_tmem_destroy_store(tmem);
}

/* max-size and min-size: the store has them once the device is realized */
static void virtio_tmem_get_size(Object *obj, Visitor *v, const char *name,
                                 void *opaque, Error **errp)
{
    VirtIOTMEM *tmem = VIRTIO_TMEM(obj);
    uint64_t *size = strcmp(name, VIRTIO_TMEM_MAX_SIZE_PROP) ? &tmem->min_size
                                                             : &tmem->max_size;

    visit_type_size(v, name, size, errp);
}

static void virtio_tmem_set_size(Object *obj, Visitor *v, const char *name,
                                 void *opaque, Error **errp)
{
    VirtIOTMEM *tmem = VIRTIO_TMEM(obj);
    uint64_t old_max = tmem->max_size, old_min = tmem->min_size;
    uint64_t *size = strcmp(name, VIRTIO_TMEM_MAX_SIZE_PROP) ? &tmem->min_size
                                                             : &tmem->max_size;
    g_autoptr(GError) err = NULL;
    uint64_t value;

    if (!visit_type_size(v, name, &value, errp)) {
        return;
    }
    *size = value;
    if (!tmem->store) {
        /* realize() will look at it */
        return;
    }
    if (!virtio_tmem_check_properties(tmem, errp)) {
        goto restore;
    }
    if (!tmem_store_set_size(tmem->store, tmem->min_size, tmem->max_size,
                             &err)) {
        error_setg(errp, "property '%s': %s", name, err->message);
        goto restore;
    }
    tmem_worker_kick(tmem->worker);
    virtio_tmem_limit_changed(tmem);
    return;

restore:
    tmem->max_size = old_max;
    tmem->min_size = old_min;
}

static const VMStateDescription vmstate_virtio_tmem = {
    .name = "virtio-tmem",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_VIRTIO_DEVICE,
        VMSTATE_END_OF_LIST()
    },
};

static const Property virtio_tmem_properties[] = {
    DEFINE_PROP_UINT32(VIRTIO_TMEM_NUM_QUEUES_PROP, VirtIOTMEM, num_queues,
                       VIRTIO_TMEM_AUTO_NUM_QUEUES),
    DEFINE_PROP_STRING(VIRTIO_TMEM_COMPRESSION_PROP, VirtIOTMEM, compression),
    DEFINE_PROP_UINT32(VIRTIO_TMEM_LEVEL_PROP, VirtIOTMEM, compression_level,
                       0),
    DEFINE_PROP_STRING(VIRTIO_TMEM_PRESSURE_PROP, VirtIOTMEM, pressure),
    DEFINE_PROP_SIZE("pool-quota", VirtIOTMEM, pool_quota, 0),
    DEFINE_PROP_BOOL("lock-memory", VirtIOTMEM, lock_memory, false),
    DEFINE_PROP_BOOL("hugepages", VirtIOTMEM, hugepages, false),
    DEFINE_PROP_BOOL("checksum", VirtIOTMEM, checksum, false),
    DEFINE_PROP_DRIVE(VIRTIO_TMEM_SPILL_PROP, VirtIOTMEM, spill_blk),
    DEFINE_PROP_LINK("iothread", VirtIOTMEM, iothread, TYPE_IOTHREAD,
                     IOThread *),
    DEFINE_PROP_IOTHREAD_VQ_MAPPING_LIST("iothread-vq-mapping", VirtIOTMEM,
                                         iothread_vq_mapping_list),
    DEFINE_PROP_BIT64("ephemeral", VirtIOTMEM, host_features,
                      VIRTIO_TMEM_F_EPHEMERAL, true),
    DEFINE_PROP_BIT64("reserve", VirtIOTMEM, host_features,
                      VIRTIO_TMEM_F_RESERVE, true),
    DEFINE_PROP_BIT64("exclusive-get", VirtIOTMEM, host_features,
                      VIRTIO_TMEM_F_EXCLUSIVE_GET, true),
    DEFINE_PROP_BIT64("target", VirtIOTMEM, host_features,
                      VIRTIO_TMEM_F_TARGET, true),
    DEFINE_PROP_BIT64("stats", VirtIOTMEM, host_features,
                      VIRTIO_TMEM_F_STATS, true),
};

static void virtio_tmem_class_init(ObjectClass *klass, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(klass);
    VirtioDeviceClass *vdc = VIRTIO_DEVICE_CLASS(klass);

    device_class_set_props(dc, virtio_tmem_properties);
    object_class_property_add(klass, VIRTIO_TMEM_MAX_SIZE_PROP, "size",
                              virtio_tmem_get_size, virtio_tmem_set_size,
                              NULL, NULL);
    object_class_property_set_description(klass, VIRTIO_TMEM_MAX_SIZE_PROP,
        "most memory that the page store may take (also at run time)");
    object_class_property_add(klass, VIRTIO_TMEM_MIN_SIZE_PROP, "size",
                              virtio_tmem_get_size, virtio_tmem_set_size,
                              NULL, NULL);
    object_class_property_set_description(klass, VIRTIO_TMEM_MIN_SIZE_PROP,
        "memory that it may take under any pressure (also at run time)");
    dc->vmsd = &vmstate_virtio_tmem;
    dc->desc = "Transcendent memory: guest swap in compressed host memory";
    set_bit(DEVICE_CATEGORY_MISC, dc->categories);

    vdc->vmsd = &vmstate_virtio_tmem_device;
    vdc->realize = virtio_tmem_device_realize;
    vdc->unrealize = virtio_tmem_device_unrealize;
    vdc->get_config = virtio_tmem_get_config;
    vdc->get_features = virtio_tmem_get_features;
    vdc->set_status = virtio_tmem_set_status;
    vdc->reset = virtio_tmem_reset;
    vdc->queue_reset = virtio_tmem_queue_reset;
    vdc->queue_enable = virtio_tmem_queue_enable;
    vdc->start_ioeventfd = virtio_tmem_start_ioeventfd;
    vdc->stop_ioeventfd = virtio_tmem_stop_ioeventfd;
}

static void virtio_tmem_finalize(Object *obj)
{
    virtio_tmem_queues_free(VIRTIO_TMEM(obj));
}

static const TypeInfo virtio_tmem_info = {
    .name = TYPE_VIRTIO_TMEM,
    .parent = TYPE_VIRTIO_DEVICE,
    .instance_size = sizeof(VirtIOTMEM),
    .instance_finalize = virtio_tmem_finalize,
    .class_init = virtio_tmem_class_init,
};

static void virtio_tmem_register_types(void)
{
    type_register_static(&virtio_tmem_info);
}

type_init(virtio_tmem_register_types)
