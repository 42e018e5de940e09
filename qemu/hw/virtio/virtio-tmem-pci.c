/*
 * Virtio transcendent memory (tmem) device: PCI proxy
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "hw/qdev-properties.h"
#include "hw/virtio/virtio-pci.h"
#include "hw/virtio/virtio-tmem.h"
#include "qemu/module.h"
#include "qom/object.h"
#include "standard-headers/linux/virtio_tmem.h"

typedef struct VirtIOTMEMPCI VirtIOTMEMPCI;

#define TYPE_VIRTIO_TMEM_PCI "virtio-tmem-pci"
DECLARE_INSTANCE_CHECKER(VirtIOTMEMPCI, VIRTIO_TMEM_PCI,
                         TYPE_VIRTIO_TMEM_PCI)

struct VirtIOTMEMPCI {
    VirtIOPCIProxy parent_obj;
    VirtIOTMEM vdev;
};

static const Property virtio_tmem_pci_properties[] = {
    /*
     * Off, unlike for most devices: the driver waits for its answer, and
     * handing the request over to another thread costs more than serving it
     * in the vCPU thread that made the notification.
     */
    DEFINE_PROP_BIT("ioeventfd", VirtIOPCIProxy, flags,
                    VIRTIO_PCI_FLAG_USE_IOEVENTFD_BIT, false),
    DEFINE_PROP_UINT32("vectors", VirtIOPCIProxy, nvectors,
                       DEV_NVECTORS_UNSPECIFIED),
};

static void virtio_tmem_pci_realize(VirtIOPCIProxy *vpci_dev, Error **errp)
{
    VirtIOTMEMPCI *dev = VIRTIO_TMEM_PCI(vpci_dev);
    VirtIOTMEM *tmem = &dev->vdev;

    if (tmem->num_queues == VIRTIO_TMEM_AUTO_NUM_QUEUES) {
        tmem->num_queues = MIN(virtio_pci_optimal_num_queues(0),
                               VIRTIO_TMEM_MAX_QUEUES);
    }
    if (vpci_dev->nvectors == DEV_NVECTORS_UNSPECIFIED) {
        /* One for each queue and one for configuration changes */
        vpci_dev->nvectors = MIN(tmem->num_queues, VIRTIO_TMEM_MAX_QUEUES) + 1;
    }

    virtio_pci_force_virtio_1(vpci_dev);
    qdev_realize(DEVICE(tmem), BUS(&vpci_dev->bus), errp);
}

static void virtio_tmem_pci_class_init(ObjectClass *klass, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(klass);
    VirtioPCIClass *k = VIRTIO_PCI_CLASS(klass);
    PCIDeviceClass *pcidev_k = PCI_DEVICE_CLASS(klass);

    k->realize = virtio_tmem_pci_realize;
    device_class_set_props(dc, virtio_tmem_pci_properties);
    set_bit(DEVICE_CATEGORY_MISC, dc->categories);
    pcidev_k->class_id = PCI_CLASS_OTHERS;
    /*
     * Unplugging would take pages away that the guest still needs. (A guest
     * that turns off the slot of a PCIe port does that to itself.)
     */
    dc->hotpluggable = false;
}

static void virtio_tmem_pci_instance_init(Object *obj)
{
    VirtIOTMEMPCI *dev = VIRTIO_TMEM_PCI(obj);

    virtio_instance_init_common(obj, &dev->vdev, sizeof(dev->vdev),
                                TYPE_VIRTIO_TMEM);
}

static const VirtioPCIDeviceTypeInfo virtio_tmem_pci_info = {
    .generic_name = TYPE_VIRTIO_TMEM_PCI,
    .instance_size = sizeof(VirtIOTMEMPCI),
    .instance_init = virtio_tmem_pci_instance_init,
    .class_init = virtio_tmem_pci_class_init,
};

static void virtio_tmem_pci_register(void)
{
    virtio_pci_types_register(&virtio_tmem_pci_info);
}

type_init(virtio_tmem_pci_register)
