/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Ranks 0 to n - 1, rank r as often as 1 / (r + 1)^theta says: a few are wanted
 * all the time and most hardly ever, as with the buffers of a database.
 *
 * The ranks are divided into parts: of one rank each where they differ much,
 * then wider ones, in which all ranks are equally likely (1/64 of the rank: the
 * last is at most 2 % less likely than the first). So the table is small, and
 * no draw takes floating point, which is slow under emulation.
 */
#ifndef ZIPF_H
#define ZIPF_H

#include <math.h>
#include <stdint.h>

#define ZIPF_PARTS	2048

struct zipf {
	uint64_t below[ZIPF_PARTS + 1];		/* probability, of 2^63 */
	uint32_t first[ZIPF_PARTS + 1];
	unsigned int parts;
};

static inline void zipf_prepare(struct zipf *z, unsigned long n, double theta)
{
	double sum = 0, below[ZIPF_PARTS];
	unsigned long r = 0, width;

	for (z->parts = 0; r < n; z->parts++) {
		below[z->parts] = sum;
		z->first[z->parts] = r;
		width = r / 64 + 1;
		if (width > n - r || z->parts == ZIPF_PARTS - 1)
			width = n - r;
		sum += width * pow(r + (width + 1) / 2., -theta);
		r += width;
	}
	z->first[z->parts] = n;
	for (unsigned int i = 0; i < z->parts; i++)
		z->below[i] = ldexp(below[i] / sum, 63);
	z->below[z->parts] = 1ull << 63;
}

/* x and y: two random words */
static inline unsigned long zipf_rank(const struct zipf *z, uint64_t x, uint64_t y)
{
	unsigned int low = 0, high = z->parts, i;

	x >>= 1;
	while (high - low > 1) {
		i = (low + high) / 2;
		if (z->below[i] <= x)
			low = i;
		else
			high = i;
	}
	return z->first[low] + y % (z->first[low + 1] - z->first[low]);
}

#endif
