// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Virtio transcendent memory (tmem) driver: what the frontswap front end does of
 * itself, inside the swap core.
 *
 * Write-back (virtio_tmem_writeback.c has it, and says why no page is lost) takes
 * pages past the swap cache to the slots of the swap area. What it stands on here:
 *
 * - The swap area is there for as long as a cluster is written: swapoff waits for
 *   get_swap_device(). It frees extents and disk only after that.
 * - The core writes to a slot of the disk only when store() has refused the page,
 *   and store() does not say so before what is on its way to the slot has arrived.
 * - frontswap's own bit of a slot stays set when its page moves to the disk. So
 *   frees are still told to us, and a load asks us first. It may read the disk
 *   when we say so, which we do for slots of wb.on_disk only; the bit of that is
 *   set after the write has completed and before the host's copy is dropped, with
 *   no load in between (move_lock).
 * - A load, or a page in the swap cache, pins the slot: it cannot be freed or be
 *   stored again before the load has read the disk.
 *
 * Self-shrinking is the other way: when the guest has much free memory, pages
 * are read into the swap cache, as for read-ahead, and the host's copy is dropped
 * with the page locked, uptodate and made dirty: so it is stored again before it
 * can go. Nothing is reclaimed for it: when there is no free page, or the memory
 * cgroup has no room for one, the page stays on the host.
 */

#include <linux/list.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pagemap.h>
#include <linux/swap.h>
#include <linux/swap_cgroup.h>
#include <linux/swapfile.h>
#include <linux/swapops.h>
#include <linux/vmstat.h>

#include "../../mm/swap.h"
#include "virtio_tmem_int.h"
#include "virtio_tmem_swapcore.h"

/* Pages of an area that are pulled in at a time, and how often that is */
#define VT_SHRINK_PAGES		256
#define VT_SHRINK_DELAY		HZ

/* Protects the list */
static DEFINE_MUTEX(shrink_lock);
static LIST_HEAD(swap_areas);

static unsigned int selfshrink;

static int selfshrink_set(const char *val, const struct kernel_param *kp)
{
	struct virtio_tmem_swap_area *sa;
	unsigned int percent;

	if (kstrtouint(val, 0, &percent) || percent > 100) {
		pr_err("virtio_tmem: selfshrink is a percentage of the memory, 0 to 100\n");
		return -EINVAL;
	}
	WRITE_ONCE(selfshrink, percent);
	mutex_lock(&shrink_lock);
	list_for_each_entry(sa, &swap_areas, node)
		mod_delayed_work(virtio_tmem_wb_wq, &sa->shrink_work, 0);
	mutex_unlock(&shrink_lock);
	return 0;
}

static const struct kernel_param_ops selfshrink_ops = {
	.set = selfshrink_set,
	.get = param_get_uint,
};

module_param_cb(selfshrink, &selfshrink_ops, &selfshrink, 0644);
MODULE_PARM_DESC(selfshrink, "frontswap: pull pages in while more than so many percent of the memory are free; 0: never (default: 0)");

unsigned long virtio_tmem_swapcore_slots(unsigned int type)
{
	return swap_info[type]->max;
}

static struct block_device *tmem_hold_disk(struct virtio_tmem_writeback *wb)
{
	struct virtio_tmem_swap_area *sa =
		container_of(wb, struct virtio_tmem_swap_area, wb);
	struct swap_info_struct *si;
	unsigned long flags;

	/* Slot 0 is the header: there is always another one */
	si = get_swap_device(swp_entry(sa->type, 1));
	if (!si)
		return NULL;
	/*
	 * swapoff empties it, faster than we do. And what is not a disk, but a
	 * file that only its file system can write to, is left alone.
	 */
	flags = data_race(si->flags);
	if (flags & SWP_WRITEOK && !(flags & SWP_FS_OPS) && si->bdev)
		return si->bdev;
	put_swap_device(si);
	return NULL;
}

static void tmem_release_disk(struct virtio_tmem_writeback *wb)
{
	put_swap_device(swap_info[container_of(wb, struct virtio_tmem_swap_area,
					       wb)->type]);
}

static sector_t tmem_disk_sector(struct virtio_tmem_writeback *wb,
				 unsigned long slot, struct page *page)
{
	struct virtio_tmem_swap_area *sa =
		container_of(wb, struct virtio_tmem_swap_area, wb);

	/* Where the core writes a page of its swap cache */
	set_page_private(page, swp_entry(sa->type, slot).val);
	return swap_page_sector(page);
}

static const struct virtio_tmem_wb_ops tmem_wb_ops = {
	.hold = tmem_hold_disk,
	.release = tmem_release_disk,
	.sector = tmem_disk_sector,
};

/* Pages that are to be pulled in now */
static unsigned int virtio_tmem_shrink_pages(void)
{
	unsigned long keep = mult_frac(totalram_pages(),
				       (unsigned long)READ_ONCE(selfshrink), 100);
	unsigned long nr_free = global_zone_page_state(NR_FREE_PAGES);

	return nr_free > keep ? min_t(unsigned long, nr_free - keep,
				      VT_SHRINK_PAGES) : 0;
}

/*
 * Whether the memory cgroup of a page has room for more than it. One at its high
 * mark would be charged, and its tasks have to pay for that.
 */
#ifdef CONFIG_MEMCG
static bool virtio_tmem_cgroup_has_room(swp_entry_t entry)
{
	struct mem_cgroup *memcg;
	bool room = true;

	/* There is no map of swap entries to cgroups then */
	if (mem_cgroup_disabled())
		return true;
	rcu_read_lock();
	memcg = mem_cgroup_from_id(lookup_swap_cgroup_id(entry));
	for (; memcg && room; memcg = parent_mem_cgroup(memcg))
		room = page_counter_read(&memcg->memory) + VT_SHRINK_PAGES <
		       min(READ_ONCE(memcg->memory.high),
			   READ_ONCE(memcg->memory.max));
	rcu_read_unlock();
	return room;
}
#else
static bool virtio_tmem_cgroup_has_room(swp_entry_t entry)
{
	return true;
}
#endif

/*
 * Called with the swap area held. Return: false: there was a page that cannot be
 * read, and there may be many.
 */
static bool virtio_tmem_pull_in(struct virtio_tmem_swap_area *sa,
				unsigned long slot)
{
	gfp_t gfp = (GFP_HIGHUSER_MOVABLE & ~__GFP_RECLAIM) | __GFP_NOWARN;
	swp_entry_t entry = swp_entry(sa->type, slot);
	struct page *page;
	bool lost = false;

	if (!virtio_tmem_cgroup_has_room(entry))
		return true;
	page = read_swap_cache_async(entry, gfp, NULL, 0, false, NULL);
	if (!page)
		return true;
	virtio_tmem_delay(VT_DELAY_SHRINK_READ);
	/* Who has it locked needs it, and may be about to free the slot */
	if (trylock_page(page)) {
		/* It may be another slot's by now, and one that failed is lost */
		bool ours = PageSwapCache(page) &&
			    page_private(page) == entry.val;

		lost = ours && !PageUptodate(page);
		/* A poisoned one can be read again for as long as it is clean */
		if (ours && !lost && !PageHWPoison(page) &&
		    !PageTransCompound(page) &&
		    virtio_tmem_give_up(sa, slot, page))
			virtio_tmem_count(virtio_tmem_pool_device(sa->area->pool),
					  VT_STAT_PULLED_IN);
		unlock_page(page);
	}
	put_page(page);
	return !lost;
}

static void virtio_tmem_shrink_work(struct work_struct *work)
{
	struct virtio_tmem_swap_area *sa =
		container_of(work, struct virtio_tmem_swap_area,
			     shrink_work.work);
	unsigned long slot, nr_slots = sa->area->nr_slots;
	bool good = true;
	unsigned int nr;

	/* At the end of all, loads wait for it */
	if (!READ_ONCE(selfshrink) || system_state > SYSTEM_RUNNING)
		return;
	for (nr = virtio_tmem_shrink_pages(); nr; nr--) {
		slot = find_next_bit(sa->area->on_host, nr_slots,
				     sa->shrink_hand);
		/* Those that were left out get another turn */
		sa->shrink_hand = slot < nr_slots ? slot + 1 : 0;
		if (slot >= nr_slots || READ_ONCE(sa->area->target->paused) ||
		    !tmem_hold_disk(&sa->wb))
			break;
		good = virtio_tmem_pull_in(sa, slot);
		tmem_release_disk(&sa->wb);
		if (!good)
			break;
		cond_resched();
	}
	/* With a device that loses pages, not again before somebody asks for it */
	if (good)
		queue_delayed_work(virtio_tmem_wb_wq, &sa->shrink_work,
				   VT_SHRINK_DELAY);
}

/* Return: 0 or -ENOMEM, then it is as if nothing was done */
static int virtio_tmem_swapcore_init_wb(struct virtio_tmem_swap_area *sa)
{
	int err;

	err = bioset_init(&sa->bios, BIO_POOL_SIZE, 0, BIOSET_NEED_BVECS);
	if (err)
		return err;
	err = virtio_tmem_wb_alloc_pages(&sa->wb) ?:
	      virtio_tmem_wb_alloc_slots(&sa->wb, sa->area->nr_slots);
	if (err) {
		virtio_tmem_wb_free_pages(&sa->wb);
		bioset_exit(&sa->bios);
	}
	return err;
}

int virtio_tmem_swapcore_init(struct virtio_tmem_swap_area *sa)
{
	int err;

	INIT_DELAYED_WORK(&sa->shrink_work, virtio_tmem_shrink_work);
	virtio_tmem_wb_init(&sa->wb, &tmem_wb_ops, &sa->bios);
	sa->wb.area = sa->area;
	err = virtio_tmem_swapcore_init_wb(sa);
	if (err)
		return err;

	mutex_lock(&shrink_lock);
	list_add(&sa->node, &swap_areas);
	if (selfshrink)
		queue_delayed_work(virtio_tmem_wb_wq, &sa->shrink_work,
				   VT_SHRINK_DELAY);
	mutex_unlock(&shrink_lock);
	return 0;
}

void virtio_tmem_swapcore_exit(struct virtio_tmem_swap_area *sa)
{
	mutex_lock(&shrink_lock);
	list_del(&sa->node);
	mutex_unlock(&shrink_lock);
	cancel_delayed_work_sync(&sa->shrink_work);
	virtio_tmem_wb_stop(&sa->wb);
	virtio_tmem_wb_free_slots(&sa->wb);
	virtio_tmem_wb_free_pages(&sa->wb);
	bioset_exit(&sa->bios);
}
