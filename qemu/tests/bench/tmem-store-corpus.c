/*
 * Pages for the benchmark of virtio-tmem's page store
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <sys/mman.h>
#include <sys/stat.h>
#include <glib/gstdio.h>
#include "tmem-store-corpus.h"

/* Most that one file gives, so that no file is most of a corpus. */
#define MAX_OF_FILE (1024 * 1024)

#define PAGE_WORDS (TMEM_PAGE_SIZE / sizeof(uint64_t))

const char *const corpus_names[] = {
    "zero", "text", "code", "heap", "random", "mix", NULL
};

void *memory_new(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (memory == MAP_FAILED) {
        g_printerr("no address space for %zu bytes: %s\n", size,
                   g_strerror(errno));
        exit(1);
    }
    madvise(memory, size, MADV_HUGEPAGE);
    return memory;
}

void memory_free(void *memory, size_t size)
{
    munmap(memory, size);
}

/* Bytes of files, one after the other, until there are enough. */
typedef struct Reader {
    char *to;
    size_t left;
    bool elf;               /* ELF files, else text files */
} Reader;

static bool reader_wants(const Reader *reader, const char *start, size_t len)
{
    if (reader->elf) {
        return len >= 4 && memcmp(start, "\177ELF", 4) == 0;
    }
    return len > 0 && !memchr(start, 0, MIN(len, TMEM_PAGE_SIZE));
}

static void read_file(Reader *reader, const char *path)
{
    g_autofree char *start = g_malloc(MAX_OF_FILE);
    FILE *file = g_fopen(path, "rb");
    size_t len;

    if (!file) {
        return;
    }
    len = fread(start, 1, MAX_OF_FILE, file);
    fclose(file);

    if (reader_wants(reader, start, len)) {
        if (reader->elf) {
            /* Only whole pages: these are what a guest maps. */
            len -= len % TMEM_PAGE_SIZE;
        }
        len = MIN(len, reader->left);
        memcpy(reader->to, start, len);
        reader->to += len;
        reader->left -= len;
    }
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Read the files below @path in the order of their names. */
static void read_tree(Reader *reader, const char *path)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    GDir *dir = g_dir_open(path, 0, NULL);
    const char *name;

    if (!dir) {
        return;
    }
    while ((name = g_dir_read_name(dir))) {
        g_ptr_array_add(names, g_strdup(name));
    }
    g_dir_close(dir);
    g_ptr_array_sort(names, compare_names);

    for (unsigned i = 0; i < names->len && reader->left; i++) {
        g_autofree char *below = g_build_filename(path, names->pdata[i], NULL);
        GStatBuf st;

        if (g_lstat(below, &st) < 0) {
            continue;
        }
        if (S_ISDIR(st.st_mode)) {
            read_tree(reader, below);
        } else if (S_ISREG(st.st_mode)) {
            read_file(reader, below);
        }
    }
}

/* Fill @pages from files below @roots. Returns how many pages there are. */
static size_t fill_from_files(char *pages, size_t num, bool elf,
                              const char *const *roots)
{
    size_t size = num * TMEM_PAGE_SIZE;
    Reader reader = { .to = pages, .elf = elf };

    /* Each root gives its share first, later ones also what others lack. */
    for (unsigned i = 0, n = g_strv_length((char **)roots); i < n; i++) {
        reader.left = size * (i + 1) / n - (reader.to - pages);
        read_tree(&reader, roots[i]);
    }
    return (reader.to - pages) / TMEM_PAGE_SIZE;
}

static size_t fill_text(char *pages, size_t num)
{
    static const char *const roots[] = {
        "/usr/include", "/usr/share/perl", "/usr/share/doc", NULL
    };

    return fill_from_files(pages, num, false, roots);
}

static size_t fill_code(char *pages, size_t num)
{
    static const char *const roots[] = { "/usr/bin", "/usr/lib", NULL };

    return fill_from_files(pages, num, true, roots);
}

static size_t fill_zero(char *pages, size_t num)
{
    /* Written, or all of them would be the kernel's one page of zeroes. */
    memset(pages, 0, num * TMEM_PAGE_SIZE);
    return num;
}

static size_t fill_random(char *pages, size_t num)
{
    uint64_t *words = (uint64_t *)pages;
    uint64_t state = 1;

    for (size_t i = 0; i < num * PAGE_WORDS; i++) {
        words[i] = next_random(&state);
    }
    return num;
}

/* An address in one of a process's few mappings, mostly near the last one. */
static uint64_t heap_pointer(uint64_t *state, uint64_t *last)
{
    uint64_t r = next_random(state);

    if (r % 8 == 0) {
        return 0;
    }
    if (r % 8 < 5) {
        return *last += (r >> 8) % 64 * 16;
    }
    *last = r % 2 ? UINT64_C(0x000055d0c3a00000) + ((r >> 8) % (1 << 21) << 4)
                  : UINT64_C(0x00007f3c28000000) + ((r >> 8) % (1 << 22) << 4);
    return *last;
}

static void heap_string(char *to, size_t size, uint64_t *state)
{
    static const char *const words[] = {
        "name", "value", "/usr/lib/", "error", "id", "session", "http://",
        "content-type", "user", "0x7f", "status", "index", "time", "true",
        "path", "key", "_", "-", ": ", "node", "host", "utf-8", "42", "list",
    };
    size_t at = 0;

    memset(to, 0, size);
    while (at + 16 < size) {
        uint64_t r = next_random(state);
        const char *word = words[r % G_N_ELEMENTS(words)];

        g_strlcpy(to + at, word, size - at);
        at += strlen(word);
        if (r >> 8 & 1) {
            to[at++] = 'a' + (r >> 16) % 26;
            to[at++] = '0' + (r >> 24) % 10;
        }
    }
}

/*
 * One allocation of @num words: a header as malloc() has it, then a structure,
 * a table of pointers, small integers, a string, zeroes, or noise.
 */
static void heap_object(uint64_t *words, unsigned num, uint64_t *state,
                        uint64_t *last)
{
    unsigned kind = next_random(state) % 100;
    uint64_t r;

    words[0] = num * sizeof(*words) | 1;
    for (unsigned i = 1; i < num; i++) {
        r = next_random(state);
        if (kind < 40) {
            words[i] = i == 1 ? UINT64_C(0x00007f3c31e04a10) + r % 32 * 0x78
                     : i % 4 == 2 ? heap_pointer(state, last)
                     : i % 4 == 3 ? r % 100 | (r >> 8) % 4 << 32 : 0;
        } else if (kind < 58) {
            words[i] = heap_pointer(state, last);
        } else if (kind < 70) {
            words[i] = r % 1000 | (r >> 16) % 1000 << 32;
        } else if (kind < 80) {
            words[i] = 0;
        } else if (kind < 84) {
            words[i] = r;
        }
    }
    if (kind >= 84) {
        heap_string((char *)(words + 1), (num - 1) * sizeof(*words), state);
    }
}

static size_t fill_heap(char *pages, size_t num)
{
    static const uint8_t sizes[] = { 4, 4, 6, 6, 8, 8, 10, 12, 16, 24, 32, 64 };
    uint64_t *words = (uint64_t *)pages;
    size_t left = num * PAGE_WORDS;
    uint64_t last = UINT64_C(0x00007f3c28000000);
    uint64_t state = 2;

    while (left) {
        unsigned size = sizes[next_random(&state) % G_N_ELEMENTS(sizes)];

        size = MIN(size, left);
        heap_object(words, size, &state, &last);
        words += size;
        left -= size;
    }
    return num;
}

/*
 * 10 % same-filled (half of them zero), 25 % text, 25 % code, 30 % heap, 10 %
 * random, in random order: the kind of a page says nothing about the next.
 */
static size_t fill_mix(char *pages, size_t num)
{
    static const char *const kinds[] = { "text", "code", "heap", "random" };
    static const unsigned until[] = { 35, 60, 90, 100 };
    Corpus *from[G_N_ELEMENTS(kinds)];
    size_t used[G_N_ELEMENTS(kinds)] = { 0 };
    uint64_t state = 3;

    for (unsigned k = 0; k < G_N_ELEMENTS(kinds); k++) {
        from[k] = corpus_new(kinds[k], num * 3 / 10 + 1);
        if (!from[k]->num) {
            num = 0;
        }
    }
    for (size_t i = 0; i < num; i++) {
        uint64_t r = next_random(&state);
        char *page = pages + i * TMEM_PAGE_SIZE;
        unsigned k = 0;

        if (r % 100 < 10) {
            memset(page, r % 100 < 5 ? 0 : (int)(r >> 8 & 0xff),
                   TMEM_PAGE_SIZE);
            continue;
        }
        while (r % 100 >= until[k]) {
            k++;
        }
        memcpy(page,
               from[k]->pages + used[k]++ % from[k]->num * TMEM_PAGE_SIZE,
               TMEM_PAGE_SIZE);
    }
    for (unsigned k = 0; k < G_N_ELEMENTS(kinds); k++) {
        corpus_free(from[k]);
    }
    return num;
}

static const struct {
    size_t (*fill)(char *pages, size_t num);
    const char *what;
} makers[] = {
    { fill_zero, "pages of zeroes" },
    { fill_text, "text files below /usr/include, /usr/share" },
    { fill_code, "ELF files below /usr/bin, /usr/lib" },
    { fill_heap, "made up: structures, pointers, integers, strings, zeroes" },
    { fill_random, "random bytes" },
    { fill_mix, "10 % same-filled, 25 % text, 25 % code, 30 % heap, "
                "10 % random" },
};

Corpus *corpus_new(const char *name, size_t num)
{
    for (unsigned i = 0; corpus_names[i]; i++) {
        if (g_str_equal(name, corpus_names[i])) {
            Corpus *corpus = g_new0(Corpus, 1);

            corpus->name = corpus_names[i];
            corpus->what = makers[i].what;
            corpus->pages = memory_new(num * TMEM_PAGE_SIZE);
            corpus->num = makers[i].fill(corpus->pages, num);
            if (corpus->num < num) {
                /* Give back what was not filled. */
                memory_free(corpus->pages + corpus->num * TMEM_PAGE_SIZE,
                            (num - corpus->num) * TMEM_PAGE_SIZE);
            }
            return corpus;
        }
    }
    return NULL;
}

void corpus_free(Corpus *corpus)
{
    if (corpus) {
        if (corpus->num) {
            memory_free(corpus->pages, corpus->num * TMEM_PAGE_SIZE);
        }
        g_free(corpus);
    }
}
