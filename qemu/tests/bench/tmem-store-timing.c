/*
 * Timing of the operations of virtio-tmem's page store
 *
 * A round goes through segments of the keys; in each segment the store and
 * its peer take turns on the same kind of pages, so that what disturbs the
 * machine disturbs both.
 *
 * Rules: pages are cold when they are touched: between two uses of the same
 * source there are more bytes than the caches hold. Every page got is
 * compared, outside of what is timed.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <sys/mman.h>
#include <sys/resource.h>
#include "tmem-store-bench.h"

/* Beyond this, a page is kept as it is; the store draws the same line. */
#define PACK_MAX 3840

/*
 * Keys are replaced by a page that many later in the corpus: by the same one,
 * each page would fit where the old one was.
 */
#define SHIFT 7919

const OpInfo op_info[NUM_OPS] = {
    [OP_COPY] = { "copy", "memcpy of a page" },
    [OP_SCAN] = { "scan", "is it same-filled?" },
    [OP_PACK_NEW] = { "lz4_compress_new", "lz4 compress + copy, new memory" },
    [OP_PUT_NEW] = { "put_new", "put, new key" },
    [OP_PACK] = { "lz4_compress", "lz4 compress + copy" },
    [OP_PUT] = { "put", "put, replacing" },
    [OP_UNPACK] = { "lz4_decompress", "lz4 decompress" },
    [OP_GET] = { "get", "get" },
    [OP_UNPACK_RANDOM] = { "lz4_decompress_random",
                           "lz4 decompress, random order" },
    [OP_GET_RANDOM] = { "get_random", "get, random order" },
    [OP_FLUSH_RANGE] = { "flush_range", "flush, 256 at once" },
    [OP_FLUSH_ONE] = { "flush_one", "flush, one by one" },
    [OP_DESTROY] = { "destroy", "pool destroy" },
};

static double now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

const char *source_page(const Bench *bench, size_t key)
{
    size_t num = key + (key < bench->replaced ? SHIFT : 0);

    return bench->corpus->pages + num % bench->corpus->num * TMEM_PAGE_SIZE;
}

static char *dest_page(const Bench *bench, size_t position)
{
    return bench->dest + position % SEGMENT * TMEM_PAGE_SIZE;
}

static char *packed_cluster(const Bench *bench, size_t key)
{
    return bench->packed + key / CLUSTER * CLUSTER * TMEM_PAGE_SIZE;
}

/* A page is same-filled when it equals itself one word on. */
static bool page_is_same_filled(const char *page)
{
    return memcmp(page, page + sizeof(uint64_t),
                  TMEM_PAGE_SIZE - sizeof(uint64_t)) == 0;
}

/* Compress a cluster into its packed memory: what a good user of lz4 does. */
static void pack_cluster(Worker *worker, size_t first)
{
    Bench *bench = worker->bench;
    char *to = packed_cluster(bench, first);
    uint32_t offset = 0;

    for (size_t key = first; key < first + CLUSTER; key++) {
        const char *page = source_page(bench, key);
        int len = LZ4_compress_fast_extState(&worker->lz4, page, worker->out,
                                             TMEM_PAGE_SIZE,
                                             sizeof(worker->out), 1);

        if (len > 0 && len <= PACK_MAX) {
            memcpy(to + offset, worker->out, len);
        } else {
            len = TMEM_PAGE_SIZE;
            memcpy(to + offset, page, len);
        }
        bench->packed_at[key] = (Packed) { offset, len };
        offset += len;
    }
}

static void unpack_page(Worker *worker, size_t key, char *page)
{
    const Packed *at = &worker->bench->packed_at[key];
    const char *from = packed_cluster(worker->bench, key) + at->offset;

    if (at->len == TMEM_PAGE_SIZE) {
        memcpy(page, from, TMEM_PAGE_SIZE);
    } else if (LZ4_decompress_safe(from, page, at->len, TMEM_PAGE_SIZE) !=
               TMEM_PAGE_SIZE) {
        worker->failed++;
    }
}

static void flush_cluster(Worker *worker, size_t first, size_t step)
{
    Bench *bench = worker->bench;

    for (size_t key = first; key < first + CLUSTER; key += step) {
        if (store_flush(bench->store, bench->pool, 0, key,
                        key + step - 1) != step) {
            worker->failed++;
        }
    }
}

/* Do the operation for the positions of one cluster. */
static void run_cluster(Worker *worker, size_t first)
{
    Bench *bench = worker->bench;
    TmemStore *store = bench->store;
    uint32_t pool = bench->pool;
    size_t end = first + CLUSTER;

    switch (bench->op) {
    case OP_COPY:
        for (size_t i = first; i < end; i++) {
            memcpy(dest_page(bench, i), source_page(bench, i), TMEM_PAGE_SIZE);
        }
        break;
    case OP_SCAN:
        for (size_t i = first; i < end; i++) {
            *dest_page(bench, i) = page_is_same_filled(source_page(bench, i));
        }
        break;
    case OP_PACK_NEW:
    case OP_PACK:
        pack_cluster(worker, first);
        break;
    case OP_PUT_NEW:
    case OP_PUT:
        for (size_t i = first; i < end; i++) {
            worker->failed += !store_put(store, pool, 0, i,
                                         source_page(bench, i));
        }
        break;
    case OP_UNPACK:
        for (size_t i = first; i < end; i++) {
            unpack_page(worker, i, dest_page(bench, i));
        }
        break;
    case OP_UNPACK_RANDOM:
        for (size_t i = first; i < end; i++) {
            unpack_page(worker, bench->order[i], dest_page(bench, i));
        }
        break;
    case OP_GET:
        for (size_t i = first; i < end; i++) {
            worker->failed += !store_get(store, pool, 0, i,
                                         dest_page(bench, i));
        }
        break;
    case OP_GET_RANDOM:
        for (size_t i = first; i < end; i++) {
            worker->failed += !store_get(store, pool, 0, bench->order[i],
                                         dest_page(bench, i));
        }
        break;
    case OP_FLUSH_RANGE:
        flush_cluster(worker, first, CLUSTER);
        break;
    case OP_FLUSH_ONE:
        flush_cluster(worker, first, 1);
        break;
    default:
        g_assert_not_reached();
    }
}

static void wait_for(const int *arrived, int num)
{
    for (unsigned i = 0; g_atomic_int_get(arrived) < num; i++) {
        if (i > 1000000) {
            g_thread_yield();
        }
    }
}

/* How often this thread lost its processor to others: sleep does not count. */
static long preemptions(void)
{
    struct rusage usage;

    return getrusage(RUSAGE_THREAD, &usage) == 0 ? usage.ru_nivcsw : 0;
}

static void run_share(Worker *worker)
{
    Bench *bench = worker->bench;
    double start;

    worker->preempted = preemptions();
    g_atomic_int_inc(&bench->ready);
    wait_for(&bench->ready, bench->threads);
    start = now_ns();
    for (unsigned c = worker->num; c < SEGMENT / CLUSTER;
         c += bench->threads) {
        run_cluster(worker, bench->first + c * CLUSTER);
    }
    worker->ns = now_ns() - start;
    worker->preempted = preemptions() - worker->preempted;
    /* Only the main thread waits for this: then it may set up the next. */
    g_atomic_int_inc(&bench->done);
}

/* Give each thread a processor of its own, if there are as many. */
static void worker_init(Worker *worker)
{
    const cpu_set_t *allowed = &worker->bench->allowed;
    cpu_set_t own;
    unsigned num = 0;

    if (CPU_COUNT(allowed) < worker->bench->max_threads) {
        return;
    }
    for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, allowed) && num++ == worker->num) {
            CPU_ZERO(&own);
            CPU_SET(cpu, &own);
            sched_setaffinity(0, sizeof(own), &own);
        }
    }
}

static void *worker_main(void *opaque)
{
    Worker *worker = opaque;
    Bench *bench = worker->bench;
    unsigned seen = 1;

    worker_init(worker);
    for (;;) {
        g_mutex_lock(&bench->lock);
        while (bench->job == seen) {
            g_cond_wait(&bench->cond, &bench->lock);
        }
        seen = bench->job;
        g_mutex_unlock(&bench->lock);
        if (!seen) {
            return NULL;
        }
        run_share(worker);
    }
}

static void workers_start(Bench *bench)
{
    g_mutex_init(&bench->lock);
    g_cond_init(&bench->cond);
    bench->job = 1;
    CPU_ZERO(&bench->allowed);
    sched_getaffinity(0, sizeof(bench->allowed), &bench->allowed);
    for (unsigned i = 0; i < bench->max_threads; i++) {
        Worker *worker = &bench->worker[i];

        worker->bench = bench;
        worker->num = i;
        if (i) {
            worker->thread = g_thread_new("bench", worker_main, worker);
        }
    }
    worker_init(&bench->worker[0]);
}

static void workers_go(Bench *bench, bool on)
{
    g_mutex_lock(&bench->lock);
    bench->job = on ? bench->job + 1 : 0;
    g_cond_broadcast(&bench->cond);
    g_mutex_unlock(&bench->lock);
}

static void workers_stop(Bench *bench)
{
    workers_go(bench, false);
    sched_setaffinity(0, sizeof(bench->allowed), &bench->allowed);
    for (unsigned i = 1; i < bench->max_threads; i++) {
        g_thread_join(bench->worker[i].thread);
    }
    g_cond_clear(&bench->cond);
    g_mutex_clear(&bench->lock);
}

static unsigned series_num(Op op, bool many, bool quiet)
{
    return (op * 2 + many) * 2 + quiet;
}

/* Keep a sample: @ns for each page of @segment. */
static void record(Bench *bench, Op op, unsigned threads, unsigned segment,
                   double ns, bool quiet)
{
    Series *series = &bench->series[series_num(op, threads > 1, quiet)];
    double *best = &series->best[segment];

    if (*best == 0 || ns < *best) {
        *best = ns;
    }
    series->sum += ns;
    series->num++;
}

static bool op_reads_pages(Op op)
{
    return op >= OP_UNPACK && op <= OP_GET_RANDOM;
}

void poison_page(char *page)
{
    memset(page, 0xa5, 64);
    memset(page + TMEM_PAGE_SIZE - 64, 0xa5, 64);
}

static void verify_dest(Bench *bench)
{
    bool random = bench->op == OP_UNPACK_RANDOM || bench->op == OP_GET_RANDOM;

    for (size_t i = bench->first; i < bench->first + SEGMENT; i++) {
        size_t key = random ? bench->order[i] : i;

        bench->wrong += memcmp(dest_page(bench, i), source_page(bench, key),
                               TMEM_PAGE_SIZE) != 0;
        bench->verified++;
    }
}

static void run_segment(Bench *bench, Op op, unsigned segment,
                        unsigned threads)
{
    bool quiet = true;
    double ns = 0;

    bench->op = op;
    bench->first = (size_t)segment * SEGMENT;
    bench->threads = threads;
    bench->ready = 0;
    bench->done = 0;

    if (op_reads_pages(op)) {
        for (size_t i = 0; i < SEGMENT; i++) {
            poison_page(dest_page(bench, i));
        }
    }
    if (threads > 1) {
        workers_go(bench, true);
    }
    run_share(&bench->worker[0]);
    wait_for(&bench->done, threads);
    if (op_reads_pages(op)) {
        verify_dest(bench);
    }

    /*
     * Threads get unlike pages, so one is done before the other: the mean is
     * what the segment had taken if each had got a fair half.
     */
    for (unsigned i = 0; i < threads; i++) {
        const Worker *worker = &bench->worker[i];

        ns += worker->ns / threads;
        quiet &= worker->preempted == 0;
    }
    /*
     * A thread that lost its processor did not run side by side with the
     * others: this tells nothing about what they do to each other. Waiting for
     * a lock does count.
     */
    bench->samples++;
    bench->quiet += quiet;
    record(bench, op, threads, segment, ns / SEGMENT, quiet);
}

static unsigned threads_of(const Bench *bench, unsigned turn)
{
    return turn % 2 ? bench->max_threads : 1;
}

/*
 * Run some operations over the first segments, by turns. They are some apart,
 * so that none finds its pages in the cache because of another; each
 * segment is done by one thread in one round and by more in the next.
 */
static void run_phase(Bench *bench, const Op *ops, unsigned num,
                      unsigned segments, unsigned round)
{
    for (unsigned s = 0; s < segments; s++) {
        for (unsigned i = 0; i < num; i++) {
            unsigned k = (i + s) % num;
            unsigned segment = (s + k * 3) % segments;

            run_segment(bench, ops[k], segment,
                        threads_of(bench, round + segment));
        }
    }
}

static void run_flushes(Bench *bench, unsigned round)
{
    size_t left = bench->pages;
    double start;

    for (unsigned s = 0; s < bench->segments / 2; s++) {
        run_segment(bench, (round + s) / 2 % 2 ? OP_FLUSH_RANGE : OP_FLUSH_ONE,
                    s, threads_of(bench, round + s));
        left -= SEGMENT;
    }
    start = now_ns();
    if (store_destroy_pool(bench->store, bench->pool) != left) {
        bench->worker[0].failed++;
    }
    record(bench, OP_DESTROY, 1, 0, (now_ns() - start) / left, true);
}

void timing_round(Bench *bench, unsigned round)
{
    static const Op fill[] = { OP_COPY, OP_SCAN, OP_PACK_NEW, OP_PUT_NEW };
    static const Op replace[] = { OP_PACK, OP_PUT };
    static const Op get[] = { OP_UNPACK, OP_GET };
    static const Op get_random[] = { OP_UNPACK_RANDOM, OP_GET_RANDOM };

    madvise(bench->packed, bench->pages * TMEM_PAGE_SIZE, MADV_DONTNEED);
    bench->pool = store_pool(bench->store);
    bench->replaced = 0;
    run_phase(bench, fill, G_N_ELEMENTS(fill), bench->segments, round);

    /* A quarter of the keys tells enough. */
    bench->replaced = (bench->segments + 3) / 4 * SEGMENT;
    run_phase(bench, replace, G_N_ELEMENTS(replace),
              bench->replaced / SEGMENT, round);
    run_phase(bench, get, G_N_ELEMENTS(get), bench->segments, round);
    run_phase(bench, get_random, G_N_ELEMENTS(get_random), bench->segments,
              round);
    run_flushes(bench, round);

    for (unsigned i = 0; i < NUM_SERIES; i++) {
        Series *series = &bench->series[i];

        if (series->num) {
            series->round[round] = series->sum / series->num;
        }
        series->sum = 0;
        series->num = 0;
    }
}

static double series_best(const Bench *bench, const Series *series)
{
    double sum = 0;
    unsigned num = 0;

    for (unsigned s = 0; s < bench->segments; s++) {
        sum += series->best[s];
        num += series->best[s] > 0;
    }
    return num ? sum / num : 0;
}

bool timing_is_quiet(const Bench *bench, Op op, bool many)
{
    unsigned num = series_num(op, many, true);

    return series_best(bench, &bench->series[num]) > 0;
}

double timing_best(const Bench *bench, Op op, bool many)
{
    bool quiet = timing_is_quiet(bench, op, many);

    return series_best(bench, &bench->series[series_num(op, many, quiet)]);
}

static int compare_doubles(const void *a, const void *b)
{
    double left = *(const double *)a;
    double right = *(const double *)b;

    return left < right ? -1 : left > right;
}

double timing_median(const Bench *bench, Op op, bool many)
{
    bool quiet = timing_is_quiet(bench, op, many);
    const Series *series = &bench->series[series_num(op, many, quiet)];
    g_autofree double *sorted = g_new(double, bench->rounds);
    unsigned num = 0;

    for (unsigned r = 0; r < bench->rounds; r++) {
        if (series->round[r] > 0) {
            sorted[num++] = series->round[r];
        }
    }
    qsort(sorted, num, sizeof(*sorted), compare_doubles);
    return num ? (sorted[(num - 1) / 2] + sorted[num / 2]) / 2 : 0;
}

void timing_start(Bench *bench)
{
    for (unsigned i = 0; i < NUM_SERIES; i++) {
        Series *series = &bench->series[i];

        series->best = g_new0(double, bench->segments);
        series->round = g_new0(double, bench->rounds);
    }
    bench->verified = 0;
    bench->wrong = 0;
    bench->samples = 0;
    bench->quiet = 0;
    bench->store = store_new(store_limit(bench->pages));
    workers_start(bench);
}

void timing_end(Bench *bench)
{
    workers_stop(bench);
    tmem_store_free(bench->store);
    madvise(bench->packed, bench->pages * TMEM_PAGE_SIZE, MADV_DONTNEED);
}

void timing_forget(Bench *bench)
{
    for (unsigned i = 0; i < NUM_SERIES; i++) {
        Series *series = &bench->series[i];

        g_free(series->best);
        g_free(series->round);
    }
}
