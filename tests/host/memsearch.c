// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * memsearch: where a process has a text in its memory.
 *
 *   memsearch PID TEXT
 *
 * For each mapping that has it, a line: "dumped" or "hidden" (whether a core dump
 * would have the mapping), how often, KiB in memory, address, name. Only pages that are in
 * memory are read, and a text that goes over the end of one may be missed.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGE 4096UL
#define PRESENT (UINT64_C(1) << 63)

struct mapping {
	unsigned long begin, end;
	char perms[5];
	char name[256];
	unsigned long kib;
};

static const char *text;
static int mem, pagemap;

static void die(const char *what)
{
	fprintf(stderr, "memsearch: %s: %s\n", what, strerror(errno));
	exit(2);
}

static int open_proc(const char *pid, const char *name)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%s/%s", pid, name);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		die(path);
	return fd;
}

static unsigned long count_in(const char *buf, size_t len)
{
	const char *end = buf + len;
	unsigned long n = 0;

	while ((buf = memmem(buf, end - buf, text, strlen(text)))) {
		n++;
		buf += strlen(text);
	}
	return n;
}

static unsigned long count(const struct mapping *m)
{
	unsigned long n = 0;
	char page[PAGE];
	uint64_t entry[512];

	for (unsigned long at = m->begin; at < m->end; at += sizeof(entry) / 8 * PAGE) {
		unsigned long pages = (m->end - at) / PAGE;

		if (pages > 512)
			pages = 512;
		if (pread(pagemap, entry, pages * 8, at / PAGE * 8) != (ssize_t)pages * 8)
			continue;
		for (unsigned long i = 0; i < pages; i++)
			if (entry[i] & PRESENT &&
			    pread(mem, page, PAGE, at + i * PAGE) == (ssize_t)PAGE)
				n += count_in(page, PAGE);
	}
	return n;
}

static void look(const struct mapping *m, const char *flags)
{
	unsigned long n;

	if (!m->kib || m->perms[0] != 'r')
		return;
	n = count(m);
	if (n)
		printf("%s %lu %lu %lx %s\n", strstr(flags, " dd") ? "hidden" : "dumped",
		       n, m->kib, m->begin, *m->name ? m->name : "anonymous");
}

int main(int argc, char **argv)
{
	struct mapping m = { 0 };
	char line[1024];
	FILE *smaps;

	if (argc != 3 || !*argv[2]) {
		fprintf(stderr, "usage: memsearch PID TEXT\n");
		return 2;
	}
	text = argv[2];
	mem = open_proc(argv[1], "mem");
	pagemap = open_proc(argv[1], "pagemap");
	smaps = fdopen(open_proc(argv[1], "smaps"), "r");
	while (fgets(line, sizeof(line), smaps)) {
		unsigned long begin, end;
		char perms[5], name[256] = "";

		if (sscanf(line, "%lx-%lx %4s %*s %*s %*s %255[^\n]", &begin, &end, perms, name) >= 3) {
			m = (struct mapping){ .begin = begin, .end = end };
			memcpy(m.perms, perms, sizeof(perms));
			memcpy(m.name, name, sizeof(name));
		}
		sscanf(line, "Rss: %lu", &m.kib);
		if (!strncmp(line, "VmFlags:", 8))
			look(&m, line);
	}
	return 0;
}
