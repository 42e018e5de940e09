// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Virtio transcendent memory (tmem) driver: put, get and flush.
 *
 * Most of them cost no notification of their own:
 *
 * - A put under a reservation is copied to a slot of its queue and done: staged.
 *   Staged pages travel in one request when the slots are used up. The device
 *   has promised to take them, so none can be refused later.
 * - A get of a page whose predecessor was got before brings those that follow it
 *   as well. They wait in other slots of the queue: read ahead.
 * - A flush takes the page off the slots, and only if the host may have a copy
 *   sets a bit. Bits are collected into range lists, which travel with staged
 *   pages, or after a few milliseconds.
 *
 * Why no stale page is ever got. Of one key, the newest copy is, if anywhere, in
 * a staged slot, else on the host; a copy in a read-ahead slot is that of the
 * host. A put or flush of the key removes the other copies here at once, under
 * slot_lock. What it leaves on the host is removed by a request that goes to the
 * same queue: the staged put replaces it, or the flush bit drops it. A put takes
 * the flush bit back before its page can travel, and bits are collected, sent
 * and used under the queue's mutex, as are puts: so a late flush cannot hit a
 * new page. Read-ahead skips keys with a staged slot or a flush bit, and a slot
 * being read ahead is taken off by a put or flush like any other. (One that a put
 * is filling has no other put or flush: see virtio_tmem.h.)
 */

#include <linux/bitmap.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "virtio_tmem_int.h"

/* How long a flush may wait for company */
#define VT_FLUSH_DELAY_MS	5

/* Puts that go one by one, with no reservation left, before asking again */
#define VT_ASK_AGAIN		64

unsigned int virtio_tmem_staging = VT_MAX_STAGED;
module_param_named(staging, virtio_tmem_staging, uint, 0444);
MODULE_PARM_DESC(staging, "Pages of each queue that wait to be put together, at most 32; 0: none (default: 32)");

unsigned int virtio_tmem_readahead = VT_MAX_READAHEAD;
module_param_named(readahead, virtio_tmem_readahead, uint, 0444);
MODULE_PARM_DESC(readahead, "Pages of each queue that may be got ahead, at most 16; 0: none (default: 16)");

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
	q->reservations = 0;
	q->asked = 0;
	q->window = 1;
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

static void virtio_tmem_copy(struct page *to, struct page *from)
{
	void *dst = kmap_local_page(to), *src = kmap_local_page(from);

	memcpy(dst, src, PAGE_SIZE);
	kunmap_local(src);
	kunmap_local(dst);
}

/*
 * Give a slot a key, or none (@pool is NULL). The words of pool->local belong to
 * one queue each. Called with slot_lock held, as the next four.
 */
static void virtio_tmem_set_key(struct virtio_tmem_slot *slot,
				struct virtio_tmem_pool *pool,
				unsigned long index)
{
	BUILD_BUG_ON(VT_CLUSTER_SIZE % BITS_PER_LONG);

	if (slot->pool)
		__clear_bit(slot->index, slot->pool->local);
	slot->pool = pool;
	slot->index = index;
	if (pool)
		__set_bit(index, pool->local);
}

static struct virtio_tmem_slot *
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

/*
 * The staged page of a key that is to be put anew or flushed. One that is on its
 * way loses its key, and NULL is returned: it is no longer the newest.
 */
static struct virtio_tmem_slot *
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

/* What was read ahead of this key is not wanted, or no longer right */
static void virtio_tmem_drop_ahead(struct virtio_tmem *vt,
				   struct virtio_tmem_queue *q,
				   struct virtio_tmem_pool *pool,
				   unsigned long index)
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

/* A slot for a new staged page, or NULL: none is left, or no reservation */
static struct virtio_tmem_slot *
virtio_tmem_take_slot(struct virtio_tmem *vt, struct virtio_tmem_queue *q)
{
	unsigned int i;

	if (!q->reservations)
		return NULL;
	for (i = 0; i < vt->nr_staged; i++) {
		if (q->staged[i].state != VT_SLOT_EMPTY)
			continue;
		q->reservations--;
		q->nr_staged++;
		return &q->staged[i];
	}
	return NULL;
}

/*
 * Copy a page that is to be put. What the host has of the key is out of date
 * from now on. Return: false when it cannot be staged.
 */
static bool virtio_tmem_stage(struct virtio_tmem_queue *q,
			      struct virtio_tmem_pool *pool,
			      unsigned long index, struct page *page)
{
	struct virtio_tmem *vt = pool->vt;
	struct virtio_tmem_slot *slot;
	unsigned long flags;

	spin_lock_irqsave(&q->slot_lock, flags);
	virtio_tmem_drop_ahead(vt, q, pool, index);
	slot = virtio_tmem_revoke(vt, q, pool, index);
	if (!slot)
		slot = virtio_tmem_take_slot(vt, q);
	if (slot) {
		slot->state = VT_SLOT_FILLING;
		virtio_tmem_set_key(slot, pool, index);
	}
	spin_unlock_irqrestore(&q->slot_lock, flags);
	if (!slot)
		return false;

	/* The page that is put takes the place of what was to be flushed */
	clear_bit(index, pool->flush_pages);
	virtio_tmem_copy(slot->page, page);

	spin_lock_irqsave(&q->slot_lock, flags);
	slot->state = VT_SLOT_READY;
	spin_unlock_irqrestore(&q->slot_lock, flags);
	return true;
}

/*
 * Take the staged pages of one pool into the batch: they cannot be cancelled
 * from here on, and the host may have them. Return: how many; *@batch_pool is
 * set to the pool if there are any.
 */
static unsigned int
virtio_tmem_take_batch(struct virtio_tmem *vt, struct virtio_tmem_queue *q,
		       struct virtio_tmem_pool **batch_pool)
{
	struct virtio_tmem_buf *buf = q->msgs[VT_MSG_PAGES].buf;
	struct virtio_tmem_pool *pool = NULL;
	struct virtio_tmem_slot *slot;
	unsigned int i, nr = 0;
	unsigned long flags;

	spin_lock_irqsave(&q->slot_lock, flags);
	for (i = 0; i < vt->nr_staged; i++) {
		slot = &q->staged[i];
		if (slot->state != VT_SLOT_READY || (pool && slot->pool != pool))
			continue;
		pool = slot->pool;
		slot->state = VT_SLOT_BUSY;
		set_bit(slot->index, pool->held);
		buf->list.index[nr] = cpu_to_le64(slot->index);
		q->batch[nr++] = slot;
	}
	spin_unlock_irqrestore(&q->slot_lock, flags);
	if (pool)
		*batch_pool = pool;
	return nr;
}

/*
 * The batch has travelled: slots whose pages are in @stored are free, and so
 * many puts are promised. What a bad device has not taken stays staged, where it
 * can be got, and is sent again. Return: reservations left.
 */
static unsigned int virtio_tmem_end_batch(struct virtio_tmem_queue *q,
					  unsigned int nr, u32 stored,
					  unsigned int promised)
{
	struct virtio_tmem_slot *slot;
	unsigned int i, left;
	unsigned long flags;

	spin_lock_irqsave(&q->slot_lock, flags);
	for (i = 0; i < nr; i++) {
		slot = q->batch[i];
		if (slot->pool && !(stored & BIT(i))) {
			slot->state = VT_SLOT_READY;
			continue;
		}
		slot->state = VT_SLOT_EMPTY;
		virtio_tmem_set_key(slot, NULL, 0);
		q->nr_staged--;
	}
	/* Those that are staged have used theirs */
	left = promised > q->nr_staged ? promised - q->nr_staged : 0;
	q->reservations = left;
	spin_unlock_irqrestore(&q->slot_lock, flags);
	return left;
}

/* Add the put of the batch. Called with the queue's lock held. */
static int virtio_tmem_add_batch(struct virtio_tmem *vt,
				 struct virtio_tmem_queue *q,
				 struct virtio_tmem_pool *pool, unsigned int nr)
{
	struct virtio_tmem_buf *buf;
	unsigned int i;

	buf = virtio_tmem_prepare(q, VT_MSG_PAGES, VIRTIO_TMEM_REQ_PUT, pool,
				  nr);
	buf->req.flags = VIRTIO_TMEM_FLAG_RESERVED;
	sg_init_table(q->sg, nr);
	for (i = 0; i < nr; i++)
		sg_set_page(&q->sg[i], q->batch[i]->page, PAGE_SIZE, 0);
	return virtio_tmem_add(vt, q, VT_MSG_PAGES, nr * sizeof(__le64), nr);
}

/* Return: which pages of the batch the device has stored: all, as it promised */
static u32 virtio_tmem_check_batch(struct virtio_tmem *vt,
				   struct virtio_tmem_queue *q, unsigned int nr)
{
	u32 all = GENMASK(nr - 1, 0), stored = 0;
	struct virtio_tmem_resp resp;
	int ret = virtio_tmem_result(vt, q, VT_MSG_PAGES, &resp);

	if (ret == VIRTIO_TMEM_S_OK || ret == VIRTIO_TMEM_S_REJECTED)
		stored = le32_to_cpu(resp.done) & all;
	if (stored != all) {
		dev_err_ratelimited(&vt->vdev->dev,
				    "the device broke its promise to store %u pages (status %d)\n",
				    nr, ret);
		virtio_tmem_count_many(vt, VT_STAT_PUTS_FAILED,
				       nr - hweight32(stored));
	}
	virtio_tmem_count_many(vt, VT_STAT_PUTS, hweight32(stored));
	return stored;
}

/*
 * Send the staged pages of a pool, what is to be flushed of it, and ask for
 * reservations: three messages, one notification. Called with the queue's lock
 * held.
 *
 * Return: whether there is now room to stage a page.
 */
static bool virtio_tmem_send_staged(struct virtio_tmem *vt,
				    struct virtio_tmem_queue *q,
				    struct virtio_tmem_pool *pool)
{
	unsigned int nr, nr_ranges, promised = 0;
	struct virtio_tmem_resp resp;
	unsigned long cluster = 0;
	u32 stored = 0;
	int err = 0;

	if (virtio_tmem_queue_error(q))
		return false;
	nr = virtio_tmem_take_batch(vt, q, &pool);
	if (nr)
		err = virtio_tmem_add_batch(vt, q, pool, nr);
	virtio_tmem_prepare(q, VT_MSG_RESERVE, VIRTIO_TMEM_REQ_RESERVE, NULL,
			    vt->nr_staged);
	err = err ?: virtio_tmem_add(vt, q, VT_MSG_RESERVE, 0, 0);
	nr_ranges = err ? 0 : virtio_tmem_collect(q, pool, &cluster);
	if (nr_ranges)
		err = virtio_tmem_add_flush(vt, q, pool, nr_ranges);

	/* Only a dead device gets here with an error: pages stay staged then */
	if (virtio_tmem_run(vt, q) || err)
		return false;

	if (nr)
		stored = virtio_tmem_check_batch(vt, q, nr);
	if (nr_ranges)
		virtio_tmem_finish_flush(vt, q);
	if (virtio_tmem_result(vt, q, VT_MSG_RESERVE, &resp) == VIRTIO_TMEM_S_OK)
		promised = min(le32_to_cpu(resp.reservations), vt->nr_staged);
	/* A full host is not asked again with each put */
	q->asked = !promised;
	WRITE_ONCE(q->granted_at, jiffies);
	if (promised)
		queue_delayed_work(vt->wq, &vt->idle_work, VT_IDLE);
	return virtio_tmem_end_batch(q, nr, stored, promised);
}

/*
 * Send what is staged, of all pools. Called with the queue's lock held. Return:
 * false when some pages had to stay.
 */
static bool virtio_tmem_send_all(struct virtio_tmem *vt,
				 struct virtio_tmem_queue *q)
{
	struct virtio_tmem_pool *pool;
	unsigned int nr;
	u32 stored;

	for (;;) {
		pool = NULL;
		nr = virtio_tmem_take_batch(vt, q, &pool);
		if (!nr)
			return true;
		if (virtio_tmem_add_batch(vt, q, pool, nr) ||
		    virtio_tmem_run(vt, q))
			return false;
		stored = virtio_tmem_check_batch(vt, q, nr);
		virtio_tmem_end_batch(q, nr, stored, 0);
		if (hweight32(stored) != nr)
			return false;
	}
}

void virtio_tmem_give_back(struct virtio_tmem *vt, struct virtio_tmem_queue *q)
{
	unsigned long flags;
	unsigned int nr;
	bool any;

	mutex_lock(&q->lock);
	/* First taken away here, so that no put uses them meanwhile */
	spin_lock_irqsave(&q->slot_lock, flags);
	any = q->reservations || q->nr_staged;
	q->reservations = 0;
	spin_unlock_irqrestore(&q->slot_lock, flags);
	q->asked = 0;
	if (!any || virtio_tmem_queue_error(q) || !virtio_tmem_send_all(vt, q))
		goto unlock;

	/* Pages that are just being copied keep theirs */
	spin_lock_irqsave(&q->slot_lock, flags);
	nr = q->nr_staged;
	q->reservations = 0;
	spin_unlock_irqrestore(&q->slot_lock, flags);
	virtio_tmem_prepare(q, VT_MSG_RESERVE, VIRTIO_TMEM_REQ_RESERVE, NULL, nr);
	if (!virtio_tmem_add(vt, q, VT_MSG_RESERVE, 0, 0))
		virtio_tmem_run(vt, q);
	if (nr) {
		WRITE_ONCE(q->granted_at, jiffies);
		queue_delayed_work(vt->wq, &vt->idle_work, VT_IDLE);
	}
unlock:
	mutex_unlock(&q->lock);
}

/* Put one page and wait. Called with the queue's lock held. */
static int virtio_tmem_put_now(struct virtio_tmem *vt,
			       struct virtio_tmem_queue *q,
			       struct virtio_tmem_pool *pool,
			       unsigned long index, struct page *page)
{
	struct virtio_tmem_resp resp;
	struct virtio_tmem_buf *buf;
	int ret;

	buf = virtio_tmem_prepare(q, VT_MSG_PAGES, VIRTIO_TMEM_REQ_PUT, pool, 1);
	buf->list.index[0] = cpu_to_le64(index);
	sg_init_table(q->sg, 1);
	sg_set_page(&q->sg[0], page, PAGE_SIZE, 0);
	set_bit(index, pool->held);
	ret = virtio_tmem_add(vt, q, VT_MSG_PAGES, sizeof(__le64), 1);
	if (!ret) {
		q->msgs[VT_MSG_PAGES].page = page;
		ret = virtio_tmem_run(vt, q);
	}
	if (!ret)
		ret = virtio_tmem_result(vt, q, VT_MSG_PAGES, &resp);
	if (ret == VIRTIO_TMEM_S_OK && (le32_to_cpu(resp.done) & 1))
		ret = 0;
	else if (ret == VIRTIO_TMEM_S_REJECTED && !(le32_to_cpu(resp.done) & 1))
		ret = -ENOSPC;
	else
		ret = virtio_tmem_bad_status(vt, ret, "put");
	/* Taken or refused, the host has no older copy left to flush */
	if (!ret || ret == -ENOSPC)
		clear_bit(index, pool->flush_pages);
	if (ret == -ENOSPC)
		clear_bit(index, pool->held);
	return ret;
}

int virtio_tmem_put(struct virtio_tmem_pool *pool, unsigned long index,
		    struct page *page)
{
	struct virtio_tmem_queue *q = virtio_tmem_queue_of(pool, index);
	struct virtio_tmem *vt = pool->vt;
	bool staged;
	int ret = 0;

	if (WARN_ON_ONCE(index >= pool->nr_pages))
		return -EINVAL;
	if (virtio_tmem_stage(q, pool, index, page)) {
		virtio_tmem_count(vt, VT_STAT_PUTS_STAGED);
		return 0;
	}

	mutex_lock(&q->lock);
	/*
	 * Who had the lock may have made room. If not, this drops what was read
	 * ahead of the index, now that no get can bring the old page again.
	 */
	staged = virtio_tmem_stage(q, pool, index, page);
	if (!staged && vt->nr_staged &&
	    (READ_ONCE(q->nr_staged) || q->asked++ % VT_ASK_AGAIN == 0))
		staged = virtio_tmem_send_staged(vt, q, pool) &&
			 virtio_tmem_stage(q, pool, index, page);
	if (!staged)
		ret = virtio_tmem_put_now(vt, q, pool, index, page);
	mutex_unlock(&q->lock);

	if (staged) {
		virtio_tmem_count(vt, VT_STAT_PUTS_STAGED);
	} else if (!ret) {
		virtio_tmem_count(vt, VT_STAT_PUTS);
	} else if (ret == -ENOSPC) {
		virtio_tmem_count(vt, VT_STAT_PUTS_REJECTED);
	} else {
		virtio_tmem_count(vt, VT_STAT_PUTS_FAILED);
		virtio_tmem_flush(pool, index);
	}
	return ret;
}

/* Get a page from the slots of its queue. Return: whether it was there. */
static bool virtio_tmem_get_local(struct virtio_tmem_queue *q,
				  struct virtio_tmem_pool *pool,
				  unsigned long index, struct page *page)
{
	struct virtio_tmem *vt = pool->vt;
	struct virtio_tmem_slot *slot;
	unsigned long flags;
	bool ahead = false;

	spin_lock_irqsave(&q->slot_lock, flags);
	slot = virtio_tmem_find(q->staged, vt->nr_staged, pool, index);
	if (!slot) {
		slot = virtio_tmem_find(q->ahead, vt->nr_ahead, pool, index);
		ahead = slot && slot->state == VT_SLOT_READY;
		if (!ahead)
			slot = NULL;
	}
	if (ahead) {
		/* The page goes to the swap cache: it will not be asked again */
		slot->state = VT_SLOT_FILLING;
		virtio_tmem_set_key(slot, NULL, 0);
	} else if (slot) {
		virtio_tmem_copy(page, slot->page);
	}
	spin_unlock_irqrestore(&q->slot_lock, flags);
	if (!slot)
		return false;

	if (ahead) {
		virtio_tmem_copy(page, slot->page);
		spin_lock_irqsave(&q->slot_lock, flags);
		slot->state = VT_SLOT_EMPTY;
		spin_unlock_irqrestore(&q->slot_lock, flags);
	}
	virtio_tmem_count(vt, ahead ? VT_STAT_AHEAD_HITS : VT_STAT_STAGED_LOADS);
	return true;
}

/*
 * How many pages to get from @index on: more for as long as what was got before
 * is followed by this one, fewer when it is not. The first page of a cluster
 * tells nothing: what precedes it may have gone through another queue. (Who
 * reads backwards, or every other page, gets no read-ahead, and pays for none.)
 */
static unsigned int virtio_tmem_window(struct virtio_tmem *vt,
				       struct virtio_tmem_queue *q,
				       unsigned long index)
{
	if (index == q->next_index)
		q->window = min(2 * q->window, vt->nr_ahead + 1);
	else if (index % VT_CLUSTER_SIZE)
		q->window = max(q->window / 4, 1U);
	return q->window;
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

/*
 * Choose pages to be got with @index: those that follow it in its cluster, if
 * the host's copy is the newest. Return: how many, in the batch from 1 on.
 */
static unsigned int virtio_tmem_plan_ahead(struct virtio_tmem *vt,
					   struct virtio_tmem_queue *q,
					   struct virtio_tmem_pool *pool,
					   unsigned long index)
{
	unsigned int window = virtio_tmem_window(vt, q, index), nr = 1;
	unsigned long end = min3(round_up(index + 1, VT_CLUSTER_SIZE),
				 index + window, pool->nr_pages);
	struct virtio_tmem_slot *slot;
	unsigned long flags, i;

	spin_lock_irqsave(&q->slot_lock, flags);
	for (i = index + 1; i < end; i++) {
		if (!test_bit(i, pool->held) ||
		    test_bit(i, pool->flush_pages) || test_bit(i, pool->local))
			continue;
		slot = virtio_tmem_take_ahead(vt, q, pool, i);
		if (slot)
			q->batch[nr++] = slot;
	}
	spin_unlock_irqrestore(&q->slot_lock, flags);
	q->next_index = i;
	return nr;
}

/* What was read ahead is there, unless a put or flush was quicker */
static void virtio_tmem_end_ahead(struct virtio_tmem *vt,
				  struct virtio_tmem_queue *q, unsigned int nr,
				  u32 done)
{
	struct virtio_tmem_slot *slot;
	unsigned long flags;
	unsigned int i;

	spin_lock_irqsave(&q->slot_lock, flags);
	for (i = 1; i < nr; i++) {
		slot = q->batch[i];
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

/* Get a page from the host, and maybe others. Called with the lock held. */
static int virtio_tmem_get_now(struct virtio_tmem *vt,
			       struct virtio_tmem_queue *q,
			       struct virtio_tmem_pool *pool,
			       unsigned long index, struct page *page)
{
	struct virtio_tmem_msg *msg = &q->msgs[VT_MSG_PAGES];
	struct virtio_tmem_resp resp;
	struct virtio_tmem_buf *buf;
	unsigned int i, nr, nr_written;
	u32 done = 0;
	int ret;

	/* What was read ahead can still be got then: leave it */
	ret = virtio_tmem_queue_error(q);
	if (ret)
		return ret;

	nr = virtio_tmem_plan_ahead(vt, q, pool, index);
	buf = virtio_tmem_prepare(q, VT_MSG_PAGES, VIRTIO_TMEM_REQ_GET, pool, nr);
	sg_init_table(q->sg, nr);
	buf->list.index[0] = cpu_to_le64(index);
	sg_set_page(&q->sg[0], page, PAGE_SIZE, 0);
	for (i = 1; i < nr; i++) {
		buf->list.index[i] = cpu_to_le64(q->batch[i]->index);
		sg_set_page(&q->sg[i], q->batch[i]->page, PAGE_SIZE, 0);
	}
	ret = virtio_tmem_add(vt, q, VT_MSG_PAGES, nr * sizeof(__le64), nr);
	if (!ret) {
		msg->page = page;
		ret = virtio_tmem_run(vt, q);
	}
	if (!ret)
		ret = virtio_tmem_result(vt, q, VT_MSG_PAGES, &resp);
	if (ret == VIRTIO_TMEM_S_OK || ret == VIRTIO_TMEM_S_ABSENT ||
	    ret == VIRTIO_TMEM_S_IOERR) {
		/* Only what the device says it has written, and what was asked */
		nr_written = min_t(unsigned int, nr,
				   (msg->used_len - sizeof(resp)) / PAGE_SIZE);
		done = le32_to_cpu(resp.done) & ~le32_to_cpu(resp.failed) &
		       (u32)(BIT_ULL(nr_written) - 1);
	}
	virtio_tmem_end_ahead(vt, q, nr, done);
	if (done & 1)
		return 0;
	if (ret == VIRTIO_TMEM_S_IOERR && (le32_to_cpu(resp.failed) & 1))
		return -EIO;
	if (ret == VIRTIO_TMEM_S_ABSENT && !(le32_to_cpu(resp.done) & 1))
		return -ENOENT;
	return virtio_tmem_bad_status(vt, ret, "get");
}

int virtio_tmem_get(struct virtio_tmem_pool *pool, unsigned long index,
		    struct page *page)
{
	struct virtio_tmem_queue *q = virtio_tmem_queue_of(pool, index);
	struct virtio_tmem *vt = pool->vt;
	int ret = 0;

	if (WARN_ON_ONCE(index >= pool->nr_pages))
		return -EINVAL;
	if (virtio_tmem_get_local(q, pool, index, page))
		goto got;

	mutex_lock(&q->lock);
	if (test_bit(index, pool->flush_pages))
		/* Flushed, only the host has not heard of it yet */
		ret = -ENOENT;
	else if (!virtio_tmem_get_local(q, pool, index, page))
		/* Nor was it got ahead while the lock was waited for */
		ret = virtio_tmem_get_now(vt, q, pool, index, page);
	mutex_unlock(&q->lock);
got:
	virtio_tmem_count(vt, ret ? VT_STAT_GETS_FAILED : VT_STAT_GETS);
	return ret;
}

void virtio_tmem_flush(struct virtio_tmem_pool *pool, unsigned long index)
{
	struct virtio_tmem_queue *q = virtio_tmem_queue_of(pool, index);
	struct virtio_tmem *vt = pool->vt;
	struct virtio_tmem_slot *slot;
	unsigned long flags;
	bool held;

	if (WARN_ON_ONCE(index >= pool->nr_pages))
		return;

	spin_lock_irqsave(&q->slot_lock, flags);
	slot = virtio_tmem_revoke(vt, q, pool, index);
	if (slot) {
		slot->state = VT_SLOT_EMPTY;
		virtio_tmem_set_key(slot, NULL, 0);
		q->nr_staged--;
		q->reservations++;
		virtio_tmem_count(vt, VT_STAT_STAGED_FREES);
	}
	/* Set before a staged page gets on its way; no page ahead without it */
	held = test_bit(index, pool->held);
	if (held) {
		virtio_tmem_drop_ahead(vt, q, pool, index);
		set_bit(index, pool->flush_pages);
	}
	spin_unlock_irqrestore(&q->slot_lock, flags);
	if (!held)
		return;
	/*
	 * Pairs with test_and_clear_bit() in virtio_tmem_collect_cluster(): that
	 * clears the cluster's bit, then reads the pages'. Either it sees this
	 * page's bit, or the cluster's bit is set again here.
	 */
	smp_mb__after_atomic();
	set_bit(index >> VT_CLUSTER_SHIFT, pool->flush_clusters);
	queue_delayed_work(vt->wq, &vt->flush_work,
			   msecs_to_jiffies(VT_FLUSH_DELAY_MS));
}

void virtio_tmem_drop_pool(struct virtio_tmem_pool *pool)
{
	struct virtio_tmem *vt = pool->vt;
	struct virtio_tmem_queue *q;
	unsigned long flags;
	unsigned int i, n;

	for (n = 0; n < vt->nr_queues; n++) {
		q = &vt->queues[n];
		/* Nothing is FILLING or BUSY then */
		mutex_lock(&q->lock);
		spin_lock_irqsave(&q->slot_lock, flags);
		for (i = 0; i < vt->nr_staged; i++) {
			if (q->staged[i].pool != pool)
				continue;
			if (q->staged[i].state == VT_SLOT_READY) {
				q->nr_staged--;
				q->reservations++;
				q->staged[i].state = VT_SLOT_EMPTY;
			}
			virtio_tmem_set_key(&q->staged[i], NULL, 0);
		}
		for (i = 0; i < vt->nr_ahead; i++) {
			if (q->ahead[i].pool != pool)
				continue;
			virtio_tmem_set_key(&q->ahead[i], NULL, 0);
			q->ahead[i].state = VT_SLOT_EMPTY;
		}
		spin_unlock_irqrestore(&q->slot_lock, flags);
		mutex_unlock(&q->lock);
	}
}
