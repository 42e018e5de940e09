// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * psi-hog: real memory pressure, bounded.
 *
 *   psi-hog SECONDS CGROUP FOLDER
 *
 * Makes a cgroup of LIMIT below CGROUP (a folder of cgroup v1's memory
 * controller, or of v2), and in it a child that reads a file of SIZE in FOLDER
 * all over: it always waits for pages that it has just lost. Nobody else loses
 * any memory, but the host's pressure is that of all its tasks together.
 *
 * The parent stays outside, prints the host's pressure four times a second, and
 * takes everything away at the end, however it comes. FOLDER must be on a disk:
 * pages of a tmpfs cannot be dropped.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MIB	(1024UL * 1024)
#define LIMIT	(64 * MIB)
#define SIZE	(512 * MIB)

/* Some of them wait at any time, also on a fast disk and few processors. */
#define THREADS	128

static const volatile unsigned char *map;
static volatile sig_atomic_t stop;
static char dir[512];

static void on_signal(int sig)
{
	(void)sig;
	stop = 1;
}

static void __attribute__((noreturn)) die(const char *what)
{
	fprintf(stderr, "psi-hog: %s: %s\n", what, strerror(errno));
	if (dir[0])
		rmdir(dir);
	exit(1);
}

static int write_value(const char *name, unsigned long value)
{
	char path[600], text[32];
	int fd, len, ok;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	len = snprintf(text, sizeof(text), "%lu", value);
	fd = open(path, O_WRONLY);
	if (fd < 0)
		return 0;
	ok = write(fd, text, len) == len;
	close(fd);
	return ok;
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

/* Stalled time of the host so far, in us. */
static unsigned long long psi_total(void)
{
	FILE *f = fopen("/proc/pressure/memory", "r");
	unsigned long long total;

	if (!f || fscanf(f, "some avg10=%*f avg60=%*f avg300=%*f total=%llu",
			 &total) != 1)
		die("/proc/pressure/memory");
	fclose(f);
	return total;
}

/* A file out of the page cache, where its pages would be charged to us. */
static void make_file(const char *folder)
{
	static char block[MIB];
	char path[512];
	size_t i;
	int fd;

	snprintf(path, sizeof(path), "%s/psi-hog.%d", folder, getpid());
	fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
	if (fd < 0)
		die(path);
	unlink(path);
	for (i = 0; i < SIZE; i += MIB) {
		memset(block, i / MIB + 1, sizeof(block));
		if (write(fd, block, sizeof(block)) != sizeof(block))
			die(path);
	}
	if (fsync(fd) || posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED))
		die(path);
	map = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		die("mmap");
	madvise((void *)map, SIZE, MADV_RANDOM);
	close(fd);
}

static void *thrash(void *arg)
{
	uint64_t x = (uintptr_t)arg * 0x9e3779b97f4a7c15ull + 1;

	for (;;) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		(void)map[x % SIZE];
	}
	return NULL;
}

static void __attribute__((noreturn)) run_child(unsigned int seconds)
{
	uintptr_t i;

	/* It does not outlive the parent, nor its time. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGALRM, SIG_DFL);
	alarm(seconds + 5);
	if (!write_value("cgroup.procs", getpid()))
		_exit(1);
	for (i = 1; i < THREADS; i++) {
		pthread_t thread;

		if (pthread_create(&thread, NULL, thrash, (void *)i))
			break;
	}
	thrash(NULL);
	_exit(0);
}

static void watch(pid_t child, double seconds)
{
	double begin = now(), last = begin;
	unsigned long long total = psi_total();

	while (!stop && last < begin + seconds) {
		unsigned long long t;
		double n;

		usleep(250000);
		if (waitpid(child, NULL, WNOHANG)) {
			fprintf(stderr, "psi-hog: the child is gone\n");
			return;
		}
		n = now();
		t = psi_total();
		printf("%.2f %.0f\n", n - begin, (t - total) / 1000.0 / (n - last));
		last = n;
		total = t;
	}
}

int main(int argc, char **argv)
{
	unsigned int seconds, tries;
	pid_t child;

	if (argc != 4 || (seconds = atoi(argv[1])) == 0) {
		fprintf(stderr, "usage: psi-hog SECONDS CGROUP FOLDER\n");
		return 2;
	}
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	setvbuf(stdout, NULL, _IOLBF, 0);
	psi_total();
	make_file(argv[3]);

	snprintf(dir, sizeof(dir), "%s/psi-hog.%d", argv[2], getpid());
	if (mkdir(dir, 0755)) {
		fprintf(stderr, "psi-hog: %s: %s\n", dir, strerror(errno));
		return 1;
	}
	if (!write_value("memory.limit_in_bytes", LIMIT) &&
	    !write_value("memory.max", LIMIT))
		die("no memory limit for a cgroup here");

	child = fork();
	if (child < 0)
		die("fork");
	if (child == 0)
		run_child(seconds);
	watch(child, seconds);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	/* The last threads leave it a moment later. */
	for (tries = 0; tries < 50 && rmdir(dir) && errno == EBUSY; tries++)
		usleep(100000);
	return 0;
}
