/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Virtio transcendent memory (tmem) driver: what the frontswap front end does of
 * itself, and for which it has to know the swap core's own structures: write-back
 * to the disk of a swap area, and self-shrinking. None of it is exported, so there
 * is none of it in a module.
 */
#ifndef _DRIVERS_VIRTIO_TMEM_SWAPCORE_H
#define _DRIVERS_VIRTIO_TMEM_SWAPCORE_H

#include <linux/bio.h>
#include <linux/list.h>
#include <linux/workqueue.h>

#include "virtio_tmem_area.h"
#include "virtio_tmem_writeback.h"

/* A swap area of the swap core's */
struct virtio_tmem_swap_area {
	struct virtio_tmem_area *area;
	unsigned int type;
	/* on_disk is NULL where there is no write-back */
	struct virtio_tmem_writeback wb;
	struct bio_set bios;

	struct list_head node;
	struct delayed_work shrink_work;
	unsigned long shrink_hand;	/* slot to be looked at next */
};

/* Forget the page of a slot, wherever it is. As virtio_tmem_area_drop(). */
void virtio_tmem_swap_area_drop(struct virtio_tmem_swap_area *sa,
				unsigned long slot);

/*
 * The guest has the only copy of the page from now on, in the swap cache. Called
 * with the page locked. Return: whether the host had it.
 */
bool virtio_tmem_give_up(struct virtio_tmem_swap_area *sa, unsigned long slot,
			 struct page *page);

#ifndef MODULE
/* Slots of a swap area */
unsigned long virtio_tmem_swapcore_slots(unsigned int type);

/*
 * Begin with an area, when there is one / end, when nobody uses it any more. Both
 * may sleep. Return: 0 or -ENOMEM.
 */
int virtio_tmem_swapcore_init(struct virtio_tmem_swap_area *sa);
void virtio_tmem_swapcore_exit(struct virtio_tmem_swap_area *sa);
#else
static inline int virtio_tmem_swapcore_init(struct virtio_tmem_swap_area *sa)
{
	return 0;
}

static inline void virtio_tmem_swapcore_exit(struct virtio_tmem_swap_area *sa)
{
}
#endif

#endif /* _DRIVERS_VIRTIO_TMEM_SWAPCORE_H */
