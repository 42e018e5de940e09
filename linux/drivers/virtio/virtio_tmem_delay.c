// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Virtio transcendent memory (tmem) driver: delays, to find races.
 *
 * Where a slot, a key or a bit is in between two states and no lock is held that
 * keeps others away, the driver names a point. Here some of those who pass one
 * are held up for a while, so that what should not matter in between does
 * happen in between. For tests: without CONFIG_VIRTIO_TMEM_DEBUG_DELAY there is
 * none of this.
 *
 * Those tests look for data races, leaks and bad accesses with the help of the
 * kernel. That they would find some is seen where some are planted.
 */

#include <linux/atomic.h>
#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/module.h>
#include <linux/random.h>
#include <linux/seq_file.h>
#include <linux/slab.h>

#include "virtio_tmem_int.h"

static unsigned int delay_one_in;
module_param(delay_one_in, uint, 0644);
MODULE_PARM_DESC(delay_one_in, "Hold up one of so many that pass a point; 0: none (default: 0)");

static unsigned int delay_us = 500;
module_param(delay_us, uint, 0644);
MODULE_PARM_DESC(delay_us, "Longest delay in microseconds, at most 10000; where nobody may sleep, a fourth of it (default: 500)");

static bool plant;
module_param(plant, bool, 0400);
MODULE_PARM_DESC(plant, "Do wrong: a data race, a leak, a write behind an object (default: off)");

static const char * const virtio_tmem_delay_names[VT_NR_DELAYS] = {
	[VT_DELAY_STAGE_FILLING]	= "stage_filling",
	[VT_DELAY_STAGE_COPIED]		= "stage_copied",
	[VT_DELAY_PUT_UNSTAGED]		= "put_unstaged",
	[VT_DELAY_PUT_NOW]		= "put_now",
	[VT_DELAY_BATCH_TAKEN]		= "batch_taken",
	[VT_DELAY_BATCH_USED]		= "batch_used",
	[VT_DELAY_GET_AHEAD]		= "get_ahead",
	[VT_DELAY_GET_REMOTE]		= "get_remote",
	[VT_DELAY_AHEAD_PLANNED]	= "ahead_planned",
	[VT_DELAY_AHEAD_USED]		= "ahead_used",
	[VT_DELAY_FLUSH_PAGE]		= "flush_page",
	[VT_DELAY_COLLECT_CLUSTER]	= "collect_cluster",
	[VT_DELAY_COLLECT_FOUND]	= "collect_found",
	[VT_DELAY_COLLECT_TAKEN]	= "collect_taken",
	[VT_DELAY_WB_BEGUN]		= "wb_begun",
	[VT_DELAY_WB_GOT]		= "wb_got",
	[VT_DELAY_WB_WRITTEN]		= "wb_written",
	[VT_DELAY_STORE_REFUSED]	= "store_refused",
	[VT_DELAY_LOAD]			= "load",
	[VT_DELAY_SHRINK_READ]		= "shrink_read",
};

/* How often somebody was held up at each point */
static atomic_long_t virtio_tmem_delays[VT_NR_DELAYS];

static void virtio_tmem_plant(void)
{
	static unsigned long races;
	static atomic_t leaks;
	char *leak;

	races++;
	if (atomic_xchg(&leaks, 1))
		return;
	leak = kmalloc(40, GFP_ATOMIC);
	if (!leak)
		return;
	OPTIMIZER_HIDE_VAR(leak);
	leak[40] = 1;
}

/* Return: for how long, in microseconds */
static unsigned int virtio_tmem_delay_roll(enum virtio_tmem_delay_point point)
{
	unsigned int one_in = READ_ONCE(delay_one_in);
	unsigned int us = min(READ_ONCE(delay_us), 10000U);

	if (plant)
		virtio_tmem_plant();
	if (!one_in || !us || get_random_u32_below(one_in))
		return 0;
	atomic_long_inc(&virtio_tmem_delays[point]);
	return 1 + get_random_u32_below(us);
}

void virtio_tmem_delay(enum virtio_tmem_delay_point point)
{
	unsigned int us = virtio_tmem_delay_roll(point);

	might_sleep();
	if (us)
		usleep_range(us, us + us / 4);
}

void virtio_tmem_delay_atomic(enum virtio_tmem_delay_point point)
{
	udelay(virtio_tmem_delay_roll(point) / 4);
}

static int virtio_tmem_delays_show(struct seq_file *m, void *unused)
{
	int i;

	for (i = 0; i < VT_NR_DELAYS; i++)
		seq_printf(m, "%s %ld\n", virtio_tmem_delay_names[i],
			   atomic_long_read(&virtio_tmem_delays[i]));
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(virtio_tmem_delays);

void virtio_tmem_delay_debugfs(struct dentry *dir)
{
	debugfs_create_file("delays", 0444, dir, NULL, &virtio_tmem_delays_fops);
}
