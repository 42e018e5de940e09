// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Virtio transcendent memory (tmem) driver: device core.
 *
 * Turns puts, gets and flushes of the front ends into requests. The rules:
 *
 * - All operations on an index go through one queue, chosen by the index alone,
 *   and a queue has one request under way at a time, under its mutex. So they
 *   take effect on the host in the order in which they were called.
 * - A request uses memory that was allocated at probe, and no indirect
 *   descriptors: nothing here allocates in the put path. (The DMA API may map,
 *   and fail to, where the platform needs it; that is handled.)
 * - A flush only sets a bit. A worker collects the bits into range lists. It
 *   takes them, and sends them, under the mutex of the index's queue; a put
 *   clears the bit under the same mutex. So a late flush cannot hit a new page.
 * - The device is not trusted: lengths and statuses are checked, and every wait
 *   has an end. After a wait that was given up the device may still write to
 *   the buffers, so they (and the page) are kept until it has been reset.
 */

#include <linux/bitmap.h>
#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/scatterlist.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/suspend.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <linux/workqueue.h>

#include <uapi/linux/virtio_tmem.h>

#include "virtio_tmem.h"

/*
 * Indexes of one cluster share a queue. The same as SWAP_SLOTS_CACHE_SIZE: a
 * CPU takes that many neighbouring slots at a time, whether the swap area gives
 * each CPU larger clusters of its own (SWP_SOLIDSTATE) or not (virtio-blk).
 */
#define VT_CLUSTER_SHIFT	6
#define VT_CLUSTER_SIZE		BIT(VT_CLUSTER_SHIFT)

/* A cluster has at most this many separate ranges: every other page */
#define VT_CLUSTER_MAX_RANGES	(VT_CLUSTER_SIZE / 2)

/* How long a flush may wait for company */
#define VT_FLUSH_DELAY_MS	5

/*
 * Waiting: spin for as long as a put or get takes a host that is not busy, then
 * nap, first shortly and then for longer. The end is counted in naps and not in
 * time: when the host stops all vCPUs for a minute, that is one nap.
 */
#define VT_SPINS		1000
#define VT_SHORT_NAPS		100	/* of 100 us; the others of 10 ms */
#define VT_NAPS_PER_SECOND	100

/*
 * Giving up loses every page that the host holds, so it is for a device that is
 * surely dead. One that says so itself (NEEDS_RESET) is given up at once.
 */
static unsigned int timeout = 300;
module_param(timeout, uint, 0644);
MODULE_PARM_DESC(timeout, "Seconds to wait for an answer before the device is given up; 0: for ever (default: 300)");

/* A header, a response, a page */
#define VT_MAX_DESCRIPTORS	3

/* The request of a queue. Allocated by itself: DMA may touch all of it. */
struct virtio_tmem_buf {
	struct virtio_tmem_req req;
	union {
		__le64 index;
		struct virtio_tmem_range range[VIRTIO_TMEM_MAX_RANGES];
	} list;
	/* Written by the device: not in a cache line with what it reads */
	struct virtio_tmem_resp resp ____cacheline_aligned;
};

struct virtio_tmem_queue {
	/*
	 * Protects all below; held from the making of a request until it is
	 * used. Taken in reclaim: nothing that holds it may allocate. Inside
	 * pools_lock.
	 */
	struct mutex lock;
	struct virtqueue *vq;		/* NULL: the device is gone */
	struct virtio_tmem_buf *buf;
	struct page *orphan;		/* of a request that was given up */
};

struct virtio_tmem {
	struct virtio_device *vdev;	/* valid while a queue's vq is not NULL */
	struct kref ref;
	char name[32];
	struct workqueue_struct *wq;
	struct delayed_work flush_work;
	struct work_struct config_work;
	struct notifier_block pm_nb;
	struct dentry *debugfs;
	atomic_long_t stats[VT_NR_STATS];

	struct mutex pools_lock;	/* protects the list; outside of queue locks */
	struct list_head pools;

	unsigned int nr_queues;
	struct virtio_tmem_queue queues[];
};

struct virtio_tmem_pool {
	struct virtio_tmem *vt;
	struct list_head node;
	u32 id;
	unsigned long nr_pages;
	/*
	 * Bit n of flush_pages: index n is to be flushed. Bit n of
	 * flush_clusters: cluster n may have such bits. The page's bit is set
	 * before the cluster's and cleared after it: see virtio_tmem_flush().
	 */
	unsigned long *flush_pages;
	unsigned long *flush_clusters;
};

static const char * const virtio_tmem_stat_names[VT_NR_STATS] = {
	[VT_STAT_PUTS]			= "puts",
	[VT_STAT_PUTS_REJECTED]		= "puts_rejected",
	[VT_STAT_PUTS_FAILED]		= "puts_failed",
	[VT_STAT_GETS]			= "gets",
	[VT_STAT_GETS_FAILED]		= "gets_failed",
	[VT_STAT_FLUSHES]		= "flushes",
	[VT_STAT_FLUSH_REQUESTS]	= "flush_requests",
	[VT_STAT_REQUESTS]		= "requests",
	[VT_STAT_NOTIFICATIONS]		= "notifications",
	[VT_STAT_NAPS]			= "naps",
	[VT_STAT_SAME_FILLED_STORES]	= "same_filled_stores",
	[VT_STAT_SAME_FILLED_LOADS]	= "same_filled_loads",
	[VT_STAT_SAME_FILLED_FREES]	= "same_filled_frees",
	[VT_STAT_HUGE_REFUSED]		= "huge_refused",
};

static void virtio_tmem_count_many(struct virtio_tmem *vt,
				   enum virtio_tmem_stat stat, long n)
{
	atomic_long_add(n, &vt->stats[stat]);
}

void virtio_tmem_count(struct virtio_tmem *vt, enum virtio_tmem_stat stat)
{
	virtio_tmem_count_many(vt, stat, 1);
}

const char *virtio_tmem_name(const struct virtio_tmem *vt)
{
	return vt->name;
}

static unsigned long virtio_tmem_nr_clusters(const struct virtio_tmem_pool *pool)
{
	return DIV_ROUND_UP(pool->nr_pages, VT_CLUSTER_SIZE);
}

static struct virtio_tmem_queue *virtio_tmem_queue_of(struct virtio_tmem_pool *pool,
						      unsigned long index)
{
	struct virtio_tmem *vt = pool->vt;

	return &vt->queues[(index >> VT_CLUSTER_SHIFT) % vt->nr_queues];
}

/*
 * One step of a wait; @step counts from 0. Called with @q->lock held.
 *
 * Return: 0, or -EIO when there is nothing to wait for any more.
 */
static int virtio_tmem_wait_step(struct virtio_tmem *vt,
				 struct virtio_tmem_queue *q, unsigned int step)
{
	unsigned int naps, limit = READ_ONCE(timeout);

	if (virtqueue_is_broken(q->vq))
		return -EIO;
	if (step < VT_SPINS) {
		cpu_relax();
		return 0;
	}
	naps = step - VT_SPINS;
	if (limit && naps / VT_NAPS_PER_SECOND > limit) {
		dev_err(&vt->vdev->dev,
			"no answer to a request in %u seconds: giving up the device\n",
			limit);
		virtio_break_device(vt->vdev);
		return -EIO;
	}
	virtio_tmem_count(vt, VT_STAT_NAPS);
	if (naps < VT_SHORT_NAPS)
		usleep_range(100, 200);
	else
		usleep_range(10000, 11000);
	return 0;
}

/*
 * Wait until the request of @q is used. Called with @q->lock held.
 *
 * Return: bytes that the device has written, or -EIO when it is broken or does
 * not answer; the buffers still belong to the device then.
 */
static int virtio_tmem_wait(struct virtio_tmem *vt, struct virtio_tmem_queue *q)
{
	unsigned int len, step = 0;

	while (!virtqueue_get_buf(q->vq, &len))
		if (virtio_tmem_wait_step(vt, q, step++))
			return -EIO;
	return min_t(unsigned int, len, INT_MAX);
}

/*
 * Put a request into the ring. There is always room, but the DMA API may be out
 * of mappings for a while: a put then goes to the disk, the others have no other
 * place to go and wait. Called with @q->lock held.
 */
static int virtio_tmem_add(struct virtio_tmem *vt, struct virtio_tmem_queue *q,
			   struct scatterlist **sgs, unsigned int out,
			   unsigned int in)
{
	unsigned int step = 0;

	/* Indirect descriptors are off: see virtio_tmem_validate() */
	while (virtqueue_add_sgs(q->vq, sgs, out, in, q,
				 GFP_NOWAIT | __GFP_NOWARN))
		if (q->buf->req.type == VIRTIO_TMEM_REQ_PUT ||
		    virtio_tmem_wait_step(vt, q, step++))
			return -EIO;
	return 0;
}

/*
 * Send the request in @q->buf with its list of @list_len bytes, and wait.
 * @page: payload, sent (@type PUT) or filled (GET), or NULL. Called with
 * @q->lock held.
 *
 * Return: the status that the device gave, in @resp all that it said; -ENODEV,
 * or -EIO when there is no valid response.
 */
static int virtio_tmem_request(struct virtio_tmem *vt,
			       struct virtio_tmem_queue *q, size_t list_len,
			       struct page *page, struct virtio_tmem_resp *resp)
{
	struct scatterlist hdr_sg, resp_sg, page_sg, *sgs[VT_MAX_DESCRIPTORS];
	struct virtio_tmem_buf *buf = q->buf;
	bool put = buf->req.type == VIRTIO_TMEM_REQ_PUT;
	unsigned int out = 0, in = 0;
	int len;

	if (!q->vq)
		return -ENODEV;

	/* What the device leaves unwritten must not look like success */
	memset(&buf->resp, 0xff, sizeof(buf->resp));

	sg_init_one(&hdr_sg, &buf->req, sizeof(buf->req) + list_len);
	sgs[out++] = &hdr_sg;
	if (page) {
		sg_init_table(&page_sg, 1);
		sg_set_page(&page_sg, page, PAGE_SIZE, 0);
		if (put)
			sgs[out++] = &page_sg;
	}
	sg_init_one(&resp_sg, &buf->resp, sizeof(buf->resp));
	sgs[out + in++] = &resp_sg;
	if (page && !put)
		sgs[out + in++] = &page_sg;

	if (virtio_tmem_add(vt, q, sgs, out, in))
		return -EIO;
	virtio_tmem_count(vt, VT_STAT_REQUESTS);
	if (virtqueue_kick_prepare(q->vq)) {
		virtio_tmem_count(vt, VT_STAT_NOTIFICATIONS);
		virtqueue_notify(q->vq);
	}

	len = virtio_tmem_wait(vt, q);
	if (len < 0) {
		/* A broken queue takes no more requests: this happens once */
		if (page) {
			get_page(page);
			q->orphan = page;
		}
		return len;
	}
	/* Copied once: the device could still write to its side of the buffer */
	memcpy(resp, &buf->resp, sizeof(*resp));
	if (len < sizeof(*resp) ||
	    (resp->status == VIRTIO_TMEM_S_OK && page && !put &&
	     len < sizeof(*resp) + PAGE_SIZE)) {
		dev_err_ratelimited(&vt->vdev->dev,
				    "response of %d bytes is too short\n", len);
		return -EIO;
	}
	return resp->status;
}

/* Fill in the header of the request of @q. Called with @q->lock held. */
static void virtio_tmem_prepare(struct virtio_tmem_queue *q, u8 type, u32 pool,
				u16 count)
{
	q->buf->req = (struct virtio_tmem_req) {
		.type = type,
		.count = cpu_to_le16(count),
		.pool = cpu_to_le32(pool),
	};
}

/* Called with the queue's lock held, so that vt->vdev is valid */
static int virtio_tmem_bad_status(struct virtio_tmem *vt, int status,
				  const char *what)
{
	if (status >= 0)
		dev_err_ratelimited(&vt->vdev->dev,
				    "unexpected status %d to a %s\n",
				    status, what);
	return status == -ENODEV ? -ENODEV : -EIO;
}

int virtio_tmem_put(struct virtio_tmem_pool *pool, unsigned long index,
		    struct page *page)
{
	struct virtio_tmem_queue *q = virtio_tmem_queue_of(pool, index);
	struct virtio_tmem *vt = pool->vt;
	struct virtio_tmem_resp resp;
	int ret;

	if (WARN_ON_ONCE(index >= pool->nr_pages))
		return -EINVAL;

	mutex_lock(&q->lock);
	virtio_tmem_prepare(q, VIRTIO_TMEM_REQ_PUT, pool->id, 1);
	q->buf->list.index = cpu_to_le64(index);
	ret = virtio_tmem_request(vt, q, sizeof(__le64), page, &resp);
	if (ret == VIRTIO_TMEM_S_OK && resp.done == cpu_to_le32(1))
		ret = 0;
	else if (ret == VIRTIO_TMEM_S_REJECTED && !resp.done)
		ret = -ENOSPC;
	else
		ret = virtio_tmem_bad_status(vt, ret, "put");
	/* Taken or refused, the host has no older copy left to flush */
	if (!ret || ret == -ENOSPC)
		clear_bit(index, pool->flush_pages);
	mutex_unlock(&q->lock);

	if (!ret) {
		virtio_tmem_count(vt, VT_STAT_PUTS);
	} else if (ret == -ENOSPC) {
		virtio_tmem_count(vt, VT_STAT_PUTS_REJECTED);
	} else {
		virtio_tmem_count(vt, VT_STAT_PUTS_FAILED);
		virtio_tmem_flush(pool, index);
	}
	return ret;
}

int virtio_tmem_get(struct virtio_tmem_pool *pool, unsigned long index,
		    struct page *page)
{
	struct virtio_tmem_queue *q = virtio_tmem_queue_of(pool, index);
	struct virtio_tmem *vt = pool->vt;
	struct virtio_tmem_resp resp;
	int ret;

	if (WARN_ON_ONCE(index >= pool->nr_pages))
		return -EINVAL;

	mutex_lock(&q->lock);
	if (test_bit(index, pool->flush_pages)) {
		/* Flushed, only the host has not heard of it yet */
		mutex_unlock(&q->lock);
		return -ENOENT;
	}
	virtio_tmem_prepare(q, VIRTIO_TMEM_REQ_GET, pool->id, 1);
	q->buf->list.index = cpu_to_le64(index);
	ret = virtio_tmem_request(vt, q, sizeof(__le64), page, &resp);
	if (ret == VIRTIO_TMEM_S_OK && resp.done == cpu_to_le32(1))
		ret = 0;
	else if (ret == VIRTIO_TMEM_S_ABSENT)
		ret = -ENOENT;
	else if (ret == VIRTIO_TMEM_S_IOERR)
		ret = -EIO;
	else
		ret = virtio_tmem_bad_status(vt, ret, "get");
	mutex_unlock(&q->lock);

	virtio_tmem_count(vt, ret ? VT_STAT_GETS_FAILED : VT_STAT_GETS);
	return ret;
}

void virtio_tmem_flush(struct virtio_tmem_pool *pool, unsigned long index)
{
	struct virtio_tmem *vt = pool->vt;

	if (WARN_ON_ONCE(index >= pool->nr_pages))
		return;

	set_bit(index, pool->flush_pages);
	/*
	 * Pairs with test_and_clear_bit() in virtio_tmem_collect(): that clears
	 * the cluster's bit, then reads the pages'. Either it sees this page's
	 * bit, or the cluster's bit is set again here.
	 */
	smp_mb__after_atomic();
	set_bit(index >> VT_CLUSTER_SHIFT, pool->flush_clusters);
	queue_delayed_work(vt->wq, &vt->flush_work,
			   msecs_to_jiffies(VT_FLUSH_DELAY_MS));
}

/*
 * Move the pending flushes of a cluster into the range list of @q, after the
 * @nr that are there. Called with @q->lock held. Return: new number of ranges.
 */
static unsigned int virtio_tmem_collect(struct virtio_tmem_queue *q,
					struct virtio_tmem_pool *pool,
					unsigned long cluster, unsigned int nr)
{
	unsigned long bit = cluster << VT_CLUSTER_SHIFT;
	unsigned long end = min(bit + VT_CLUSTER_SIZE, pool->nr_pages);
	struct virtio_tmem_range *range = q->buf->list.range;
	unsigned long first;

	/* Full barrier: pairs with virtio_tmem_flush() */
	if (!test_and_clear_bit(cluster, pool->flush_clusters))
		return nr;

	for (;;) {
		first = find_next_bit(pool->flush_pages, end, bit);
		if (first >= end)
			return nr;
		for (bit = first; bit < end; bit++)
			if (!test_and_clear_bit(bit, pool->flush_pages))
				break;
		if (nr && range[nr - 1].last == cpu_to_le64(first - 1)) {
			range[nr - 1].last = cpu_to_le64(bit - 1);
			continue;
		}
		range[nr].first = cpu_to_le64(first);
		range[nr].last = cpu_to_le64(bit - 1);
		nr++;
	}
}

/* Send the @nr ranges in the list of @q. Called with @q->lock held. */
static void virtio_tmem_send_flush(struct virtio_tmem_queue *q,
				   struct virtio_tmem_pool *pool,
				   unsigned int nr)
{
	struct virtio_tmem *vt = pool->vt;
	struct virtio_tmem_resp resp;
	int ret;

	if (!nr)
		return;
	virtio_tmem_prepare(q, VIRTIO_TMEM_REQ_FLUSH, pool->id, nr);
	ret = virtio_tmem_request(vt, q, nr * sizeof(struct virtio_tmem_range),
				  NULL, &resp);
	if (ret == VIRTIO_TMEM_S_OK) {
		virtio_tmem_count(vt, VT_STAT_FLUSH_REQUESTS);
		virtio_tmem_count_many(vt, VT_STAT_FLUSHES,
				       le64_to_cpu(resp.value));
	} else {
		virtio_tmem_bad_status(vt, ret, "flush");
	}
}

/* Flush what is pending in the clusters of @pool that belong to @q */
static void virtio_tmem_flush_pool(struct virtio_tmem_queue *q,
				   struct virtio_tmem_pool *pool)
{
	unsigned long cluster, nr_clusters = virtio_tmem_nr_clusters(pool);
	unsigned int nr = 0;

	mutex_lock(&q->lock);
	for_each_set_bit(cluster, pool->flush_clusters, nr_clusters) {
		if (virtio_tmem_queue_of(pool, cluster << VT_CLUSTER_SHIFT) != q)
			continue;
		nr = virtio_tmem_collect(q, pool, cluster, nr);
		if (nr > VIRTIO_TMEM_MAX_RANGES - VT_CLUSTER_MAX_RANGES) {
			virtio_tmem_send_flush(q, pool, nr);
			nr = 0;
			/* Let puts and gets in between */
			mutex_unlock(&q->lock);
			cond_resched();
			mutex_lock(&q->lock);
		}
	}
	virtio_tmem_send_flush(q, pool, nr);
	mutex_unlock(&q->lock);
}

static void virtio_tmem_flush_work(struct work_struct *work)
{
	struct virtio_tmem *vt = container_of(work, struct virtio_tmem,
					      flush_work.work);
	struct virtio_tmem_pool *pool;
	unsigned int i;

	mutex_lock(&vt->pools_lock);
	list_for_each_entry(pool, &vt->pools, node)
		for (i = 0; i < vt->nr_queues; i++)
			virtio_tmem_flush_pool(&vt->queues[i], pool);
	mutex_unlock(&vt->pools_lock);
}

static void virtio_tmem_pool_free(struct virtio_tmem_pool *pool)
{
	kvfree(pool->flush_pages);
	kvfree(pool->flush_clusters);
	virtio_tmem_unref(pool->vt);
	kfree(pool);
}

/* A request that belongs to no index goes to the first queue */
static int virtio_tmem_pool_request(struct virtio_tmem *vt, u8 type, u32 pool,
				    struct virtio_tmem_resp *resp)
{
	struct virtio_tmem_queue *q = &vt->queues[0];
	int ret;

	mutex_lock(&q->lock);
	virtio_tmem_prepare(q, type, pool, 0);
	ret = virtio_tmem_request(vt, q, 0, NULL, resp);
	if (ret == VIRTIO_TMEM_S_REJECTED)
		ret = -ENOSPC;
	else if (ret != VIRTIO_TMEM_S_OK)
		ret = virtio_tmem_bad_status(vt, ret, "pool request");
	mutex_unlock(&q->lock);
	return ret;
}

/* Two pools of one id would get each other's pages: the device is not trusted */
static int virtio_tmem_pool_add(struct virtio_tmem *vt,
				struct virtio_tmem_pool *pool, u64 id)
{
	struct virtio_tmem_pool *other;
	int err = id > U32_MAX ? -EIO : 0;

	mutex_lock(&vt->pools_lock);
	list_for_each_entry(other, &vt->pools, node)
		if (other->id == id)
			err = -EIO;
	if (!err) {
		pool->id = id;
		list_add_tail(&pool->node, &vt->pools);
	}
	mutex_unlock(&vt->pools_lock);
	if (err)
		pr_err("virtio_tmem %s: %llu is not a valid id of a new pool\n",
		       vt->name, id);
	return err;
}

struct virtio_tmem_pool *virtio_tmem_pool_create(struct virtio_tmem *vt,
						 unsigned long nr_pages)
{
	struct virtio_tmem_pool *pool;
	struct virtio_tmem_resp resp;
	int err = -ENOMEM;

	pool = kzalloc(sizeof(*pool), GFP_KERNEL);
	if (!pool)
		return ERR_PTR(-ENOMEM);
	virtio_tmem_ref(vt);
	pool->vt = vt;
	pool->nr_pages = nr_pages;
	pool->flush_pages = kvcalloc(BITS_TO_LONGS(nr_pages), sizeof(long),
				     GFP_KERNEL);
	pool->flush_clusters = kvcalloc(BITS_TO_LONGS(virtio_tmem_nr_clusters(pool)),
					sizeof(long), GFP_KERNEL);
	if (!pool->flush_pages || !pool->flush_clusters)
		goto fail;

	err = virtio_tmem_pool_request(vt, VIRTIO_TMEM_REQ_POOL_CREATE, 0, &resp);
	if (err)
		goto fail;
	err = virtio_tmem_pool_add(vt, pool, le64_to_cpu(resp.value));
	if (err)
		goto fail;
	return pool;

fail:
	virtio_tmem_pool_free(pool);
	return ERR_PTR(err);
}

void virtio_tmem_pool_destroy(struct virtio_tmem_pool *pool)
{
	struct virtio_tmem_resp resp;

	if (!pool)
		return;
	/* From here on the worker does not know it; pending flushes are moot */
	mutex_lock(&pool->vt->pools_lock);
	list_del(&pool->node);
	mutex_unlock(&pool->vt->pools_lock);

	virtio_tmem_pool_request(pool->vt, VIRTIO_TMEM_REQ_POOL_DESTROY,
				 pool->id, &resp);
	virtio_tmem_pool_free(pool);
}

struct virtio_tmem *virtio_tmem_pool_device(const struct virtio_tmem_pool *pool)
{
	return pool->vt;
}

static int virtio_tmem_stats_show(struct seq_file *m, void *unused)
{
	struct virtio_tmem *vt = m->private;
	int i;

	for (i = 0; i < VT_NR_STATS; i++)
		seq_printf(m, "%s %ld\n", virtio_tmem_stat_names[i],
			   atomic_long_read(&vt->stats[i]));
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(virtio_tmem_stats);

static struct dentry *virtio_tmem_debugfs_root;

static void virtio_tmem_debugfs_init(struct virtio_tmem *vt)
{
	vt->debugfs = debugfs_create_dir(vt->name, virtio_tmem_debugfs_root);
	debugfs_create_file("stats", 0444, vt->debugfs, vt,
			    &virtio_tmem_stats_fops);
}

/* Whether a swap area uses the device: the host may hold pages at any moment */
static bool virtio_tmem_in_use(struct virtio_tmem *vt)
{
	bool in_use;

	mutex_lock(&vt->pools_lock);
	in_use = !list_empty(&vt->pools);
	mutex_unlock(&vt->pools_lock);
	return in_use;
}

/*
 * An image of the guest's memory is of no use without the pages that the host
 * holds, and those are gone when the device is reset. Refused before the guest
 * starts to swap out in order to make room for the image.
 */
static int virtio_tmem_pm_notify(struct notifier_block *nb, unsigned long event,
				 void *unused)
{
	struct virtio_tmem *vt = container_of(nb, struct virtio_tmem, pm_nb);

	if (event != PM_HIBERNATION_PREPARE || !virtio_tmem_in_use(vt))
		return NOTIFY_DONE;
	pr_err("virtio_tmem %s: hibernation refused: swap areas have pages on the host; swapoff first\n",
	       vt->name);
	return notifier_from_errno(-EBUSY);
}

static int virtio_tmem_find_vqs(struct virtio_tmem *vt)
{
	vq_callback_t *callbacks[VIRTIO_TMEM_MAX_QUEUES] = { };
	struct virtqueue *vqs[VIRTIO_TMEM_MAX_QUEUES];
	const char *names[VIRTIO_TMEM_MAX_QUEUES];
	unsigned int i;
	int err;

	/* No callbacks, no interrupts: the used ring is polled */
	for (i = 0; i < vt->nr_queues; i++)
		names[i] = "requests";
	err = virtio_find_vqs(vt->vdev, vt->nr_queues, vqs, callbacks, names,
			      NULL);
	if (err)
		return err;
	for (i = 0; i < vt->nr_queues; i++) {
		if (virtqueue_get_vring_size(vqs[i]) < VT_MAX_DESCRIPTORS) {
			dev_err(&vt->vdev->dev,
				"queue %u has %u entries, at least %u are needed\n",
				i, virtqueue_get_vring_size(vqs[i]),
				VT_MAX_DESCRIPTORS);
			vt->vdev->config->del_vqs(vt->vdev);
			return -EINVAL;
		}
	}
	for (i = 0; i < vt->nr_queues; i++)
		vt->queues[i].vq = vqs[i];
	return 0;
}

/* Let requests under way end, and make all later ones fail */
static void virtio_tmem_stop(struct virtio_tmem *vt)
{
	struct virtqueue *vq;
	unsigned int i;

	cancel_work_sync(&vt->config_work);

	for (i = 0; i < vt->nr_queues; i++) {
		mutex_lock(&vt->queues[i].lock);
		vt->queues[i].vq = NULL;
		mutex_unlock(&vt->queues[i].lock);
	}
	virtio_reset_device(vt->vdev);
	/* Unmaps what was given up: the device no longer writes anywhere */
	virtio_device_for_each_vq(vt->vdev, vq)
		while (virtqueue_detach_unused_buf(vq))
			;
	vt->vdev->config->del_vqs(vt->vdev);

	for (i = 0; i < vt->nr_queues; i++) {
		if (vt->queues[i].orphan)
			put_page(vt->queues[i].orphan);
		vt->queues[i].orphan = NULL;
	}
}

static void virtio_tmem_release(struct kref *ref)
{
	struct virtio_tmem *vt = container_of(ref, struct virtio_tmem, ref);
	unsigned int i;

	cancel_delayed_work_sync(&vt->flush_work);
	if (vt->wq)
		destroy_workqueue(vt->wq);
	for (i = 0; i < vt->nr_queues; i++)
		kfree(vt->queues[i].buf);
	kvfree(vt);
}

void virtio_tmem_ref(struct virtio_tmem *vt)
{
	kref_get(&vt->ref);
}

void virtio_tmem_unref(struct virtio_tmem *vt)
{
	kref_put(&vt->ref, virtio_tmem_release);
}

/* The core has no handling of its own for a device that wants a reset. */
static void virtio_tmem_config_work(struct work_struct *work)
{
	struct virtio_tmem *vt = container_of(work, struct virtio_tmem,
					      config_work);
	struct virtio_device *vdev = vt->vdev;

	if (vdev->config->get_status(vdev) & VIRTIO_CONFIG_S_NEEDS_RESET) {
		dev_err(&vdev->dev, "the device has failed and needs a reset: giving it up\n");
		virtio_break_device(vdev);
	}
}

static struct virtio_tmem *virtio_tmem_alloc(struct virtio_device *vdev,
					     unsigned int nr_queues)
{
	struct virtio_tmem *vt;
	unsigned int i;

	vt = kvzalloc(struct_size(vt, queues, nr_queues), GFP_KERNEL);
	if (!vt)
		return NULL;
	vt->vdev = vdev;
	vt->nr_queues = nr_queues;
	kref_init(&vt->ref);
	strscpy(vt->name, dev_name(&vdev->dev), sizeof(vt->name));
	mutex_init(&vt->pools_lock);
	INIT_LIST_HEAD(&vt->pools);
	INIT_DELAYED_WORK(&vt->flush_work, virtio_tmem_flush_work);
	INIT_WORK(&vt->config_work, virtio_tmem_config_work);
	for (i = 0; i < nr_queues; i++)
		mutex_init(&vt->queues[i].lock);

	/* Flushes free host memory: not to be held up by a lack of guest memory */
	vt->wq = alloc_workqueue("virtio_tmem", WQ_MEM_RECLAIM, 0);
	if (!vt->wq)
		goto fail;
	for (i = 0; i < nr_queues; i++) {
		vt->queues[i].buf = kzalloc(sizeof(*vt->queues[i].buf),
					    GFP_KERNEL);
		if (!vt->queues[i].buf)
			goto fail;
	}
	return vt;

fail:
	virtio_tmem_unref(vt);
	return NULL;
}

/* Configuration space, checked. Return: number of queues to use, or -EINVAL. */
static int virtio_tmem_read_config(struct virtio_device *vdev)
{
	u32 num_queues;
	u8 page_shift;

	virtio_cread_le(vdev, struct virtio_tmem_config, page_shift, &page_shift);
	virtio_cread_le(vdev, struct virtio_tmem_config, num_queues, &num_queues);
	if (page_shift != PAGE_SHIFT) {
		dev_err(&vdev->dev, "the device's page shift is %u, this kernel needs %u\n",
			page_shift, PAGE_SHIFT);
		return -EINVAL;
	}
	if (num_queues < 1 || num_queues > VIRTIO_TMEM_MAX_QUEUES) {
		dev_err(&vdev->dev, "the device has %u queues, expected 1 to %u\n",
			num_queues, VIRTIO_TMEM_MAX_QUEUES);
		return -EINVAL;
	}
	return min(num_queues, nr_cpu_ids);
}

static int virtio_tmem_probe(struct virtio_device *vdev)
{
	struct virtio_tmem *vt;
	int nr_queues, err;

	nr_queues = virtio_tmem_read_config(vdev);
	if (nr_queues < 0)
		return nr_queues;
	vt = virtio_tmem_alloc(vdev, nr_queues);
	if (!vt)
		return -ENOMEM;
	err = virtio_tmem_find_vqs(vt);
	if (err)
		goto fail_free;
	vt->pm_nb.notifier_call = virtio_tmem_pm_notify;
	err = register_pm_notifier(&vt->pm_nb);
	if (err)
		goto fail_vqs;

	vdev->priv = vt;
	virtio_tmem_debugfs_init(vt);
	virtio_device_ready(vdev);
	virtio_tmem_frontswap_attach(vt);
	return 0;

fail_vqs:
	vdev->config->del_vqs(vdev);
fail_free:
	virtio_tmem_unref(vt);
	return err;
}

static void virtio_tmem_remove(struct virtio_device *vdev)
{
	struct virtio_tmem *vt = vdev->priv;

	virtio_tmem_frontswap_detach(vt);
	unregister_pm_notifier(&vt->pm_nb);
	debugfs_remove_recursive(vt->debugfs);

	if (virtio_tmem_in_use(vt))
		dev_err(&vdev->dev,
			"device removed while swap areas use it: who needs a page that it held gets SIGBUS\n");
	virtio_tmem_stop(vt);
	virtio_tmem_unref(vt);
}

/* In interrupt context, where neither of the two calls above is allowed */
static void virtio_tmem_config_changed(struct virtio_device *vdev)
{
	struct virtio_tmem *vt = vdev->priv;

	schedule_work(&vt->config_work);
}

/* Indirect descriptors would be allocated for each request, in reclaim. */
static int virtio_tmem_validate(struct virtio_device *vdev)
{
	__virtio_clear_bit(vdev, VIRTIO_RING_F_INDIRECT_DESC);
	if (!virtio_has_feature(vdev, VIRTIO_F_VERSION_1)) {
		dev_err(&vdev->dev, "the device does not offer VIRTIO_F_VERSION_1\n");
		return -EINVAL;
	}
	return 0;
}

#ifdef CONFIG_PM_SLEEP
static int virtio_tmem_freeze(struct virtio_device *vdev)
{
	struct virtio_tmem *vt = vdev->priv;

	if (virtio_tmem_in_use(vt)) {
		/* Resuming resets the device, and with it go the pages */
		dev_err(&vdev->dev, "suspend refused: swap areas have pages on the host; swapoff first\n");
		return -EPERM;
	}
	virtio_tmem_stop(vt);
	return 0;
}

static int virtio_tmem_restore(struct virtio_device *vdev)
{
	struct virtio_tmem *vt = vdev->priv;
	int err;

	err = virtio_tmem_find_vqs(vt);
	if (!err)
		virtio_device_ready(vdev);
	return err;
}
#endif

static const struct virtio_device_id virtio_tmem_id_table[] = {
	{ VIRTIO_ID_TMEM, VIRTIO_DEV_ANY_ID },
	{ 0 },
};

static struct virtio_driver virtio_tmem_driver = {
	.driver.name = KBUILD_MODNAME,
	.driver.owner = THIS_MODULE,
	/*
	 * Unbinding would take pages away that are still needed. (Removing the
	 * PCI device still can: then the reads of those pages fail.)
	 */
	.driver.suppress_bind_attrs = true,
	.id_table = virtio_tmem_id_table,
	.validate = virtio_tmem_validate,
	.probe = virtio_tmem_probe,
	.remove = virtio_tmem_remove,
	.config_changed = virtio_tmem_config_changed,
#ifdef CONFIG_PM_SLEEP
	.freeze = virtio_tmem_freeze,
	.restore = virtio_tmem_restore,
#endif
};

static int __init virtio_tmem_init(void)
{
	int err;

	virtio_tmem_debugfs_root = debugfs_create_dir("virtio_tmem", NULL);
	err = register_virtio_driver(&virtio_tmem_driver);
	if (err)
		debugfs_remove_recursive(virtio_tmem_debugfs_root);
	return err;
}
module_init(virtio_tmem_init);

static void __exit virtio_tmem_exit(void)
{
	unregister_virtio_driver(&virtio_tmem_driver);
	debugfs_remove_recursive(virtio_tmem_debugfs_root);
}
module_exit(virtio_tmem_exit);

MODULE_DEVICE_TABLE(virtio, virtio_tmem_id_table);

MODULE_DESCRIPTION("Virtio transcendent memory (tmem) driver");
MODULE_LICENSE("GPL");
