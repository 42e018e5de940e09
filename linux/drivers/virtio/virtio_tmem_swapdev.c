// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Virtio transcendent memory (tmem) driver: swap device front end, /dev/vtmemN.
 *
 * A block device for swapon: what is written to a slot is put on the host, and a
 * slot that is freed is flushed. The rules:
 *
 * - The page of a slot is in exactly one place: in the area (same-filled or on
 *   the host), or on the backing device at the same offset (wb.on_disk). A write
 *   goes to the area first; what the host rejects, to the backing device; and
 *   when there is none, the write fails, on which the swap core keeps the page.
 * - Reads and writes of the area are done when submit_bio() returns, so the swap
 *   core is told that the device is synchronous. The backing device is not
 *   waited for: its bios are clones, on which the original is chained.
 * - Slot 0 has the header that mkswap writes. It stays in the guest, so that it
 *   is there without a pool. Other writes than the swap core's are refused.
 * - The pool is there from the first opening for writing to the last release.
 * - The disk outlives the device, while it is open: pages on the backing device
 *   can still be read.
 */

#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/highmem.h>
#include <linux/idr.h>
#include <linux/kernel.h>
#include <linux/kref.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pagemap.h>
#include <linux/slab.h>
#include <linux/sysfs.h>
#include <linux/workqueue.h>

#define VT_BLK_METHODS
#include "virtio_tmem_blk.h"
#include "virtio_tmem_disk.h"
#include "virtio_tmem_int.h"

/*
 * Most slots, whatever the device says, as there are some bits for each: 1 TiB of
 * swap, and 16 slots for each page of the guest, whose bits take 1/350 of it
 */
#define VT_MAX_SLOTS		(1ULL << (40 - PAGE_SHIFT))
#define VT_SLOTS_PER_PAGE	16

/* The swap header and at least a few pages */
#define VT_MIN_SLOTS		16

static DEFINE_IDA(vtmem_ida);

static void vtmem_close_backing(struct virtio_tmem_disk *d)
{
	struct virtio_tmem_bdev backing;

	mutex_lock(&d->lock);
	backing = d->backing;
	d->backing.bdev = NULL;
	mutex_unlock(&d->lock);
	if (backing.bdev) {
		virtio_tmem_bdev_close(&backing);
		bioset_exit(&d->bios);
	}
}

static void vtmem_release_disk(struct kref *ref)
{
	struct virtio_tmem_disk *d = container_of(ref, struct virtio_tmem_disk,
						  ref);

	vtmem_close_backing(d);
	virtio_tmem_wb_free_pages(&d->wb);
	if (d->header)
		__free_page(d->header);
	ida_free(&vtmem_ida, d->id);
	virtio_tmem_unref(d->vt);
	kfree(d);
}

static void vtmem_put(struct virtio_tmem_disk *d)
{
	kref_put(&d->ref, vtmem_release_disk);
}

/*
 * Pages of a bio that can be done together, of @nr that follow each other from
 * @page on: those of one folio that fit into one request.
 */
static unsigned int vtmem_chunk(unsigned long slot, struct page *page,
				unsigned int nr)
{
	if (!slot)
		return 1;
	nr = min3(nr, (unsigned int)VIRTIO_TMEM_MAX_PAGES,
		  (unsigned int)(VT_CLUSTER_SIZE - slot % VT_CLUSTER_SIZE));
	while (nr > 1 && compound_head(page + nr - 1) != compound_head(page))
		nr--;
	return nr;
}

/*
 * Write a chunk of pages. A full one goes without a copy; fewer pages are staged,
 * as a copy costs less than a request does.
 *
 * Return: how many are kept, from the first on; the others belong on the backing
 * device. An error when there is none.
 */
static int vtmem_write_pages(struct virtio_tmem_disk *d, unsigned long slot,
			     struct page *page, unsigned int nr)
{
	unsigned int i, kept = 0;
	int err = -ENOSPC;

	if (!slot) {
		virtio_tmem_copy(d->header, page);
		return 1;
	}
	for (i = 0; i < nr; i++)
		virtio_tmem_wb_forget(&d->wb, slot + i);
	if (nr == VIRTIO_TMEM_MAX_PAGES)
		kept = virtio_tmem_area_store_many(d->area, slot, page, nr);
	else
		for (; kept < nr; kept++) {
			err = virtio_tmem_area_store(d->area, slot + kept,
						     page + kept);
			if (err)
				break;
		}
	for (i = 0; i < kept; i++)
		clear_bit(slot + i, d->wb.on_disk);
	if (kept)
		virtio_tmem_wb_touch(&d->wb, slot);
	if (kept == nr || d->backing.bdev)
		return kept;
	pr_warn_ratelimited("virtio_tmem %s: no room on the host (error %d) and no backing device: pages stay in memory; write the path of a disk to /sys/block/%s/backing_dev before swapon\n",
			    virtio_tmem_name(d->vt), err, d->disk->disk_name);
	return err;
}

/*
 * From now on the pages of these slots are read from the backing device. Return:
 * 0; -EAGAIN when older pages of them are still on their way there.
 */
static int vtmem_set_on_backing(struct virtio_tmem_disk *d, unsigned long slot,
				unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++)
		if (virtio_tmem_wb_forget(&d->wb, slot + i))
			return -EAGAIN;
	for (i = 0; i < nr; i++) {
		virtio_tmem_area_drop(d->area, slot + i);
		set_bit(slot + i, d->wb.on_disk);
	}
	return 0;
}

/*
 * Return: 0; 1 when the page is on the backing device; an error when it cannot be
 * got.
 */
static int vtmem_read_page(struct virtio_tmem_disk *d, unsigned long slot,
			   struct page *page)
{
	/* Pairs with the release in vtmem_make_area() */
	struct virtio_tmem_area *area = smp_load_acquire(&d->area);
	int err = -ENODATA;

	if (!slot) {
		virtio_tmem_copy(page, d->header);
		return 0;
	}
	if (area) {
		if (test_bit(slot, d->wb.on_disk))
			return 1;
		err = virtio_tmem_area_load(area, slot, page);
	}
	/* Never written: udev and others like to look at any block device */
	if (err == -ENODATA) {
		clear_highpage(page);
		err = 0;
	}
	return err;
}

/*
 * Pass @len bytes of a bio at @offset on to the backing device. The bio does not
 * complete before that has.
 */
static void vtmem_pass_on(struct virtio_tmem_disk *d, struct bio *bio,
			  unsigned int offset, unsigned int len)
{
	struct bio *clone;

	/*
	 * Waits for earlier clones if it must, which the rescuer of the bio_set
	 * submits meanwhile: we may be inside of another submit_bio().
	 */
	clone = virtio_tmem_bio_clone(d->backing.bdev, bio, &d->bios);
	bio_advance(clone, offset);
	clone->bi_iter.bi_size = len;
	bio_chain(clone, bio);
	virtio_tmem_count_many(d->vt, op_is_write(bio_op(bio)) ?
			       VT_STAT_BACKING_WRITES : VT_STAT_BACKING_READS,
			       len >> PAGE_SHIFT);
	submit_bio_noacct(clone);
}

/* Where a bio is: what is to be passed on are the @run bytes before @pos */
struct vtmem_cursor {
	struct virtio_tmem_disk *d;
	struct bio *bio;
	unsigned long slot;
	unsigned int pos;
	unsigned int run;
};

static void vtmem_end_run(struct vtmem_cursor *c)
{
	if (c->run)
		vtmem_pass_on(c->d, c->bio, c->pos - c->run, c->run);
	c->run = 0;
}

/* Whether a chunk of several pages was read from the host: 0, 1 or an error */
static int vtmem_read_many(struct virtio_tmem_disk *d, unsigned long slot,
			   struct page *page, unsigned int nr)
{
	/* As in vtmem_read_page() */
	struct virtio_tmem_area *area = smp_load_acquire(&d->area);
	int err;

	if (nr < 2 || !area ||
	    find_next_bit(d->wb.on_disk, slot + nr, slot) < slot + nr)
		return 0;
	err = virtio_tmem_area_load_many(area, slot, page, nr);
	if (err == -ENODATA)
		return 0;
	return err ?: 1;
}

static int vtmem_read_chunk(struct vtmem_cursor *c, struct page *page,
			    unsigned int nr)
{
	unsigned int i;
	int ret;

	ret = vtmem_read_many(c->d, c->slot, page, nr);
	if (ret < 0)
		return ret;
	if (ret) {
		vtmem_end_run(c);
		c->pos += nr * PAGE_SIZE;
		c->slot += nr;
		return 0;
	}
	for (i = 0; i < nr; i++) {
		ret = vtmem_read_page(c->d, c->slot, page + i);
		if (ret < 0)
			return ret;
		if (!ret)
			vtmem_end_run(c);
		c->pos += PAGE_SIZE;
		c->slot++;
		if (ret)
			c->run += PAGE_SIZE;
	}
	return 0;
}

/*
 * From the first page that the host rejects on, the bio is passed on: in one
 * piece, and without asking the host for each of them.
 */
static int vtmem_write_chunk(struct vtmem_cursor *c, struct page *page,
			     unsigned int nr)
{
	int err, kept = 0;

	if (!c->run) {
		kept = vtmem_write_pages(c->d, c->slot, page, nr);
		if (kept < 0)
			return kept;
	}
	err = vtmem_set_on_backing(c->d, c->slot + kept, nr - kept);
	if (err)
		return err;
	c->run += (nr - kept) * PAGE_SIZE;
	c->pos += nr * PAGE_SIZE;
	c->slot += nr;
	return 0;
}

/* All of it can be done anew when it returns -EAGAIN. @slot: where it failed. */
static int vtmem_try_rw(struct virtio_tmem_disk *d, struct bio *bio,
			unsigned long *slot)
{
	struct vtmem_cursor c = {
		.d = d,
		.bio = bio,
		.slot = bio->bi_iter.bi_sector >> VT_SECTORS_SHIFT,
	};
	unsigned int nr, n;
	struct bvec_iter iter;
	struct bio_vec bv;
	struct page *page;
	int err = 0;

	down_read(&d->wb.move_lock);
	bio_for_each_bvec(bv, bio, iter) {
		page = bv.bv_page + (bv.bv_offset >> PAGE_SHIFT);
		for (nr = bv.bv_len >> PAGE_SHIFT; nr; nr -= n, page += n) {
			n = vtmem_chunk(c.slot, page, nr);
			if (op_is_write(bio_op(bio)))
				err = vtmem_write_chunk(&c, page, n);
			else
				err = vtmem_read_chunk(&c, page, n);
			if (err)
				goto unlock;
		}
	}
	vtmem_end_run(&c);
unlock:
	up_read(&d->wb.move_lock);
	*slot = c.slot;
	return err;
}

/* Also what is to read as zeros from now on */
static void vtmem_discard(struct virtio_tmem_disk *d, struct bio *bio)
{
	unsigned long slot = bio->bi_iter.bi_sector >> VT_SECTORS_SHIFT;
	unsigned long end = bio_end_sector(bio) >> VT_SECTORS_SHIFT;

	/* A discarded header may stay, one that is zeroed may not */
	if (!slot && bio_op(bio) == REQ_OP_WRITE_ZEROES)
		clear_highpage(d->header);
	for (slot = max(slot, 1UL); slot < end; slot++) {
		virtio_tmem_wb_drop(&d->wb, slot);
		if (!(slot % 1024))
			cond_resched();
	}
}

/*
 * The host keeps swapped-out pages: not a file system, whose pages would be
 * rejected at any moment. The swap core marks its writes; mkswap writes slot 0.
 */
static bool vtmem_may_write(struct virtio_tmem_disk *d, struct bio *bio)
{
	if (bio->bi_opf & REQ_SWAP ||
	    bio_end_sector(bio) <= 1 << VT_SECTORS_SHIFT)
		return true;
	pr_warn_ratelimited("virtio_tmem %s: %s is for swap only, a write to it by %s was refused: use mkswap and swapon\n",
			    virtio_tmem_name(d->vt), d->disk->disk_name,
			    current->comm);
	return false;
}

/* Pages only: less than that is no business of a swap device */
static bool vtmem_is_whole_pages(struct bio *bio)
{
	struct bvec_iter iter;
	struct bio_vec bv;

	if ((bio->bi_iter.bi_sector | bio_sectors(bio)) &
	    ((1 << VT_SECTORS_SHIFT) - 1))
		return false;
	if (!bio_has_data(bio))
		return true;
	bio_for_each_segment(bv, bio, iter)
		if (bv.bv_len != PAGE_SIZE || bv.bv_offset)
			return false;
	return true;
}

/* A page of a read is lost. This may wait, so it is not for under move_lock. */
static int vtmem_lost(struct virtio_tmem_disk *d, struct bio *bio,
		      unsigned long slot, int err)
{
	while (virtio_tmem_swapoff_maps(bio)) {
		pr_err_ratelimited("virtio_tmem %s: page in slot %lu of %s is lost (error %d): swapoff waits for ever, as this kernel would map what was not read\n",
				   virtio_tmem_name(d->vt), slot,
				   d->disk->disk_name, err);
		schedule_timeout_uninterruptible(10 * HZ);
		err = vtmem_try_rw(d, bio, &slot);
		if (!err)
			return 0;
	}
	/* Nobody is to find what these pages were before */
	zero_fill_bio(bio);
	return virtio_tmem_area_lost(d->area, slot, err);
}

static int vtmem_rw(struct virtio_tmem_disk *d, struct bio *bio)
{
	unsigned long slot;
	int err;

	/* The write that is waited for is not one of those that wait for us */
	while ((err = vtmem_try_rw(d, bio, &slot)) == -EAGAIN)
		virtio_tmem_wb_wait(&d->wb,
				    bio->bi_iter.bi_sector >> VT_SECTORS_SHIFT,
				    bio_sectors(bio) >> VT_SECTORS_SHIFT);
	if (err && bio_op(bio) == REQ_OP_READ)
		err = vtmem_lost(d, bio, slot, err);
	return err;
}

static void vtmem_do_bio(struct virtio_tmem_disk *d, struct bio *bio)
{
	int err = 0;

	if (!vtmem_is_whole_pages(bio)) {
		err = -EOPNOTSUPP;
		goto out;
	}
	if (bio_op(bio) != REQ_OP_READ && !d->area) {
		err = -EBADF;
		goto out;
	}
	switch (bio_op(bio)) {
	case REQ_OP_READ:
		err = vtmem_rw(d, bio);
		break;
	case REQ_OP_WRITE:
		err = vtmem_may_write(d, bio) ? vtmem_rw(d, bio) : -EOPNOTSUPP;
		break;
	case REQ_OP_DISCARD:
	case REQ_OP_WRITE_ZEROES:
		vtmem_discard(d, bio);
		break;
	default:
		err = -EOPNOTSUPP;
	}
out:
	if (err)
		bio->bi_status = errno_to_blk_status(err);
	bio_endio(bio);
}

#ifdef VT_HAVE_RW_PAGE
/*
 * One page of the swap core, without a bio. What fails here is tried again with
 * one, which sees to the backing device and to errors.
 */
static int vtmem_rw_page(struct block_device *bdev, sector_t sector,
			 struct page *page, enum req_op op)
{
	struct virtio_tmem_disk *d = bdev->bd_disk->private_data;
	unsigned long slot = sector >> VT_SECTORS_SHIFT;
	int ret;

	if (PageTransHuge(page))
		return -EOPNOTSUPP;
	down_read(&d->wb.move_lock);
	if (!op_is_write(op))
		ret = vtmem_read_page(d, slot, page);
	else if (PageSwapCache(page))
		ret = vtmem_write_pages(d, slot, page, 1) == 1 ? 0 : -EAGAIN;
	else
		ret = -EOPNOTSUPP;
	up_read(&d->wb.move_lock);
	if (ret)
		return ret < 0 ? ret : -EAGAIN;
	page_endio(page, op_is_write(op), 0);
	return 0;
}
#endif

/* Under a spinlock of the swap core, interrupts off at times */
static void vtmem_slot_free_notify(struct block_device *bdev,
				   unsigned long slot)
{
	struct virtio_tmem_disk *d = bdev->bd_disk->private_data;

	virtio_tmem_wb_drop(&d->wb, slot);
}

/* Nobody uses it any more. Called with the lock held. */
static void vtmem_free_area(struct virtio_tmem_disk *d)
{
	virtio_tmem_wb_stop(&d->wb);
	d->wb.area = NULL;
	virtio_tmem_area_destroy(d->area);
	d->area = NULL;
	virtio_tmem_wb_free_slots(&d->wb);
}

/* Called with the lock held */
static int vtmem_make_area(struct virtio_tmem_disk *d)
{
	struct virtio_tmem_area *area;

	if (d->area)
		return 0;
	if (virtio_tmem_wb_alloc_slots(&d->wb, d->nr_slots))
		area = ERR_PTR(-ENOMEM);
	else
		area = virtio_tmem_area_create(d->vt, d->nr_slots,
					       d->disk->disk_name);
	if (IS_ERR(area)) {
		vtmem_free_area(d);
		pr_err("virtio_tmem %s: no pool for %s (error %ld)\n",
		       virtio_tmem_name(d->vt), d->disk->disk_name,
		       PTR_ERR(area));
		return PTR_ERR(area);
	}
	if (!d->backing.bdev)
		pr_info("virtio_tmem %s: %s has no backing device: pages that the host has no room for stay in memory\n",
			virtio_tmem_name(d->vt), d->disk->disk_name);
	d->wb.area = area;
	/* Who has it open for reading may be reading */
	smp_store_release(&d->area, area);
	return 0;
}

static int vtmem_do_open(struct virtio_tmem_disk *d, bool write)
{
	int err = 0;

	mutex_lock(&d->lock);
	/* swapoff, too, opens it */
	if (d->gone && !d->openers)
		err = -ENXIO;
	else if (write)
		err = vtmem_make_area(d);
	if (!err) {
		d->openers++;
		kref_get(&d->ref);
	}
	mutex_unlock(&d->lock);
	return err;
}

static void vtmem_do_release(struct virtio_tmem_disk *d)
{
	mutex_lock(&d->lock);
	if (!--d->openers) {
		vtmem_free_area(d);
		if (d->gone)
			queue_work(virtio_tmem_wb_wq, &d->remove_work);
	}
	mutex_unlock(&d->lock);
	vtmem_put(d);
}

static const struct block_device_operations vtmem_fops = {
	.owner = THIS_MODULE,
	.open = vtmem_open,
	.release = vtmem_release,
	.submit_bio = vtmem_submit_bio,
#ifdef VT_HAVE_RW_PAGE
	.rw_page = vtmem_rw_page,
#endif
	.swap_slot_free_notify = vtmem_slot_free_notify,
};

static ssize_t backing_dev_show(struct device *dev,
				struct device_attribute *attr, char *buf)
{
	struct virtio_tmem_disk *d = dev_to_disk(dev)->private_data;
	ssize_t len;

	mutex_lock(&d->lock);
	if (d->backing.bdev)
		len = scnprintf(buf, PAGE_SIZE, "%s\n", d->backing.path);
	else
		len = scnprintf(buf, PAGE_SIZE, "none\n");
	mutex_unlock(&d->lock);
	return len;
}

/* Whether a device can take the pages of this one, at the same offsets */
static int vtmem_check_backing(struct virtio_tmem_disk *d,
			       struct virtio_tmem_bdev *backing)
{
	sector_t sectors = virtio_tmem_bdev_sectors(backing->bdev);

	if (sectors >> VT_SECTORS_SHIFT < d->nr_slots) {
		pr_err("virtio_tmem %s: backing device %s has %llu KiB, %s needs %llu KiB\n",
		       virtio_tmem_name(d->vt), backing->path,
		       (unsigned long long)sectors / 2, d->disk->disk_name,
		       (unsigned long long)d->nr_slots << (PAGE_SHIFT - 10));
		return -EINVAL;
	}
	if (bdev_logical_block_size(backing->bdev) > PAGE_SIZE) {
		pr_err("virtio_tmem %s: backing device %s has blocks larger than a page\n",
		       virtio_tmem_name(d->vt), backing->path);
		return -EINVAL;
	}
	return 0;
}

/* Use a device, or none (its bdev is NULL). On error it is still the caller's. */
static int vtmem_set_backing(struct virtio_tmem_disk *d,
			     struct virtio_tmem_bdev *backing)
{
	struct virtio_tmem_bdev old = { };
	int err = 0;

	mutex_lock(&d->lock);
	/* Who has it open for reading does not get to the backing device */
	if (d->area || d->gone) {
		pr_err("virtio_tmem %s: %s is in use: swapoff first\n",
		       virtio_tmem_name(d->vt), d->disk->disk_name);
		err = -EBUSY;
	} else {
		if (backing->bdev && !d->backing.bdev)
			err = bioset_init(&d->bios, BIO_POOL_SIZE, 0,
					  BIOSET_NEED_RESCUER | BIOSET_NEED_BVECS);
		else if (!backing->bdev && d->backing.bdev)
			bioset_exit(&d->bios);
		if (!err && backing->bdev && virtio_tmem_wb_alloc_pages(&d->wb)) {
			if (!d->backing.bdev)
				bioset_exit(&d->bios);
			err = -ENOMEM;
		}
		if (!err) {
			old = d->backing;
			d->backing = *backing;
		}
	}
	mutex_unlock(&d->lock);
	if (old.bdev)
		virtio_tmem_bdev_close(&old);
	return err;
}

static ssize_t backing_dev_store(struct device *dev,
				 struct device_attribute *attr,
				 const char *buf, size_t len)
{
	struct virtio_tmem_disk *d = dev_to_disk(dev)->private_data;
	struct virtio_tmem_bdev backing = { };
	char *path;
	int err;

	path = kstrndup(buf, len, GFP_KERNEL);
	if (!path)
		return -ENOMEM;
	strim(path);
	if (strcmp(path, "none")) {
		err = virtio_tmem_bdev_open(&backing, path, d);
		if (err) {
			pr_err("virtio_tmem %s: cannot use backing device %s (error %d): a block device is needed that nobody else has\n",
			       virtio_tmem_name(d->vt), path, err);
			goto out;
		}
		err = vtmem_check_backing(d, &backing);
	} else {
		err = 0;
	}
	if (!err)
		err = vtmem_set_backing(d, &backing);
	if (err && backing.bdev)
		virtio_tmem_bdev_close(&backing);
out:
	kfree(path);
	return err ?: len;
}
static DEVICE_ATTR_RW(backing_dev);

static struct attribute *vtmem_attrs[] = {
	&dev_attr_backing_dev.attr,
	NULL,
};
ATTRIBUTE_GROUPS(vtmem);

/*
 * The last opener is gone, and so is the device: nobody opens the disk again or
 * sets its backing device. That is closed first, so that others can claim it once
 * the disk is no longer to be seen.
 */
static void vtmem_remove_work(struct work_struct *work)
{
	struct virtio_tmem_disk *d = container_of(work, struct virtio_tmem_disk,
						  remove_work);

	vtmem_close_backing(d);
	del_gendisk(d->disk);
	virtio_tmem_put_disk(d->disk);
	vtmem_put(d);
}

static int vtmem_add(struct virtio_tmem_disk *d)
{
	int err;

	d->disk = virtio_tmem_alloc_disk(d);
	if (IS_ERR(d->disk))
		return PTR_ERR(d->disk);
	d->disk->fops = &vtmem_fops;
	d->disk->private_data = d;
	snprintf(d->disk->disk_name, sizeof(d->disk->disk_name), "vtmem%d",
		 d->id);
	set_capacity(d->disk, (sector_t)d->nr_slots << VT_SECTORS_SHIFT);
	/*
	 * No parent: the disk may stay after the device. The disk goes away
	 * while only the reference of the caller is left.
	 */
	err = virtio_tmem_add_disk(d->disk, vtmem_groups);
	if (err)
		virtio_tmem_put_disk(d->disk);
	return err;
}

/* How many slots the disk has: what the device offers, within reason */
static unsigned long vtmem_slots(struct virtio_tmem *vt)
{
	u64 most = min_t(u64, VT_MAX_SLOTS,
			 (u64)totalram_pages() * VT_SLOTS_PER_PAGE);
	u64 max_pages = virtio_tmem_max_pages(vt);

	if (max_pages <= most)
		return max_pages;
	pr_warn("virtio_tmem %s: the host offers %llu pages, too many for a guest of this size: %llu of them are used\n",
		virtio_tmem_name(vt), max_pages, most);
	return most;
}

static struct block_device *vtmem_hold_backing(struct virtio_tmem_writeback *wb)
{
	struct virtio_tmem_disk *d = container_of(wb, struct virtio_tmem_disk,
						  wb);

	/* It is not taken away while there is an area */
	return READ_ONCE(d->gone) ? NULL : d->backing.bdev;
}

static void vtmem_release_backing(struct virtio_tmem_writeback *wb)
{
}

static sector_t vtmem_backing_sector(struct virtio_tmem_writeback *wb,
				     unsigned long slot, struct page *page)
{
	return (sector_t)slot << VT_SECTORS_SHIFT;
}

static const struct virtio_tmem_wb_ops vtmem_wb_ops = {
	.hold = vtmem_hold_backing,
	.release = vtmem_release_backing,
	.sector = vtmem_backing_sector,
};

struct virtio_tmem_disk *virtio_tmem_swapdev_attach(struct virtio_tmem *vt)
{
	const char *name = virtio_tmem_name(vt);
	u64 max_pages = virtio_tmem_max_pages(vt);
	struct virtio_tmem_disk *d;
	int err = -ENOMEM;

	if (max_pages < VT_MIN_SLOTS) {
		pr_warn("virtio_tmem %s: no swap device: the host offers %llu pages only\n",
			name, max_pages);
		return NULL;
	}
	d = kzalloc(sizeof(*d), GFP_KERNEL);
	if (!d)
		goto fail;
	d->id = ida_alloc(&vtmem_ida, GFP_KERNEL);
	if (d->id < 0) {
		err = d->id;
		kfree(d);
		goto fail;
	}
	kref_init(&d->ref);
	mutex_init(&d->lock);
	virtio_tmem_wb_init(&d->wb, &vtmem_wb_ops, &d->bios);
	INIT_WORK(&d->remove_work, vtmem_remove_work);
	virtio_tmem_ref(vt);
	d->vt = vt;
	d->nr_slots = vtmem_slots(vt);
	d->header = alloc_page(GFP_KERNEL | __GFP_ZERO);
	if (d->header)
		err = vtmem_add(d);
	if (err) {
		vtmem_put(d);
		goto fail;
	}
	pr_info("virtio_tmem %s: swap device /dev/%s of %lu KiB\n", name,
		d->disk->disk_name, d->nr_slots << (PAGE_SHIFT - 10));
	return d;

fail:
	pr_err("virtio_tmem %s: no swap device (error %d)\n", name, err);
	return NULL;
}

void virtio_tmem_swapdev_detach(struct virtio_tmem_disk *d)
{
	bool open;

	if (!d)
		return;
	mutex_lock(&d->lock);
	WRITE_ONCE(d->gone, true);
	open = d->openers;
	mutex_unlock(&d->lock);
	/* Otherwise the last release does it */
	if (!open)
		vtmem_remove_work(&d->remove_work);
}

void virtio_tmem_swapdev_write_back(struct virtio_tmem_disk *d)
{
	if (!d)
		return;
	mutex_lock(&d->lock);
	/* The area stays for as long as the work is not stopped */
	if (d->area && d->backing.bdev)
		virtio_tmem_wb_start(&d->wb);
	mutex_unlock(&d->lock);
}
