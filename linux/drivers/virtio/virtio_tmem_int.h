/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Virtio transcendent memory (tmem) driver: what the files of the core share.
 *
 *   virtio_tmem_core.c	probe and remove, pools
 *   virtio_tmem_queue.c	requests: made, sent, waited for
 *   virtio_tmem_page.c	put, get and flush; staging
 *   virtio_tmem_slot.c	slots of staged and read-ahead pages; what to read ahead
 *   virtio_tmem_verify.c	checksums of what was put
 *
 * Above it: virtio_tmem_area.c, virtio_tmem_writeback.c and the front ends.
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
#include "virtio_tmem_compat.h"

/*
 * Most pages that wait in a queue for their put: one request of them on its way
 * to the host, and one more that fills up meanwhile
 */
#define VT_MAX_STAGED		(2 * VIRTIO_TMEM_MAX_PAGES)

/* Most pages that a queue has read ahead; one request brings half of them */
#define VT_MAX_READAHEAD	VIRTIO_TMEM_MAX_PAGES

/* Streams of gets that a queue follows at a time */
#define VT_NR_STREAMS		4

/* Reservations that are not used for so long (jiffies) are given back */
#define VT_IDLE			HZ

/* Descriptors that a queue needs: a header and a response each, and pages */
#define VT_RING_SIZE		(2 * VT_NR_MSGS + 2 * VIRTIO_TMEM_MAX_PAGES)

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
	VT_MSG_PAGES,		/* put, get, pools: waited for */
	VT_MSG_BATCH,		/* put of staged pages: posted, with the next two */
	VT_MSG_RESERVE,
	VT_MSG_FLUSH,
	VT_NR_MSGS,
};

struct virtio_tmem_msg {
	struct virtio_tmem_buf *buf;
	struct page *page;	/* of a front end, that the device may access */
	bool page_kept;		/* with a reference, as the wait was given up */
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

/* Gets that follow each other, upwards or downwards */
struct virtio_tmem_stream {
	unsigned long first, last;	/* got last, with those ahead */
	unsigned int window;		/* pages to get, with those ahead */
	bool down;
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
	bool posted;			/* what follows is under way */
	unsigned int nr_batch;		/* of these pages */
	unsigned int nr_ranges;		/* of the flush that goes with them */
	struct virtio_tmem_slot *batch[VIRTIO_TMEM_MAX_PAGES];
	struct virtio_tmem_slot *plan[VT_MAX_READAHEAD + 1];
	unsigned int asked;		/* puts since reservations were asked for */
	unsigned long granted_at;	/* in jiffies: the answer to it */
	struct virtio_tmem_stream streams[VT_NR_STREAMS];	/* latest first */

	/*
	 * Protects the slots' keys and states, and the numbers below. Any
	 * context. A READY slot's page does not change; a BUSY or FILLING one
	 * belongs to who made it so.
	 */
	spinlock_t slot_lock;
	unsigned int nr_staged;		/* slots that are not empty */
	unsigned int nr_busy;		/* of these: in the ring */
	unsigned int reservations;	/* promised, not used by a staged page */
	struct virtio_tmem_slot staged[VT_MAX_STAGED];
	unsigned int staged_hand;	/* next to be looked at */
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
	struct work_struct target_work;
	struct notifier_block pm_nb;
	struct dentry *debugfs;
	struct virtio_tmem_target target;
	struct mutex disk_lock;		/* protects disk; outside of its lock */
	struct virtio_tmem_disk *disk;	/* of the swap device front end */
	atomic_long_t stats[VT_NR_STATS];

	struct mutex pools_lock;	/* protects the list; outside of queue locks */
	struct list_head pools;

	u64 max_pages;			/* of the configuration space */
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
	/* By index, or NULL: see virtio_tmem_verify.c */
	u32 *sums;
};

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

/* Tell the device of messages in the ring, unless it sees them anyway */
void virtio_tmem_kick(struct virtio_tmem *vt, struct virtio_tmem_queue *q);

/* Take used messages off the ring. Return: whether it is empty now. */
bool virtio_tmem_poll(struct virtio_tmem_queue *q);

/*
 * Wait until all messages in the ring are used. When it fails, the buffers and
 * pages of those still belong to the device.
 *
 * Return: 0, or -EIO when the device is broken or does not answer.
 */
int virtio_tmem_wait(struct virtio_tmem *vt, struct virtio_tmem_queue *q);

/* virtio_tmem_kick(), then virtio_tmem_wait() */
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

/* virtio_tmem_slot.c: with slot_lock held from find to drop_ahead */

extern unsigned int virtio_tmem_readahead;

/* Copy what is in a page */
void virtio_tmem_copy(struct page *to, struct page *from);

/* Give a slot a key, or none (@pool is NULL) */
void virtio_tmem_set_key(struct virtio_tmem_slot *slot,
			 struct virtio_tmem_pool *pool, unsigned long index);

/* The slot that has a key, of @nr; or NULL */
struct virtio_tmem_slot *
virtio_tmem_find(struct virtio_tmem_slot *slots, unsigned int nr,
		 struct virtio_tmem_pool *pool, unsigned long index);

/*
 * The staged page of a key that is to be put anew or flushed. One that is on its
 * way loses its key, and NULL is returned: it is no longer the newest.
 */
struct virtio_tmem_slot *
virtio_tmem_revoke(struct virtio_tmem *vt, struct virtio_tmem_queue *q,
		   struct virtio_tmem_pool *pool, unsigned long index);

/* Cancel the put of a staged page that is no longer the newest */
void virtio_tmem_unstage(struct virtio_tmem *vt, struct virtio_tmem_queue *q,
			 struct virtio_tmem_pool *pool, unsigned long index);

/* What was read ahead of this key is not wanted, or no longer right */
void virtio_tmem_drop_ahead(struct virtio_tmem *vt, struct virtio_tmem_queue *q,
			    struct virtio_tmem_pool *pool, unsigned long index);

/*
 * Choose pages to be got with @index: neighbours in its cluster of which the
 * host's copy is the newest. Their slots are in q->plan, their indexes in the list
 * of VT_MSG_PAGES, from 1 on. Called with the queue's lock held, as the next.
 * Return: pages of the request.
 */
unsigned int virtio_tmem_plan_ahead(struct virtio_tmem *vt,
				    struct virtio_tmem_queue *q,
				    struct virtio_tmem_pool *pool,
				    unsigned long index);

/* The @nr pages of the plan have been asked for; bits of those got are in @done */
void virtio_tmem_end_ahead(struct virtio_tmem *vt, struct virtio_tmem_queue *q,
			   unsigned int nr, u32 done);

int virtio_tmem_alloc_slots(struct virtio_tmem *vt, struct virtio_tmem_queue *q);
void virtio_tmem_free_slots(struct virtio_tmem_queue *q);

/* As after the device's reset: nothing is held and nothing promised */
void virtio_tmem_reset_slots(struct virtio_tmem_queue *q);

/* virtio_tmem_page.c */

extern unsigned int virtio_tmem_staging;

/*
 * Wait for what is posted, and take note of the answers. Called with the queue's
 * lock held, before a flush message is made.
 *
 * Return: 0, or as virtio_tmem_wait() (-ENODEV: the device is gone).
 */
int virtio_tmem_settle(struct virtio_tmem *vt, struct virtio_tmem_queue *q);

/*
 * Send what is staged in a queue and give back what it was promised beyond that.
 * May sleep.
 */
void virtio_tmem_give_back(struct virtio_tmem *vt, struct virtio_tmem_queue *q);

/* Forget the staged and read-ahead pages of a pool. May sleep. */
void virtio_tmem_drop_pool(struct virtio_tmem_pool *pool);

/* virtio_tmem_verify.c: without verify=1, all of them do nothing */

/* May sleep. Return: 0 or -ENOMEM. */
int virtio_tmem_sums_alloc(struct virtio_tmem_pool *pool);

/*
 * Around a put: the index has no checksum from the one on; from the other on that
 * which the first returned, if the put succeeded.
 */
u32 virtio_tmem_sum_begin(struct virtio_tmem_pool *pool, unsigned long index,
			  struct page *page);
void virtio_tmem_sum_end(struct virtio_tmem_pool *pool, unsigned long index,
			 u32 sum);

/*
 * Around a get: what the first returns is what the page must have. Return of the
 * other: 0, or -EBADMSG, and the log says so.
 */
u32 virtio_tmem_sum_of(struct virtio_tmem_pool *pool, unsigned long index);
int virtio_tmem_sum_check(struct virtio_tmem_pool *pool, unsigned long index,
			  u32 sum, struct page *page);

/* virtio_tmem_delay.c */

/* Where things are in between, and others may come in between */
enum virtio_tmem_delay_point {
	VT_DELAY_STAGE_FILLING,		/* slot has the key, not the page */
	VT_DELAY_STAGE_COPIED,		/* and the page, but is not READY */
	VT_DELAY_PUT_UNSTAGED,		/* put: no slot, queue not locked */
	VT_DELAY_PUT_NOW,		/* put: copies dropped, not sent */
	VT_DELAY_BATCH_TAKEN,		/* slots BUSY, not sent */
	VT_DELAY_BATCH_USED,		/* slots BUSY, but the host is done */
	VT_DELAY_GET_AHEAD,		/* page taken off its key, not copied */
	VT_DELAY_GET_REMOTE,		/* get: no slot, queue not locked */
	VT_DELAY_AHEAD_PLANNED,		/* slots have keys, nothing is sent */
	VT_DELAY_AHEAD_USED,		/* they have pages, but are not READY */
	VT_DELAY_FLUSH_PAGE,		/* bit of the page, none of its cluster */
	VT_DELAY_COLLECT_CLUSTER,	/* the other way round */
	VT_DELAY_COLLECT_FOUND,		/* bit of the page seen, not taken */
	VT_DELAY_COLLECT_TAKEN,		/* taken, not sent */
	VT_DELAY_WB_BEGUN,		/* write-back: chosen, not got */
	VT_DELAY_WB_GOT,		/* got, not written */
	VT_DELAY_WB_WRITTEN,		/* written, still on the host */
	VT_DELAY_STORE_REFUSED,		/* frontswap: not waited for write-back */
	VT_DELAY_LOAD,			/* known to be no slot of the disk */
	VT_DELAY_SHRINK_READ,		/* pulled in, not locked */
	VT_NR_DELAYS,
};

#ifdef CONFIG_VIRTIO_TMEM_DEBUG_DELAY
/* Now and then, let others go first. May sleep / any context. */
void virtio_tmem_delay(enum virtio_tmem_delay_point point);
void virtio_tmem_delay_atomic(enum virtio_tmem_delay_point point);
void virtio_tmem_delay_debugfs(struct dentry *dir);
#else
static inline void virtio_tmem_delay(enum virtio_tmem_delay_point point) { }
static inline void
virtio_tmem_delay_atomic(enum virtio_tmem_delay_point point) { }
static inline void virtio_tmem_delay_debugfs(struct dentry *dir) { }
#endif

#endif /* _DRIVERS_VIRTIO_TMEM_INT_H */
