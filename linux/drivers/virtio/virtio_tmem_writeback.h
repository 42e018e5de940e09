/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Virtio transcendent memory (tmem) driver: write-back, which gives pages of the
 * host to a disk of the guest. Both front ends use it: the one for frontswap with
 * the disk of the swap area, the swap device with its backing device.
 */
#ifndef _DRIVERS_VIRTIO_TMEM_WRITEBACK_H
#define _DRIVERS_VIRTIO_TMEM_WRITEBACK_H

#include <linux/bio.h>
#include <linux/rwsem.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "virtio_tmem_area.h"

#define VT_SECTORS_SHIFT	(PAGE_SHIFT - SECTOR_SHIFT)

struct virtio_tmem_writeback;

/* What a front end knows of the disk behind its slots */
struct virtio_tmem_wb_ops {
	/* Return: the disk, which stays until release; NULL: not now */
	struct block_device *(*hold)(struct virtio_tmem_writeback *wb);
	void (*release)(struct virtio_tmem_writeback *wb);
	/* Where on it the page of a slot belongs. Between hold and release. */
	sector_t (*sector)(struct virtio_tmem_writeback *wb, unsigned long slot,
			   struct page *page);
};

/* The slots of an area, and a cluster of them on its way to the disk */
struct virtio_tmem_writeback {
	const struct virtio_tmem_wb_ops *ops;
	struct virtio_tmem_area *area;
	struct bio_set *bios;
	/* Bit n: the page of slot n is on the disk, and not on the host */
	unsigned long *on_disk;
	u32 *stamps;			/* by cluster: when a page was put last */
	struct page *pages[VT_CLUSTER_SIZE];
	struct delayed_work work;
	bool stopped;
	unsigned long nr_moved;		/* pages, by the worker */
	wait_queue_head_t idle;		/* nothing is busy, or something else */
	/*
	 * Held for reading while slots are read or written, for writing when
	 * pages of them change sides. Nothing is allocated then.
	 */
	struct rw_semaphore move_lock;
	/* Protects what follows. Any context. Inside move_lock. */
	spinlock_t lock;
	unsigned long first;		/* slot of bit 0 */
	u64 busy;			/* bit n: slot first + n is on its way */
	u64 valid;			/* of these: not freed or written since */
};

/* Work of the front ends beside others' reads and writes */
extern struct workqueue_struct *virtio_tmem_wb_wq;

/* Before and after all else. Return: 0 or -ENOMEM. */
int virtio_tmem_wb_module_init(void);
void virtio_tmem_wb_module_exit(void);

/* Before anything else */
void virtio_tmem_wb_init(struct virtio_tmem_writeback *wb,
			 const struct virtio_tmem_wb_ops *ops,
			 struct bio_set *bios);

/* Memory to write with: VT_CLUSTER_SIZE pages. Return: 0 or -ENOMEM. */
int virtio_tmem_wb_alloc_pages(struct virtio_tmem_writeback *wb);
void virtio_tmem_wb_free_pages(struct virtio_tmem_writeback *wb);

/* Memory for some bits and words of each slot / and free it. Return: as above. */
int virtio_tmem_wb_alloc_slots(struct virtio_tmem_writeback *wb,
			       unsigned long nr_slots);
void virtio_tmem_wb_free_slots(struct virtio_tmem_writeback *wb);

/*
 * Write back, if the device has more pages than it wants to hold. Does not wait
 * for it. The area must be there until virtio_tmem_wb_stop().
 */
void virtio_tmem_wb_start(struct virtio_tmem_writeback *wb);

/* Wait for its end: there is nothing on its way from here on. May sleep. */
void virtio_tmem_wb_stop(struct virtio_tmem_writeback *wb);

/*
 * A slot gets a new page: the one that is on its way, if so, is out of date.
 *
 * Return: whether one is on its way. What it writes to the disk could arrive
 * after anything that is written there now.
 */
bool virtio_tmem_wb_forget(struct virtio_tmem_writeback *wb, unsigned long slot);

/* Wait until these slots are not on their way. Without move_lock; may sleep. */
void virtio_tmem_wb_wait(struct virtio_tmem_writeback *wb, unsigned long slot,
			 unsigned long nr);

/* Note when slots are put, to find the cold ones */
void virtio_tmem_wb_touch(struct virtio_tmem_writeback *wb, unsigned long slot);

/* The page of a slot is of no use any more, wherever it is. Any context. */
void virtio_tmem_wb_drop(struct virtio_tmem_writeback *wb, unsigned long slot);

#endif /* _DRIVERS_VIRTIO_TMEM_WRITEBACK_H */
