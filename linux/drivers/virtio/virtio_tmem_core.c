// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Virtio transcendent memory (tmem) driver: device core.
 *
 * Probe and remove, pools, the worker that sends flushes which wait too long.
 */

#include <linux/bitmap.h>
#include <linux/debugfs.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/suspend.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "virtio_tmem_int.h"
#include "virtio_tmem_writeback.h"

static const char * const virtio_tmem_stat_names[VT_NR_STATS] = {
	[VT_STAT_PUTS]			= "puts",
	[VT_STAT_PUTS_STAGED]		= "puts_staged",
	[VT_STAT_PUTS_REJECTED]		= "puts_rejected",
	[VT_STAT_PUTS_FAILED]		= "puts_failed",
	[VT_STAT_STAGED_LOADS]		= "staged_loads",
	[VT_STAT_STAGED_FREES]		= "staged_frees",
	[VT_STAT_GETS]			= "gets",
	[VT_STAT_GETS_FAILED]		= "gets_failed",
	[VT_STAT_GETS_WRONG]		= "gets_wrong",
	[VT_STAT_AHEAD]			= "ahead",
	[VT_STAT_AHEAD_HITS]		= "ahead_hits",
	[VT_STAT_AHEAD_WASTED]		= "ahead_wasted",
	[VT_STAT_FLUSHES]		= "flushes",
	[VT_STAT_FLUSH_REQUESTS]	= "flush_requests",
	[VT_STAT_REQUESTS]		= "requests",
	[VT_STAT_NOTIFICATIONS]		= "notifications",
	[VT_STAT_NAPS]			= "naps",
	[VT_STAT_SAME_FILLED_STORES]	= "same_filled_stores",
	[VT_STAT_SAME_FILLED_LOADS]	= "same_filled_loads",
	[VT_STAT_SAME_FILLED_FREES]	= "same_filled_frees",
	[VT_STAT_HUGE_REFUSED]		= "huge_refused",
	[VT_STAT_BACKING_WRITES]	= "backing_writes",
	[VT_STAT_BACKING_READS]		= "backing_reads",
	[VT_STAT_WRITTEN_BACK]		= "written_back",
	[VT_STAT_PULLED_IN]		= "pulled_in",
};

void virtio_tmem_count_many(struct virtio_tmem *vt, enum virtio_tmem_stat stat,
			    long n)
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

u64 virtio_tmem_max_pages(const struct virtio_tmem *vt)
{
	return vt->max_pages;
}

struct virtio_tmem_target *virtio_tmem_target(struct virtio_tmem *vt)
{
	return &vt->target;
}

/* Flush what is pending in the clusters of @pool that belong to @q */
static void virtio_tmem_flush_pool(struct virtio_tmem_queue *q,
				   struct virtio_tmem_pool *pool)
{
	struct virtio_tmem *vt = pool->vt;
	unsigned long cluster = 0;
	unsigned int nr;

	do {
		mutex_lock(&q->lock);
		/* The flush that is posted has the message, if there is one */
		nr = virtio_tmem_settle(vt, q) ? 0 :
		     virtio_tmem_collect(q, pool, &cluster);
		if (nr && !virtio_tmem_add_flush(vt, q, pool, nr) &&
		    !virtio_tmem_run(vt, q))
			virtio_tmem_finish_flush(vt, q);
		/* Let puts and gets in between */
		mutex_unlock(&q->lock);
		cond_resched();
	} while (nr);
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

/* Host memory that is kept free for this guest is better used for another */
static void virtio_tmem_idle_work(struct work_struct *work)
{
	struct virtio_tmem *vt = container_of(work, struct virtio_tmem,
					      idle_work.work);
	unsigned long granted_at;
	unsigned int i;

	for (i = 0; i < vt->nr_queues; i++) {
		granted_at = READ_ONCE(vt->queues[i].granted_at);
		if (time_before(jiffies, granted_at + VT_IDLE))
			queue_delayed_work(vt->wq, &vt->idle_work, VT_IDLE);
		else
			virtio_tmem_give_back(vt, &vt->queues[i]);
	}
}

static void virtio_tmem_give_all_back(struct virtio_tmem *vt)
{
	unsigned int i;

	for (i = 0; i < vt->nr_queues; i++)
		virtio_tmem_give_back(vt, &vt->queues[i]);
}

static void virtio_tmem_pool_free(struct virtio_tmem_pool *pool)
{
	kvfree(pool->held);
	kvfree(pool->flush_pages);
	kvfree(pool->flush_clusters);
	kvfree(pool->local);
	kvfree(pool->sums);
	virtio_tmem_unref(pool->vt);
	kfree(pool);
}

/* A request that belongs to no index goes to the first queue */
static int virtio_tmem_pool_request(struct virtio_tmem *vt, u8 type,
				    struct virtio_tmem_pool *pool,
				    struct virtio_tmem_resp *resp)
{
	struct virtio_tmem_queue *q = &vt->queues[0];
	int ret;

	mutex_lock(&q->lock);
	virtio_tmem_prepare(q, VT_MSG_PAGES, type, pool, 0);
	ret = virtio_tmem_add(vt, q, VT_MSG_PAGES, 0, 0);
	if (!ret)
		ret = virtio_tmem_run(vt, q);
	if (!ret)
		ret = virtio_tmem_result(vt, q, VT_MSG_PAGES, resp);
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

/* Who asks for the pool says what is missing when there is no memory */
static unsigned long *virtio_tmem_bits(unsigned long nr)
{
	return kvcalloc(BITS_TO_LONGS(nr), sizeof(long),
			GFP_KERNEL | __GFP_NOWARN);
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
	pool->held = virtio_tmem_bits(nr_pages);
	pool->flush_pages = virtio_tmem_bits(nr_pages);
	pool->flush_clusters = virtio_tmem_bits(virtio_tmem_nr_clusters(pool));
	pool->local = virtio_tmem_bits(nr_pages);
	if (!pool->held || !pool->flush_pages || !pool->flush_clusters ||
	    !pool->local || virtio_tmem_sums_alloc(pool))
		goto fail;

	err = virtio_tmem_pool_request(vt, VIRTIO_TMEM_REQ_POOL_CREATE, NULL,
				       &resp);
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
	bool last;

	if (!pool)
		return;
	/* From here on the worker does not know it; pending flushes are moot */
	mutex_lock(&pool->vt->pools_lock);
	list_del(&pool->node);
	last = list_empty(&pool->vt->pools);
	mutex_unlock(&pool->vt->pools_lock);

	virtio_tmem_drop_pool(pool);
	if (last)
		virtio_tmem_give_all_back(pool->vt);
	virtio_tmem_pool_request(pool->vt, VIRTIO_TMEM_REQ_POOL_DESTROY, pool,
				 &resp);
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

/* Let a front end do what the target asks for, if it does */
static void virtio_tmem_write_back(struct virtio_tmem *vt)
{
	virtio_tmem_frontswap_write_back(vt);
	mutex_lock(&vt->disk_lock);
	virtio_tmem_swapdev_write_back(vt->disk);
	mutex_unlock(&vt->disk_lock);
}

/*
 * Resuming resets the device, and with it go the pages that the host holds; an
 * image of the guest's memory is of no use without them. So both are refused while
 * a swap area is on, and here, not only in freeze(): before the guest swaps out to
 * make room for the image, and before the first device is suspended. When freeze()
 * refuses, some devices have been, and Linux 6.12.107 may hang when it resumes them:
 * two that wait for the same parent, which has not been, and whose completion is good
 * for one (device_pm_sleep_init(), "PM: sleep: Use complete() ...", since reverted).
 */
static int virtio_tmem_pm_notify(struct notifier_block *nb, unsigned long event,
				 void *unused)
{
	struct virtio_tmem *vt = container_of(nb, struct virtio_tmem, pm_nb);

	if ((event == PM_SUSPEND_PREPARE || event == PM_HIBERNATION_PREPARE) &&
	    virtio_tmem_in_use(vt)) {
		pr_err("virtio_tmem %s: %s refused: swap areas have pages on the host; swapoff first\n",
		       vt->name,
		       event == PM_SUSPEND_PREPARE ? "suspend" : "hibernation");
		/* Who refuses gets no PM_POST_SUSPEND: nothing may have changed */
		return notifier_from_errno(-EBUSY);
	}
	/*
	 * Disks do not answer while the guest is suspended. There is nothing to
	 * write back but for a swapon between here and the freezing of the tasks,
	 * after which freeze() refuses.
	 */
	if (event == PM_SUSPEND_PREPARE || event == PM_POST_SUSPEND) {
		WRITE_ONCE(vt->target.paused, event == PM_SUSPEND_PREPARE);
		virtio_tmem_write_back(vt);
	}
	return NOTIFY_DONE;
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
		/* Pages, reservations and flushes may be in the ring together */
		if (virtqueue_get_vring_size(vqs[i]) < VT_RING_SIZE) {
			dev_err(&vt->vdev->dev,
				"queue %u has %u entries, at least %u are needed\n",
				i, virtqueue_get_vring_size(vqs[i]),
				VT_RING_SIZE);
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
	unsigned int i, id;

	cancel_work_sync(&vt->config_work);
	cancel_work_sync(&vt->target_work);

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
		struct virtio_tmem_msg *msg = &vt->queues[i].msgs[VT_MSG_PAGES];

		if (msg->page_kept)
			put_page(msg->page);
		msg->page_kept = false;
		msg->page = NULL;
		for (id = 0; id < VT_NR_MSGS; id++)
			vt->queues[i].msgs[id].pending = false;
	}
}

static void virtio_tmem_free_queue(struct virtio_tmem_queue *q)
{
	unsigned int id;

	for (id = 0; id < VT_NR_MSGS; id++)
		kfree(q->msgs[id].buf);
	virtio_tmem_free_slots(q);
}

static void virtio_tmem_release(struct kref *ref)
{
	struct virtio_tmem *vt = container_of(ref, struct virtio_tmem, ref);
	unsigned int i;

	cancel_delayed_work_sync(&vt->flush_work);
	cancel_delayed_work_sync(&vt->idle_work);
	if (vt->wq)
		destroy_workqueue(vt->wq);
	for (i = 0; i < vt->nr_queues; i++)
		virtio_tmem_free_queue(&vt->queues[i]);
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

/*
 * The host wants memory back: pages of ours are too many, or it just needs what
 * it keeps for us. (The virtio core has no handling of its own for a device that
 * wants a reset.)
 */
static void virtio_tmem_config_work(struct work_struct *work)
{
	struct virtio_tmem *vt = container_of(work, struct virtio_tmem,
					      config_work);
	struct virtio_device *vdev = vt->vdev;

	/* Who waits for an answer of it has the lock of a queue */
	if (vdev->config->get_status(vdev) & VIRTIO_CONFIG_S_NEEDS_RESET) {
		dev_err(&vdev->dev, "the device has failed and needs a reset: giving it up\n");
		virtio_break_device(vdev);
		return;
	}
	if (virtio_has_feature(vdev, VIRTIO_TMEM_F_TARGET))
		queue_work(vt->wq, &vt->target_work);
}

/* Apart from the above, as it waits for the device */
static void virtio_tmem_target_work(struct work_struct *work)
{
	struct virtio_tmem *vt = container_of(work, struct virtio_tmem,
					      target_work);
	u64 pages;

	virtio_cread_le(vt->vdev, struct virtio_tmem_config, target_pages,
			&pages);
	WRITE_ONCE(vt->target.pages, min_t(u64, pages, LONG_MAX));
	virtio_tmem_give_all_back(vt);
	virtio_tmem_write_back(vt);
}

static int virtio_tmem_alloc_queue(struct virtio_tmem *vt,
				   struct virtio_tmem_queue *q)
{
	unsigned int id;

	for (id = 0; id < VT_NR_MSGS; id++) {
		q->msgs[id].buf = kzalloc(sizeof(*q->msgs[id].buf), GFP_KERNEL);
		if (!q->msgs[id].buf)
			return -ENOMEM;
	}
	return virtio_tmem_alloc_slots(vt, q);
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
	if (virtio_has_feature(vdev, VIRTIO_TMEM_F_RESERVE))
		vt->nr_staged = min_t(unsigned int, virtio_tmem_staging,
				      VT_MAX_STAGED);
	vt->nr_ahead = min_t(unsigned int, virtio_tmem_readahead,
			     VT_MAX_READAHEAD);
	kref_init(&vt->ref);
	strscpy(vt->name, dev_name(&vdev->dev), sizeof(vt->name));
	mutex_init(&vt->pools_lock);
	INIT_LIST_HEAD(&vt->pools);
	INIT_DELAYED_WORK(&vt->flush_work, virtio_tmem_flush_work);
	INIT_DELAYED_WORK(&vt->idle_work, virtio_tmem_idle_work);
	INIT_WORK(&vt->config_work, virtio_tmem_config_work);
	INIT_WORK(&vt->target_work, virtio_tmem_target_work);
	mutex_init(&vt->disk_lock);
	vt->target.pages = LONG_MAX;
	for (i = 0; i < nr_queues; i++)
		mutex_init(&vt->queues[i].lock);

	/* Flushes free host memory: not to be held up by a lack of guest memory */
	vt->wq = alloc_workqueue("virtio_tmem", WQ_MEM_RECLAIM | WQ_UNBOUND, 0);
	if (!vt->wq)
		goto fail;
	for (i = 0; i < nr_queues; i++)
		if (virtio_tmem_alloc_queue(vt, &vt->queues[i]))
			goto fail;
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

/* Where the kernel has frontswap, that is used for the first device */
static void virtio_tmem_attach(struct virtio_tmem *vt)
{
	struct virtio_tmem_disk *disk;

	if (virtio_tmem_frontswap_attach(vt))
		return;
	disk = virtio_tmem_swapdev_attach(vt);
	mutex_lock(&vt->disk_lock);
	vt->disk = disk;
	mutex_unlock(&vt->disk_lock);
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
	virtio_cread_le(vdev, struct virtio_tmem_config, max_pages,
			&vt->max_pages);
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
	virtio_tmem_attach(vt);
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
	struct virtio_tmem_disk *disk;

	virtio_tmem_frontswap_detach(vt);
	mutex_lock(&vt->disk_lock);
	disk = vt->disk;
	vt->disk = NULL;
	mutex_unlock(&vt->disk_lock);
	virtio_tmem_swapdev_detach(disk);
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
		/* A swapon since virtio_tmem_pm_notify() */
		dev_err(&vdev->dev, "suspend refused: swap areas have pages on the host; swapoff first\n");
		return -EPERM;
	}
	virtio_tmem_stop(vt);
	return 0;
}

static int virtio_tmem_restore(struct virtio_device *vdev)
{
	struct virtio_tmem *vt = vdev->priv;
	unsigned int i;
	int err;

	/* There are no pools: nothing is lost */
	for (i = 0; i < vt->nr_queues; i++)
		virtio_tmem_reset_slots(&vt->queues[i]);
	vt->target.pages = LONG_MAX;
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

static const unsigned int virtio_tmem_features[] = {
	VIRTIO_TMEM_F_RESERVE,
	VIRTIO_TMEM_F_TARGET,
};

static struct virtio_driver virtio_tmem_driver = {
	.feature_table = virtio_tmem_features,
	.feature_table_size = ARRAY_SIZE(virtio_tmem_features),
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

	err = virtio_tmem_wb_module_init();
	if (err)
		return err;
	virtio_tmem_debugfs_root = debugfs_create_dir("virtio_tmem", NULL);
	virtio_tmem_delay_debugfs(virtio_tmem_debugfs_root);
	err = register_virtio_driver(&virtio_tmem_driver);
	if (err) {
		debugfs_remove_recursive(virtio_tmem_debugfs_root);
		virtio_tmem_wb_module_exit();
	}
	return err;
}
module_init(virtio_tmem_init);

static void __exit virtio_tmem_exit(void)
{
	unregister_virtio_driver(&virtio_tmem_driver);
	debugfs_remove_recursive(virtio_tmem_debugfs_root);
	virtio_tmem_wb_module_exit();
}
module_exit(virtio_tmem_exit);

MODULE_DEVICE_TABLE(virtio, virtio_tmem_id_table);

MODULE_DESCRIPTION("Virtio transcendent memory (tmem) driver");
MODULE_LICENSE("GPL");
