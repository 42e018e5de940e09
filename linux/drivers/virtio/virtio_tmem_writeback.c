// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Virtio transcendent memory (tmem) driver: pages go from the host to a disk of the
 * guest (the swap area behind frontswap, the backing device of a swap device),
 * because the host wants to hold fewer.
 *
 * One cluster at a time, the one that no page was put to for longest: its pages
 * are got, written in as few and large writes as they lie in, and flushed once
 * the write has completed. Meanwhile its slots are read, freed and written as
 * ever, and none of this is in the swap cache. Why no page is lost and none comes
 * back stale:
 *
 * - Which slots take part (busy) is decided under wb.lock: they have their page
 *   on the host, and not on the disk. The swap device's writes, which do not look
 *   at that lock, hold move_lock for reading, and this holds it for writing.
 * - Who frees a slot or writes to it later takes its bit off valid first. So a
 *   page whose bit is still set at the end is the one that was got, unless it is
 *   a torn one, of a slot whose bit is off: such pages are of no account, and
 *   what was written of them to the disk is never read.
 * - The pages of valid slots change sides with move_lock held for writing again:
 *   a read is served by the host before it, by the disk after. Frees do not take
 *   move_lock; they and the change of a slot exclude each other by wb.lock.
 * - What is written back has arrived before its slots are no longer busy. Who has
 *   to write a new page of a busy slot to the disk waits for that, or the older
 *   one could arrive last.
 *
 * No memory is allocated here but bios, of a set that is kept for them.
 *
 * The worker gets pages while others may put and flush them, which is not allowed
 * otherwise (virtio_tmem.h): it may get torn or absent ones then, no more.
 */

#include <linux/bitmap.h>
#include <linux/delay.h>
#include <linux/jiffies.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "virtio_tmem_blk.h"
#include "virtio_tmem_int.h"
#include "virtio_tmem_writeback.h"

/* Of the time, so much is left to others: as long as a cluster took, again */
#define VT_WB_LONGEST_REST	(100 * USEC_PER_MSEC)

/* Clusters in which something went wrong, until it is left for another time */
#define VT_WB_MAX_ERRORS	8

/* And this is the other time: nobody says when a disk is well again */
#define VT_WB_RETRY		(10 * HZ)

struct workqueue_struct *virtio_tmem_wb_wq;

static u32 virtio_tmem_wb_now(void)
{
	return div_u64(get_jiffies_64(), HZ);
}

bool virtio_tmem_wb_forget(struct virtio_tmem_writeback *wb, unsigned long slot)
{
	unsigned long flags;
	u64 bit = 0;

	/* It is set with move_lock held for writing, and when there was a page */
	if (!READ_ONCE(wb->busy))
		return false;
	spin_lock_irqsave(&wb->lock, flags);
	if (slot - wb->first < VT_CLUSTER_SIZE)
		bit = BIT_ULL(slot - wb->first) & wb->busy;
	wb->valid &= ~bit;
	spin_unlock_irqrestore(&wb->lock, flags);
	return bit;
}

void virtio_tmem_wb_touch(struct virtio_tmem_writeback *wb, unsigned long slot)
{
	WRITE_ONCE(wb->stamps[slot >> VT_CLUSTER_SHIFT], virtio_tmem_wb_now());
}

void virtio_tmem_wb_drop(struct virtio_tmem_writeback *wb, unsigned long slot)
{
	unsigned long flags;

	spin_lock_irqsave(&wb->lock, flags);
	if (slot - wb->first < VT_CLUSTER_SIZE)
		wb->valid &= ~BIT_ULL(slot - wb->first);
	virtio_tmem_area_drop(wb->area, slot);
	clear_bit(slot, wb->on_disk);
	spin_unlock_irqrestore(&wb->lock, flags);
}

/* Choose the slots of a cluster that have a page on the host. Return: any? */
static bool virtio_tmem_wb_begin(struct virtio_tmem_writeback *wb,
				 unsigned long first)
{
	unsigned long end = min(first + VT_CLUSTER_SIZE, wb->area->nr_slots);
	unsigned long slot;
	u64 busy = 0;

	down_write(&wb->move_lock);
	spin_lock_irq(&wb->lock);
	for (slot = first; slot < end; slot++)
		if (test_bit(slot, wb->area->on_host))
			busy |= BIT_ULL(slot - first);
	WRITE_ONCE(wb->first, first);
	WRITE_ONCE(wb->busy, busy);
	wb->valid = busy;
	spin_unlock_irq(&wb->lock);
	up_write(&wb->move_lock);
	return busy;
}

/* The pages that are valid change sides */
static void virtio_tmem_wb_end(struct virtio_tmem_writeback *wb)
{
	struct virtio_tmem *vt = virtio_tmem_pool_device(wb->area->pool);
	unsigned int i, nr;

	virtio_tmem_delay(VT_DELAY_WB_WRITTEN);
	down_write(&wb->move_lock);
	spin_lock_irq(&wb->lock);
	nr = hweight64(wb->valid);
	for (i = 0; i < VT_CLUSTER_SIZE; i++) {
		if (!(wb->valid & BIT_ULL(i)))
			continue;
		set_bit(wb->first + i, wb->on_disk);
		virtio_tmem_area_drop(wb->area, wb->first + i);
	}
	WRITE_ONCE(wb->busy, 0);
	wb->valid = 0;
	spin_unlock_irq(&wb->lock);
	up_write(&wb->move_lock);
	wake_up_all(&wb->idle);
	wb->nr_moved += nr;
	virtio_tmem_count_many(vt, VT_STAT_WRITTEN_BACK, nr);
}

/* Slots whose page was not got, or not written, stay on the host */
static void virtio_tmem_wb_keep(struct virtio_tmem_writeback *wb, u64 slots)
{
	spin_lock_irq(&wb->lock);
	wb->valid &= ~slots;
	spin_unlock_irq(&wb->lock);
}

static bool virtio_tmem_wb_is_busy(struct virtio_tmem_writeback *wb,
				   unsigned long slot, unsigned long nr)
{
	unsigned long flags;
	bool busy = false;

	spin_lock_irqsave(&wb->lock, flags);
	for (; nr && !busy; nr--, slot++)
		busy = slot - wb->first < VT_CLUSTER_SIZE &&
		       wb->busy & BIT_ULL(slot - wb->first);
	spin_unlock_irqrestore(&wb->lock, flags);
	return busy;
}

void virtio_tmem_wb_wait(struct virtio_tmem_writeback *wb, unsigned long slot,
			 unsigned long nr)
{
	/* The next cluster may be busy before this gets to look */
	if (READ_ONCE(wb->busy))
		wait_event(wb->idle, !virtio_tmem_wb_is_busy(wb, slot, nr));
}

/* Write the pages of slots that follow each other on the disk, and wait */
static int virtio_tmem_wb_write(struct virtio_tmem_writeback *wb,
				struct block_device *bdev, sector_t sector,
				unsigned int begin, unsigned int end)
{
	struct bio *bio;
	unsigned int i;
	int err;

	bio = virtio_tmem_bio_alloc(bdev, end - begin, wb->bios);
	bio->bi_iter.bi_sector = sector;
	for (i = begin; i < end; i++)
		__bio_add_page(bio, wb->pages[i], PAGE_SIZE, 0);
	virtio_tmem_count_many(virtio_tmem_pool_device(wb->area->pool),
			       VT_STAT_BACKING_WRITES, end - begin);
	err = submit_bio_wait(bio);
	bio_put(bio);
	return err;
}

static sector_t virtio_tmem_wb_sector(struct virtio_tmem_writeback *wb,
				      unsigned int i)
{
	return wb->ops->sector(wb, wb->first + i, wb->pages[i]);
}

/* Write what was got. Return: the pages that were written. */
static u64 virtio_tmem_wb_write_all(struct virtio_tmem_writeback *wb,
				    struct block_device *bdev, u64 got, int *err)
{
	unsigned int i, begin;
	sector_t sector, next;
	int ret;

	for (i = 0; i < VT_CLUSTER_SIZE;) {
		begin = i++;
		if (!(got & BIT_ULL(begin)))
			continue;
		sector = virtio_tmem_wb_sector(wb, begin);
		next = sector + (1 << VT_SECTORS_SHIFT);
		/* A file of slots need not be in one piece */
		for (; i < VT_CLUSTER_SIZE && got & BIT_ULL(i) &&
		     virtio_tmem_wb_sector(wb, i) == next; i++)
			next += 1 << VT_SECTORS_SHIFT;
		ret = virtio_tmem_wb_write(wb, bdev, sector, begin, i);
		if (ret) {
			*err = ret;
			got &= ~GENMASK_ULL(i - 1, begin);
		}
	}
	return got;
}

/* Return: whether a page was got. */
static bool virtio_tmem_wb_get(struct virtio_tmem_writeback *wb, unsigned int i,
			       int *err)
{
	struct page *page = wb->pages[i];
	int ret;

	/* A device that was given up in the middle of a get may still write to it */
	ret = page_count(page) == 1 ?
	      virtio_tmem_get(wb->area->pool, wb->first + i, page) : -EIO;
	if (ret && ret != -ENOENT)
		*err = ret;
	return !ret;
}

/* Write back the pages of a cluster. Return: 0, or what went wrong with some. */
static int virtio_tmem_wb_cluster(struct virtio_tmem_writeback *wb,
				  struct block_device *bdev, unsigned long first)
{
	unsigned int i;
	int err = 0;
	u64 got = 0;

	if (!virtio_tmem_wb_begin(wb, first))
		return 0;
	virtio_tmem_delay(VT_DELAY_WB_BEGUN);
	/* Only this changes busy */
	for (i = 0; i < VT_CLUSTER_SIZE; i++)
		if (wb->busy & BIT_ULL(i) && virtio_tmem_wb_get(wb, i, &err))
			got |= BIT_ULL(i);
	virtio_tmem_delay(VT_DELAY_WB_GOT);
	got = virtio_tmem_wb_write_all(wb, bdev, got, &err);
	virtio_tmem_wb_keep(wb, ~got);
	virtio_tmem_wb_end(wb);
	return err;
}

static bool virtio_tmem_wb_wanted(struct virtio_tmem_writeback *wb)
{
	struct virtio_tmem_target *target = wb->area->target;

	return !READ_ONCE(wb->stopped) && !READ_ONCE(target->paused) &&
	       system_state <= SYSTEM_RUNNING &&
	       atomic_long_read(&target->held) > READ_ONCE(target->pages);
}

static unsigned int virtio_tmem_wb_age(struct virtio_tmem_writeback *wb,
				       unsigned long slot, u32 now)
{
	s32 age = now - READ_ONCE(wb->stamps[slot >> VT_CLUSTER_SHIFT]);

	/* Put since the round began */
	return age > 0 ? fls(age) : 0;
}

/* The age that the oldest pages have which the host holds */
static unsigned int virtio_tmem_wb_oldest(struct virtio_tmem_writeback *wb,
					  u32 now)
{
	unsigned long slot = 0, nr_slots = wb->area->nr_slots;
	unsigned int age = 0;

	for (;;) {
		slot = find_next_bit(wb->area->on_host, nr_slots, slot);
		if (slot >= nr_slots)
			return age;
		age = max(age, virtio_tmem_wb_age(wb, slot, now));
		slot = round_up(slot + 1, VT_CLUSTER_SIZE);
		cond_resched();
	}
}

/*
 * One cluster, and then a rest of the same length, so that half of the time is
 * left to others. Return: 0; an error; -ENODEV: disk or device have gone.
 */
static int virtio_tmem_wb_step(struct virtio_tmem_writeback *wb,
			       unsigned long slot)
{
	ktime_t begin = ktime_get();
	struct block_device *bdev;
	u64 us;
	int err;

	bdev = wb->ops->hold(wb);
	if (!bdev)
		return -ENODEV;
	err = virtio_tmem_wb_cluster(wb, bdev, slot);
	wb->ops->release(wb);
	us = min_t(u64, ktime_us_delta(ktime_get(), begin), VT_WB_LONGEST_REST);
	usleep_range(us, us + us / 4 + 1);
	return err;
}

/* Write back all clusters of an age and older ones. Return: 0 or the last error. */
static int virtio_tmem_wb_round(struct virtio_tmem_writeback *wb,
				unsigned int age, u32 now, unsigned int *errors)
{
	unsigned long slot = 0, nr_slots = wb->area->nr_slots;
	int ret, err = 0;

	for (;;) {
		slot = find_next_bit(wb->area->on_host, nr_slots, slot);
		if (slot >= nr_slots || !virtio_tmem_wb_wanted(wb) ||
		    *errors >= VT_WB_MAX_ERRORS)
			return err;
		slot = round_down(slot, VT_CLUSTER_SIZE);
		if (virtio_tmem_wb_age(wb, slot, now) >= age) {
			ret = virtio_tmem_wb_step(wb, slot);
			if (ret == -ENODEV) {
				*errors = VT_WB_MAX_ERRORS;
			} else if (ret) {
				/* What may fail for good must not always be first */
				virtio_tmem_wb_touch(wb, slot);
				err = ret;
				++*errors;
			}
		}
		slot += VT_CLUSTER_SIZE;
		cond_resched();
	}
}

static void virtio_tmem_wb_work(struct work_struct *work)
{
	struct virtio_tmem_writeback *wb =
		container_of(work, struct virtio_tmem_writeback, work.work);
	unsigned int age = UINT_MAX, errors = 0;
	unsigned long before;
	int ret, err = 0;
	u32 now;

	while (virtio_tmem_wb_wanted(wb) && errors < VT_WB_MAX_ERRORS) {
		before = wb->nr_moved;
		now = virtio_tmem_wb_now();
		age = min(age, virtio_tmem_wb_oldest(wb, now));
		ret = virtio_tmem_wb_round(wb, age, now, &errors);
		err = ret ?: err;
		if (wb->nr_moved != before)
			age = UINT_MAX;
		else if (age)
			/* What is older than that cannot be had */
			age--;
		else
			break;
	}
	if (err)
		pr_warn_ratelimited("virtio_tmem %s: pages of %s could not be got, or not written to its disk (error %d): they stay where they are\n",
				    virtio_tmem_name(virtio_tmem_pool_device(wb->area->pool)),
				    wb->area->name, err);
	if (virtio_tmem_wb_wanted(wb))
		queue_delayed_work(virtio_tmem_wb_wq, &wb->work, VT_WB_RETRY);
}

void virtio_tmem_wb_start(struct virtio_tmem_writeback *wb)
{
	if (virtio_tmem_wb_wanted(wb))
		mod_delayed_work(virtio_tmem_wb_wq, &wb->work, 0);
}

void virtio_tmem_wb_stop(struct virtio_tmem_writeback *wb)
{
	WRITE_ONCE(wb->stopped, true);
	cancel_delayed_work_sync(&wb->work);
}

void virtio_tmem_wb_init(struct virtio_tmem_writeback *wb,
			 const struct virtio_tmem_wb_ops *ops,
			 struct bio_set *bios)
{
	wb->ops = ops;
	wb->bios = bios;
	wb->stopped = true;
	init_rwsem(&wb->move_lock);
	spin_lock_init(&wb->lock);
	init_waitqueue_head(&wb->idle);
	INIT_DELAYED_WORK(&wb->work, virtio_tmem_wb_work);
}

int virtio_tmem_wb_alloc_pages(struct virtio_tmem_writeback *wb)
{
	unsigned int i;

	for (i = 0; i < VT_CLUSTER_SIZE; i++) {
		if (!wb->pages[i])
			wb->pages[i] = alloc_page(GFP_KERNEL);
		if (!wb->pages[i])
			return -ENOMEM;
	}
	return 0;
}

void virtio_tmem_wb_free_pages(struct virtio_tmem_writeback *wb)
{
	unsigned int i;

	for (i = 0; i < VT_CLUSTER_SIZE; i++)
		if (wb->pages[i])
			__free_page(wb->pages[i]);
}

int virtio_tmem_wb_alloc_slots(struct virtio_tmem_writeback *wb,
			       unsigned long nr_slots)
{
	wb->on_disk = kvcalloc(BITS_TO_LONGS(nr_slots), sizeof(long),
			       GFP_KERNEL | __GFP_NOWARN);
	wb->stamps = kvcalloc(DIV_ROUND_UP(nr_slots, VT_CLUSTER_SIZE),
			      sizeof(u32), GFP_KERNEL | __GFP_NOWARN);
	if (!wb->on_disk || !wb->stamps) {
		virtio_tmem_wb_free_slots(wb);
		return -ENOMEM;
	}
	wb->stopped = false;
	return 0;
}

void virtio_tmem_wb_free_slots(struct virtio_tmem_writeback *wb)
{
	kvfree(wb->on_disk);
	wb->on_disk = NULL;
	kvfree(wb->stamps);
	wb->stamps = NULL;
}

int virtio_tmem_wb_module_init(void)
{
	/* It gives memory back, also when there is little of it */
	virtio_tmem_wb_wq = alloc_workqueue("virtio_tmem_wb", WQ_UNBOUND |
					    WQ_FREEZABLE | WQ_MEM_RECLAIM, 0);
	return virtio_tmem_wb_wq ? 0 : -ENOMEM;
}

void virtio_tmem_wb_module_exit(void)
{
	/* Waits for the removal of disks whose last release was a moment ago */
	destroy_workqueue(virtio_tmem_wb_wq);
}
