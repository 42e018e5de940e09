/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Virtio transcendent memory (tmem) driver: swap areas, which is what the front
 * ends have in common.
 *
 * A slot's page is kept in the guest when it repeats one word, else put on the
 * host. For one slot the caller must not run two of store, load and drop at the
 * same time, as for pools: see virtio_tmem.h.
 */
#ifndef _DRIVERS_VIRTIO_TMEM_AREA_H
#define _DRIVERS_VIRTIO_TMEM_AREA_H

#include <linux/types.h>
#include <linux/xarray.h>

#include "virtio_tmem.h"

struct virtio_tmem_area {
	struct virtio_tmem_pool *pool;
	unsigned long nr_slots;
	char name[20];			/* for messages: "swap area 0" */
	/* Bit n: the page of slot n is on the host */
	unsigned long *on_host;
	/* The words of same-filled pages, as value entries, by slot */
	struct xarray same_filled;
	/* Until then (jiffies) a host that had no room is not asked again */
	unsigned long full_until;
	bool full;
	/* The device's, for all of its areas */
	struct virtio_tmem_target *target;
};

/**
 * virtio_tmem_area_create() - make an empty swap area
 * @vt: the device that is to hold its pages
 * @nr_slots: slots are from 0 to this, exclusive
 * @name: what messages call it
 *
 * May sleep, and allocates with GFP_KERNEL.
 *
 * Return: the area, or an ERR_PTR as of virtio_tmem_pool_create().
 */
struct virtio_tmem_area *virtio_tmem_area_create(struct virtio_tmem *vt,
						 unsigned long nr_slots,
						 const char *name);

/* Drop an area and all that it holds; NULL is allowed. May sleep. */
void virtio_tmem_area_destroy(struct virtio_tmem_area *area);

/**
 * virtio_tmem_area_store() - keep the page of a slot, replacing what it had
 * @area: the area
 * @slot: the slot
 * @page: a page that nobody writes to until this returns
 *
 * May sleep. Never allocates from the reserves, nor recurses into reclaim.
 * Whatever it returns, an older page of the slot is never loaded again.
 *
 * Return: 0; an error of virtio_tmem_put().
 */
int virtio_tmem_area_store(struct virtio_tmem_area *area, unsigned long slot,
			   struct page *page);

/**
 * virtio_tmem_area_load() - bring back the page of a slot; the slot keeps it
 * @area: the area
 * @slot: the slot
 * @page: where to; its contents are undefined unless 0 is returned
 *
 * May sleep; allocates nothing.
 *
 * Return: 0; -ENODATA when the slot has no page; another error when it had one
 * that cannot be got, see virtio_tmem_area_lost().
 */
int virtio_tmem_area_load(struct virtio_tmem_area *area, unsigned long slot,
			  struct page *page);

/**
 * virtio_tmem_area_lost() - give up the page of a slot
 * @area: the area
 * @slot: the slot
 * @err: what loading it has returned
 *
 * Says so in the log. While the guest reboots it waits, so that nobody is hurt by a
 * device that has gone first: to be called without locks that others need.
 *
 * Return: -EIO
 */
int virtio_tmem_area_lost(struct virtio_tmem_area *area, unsigned long slot,
			  int err);

/**
 * virtio_tmem_area_store_many() - keep pages that follow each other
 * @area: the area
 * @slot: the slot of the first page
 * @page: the first page; the others follow it in its folio
 * @nr: pages, as for virtio_tmem_put_many()
 *
 * As virtio_tmem_area_store(), without a copy in the guest.
 *
 * Return: how many are kept, from the first on. Of the others no older page is
 * left; some may be kept as well, and are to be dropped.
 */
unsigned int virtio_tmem_area_store_many(struct virtio_tmem_area *area,
					 unsigned long slot, struct page *page,
					 unsigned int nr);

/**
 * virtio_tmem_area_load_many() - bring back pages that follow each other
 * @area: the area
 * @slot: the slot of the first page
 * @page: where to; the others follow it in its folio
 * @nr: pages, as for virtio_tmem_put_many()
 *
 * Return: 0; -ENODATA when one of the slots has no page on the host, or one cannot
 * be got: load them one by one; another error when the device is gone.
 */
int virtio_tmem_area_load_many(struct virtio_tmem_area *area,
			       unsigned long slot, struct page *page,
			       unsigned int nr);

/**
 * virtio_tmem_area_drop() - forget the page of a slot, if it has one
 * @area: the area
 * @slot: the slot
 *
 * Any context but NMI: takes spinlocks with interrupts off, never sleeps.
 */
void virtio_tmem_area_drop(struct virtio_tmem_area *area, unsigned long slot);

#endif /* _DRIVERS_VIRTIO_TMEM_AREA_H */
