/*
 * Virtio transcendent memory (tmem) device: QMP commands
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "hw/virtio/virtio-tmem.h"
#include "qapi/qapi-commands-tmem.h"

static int virtio_tmem_add_info(Object *obj, void *opaque)
{
    TmemInfoList ***tail = opaque;
    VirtIOTMEM *tmem = (VirtIOTMEM *)object_dynamic_cast(obj, TYPE_VIRTIO_TMEM);

    if (tmem && DEVICE(tmem)->realized) {
        QAPI_LIST_APPEND(*tail, virtio_tmem_get_info(tmem));
    }
    return 0;
}

TmemInfoList *qmp_query_tmem(Error **errp)
{
    TmemInfoList *list = NULL;
    TmemInfoList **tail = &list;

    object_child_foreach_recursive(object_get_root(), virtio_tmem_add_info,
                                   &tail);
    return list;
}
