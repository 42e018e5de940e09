/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Virtio transcendent memory (tmem) driver: what the front ends see of the
 * device core.
 *
 * A front end makes a pool for each swap area and then puts, gets and flushes
 * pages of it. The core calls up into a front end at probe and remove only.
 *
 * For one index the caller must not run two of put, get and flush at the same
 * time (the swap core's folio lock and SWAP_HAS_CACHE see to that). Operations
 * on different indexes may run at the same time.
 */
#ifndef _DRIVERS_VIRTIO_TMEM_H
#define _DRIVERS_VIRTIO_TMEM_H

#include <linux/atomic.h>
#include <linux/bits.h>
#include <linux/types.h>

/*
 * Indexes of one cluster share a queue. The same as SWAP_SLOTS_CACHE_SIZE: a
 * CPU takes that many neighbouring slots at a time, whether the swap area gives
 * each CPU larger clusters of its own (SWP_SOLIDSTATE) or not (virtio-blk).
 */
#define VT_CLUSTER_SHIFT	6
#define VT_CLUSTER_SIZE		BIT(VT_CLUSTER_SHIFT)

struct page;
struct virtio_tmem;
struct virtio_tmem_pool;

/* Counters of a device, in the order in which debugfs shows them */
enum virtio_tmem_stat {
	VT_STAT_PUTS,			/* pages the host has taken */
	VT_STAT_PUTS_STAGED,		/* pages put without waiting for it */
	VT_STAT_PUTS_REJECTED,		/* pages the host had no room for */
	VT_STAT_PUTS_FAILED,		/* pages not put for another reason */
	VT_STAT_STAGED_LOADS,		/* staged pages got back: no get */
	VT_STAT_STAGED_FREES,		/* staged pages flushed: never put */
	VT_STAT_GETS,			/* pages got back */
	VT_STAT_GETS_FAILED,		/* pages that could not be got back */
	VT_STAT_GETS_WRONG,		/* gets of other bytes than were put: verify=1 */
	VT_STAT_AHEAD,			/* pages read ahead */
	VT_STAT_AHEAD_HITS,		/* of these: got */
	VT_STAT_AHEAD_WASTED,		/* of these: never got */
	VT_STAT_FLUSHES,		/* pages flushed */
	VT_STAT_FLUSH_REQUESTS,		/* flush requests these travelled in */
	VT_STAT_REQUESTS,		/* requests of all types */
	VT_STAT_NOTIFICATIONS,		/* notifications sent for them */
	VT_STAT_NAPS,			/* sleeps, waiting for a slow host */
	VT_STAT_SAME_FILLED_STORES,	/* stores kept in the guest: no put */
	VT_STAT_SAME_FILLED_LOADS,	/* loads served in the guest: no get */
	VT_STAT_SAME_FILLED_FREES,	/* same-filled slots freed: no flush */
	VT_STAT_HUGE_REFUSED,		/* huge pages left to the swap disk */
	VT_STAT_BACKING_WRITES,		/* pages written to a disk, by us */
	VT_STAT_BACKING_READS,		/* pages read from it */
	VT_STAT_WRITTEN_BACK,		/* pages the host wanted to be rid of */
	VT_STAT_PULLED_IN,		/* pages brought back by selfshrink */
	VT_NR_STATS,
};

/* Count one event, or @n. Any context. */
void virtio_tmem_count(struct virtio_tmem *vt, enum virtio_tmem_stat stat);
void virtio_tmem_count_many(struct virtio_tmem *vt, enum virtio_tmem_stat stat,
			    long n);

/* What the host wants of a device, by its target_pages */
struct virtio_tmem_target {
	long pages;			/* that it wants to hold at most */
	bool paused;			/* no write-back: the guest is suspended */
	atomic_long_t held;		/* pages on the host, of all areas */
};

struct virtio_tmem_target *virtio_tmem_target(struct virtio_tmem *vt);

/* "virtio0": for messages. Valid for as long as a reference is held. */
const char *virtio_tmem_name(const struct virtio_tmem *vt);

/* Pages that the store can hold when not one of them compresses, as at probe */
u64 virtio_tmem_max_pages(const struct virtio_tmem *vt);

/*
 * References keep the structure alive, not the device: once that is gone,
 * requests fail with -ENODEV. virtio_tmem_unref() may sleep.
 */
void virtio_tmem_ref(struct virtio_tmem *vt);
void virtio_tmem_unref(struct virtio_tmem *vt);

/**
 * virtio_tmem_pool_create() - make an empty persistent pool on the host
 * @vt: the device; the pool takes a reference of its own
 * @nr_pages: indexes are from 0 to this, exclusive
 *
 * May sleep and allocates with GFP_KERNEL: not for the put path.
 *
 * Return: the pool, or an ERR_PTR: -ENOSPC when the host has no room for
 * another pool, -ENOMEM, or what virtio_tmem_get() says of a bad device.
 */
struct virtio_tmem_pool *virtio_tmem_pool_create(struct virtio_tmem *vt,
						 unsigned long nr_pages);

/**
 * virtio_tmem_pool_destroy() - drop a pool and all that it holds
 * @pool: the pool; nobody may be using it any more. NULL is allowed.
 *
 * May sleep.
 */
void virtio_tmem_pool_destroy(struct virtio_tmem_pool *pool);

/* The device of a pool. The pool holds a reference to it. */
struct virtio_tmem *virtio_tmem_pool_device(const struct virtio_tmem_pool *pool);

/**
 * virtio_tmem_put() - store a page on the host, replacing what the index had
 * @pool: the pool
 * @index: the page's index in the pool
 * @page: a page that nobody writes to until this returns
 *
 * May wait for the host, and sleep; allocates nothing. Whatever it returns, an
 * older copy of the page is never got again.
 *
 * Return: 0; -ENOSPC when the host has no room; -EIO when the device is broken
 * or answered nonsense; -ENODEV when it is gone.
 */
int virtio_tmem_put(struct virtio_tmem_pool *pool, unsigned long index,
		    struct page *page);

/**
 * virtio_tmem_get() - get a page from the host; it stays there too
 * @pool: the pool
 * @index: the page's index in the pool
 * @page: where to; its contents are undefined unless 0 is returned
 *
 * May wait for the host, and sleep; allocates nothing.
 *
 * Return: 0; -ENOENT when the host does not have the page; -EIO when the host
 * has lost its contents, the device is broken or answered nonsense; -EBADMSG when
 * it is not the page that was put, as far as the pool has checksums; -ENODEV when
 * the device is gone.
 */
int virtio_tmem_get(struct virtio_tmem_pool *pool, unsigned long index,
		    struct page *page);

/**
 * virtio_tmem_put_many() - put pages that follow each other, without a copy
 * @pool: the pool
 * @index: index of the first page
 * @page: the first page; the others follow it in its folio
 * @nr: pages, at most VIRTIO_TMEM_MAX_PAGES, within VT_CLUSTER_SIZE indexes that
 *	begin at a multiple of it
 * @stored: bit n is set if page n was stored
 *
 * As virtio_tmem_put() otherwise; -ENOSPC when the host had no room for all.
 */
int virtio_tmem_put_many(struct virtio_tmem_pool *pool, unsigned long index,
			 struct page *page, unsigned int nr, u32 *stored);

/**
 * virtio_tmem_get_many() - get pages that follow each other
 * @pool: the pool
 * @index: index of the first page
 * @page: where to; the others follow it in its folio
 * @nr: pages, as for virtio_tmem_put_many()
 *
 * As virtio_tmem_get(): when it fails, the contents of all of them are undefined.
 */
int virtio_tmem_get_many(struct virtio_tmem_pool *pool, unsigned long index,
			 struct page *page, unsigned int nr);

/**
 * virtio_tmem_flush() - drop a page, some milliseconds later
 * @pool: the pool
 * @index: the page's index in the pool
 *
 * Never sleeps, allocates or waits; any context but NMI. A put of the same
 * index that follows takes the place of the flush.
 */
void virtio_tmem_flush(struct virtio_tmem_pool *pool, unsigned long index);

#ifdef CONFIG_VIRTIO_TMEM_FRONTSWAP
/*
 * Offer a device to frontswap / withdraw it: swap areas turned on from now on
 * use it / no longer use it. Both may sleep. Pools stay with their swap areas.
 * virtio_tmem_frontswap_attach() returns whether frontswap takes the device.
 */
bool virtio_tmem_frontswap_attach(struct virtio_tmem *vt);
void virtio_tmem_frontswap_detach(struct virtio_tmem *vt);

/* There are more pages than the target: give some back. Does not wait for it. */
void virtio_tmem_frontswap_write_back(struct virtio_tmem *vt);
#else
static inline bool virtio_tmem_frontswap_attach(struct virtio_tmem *vt)
{
	return false;
}

static inline void virtio_tmem_frontswap_detach(struct virtio_tmem *vt) { }
static inline void virtio_tmem_frontswap_write_back(struct virtio_tmem *vt) { }
#endif

struct virtio_tmem_disk;

#ifdef CONFIG_VIRTIO_TMEM_SWAPDEV
/*
 * Make a block device for swap, of the device's max_pages / remove it. When it is open
 * it is removed at its last release, and reads of pages that the host had fail
 * until then. Return: NULL when there is none, of which a line in the log says
 * why. Both may sleep.
 */
struct virtio_tmem_disk *virtio_tmem_swapdev_attach(struct virtio_tmem *vt);
void virtio_tmem_swapdev_detach(struct virtio_tmem_disk *disk);

/* As virtio_tmem_frontswap_write_back(); NULL is allowed */
void virtio_tmem_swapdev_write_back(struct virtio_tmem_disk *disk);
#else
static inline struct virtio_tmem_disk *
virtio_tmem_swapdev_attach(struct virtio_tmem *vt)
{
	return NULL;
}

static inline void virtio_tmem_swapdev_detach(struct virtio_tmem_disk *d) { }
static inline void virtio_tmem_swapdev_write_back(struct virtio_tmem_disk *d) { }
#endif

#endif /* _DRIVERS_VIRTIO_TMEM_H */
