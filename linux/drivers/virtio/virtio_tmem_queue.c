// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Virtio transcendent memory (tmem) driver: requests.
 *
 * Messages are added to the ring, then the device is told once, then all are
 * waited for. The rules:
 *
 * - Messages are added under the queue's mutex, and the device takes them in ring
 *   order. So they take effect in the order of the calls. Staged pages and what
 *   goes with them are posted: nobody waits, who comes next sees to the answers.
 * - Messages use memory that was allocated at probe, and no indirect
 *   descriptors: nothing here allocates in the put path. (The DMA API may map,
 *   and fail to, where the platform needs it; that is handled.)
 * - The device is not trusted: lengths and statuses are checked, and every wait
 *   has an end. After a wait that was given up the device may still write to
 *   the buffers, so they (and the pages) are kept until it has been reset.
 */

#include <linux/bitmap.h>
#include <linux/delay.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "virtio_tmem_int.h"

/* A cluster has at most this many separate ranges: every other page */
#define VT_CLUSTER_MAX_RANGES	(VT_CLUSTER_SIZE / 2)

/*
 * Waiting: spin for as long as a request takes a host that is not busy, then
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

/*
 * One step of a wait; @step counts from 0.
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

int virtio_tmem_queue_error(struct virtio_tmem_queue *q)
{
	if (!q->vq)
		return -ENODEV;
	return virtqueue_is_broken(q->vq) ? -EIO : 0;
}

struct virtio_tmem_buf *virtio_tmem_prepare(struct virtio_tmem_queue *q,
					    enum virtio_tmem_msg_id id, u8 type,
					    struct virtio_tmem_pool *pool,
					    u16 count)
{
	struct virtio_tmem_buf *buf = q->msgs[id].buf;

	buf->req = (struct virtio_tmem_req) {
		.type = type,
		.count = cpu_to_le16(count),
		.pool = cpu_to_le32(pool ? pool->id : 0),
	};
	return buf;
}

/*
 * There is always room in the ring, but the DMA API may be out of mappings for a
 * while: a put then goes to the disk, the others have no other place to go and
 * wait.
 */
static int virtio_tmem_add_sgs(struct virtio_tmem *vt,
			       struct virtio_tmem_queue *q,
			       struct virtio_tmem_msg *msg,
			       struct scatterlist **sgs, unsigned int out,
			       unsigned int in)
{
	unsigned int step = 0;

	/* Indirect descriptors are off: see virtio_tmem_validate() */
	while (virtqueue_add_sgs(q->vq, sgs, out, in, msg,
				 GFP_NOWAIT | __GFP_NOWARN))
		if ((msg->buf->req.type == VIRTIO_TMEM_REQ_PUT &&
		     !(msg->buf->req.flags & VIRTIO_TMEM_FLAG_RESERVED)) ||
		    virtio_tmem_wait_step(vt, q, step++))
			return -EIO;
	return 0;
}

int virtio_tmem_add(struct virtio_tmem *vt, struct virtio_tmem_queue *q,
		    enum virtio_tmem_msg_id id, size_t list_len,
		    unsigned int nr_pages)
{
	struct virtio_tmem_msg *msg = &q->msgs[id];
	struct virtio_tmem_buf *buf = msg->buf;
	bool put = buf->req.type == VIRTIO_TMEM_REQ_PUT;
	struct scatterlist hdr_sg, resp_sg, *sgs[3];
	unsigned int out = 0, in = 0;
	int err;

	if (!q->vq)
		return -ENODEV;

	/* What the device leaves unwritten must not look like success */
	memset(&buf->resp, 0xff, sizeof(buf->resp));

	sg_init_one(&hdr_sg, &buf->req, sizeof(buf->req) + list_len);
	sgs[out++] = &hdr_sg;
	if (nr_pages && put)
		sgs[out++] = q->sg;
	sg_init_one(&resp_sg, &buf->resp, sizeof(buf->resp));
	sgs[out + in++] = &resp_sg;
	if (nr_pages && !put)
		sgs[out + in++] = q->sg;

	err = virtio_tmem_add_sgs(vt, q, msg, sgs, out, in);
	if (err)
		return err;
	msg->pending = true;
	virtio_tmem_count(vt, VT_STAT_REQUESTS);
	return 0;
}

void virtio_tmem_kick(struct virtio_tmem *vt, struct virtio_tmem_queue *q)
{
	if (virtqueue_kick_prepare(q->vq)) {
		virtio_tmem_count(vt, VT_STAT_NOTIFICATIONS);
		virtqueue_notify(q->vq);
	}
}

bool virtio_tmem_poll(struct virtio_tmem_queue *q)
{
	struct virtio_tmem_msg *msg;
	unsigned int id, len;

	while ((msg = virtqueue_get_buf(q->vq, &len))) {
		msg->used_len = len;
		msg->pending = false;
	}
	for (id = 0; id < VT_NR_MSGS; id++)
		if (q->msgs[id].pending)
			return false;
	return true;
}

int virtio_tmem_wait(struct virtio_tmem *vt, struct virtio_tmem_queue *q)
{
	struct virtio_tmem_msg *msg;
	unsigned int step = 0;
	int err = 0;

	if (!q->vq)
		return -ENODEV;
	while (!err && !virtio_tmem_poll(q))
		err = virtio_tmem_wait_step(vt, q, step++);

	msg = &q->msgs[VT_MSG_PAGES];
	if (!msg->pending) {
		msg->page = NULL;
	} else if (msg->page && !msg->page_kept) {
		get_page(msg->page);
		msg->page_kept = true;
	}
	return err;
}

int virtio_tmem_run(struct virtio_tmem *vt, struct virtio_tmem_queue *q)
{
	virtio_tmem_kick(vt, q);
	return virtio_tmem_wait(vt, q);
}

int virtio_tmem_result(struct virtio_tmem *vt, struct virtio_tmem_queue *q,
		       enum virtio_tmem_msg_id id,
		       struct virtio_tmem_resp *resp)
{
	struct virtio_tmem_msg *msg = &q->msgs[id];

	/* Copied once: the device could still write to its side of the buffer */
	memcpy(resp, &msg->buf->resp, sizeof(*resp));
	if (msg->used_len < sizeof(*resp)) {
		dev_err_ratelimited(&vt->vdev->dev,
				    "response of %u bytes is too short\n",
				    msg->used_len);
		return -EIO;
	}
	return resp->status;
}

int virtio_tmem_bad_status(struct virtio_tmem *vt, int status, const char *what)
{
	if (status >= 0)
		dev_err_ratelimited(&vt->vdev->dev,
				    "unexpected status %d to a %s\n",
				    status, what);
	return status == -ENODEV ? -ENODEV : -EIO;
}

/*
 * Move the pending flushes of a cluster into the range list, after the @nr that
 * are there. Return: new number of ranges.
 */
static unsigned int virtio_tmem_collect_cluster(struct virtio_tmem_queue *q,
						struct virtio_tmem_pool *pool,
						unsigned long cluster,
						unsigned int nr)
{
	struct virtio_tmem_range *range = q->msgs[VT_MSG_FLUSH].buf->list.range;
	unsigned long bit = cluster << VT_CLUSTER_SHIFT;
	unsigned long end = min(bit + VT_CLUSTER_SIZE, pool->nr_pages);
	unsigned long first;

	/* Full barrier: pairs with virtio_tmem_flush() */
	if (!test_and_clear_bit(cluster, pool->flush_clusters))
		return nr;

	virtio_tmem_delay(VT_DELAY_COLLECT_CLUSTER);
	for (;;) {
		/* A hint: what counts is who clears the bit */
		first = data_race(find_next_bit(pool->flush_pages, end, bit));
		if (first >= end)
			return nr;
		virtio_tmem_delay(VT_DELAY_COLLECT_FOUND);
		for (bit = first; bit < end; bit++) {
			if (!test_and_clear_bit(bit, pool->flush_pages))
				break;
			clear_bit(bit, pool->held);
		}
		/* Taken back by a put in the moment since it was found */
		if (bit == first) {
			bit++;
			continue;
		}
		virtio_tmem_delay(VT_DELAY_COLLECT_TAKEN);
		if (nr && range[nr - 1].last == cpu_to_le64(first - 1)) {
			range[nr - 1].last = cpu_to_le64(bit - 1);
			continue;
		}
		range[nr].first = cpu_to_le64(first);
		range[nr].last = cpu_to_le64(bit - 1);
		nr++;
	}
}

unsigned int virtio_tmem_collect(struct virtio_tmem_queue *q,
				 struct virtio_tmem_pool *pool,
				 unsigned long *cluster)
{
	unsigned long nr_clusters = virtio_tmem_nr_clusters(pool);
	unsigned int nr = 0;

	for (;;) {
		/* A bit that is set meanwhile is seen now or by the next work */
		*cluster = data_race(find_next_bit(pool->flush_clusters,
						   nr_clusters, *cluster));
		if (*cluster >= nr_clusters ||
		    nr > VIRTIO_TMEM_MAX_RANGES - VT_CLUSTER_MAX_RANGES)
			return nr;
		if (virtio_tmem_queue_of(pool, *cluster << VT_CLUSTER_SHIFT) == q)
			nr = virtio_tmem_collect_cluster(q, pool, *cluster, nr);
		++*cluster;
	}
}

int virtio_tmem_add_flush(struct virtio_tmem *vt, struct virtio_tmem_queue *q,
			  struct virtio_tmem_pool *pool, unsigned int nr)
{
	virtio_tmem_prepare(q, VT_MSG_FLUSH, VIRTIO_TMEM_REQ_FLUSH, pool, nr);
	return virtio_tmem_add(vt, q, VT_MSG_FLUSH,
			       nr * sizeof(struct virtio_tmem_range), 0);
}

void virtio_tmem_finish_flush(struct virtio_tmem *vt,
			      struct virtio_tmem_queue *q)
{
	struct virtio_tmem_resp resp;
	int ret = virtio_tmem_result(vt, q, VT_MSG_FLUSH, &resp);

	if (ret == VIRTIO_TMEM_S_OK) {
		virtio_tmem_count(vt, VT_STAT_FLUSH_REQUESTS);
		virtio_tmem_count_many(vt, VT_STAT_FLUSHES,
				       le64_to_cpu(resp.value));
	} else {
		virtio_tmem_bad_status(vt, ret, "flush");
	}
}
