// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Virtio transcendent memory (tmem) driver: put, get and flush.
 *
 * Most of them cost no notification of their own:
 *
 * - A put under a reservation is copied to a slot of its queue and done: staged.
 *   Staged pages travel in one request when half of the slots are used, and
 *   nobody waits for it while there are others. The device has promised to take
 *   them, so none can be refused later.
 * - A get that goes on where one before it ended brings the pages beyond it as
 *   well. They wait in other slots of the queue: read ahead.
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
MODULE_PARM_DESC(staging, "Pages of each queue that wait to be put together, half of them on their way while the others gather, at most 64; 0: none (default: 64)");

/* Whether pages can go in one request: they are few, and of one queue */
static bool virtio_tmem_fits(unsigned long index, unsigned int nr)
{
	return nr && nr <= VIRTIO_TMEM_MAX_PAGES &&
	       index >> VT_CLUSTER_SHIFT == (index + nr - 1) >> VT_CLUSTER_SHIFT;
}

/* A slot for a new staged page, or NULL: none is left, or no reservation */
static struct virtio_tmem_slot *
virtio_tmem_take_slot(struct virtio_tmem *vt, struct virtio_tmem_queue *q)
{
	struct virtio_tmem_slot *slot;
	unsigned int i;

	if (!q->reservations)
		return NULL;
	for (i = 0; i < vt->nr_staged; i++) {
		slot = &q->staged[q->staged_hand];
		if (++q->staged_hand >= vt->nr_staged)
			q->staged_hand = 0;
		if (slot->state != VT_SLOT_EMPTY)
			continue;
		q->reservations--;
		q->nr_staged++;
		return slot;
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

	virtio_tmem_delay(VT_DELAY_STAGE_FILLING);
	/* The page that is put takes the place of what was to be flushed */
	clear_bit(index, pool->flush_pages);
	virtio_tmem_copy(slot->page, page);
	virtio_tmem_delay(VT_DELAY_STAGE_COPIED);

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
	struct virtio_tmem_buf *buf = q->msgs[VT_MSG_BATCH].buf;
	struct virtio_tmem_pool *pool = NULL;
	struct virtio_tmem_slot *slot;
	unsigned int i, nr = 0;
	unsigned long flags;

	spin_lock_irqsave(&q->slot_lock, flags);
	for (i = 0; i < vt->nr_staged && nr < VIRTIO_TMEM_MAX_PAGES; i++) {
		slot = &q->staged[i];
		if (slot->state != VT_SLOT_READY || (pool && slot->pool != pool))
			continue;
		pool = slot->pool;
		slot->state = VT_SLOT_BUSY;
		set_bit(slot->index, pool->held);
		buf->list.index[nr] = cpu_to_le64(slot->index);
		q->batch[nr++] = slot;
	}
	q->nr_busy += nr;
	spin_unlock_irqrestore(&q->slot_lock, flags);
	if (nr) {
		*batch_pool = pool;
		virtio_tmem_delay(VT_DELAY_BATCH_TAKEN);
	}
	return nr;
}

/*
 * The batch has travelled: slots whose pages are in @stored are free, and so
 * many puts are promised. What a bad device has not taken stays staged, where it
 * can be got, and is sent again.
 */
static void virtio_tmem_end_batch(struct virtio_tmem_queue *q, unsigned int nr,
				  u32 stored, unsigned int promised)
{
	struct virtio_tmem_slot *slot;
	unsigned long flags;
	unsigned int i;

	virtio_tmem_delay(VT_DELAY_BATCH_USED);
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
	q->nr_busy -= nr;
	/* Those that are staged have used theirs */
	q->reservations = promised > q->nr_staged ? promised - q->nr_staged : 0;
	spin_unlock_irqrestore(&q->slot_lock, flags);
}

/* Add the put of the batch. Called with the queue's lock held. */
static int virtio_tmem_add_batch(struct virtio_tmem *vt,
				 struct virtio_tmem_queue *q,
				 struct virtio_tmem_pool *pool, unsigned int nr)
{
	struct virtio_tmem_buf *buf;
	unsigned int i;

	buf = virtio_tmem_prepare(q, VT_MSG_BATCH, VIRTIO_TMEM_REQ_PUT, pool,
				  nr);
	buf->req.flags = VIRTIO_TMEM_FLAG_RESERVED;
	sg_init_table(q->sg, nr);
	for (i = 0; i < nr; i++)
		sg_set_page(&q->sg[i], q->batch[i]->page, PAGE_SIZE, 0);
	return virtio_tmem_add(vt, q, VT_MSG_BATCH, nr * sizeof(__le64), nr);
}

/* Return: which pages of the batch the device has stored: all, as it promised */
static u32 virtio_tmem_check_batch(struct virtio_tmem *vt,
				   struct virtio_tmem_queue *q, unsigned int nr)
{
	u32 all = GENMASK(nr - 1, 0), stored = 0;
	struct virtio_tmem_resp resp;
	int ret = virtio_tmem_result(vt, q, VT_MSG_BATCH, &resp);

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
 * reservations: three messages, one notification, and no wait. Called with the
 * queue's lock held and nothing posted.
 *
 * Return: 0; -EIO or -ENODEV, then the pages stay staged for ever.
 */
static int virtio_tmem_post(struct virtio_tmem *vt, struct virtio_tmem_queue *q,
			    struct virtio_tmem_pool *pool)
{
	unsigned long cluster = 0;
	int err;

	err = virtio_tmem_queue_error(q);
	if (err)
		return err;
	q->nr_batch = virtio_tmem_take_batch(vt, q, &pool);
	if (q->nr_batch)
		err = virtio_tmem_add_batch(vt, q, pool, q->nr_batch);
	virtio_tmem_prepare(q, VT_MSG_RESERVE, VIRTIO_TMEM_REQ_RESERVE, NULL,
			    vt->nr_staged);
	err = err ?: virtio_tmem_add(vt, q, VT_MSG_RESERVE, 0, 0);
	q->nr_ranges = err ? 0 : virtio_tmem_collect(q, pool, &cluster);
	if (q->nr_ranges)
		err = virtio_tmem_add_flush(vt, q, pool, q->nr_ranges);
	/* Only a dead device gets here with an error */
	if (err)
		return err;
	q->posted = true;
	virtio_tmem_kick(vt, q);
	WRITE_ONCE(q->granted_at, jiffies);
	queue_delayed_work(vt->wq, &vt->idle_work, VT_IDLE);
	return 0;
}

int virtio_tmem_settle(struct virtio_tmem *vt, struct virtio_tmem_queue *q)
{
	struct virtio_tmem_resp resp;
	unsigned int promised = 0;
	u32 stored = 0;
	int err;

	if (!q->posted)
		return 0;
	err = virtio_tmem_wait(vt, q);
	if (err)
		return err;
	q->posted = false;
	if (q->nr_batch)
		stored = virtio_tmem_check_batch(vt, q, q->nr_batch);
	if (q->nr_ranges)
		virtio_tmem_finish_flush(vt, q);
	if (virtio_tmem_result(vt, q, VT_MSG_RESERVE, &resp) == VIRTIO_TMEM_S_OK)
		promised = min(le32_to_cpu(resp.reservations), vt->nr_staged);
	/* A full host is not asked again with each put */
	q->asked = !promised;
	virtio_tmem_end_batch(q, q->nr_batch, stored, promised);
	return 0;
}

/*
 * Once half of the slots are waiting, they are posted. While the host has the
 * last batch, or another CPU is at the queue, the other half fills up.
 */
static void virtio_tmem_post_half(struct virtio_tmem *vt,
				  struct virtio_tmem_queue *q,
				  struct virtio_tmem_pool *pool)
{
	int waiting;

	/* Two numbers that need not fit: one post too early or late, at worst */
	waiting = data_race(READ_ONCE(q->nr_staged) - READ_ONCE(q->nr_busy));
	if (waiting < (int)DIV_ROUND_UP(vt->nr_staged, 2) ||
	    !mutex_trylock(&q->lock))
		return;
	if (!virtio_tmem_queue_error(q) && virtio_tmem_poll(q) &&
	    !virtio_tmem_settle(vt, q) && !virtio_tmem_post(vt, q, pool) &&
	    virtio_tmem_poll(q))
		/* The notification itself was the service */
		virtio_tmem_settle(vt, q);
	mutex_unlock(&q->lock);
}

static bool virtio_tmem_has_room(struct virtio_tmem *vt,
				 struct virtio_tmem_queue *q)
{
	/* Not for sure: virtio_tmem_stage() looks again, under slot_lock */
	return data_race(READ_ONCE(q->reservations) &&
			 READ_ONCE(q->nr_staged) < vt->nr_staged);
}

/*
 * No page can be staged: wait for the batch that is under way, and for the next
 * one if that does not help. Called with the queue's lock held.
 *
 * Return: whether there is now room to stage a page.
 */
static bool virtio_tmem_make_room(struct virtio_tmem *vt,
				  struct virtio_tmem_queue *q,
				  struct virtio_tmem_pool *pool)
{
	if (virtio_tmem_settle(vt, q) || virtio_tmem_post(vt, q, pool))
		return false;
	if ((virtio_tmem_poll(q) || !virtio_tmem_has_room(vt, q)) &&
	    virtio_tmem_settle(vt, q))
		return false;
	return virtio_tmem_has_room(vt, q);
}

/*
 * Send what is staged, of all pools, and wait. Called with the queue's lock held
 * and nothing posted. Return: false when some pages had to stay.
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
	if (virtio_tmem_settle(vt, q))
		goto unlock;
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

/*
 * Put pages that follow each other, in one folio, and wait. Called with the
 * queue's lock held.
 *
 * Return: 0, or -ENOSPC when some were refused, of which *@stored tells; or
 * another error, when none of them counts as stored.
 */
static int virtio_tmem_put_now(struct virtio_tmem *vt,
			       struct virtio_tmem_queue *q,
			       struct virtio_tmem_pool *pool,
			       unsigned long index, struct page *page,
			       unsigned int nr, u32 *stored)
{
	u32 all = GENMASK(nr - 1, 0);
	struct virtio_tmem_resp resp;
	struct virtio_tmem_buf *buf;
	unsigned int i;
	int ret;

	buf = virtio_tmem_prepare(q, VT_MSG_PAGES, VIRTIO_TMEM_REQ_PUT, pool,
				  nr);
	for (i = 0; i < nr; i++) {
		buf->list.index[i] = cpu_to_le64(index + i);
		set_bit(index + i, pool->held);
	}
	sg_init_table(q->sg, 1);
	sg_set_page(&q->sg[0], page, nr * PAGE_SIZE, 0);
	virtio_tmem_delay(VT_DELAY_PUT_NOW);
	ret = virtio_tmem_add(vt, q, VT_MSG_PAGES, nr * sizeof(__le64), 1);
	if (!ret) {
		q->msgs[VT_MSG_PAGES].page = page;
		ret = virtio_tmem_run(vt, q);
	}
	if (!ret)
		ret = virtio_tmem_result(vt, q, VT_MSG_PAGES, &resp);
	*stored = 0;
	if (ret == VIRTIO_TMEM_S_OK && le32_to_cpu(resp.done) == all)
		ret = 0;
	else if (ret == VIRTIO_TMEM_S_REJECTED && le32_to_cpu(resp.done) < all)
		ret = -ENOSPC;
	else
		return virtio_tmem_bad_status(vt, ret, "put");
	*stored = le32_to_cpu(resp.done);
	/* Taken or refused, the host has no older copy left to flush */
	for (i = 0; i < nr; i++) {
		clear_bit(index + i, pool->flush_pages);
		if (!(*stored & BIT(i)))
			clear_bit(index + i, pool->held);
	}
	return ret;
}

int virtio_tmem_put(struct virtio_tmem_pool *pool, unsigned long index,
		    struct page *page)
{
	struct virtio_tmem_queue *q = virtio_tmem_queue_of(pool, index);
	struct virtio_tmem *vt = pool->vt;
	u32 stored, sum;
	bool staged;
	int ret = 0;

	if (WARN_ON_ONCE(index >= pool->nr_pages))
		return -EINVAL;
	sum = virtio_tmem_sum_begin(pool, index, page);
	if (virtio_tmem_stage(q, pool, index, page)) {
		virtio_tmem_sum_end(pool, index, sum);
		virtio_tmem_count(vt, VT_STAT_PUTS_STAGED);
		virtio_tmem_post_half(vt, q, pool);
		return 0;
	}

	virtio_tmem_delay(VT_DELAY_PUT_UNSTAGED);
	mutex_lock(&q->lock);
	/*
	 * Who had the lock may have made room. If not, this drops what was read
	 * ahead of the index, now that no get can bring the old page again.
	 */
	staged = virtio_tmem_stage(q, pool, index, page);
	if (!staged && vt->nr_staged &&
	    /* What is staged just now can wait for the next put */
	    (data_race(READ_ONCE(q->nr_staged)) ||
	     q->asked++ % VT_ASK_AGAIN == 0))
		staged = virtio_tmem_make_room(vt, q, pool) &&
			 virtio_tmem_stage(q, pool, index, page);
	if (!staged)
		ret = virtio_tmem_put_now(vt, q, pool, index, page, 1, &stored);
	mutex_unlock(&q->lock);

	if (!ret)
		virtio_tmem_sum_end(pool, index, sum);
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

int virtio_tmem_put_many(struct virtio_tmem_pool *pool, unsigned long index,
			 struct page *page, unsigned int nr, u32 *stored)
{
	struct virtio_tmem_queue *q = virtio_tmem_queue_of(pool, index);
	u32 sums[VIRTIO_TMEM_MAX_PAGES];
	struct virtio_tmem *vt = pool->vt;
	unsigned long flags;
	unsigned int i;
	int ret;

	*stored = 0;
	if (WARN_ON_ONCE(index + nr > pool->nr_pages || !virtio_tmem_fits(index, nr)))
		return -EINVAL;
	for (i = 0; i < nr; i++)
		sums[i] = virtio_tmem_sum_begin(pool, index + i, page + i);

	mutex_lock(&q->lock);
	/* With the lock: no get can bring the old pages again */
	spin_lock_irqsave(&q->slot_lock, flags);
	for (i = 0; i < nr; i++) {
		virtio_tmem_drop_ahead(vt, q, pool, index + i);
		virtio_tmem_unstage(vt, q, pool, index + i);
	}
	spin_unlock_irqrestore(&q->slot_lock, flags);
	ret = virtio_tmem_put_now(vt, q, pool, index, page, nr, stored);
	mutex_unlock(&q->lock);

	for (i = 0; i < nr; i++)
		if (*stored & BIT(i))
			virtio_tmem_sum_end(pool, index + i, sums[i]);
	virtio_tmem_count_many(vt, VT_STAT_PUTS, hweight32(*stored));
	virtio_tmem_count_many(vt, !ret || ret == -ENOSPC ?
			       VT_STAT_PUTS_REJECTED : VT_STAT_PUTS_FAILED,
			       nr - hweight32(*stored));
	if (ret && ret != -ENOSPC)
		for (i = 0; i < nr; i++)
			virtio_tmem_flush(pool, index + i);
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
	/* Only write-back gets a page while it is put: it has no use for it */
	if (slot && slot->state == VT_SLOT_FILLING) {
		slot = NULL;
	} else if (!slot) {
		slot = virtio_tmem_find(q->ahead, vt->nr_ahead, pool, index);
		ahead = slot && slot->state == VT_SLOT_READY;
		if (!ahead)
			slot = NULL;
	}
	if (ahead) {
		/*
		 * The page is mapped, or in the swap cache: rarely asked for
		 * again, and then there is the host's copy.
		 */
		slot->state = VT_SLOT_FILLING;
		virtio_tmem_set_key(slot, NULL, 0);
	} else if (slot) {
		virtio_tmem_copy(page, slot->page);
	}
	spin_unlock_irqrestore(&q->slot_lock, flags);
	if (!slot)
		return false;

	if (ahead) {
		virtio_tmem_delay(VT_DELAY_GET_AHEAD);
		virtio_tmem_copy(page, slot->page);
		spin_lock_irqsave(&q->slot_lock, flags);
		slot->state = VT_SLOT_EMPTY;
		spin_unlock_irqrestore(&q->slot_lock, flags);
	}
	virtio_tmem_count(vt, ahead ? VT_STAT_AHEAD_HITS : VT_STAT_STAGED_LOADS);
	return true;
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
	for (i = 1; i < nr; i++)
		sg_set_page(&q->sg[i], q->plan[i]->page, PAGE_SIZE, 0);
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

/*
 * Get those pages from @page on whose bits are in @missing, without any ahead.
 * Called with the queue's lock held. Return: 0, or an error for any of them.
 */
static int virtio_tmem_get_missing(struct virtio_tmem *vt,
				   struct virtio_tmem_queue *q,
				   struct virtio_tmem_pool *pool,
				   unsigned long index, struct page *page,
				   u32 missing)
{
	struct virtio_tmem_msg *msg = &q->msgs[VT_MSG_PAGES];
	unsigned int i, n = 0, nr = hweight32(missing);
	struct virtio_tmem_resp resp;
	struct virtio_tmem_buf *buf;
	int ret;

	buf = virtio_tmem_prepare(q, VT_MSG_PAGES, VIRTIO_TMEM_REQ_GET, pool, nr);
	sg_init_table(q->sg, nr);
	for (i = 0; n < nr; i++) {
		if (!(missing & BIT(i)))
			continue;
		buf->list.index[n] = cpu_to_le64(index + i);
		sg_set_page(&q->sg[n++], page + i, PAGE_SIZE, 0);
	}
	ret = virtio_tmem_add(vt, q, VT_MSG_PAGES, nr * sizeof(__le64), nr);
	if (ret)
		return ret;
	msg->page = page;
	ret = virtio_tmem_run(vt, q);
	if (!ret)
		ret = virtio_tmem_result(vt, q, VT_MSG_PAGES, &resp);
	if (ret == VIRTIO_TMEM_S_OK &&
	    le32_to_cpu(resp.done) == GENMASK(nr - 1, 0) &&
	    msg->used_len >= sizeof(resp) + nr * PAGE_SIZE)
		return 0;
	if (ret == VIRTIO_TMEM_S_ABSENT)
		return -ENOENT;
	return virtio_tmem_bad_status(vt, ret, "get");
}

int virtio_tmem_get_many(struct virtio_tmem_pool *pool, unsigned long index,
			 struct page *page, unsigned int nr)
{
	struct virtio_tmem_queue *q = virtio_tmem_queue_of(pool, index);
	u32 sums[VIRTIO_TMEM_MAX_PAGES], missing = 0;
	struct virtio_tmem *vt = pool->vt;
	unsigned int i;
	int ret;

	if (WARN_ON_ONCE(index + nr > pool->nr_pages || !virtio_tmem_fits(index, nr)))
		return -EINVAL;
	for (i = 0; i < nr; i++)
		sums[i] = virtio_tmem_sum_of(pool, index + i);

	mutex_lock(&q->lock);
	ret = virtio_tmem_queue_error(q);
	for (i = 0; i < nr; i++)
		if (!virtio_tmem_get_local(q, pool, index + i, page + i))
			missing |= BIT(i);
	if (!missing)
		ret = 0;
	else if (!ret)
		ret = virtio_tmem_get_missing(vt, q, pool, index, page, missing);
	mutex_unlock(&q->lock);
	for (i = 0; i < nr && !ret; i++)
		ret = virtio_tmem_sum_check(pool, index + i, sums[i], page + i);
	/* If it fails they are got one by one, and counted then */
	if (!ret)
		virtio_tmem_count_many(vt, VT_STAT_GETS, nr);
	return ret;
}

int virtio_tmem_get(struct virtio_tmem_pool *pool, unsigned long index,
		    struct page *page)
{
	struct virtio_tmem_queue *q = virtio_tmem_queue_of(pool, index);
	struct virtio_tmem *vt = pool->vt;
	int ret = 0;
	u32 sum;

	if (WARN_ON_ONCE(index >= pool->nr_pages))
		return -EINVAL;
	sum = virtio_tmem_sum_of(pool, index);
	if (virtio_tmem_get_local(q, pool, index, page))
		goto got;

	virtio_tmem_delay(VT_DELAY_GET_REMOTE);
	mutex_lock(&q->lock);
	if (test_bit(index, pool->flush_pages))
		/* Flushed, only the host has not heard of it yet */
		ret = -ENOENT;
	else if (!virtio_tmem_get_local(q, pool, index, page))
		/* Nor was it got ahead while the lock was waited for */
		ret = virtio_tmem_get_now(vt, q, pool, index, page);
	mutex_unlock(&q->lock);
got:
	if (!ret)
		ret = virtio_tmem_sum_check(pool, index, sum, page);
	if (ret == -EBADMSG)
		virtio_tmem_count(vt, VT_STAT_GETS_WRONG);
	/* Whether somebody wants what is not there, the caller knows */
	if (ret != -ENOENT)
		virtio_tmem_count(vt, ret ? VT_STAT_GETS_FAILED : VT_STAT_GETS);
	return ret;
}

void virtio_tmem_flush(struct virtio_tmem_pool *pool, unsigned long index)
{
	struct virtio_tmem_queue *q = virtio_tmem_queue_of(pool, index);
	struct virtio_tmem *vt = pool->vt;
	unsigned long flags;
	bool held;

	if (WARN_ON_ONCE(index >= pool->nr_pages))
		return;

	spin_lock_irqsave(&q->slot_lock, flags);
	if (test_bit(index, pool->local)) {
		virtio_tmem_unstage(vt, q, pool, index);
		virtio_tmem_drop_ahead(vt, q, pool, index);
	}
	/* Set before a staged page gets on its way */
	held = test_bit(index, pool->held);
	if (held)
		set_bit(index, pool->flush_pages);
	spin_unlock_irqrestore(&q->slot_lock, flags);
	if (!held)
		return;
	virtio_tmem_delay_atomic(VT_DELAY_FLUSH_PAGE);
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
		mutex_lock(&q->lock);
		/* Nothing is FILLING then, nor BUSY if the device is well */
		virtio_tmem_settle(vt, q);
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
