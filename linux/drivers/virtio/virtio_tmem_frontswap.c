// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Virtio transcendent memory (tmem) driver: frontswap front end.
 *
 * The swap core offers each page that it is about to write to a swap area; what
 * is taken here is not written. The rules:
 *
 * - A page of one repeated word is kept in the guest, as that word. A slot's
 *   page is in exactly one place: here, on the host, or on the swap disk; or,
 *   with exclusive=1, in the swap cache only, dirty.
 * - What is taken must be given back: there is an older page on the disk. So a
 *   load that fails says -EIO, on which swap_readpage() fails the read instead
 *   of falling back to the disk (linux/patches).
 * - store() and load() run with the folio locked and may sleep.
 *   invalidate_page() mostly runs under a spinlock, at times with interrupts off.
 * - frontswap_ops can never be unregistered, so the state of the swap areas
 *   outlives the device.
 */

#include <linux/bitops.h>
#include <linux/frontswap.h>
#include <linux/highmem.h>
#include <linux/jump_label.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/swap.h>
#include <linux/swap_slots.h>
#include <linux/swapfile.h>
#include <linux/xarray.h>

#include "virtio_tmem.h"

static bool enabled = true;
module_param_named(frontswap, enabled, bool, 0644);
MODULE_PARM_DESC(frontswap, "Offer devices that are found to frontswap (default: on)");

static bool exclusive;
module_param(exclusive, bool, 0644);
MODULE_PARM_DESC(exclusive, "Drop a page from the host once it was got: less host memory, but it is put again when the guest needs the room (default: off)");

struct tmem_area {
	struct virtio_tmem_pool *pool;
	/* Bit n: the page of slot n is on the host */
	unsigned long *on_host;
	/* The words of same-filled pages, as value entries, by slot */
	struct xarray same_filled;
};

/*
 * By swap type. An area is set in init() and cleared in invalidate_area(),
 * between which the swap core makes all other calls for it: no lock is needed.
 */
static struct tmem_area *areas[MAX_SWAPFILES];

/* Protects the two below. Taken with swapon_mutex held. */
static DEFINE_MUTEX(frontswap_lock);
static struct virtio_tmem *frontswap_vt;
static bool registered;

/*
 * Whether @page repeats one word that fits into a value entry. Words with the
 * top bit set do not: such pages go to the host, which knows the same trick.
 */
static bool tmem_page_same_filled(struct page *page, unsigned long *word)
{
	const unsigned long *p = kmap_local_page(page);
	unsigned int i, last = PAGE_SIZE / sizeof(*p) - 1;
	bool same = p[0] <= LONG_MAX && p[0] == p[last];

	for (i = 1; same && i < last; i++)
		same = p[i] == p[0];
	*word = p[0];
	kunmap_local(p);
	return same;
}

static void tmem_page_fill(struct page *page, unsigned long word)
{
	unsigned long *p = kmap_local_page(page);

	memset_l(p, word, PAGE_SIZE / sizeof(word));
	kunmap_local(p);
}

/* Forget what the slot has, if anything. Atomic context. */
static void tmem_area_drop(struct tmem_area *area, pgoff_t offset)
{
	if (test_and_clear_bit(offset, area->on_host)) {
		virtio_tmem_flush(area->pool, offset);
	} else if (xa_load(&area->same_filled, offset)) {
		xa_erase(&area->same_filled, offset);
		virtio_tmem_count(virtio_tmem_pool_device(area->pool),
				  VT_STAT_SAME_FILLED_FREES);
	}
}

/*
 * Keep the word of a same-filled page. May be called in reclaim, where
 * PF_MEMALLOC would let the node that this may need come out of the reserves:
 * without the flag it just fails when memory is that low. GFP_NOWAIT never
 * recurses into reclaim.
 */
static bool tmem_area_keep(struct tmem_area *area, pgoff_t offset,
			   unsigned long word)
{
	unsigned int flags = current->flags;
	void *old;

	current->flags &= ~PF_MEMALLOC;
	old = xa_store(&area->same_filled, offset, xa_mk_value(word),
		       GFP_NOWAIT | __GFP_NOWARN);
	current_restore_flags(flags, PF_MEMALLOC);
	return !xa_err(old);
}

static int tmem_frontswap_store(unsigned int type, pgoff_t offset,
				struct page *page)
{
	struct tmem_area *area = areas[type];
	struct virtio_tmem *vt;
	unsigned long word;
	int err;

	/* Turned on before the device was there, or no pool could be had */
	if (!area)
		return -ENODEV;
	vt = virtio_tmem_pool_device(area->pool);

	/*
	 * frontswap would mark the first slot only, and loads of the others
	 * would read the disk.
	 */
	if (PageTransHuge(page)) {
		virtio_tmem_count(vt, VT_STAT_HUGE_REFUSED);
		return -EINVAL;
	}

	tmem_area_drop(area, offset);
	if (tmem_page_same_filled(page, &word) &&
	    tmem_area_keep(area, offset, word)) {
		virtio_tmem_count(vt, VT_STAT_SAME_FILLED_STORES);
		return 0;
	}

	err = virtio_tmem_put(area->pool, offset, page);
	if (!err)
		set_bit(offset, area->on_host);
	return err;
}

/*
 * A reboot may reset the device while tasks still run. They better wait: an
 * error would kill them (init among them) and turn the reboot into a panic. Not
 * for ever, though: the reboot may need a lock that such a task holds.
 */
static void tmem_wait_for_reboot(void)
{
	int seconds;

	for (seconds = 0; system_state > SYSTEM_RUNNING && seconds < 60; seconds++)
		schedule_timeout_uninterruptible(HZ);
}

/*
 * The guest has the only copy of the page from now on: dirty, it is put again
 * and not just dropped. That is for pages in the swap cache only; others (those
 * of synchronous swap devices) can be dropped before anybody has seen them, and
 * are then read from the slot once more.
 */
static void tmem_area_give_up(struct tmem_area *area, pgoff_t offset,
			      struct page *page)
{
	if (!PageSwapCache(page) || !test_and_clear_bit(offset, area->on_host))
		return;
	SetPageDirty(page);
	virtio_tmem_flush(area->pool, offset);
}

/* Return: 0 or -EIO, never what swap_readpage() takes for "not here" */
static int tmem_frontswap_load(unsigned int type, pgoff_t offset,
			       struct page *page)
{
	struct tmem_area *area = areas[type];
	struct virtio_tmem *vt;
	void *entry;
	int err;

	if (WARN_ON_ONCE(!area))
		return -EIO;
	vt = virtio_tmem_pool_device(area->pool);

	entry = xa_load(&area->same_filled, offset);
	if (entry) {
		tmem_page_fill(page, xa_to_value(entry));
		virtio_tmem_count(vt, VT_STAT_SAME_FILLED_LOADS);
		return 0;
	}

	err = virtio_tmem_get(area->pool, offset, page);
	if (!err) {
		if (READ_ONCE(exclusive))
			tmem_area_give_up(area, offset, page);
		return 0;
	}
	tmem_wait_for_reboot();
	pr_err_ratelimited("virtio_tmem %s: page at offset %lu of swap area %u is lost (error %d): who needs it gets SIGBUS\n",
			   virtio_tmem_name(vt), offset, type, err);
	return -EIO;
}

static void tmem_frontswap_invalidate_page(unsigned int type, pgoff_t offset)
{
	struct tmem_area *area = areas[type];

	if (area)
		tmem_area_drop(area, offset);
}

static void tmem_area_free(struct tmem_area *area)
{
	virtio_tmem_pool_destroy(area->pool);
	xa_destroy(&area->same_filled);
	kvfree(area->on_host);
	kfree(area);
}

static void tmem_frontswap_invalidate_area(unsigned int type)
{
	struct tmem_area *area = areas[type];

	if (!area)
		return;
	areas[type] = NULL;
	tmem_area_free(area);
}

static struct tmem_area *tmem_area_alloc(struct virtio_tmem *vt,
					 unsigned long nr_slots)
{
	struct virtio_tmem_pool *pool;
	struct tmem_area *area;

	area = kzalloc(sizeof(*area), GFP_KERNEL);
	if (!area)
		return ERR_PTR(-ENOMEM);
	xa_init(&area->same_filled);
	area->on_host = kvcalloc(BITS_TO_LONGS(nr_slots), sizeof(long),
				 GFP_KERNEL);
	if (!area->on_host) {
		tmem_area_free(area);
		return ERR_PTR(-ENOMEM);
	}
	pool = virtio_tmem_pool_create(vt, nr_slots);
	if (IS_ERR(pool)) {
		tmem_area_free(area);
		return ERR_CAST(pool);
	}
	area->pool = pool;
	return area;
}

static void tmem_frontswap_init(unsigned int type)
{
	struct tmem_area *area = ERR_PTR(-ENODEV);
	struct virtio_tmem *vt;

	mutex_lock(&frontswap_lock);
	vt = frontswap_vt;
	if (vt)
		virtio_tmem_ref(vt);
	mutex_unlock(&frontswap_lock);
	if (!vt)
		return;

	if (!WARN_ON_ONCE(areas[type]))
		area = tmem_area_alloc(vt, swap_info[type]->max);
	if (IS_ERR(area))
		pr_warn("virtio_tmem %s: no pool for swap area %u (error %ld): it uses its disk only\n",
			virtio_tmem_name(vt), type, PTR_ERR(area));
	else
		areas[type] = area;
	virtio_tmem_unref(vt);
}

static const struct frontswap_ops tmem_frontswap_ops = {
	.init = tmem_frontswap_init,
	.store = tmem_frontswap_store,
	.load = tmem_frontswap_load,
	.invalidate_page = tmem_frontswap_invalidate_page,
	.invalidate_area = tmem_frontswap_invalidate_area,
};

void virtio_tmem_frontswap_attach(struct virtio_tmem *vt)
{
	const char *name = virtio_tmem_name(vt);

	if (!enabled) {
		pr_info("virtio_tmem %s: not used, virtio_tmem.frontswap is off\n",
			name);
		return;
	}

	mutex_lock(&frontswap_lock);
	if (frontswap_vt) {
		pr_warn("virtio_tmem %s: not used, frontswap already has %s\n",
			name, virtio_tmem_name(frontswap_vt));
		goto unlock;
	}
	if (!registered && frontswap_register_ops(&tmem_frontswap_ops)) {
		pr_err("virtio_tmem %s: not used, frontswap belongs to another backend (zswap, if the kernel has it): the device must be there at boot\n",
		       name);
		goto unlock;
	}
	registered = true;
	virtio_tmem_ref(vt);
	frontswap_vt = vt;
	static_branch_inc(&swap_base_pages_key);
	pr_info("virtio_tmem %s: frontswap backend, swapped-out pages go to the host%s\n",
		name, IS_ENABLED(CONFIG_ZSWAP) ? "; zswap stays off" : "");
	if (total_swap_pages)
		pr_warn("virtio_tmem %s: swap areas that are on already use it after swapoff and swapon\n",
			name);
unlock:
	mutex_unlock(&frontswap_lock);
}

void virtio_tmem_frontswap_detach(struct virtio_tmem *vt)
{
	bool mine;

	mutex_lock(&frontswap_lock);
	mine = frontswap_vt == vt;
	if (mine) {
		frontswap_vt = NULL;
		static_branch_dec(&swap_base_pages_key);
	}
	mutex_unlock(&frontswap_lock);
	if (mine)
		virtio_tmem_unref(vt);
}
