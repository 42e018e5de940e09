// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * swapon-prio DEVICE PRIORITY: Debian's static busybox has no swapon -p, and
 * swap areas share the load only when their priorities are equal.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/swap.h>

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: swapon-prio DEVICE PRIORITY\n");
		return 2;
	}
	if (swapon(argv[1], SWAP_FLAG_PREFER |
		   (atoi(argv[2]) & SWAP_FLAG_PRIO_MASK))) {
		perror(argv[1]);
		return 1;
	}
	return 0;
}
