// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Virtio transcendent memory (tmem) driver: slots, and what to read ahead.
 *
 * virtio_tmem_page.c says how slots are used, and why no stale page is got.
 */

#include <linux/bitmap.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "virtio_tmem_int.h"

unsigned int virtio_tmem_readahead = VT_MAX_READAHEAD;
module_param_named(readahead, virtio_tmem_readahead, uint, 0444);
MODULE_PARM_DESC(readahead, "Pages of each queue that may be got ahead, half of them by one request, at most 32; 0: none (default: 32)");

static int virtio_tmem_alloc_pages(struct virtio_tmem_slot *slots,
				   unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++) {
		slots[i].page = alloc_page(GFP_KERNEL);
		if (!slots[i].page)
			return -ENOMEM;
	}
	return 0;
}

void virtio_tmem_reset_slots(struct virtio_tmem_queue *q)
{
	unsigned long flags;
	unsigned int i;

	spin_lock_irqsave(&q->slot_lock, flags);
	for (i = 0; i < VT_MAX_STAGED; i++) {
		q->staged[i].state = VT_SLOT_EMPTY;
		q->staged[i].pool = NULL;
	}
	for (i = 0; i < VT_MAX_READAHEAD; i++) {
		q->ahead[i].state = VT_SLOT_EMPTY;
		q->ahead[i].pool = NULL;
	}
	q->nr_staged = 0;
	q->nr_busy = 0;
	q->reservations = 0;
	q->posted = false;
	q->asked = 0;
	for (i = 0; i < VT_NR_STREAMS; i++)
		q->streams[i] = (struct virtio_tmem_stream){ .window = 1 };
	spin_unlock_irqrestore(&q->slot_lock, flags);
}

int virtio_tmem_alloc_slots(struct virtio_tmem *vt, struct virtio_tmem_queue *q)
{
	spin_lock_init(&q->slot_lock);
	virtio_tmem_reset_slots(q);
	if (virtio_tmem_alloc_pages(q->staged, vt->nr_staged) ||
	    virtio_tmem_alloc_pages(q->ahead, vt->nr_ahead))
		return -ENOMEM;
	return 0;
}

void virtio_tmem_free_slots(struct virtio_tmem_queue *q)
{
	unsigned int i;

	for (i = 0; i < VT_MAX_STAGED; i++)
		if (q->staged[i].page)
			__free_page(q->staged[i].page);
	for (i = 0; i < VT_MAX_READAHEAD; i++)
		if (q->ahead[i].page)
			__free_page(q->ahead[i].page);
}

void virtio_tmem_copy(struct page *to, struct page *from)
{
	void *dst = kmap_local_page(to), *src = kmap_local_page(from);

	memcpy(dst, src, PAGE_SIZE);
	kunmap_local(src);
	kunmap_local(dst);
}

/*
 * Give a slot a key, or none (@pool is NULL). The words of pool->local belong to
 * one queue each. Called with slot_lock held, as the next four functions.
 */
void virtio_tmem_set_key(struct virtio_tmem_slot *slot,
			 struct virtio_tmem_pool *pool, unsigned long index)
{
	BUILD_BUG_ON(VT_CLUSTER_SIZE % BITS_PER_LONG);

	if (slot->pool)
		__clear_bit(slot->index, slot->pool->local);
	slot->pool = pool;
	slot->index = index;
	if (pool)
		__set_bit(index, pool->local);
}

struct virtio_tmem_slot *
virtio_tmem_find(struct virtio_tmem_slot *slots, unsigned int nr,
		 struct virtio_tmem_pool *pool, unsigned long index)
{
	unsigned int i;

	if (!test_bit(index, pool->local))
		return NULL;
	for (i = 0; i < nr; i++)
		if (slots[i].index == index && slots[i].pool == pool)
			return &slots[i];
	return NULL;
}

struct virtio_tmem_slot *
virtio_tmem_revoke(struct virtio_tmem *vt, struct virtio_tmem_queue *q,
		   struct virtio_tmem_pool *pool, unsigned long index)
{
	struct virtio_tmem_slot *slot;

	slot = virtio_tmem_find(q->staged, vt->nr_staged, pool, index);
	if (!slot || slot->state == VT_SLOT_READY)
		return slot;
	virtio_tmem_set_key(slot, NULL, 0);
	return NULL;
}

void virtio_tmem_unstage(struct virtio_tmem *vt, struct virtio_tmem_queue *q,
			 struct virtio_tmem_pool *pool, unsigned long index)
{
	struct virtio_tmem_slot *slot;

	slot = virtio_tmem_revoke(vt, q, pool, index);
	if (!slot)
		return;
	slot->state = VT_SLOT_EMPTY;
	virtio_tmem_set_key(slot, NULL, 0);
	q->nr_staged--;
	q->reservations++;
	virtio_tmem_count(vt, VT_STAT_STAGED_FREES);
}

void virtio_tmem_drop_ahead(struct virtio_tmem *vt, struct virtio_tmem_queue *q,
			    struct virtio_tmem_pool *pool, unsigned long index)
{
	struct virtio_tmem_slot *slot;

	slot = virtio_tmem_find(q->ahead, vt->nr_ahead, pool, index);
	if (!slot)
		return;
	virtio_tmem_set_key(slot, NULL, 0);
	if (slot->state == VT_SLOT_READY) {
		slot->state = VT_SLOT_EMPTY;
		virtio_tmem_count(vt, VT_STAT_AHEAD_WASTED);
	}
}

/* The stream used last comes first */
static void virtio_tmem_use_stream(struct virtio_tmem_queue *q,
				   struct virtio_tmem_stream stream,
				   unsigned int old)
{
	memmove(&q->streams[1], &q->streams[0], old * sizeof(stream));
	q->streams[0] = stream;
}

/*
 * How many pages to get, from @index on or back, and which way: more for as long
 * as a stream of gets goes on, fewer when one begins where none went by. Several
 * streams are known, as the swap core may serve several at a time; and slots
 * often lie in the reverse order of addresses, as reclaim found the pages. The
 * first page of a cluster tells nothing: what precedes it may have gone through
 * another queue. (Who reads every other page gets no read-ahead, and pays for
 * none.)
 */
static void virtio_tmem_follow(struct virtio_tmem *vt,
			       struct virtio_tmem_queue *q, unsigned long index)
{
	unsigned int i, most = DIV_ROUND_UP(vt->nr_ahead, 2) + 1;
	struct virtio_tmem_stream s;

	for (i = 0; i < VT_NR_STREAMS; i++) {
		s = q->streams[i];
		if (index != s.last + 1 && index + 1 != s.first)
			continue;
		s.down = index + 1 == s.first;
		s.window = min(2 * s.window, most);
		virtio_tmem_use_stream(q, s, i);
		return;
	}
	s = q->streams[0];
	if (index % VT_CLUSTER_SIZE != (s.down ? VT_CLUSTER_SIZE - 1 : 0))
		s.window = max(s.window / 4, 1U);
	virtio_tmem_use_stream(q, s, VT_NR_STREAMS - 1);
}

/*
 * A slot for a page to be read ahead, by turns; NULL: the next one is being
 * copied. Called with slot_lock held.
 */
static struct virtio_tmem_slot *
virtio_tmem_take_ahead(struct virtio_tmem *vt, struct virtio_tmem_queue *q,
		       struct virtio_tmem_pool *pool, unsigned long index)
{
	struct virtio_tmem_slot *slot = &q->ahead[q->ahead_hand];

	q->ahead_hand = (q->ahead_hand + 1) % vt->nr_ahead;
	if (slot->state == VT_SLOT_FILLING)
		return NULL;
	if (slot->state == VT_SLOT_READY)
		virtio_tmem_count(vt, VT_STAT_AHEAD_WASTED);
	slot->state = VT_SLOT_FILLING;
	virtio_tmem_set_key(slot, pool, index);
	return slot;
}

unsigned int virtio_tmem_plan_ahead(struct virtio_tmem *vt,
				    struct virtio_tmem_queue *q,
				    struct virtio_tmem_pool *pool,
				    unsigned long index)
{
	struct virtio_tmem_buf *buf = q->msgs[VT_MSG_PAGES].buf;
	struct virtio_tmem_stream *s = &q->streams[0];
	unsigned long flags, i, first, last;
	struct virtio_tmem_slot *slot;
	unsigned int n, nr = 1;

	virtio_tmem_follow(vt, q, index);
	first = round_down(index, VT_CLUSTER_SIZE);
	last = min(first + VT_CLUSTER_SIZE, pool->nr_pages) - 1;
	if (s->down) {
		first = max(first, index - min(index, s->window - 1UL));
		last = index;
	} else {
		first = index;
		last = min(last, index + s->window - 1);
	}

	spin_lock_irqsave(&q->slot_lock, flags);
	for (n = 1; n <= last - first; n++) {
		i = s->down ? index - n : index + n;
		if (!test_bit(i, pool->held) ||
		    test_bit(i, pool->flush_pages) || test_bit(i, pool->local))
			continue;
		slot = virtio_tmem_take_ahead(vt, q, pool, i);
		if (!slot)
			continue;
		/* Later, a put or flush may take the key off the slot */
		buf->list.index[nr] = cpu_to_le64(i);
		q->plan[nr++] = slot;
	}
	spin_unlock_irqrestore(&q->slot_lock, flags);
	s->first = first;
	s->last = last;
	if (nr > 1)
		virtio_tmem_delay(VT_DELAY_AHEAD_PLANNED);
	return nr;
}

/* What was read ahead is there, unless a put or flush was quicker */
void virtio_tmem_end_ahead(struct virtio_tmem *vt, struct virtio_tmem_queue *q,
			   unsigned int nr, u32 done)
{
	struct virtio_tmem_slot *slot;
	unsigned long flags;
	unsigned int i;

	if (nr > 1)
		virtio_tmem_delay(VT_DELAY_AHEAD_USED);
	spin_lock_irqsave(&q->slot_lock, flags);
	for (i = 1; i < nr; i++) {
		slot = q->plan[i];
		if (done & BIT(i))
			virtio_tmem_count(vt, VT_STAT_AHEAD);
		if (slot->pool && done & BIT(i)) {
			slot->state = VT_SLOT_READY;
			continue;
		}
		if (done & BIT(i))
			virtio_tmem_count(vt, VT_STAT_AHEAD_WASTED);
		slot->state = VT_SLOT_EMPTY;
		virtio_tmem_set_key(slot, NULL, 0);
	}
	spin_unlock_irqrestore(&q->slot_lock, flags);
}
