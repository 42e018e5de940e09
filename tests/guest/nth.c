// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * nth N swapon DEVICE PRIORITY, nth N swapoff DEVICE, nth N write FILE TEXT: one
 * system call, in which the kernel's N-th allocation fails. What it may be failed
 * in is up to failslab and fail_page_alloc in debugfs.
 *
 * Prints "1" if there was an N-th one, or "0": the call has got by with fewer.
 * Exit status: 0 when the call has succeeded, else 1.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/swap.h>
#include <unistd.h>

static int fail_nth;

static void die(const char *what)
{
	perror(what);
	exit(2);
}

static void set_nth(const char *n)
{
	if (pwrite(fail_nth, n, strlen(n), 0) < 0)
		die("fail-nth");
}

int main(int argc, char **argv)
{
	const char *call = argc > 3 ? argv[2] : "", *arg = argc > 4 ? argv[4] : "";
	int fd = -1, failed = 1;
	char left[16] = "";

	fail_nth = open("/proc/self/fail-nth", O_RDWR);
	if (fail_nth < 0)
		die("fail-nth");
	if (!strcmp(call, "write")) {
		fd = open(argv[3], O_WRONLY);
		if (fd < 0)
			die(argv[3]);
		set_nth(argv[1]);
		failed = write(fd, arg, strlen(arg)) < 0;
	} else if (!strcmp(call, "swapon")) {
		set_nth(argv[1]);
		failed = swapon(argv[3], SWAP_FLAG_PREFER |
				(atoi(arg) & SWAP_FLAG_PRIO_MASK));
	} else if (!strcmp(call, "swapoff")) {
		set_nth(argv[1]);
		failed = swapoff(argv[3]);
	} else {
		fprintf(stderr, "usage: nth N swapon|swapoff|write ...\n");
		return 2;
	}
	if (pread(fail_nth, left, sizeof(left) - 1, 0) < 0)
		die("fail-nth");
	set_nth("0");
	/* What is left of N */
	puts(atoi(left) ? "0" : "1");
	return !!failed;
}
