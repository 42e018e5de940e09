// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Virtio transcendent memory (tmem) driver: swap areas.
 */

#include <linux/bitmap.h>
#include <linux/highmem.h>
#include <linux/jiffies.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "virtio_tmem_area.h"
#include "virtio_tmem_compat.h"

/*
 * A host that has just said no is left alone for so long: each question would be
 * a notification and an answer for nothing.
 */
#define VT_FULL_DELAY	msecs_to_jiffies(10)

/*
 * Whether @page repeats one word that fits into a value entry. Words with the
 * top bit set do not: such pages go to the host, which knows the same trick.
 */
static bool virtio_tmem_same_filled(struct page *page, unsigned long *word)
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

static void virtio_tmem_fill(struct page *page, unsigned long word)
{
	unsigned long *p = kmap_local_page(page);

	memset_l(p, word, PAGE_SIZE / sizeof(word));
	kunmap_local(p);
}

/*
 * Keep the word of a same-filled page. May be called in reclaim, where
 * PF_MEMALLOC would let the node that this may need come out of the reserves:
 * without the flag it just fails when memory is that low. GFP_NOWAIT never
 * recurses into reclaim.
 */
static bool virtio_tmem_area_keep(struct virtio_tmem_area *area,
				  unsigned long slot, unsigned long word)
{
	unsigned int flags = current->flags;
	void *old;

	current->flags &= ~PF_MEMALLOC;
	old = xa_store(&area->same_filled, slot, xa_mk_value(word),
		       GFP_NOWAIT | __GFP_NOWARN);
	current_restore_flags(flags, PF_MEMALLOC);
	return !xa_err(old);
}

void virtio_tmem_area_drop(struct virtio_tmem_area *area, unsigned long slot)
{
	if (test_and_clear_bit(slot, area->on_host)) {
		atomic_long_dec(&area->target->held);
		virtio_tmem_flush(area->pool, slot);
	} else if (xa_load(&area->same_filled, slot)) {
		xa_erase(&area->same_filled, slot);
		virtio_tmem_count(virtio_tmem_pool_device(area->pool),
				  VT_STAT_SAME_FILLED_FREES);
	}
}

static void virtio_tmem_area_set_on_host(struct virtio_tmem_area *area,
					 unsigned long slot)
{
	set_bit(slot, area->on_host);
	atomic_long_inc(&area->target->held);
}

/* Whether the host wants no more, or has said a moment ago that it has no room */
static bool virtio_tmem_area_full(struct virtio_tmem_area *area)
{
	if (atomic_long_read(&area->target->held) >= READ_ONCE(area->target->pages))
		return true;
	if (!READ_ONCE(area->full))
		return false;
	if (time_before(jiffies, READ_ONCE(area->full_until)))
		return true;
	WRITE_ONCE(area->full, false);
	return false;
}

static void virtio_tmem_area_set_full(struct virtio_tmem_area *area)
{
	WRITE_ONCE(area->full_until, jiffies + VT_FULL_DELAY);
	WRITE_ONCE(area->full, true);
}

/* Return: whether the page is kept here, and so has no need of the host */
static bool virtio_tmem_area_keep_same(struct virtio_tmem_area *area,
				       unsigned long slot, struct page *page)
{
	unsigned long word;

	if (!virtio_tmem_same_filled(page, &word) ||
	    !virtio_tmem_area_keep(area, slot, word))
		return false;
	virtio_tmem_count(virtio_tmem_pool_device(area->pool),
			  VT_STAT_SAME_FILLED_STORES);
	return true;
}

int virtio_tmem_area_store(struct virtio_tmem_area *area, unsigned long slot,
			   struct page *page)
{
	int err;

	virtio_tmem_area_drop(area, slot);
	if (virtio_tmem_area_keep_same(area, slot, page))
		return 0;
	if (virtio_tmem_area_full(area)) {
		virtio_tmem_count(virtio_tmem_pool_device(area->pool),
				  VT_STAT_PUTS_REJECTED);
		return -ENOSPC;
	}
	err = virtio_tmem_put(area->pool, slot, page);
	if (!err)
		virtio_tmem_area_set_on_host(area, slot);
	else if (err == -ENOSPC)
		virtio_tmem_area_set_full(area);
	return err;
}

/* Put pages, none of them same-filled. Return: how many, from the first on. */
static unsigned int virtio_tmem_area_put_many(struct virtio_tmem_area *area,
					      unsigned long slot,
					      struct page *page,
					      unsigned int nr)
{
	unsigned int i;
	u32 stored;
	int err;

	if (virtio_tmem_area_full(area)) {
		virtio_tmem_count_many(virtio_tmem_pool_device(area->pool),
				       VT_STAT_PUTS_REJECTED, nr);
		return 0;
	}
	err = virtio_tmem_put_many(area->pool, slot, page, nr, &stored);
	if (err == -ENOSPC)
		virtio_tmem_area_set_full(area);
	for (i = 0; i < nr; i++)
		if (stored & BIT(i))
			virtio_tmem_area_set_on_host(area, slot + i);
	return stored == GENMASK(nr - 1, 0) ? nr : ffs(~stored) - 1;
}

unsigned int virtio_tmem_area_store_many(struct virtio_tmem_area *area,
					 unsigned long slot, struct page *page,
					 unsigned int nr)
{
	unsigned int i, n, first = 0;

	for (i = 0; i < nr; i++)
		virtio_tmem_area_drop(area, slot + i);
	for (i = 0; i <= nr; i++) {
		/* A run of pages for the host ends here */
		if (i < nr && !virtio_tmem_area_keep_same(area, slot + i, page + i))
			continue;
		n = i - first;
		if (n && virtio_tmem_area_put_many(area, slot + first,
						   page + first, n) < n)
			break;
		first = i + 1;
	}
	if (i > nr)
		return nr;
	/* How far the last put got, bit by bit */
	for (i = first; i < nr && test_bit(slot + i, area->on_host); i++)
		;
	return i;
}

/*
 * A reboot may reset the device while tasks still run. They better wait: an
 * error would kill them (init among them) and turn the reboot into a panic. Not
 * for ever, though: the reboot may need a lock that such a task holds.
 */
static void virtio_tmem_wait_for_reboot(void)
{
	int seconds;

	for (seconds = 0; system_state > SYSTEM_RUNNING && seconds < 60; seconds++)
		schedule_timeout_uninterruptible(HZ);
}

int virtio_tmem_area_lost(struct virtio_tmem_area *area, unsigned long slot,
			  int err)
{
	virtio_tmem_wait_for_reboot();
	pr_err_ratelimited("virtio_tmem %s: page in slot %lu of %s is lost (error %d): who needs it gets SIGBUS\n",
			   virtio_tmem_name(virtio_tmem_pool_device(area->pool)),
			   slot, area->name, err);
	return -EIO;
}

int virtio_tmem_area_load(struct virtio_tmem_area *area, unsigned long slot,
			  struct page *page)
{
	struct virtio_tmem *vt = virtio_tmem_pool_device(area->pool);
	void *entry;
	int err;

	entry = xa_load(&area->same_filled, slot);
	if (entry) {
		virtio_tmem_fill(page, xa_to_value(entry));
		virtio_tmem_count(vt, VT_STAT_SAME_FILLED_LOADS);
		return 0;
	}
	if (!test_bit(slot, area->on_host))
		return -ENODATA;

	err = virtio_tmem_get(area->pool, slot, page);
	/* Put anew or freed meanwhile, which only happens to who just looks at a disk */
	if (err == -ENOENT && test_bit(slot, area->on_host))
		err = virtio_tmem_get(area->pool, slot, page);
	if (err == -ENOENT && !test_bit(slot, area->on_host))
		return -ENODATA;
	if (err == -ENOENT)
		virtio_tmem_count(vt, VT_STAT_GETS_FAILED);
	return err;
}

int virtio_tmem_area_load_many(struct virtio_tmem_area *area,
			       unsigned long slot, struct page *page,
			       unsigned int nr)
{
	unsigned int i;
	int err;

	for (i = 0; i < nr; i++)
		if (!test_bit(slot + i, area->on_host))
			return -ENODATA;
	err = virtio_tmem_get_many(area->pool, slot, page, nr);
	/* Tell by page which one it is */
	if (err == -ENOENT || err == -EIO || err == -EBADMSG)
		return -ENODATA;
	return err;
}

struct virtio_tmem_area *virtio_tmem_area_create(struct virtio_tmem *vt,
						 unsigned long nr_slots,
						 const char *name)
{
	struct virtio_tmem_pool *pool;
	struct virtio_tmem_area *area;

	area = kzalloc(sizeof(*area), GFP_KERNEL);
	if (!area)
		return ERR_PTR(-ENOMEM);
	strscpy(area->name, name, sizeof(area->name));
	area->nr_slots = nr_slots;
	area->target = virtio_tmem_target(vt);
	xa_init(&area->same_filled);
	area->on_host = kvcalloc(BITS_TO_LONGS(nr_slots), sizeof(long),
				 GFP_KERNEL | __GFP_NOWARN);
	if (!area->on_host) {
		virtio_tmem_area_destroy(area);
		return ERR_PTR(-ENOMEM);
	}
	pool = virtio_tmem_pool_create(vt, nr_slots);
	if (IS_ERR(pool)) {
		virtio_tmem_area_destroy(area);
		return ERR_CAST(pool);
	}
	area->pool = pool;
	return area;
}

void virtio_tmem_area_destroy(struct virtio_tmem_area *area)
{
	if (!area)
		return;
	if (area->on_host)
		atomic_long_sub(bitmap_weight(area->on_host, area->nr_slots),
				&area->target->held);
	virtio_tmem_pool_destroy(area->pool);
	xa_destroy(&area->same_filled);
	kvfree(area->on_host);
	kfree(area);
}
