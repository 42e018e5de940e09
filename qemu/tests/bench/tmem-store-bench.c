/*
 * Benchmark of virtio-tmem's page store, with no guest
 *
 * Times what the store does with a page against what the machine needs at
 * least for it: a copy, a scan, bare lz4. A run goes through segments of the
 * keys; in each segment the store and its peer take turns on the same pages,
 * so that what disturbs the machine disturbs both. Each figure comes as the
 * best (the fastest round of each segment) and as the median of the rounds.
 *
 * Rules: pages are cold when they are touched: between two uses of the same
 * source there are more bytes than the caches hold. A corpus is cycled through
 * to fill the store: that is fair because the store does not deduplicate.
 * Every page got is compared, outside of what is timed; one wrong byte fails.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <sys/mman.h>
#include <sys/utsname.h>
#include <zstd.h>
#include "tmem-store-bench.h"

#define KIB 1024
#define MIB (1024 * KIB)

/*
 * Space
 */

/* Bytes of this process that are in memory now. */
static uint64_t resident_bytes(void)
{
    g_autofree char *text = NULL;
    const char *at;

    if (g_file_get_contents("/proc/self/smaps_rollup", &text, NULL, NULL)) {
        at = strstr(text, "Rss:");
        return at ? g_ascii_strtoull(at + 4, NULL, 10) * KIB : 0;
    }
    if (g_file_get_contents("/proc/self/statm", &text, NULL, NULL)) {
        at = strchr(text, ' ');
        return at ? g_ascii_strtoull(at, NULL, 10) *
                    qemu_real_host_page_size() : 0;
    }
    return 0;
}

static void space_now(TmemStore *store, uint64_t rss_before, Space *space)
{
    uint64_t rss = resident_bytes();

    store_space(store, space);
    space->rss = rss > rss_before ? rss - rss_before : 0;
}

static void check_page(Bench *bench, TmemStore *store, uint32_t pool,
                       size_t key)
{
    poison_page(bench->dest);
    if (!store_get(store, pool, 0, key, bench->dest) ||
        memcmp(bench->dest, source_page(bench, key), TMEM_PAGE_SIZE) != 0) {
        bench->wrong++;
    }
    bench->verified++;
}

/*
 * Fill a store, delete 90 % of the pages in random order, let it tidy up.
 * @after_delete is before the tidying, @after_maintain after it.
 */
static void run_space(Bench *bench, double seconds, Space *after_fill,
                      Space *after_delete, Space *after_maintain)
{
    uint64_t rss = resident_bytes();
    TmemStore *store = store_new(store_limit(bench->pages));
    uint32_t pool = store_pool(store);
    size_t keep = bench->pages / 10;

    bench->replaced = 0;
    for (size_t key = 0; key < bench->pages; key++) {
        bench->worker[0].failed += !store_put(store, pool, 0, key,
                                              source_page(bench, key));
    }
    space_now(store, rss, after_fill);
    for (size_t i = keep; i < bench->pages; i++) {
        if (store_flush(store, pool, 0, bench->order[i],
                        bench->order[i]) != 1) {
            bench->worker[0].failed++;
        }
    }
    space_now(store, rss, after_delete);
    maintain(store, seconds);
    space_now(store, rss, after_maintain);
    for (size_t i = 0; i < keep; i++) {
        check_page(bench, store, pool, bench->order[i]);
    }
    tmem_store_free(store);
}

typedef enum Keys { KEYS_DENSE, KEYS_OBJECTS, KEYS_INDEXES, NUM_KEYS } Keys;

static const char *const keys_name[NUM_KEYS] = {
    "dense", "sparse_objects", "sparse_indexes"
};

typedef struct Metadata {
    uint64_t pages;
    double same_filled;     /* bytes for each page that has no bytes itself */
    double raw;             /* bytes beyond 4096 for each page kept raw */
} Metadata;

/*
 * Bytes that the store takes for @pages pages beyond what they hold. Neither
 * same-filled nor raw pages are rounded up, so all of it is metadata.
 */
static double metadata_bytes(Keys keys, uint64_t pages, const char *page,
                             uint64_t *state)
{
    /* Room for the worst index: each page with branches of its own. */
    TmemStore *store = store_new(store_limit(keys == KEYS_DENSE ? pages
                                                              : pages * 4));
    uint32_t pool = store_pool(store);
    Space space, empty;

    store_space(store, &empty);
    for (uint64_t i = 0; i < pages; i++) {
        uint64_t object = keys == KEYS_OBJECTS ? next_random(state) : 0;
        uint64_t index = keys == KEYS_INDEXES ? next_random(state) : i;

        if (!store_put(store, pool, object, index, page)) {
            break;
        }
    }
    store_space(store, &space);
    tmem_store_free(store);
    if (space.pages < pages) {
        g_printerr("a page of a %s key was refused\n", keys_name[keys]);
    }
    return (double)(space.used - space.payload) / space.pages;
}

static void run_metadata(uint64_t pages, Metadata *metadata)
{
    Corpus *zero = corpus_new("zero", 1);
    Corpus *random = corpus_new("random", 1);
    uint64_t state = 4;

    for (Keys keys = 0; keys < NUM_KEYS; keys++) {
        Metadata *m = &metadata[keys];

        m->pages = keys == KEYS_DENSE ? pages : pages / 4;
        m->same_filled = metadata_bytes(keys, m->pages, zero->pages, &state);
        m->raw = metadata_bytes(keys, m->pages, random->pages, &state);
    }
    corpus_free(zero);
    corpus_free(random);
}

/*
 * Report
 */

static char *first_match(const char *file, const char *key)
{
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;

    if (!g_file_get_contents(file, &text, NULL, NULL)) {
        return g_strdup("unknown");
    }
    lines = g_strsplit(text, "\n", -1);
    for (unsigned i = 0; lines[i]; i++) {
        const char *colon = strchr(lines[i], ':');

        if (!key) {
            return g_strdup(lines[i]);
        }
        if (colon && g_str_has_prefix(lines[i], key)) {
            return g_strstrip(g_strdup(colon + 1));
        }
    }
    return g_strdup("unknown");
}

static void json_string(GString *json, const char *name, const char *value)
{
    g_string_append_printf(json, "\"%s\": \"", name);
    for (; *value; value++) {
        if (*value == '"' || *value == '\\') {
            g_string_append_c(json, '\\');
        }
        g_string_append_c(json, g_ascii_isprint(*value) ? *value : '?');
    }
    g_string_append(json, "\", ");
}

static void json_machine(GString *json)
{
    g_autoptr(GDateTime) date = g_date_time_new_now_utc();
    g_autofree char *when = g_date_time_format(date, "%Y-%m-%dT%H:%M:%SZ");
    g_autofree char *cpu = first_match("/proc/cpuinfo", "model name");
    g_autofree char *load = first_match("/proc/loadavg", NULL);
    g_autofree char *thp =
        first_match("/sys/kernel/mm/transparent_hugepage/enabled", NULL);
    struct utsname name;

    uname(&name);
    g_string_append(json, " \"machine\": {");
    json_string(json, "date", when);
    json_string(json, "cpu", cpu);
    json_string(json, "kernel", name.release);
    json_string(json, "arch", name.machine);
    json_string(json, "compiler",
                strstr(__VERSION__, "lang") ? __VERSION__
                                            : "gcc " __VERSION__);
    json_string(json, "lz4", LZ4_versionString());
    json_string(json, "zstd", ZSTD_versionString());
    json_string(json, "loadavg", load);
    json_string(json, "transparent_hugepage", thp);
    g_string_append_printf(json, "\"cores\": %u},\n", g_get_num_processors());
}

static void json_space(GString *json, const char *name, const Space *space,
                       const char *end)
{
    g_string_append_printf(json,
                           "   \"%s\": {\"pages\": %" PRIu64
                           ", \"payload_bytes\": %" PRIu64
                           ", \"used_bytes\": %" PRIu64
                           ", \"rss_bytes\": %" PRIu64 "}%s\n",
                           name, space->pages, space->payload, space->used,
                           space->rss, end);
}

static void print_op(GString *json, const Bench *bench, Op op)
{
    double one = timing_best(bench, op, false);
    double more = timing_best(bench, op, true);
    const char *sep = "";

    g_string_append_printf(json, "%s\n    \"%s\": {", op ? "," : "",
                           op_info[op].name);
    g_print("  %-33s", op_info[op].what);
    for (unsigned many = 0; many < 2; many++) {
        double best = many ? more : one;
        double median = timing_median(bench, op, many);

        if (best > 0) {
            bool quiet = timing_is_quiet(bench, op, many);

            g_print("%9.0f%8.0f%c", best, median, quiet ? ' ' : '~');
            g_string_append_printf(json, "%s\"threads_%u\": "
                                   "{\"best\": %.1f, \"median\": %.1f, "
                                   "\"disturbed\": %s}", sep,
                                   many ? bench->max_threads : 1, best, median,
                                   quiet ? "false" : "true");
            sep = ", ";
        } else {
            g_print("%9s%8s ", "-", "-");
        }
    }
    if (one > 0 && more > 0) {
        g_print("%9.2f", one / more);
    }
    g_print("\n");
    g_string_append(json, "}");
}

static void print_space(const char *what, const Space *space)
{
    g_print("  %-33s%9.1f%9.1f%9.1f%9.1f", what, (double)space->payload / MIB,
            (double)space->used / MIB, (double)space->rss / MIB,
            space->pages ? (double)space->payload / space->pages : 0);
    if (space->payload && space->rss) {
        g_print("%9.3f%9.3f", (double)space->payload / space->used,
                (double)space->payload / space->rss);
    }
    g_print("\n");
}

/* Time one corpus and print it. Returns whether all pages were right. */
static bool run_corpus(Bench *bench, double maintain_seconds, GString *json)
{
    Space fill, deleted, maintained;
    uint64_t failed = 0;
    char threads[32];

    timing_start(bench);
    for (unsigned r = 0; r < bench->rounds; r++) {
        timing_round(bench, r);
    }
    timing_end(bench);

    run_space(bench, maintain_seconds, &fill, &deleted, &maintained);

    snprintf(threads, sizeof(threads), "%u threads", bench->max_threads);
    g_print("\n%s: %zu distinct pages; %s\n", bench->corpus->name,
            bench->corpus->num, bench->corpus->what);
    g_print("  %-33s%18s%18s\n", "", "1 thread", threads);
    g_print("  %-33s%9s%8s %9s%8s %9s\n", "ns per page", "best", "median",
            "best", "median", "speedup");
    g_string_append(json, "  {");
    json_string(json, "name", bench->corpus->name);
    json_string(json, "what", bench->corpus->what);
    g_string_append_printf(json, "\"distinct_pages\": %zu,\n",
                           bench->corpus->num);
    g_string_append(json, "   \"ns_per_page\": {");
    for (Op op = 0; op < NUM_OPS; op++) {
        print_op(json, bench, op);
    }
    timing_forget(bench);
    g_string_append(json, "},\n");

    g_print("  %-33s%9s%9s%9s%9s%9s%9s\n", "MiB", "payload", "used", "rss",
            "B/page", "pay/used", "pay/rss");
    print_space("filled", &fill);
    print_space("90 % deleted", &deleted);
    print_space("90 % deleted, then maintained", &maintained);
    json_space(json, "after_fill", &fill, ",");
    json_space(json, "after_delete", &deleted, ",");
    json_space(json, "after_maintain", &maintained, ",");

    for (unsigned i = 0; i < bench->max_threads; i++) {
        failed += bench->worker[i].failed;
        bench->worker[i].failed = 0;
    }
    g_print("  samples: %" PRIu64 ", undisturbed: %.0f %% "
            "(~: none of them)\n", bench->samples,
            100.0 * bench->quiet / bench->samples);
    g_print("  pages verified: %" PRIu64 ", wrong: %" PRIu64
            ", operations failed: %" PRIu64 "\n", bench->verified,
            bench->wrong, failed);
    g_string_append_printf(json, "   \"samples\": %" PRIu64
                           ", \"undisturbed\": %" PRIu64 ",\n",
                           bench->samples, bench->quiet);
    g_string_append_printf(json, "   \"pages_verified\": %" PRIu64
                           ", \"pages_wrong\": %" PRIu64
                           ", \"operations_failed\": %" PRIu64 "}",
                           bench->verified, bench->wrong, failed);
    return bench->wrong == 0 && failed == 0;
}

static void report_metadata(const Metadata *metadata, GString *json)
{
    g_print("\n%-35s%9s%12s%9s\n", "metadata, bytes per page", "pages",
            "same-filled", "raw");
    g_string_append(json, " \"metadata_bytes_per_page\": {\n");
    for (Keys keys = 0; keys < NUM_KEYS; keys++) {
        const Metadata *m = &metadata[keys];

        g_print("  %-33s%9" PRIu64 "%12.1f%9.1f\n", keys_name[keys], m->pages,
                m->same_filled, m->raw);
        g_string_append_printf(json, "  \"%s\": {\"pages\": %" PRIu64
                               ", \"same_filled\": %.2f, \"raw\": %.2f}%s\n",
                               keys_name[keys], m->pages, m->same_filled,
                               m->raw, keys + 1 < NUM_KEYS ? "," : "");
    }
    g_string_append(json, " }\n");
}

static void bench_init(Bench *bench)
{
    uint64_t state = 5;

    bench->segments = bench->pages / SEGMENT;
    bench->packed = memory_new(bench->pages * TMEM_PAGE_SIZE);
    /* The store's memory is in small pages too: its blocks come and go. */
    madvise(bench->packed, bench->pages * TMEM_PAGE_SIZE, MADV_NOHUGEPAGE);
    bench->packed_at = g_new0(Packed, bench->pages);
    bench->dest = memory_new(SEGMENT * TMEM_PAGE_SIZE);
    memset(bench->dest, 0, SEGMENT * TMEM_PAGE_SIZE);

    bench->order = g_new(uint32_t, bench->pages);
    for (size_t i = 0; i < bench->pages; i++) {
        size_t j = next_random(&state) % (i + 1);

        bench->order[i] = bench->order[j];
        bench->order[j] = i;
    }
}

static void bench_free(Bench *bench)
{
    memory_free(bench->packed, bench->pages * TMEM_PAGE_SIZE);
    memory_free(bench->dest, SEGMENT * TMEM_PAGE_SIZE);
    g_free(bench->packed_at);
    g_free(bench->order);
    g_free(bench);
}

int main(int argc, char **argv)
{
    int pages = 262144;
    int rounds = 4;
    int threads = 2;
    int distinct = 16384;
    gboolean quick = false;
    g_auto(GStrv) wanted = NULL;
    g_autofree char *file = NULL;
    const GOptionEntry options[] = {
        { "pages", 0, 0, G_OPTION_ARG_INT, &pages,
          "pages to store (262144: 1 GiB)", "N" },
        { "rounds", 0, 0, G_OPTION_ARG_INT, &rounds,
          "how often to repeat (4)", "N" },
        { "threads", 0, 0, G_OPTION_ARG_INT, &threads,
          "most threads (2); one thread is always timed, too", "N" },
        { "distinct", 0, 0, G_OPTION_ARG_INT, &distinct,
          "distinct pages of each corpus (16384: 64 MiB)", "N" },
        { "corpus", 0, 0, G_OPTION_ARG_STRING_ARRAY, &wanted,
          "only this one: zero, text, code, heap, random, mix", "NAME" },
        { "json", 0, 0, G_OPTION_ARG_FILENAME, &file,
          "write all figures to FILE", "FILE" },
        { "quick", 0, 0, G_OPTION_ARG_NONE, &quick,
          "a smoke test: 32 MiB, 2 rounds", NULL },
        { NULL }
    };
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    g_autoptr(GString) json = g_string_new("{\n");
    const char *const *names = corpus_names;
    Metadata metadata[NUM_KEYS];
    GError *err = NULL;
    const char *sep = "";
    bool good = true;
    Bench *bench;

    g_option_context_add_main_entries(context, options, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &err)) {
        g_printerr("%s\n", err->message);
        return 2;
    }
    if (quick) {
        pages = 8192;
        rounds = 2;
        distinct = 2048;
    }
    if (pages < 2 * SEGMENT || pages % SEGMENT || rounds < 1 || threads < 1 ||
        threads > MAX_THREADS || distinct < 1 || argc > 1) {
        g_printerr("pages: a multiple of %d, %d at least; rounds, distinct: "
                   "1 at least; threads: 1 to %d; nothing else\n", SEGMENT,
                   2 * SEGMENT, MAX_THREADS);
        return 2;
    }

    bench = g_new0(Bench, 1);
    bench->pages = pages;
    bench->rounds = rounds;
    bench->max_threads = threads;
    bench_init(bench);
    g_string_append(json, " \"format\": 1,\n");
    json_machine(json);
    g_string_append_printf(json, " \"settings\": {\"pages\": %d, "
                           "\"page_bytes\": %d, \"rounds\": %d, "
                           "\"threads\": %d, \"limit_bytes\": %" PRIu64
                           ", \"quick\": %s},\n \"corpora\": [\n", pages,
                           TMEM_PAGE_SIZE, rounds, threads, store_limit(pages),
                           quick ? "true" : "false");
    if (wanted) {
        names = (const char *const *)wanted;
    }
    for (; *names; names++) {
        Corpus *corpus = corpus_new(*names, distinct);

        if (!corpus) {
            g_printerr("there is no corpus %s\n", *names);
            return 2;
        }
        if (corpus->num) {
            bench->corpus = corpus;
            g_string_append(json, sep);
            sep = ",\n";
            good &= run_corpus(bench, quick ? 0.1 : 1.0, json);
        } else {
            g_print("\n%s: this machine has no %s\n", *names, corpus->what);
        }
        corpus_free(corpus);
    }
    g_string_append(json, "\n ],\n");

    run_metadata(pages, metadata);
    report_metadata(metadata, json);
    g_string_append(json, "}\n");
    bench_free(bench);

    if (file && !g_file_set_contents(file, json->str, json->len, &err)) {
        g_printerr("%s\n", err->message);
        return 1;
    }
    return good ? 0 : 1;
}
