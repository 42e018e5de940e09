/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Virtio transcendent memory (tmem) driver: the block layer of several kernels.
 *
 * The swap device front end uses what is here, in three versions: 6.11 and
 * later, 6.1, and 5.10. Which one is told by macros of <linux/blkdev.h>. To send
 * the driver upstream, keep the first and write it out in place.
 */
#ifndef _DRIVERS_VIRTIO_TMEM_BLK_H
#define _DRIVERS_VIRTIO_TMEM_BLK_H

#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/oom.h>
#include <linux/string.h>

#include "virtio_tmem_disk.h"

#if defined(BLK_FEAT_SYNCHRONOUS)
#define VT_BLK_NEW
#elif defined(BLK_OPEN_READ)
#error "Kernels 6.5 to 6.10 are not supported: use 5.10, 6.1, or 6.11 and later"
#elif defined(blk_alloc_disk)
#define VT_BLK_6_1
#else
#define VT_BLK_5_10
#endif

/*
 * What makes the swap core use the device synchronously. 5.10 has it too, but
 * lets two faults of one page run beside the swap cache at a time (fixed by
 * "mm/swap: fix race when skipping swapcache"): the later one could bring back
 * what the slot had before. There, pages go through the swap cache.
 */
#ifdef VT_BLK_6_1
#define VT_HAVE_RW_PAGE
#endif

/*
 * 5.10: swapoff maps a page whose read has failed ("mm/swapfile: unuse_pte can map
 * random data if swap read fails" came later). Whether this bio is such a read.
 */
#ifdef VT_BLK_5_10
static inline bool virtio_tmem_swapoff_maps(struct bio *bio)
{
	return oom_task_origin(current) &&
	       PageSwapCache(bio_first_page_all(bio));
}
#else
static inline bool virtio_tmem_swapoff_maps(struct bio *bio)
{
	return false;
}
#endif

#ifdef VT_BLK_NEW
static inline int virtio_tmem_bdev_open(struct virtio_tmem_bdev *b,
					const char *path, void *holder)
{
	b->file = bdev_file_open_by_path(path, BLK_OPEN_READ | BLK_OPEN_WRITE,
					 holder, NULL);
	if (IS_ERR(b->file))
		return PTR_ERR(b->file);
	b->bdev = file_bdev(b->file);
	strscpy(b->path, path, sizeof(b->path));
	return 0;
}

static inline void virtio_tmem_bdev_close(struct virtio_tmem_bdev *b)
{
	bdev_fput(b->file);
}
#else
static inline int virtio_tmem_bdev_open(struct virtio_tmem_bdev *b,
					const char *path, void *holder)
{
	struct block_device *bdev;

	bdev = blkdev_get_by_path(path, FMODE_READ | FMODE_WRITE | FMODE_EXCL,
				  holder);
	if (IS_ERR(bdev))
		return PTR_ERR(bdev);
	b->bdev = bdev;
	strscpy(b->path, path, sizeof(b->path));
	return 0;
}

static inline void virtio_tmem_bdev_close(struct virtio_tmem_bdev *b)
{
	blkdev_put(b->bdev, FMODE_READ | FMODE_WRITE | FMODE_EXCL);
}
#endif

static inline sector_t virtio_tmem_bdev_sectors(struct block_device *bdev)
{
#ifdef VT_BLK_5_10
	return i_size_read(bdev->bd_inode) >> SECTOR_SHIFT;
#else
	return bdev_nr_sectors(bdev);
#endif
}

/* May wait for clones of the same set that were made before */
static inline struct bio *virtio_tmem_bio_clone(struct block_device *bdev,
						struct bio *bio,
						struct bio_set *bs)
{
#ifdef VT_BLK_5_10
	struct bio *clone = bio_clone_fast(bio, GFP_NOIO, bs);

	bio_set_dev(clone, bdev);
	return clone;
#else
	return bio_alloc_clone(bdev, bio, GFP_NOIO, bs);
#endif
}

/*
 * A disk for whole pages. It does not rotate (or the swap core would give it no
 * clusters). Pages are stable while they are written: a clone may be on its way
 * to a device with checksums.
 *
 * Return: the disk or an ERR_PTR.
 */
#ifdef VT_BLK_NEW
static inline struct gendisk *virtio_tmem_alloc_disk(void *private_data)
{
	struct queue_limits lim = {
		.logical_block_size = PAGE_SIZE,
		.physical_block_size = PAGE_SIZE,
		.io_min = PAGE_SIZE,
		.io_opt = PAGE_SIZE,
		.dma_alignment = PAGE_SIZE - 1,
		.max_hw_discard_sectors = UINT_MAX,
		.discard_granularity = PAGE_SIZE,
		.max_write_zeroes_sectors = UINT_MAX,
		.features = BLK_FEAT_STABLE_WRITES | BLK_FEAT_SYNCHRONOUS,
	};
	struct gendisk *disk = blk_alloc_disk(&lim, NUMA_NO_NODE);

	if (!IS_ERR(disk))
		disk->flags |= GENHD_FL_NO_PART;
	return disk;
}
#else
static inline struct gendisk *virtio_tmem_alloc_disk(void *private_data)
{
	struct request_queue *q;
	struct gendisk *disk;

#ifdef VT_BLK_6_1
	disk = blk_alloc_disk(NUMA_NO_NODE);
	if (!disk)
		return ERR_PTR(-ENOMEM);
	q = disk->queue;
	disk->flags |= GENHD_FL_NO_PART;
#else
	q = blk_alloc_queue(NUMA_NO_NODE);
	if (!q)
		return ERR_PTR(-ENOMEM);
	disk = alloc_disk(0);
	if (!disk) {
		blk_cleanup_queue(q);
		return ERR_PTR(-ENOMEM);
	}
	disk->queue = q;
	disk->flags |= GENHD_FL_EXT_DEVT | GENHD_FL_NO_PART_SCAN;
	blk_queue_flag_set(QUEUE_FLAG_DISCARD, q);
#endif
	blk_queue_logical_block_size(q, PAGE_SIZE);
	blk_queue_physical_block_size(q, PAGE_SIZE);
	blk_queue_io_min(q, PAGE_SIZE);
	blk_queue_io_opt(q, PAGE_SIZE);
	blk_queue_dma_alignment(q, PAGE_SIZE - 1);
	blk_queue_max_discard_sectors(q, UINT_MAX);
	blk_queue_max_write_zeroes_sectors(q, UINT_MAX);
	q->limits.discard_granularity = PAGE_SIZE;
	blk_queue_flag_set(QUEUE_FLAG_NONROT, q);
	blk_queue_flag_clear(QUEUE_FLAG_ADD_RANDOM, q);
	blk_queue_flag_set(QUEUE_FLAG_STABLE_WRITES, q);
	return disk;
}
#endif

static inline int virtio_tmem_add_disk(struct gendisk *disk,
				       const struct attribute_group **groups)
{
#ifdef VT_BLK_5_10
	device_add_disk(NULL, disk, groups);
	return 0;
#else
	return device_add_disk(NULL, disk, groups);
#endif
}

/* After del_gendisk(), or if the disk was never added */
static inline void virtio_tmem_put_disk(struct gendisk *disk)
{
#ifdef VT_BLK_5_10
	blk_cleanup_queue(disk->queue);
#endif
	put_disk(disk);
}

/* For a write of so many pages. May wait for others of the same set to end. */
static inline struct bio *virtio_tmem_bio_alloc(struct block_device *bdev,
						unsigned short nr,
						struct bio_set *bs)
{
#ifdef VT_BLK_5_10
	struct bio *bio = bio_alloc_bioset(GFP_NOIO, nr, bs);

	bio_set_dev(bio, bdev);
	bio->bi_opf = REQ_OP_WRITE | REQ_SWAP;
	return bio;
#else
	return bio_alloc_bioset(bdev, nr, REQ_OP_WRITE | REQ_SWAP, GFP_NOIO, bs);
#endif
}

#ifdef VT_BLK_METHODS
/* The methods of the disk: virtio_tmem_swapdev.c */
static int vtmem_do_open(struct virtio_tmem_disk *d, bool write);
static void vtmem_do_release(struct virtio_tmem_disk *d);
static void vtmem_do_bio(struct virtio_tmem_disk *d, struct bio *bio);

#ifdef VT_BLK_NEW
static int vtmem_open(struct gendisk *disk, blk_mode_t mode)
{
	return vtmem_do_open(disk->private_data, mode & BLK_OPEN_WRITE);
}

static void vtmem_release(struct gendisk *disk)
{
	vtmem_do_release(disk->private_data);
}
#else
static int vtmem_open(struct block_device *bdev, fmode_t mode)
{
	return vtmem_do_open(bdev->bd_disk->private_data, mode & FMODE_WRITE);
}

static void vtmem_release(struct gendisk *disk, fmode_t mode)
{
	vtmem_do_release(disk->private_data);
}
#endif

#ifdef VT_BLK_5_10
static blk_qc_t vtmem_submit_bio(struct bio *bio)
{
	vtmem_do_bio(bio->bi_disk->private_data, bio);
	return BLK_QC_T_NONE;
}
#else
static void vtmem_submit_bio(struct bio *bio)
{
	vtmem_do_bio(bio->bi_bdev->bd_disk->private_data, bio);
}
#endif

#endif /* VT_BLK_METHODS */

#endif /* _DRIVERS_VIRTIO_TMEM_BLK_H */
