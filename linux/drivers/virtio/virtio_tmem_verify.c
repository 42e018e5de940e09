// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Virtio transcendent memory (tmem) driver: checksums of the pages that were put
 * (verify=1), so that no other bytes are ever taken for them: neither from the
 * host nor from a slot in between.
 *
 * A pool has a word for each index: the checksum of the page that was put last, or
 * 0 while a page is put and after a put that failed. The word is set to 0 before
 * anything else of the put happens, and to the new checksum when all of it has. So
 * when it was the same, and not 0, before and after a get, that page is the one
 * which the get has to bring. When it was not, the index was put in the middle of
 * the get, of which nothing is promised: only write-back does that, which has no
 * use for the page then, and who looks at the disk of a swap area that is on. (Was
 * it put twice meanwhile, the last time with what it had at first, they may be told
 * of a wrong page that nobody wants.) The order is kept by slot_lock and the queue's
 * lock: a get that sees anything of a put took one of them after the put did.
 */

#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/xxhash.h>

#include "virtio_tmem_int.h"

static bool verify;
module_param(verify, bool, 0644);
MODULE_PARM_DESC(verify, "Keep a checksum of each page put, and fail the read of one that comes back otherwise; for swap areas that are turned on from now on; takes 4 bytes for each slot (default: off)");

int virtio_tmem_sums_alloc(struct virtio_tmem_pool *pool)
{
	if (!READ_ONCE(verify))
		return 0;
	pool->sums = kvcalloc(pool->nr_pages, sizeof(*pool->sums),
			      GFP_KERNEL | __GFP_NOWARN);
	if (!pool->sums)
		return -ENOMEM;
	pr_info("virtio_tmem %s: pages are verified, with %lu KiB of checksums\n",
		virtio_tmem_name(pool->vt),
		DIV_ROUND_UP(pool->nr_pages * sizeof(*pool->sums), 1024));
	return 0;
}

static u32 virtio_tmem_sum(struct page *page)
{
	const void *p = kmap_local_page(page);
	u32 sum = xxh64(p, PAGE_SIZE, 0);

	kunmap_local(p);
	return sum ?: 1;
}

u32 virtio_tmem_sum_begin(struct virtio_tmem_pool *pool, unsigned long index,
			  struct page *page)
{
	if (!pool->sums)
		return 0;
	WRITE_ONCE(pool->sums[index], 0);
	return virtio_tmem_sum(page);
}

void virtio_tmem_sum_end(struct virtio_tmem_pool *pool, unsigned long index,
			 u32 sum)
{
	if (!pool->sums)
		return;
	/* Pairs with the acquire in virtio_tmem_sum_of() */
	smp_store_release(&pool->sums[index], sum);
}

u32 virtio_tmem_sum_of(struct virtio_tmem_pool *pool, unsigned long index)
{
	if (!pool->sums)
		return 0;
	/* Pairs with the release in virtio_tmem_sum_end() */
	return smp_load_acquire(&pool->sums[index]);
}

int virtio_tmem_sum_check(struct virtio_tmem_pool *pool, unsigned long index,
			  u32 sum, struct page *page)
{
	u32 found;

	if (!sum || READ_ONCE(pool->sums[index]) != sum)
		return 0;
	found = virtio_tmem_sum(page);
	if (found == sum)
		return 0;
	pr_err_ratelimited("virtio_tmem %s: page %lu of pool %u came back with other bytes than were put (checksum %08x, not %08x)\n",
			   virtio_tmem_name(pool->vt), index, pool->id, found,
			   sum);
	return -EBADMSG;
}
