/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Virtio transcendent memory (tmem) driver: what the files of the core share.
 *
 *   virtio_tmem_core.c	probe and remove, pools
 *   virtio_tmem_queue.c	requests: made, sent, waited for
 *   virtio_tmem_page.c	put, get and flush; staging and read-ahead
 */
#ifndef _DRIVERS_VIRTIO_TMEM_INT_H
#define _DRIVERS_VIRTIO_TMEM_INT_H

#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mm_types.h>
#include <linux/mutex.h>
#include <linux/notifier.h>
#include <linux/scatterlist.h>
#include <linux/spinlock.h>
#include <linux/virtio.h>
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

/* Most pages that wait in a queue for their put: as many as one request takes */
#define VT_MAX_STAGED		VIRTIO_TMEM_MAX_PAGES

/* Most pages that a queue has read ahead: half of what one request brings */
#define VT_MAX_READAHEAD	(VIRTIO_TMEM_MAX_PAGES / 2)

/* Reservations that are not used for so long (jiffies) are given back */
#define VT_IDLE			HZ

/* Descriptors that a queue needs: a header and a response each, and pages */
#define VT_RING_SIZE		(2 * VT_NR_MSGS + VIRTIO_TMEM_MAX_PAGES)

/* What the device sees of a request. Allocated by itself: DMA touches all. */
struct virtio_tmem_buf {
	struct virtio_tmem_req req;
	union {
		__le64 index[VIRTIO_TMEM_MAX_PAGES];
		struct virtio_tmem_range range[VIRTIO_TMEM_MAX_RANGES];
	} list;
	/* Written by the device: not in a cache line with what it reads */
	struct virtio_tmem_resp resp ____cacheline_aligned;
};

/* A queue can have one request of each of these in the ring at a time */
enum virtio_tmem_msg_id {
	VT_MSG_PAGES,		/* put, get, pools */
	VT_MSG_RESERVE,
	VT_MSG_FLUSH,
	VT_NR_MSGS,
};

struct virtio_tmem_msg {
	struct virtio_tmem_buf *buf;
	struct page *page;	/* of a front end, that the device may access */
	unsigned int used_len;	/* bytes that the device says it wrote */
	bool pending;		/* in the ring */
};

enum virtio_tmem_slot_state {
	VT_SLOT_EMPTY,
	VT_SLOT_FILLING,	/* the page is being copied or got */
	VT_SLOT_READY,
	VT_SLOT_BUSY,		/* staged: in the ring */
};

/* A page of the guest that is here for the page of a key */
struct virtio_tmem_slot {
	enum virtio_tmem_slot_state state;
	struct virtio_tmem_pool *pool;	/* NULL: has no key */
	unsigned long index;
	struct page *page;
};

/* Queues are used by different CPUs: none shares a cache line with another */
struct virtio_tmem_queue {
	/*
	 * Protects all up to slot_lock; held from the making of a request until
	 * it is used. Taken in reclaim: nothing that holds it may allocate.
	 * Inside pools_lock.
	 */
	struct mutex lock;
	struct virtqueue *vq;		/* NULL: the device is gone */
	struct virtio_tmem_msg msgs[VT_NR_MSGS];
	struct scatterlist sg[VIRTIO_TMEM_MAX_PAGES];
	struct virtio_tmem_slot *batch[VIRTIO_TMEM_MAX_PAGES];
	unsigned int asked;		/* puts since reservations were asked for */
	unsigned long granted_at;	/* in jiffies: the answer to it */
	unsigned long next_index;	/* after what was got last */
	unsigned int window;		/* pages to get, with those ahead */

	/*
	 * Protects the slots' keys and states, and the numbers below. Any
	 * context. A READY slot's page does not change; a BUSY or FILLING one
	 * belongs to who made it so.
	 */
	spinlock_t slot_lock;
	unsigned int nr_staged;		/* slots that are not empty */
	unsigned int reservations;	/* promised, not used by a staged page */
	struct virtio_tmem_slot staged[VT_MAX_STAGED];
	struct virtio_tmem_slot ahead[VT_MAX_READAHEAD];
	unsigned int ahead_hand;	/* next to be taken */
} ____cacheline_aligned_in_smp;

struct virtio_tmem {
	struct virtio_device *vdev;	/* valid while a queue's vq is not NULL */
	struct kref ref;
	char name[32];
	struct workqueue_struct *wq;
	struct delayed_work flush_work;
	struct delayed_work idle_work;
	struct work_struct config_work;
	struct notifier_block pm_nb;
	struct dentry *debugfs;
	atomic_long_t stats[VT_NR_STATS];

	struct mutex pools_lock;	/* protects the list; outside of queue locks */
	struct list_head pools;

	unsigned int nr_staged;		/* slots of each queue to be used */
	unsigned int nr_ahead;
	unsigned int nr_queues;
	struct virtio_tmem_queue queues[];
};

struct virtio_tmem_pool {
	struct virtio_tmem *vt;
	struct list_head node;
	u32 id;
	unsigned long nr_pages;
	/* Bit n: the host may have index n. Set and cleared with the queue locked. */
	unsigned long *held;
	/*
	 * Bit n of flush_pages: index n is to be flushed. Bit n of
	 * flush_clusters: cluster n may have such bits. The page's bit is set
	 * before the cluster's and cleared after it: see virtio_tmem_flush().
	 */
	unsigned long *flush_pages;
	unsigned long *flush_clusters;
	/* Bit n: a slot has index n. Protected by slot_lock of its queue. */
	unsigned long *local;
};

void virtio_tmem_count_many(struct virtio_tmem *vt, enum virtio_tmem_stat stat,
			    long n);

static inline unsigned long
virtio_tmem_nr_clusters(const struct virtio_tmem_pool *pool)
{
	return DIV_ROUND_UP(pool->nr_pages, VT_CLUSTER_SIZE);
}

static inline struct virtio_tmem_queue *
virtio_tmem_queue_of(struct virtio_tmem_pool *pool, unsigned long index)
{
	struct virtio_tmem *vt = pool->vt;

	return &vt->queues[(index >> VT_CLUSTER_SHIFT) % vt->nr_queues];
}

/* virtio_tmem_queue.c: all with the queue's lock held */

/* 0, or the error of every request that would be sent now */
int virtio_tmem_queue_error(struct virtio_tmem_queue *q);

/*
 * Fill in the header of a message. Return: its buffer, for the list.
 */
struct virtio_tmem_buf *virtio_tmem_prepare(struct virtio_tmem_queue *q,
					    enum virtio_tmem_msg_id id, u8 type,
					    struct virtio_tmem_pool *pool,
					    u16 count);

/*
 * Put a prepared message into the ring, without telling the device. Its list
 * has @list_len bytes; the payload is the first @nr_pages of q->sg, to the
 * device (PUT) or from it.
 *
 * Return: 0; -ENODEV or -EIO.
 */
int virtio_tmem_add(struct virtio_tmem *vt, struct virtio_tmem_queue *q,
		    enum virtio_tmem_msg_id id, size_t list_len,
		    unsigned int nr_pages);

/*
 * Tell the device, and wait until all messages in the ring are used. When it
 * fails, the buffers and pages of those still belong to the device.
 *
 * Return: 0, or -EIO when the device is broken or does not answer.
 */
int virtio_tmem_run(struct virtio_tmem *vt, struct virtio_tmem_queue *q);

/*
 * What the device said to a message that was used.
 *
 * Return: the status, and all in @resp; -EIO when the response is too short.
 */
int virtio_tmem_result(struct virtio_tmem *vt, struct virtio_tmem_queue *q,
		       enum virtio_tmem_msg_id id,
		       struct virtio_tmem_resp *resp);

/* Complain of a status that is not expected. Return: an error for it. */
int virtio_tmem_bad_status(struct virtio_tmem *vt, int status, const char *what);

/*
 * Take pending flushes of the queue's clusters of a pool into the flush message,
 * as many as fit. Return: ranges in it. *@cluster is where to go on.
 */
unsigned int virtio_tmem_collect(struct virtio_tmem_queue *q,
				 struct virtio_tmem_pool *pool,
				 unsigned long *cluster);

/* Add what was collected to the ring; look at the answer once it has run */
int virtio_tmem_add_flush(struct virtio_tmem *vt, struct virtio_tmem_queue *q,
			  struct virtio_tmem_pool *pool, unsigned int nr);
void virtio_tmem_finish_flush(struct virtio_tmem *vt,
			      struct virtio_tmem_queue *q);

/* virtio_tmem_page.c */

extern unsigned int virtio_tmem_staging;
extern unsigned int virtio_tmem_readahead;

int virtio_tmem_alloc_slots(struct virtio_tmem *vt, struct virtio_tmem_queue *q);
void virtio_tmem_free_slots(struct virtio_tmem_queue *q);

/* As after the device's reset: nothing is held and nothing promised */
void virtio_tmem_reset_slots(struct virtio_tmem_queue *q);

/*
 * Send what is staged in a queue and give back what it was promised beyond that.
 * May sleep.
 */
void virtio_tmem_give_back(struct virtio_tmem *vt, struct virtio_tmem_queue *q);

/* Forget the staged and read-ahead pages of a pool. May sleep. */
void virtio_tmem_drop_pool(struct virtio_tmem_pool *pool);

#endif /* _DRIVERS_VIRTIO_TMEM_INT_H */
