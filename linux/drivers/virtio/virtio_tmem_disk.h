/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Virtio transcendent memory (tmem) driver: what the files of the swap device
 * front end share: the disk, and what differs between kernels (virtio_tmem_blk.h).
 */
#ifndef _DRIVERS_VIRTIO_TMEM_DISK_H
#define _DRIVERS_VIRTIO_TMEM_DISK_H

#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/kref.h>
#include <linux/mutex.h>
#include <linux/workqueue.h>

#include "virtio_tmem_area.h"
#include "virtio_tmem_compat.h"
#include "virtio_tmem_writeback.h"

/* The backing device, held open exclusively */
struct virtio_tmem_bdev {
	struct block_device *bdev;
	struct file *file;		/* where the kernel has one for it */
	char path[64];
};

struct virtio_tmem_disk {
	struct kref ref;		/* the device's, and one for each opening */
	struct virtio_tmem *vt;
	struct gendisk *disk;
	int id;
	unsigned long nr_slots;
	struct page *header;
	/* Set before, and freed after all reads and writes of slots */
	struct virtio_tmem_area *area;
	struct virtio_tmem_writeback wb;	/* on_disk is there while the area is */

	/* Protects what follows. Inside the disk's open_mutex. */
	struct mutex lock;
	unsigned int openers;
	bool gone;			/* removed at the last release */
	struct virtio_tmem_bdev backing;	/* does not change while open */
	struct bio_set bios;		/* of the backing device */
	struct work_struct remove_work;
};

#endif /* _DRIVERS_VIRTIO_TMEM_DISK_H */
