// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Virtio transcendent memory (tmem) driver: frontswap front end.
 *
 * The swap core offers each page that it is about to write to a swap area; what
 * is taken here is not written. The rules:
 *
 * - A page of one repeated word is kept in the guest, as that word. A slot's
 *   page is in exactly one place: here, on the host, or on the swap disk, where
 *   the core has put it, or we have (virtio_tmem_swapcore.c); or in the swap cache
 *   only, dirty, with exclusive=1 or selfshrink.
 * - What is taken must be given back: there is an older page on the disk. So a
 *   load that fails says -EIO, on which swap_readpage() fails the read instead
 *   of falling back to the disk (linux/patches). Where it cannot be told that,
 *   the load does not return: see tmem_wait_for_lost().
 * - store() and load() run with the folio locked and may sleep.
 *   invalidate_page() mostly runs under a spinlock, at times with interrupts off.
 * - frontswap_ops can never be unregistered, so the state of the swap areas
 *   outlives the device.
 */

#include <linux/frontswap.h>
#include <linux/jump_label.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/swap.h>
#include <linux/swap_slots.h>

#include "virtio_tmem_int.h"
#include "virtio_tmem_swapcore.h"

/* To frontswap_load(), as anything but 0 and -EIO: the disk has the page */
#define TMEM_ON_DISK	1

static bool enabled = true;
module_param_named(frontswap, enabled, bool, 0644);
MODULE_PARM_DESC(frontswap, "Offer a device that is found to frontswap; off: make it a swap device (default: on)");

static bool exclusive;
module_param(exclusive, bool, 0644);
MODULE_PARM_DESC(exclusive, "Drop a page from the host once it was got: less host memory, but it is put again when the guest needs the room (default: off)");

/*
 * By swap type. An area is set in init() and cleared in invalidate_area(),
 * between which the swap core makes all other calls for it: they need no lock.
 * Others hold frontswap_lock, which is held when it is cleared.
 */
static struct virtio_tmem_swap_area *areas[MAX_SWAPFILES];

/* Protects frontswap_vt as well. Taken with swapon_mutex held. */
static DEFINE_MUTEX(frontswap_lock);
static struct virtio_tmem *frontswap_vt;
/* Written by who has just become frontswap_vt */
static bool registered;

void virtio_tmem_swap_area_drop(struct virtio_tmem_swap_area *sa,
				unsigned long slot)
{
	if (sa->wb.on_disk)
		virtio_tmem_wb_drop(&sa->wb, slot);
	else
		virtio_tmem_area_drop(sa->area, slot);
}

static int tmem_frontswap_store(unsigned int type, pgoff_t offset,
				struct page *page)
{
	struct virtio_tmem_swap_area *sa = areas[type];
	int err;

	/* Turned on before the device was there, or no pool could be had */
	if (!sa)
		return -ENODEV;
	if (offset >= sa->area->nr_slots)
		return -ENOSPC;

	/*
	 * frontswap would mark the first slot only, and loads of the others
	 * would read the disk.
	 */
	if (PageTransHuge(page)) {
		virtio_tmem_count(virtio_tmem_pool_device(sa->area->pool),
				  VT_STAT_HUGE_REFUSED);
		err = -EINVAL;
	} else {
		virtio_tmem_swap_area_drop(sa, offset);
		err = virtio_tmem_area_store(sa->area, offset, page);
	}
	if (!sa->wb.on_disk)
		return err;
	if (err) {
		virtio_tmem_delay(VT_DELAY_STORE_REFUSED);
		/* The core writes to the disk now: not before we have */
		virtio_tmem_wb_wait(&sa->wb, offset, thp_nr_pages(page));
	} else {
		virtio_tmem_wb_touch(&sa->wb, offset);
	}
	return err;
}

/*
 * Dirty, the page is put again and not just dropped. That is for pages in the
 * swap cache only; others (those of synchronous swap devices) can be dropped before
 * anybody has seen them, and are then read from the slot once more.
 */
bool virtio_tmem_give_up(struct virtio_tmem_swap_area *sa, unsigned long slot,
			 struct page *page)
{
	if (!PageSwapCache(page) || !test_bit(slot, sa->area->on_host))
		return false;
	SetPageDirty(page);
	/* If it has gone to the disk just now, that is dropped as well */
	virtio_tmem_swap_area_drop(sa, slot);
	return true;
}

#ifndef VT_HAVE_FRONTSWAP_LOAD_ERROR
/*
 * Whatever is returned here but success, the kernel reads the old page from the
 * disk; on success it lets all who share the page see it. There is no way to
 * fail: hardware-poisoned pages are refused only to those who find them in the
 * swap cache, not to who reads them (do_swap_page()). So who needs the page
 * waits, and gets it should the device ever have it again.
 */
static int tmem_wait_for_lost(struct virtio_tmem_area *area, pgoff_t offset,
			      struct page *page, int err)
{
	do {
		pr_err_ratelimited("virtio_tmem %s: who needs the page in slot %lu of %s waits for ever: this kernel knows no failed reads\n",
				   virtio_tmem_name(virtio_tmem_pool_device(area->pool)),
				   offset, area->name);
		schedule_timeout_uninterruptible(10 * HZ);
		err = virtio_tmem_area_load(area, offset, page);
	} while (err);
	return 0;
}

#else
static int tmem_wait_for_lost(struct virtio_tmem_area *area, pgoff_t offset,
			      struct page *page, int err)
{
	return virtio_tmem_area_lost(area, offset, err);
}
#endif

/*
 * Return: as virtio_tmem_area_load(), or TMEM_ON_DISK. What is to be done
 * about a page that is lost may take long, and is not for under the lock.
 */
static int tmem_load(struct virtio_tmem_swap_area *sa, pgoff_t offset,
		     struct page *page)
{
	int err;

	if (!sa->wb.on_disk)
		return virtio_tmem_area_load(sa->area, offset, page);
	down_read(&sa->wb.move_lock);
	if (test_bit(offset, sa->wb.on_disk)) {
		virtio_tmem_count(virtio_tmem_pool_device(sa->area->pool),
				  VT_STAT_BACKING_READS);
		err = TMEM_ON_DISK;
	} else {
		virtio_tmem_delay(VT_DELAY_LOAD);
		err = virtio_tmem_area_load(sa->area, offset, page);
	}
	up_read(&sa->wb.move_lock);
	return err;
}

/*
 * Return: 0 or -EIO, and what swap_readpage() takes for "not here" only where
 * another backend may have the page, or the disk has it
 */
static int tmem_frontswap_load(unsigned int type, pgoff_t offset,
			       struct page *page)
{
	struct virtio_tmem_swap_area *sa = areas[type];
	int err;

	if (vt_frontswap_is_shared() && (!sa || offset >= sa->area->nr_slots))
		return -ENODATA;
	if (WARN_ON_ONCE(!sa))
		return -EIO;
	err = tmem_load(sa, offset, page);
	if (err == TMEM_ON_DISK ||
	    (err == -ENODATA && vt_frontswap_is_shared()))
		return err;
	/* It was stored once, so there must be one */
	if (WARN_ON_ONCE(err == -ENODATA))
		return -EIO;
	if (err)
		err = tmem_wait_for_lost(sa->area, offset, page, err);
	if (!err && READ_ONCE(exclusive))
		virtio_tmem_give_up(sa, offset, page);
	return err;
}

static void tmem_frontswap_invalidate_page(unsigned int type, pgoff_t offset)
{
	struct virtio_tmem_swap_area *sa = areas[type];

	if (sa && offset < sa->area->nr_slots)
		virtio_tmem_swap_area_drop(sa, offset);
}

static void tmem_free_swap_area(struct virtio_tmem_swap_area *sa)
{
	virtio_tmem_swapcore_exit(sa);
	virtio_tmem_area_destroy(sa->area);
	kfree(sa);
}

static void tmem_frontswap_invalidate_area(unsigned int type)
{
	struct virtio_tmem_swap_area *sa;

	mutex_lock(&frontswap_lock);
	sa = xchg(&areas[type], NULL);
	mutex_unlock(&frontswap_lock);
	if (sa)
		tmem_free_swap_area(sa);
}

/* How many slots of a swap area are looked after; the others go to its disk. */
static unsigned long tmem_area_slots(struct virtio_tmem *vt, unsigned int type)
{
#ifdef MODULE
	/*
	 * How large the area is, modules are not told. This is what it takes to
	 * use the store up when pages compress to an eighth, and half of what is
	 * swapped out is on the disk: 10 bytes for each page of the store. But
	 * the device is not to be trusted with that: at most 16 slots for each
	 * page of the guest.
	 */
	return min_t(u64, virtio_tmem_max_pages(vt), totalram_pages()) * 16;
#else
	return virtio_tmem_swapcore_slots(type);
#endif
}

static struct virtio_tmem_swap_area *tmem_make_swap_area(struct virtio_tmem *vt,
							 unsigned int type,
							 const char *name)
{
	struct virtio_tmem_swap_area *sa;
	int err;

	sa = kzalloc(sizeof(*sa), GFP_KERNEL);
	if (!sa)
		return ERR_PTR(-ENOMEM);
	sa->type = type;
	sa->area = virtio_tmem_area_create(vt, tmem_area_slots(vt, type), name);
	if (IS_ERR(sa->area)) {
		err = PTR_ERR(sa->area);
		goto fail;
	}
	err = virtio_tmem_swapcore_init(sa);
	if (!err)
		return sa;
	virtio_tmem_area_destroy(sa->area);
fail:
	kfree(sa);
	return ERR_PTR(err);
}

/*
 * Some kernels call this at registration too, for areas that are on already, and
 * may then call it twice for one that is just being turned on.
 */
static void tmem_frontswap_init(unsigned int type)
{
	struct virtio_tmem_swap_area *sa;
	struct virtio_tmem *vt;
	char name[20];

	mutex_lock(&frontswap_lock);
	vt = frontswap_vt;
	if (vt)
		virtio_tmem_ref(vt);
	mutex_unlock(&frontswap_lock);
	if (!vt)
		return;

	snprintf(name, sizeof(name), "swap area %u", type);
	sa = tmem_make_swap_area(vt, type, name);
	if (IS_ERR(sa)) {
		pr_warn("virtio_tmem %s: no pool for %s (error %ld): it uses its disk only\n",
			virtio_tmem_name(vt), name, PTR_ERR(sa));
	} else if (cmpxchg(&areas[type], NULL, sa)) {
		tmem_free_swap_area(sa);
	}
	virtio_tmem_unref(vt);
}

static const struct frontswap_ops tmem_frontswap_ops = {
	.init = tmem_frontswap_init,
	.store = tmem_frontswap_store,
	.load = tmem_frontswap_load,
	.invalidate_page = tmem_frontswap_invalidate_page,
	.invalidate_area = tmem_frontswap_invalidate_area,
};

/* Only one device at a time gets here: that of frontswap_vt */
static int tmem_frontswap_register(void)
{
	int err;

	/*
	 * There is no way to unregister: from here on frontswap calls into this
	 * code at any time. So a module stays, and one that is on its way out
	 * does not register.
	 */
	if (!try_module_get(THIS_MODULE))
		return -ENODEV;
	err = frontswap_register_ops(&tmem_frontswap_ops);
	if (err)
		module_put(THIS_MODULE);
	else
		registered = true;
	return err;
}

/* Return: whether frontswap had this device until now */
static bool tmem_frontswap_withdraw(struct virtio_tmem *vt)
{
	bool mine;

	mutex_lock(&frontswap_lock);
	mine = frontswap_vt == vt;
	if (mine)
		frontswap_vt = NULL;
	mutex_unlock(&frontswap_lock);
	if (mine)
		virtio_tmem_unref(vt);
	return mine;
}

bool virtio_tmem_frontswap_attach(struct virtio_tmem *vt)
{
	const char *name = virtio_tmem_name(vt);
	bool late;

	if (!enabled)
		return false;

	mutex_lock(&frontswap_lock);
	if (frontswap_vt) {
		pr_info("virtio_tmem %s: frontswap already has %s\n",
			name, virtio_tmem_name(frontswap_vt));
		mutex_unlock(&frontswap_lock);
		return false;
	}
	virtio_tmem_ref(vt);
	frontswap_vt = vt;
	mutex_unlock(&frontswap_lock);

	late = total_swap_pages && (registered || !vt_frontswap_is_shared());
	/* Not under the lock: it may call tmem_frontswap_init() */
	if (!registered && tmem_frontswap_register()) {
		pr_err("virtio_tmem %s: frontswap belongs to another backend (zswap, if the kernel has it): for this one the device must be there at boot\n",
		       name);
		tmem_frontswap_withdraw(vt);
		return false;
	}
	static_branch_inc(&swap_base_pages_key);
	pr_info("virtio_tmem %s: frontswap backend, swapped-out pages go to the host%s\n",
		name, vt_frontswap_is_shared() || !IS_ENABLED(CONFIG_ZSWAP) ?
		"" : "; zswap stays off");
	if (late)
		pr_warn("virtio_tmem %s: swap areas that are on already use it after swapoff and swapon\n",
			name);
	return true;
}

void virtio_tmem_frontswap_detach(struct virtio_tmem *vt)
{
	if (tmem_frontswap_withdraw(vt))
		static_branch_dec(&swap_base_pages_key);
}

void virtio_tmem_frontswap_write_back(struct virtio_tmem *vt)
{
	struct virtio_tmem_swap_area *sa;
	unsigned int type;

	mutex_lock(&frontswap_lock);
	for (type = 0; type < MAX_SWAPFILES; type++) {
		sa = READ_ONCE(areas[type]);
		if (sa && sa->wb.on_disk &&
		    virtio_tmem_pool_device(sa->area->pool) == vt)
			virtio_tmem_wb_start(&sa->wb);
	}
	mutex_unlock(&frontswap_lock);
}
