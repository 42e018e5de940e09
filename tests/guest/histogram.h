/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How long accesses took, in ticks of the processor's clock: 16 intervals for
 * each power of two, so that a percentile is right to about 3 %.
 */
#ifndef HISTOGRAM_H
#define HISTOGRAM_H

#include <math.h>
#include <stdint.h>
#include <time.h>

#define SUB_BITS	4
#define BINS		(64 << SUB_BITS)

/*
 * A clock that costs nothing next to a fault. A system call would, and so would
 * a clock source that is a device.
 */
static inline uint64_t ticks(void)
{
#ifdef __x86_64__
	return __builtin_ia32_rdtsc();
#else
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
#endif
}

static inline unsigned int bin_of(uint64_t t)
{
	unsigned int shift = 63 - __builtin_clzll(t | 1 << SUB_BITS) - SUB_BITS;

	return (shift << SUB_BITS) + (t >> shift);
}

/* The middle of an interval */
static inline double bin_ticks(unsigned int bin)
{
	if (bin < 1 << SUB_BITS)
		return bin;
	return ldexp((1 << SUB_BITS) + bin % (1 << SUB_BITS) + .5,
		     (bin >> SUB_BITS) - 1);
}

#endif
