// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * swaptest: memory larger than RAM whose every byte is known in advance.
 *
 * The content of a page follows from (seed, page number, version), so what
 * swapping brings back is checked against nothing but arithmetic. The first
 * word of a page names its page and version: a mismatch says what came instead.
 *
 * A main process runs the phases; workers (processes x threads), each with its
 * own slice of pages, carry them out between two barriers. What decides on
 * right or wrong (versions, counters) is locked in memory, so that it cannot be
 * lost to the same fault as the pages it judges.
 *
 * Each access is timed with the processor's own clock, and counted in a
 * histogram. Which of them faulted nobody says; but the kernel says how many
 * did, and a fault is slower than a hit, so they are the slowest ones: the
 * percentiles are over these.
 *
 * Results are lines "@<name>.<key> <value>" and "@bad ..." on stdout, each in
 * one write(), so that they stay whole on a serial port with several writers.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "histogram.h"
#include "util.h"
#include "zipf.h"

#define PAGE		4096UL
#define WORDS		(PAGE / sizeof(uint64_t))
/* The random words of a page are spread over this many runs. */
#define BLOCKS		8
#define BLOCK_WORDS	(WORDS / BLOCKS)
#define HUGE_PAGE	(2UL << 20)
#define MAX_WORKERS	64
#define MAX_PHASES	64
/* Mismatches described one by one; the rest are only counted. */
#define MAX_REPORTS	6

/*
 * 0 is kept for pages that read as zero, NO_VERSION for those that a write was
 * lost in the middle of: whatever they are, they are not judged.
 */
#define NO_VERSION	UINT8_MAX

enum phase {
	PH_FILL,	/* write every page, with a new version */
	PH_SEQ,		/* in order: one word of each page */
	PH_RAND,	/* the same, in random order */
	PH_ZIPF,	/* zipf-distributed, like a database's buffers; some are written */
	PH_MIX,		/* process by process: rewrite, rand, zipf, seq, again */
	PH_VERIFY,	/* in order: every word */
	PH_RVERIFY,	/* the same, in random order */
	PH_REWRITE,	/* write part= % of the pages, in random order */
	PH_DROP,	/* give back part= % of the pages: they read as zero */
	PH_FORK,	/* parent and child change the same pages (COW) */
	PH_WORK,	/* zipf until SIGTERM, which ends a fill before it too */
	PH_STOP,	/* stop the main process until SIGCONT */
};

static const char * const phase_names[] = {
	[PH_FILL] = "fill", [PH_SEQ] = "seq", [PH_RAND] = "rand",
	[PH_ZIPF] = "zipf", [PH_MIX] = "mix",
	[PH_VERIFY] = "verify", [PH_RVERIFY] = "rverify",
	[PH_REWRITE] = "rewrite", [PH_DROP] = "drop", [PH_FORK] = "fork",
	[PH_WORK] = "work", [PH_STOP] = "stop",
};

static struct {
	const char *name;
	unsigned long mib;
	unsigned long seed;
	unsigned long random;	/* % of the bytes of an ordinary page */
	unsigned long zero;	/* % of the pages: all zero */
	unsigned long same;	/* % of the pages: one other word, repeated */
	unsigned long part;	/* % of the pages that rewrite and drop take */
	unsigned long touch;	/* % of the pages that rand takes */
	unsigned long accesses;	/* of zipf and mix, % of the pages */
	unsigned long writes;	/* of zipf: % of the accesses */
	unsigned long theta;	/* of zipf, in hundredths */
	unsigned long full;	/* of work: % of the reads that compare every word */
	unsigned long pace;	/* of work: most accesses a second; 0: no such */
	unsigned long procs;
	unsigned long threads;
	unsigned long repeat;	/* of all phases but the first; 0: for ever */
	unsigned long corrupt;	/* pages to spoil, to see the check fail */
	bool shm;		/* pages of a tmpfs file, not anonymous ones */
	bool uneven;		/* process N has N+1 times the pages of process 0 */
	bool thp;		/* ask for huge pages */
	bool count_sigbus;	/* a SIGBUS is a lost page, not the end */
	bool works;		/* there is a phase work: say how far it is */
	enum phase phases[MAX_PHASES];
	unsigned int nphases;
	unsigned int run_words[BLOCKS];
} opt = {
	.name = "swaptest", .mib = 64, .seed = 1, .random = 34, .part = 50,
	.touch = 100, .accesses = 200, .writes = 10, .theta = 99, .full = 10,
	.procs = 1, .threads = 1, .repeat = 1,
};

/* Shared by all processes. */
static struct control {
	pthread_barrier_t barrier;
	atomic_ulong verified;	/* pages of which every word was compared */
	atomic_ulong touched;	/* pages of which one word was compared */
	atomic_ulong bad;	/* comparisons of pages that failed */
	atomic_ulong sigbus;	/* accesses that ended in SIGBUS */
	atomic_ulong work;	/* pages that this phase went over */
	atomic_ulong did;	/* the same of all phases */
	atomic_bool enough;	/* fill and work are to end */
	atomic_ulong start;	/* of this phase, by the first worker, in us */
	atomic_ulong end;	/* of this phase, by the last worker */
	atomic_ulong start_tick, end_tick;	/* the same in clock ticks */
	atomic_ulong faults;	/* page faults that this phase took */
	atomic_ulong slowest;	/* of its accesses, in clock ticks */
	atomic_ulong bins[BINS];	/* number of its accesses by ticks */
	atomic_uint reports;
	atomic_bool finished;	/* from here on a worker may exit */
} *ctl;

struct worker {
	uint64_t *mem;
	unsigned long first;	/* page number of mem[0], in the whole run */
	unsigned long pages;
	unsigned long proc;
	uint8_t *version;	/* 0: never written or dropped, reads as zero */
	uint32_t *order;
	uint64_t rng;
	unsigned long faults;	/* of this thread, when the phase began */
	uint64_t slowest;
	uint64_t told;		/* when it last said how far it is, in us */
	uint32_t bins[BINS];
};

/* One for all workers of a process: their slices have the same size. */
static struct zipf zipf;

static pid_t children[MAX_WORKERS];
static unsigned int nchildren;

static __thread sigjmp_buf bus_env;
static __thread volatile sig_atomic_t bus_armed;

static void __attribute__((noreturn)) die(const char *what)
{
	out("@%s.error %s: %s\n", opt.name, what, strerror(errno));
	exit(4);
}

static void *lock_alloc(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED || mlock(p, size))
		die("locked memory");
	return p;
}

static inline uint64_t next_random(struct worker *w)
{
	w->rng += 0x9e3779b97f4a7c15ull;
	return mix(w->rng);
}

/* What a page is made of, from its name alone. */
struct recipe {
	uint64_t state;		/* of the generator of the random words */
	uint64_t filler;	/* every other word */
	uint64_t id;		/* the first word */
	bool plain;		/* filler only */
};

static inline struct recipe recipe_of(unsigned long page, uint8_t version)
{
	uint64_t key = mix(mix(opt.seed * 0x9e3779b97f4a7c15ull + page) +
			   version);
	unsigned int kind = (key >> 32) % 100;
	struct recipe r = { .state = key, .filler = mix(key) };

	if (version == 0 || kind < opt.zero) {
		r.filler = 0;
		r.plain = true;
	} else if (kind < opt.zero + opt.same) {
		r.plain = true;
	}
	if (r.plain)
		r.id = r.filler;
	else
		r.id = ((opt.seed & 0xff) | 0x5a00) << 48 |
		       (uint64_t)version << 40 | page;
	return r;
}

static inline uint64_t random_word(uint64_t *state)
{
	*state = *state * 6364136223846793005ull + 1442695040888963407ull;
	return *state ^ *state >> 32;
}

static void write_page(uint64_t *p, unsigned long page, uint8_t version)
{
	struct recipe r = recipe_of(page, version);
	unsigned int b, i;

	if (r.plain) {
		for (i = 0; i < WORDS; i++)
			p[i] = r.filler;
		return;
	}
	for (b = 0; b < BLOCKS; b++, p += BLOCK_WORDS) {
		for (i = 0; i < opt.run_words[b]; i++)
			p[i] = random_word(&r.state);
		for (; i < BLOCK_WORDS; i++)
			p[i] = r.filler;
		if (b == 0)
			p[0] = r.id;
	}
}

static void describe(char *buf, size_t size, uint64_t word)
{
	if (word >> 56 == 0x5a)
		snprintf(buf, size, "word 0 of page %lu version %u seed %u",
			 (unsigned long)(word & 0xffffffffffull),
			 (unsigned int)(word >> 40 & 0xff),
			 (unsigned int)(word >> 48 & 0xff));
	else
		snprintf(buf, size, "%s", word ? "unknown" : "zero");
}

static void report(unsigned long page, uint8_t version, unsigned int word,
		   uint64_t expected, uint64_t got, uint64_t first)
{
	char what[80];

	atomic_fetch_add(&ctl->bad, 1);
	if (atomic_fetch_add(&ctl->reports, 1) >= MAX_REPORTS)
		return;
	describe(what, sizeof(what), first);
	out("@bad %s page=%lu version=%u offset=%u expected=%016llx got=%016llx page begins with: %s\n",
	    opt.name, page, version, word * 8, (unsigned long long)expected,
	    (unsigned long long)got, what);
}

static void check_page(const uint64_t *p, unsigned long page, uint8_t version)
{
	const uint64_t *start = p;
	struct recipe r = recipe_of(page, version);
	uint64_t expected = r.filler;
	unsigned int b, i;

	if (version == NO_VERSION)
		return;
	atomic_fetch_add_explicit(&ctl->verified, 1, memory_order_relaxed);
	if (r.plain) {
		for (i = 0; i < WORDS; i++)
			if (p[i] != r.filler)
				goto bad;
		return;
	}
	for (b = 0; b < BLOCKS; b++, p += BLOCK_WORDS) {
		for (i = 0; i < opt.run_words[b]; i++) {
			expected = random_word(&r.state);
			if (b == 0 && i == 0)
				expected = r.id;
			if (p[i] != expected)
				goto bad;
		}
		expected = r.filler;
		if (b == 0 && i == 0) {		/* random=0 */
			if (p[0] != r.id) {
				expected = r.id;
				goto bad;
			}
			i = 1;
		}
		for (; i < BLOCK_WORDS; i++)
			if (p[i] != expected)
				goto bad;
	}
	return;
bad:
	report(page, version, p + i - start, expected, p[i], start[0]);
}

static inline void touch_page(const uint64_t *p, unsigned long page,
			      uint8_t version)
{
	uint64_t got = *(const volatile uint64_t *)p;
	struct recipe r = recipe_of(page, version);

	if (version == NO_VERSION)
		return;
	atomic_fetch_add_explicit(&ctl->touched, 1, memory_order_relaxed);
	if (got != r.id)
		report(page, version, 0, r.id, got, got);
}

static void shuffle(struct worker *w)
{
	for (unsigned long i = w->pages; i > 1; i--) {
		unsigned long j = next_random(w) % i;
		uint32_t t = w->order[i - 1];

		w->order[i - 1] = w->order[j];
		w->order[j] = t;
	}
}

/* The access that faults, if any does. What is written is not yet a page. */
static inline void first_touch(struct worker *w, uint64_t *p, bool write)
{
	volatile uint64_t *word = p;
	uint64_t t = ticks();

	if (write)
		*word = 0;
	else
		(void)*word;
	t = ticks() - t;
	w->bins[bin_of(t)]++;
	if (t > w->slowest)
		w->slowest = t;
}

static unsigned long faults_of_thread(void)
{
	struct rusage u;

	getrusage(RUSAGE_THREAD, &u);
	return u.ru_minflt + u.ru_majflt;
}

static void begin_latency(struct worker *w)
{
	memset(w->bins, 0, sizeof(w->bins));
	w->slowest = 0;
	w->faults = faults_of_thread();
}

static void stamp(atomic_ulong *when, bool last, unsigned long now);

static void end_latency(struct worker *w)
{
	atomic_fetch_add(&ctl->faults, faults_of_thread() - w->faults);
	stamp(&ctl->slowest, true, w->slowest);
	for (unsigned int i = 0; i < BINS; i++)
		if (w->bins[i])
			atomic_fetch_add(&ctl->bins[i], w->bins[i]);
}

static uint8_t next_version(uint8_t version)
{
	return version == NO_VERSION ? NO_VERSION - 1 :
	       version == NO_VERSION - 1 ? 1 : version + 1;
}

/* A write that does not even begin leaves the page as it was. */
static void new_page(struct worker *w, uint64_t *p, unsigned long page,
		     unsigned long i)
{
	uint8_t version = next_version(w->version[i]);

	first_touch(w, p, true);
	w->version[i] = NO_VERSION;
	atomic_signal_fence(memory_order_seq_cst);
	write_page(p, page, version);
	atomic_signal_fence(memory_order_seq_cst);
	w->version[i] = version;
}

static void access_page(struct worker *w, enum phase ph, unsigned long i)
{
	uint64_t *p = w->mem + i * WORDS;
	unsigned long page = w->first + i;

	switch (ph) {
	case PH_FILL:
	case PH_REWRITE:
		new_page(w, p, page, i);
		break;
	case PH_SEQ:
	case PH_RAND:
		first_touch(w, p, false);
		touch_page(p, page, w->version[i]);
		break;
	case PH_VERIFY:
	case PH_RVERIFY:
		first_touch(w, p, false);
		check_page(p, page, w->version[i]);
		break;
	case PH_DROP:
		if (madvise(p, PAGE, opt.shm ? MADV_REMOVE : MADV_DONTNEED))
			die("madvise");
		w->version[i] = 0;
		break;
	default:
		break;
	}
}

static void one_page(struct worker *w, enum phase ph, unsigned long i)
{
	if (!opt.count_sigbus) {
		access_page(w, ph, i);
		return;
	}
	if (sigsetjmp(bus_env, 0)) {
		bus_armed = 0;
		atomic_fetch_add(&ctl->sigbus, 1);
		return;
	}
	bus_armed = 1;
	access_page(w, ph, i);
	bus_armed = 0;
}

static void count_work(struct worker *w, unsigned long n)
{
	uint64_t now;

	atomic_fetch_add(&ctl->work, n);
	atomic_fetch_add(&ctl->did, n);
	if (!opt.works || w->first)
		return;
	now = now_us();
	if (now - w->told < 100 * 1000)
		return;
	w->told = now;
	out("@%s.did %lu\n", opt.name, atomic_load(&ctl->did));
}

static void go_over(struct worker *w, enum phase ph, unsigned long part,
		    bool random)
{
	unsigned long n = w->pages * part / 100, k, counted = 0;

	for (k = 0; k < n; k++) {
		one_page(w, ph, random ? w->order[k] : k);
		if (opt.works && k - counted == 64) {
			count_work(w, k - counted);
			counted = k;
			if (ph == PH_FILL && atomic_load(&ctl->enough))
				break;
		}
	}
	count_work(w, k - counted);
}

static void zipf_access(struct worker *w, enum phase read)
{
	uint64_t x = next_random(w), y = next_random(w);

	one_page(w, next_random(w) % 100 < opt.writes ? PH_REWRITE : read,
		 w->order[zipf_rank(&zipf, x, y)]);
}

/* Which pages are hot follows from the order: not those that stand together. */
static void go_zipf(struct worker *w, unsigned long n)
{
	for (unsigned long k = 0; k < n; k++)
		zipf_access(w, PH_RAND);
	count_work(w, n);
}

/* What was late is not made up for: a service has that many requests or less. */
static void go_on_working(struct worker *w)
{
	unsigned long n = opt.pace ? opt.pace / 50 + 1 : 64;

	while (!atomic_load(&ctl->enough)) {
		uint64_t due = now_us() + (opt.pace ? n * 1000000 / opt.pace : 0);
		uint64_t now;

		for (unsigned long k = 0; k < n; k++)
			zipf_access(w, next_random(w) % 100 < opt.full ? PH_VERIFY : PH_RAND);
		count_work(w, n);
		now = now_us();
		if (now < due)
			usleep(due - now);
	}
	w->told = 0;
	count_work(w, 0);
}

/* The same number of accesses for each process, whatever pages it has. */
static void go_mixed(struct worker *w)
{
	unsigned long n = opt.mib * (1024 * 1024 / PAGE) / 100 * opt.accesses /
			  (opt.procs * opt.threads);
	unsigned int pattern = w->proc % 4;

	if (pattern == 2) {
		go_zipf(w, n);
		return;
	}
	for (unsigned long k = 0; k < n; k++) {
		unsigned long i = k % w->pages;

		one_page(w, pattern == 0 ? PH_REWRITE : PH_RAND,
			 pattern == 3 ? i : w->order[i]);
	}
	count_work(w, n);
}

/*
 * Both sides of a fork change pages that they share and check all that they
 * see; then the child exits and leaves its copies to be freed.
 */
static void fork_phase(struct worker *w)
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		die("fork");
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		/* Another order than the parent's, or both change the same. */
		w->rng ^= 0x5555;
		shuffle(w);
	}
	go_over(w, PH_RVERIFY, 30, true);
	/* A tmpfs file is shared for good: a change would not be the own. */
	if (!opt.shm)
		go_over(w, PH_REWRITE, 30, true);
	go_over(w, PH_VERIFY, 100, false);
	if (pid == 0)
		_exit(0);
	if (waitpid(pid, &status, 0) != pid || status)
		die("child of the fork phase");
	go_over(w, PH_RVERIFY, 100, true);
}

static void run_phase(struct worker *w, enum phase ph)
{
	switch (ph) {
	case PH_FILL:
	case PH_SEQ:
	case PH_VERIFY:
		go_over(w, ph, 100, false);
		break;
	case PH_RAND:
		go_over(w, ph, opt.touch, true);
		break;
	case PH_RVERIFY:
		go_over(w, ph, 100, true);
		break;
	case PH_ZIPF:
		go_zipf(w, w->pages * opt.accesses / 100);
		break;
	case PH_MIX:
		go_mixed(w);
		break;
	case PH_REWRITE:
	case PH_DROP:
		go_over(w, ph, opt.part, true);
		break;
	case PH_FORK:
		fork_phase(w);
		break;
	case PH_WORK:
		go_on_working(w);
		break;
	case PH_STOP:
		break;
	}
}

/* The phases of a run: the first once, the others opt.repeat times. */
static bool next_phase(unsigned int *pos, unsigned long *round)
{
	if (++*pos < opt.nphases)
		return true;
	*pos = opt.nphases > 1 ? 1 : 0;
	++*round;
	return opt.repeat == 0 || *round < opt.repeat;
}

/*
 * Workers take the time: with one CPU the main process is woken by a barrier,
 * but runs only when a worker lets it.
 */
static void stamp(atomic_ulong *when, bool last, unsigned long now)
{
	unsigned long old = atomic_load(when);

	while ((last ? now > old : now < old) &&
	       !atomic_compare_exchange_weak(when, &old, now))
		;
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	unsigned int pos = 0;
	unsigned long round = 0;
	bool spoiled = false;

	do {
		/* Here, as it is not part of what a phase is timed for. */
		shuffle(w);
		pthread_barrier_wait(&ctl->barrier);
		begin_latency(w);
		stamp(&ctl->start, false, now_us());
		stamp(&ctl->start_tick, false, ticks());
		run_phase(w, opt.phases[pos]);
		stamp(&ctl->end_tick, true, ticks());
		stamp(&ctl->end, true, now_us());
		end_latency(w);
		if (!spoiled && opt.phases[pos] == PH_FILL && w->first == 0) {
			for (unsigned long i = 0; i < opt.corrupt; i++)
				w->mem[i * 7 * WORDS + (i * 131 + 5) % WORDS] ^=
					1ull << (i * 11 % 64);
			spoiled = true;
		}
		pthread_barrier_wait(&ctl->barrier);
	} while (next_phase(&pos, &round));
	return NULL;
}

static void on_sigbus(int sig, siginfo_t *si, void *uc)
{
	(void)sig;
	(void)uc;
	if (bus_armed)
		siglongjmp(bus_env, 1);
	out("@%s.error SIGBUS at %p\n", opt.name, si->si_addr);
	_exit(5);
}

/* A worker that dies (OOM killer, SIGBUS) would leave all others waiting. */
static void on_sigchld(int sig)
{
	int status;
	pid_t pid = waitpid(-1, &status, WNOHANG);

	(void)sig;
	if (pid <= 0 || atomic_load(&ctl->finished))
		return;
	out("@%s.error worker ended early: %s %d\n", opt.name,
	    WIFSIGNALED(status) ? "signal" : "status",
	    WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	for (unsigned int i = 0; i < nchildren; i++)
		if (children[i] != pid)
			kill(children[i], SIGKILL);
	_exit(3);
}

static void on_sigterm(int sig)
{
	(void)sig;
	atomic_store(&ctl->enough, true);
}

static uint64_t *map_pages(unsigned long pages)
{
	size_t size = pages * PAGE + HUGE_PAGE;
	int flags = MAP_PRIVATE | MAP_ANONYMOUS;
	int fd = -1;
	char *p;

	if (opt.shm) {
		flags = MAP_SHARED;
		fd = memfd_create("swaptest", 0);
		if (fd < 0 || ftruncate(fd, size))
			die("memfd");
	}
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, flags | MAP_NORESERVE,
		 fd, 0);
	if (p == MAP_FAILED)
		die("mmap");
	/* Without CONFIG_TRANSPARENT_HUGEPAGE there are none to refuse. */
	if (madvise(p, size, opt.thp ? MADV_HUGEPAGE : MADV_NOHUGEPAGE) &&
	    opt.thp)
		die("huge pages");
	p = (char *)(((uintptr_t)p + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1));
	return (uint64_t *)p;
}

/* The pages of all processes before this one */
static unsigned long pages_before(unsigned long proc)
{
	unsigned long all = opt.mib * (1024 * 1024 / PAGE);

	if (!opt.uneven)
		return all / opt.procs * proc;
	return all * (proc * (proc + 1) / 2) / (opt.procs * (opt.procs + 1) / 2);
}

static void __attribute__((noreturn)) process_main(unsigned long proc)
{
	unsigned long first = pages_before(proc);
	unsigned long pages = pages_before(proc + 1) - first;
	unsigned long slice = pages / opt.threads;
	struct worker *ws = lock_alloc(sizeof(*ws) * opt.threads);
	uint8_t *version = lock_alloc(pages);
	uint32_t *order = lock_alloc(pages * sizeof(*order));
	uint64_t *mem;
	struct sigaction sa = {
		.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_NODEFER,
	};
	pthread_attr_t attr;
	pthread_t tid;

	zipf_prepare(&zipf, slice, opt.theta / 100.);
	signal(SIGCHLD, SIG_DFL);
	sigaction(SIGBUS, &sa, NULL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);

	/*
	 * All that is there now and all that comes after the pages (stacks of
	 * threads, thus small ones): a handler of SIGBUS must not lose its own
	 * stack.
	 */
	if (mlockall(MCL_CURRENT))
		die("mlockall");
	mem = map_pages(pages);
	if (mlockall(MCL_FUTURE))
		die("mlockall");
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 128 * 1024);

	for (unsigned long t = 0; t < opt.threads; t++) {
		struct worker *w = &ws[t];

		w->pages = slice;
		w->mem = mem + t * slice * WORDS;
		w->first = first + t * slice;
		w->proc = proc;
		w->version = version + t * slice;
		w->order = order + t * slice;
		w->rng = mix(opt.seed * 1000 + proc * MAX_WORKERS + t);
		for (unsigned long i = 0; i < slice; i++)
			w->order[i] = i;
		if (t && pthread_create(&tid, &attr, worker_main, w))
			die("pthread_create");
	}
	worker_main(&ws[0]);
	/*
	 * All workers have passed the last barrier: nothing is left to do. The
	 * parent may see this exit before it has set ->finished itself.
	 */
	atomic_store(&ctl->finished, true);
	_exit(0);
}

static void clear_phase(void)
{
	atomic_store(&ctl->work, 0);
	atomic_store(&ctl->start, ULONG_MAX);
	atomic_store(&ctl->start_tick, ULONG_MAX);
	atomic_store(&ctl->end, 0);
	atomic_store(&ctl->end_tick, 0);
	atomic_store(&ctl->faults, 0);
	atomic_store(&ctl->slowest, 0);
	for (unsigned int i = 0; i < BINS; i++)
		atomic_store(&ctl->bins[i], 0);
}

/* The time that this share of the faults took no longer than, in ticks */
static double percentile(unsigned long faults, double share)
{
	unsigned long slower = faults * (1 - share), seen = 0;

	for (unsigned int i = BINS; i-- > 0;) {
		seen += ctl->bins[i];
		if (seen > slower)
			return bin_ticks(i);
	}
	return 0;
}

/* us: how long the phase took, to know how long a tick is */
static void print_latency(const char *ph, unsigned long us)
{
	static const struct {
		const char *name;
		double share;
	} lines[] = { { "p50", .5 }, { "p99", .99 }, { "p999", .999 } };
	unsigned long faults = ctl->faults, timed = 0;
	double ns = us * 1000. / (ctl->end_tick - ctl->start_tick);

	/* Faults that are no page of ours: of the stack, of a child */
	for (unsigned int i = 0; i < BINS; i++)
		timed += ctl->bins[i];
	if (faults > timed)
		faults = timed;
	out("@%s.%s.faults %lu\n", opt.name, ph, faults);
	if (!faults)
		return;
	for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++)
		out("@%s.%s.%s %.0f\n", opt.name, ph, lines[i].name,
		    percentile(faults, lines[i].share) * ns);
	out("@%s.%s.max %.0f\n", opt.name, ph, ctl->slowest * ns);
}

static void run(void)
{
	unsigned int pos = 0;
	unsigned long round = 0, work;
	uint64_t start = now_us(), t;
	const char *ph;

	do {
		ph = phase_names[opt.phases[pos]];
		clear_phase();
		if (opt.phases[pos] == PH_STOP) {
			out("@mark %s.stopped\n", opt.name);
			raise(SIGSTOP);
		}
		pthread_barrier_wait(&ctl->barrier);
		pthread_barrier_wait(&ctl->barrier);
		t = atomic_load(&ctl->end) - atomic_load(&ctl->start);
		work = atomic_load(&ctl->work);
		if (!work)
			continue;
		out("@%s.%s.pages %lu\n@%s.%s.us %lu\n@%s.%s.rate %lu\n",
		    opt.name, ph, work, opt.name, ph, (unsigned long)t,
		    opt.name, ph, (unsigned long)(work * 1000000 / (t ?: 1)));
		print_latency(ph, t);
		out("@%s.bad_so_far %lu\n", opt.name, atomic_load(&ctl->bad));
	} while (next_phase(&pos, &round));
	atomic_store(&ctl->finished, true);
	t = now_us() - start;

	out("@%s.us %lu\n", opt.name, (unsigned long)t);
	out("@%s.touched %lu\n", opt.name, atomic_load(&ctl->touched));
	out("@%s.sigbus %lu\n", opt.name, atomic_load(&ctl->sigbus));
	out("@%s.verified %lu\n", opt.name, atomic_load(&ctl->verified));
	out("@%s.bad %lu\n", opt.name, atomic_load(&ctl->bad));
}

static void __attribute__((noreturn)) usage(const char *why)
{
	fprintf(stderr, "swaptest: %s\n"
		"usage: swaptest [name=WORD] [mib=N] [seed=N] [random=%%] [zero=%%] [same=%%]\n"
		"       [part=%%] [touch=%%] [accesses=%%] [writes=%%] [theta=1/100] [sizes=even|uneven]\n"
		"       [procs=N] [threads=N] [repeat=N] [map=anon|shm] [thp=0|1]\n"
		"       [bus=fatal|count] [corrupt=N] [full=%%] [pace=N] [phases=fill,seq,rand,zipf,\n"
		"       mix,verify,rverify,rewrite,drop,fork,work,stop,...]\n", why);
	exit(2);
}

static void parse_phases(char *list)
{
	for (char *s = strtok(list, ","); s; s = strtok(NULL, ",")) {
		unsigned int i;

		for (i = 0; i <= PH_STOP; i++)
			if (!strcmp(s, phase_names[i]))
				break;
		if (i > PH_STOP || opt.nphases == MAX_PHASES)
			usage(s);
		opt.phases[opt.nphases++] = i;
		opt.works |= i == PH_WORK;
	}
}

static void parse(int argc, char **argv)
{
	char def[] = "fill,seq,rand,verify";
	static const struct {
		const char *key;
		unsigned long *value;
	} numbers[] = {
		{ "mib", &opt.mib }, { "seed", &opt.seed },
		{ "random", &opt.random }, { "zero", &opt.zero },
		{ "same", &opt.same }, { "part", &opt.part },
		{ "touch", &opt.touch }, { "accesses", &opt.accesses },
		{ "writes", &opt.writes }, { "theta", &opt.theta },
		{ "procs", &opt.procs }, { "threads", &opt.threads },
		{ "repeat", &opt.repeat }, { "corrupt", &opt.corrupt },
		{ "full", &opt.full }, { "pace", &opt.pace },
	};

	for (int a = 1; a < argc; a++) {
		char *v = strchr(argv[a], '='), *end;
		size_t i;

		if (!v || !v[1])
			usage(argv[a]);
		*v++ = 0;
		if (!strcmp(argv[a], "name")) {
			opt.name = v;
		} else if (!strcmp(argv[a], "map")) {
			opt.shm = !strcmp(v, "shm");
		} else if (!strcmp(argv[a], "sizes")) {
			opt.uneven = !strcmp(v, "uneven");
		} else if (!strcmp(argv[a], "thp")) {
			opt.thp = !strcmp(v, "1");
		} else if (!strcmp(argv[a], "bus")) {
			opt.count_sigbus = !strcmp(v, "count");
		} else if (!strcmp(argv[a], "phases")) {
			parse_phases(v);
		} else {
			for (i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
				if (!strcmp(argv[a], numbers[i].key))
					break;
			if (i == sizeof(numbers) / sizeof(*numbers))
				usage(argv[a]);
			*numbers[i].value = strtoul(v, &end, 0);
			if (*end)
				usage(v);
		}
	}
	if (!opt.nphases)
		parse_phases(def);
	if (opt.procs < 1 || opt.threads < 1 ||
	    opt.procs * opt.threads > MAX_WORKERS)
		usage("procs and threads: 1 to 64 workers in all");
	if (opt.mib < 1 || opt.mib * 256 < opt.procs * opt.threads)
		usage("mib: too small");
	if (opt.random > 100 || opt.part > 100 || opt.touch > 100 ||
	    opt.zero + opt.same > 100)
		usage("percentages: 0 to 100");

	for (unsigned int b = 0; b < BLOCKS; b++) {
		unsigned int n = WORDS * opt.random / 100;

		opt.run_words[b] = n * (b + 1) / BLOCKS - n * b / BLOCKS;
	}
}

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_handler = on_sigchld,
				.sa_flags = SA_RESTART | SA_NOCLDSTOP };
	pthread_barrierattr_t attr;

	parse(argc, argv);
	ctl = mmap(NULL, sizeof(*ctl), PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (ctl == MAP_FAILED || mlock(ctl, sizeof(*ctl)))
		die("control page");
	pthread_barrierattr_init(&attr);
	pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(&ctl->barrier, &attr,
			     opt.procs * opt.threads + 1);
	sigaction(SIGCHLD, &sa, NULL);
	sa.sa_handler = on_sigterm;
	if (opt.works)
		sigaction(SIGTERM, &sa, NULL);
	if (mlockall(MCL_CURRENT | MCL_FUTURE))
		die("mlockall");

	for (unsigned long i = 0; i < opt.procs; i++) {
		pid_t pid = fork();

		if (pid < 0)
			die("fork");
		if (pid == 0)
			process_main(i);
		children[nchildren++] = pid;
	}
	run();
	while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
		;
	return atomic_load(&ctl->bad) ? 1 : 0;
}
