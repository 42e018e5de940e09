/* SPDX-License-Identifier: ((GPL-2.0-or-later WITH Linux-syscall-note) OR BSD-3-Clause) */
/*
 * Virtio transcendent memory (tmem) device: the wire format, version 1.
 *
 * A guest puts pages into a page store on the host and gets them back. A page
 * is named by (pool, object, index). This header is the only definition of the
 * format: QEMU's copy and the listings of the spec chapter are made from it.
 *
 * All fields are little-endian. A request is one descriptor chain:
 *
 *   device-readable   struct virtio_tmem_req
 *                     PUT, GET: count * __le64 (the index of each page)
 *                     FLUSH:    count * struct virtio_tmem_range
 *                     PUT:      count pages
 *   device-writable   struct virtio_tmem_resp
 *                     GET:      count pages
 *                     STATS:    struct virtio_tmem_stats
 *
 * How this is cut into descriptors carries no meaning (spec, "Message
 * Framing"), so payload may be the guest's own pages, one descriptor each.
 */
#ifndef _UAPI_LINUX_VIRTIO_TMEM_H
#define _UAPI_LINUX_VIRTIO_TMEM_H

#include <linux/types.h>
#include <linux/virtio_types.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_config.h>

/*
 * Experimental: the last ID that the PCI transport can express (0x1040 + 63).
 * It lives here, and not in virtio_ids.h, until the spec assigns one, so that
 * the driver also builds against the headers of a stock kernel.
 */
#ifndef VIRTIO_ID_TMEM
#define VIRTIO_ID_TMEM			63
#endif

/* Feature bits: everything that is not put, get and flush */
#define VIRTIO_TMEM_F_EPHEMERAL		0 /* Ephemeral pools */
#define VIRTIO_TMEM_F_RESERVE		1 /* Reservations: puts that cannot fail */
#define VIRTIO_TMEM_F_EXCLUSIVE_GET	2 /* Gets that remove the page */
#define VIRTIO_TMEM_F_TARGET		3 /* target_pages is valid */
#define VIRTIO_TMEM_F_STATS		4 /* Statistics request */

/* Most pages in one put or get, most ranges in one flush */
#define VIRTIO_TMEM_MAX_PAGES		32
#define VIRTIO_TMEM_MAX_RANGES		256

/* Most request queues of a device */
#define VIRTIO_TMEM_MAX_QUEUES		64

struct virtio_tmem_config {
	/* Size of a page in every put and get, as a power of two (12: 4 KiB) */
	__u8 page_shift;
	__u8 reserved[3];
	/* Number of request queues, 1 to VIRTIO_TMEM_MAX_QUEUES */
	__le32 num_queues;
	/*
	 * Pages that the store can hold when not one of them compresses; what
	 * a swap device on top of the store should be sized after. Not a bound
	 * on the number of pages held: compression lets the store hold more.
	 */
	__le64 max_pages;
	/*
	 * With VIRTIO_TMEM_F_TARGET: pages that the host wants this guest to
	 * hold at most. A change raises a configuration change notification.
	 */
	__le64 target_pages;
};

/* Request types */
#define VIRTIO_TMEM_REQ_POOL_CREATE	0
#define VIRTIO_TMEM_REQ_POOL_DESTROY	1
#define VIRTIO_TMEM_REQ_PUT		2
#define VIRTIO_TMEM_REQ_GET		3
#define VIRTIO_TMEM_REQ_FLUSH		4
#define VIRTIO_TMEM_REQ_RESERVE		5 /* VIRTIO_TMEM_F_RESERVE */
#define VIRTIO_TMEM_REQ_STATS		6 /* VIRTIO_TMEM_F_STATS */

/* POOL_CREATE: the host may drop pages of this pool (_F_EPHEMERAL) */
#define VIRTIO_TMEM_FLAG_EPHEMERAL	(1 << 0)
/* PUT: consume one reservation for each page (_F_RESERVE) */
#define VIRTIO_TMEM_FLAG_RESERVED	(1 << 1)
/* GET: remove each page that was found (_F_EXCLUSIVE_GET) */
#define VIRTIO_TMEM_FLAG_EXCLUSIVE	(1 << 2)

struct virtio_tmem_req {
	__u8 type;
	__u8 flags;
	/*
	 * PUT, GET: pages, 1 to VIRTIO_TMEM_MAX_PAGES
	 * FLUSH:    ranges, 1 to VIRTIO_TMEM_MAX_RANGES
	 * RESERVE:  reservations that the driver wants this queue to have
	 * else:     0
	 */
	__le16 count;
	/* The pool, as answered by POOL_CREATE. 0 in POOL_CREATE and RESERVE. */
	__le32 pool;
	/* PUT, GET, FLUSH: the object that all keys of the request are in. */
	__le64 object;
};

/* A flush removes all pages whose index is from first to last, inclusive. */
struct virtio_tmem_range {
	__le64 first;
	__le64 last;
};

/* Status of a request: the worst of what happened to any of its pages */
#define VIRTIO_TMEM_S_OK		0 /* Every page was stored or found */
#define VIRTIO_TMEM_S_REJECTED		1 /* No room now for a page (or pool) */
#define VIRTIO_TMEM_S_ABSENT		2 /* A page was not found */
#define VIRTIO_TMEM_S_INVALID		3 /* Bad request, nothing was done */
#define VIRTIO_TMEM_S_IOERR		4 /* The contents of a page are lost */

struct virtio_tmem_resp {
	__u8 status;
	__u8 reserved[3];
	/* PUT, GET: bit n is set if page n was stored or found */
	__le32 done;
	/* GET: bit n is set if the contents of page n are lost */
	__le32 failed;
	/* Reservations that this queue has left (VIRTIO_TMEM_F_RESERVE) */
	__le32 reservations;
	/*
	 * POOL_CREATE:         the new pool
	 * POOL_DESTROY, FLUSH: pages removed
	 */
	__le64 value;
};

struct virtio_tmem_stats {
	/* Pages held now, all pools of the device */
	__le64 pages;
	/* Bytes that they take, with overhead */
	__le64 bytes_used;
	/* Bytes that the store may take now */
	__le64 limit;
};

#endif /* _UAPI_LINUX_VIRTIO_TMEM_H */
