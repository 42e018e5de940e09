/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Virtio transcendent memory (tmem) driver: differences between kernels.
 *
 * The driver is written for the API of the kernel whose tree it is in (6.1),
 * and this header brings that API to the others, so that one source builds on
 * 5.10 to 7.2. The code above reads as if there were one kernel. To send the
 * driver upstream, delete this header and the lines that include it; what is
 * under "#ifdef MODULE" in the frontswap front end goes with it.
 *
 * Which API a kernel has is not told by its version: vendors take parts of later
 * ones. The Kbuild of the module (packaging/dkms) looks into the headers that it
 * is built against and defines VIRTIO_TMEM_OUT_OF_TREE, and VT_HAVE_... for each
 * of those below that is there. In the tree, all are.
 */
#ifndef _DRIVERS_VIRTIO_TMEM_COMPAT_H
#define _DRIVERS_VIRTIO_TMEM_COMPAT_H

#include <linux/highmem.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>

#ifndef VIRTIO_TMEM_OUT_OF_TREE
#define VT_HAVE_KMAP_LOCAL_PAGE		/* since 5.11 */
#define VT_HAVE_VIRTIO_RESET_DEVICE	/* since 5.17 */
#define VT_HAVE_FRONTSWAP_RESULT	/* since 5.17 */
#define VT_HAVE_FRONTSWAP_LOAD_ERROR	/* linux/patches/0002 */
#define VT_HAVE_SWAP_BASE_PAGES		/* linux/patches/0003 */
#endif

#ifndef VT_HAVE_KMAP_LOCAL_PAGE
#ifdef CONFIG_HIGHMEM
#error "This kernel is too old for a machine with high memory: 5.11 is needed"
#endif
#define kmap_local_page(page)	page_address(page)
#define kunmap_local(addr)	((void)(addr))
#endif

#ifndef VT_HAVE_VIRTIO_RESET_DEVICE
static inline void virtio_reset_device(struct virtio_device *vdev)
{
	vdev->config->reset(vdev);
}
#endif

#ifdef VT_HAVE_VIRTQUEUE_INFO	/* since 6.11 */
/* One array instead of two. @nvqs is the number of queues that are wanted. */
static inline int vt_find_vqs(struct virtio_device *vdev, unsigned int nvqs,
			      struct virtqueue *vqs[],
			      vq_callback_t *callbacks[],
			      const char * const names[],
			      struct irq_affinity *desc)
{
	struct virtqueue_info *info;
	unsigned int i;
	int err;

	info = kcalloc(nvqs, sizeof(*info), GFP_KERNEL);
	if (!info)
		return -ENOMEM;
	for (i = 0; i < nvqs; i++) {
		info[i].callback = callbacks[i];
		info[i].name = names[i];
	}
	/* Names and callbacks are copied: nobody keeps the array */
	err = virtio_find_vqs(vdev, nvqs, vqs, info, desc);
	kfree(info);
	return err;
}

#define virtio_find_vqs(vdev, nvqs, vqs, callbacks, names, desc) \
	vt_find_vqs(vdev, nvqs, vqs, callbacks, names, desc)
#endif

#ifdef CONFIG_VIRTIO_TMEM_FRONTSWAP
#include <linux/frontswap.h>
#include <linux/jump_label.h>
#include <linux/swap.h>
#include <linux/swap_slots.h>

/*
 * Once, any number of backends could register; what one does not take or have, the
 * next is asked for. The list of them goes through their operations.
 */
static inline bool vt_frontswap_is_shared(void)
{
#ifdef VT_HAVE_FRONTSWAP_RESULT
	return false;
#else
	return true;
#endif
}

#ifndef VT_HAVE_FRONTSWAP_RESULT
static inline int vt_frontswap_register_ops(const struct frontswap_ops *ops)
{
	static struct frontswap_ops copy;

	copy = *ops;
	frontswap_register_ops(&copy);
	return 0;
}

#define frontswap_register_ops(ops)	vt_frontswap_register_ops(ops)
#endif

#ifndef VT_HAVE_SWAP_BASE_PAGES
/* Huge pages go to the disk then: nobody asks this */
static __maybe_unused DEFINE_STATIC_KEY_FALSE(swap_base_pages_key);
#endif

#ifdef MODULE
/* Not exported. What is free tells as well whether a swap area is on. */
#define total_swap_pages	get_nr_swap_pages()
#endif
#endif

#endif /* _DRIVERS_VIRTIO_TMEM_COMPAT_H */
