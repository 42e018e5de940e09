/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A virtio-tmem device that lies, for tests of drivers
 *
 * qemu-evil-x86_64 is qemu-system-x86_64 with this file, which gets between the
 * files of the device by the linker's --wrap: nothing of it is in the device or
 * in any other program. The device does what it is asked to, and then lies as
 * its property x-evil says, at run time:
 *
 *   qom-set path=/machine/peripheral/ID/virtio-backend property=x-evil
 *
 * to "REQUEST FIELD=VALUE...", to "config FIELD=VALUE...", or "" for the truth.
 *
 *   REQUEST  any, create, destroy, put, get, flush, reserve, stats; or some
 *            of them, with "," in between
 *   FIELD    status, done, failed, reservations, value: of the response
 *            used, id: of the entry in the used ring
 *            ahead: entries that the used index is ahead of the truth
 *            idle=1: nothing is done; only what is lied about is written
 *            flip=N: byte N of each page that is given, in each bit
 *            storm=1: each request changes the configuration, it says
 *            every=N: only in one of N requests
 *            page_shift, num_queues, max_pages, target_pages: of "config"
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/cutils.h"
#include "qemu/iov.h"
#include "exec/memory.h"
#include "hw/virtio/virtio-tmem.h"
#include "hw/virtio/virtio-tmem-internal.h"
#include "standard-headers/linux/virtio_ring.h"
#include "standard-headers/linux/virtio_tmem.h"
#include "tmem-evil.h"

typedef enum Field {
    STATUS, DONE, FAILED, RESERVATIONS, VALUE,
    USED, ID, AHEAD, IDLE, FLIP, STORM, EVERY,
    PAGE_SHIFT, NUM_QUEUES, MAX_PAGES, TARGET_PAGES,
    NUM_FIELDS,
} Field;

static const char *const field_names[NUM_FIELDS] = {
    "status", "done", "failed", "reservations", "value",
    "used", "id", "ahead", "idle", "flip", "storm", "every",
    "page_shift", "num_queues", "max_pages", "target_pages",
};

/* By type */
static const char *const request_names[] = {
    "create", "destroy", "put", "get", "flush", "reserve", "stats", "any",
    "config",
};

#define ANY (1u << 7)

typedef struct Lie {
    char *text;
    uint32_t requests;       /* bits by type, or ANY */
    uint32_t fields;         /* those that are lied about */
    uint64_t value[NUM_FIELDS];
} Lie;

/* Of all devices; the old one is never freed, as it may be in use */
static Lie *lie;
static unsigned seen;
static void (*honest_config)(VirtIODevice *vdev, uint8_t *config);
static VirtIOTMEM *devices[4];

static bool lies(const Lie *l, Field field)
{
    return l && l->fields & (1u << field);
}

/* The lie for a request, or NULL */
static const Lie *lie_about(const VirtQueueElement *elem)
{
    const Lie *l = qatomic_read(&lie);
    uint8_t type;

    if (!l || !iov_to_buf(elem->out_sg, elem->out_num, 0, &type, 1) ||
        (!(l->requests & ANY) && (type > 31 || !(l->requests >> type & 1))) ||
        (lies(l, EVERY) && qatomic_fetch_inc(&seen) % l->value[EVERY])) {
        return NULL;
    }
    return l;
}

static void lie_in_response(const Lie *l, VirtQueueElement *elem)
{
    struct virtio_tmem_resp resp;

    iov_to_buf(elem->in_sg, elem->in_num, 0, &resp, sizeof(resp));
    if (lies(l, STATUS)) {
        resp.status = l->value[STATUS];
    }
    if (lies(l, DONE)) {
        resp.done = cpu_to_le32(l->value[DONE]);
    }
    if (lies(l, FAILED)) {
        resp.failed = cpu_to_le32(l->value[FAILED]);
    }
    if (lies(l, RESERVATIONS)) {
        resp.reservations = cpu_to_le32(l->value[RESERVATIONS]);
    }
    if (lies(l, VALUE)) {
        resp.value = cpu_to_le64(l->value[VALUE]);
    }
    iov_from_buf(elem->in_sg, elem->in_num, 0, &resp, sizeof(resp));
}

static void lie_in_pages(const Lie *l, VirtQueueElement *elem)
{
    size_t offset = sizeof(struct virtio_tmem_resp) +
                    l->value[FLIP] % TMEM_PAGE_SIZE;
    uint8_t byte;

    for (; iov_to_buf(elem->in_sg, elem->in_num, offset, &byte, 1) == 1;
         offset += TMEM_PAGE_SIZE) {
        byte = ~byte;
        iov_from_buf(elem->in_sg, elem->in_num, offset, &byte, 1);
    }
}

bool __wrap_virtio_tmem_serve(VirtIOTMEMQueue *q, VirtQueueElement *elem,
                              size_t *used_len)
{
    const Lie *l = lie_about(elem);

    if (lies(l, IDLE)) {
        *used_len = sizeof(struct virtio_tmem_resp);
    } else if (!__real_virtio_tmem_serve(q, elem, used_len)) {
        return false;
    }
    if (l) {
        lie_in_response(l, elem);
    }
    if (lies(l, FLIP)) {
        lie_in_pages(l, elem);
    }
    if (lies(l, USED)) {
        *used_len = l->value[USED];
    }
    if (lies(l, ID)) {
        elem->index = l->value[ID];
    }
    return true;
}

/* Of which device the queue is; NULL: it has nothing to do with this */
static VirtIODevice *find_device(VirtQueue *vq)
{
    unsigned index = virtio_get_queue_index(vq), i;

    for (i = 0; i < ARRAY_SIZE(devices); i++) {
        if (devices[i] && index < devices[i]->num_queues &&
            devices[i]->queues[index].vq == vq) {
            return VIRTIO_DEVICE(devices[i]);
        }
    }
    return NULL;
}

/* All devices use it: the others are left alone. */
void __wrap_virtqueue_push(VirtQueue *vq, const VirtQueueElement *elem,
                           unsigned int len)
{
    VirtIODevice *vdev = find_device(vq);
    const Lie *l = qatomic_read(&lie);
    hwaddr idx;

    __real_virtqueue_push(vq, elem, len);
    if (vdev && lies(l, AHEAD)) {
        idx = virtio_queue_get_used_addr(vdev, virtio_get_queue_index(vq)) +
              offsetof(struct vring_used, idx);
        address_space_stw_le(vdev->dma_as, idx,
                             address_space_lduw_le(vdev->dma_as, idx,
                                                   MEMTXATTRS_UNSPECIFIED,
                                                   NULL) + l->value[AHEAD],
                             MEMTXATTRS_UNSPECIFIED, NULL);
    }
    if (vdev && lies(l, STORM)) {
        virtio_notify_config(vdev);
    }
}

static void evil_config(VirtIODevice *vdev, uint8_t *data)
{
    struct virtio_tmem_config *config = (void *)data;
    const Lie *l = qatomic_read(&lie);

    honest_config(vdev, data);
    if (lies(l, PAGE_SHIFT)) {
        config->page_shift = l->value[PAGE_SHIFT];
    }
    if (lies(l, NUM_QUEUES)) {
        config->num_queues = cpu_to_le32(l->value[NUM_QUEUES]);
    }
    if (lies(l, MAX_PAGES)) {
        config->max_pages = cpu_to_le64(l->value[MAX_PAGES]);
    }
    if (lies(l, TARGET_PAGES)) {
        config->target_pages = cpu_to_le64(l->value[TARGET_PAGES]);
    }
}

static bool parse_field(Lie *new, const char *text, Error **errp)
{
    const char *equals = strchr(text, '=');
    unsigned i;

    for (i = 0; equals && i < NUM_FIELDS; i++) {
        if (strlen(field_names[i]) == equals - text &&
            !strncmp(field_names[i], text, equals - text) &&
            !qemu_strtou64(equals + 1, NULL, 0, &new->value[i])) {
            new->fields |= 1u << i;
            return true;
        }
    }
    error_setg(errp, "'%s' is no field of virtio-tmem with a value", text);
    return false;
}

static bool parse_requests(Lie *new, const char *text, Error **errp)
{
    g_auto(GStrv) names = g_strsplit(text, ",", -1);
    unsigned i, n;

    for (n = 0; names[n]; n++) {
        i = 0;
        while (i < ARRAY_SIZE(request_names) &&
               strcmp(names[n], request_names[i])) {
            i++;
        }
        if (i == ARRAY_SIZE(request_names)) {
            error_setg(errp, "'%s' is no request of virtio-tmem", names[n]);
            return false;
        }
        new->requests |= 1u << i;
    }
    return true;
}

static void set_evil(Object *obj, const char *text, Error **errp)
{
    g_auto(GStrv) words = g_strsplit(text, " ", -1);
    Lie *new = NULL;
    unsigned i;

    if (words[0]) {
        new = g_new0(Lie, 1);
        if (!parse_requests(new, words[0], errp)) {
            return;
        }
        new->text = g_strdup(text);
        for (i = 1; words[i]; i++) {
            if (!parse_field(new, words[i], errp)) {
                return;
            }
        }
    }
    qatomic_set(&lie, new);
    if (new && (new->fields & (1u << TARGET_PAGES))) {
        virtio_notify_config(VIRTIO_DEVICE(obj));
    }
}

static char *get_evil(Object *obj, Error **errp)
{
    const Lie *l = qatomic_read(&lie);

    return g_strdup(l ? l->text : "");
}

/* A device comes to be. */
bool __wrap_virtio_tmem_queues_init(VirtIOTMEM *tmem, Error **errp)
{
    VirtioDeviceClass *vdc = VIRTIO_DEVICE_GET_CLASS(tmem);
    unsigned i = 0;

    while (i < ARRAY_SIZE(devices) && devices[i]) {
        i++;
    }
    if (i == ARRAY_SIZE(devices)) {
        error_setg(errp, "at most %zu devices can lie", ARRAY_SIZE(devices));
        return false;
    }
    devices[i] = tmem;
    if (vdc->get_config != evil_config) {
        honest_config = vdc->get_config;
        vdc->get_config = evil_config;
    }
    object_property_add_str(OBJECT(tmem), "x-evil", get_evil, set_evil);
    return __real_virtio_tmem_queues_init(tmem, errp);
}
