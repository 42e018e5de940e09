/*
 * Fuzzer of virtio-tmem's requests, for libFuzzer
 *
 * The device without a machine: virtio-tmem-request.c and the page store. The
 * input is a program: two bytes of configuration, then requests, each some bytes
 * that say what is in it, how it is cut into descriptors, and where it lies. Any
 * bytes are a program. What a request must be answered with is worked out here a
 * second time, from the spec, with a table of pages.
 *
 * The store stays from input to input, empty in between: with pages that are few
 * and quickly made this is some thousand inputs a second.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "tmem-request-guest.h"
#include "tmem-store-content.h"
#include "tmem-spill-fake.h"
#include "tmem-store-spill-internal.h"
#include "standard-headers/linux/virtio_tmem.h"
#include "virtio-tmem-internal.h"

#define MIB (1024 * 1024)
#define QUEUES 2
#define POOLS 4
#define OBJECTS 4
#define INDEXES 64
#define DEVICE_BYTES (4 * MIB)

typedef struct Input {
    const uint8_t *data;
    size_t left;
} Input;

typedef enum Presence {
    ABSENT,
    PRESENT,
    MAYBE,                  /* it can have been dropped, or got exclusively */
} Presence;

typedef struct Page {
    Presence presence;
    bool mixed;             /* the guest wrote to it meanwhile */
    uint8_t kind;
    uint64_t version;
} Page;

/* A request, and what the device must make of it */
typedef struct Ask {
    struct virtio_tmem_req hdr;
    uint16_t count;
    bool valid;
    bool alias;             /* what the device writes is what it reads */
    unsigned pool;          /* one of POOLS, or POOLS: it names none of them */
    unsigned object;
    uint8_t slot[VIRTIO_TMEM_MAX_PAGES];     /* among the indexes */
    union {
        uint64_t index[GUEST_MAX_BYTES / 8];
        struct virtio_tmem_range range[GUEST_MAX_BYTES / 16];
    } list;
    size_t list_size, out_size, in_size;     /* as the header says */
    uint8_t kind;
    uint64_t version;       /* of its first page; the others follow */
    unsigned ops;           /* that were done before */
} Ask;

typedef struct Ring {
    VirtIOTMEMQueue queue;
    QEMUBH bh;
    GuestPart out, in;
    VirtQueueElement elem;
    Ask ask;
} Ring;

typedef struct Machine {
    VirtIOTMEM tmem;
    FakeSpill *device;      /* or NULL */
    uint64_t empty_bytes;
    Ring rings[QUEUES];
    uint32_t ids[TMEM_MAX_POOLS];   /* of pools; 0: none */
    bool ephemeral[TMEM_MAX_POOLS];
    Page pages[POOLS][OBJECTS][INDEXES];
    uint64_t versions;
    unsigned ops;
    bool limited;           /* the limit is not the largest */
    bool others;            /* there may be pages in other pools than POOLS */
} Machine;

static int64_t model_clock = G_USEC_PER_SEC;

/* The store's clock, by the linker's --wrap. */
gint64 __wrap_g_get_monotonic_time(void);
gint64 __wrap_g_get_monotonic_time(void)
{
    return model_clock += 50;
}

static const uint64_t objects[OBJECTS] = { 0, 1, 1 << 20, UINT64_MAX };

/* Neighbours, both sides of a cluster's end, and the ends of the world */
static uint64_t index_of(unsigned slot)
{
    slot %= INDEXES;
    return slot < 32 ? slot : slot < 48 ? 248 + slot - 32 :
           slot < 56 ? (UINT64_C(1) << 32) + slot - 48 :
                       UINT64_MAX - (INDEXES - 1 - slot);
}

static unsigned next_byte(Input *in)
{
    if (!in->left) {
        return 0;
    }
    in->left--;
    return *in->data++;
}

/* ---- Contents of pages ---- */

static void fill_page(uint64_t *words, unsigned kind, uint64_t version)
{
    static uint64_t noise[2 * PAGE_WORDS];

    if (!noise[1]) {
        for (unsigned i = 0; i < 2 * PAGE_WORDS; i++) {
            noise[i] = mix(i + 1);
        }
    }
    switch (kind % 4) {
    case 0:                  /* same-filled, in the entry or not */
        for (unsigned i = 0; i < PAGE_WORDS; i++) {
            words[i] = version % 2 ? version : mix(version);
        }
        break;
    case 1:                  /* does not compress */
        memcpy(words, noise + version % PAGE_WORDS, TMEM_PAGE_SIZE);
        break;
    case 2:
        memset(words, version, TMEM_PAGE_SIZE);
        memcpy(words, noise + version % PAGE_WORDS, TMEM_PAGE_SIZE / 4);
        break;
    default:
        memset(words, 0, TMEM_PAGE_SIZE);
        break;
    }
    if (kind % 4) {
        words[PAGE_WORDS / 2] = version;
    }
}

static bool is_zero(const uint64_t *words)
{
    unsigned i = 0;

    while (i < PAGE_WORDS && !words[i]) {
        i++;
    }
    return i == PAGE_WORDS;
}

static void assert_page(Page *page, const uint64_t *got)
{
    uint64_t want[PAGE_WORDS];

    g_assert_cmpint(page->presence, !=, ABSENT);
    if (!page->mixed) {
        fill_page(want, page->kind, page->version);
        g_assert_cmpmem(got, TMEM_PAGE_SIZE, want, TMEM_PAGE_SIZE);
    }
}

/* ---- What a request is to look like ---- */

static bool has_feature(Machine *m, unsigned bit)
{
    return m->tmem.parent_obj.guest_features & (1u << bit);
}

static bool shape_is_valid(Machine *m, Ask *ask)
{
    bool pages_ok = ask->count >= 1 && ask->count <= VIRTIO_TMEM_MAX_PAGES;
    uint8_t flags = 0;
    bool ok = true;

    ask->list_size = ask->out_size = ask->in_size = 0;
    switch (ask->hdr.type) {
    case VIRTIO_TMEM_REQ_POOL_CREATE:
        flags = has_feature(m, VIRTIO_TMEM_F_EPHEMERAL) ?
                VIRTIO_TMEM_FLAG_EPHEMERAL : 0;
        ok = !ask->count && !ask->hdr.pool && !ask->hdr.object;
        break;
    case VIRTIO_TMEM_REQ_POOL_DESTROY:
        ok = !ask->count && !ask->hdr.object;
        break;
    case VIRTIO_TMEM_REQ_PUT:
        flags = has_feature(m, VIRTIO_TMEM_F_RESERVE) ?
                VIRTIO_TMEM_FLAG_RESERVED : 0;
        ask->list_size = ask->count * sizeof(uint64_t);
        ask->out_size = ask->count * (size_t)TMEM_PAGE_SIZE;
        ok = pages_ok;
        break;
    case VIRTIO_TMEM_REQ_GET:
        flags = has_feature(m, VIRTIO_TMEM_F_EXCLUSIVE_GET) ?
                VIRTIO_TMEM_FLAG_EXCLUSIVE : 0;
        ask->list_size = ask->count * sizeof(uint64_t);
        ask->in_size = ask->count * (size_t)TMEM_PAGE_SIZE;
        ok = pages_ok;
        break;
    case VIRTIO_TMEM_REQ_FLUSH:
        ask->list_size = ask->count * sizeof(struct virtio_tmem_range);
        ok = ask->count >= 1 && ask->count <= VIRTIO_TMEM_MAX_RANGES;
        for (unsigned i = 0; ok && i < ask->count; i++) {
            ok = ask->list.range[i].first <= ask->list.range[i].last;
        }
        break;
    case VIRTIO_TMEM_REQ_RESERVE:
        ok = has_feature(m, VIRTIO_TMEM_F_RESERVE) && !ask->hdr.pool &&
             !ask->hdr.object;
        break;
    case VIRTIO_TMEM_REQ_STATS:
        ask->in_size = sizeof(struct virtio_tmem_stats);
        ok = has_feature(m, VIRTIO_TMEM_F_STATS) && !ask->count &&
             !ask->hdr.pool && !ask->hdr.object;
        break;
    default:
        ok = false;
        break;
    }
    return ok && !(ask->hdr.flags & ~flags);
}

static bool pool_is_there(const Machine *m, uint32_t pool)
{
    for (unsigned i = 0; pool && i < TMEM_MAX_POOLS; i++) {
        if (m->ids[i] == pool) {
            return true;
        }
    }
    return false;
}

static bool pool_is_valid(Machine *m, const VirtIOTMEMQueue *q, const Ask *ask)
{
    bool known = pool_is_there(m, ask->hdr.pool);

    switch (ask->hdr.type) {
    case VIRTIO_TMEM_REQ_PUT:
        return known && (!(ask->hdr.flags & VIRTIO_TMEM_FLAG_RESERVED) ||
                         ask->count <= q->reservations);
    case VIRTIO_TMEM_REQ_POOL_DESTROY:
    case VIRTIO_TMEM_REQ_GET:
    case VIRTIO_TMEM_REQ_FLUSH:
        return known;
    default:
        return true;
    }
}

/* ---- The program: bytes to requests ---- */

static uint32_t choose_pool(Machine *m, unsigned what)
{
    switch (what % 8) {
    case 4:
        return UINT32_MAX;
    case 5:
        return m->ids[0] + TMEM_MAX_POOLS;
    case 6:
        return 0;
    case 7:
        return m->ids[what % TMEM_MAX_POOLS];
    default:
        return m->ids[what % POOLS];
    }
}

/* Which of POOLS it is, or POOLS */
static unsigned find_pool(Machine *m, uint32_t id)
{
    unsigned i = 0;

    while (i < POOLS && (!id || m->ids[i] != id)) {
        i++;
    }
    return i;
}

static unsigned choose_count(unsigned what)
{
    static const uint16_t odd[] = {
        31, 32, 33, 64, 127, 128, 129, 255, 256, 257, 258, 512, 32767, 32768,
        65534, 65535,
    };

    return what < 192 ? what % 6 : what < 224 ? what % 33 : odd[what % 16];
}

static uint8_t natural_flag(uint8_t type)
{
    return type == VIRTIO_TMEM_REQ_POOL_CREATE ? VIRTIO_TMEM_FLAG_EPHEMERAL :
           type == VIRTIO_TMEM_REQ_PUT ? VIRTIO_TMEM_FLAG_RESERVED :
           type == VIRTIO_TMEM_REQ_GET ? VIRTIO_TMEM_FLAG_EXCLUSIVE : 0;
}

static void choose_list(Ask *ask, Input *in)
{
    unsigned base = next_byte(in), stride = next_byte(in) % 8, i;

    if (ask->hdr.type == VIRTIO_TMEM_REQ_FLUSH) {
        for (i = 0; i < MIN(ask->count, GUEST_MAX_BYTES / 16); i++) {
            unsigned slot = base + i * stride;
            /* Now and then, the last comes before the first */
            unsigned last = slot + (base / INDEXES) * (i + 1) * 5;

            ask->list.range[i].first = index_of(slot);
            ask->list.range[i].last = index_of(last);
        }
        return;
    }
    for (i = 0; i < MIN(ask->count, GUEST_MAX_BYTES / 8); i++) {
        unsigned slot = (base + i * stride) % INDEXES;

        ask->list.index[i] = index_of(slot);
        if (i < VIRTIO_TMEM_MAX_PAGES) {
            ask->slot[i] = slot;
        }
    }
}

/* A length that lies, or by far more often does not */
static size_t tell_lie(size_t size, unsigned lie)
{
    static const int by[] = {
        0, 0, 0, 0, 0, 0, 0, 1, -1, 8, -8, -16, 24, -24, 4096, -4096
    };

    if (by[lie] < 0 && size < -by[lie]) {
        return 0;
    }
    return MIN(size + by[lie], (size_t)GUEST_MAX_BYTES);
}

static void write_request(Ring *ring, Ask *ask)
{
    size_t at = sizeof(ask->hdr);
    uint64_t words[PAGE_WORDS];

    if (!ask->alias) {
        guest_fill(&ring->in);
    }
    guest_write(&ring->out, 0, &ask->hdr, sizeof(ask->hdr));
    guest_write(&ring->out, at, &ask->list,
                MIN(ask->list_size, sizeof(ask->list)));
    at += ask->list_size;
    for (unsigned i = 0; ask->out_size && i < ask->count && at < ring->out.size;
         i++, at += TMEM_PAGE_SIZE) {
        fill_page(words, ask->kind, ask->version + i);
        guest_write(&ring->out, at, words, sizeof(words));
    }
}

/* Returns: false when there would be no room for an answer */
static bool make_request(Machine *m, Ring *ring, Input *in, uint8_t type,
                         unsigned who)
{
    Ask *ask = &ring->ask;
    unsigned lies, how, what;
    size_t in_size, out_size;

    *ask = (Ask) { .hdr = { .type = type }, .ops = m->ops };
    ask->count = choose_count(next_byte(in));
    ask->hdr.count = cpu_to_le16(ask->count);
    what = next_byte(in);
    ask->object = who / 8 % OBJECTS;
    if (type != VIRTIO_TMEM_REQ_POOL_CREATE && type <= VIRTIO_TMEM_REQ_FLUSH) {
        ask->hdr.pool = choose_pool(m, who);
        ask->hdr.object = type == VIRTIO_TMEM_REQ_POOL_DESTROY ? 0 :
                          objects[ask->object];
    }
    switch (what % 4) {
    case 1:
        ask->hdr.flags = natural_flag(type);
        break;
    case 2:
        ask->hdr.flags = what >> 3;
        /* Fields that are to be 0 are not */
        if (!natural_flag(type) && type != VIRTIO_TMEM_REQ_FLUSH) {
            ask->hdr.object = what >> 6;
        }
        break;
    }
    ask->pool = find_pool(m, ask->hdr.pool);
    ask->kind = what >> 2;
    ask->version = m->versions + 1;
    m->versions += ask->count;
    if (type == VIRTIO_TMEM_REQ_PUT || type == VIRTIO_TMEM_REQ_GET ||
        type == VIRTIO_TMEM_REQ_FLUSH) {
        choose_list(ask, in);
    } else if (what < 240 && type != VIRTIO_TMEM_REQ_RESERVE) {
        ask->count = ask->hdr.count = 0;
    }
    ask->valid = shape_is_valid(m, ask);
    lies = next_byte(in);
    how = next_byte(in);
    out_size = tell_lie(MIN(sizeof(ask->hdr) + ask->list_size + ask->out_size,
                            GUEST_MAX_BYTES), lies % 16);
    in_size = tell_lie(sizeof(struct virtio_tmem_resp) + ask->in_size,
                       lies / 16);
    if (in_size < sizeof(struct virtio_tmem_resp)) {
        return false;
    }
    ask->valid = ask->valid &&
                 out_size == sizeof(ask->hdr) + ask->list_size + ask->out_size &&
                 in_size >= sizeof(struct virtio_tmem_resp) + ask->in_size &&
                 pool_is_valid(m, &ring->queue, ask);
    ask->alias = how >= 252 && out_size;
    guest_cut(&ring->out, out_size, how | next_byte(in) << 8);
    guest_cut(&ring->in, in_size, next_byte(in) | next_byte(in) << 8);
    if (ask->alias) {
        ring->in.num = 1;
        ring->in.iov[0] = ring->out.iov[0];
        ring->in.size = ring->in.iov[0].iov_len;
        if (ring->in.size < sizeof(struct virtio_tmem_resp)) {
            return false;
        }
        ask->valid = ask->valid && ring->in.size >=
                     sizeof(struct virtio_tmem_resp) + ask->in_size;
    }
    guest_poison(&ring->out, &ring->in);
    write_request(ring, ask);
    return true;
}

/* ---- What the answer must be ---- */

static void check_put(Machine *m, Ask *ask, struct virtio_tmem_resp *resp)
{
    uint32_t all = MAKE_64BIT_MASK(0, ask->count);
    uint32_t done = le32_to_cpu(resp->done);

    g_assert_cmphex(done & ~all, ==, 0);
    g_assert_cmpint(resp->status, ==, done == all ? VIRTIO_TMEM_S_OK :
                                                    VIRTIO_TMEM_S_REJECTED);
    /* With the largest limit there is room for all that there can be */
    g_assert_true(done == all || m->limited);
    g_assert_true(done == all ||
                  !(ask->hdr.flags & VIRTIO_TMEM_FLAG_RESERVED));
    m->others |= ask->pool == POOLS;
    for (unsigned i = 0; ask->pool < POOLS && i < ask->count; i++) {
        m->pages[ask->pool][ask->object][ask->slot[i]] = (Page) {
            .presence = !(done & 1u << i) ? ABSENT :
                        m->ephemeral[ask->pool] ? MAYBE : PRESENT,
            .mixed = guest_tamper & GUEST_WRITES_PAGES,
            .kind = ask->kind,
            .version = ask->version + i,
        };
    }
}

static void check_get(Machine *m, Ring *ring, struct virtio_tmem_resp *resp)
{
    Ask *ask = &ring->ask;
    uint32_t all = MAKE_64BIT_MASK(0, ask->count);
    uint32_t done = le32_to_cpu(resp->done);
    bool exact = m->ops == ask->ops;
    uint64_t got[PAGE_WORDS];

    g_assert_cmphex(done & ~all, ==, 0);
    g_assert_cmphex(resp->failed, ==, 0);
    g_assert_cmpint(resp->status, ==, done == all ? VIRTIO_TMEM_S_OK :
                                                    VIRTIO_TMEM_S_ABSENT);
    for (unsigned i = 0; ask->pool < POOLS && i < ask->count; i++) {
        Page *page = &m->pages[ask->pool][ask->object][ask->slot[i]];

        if (!exact) {
            /* It may have been put by the other queue since */
            if (done & 1u << i && ask->hdr.flags & VIRTIO_TMEM_FLAG_EXCLUSIVE &&
                page->presence) {
                page->presence = MAYBE;
            }
            continue;
        }
        g_assert_true(guest_read(&ring->in, sizeof(*resp) + i * TMEM_PAGE_SIZE,
                                 got, sizeof(got)));
        if (done & 1u << i) {
            assert_page(page, got);
            if (ask->hdr.flags & VIRTIO_TMEM_FLAG_EXCLUSIVE) {
                page->presence = ABSENT;
            }
        } else {
            g_assert_cmpint(page->presence, !=, PRESENT);
            g_assert_true(is_zero(got));
            page->presence = ABSENT;
        }
    }
}

/* Returns: how many pages were surely there, and in *@maybe how many others */
static uint64_t forget(Machine *m, unsigned pool, unsigned object,
                       uint64_t first, uint64_t last, uint64_t *maybe)
{
    uint64_t num = 0;

    for (unsigned i = 0; i < INDEXES; i++) {
        Page *page = &m->pages[pool][object][i];

        if (index_of(i) >= first && index_of(i) <= last) {
            num += page->presence == PRESENT;
            *maybe += page->presence == MAYBE;
            page->presence = ABSENT;
        }
    }
    return num;
}

static void check_flush(Machine *m, Ask *ask, struct virtio_tmem_resp *resp)
{
    uint64_t value = le64_to_cpu(resp->value), num = 0, maybe = 0;

    g_assert_cmpint(resp->status, ==, VIRTIO_TMEM_S_OK);
    if (ask->pool == POOLS) {
        return;
    }
    for (unsigned i = 0; i < ask->count; i++) {
        num += forget(m, ask->pool, ask->object, ask->list.range[i].first,
                      ask->list.range[i].last, &maybe);
    }
    g_assert_true(value >= num && value <= num + maybe);
}

static void check_create(Machine *m, Ask *ask, struct virtio_tmem_resp *resp)
{
    uint64_t id = le64_to_cpu(resp->value);
    unsigned free = TMEM_MAX_POOLS;

    for (unsigned i = TMEM_MAX_POOLS; i-- > 0;) {
        free = m->ids[i] ? free : i;
        g_assert_true(resp->status || m->ids[i] != id);
    }
    if (free == TMEM_MAX_POOLS) {
        g_assert_cmpint(resp->status, ==, VIRTIO_TMEM_S_REJECTED);
        return;
    }
    g_assert_cmpint(resp->status, ==, VIRTIO_TMEM_S_OK);
    g_assert_true(id > 0 && id <= UINT32_MAX);
    m->ids[free] = id;
    m->ephemeral[free] = ask->hdr.flags;
}

static void check_destroy(Machine *m, Ask *ask, struct virtio_tmem_resp *resp)
{
    uint64_t value = le64_to_cpu(resp->value), num = 0, maybe = 0;

    g_assert_cmpint(resp->status, ==, VIRTIO_TMEM_S_OK);
    for (unsigned i = 0; i < TMEM_MAX_POOLS; i++) {
        if (m->ids[i] != ask->hdr.pool) {
            continue;
        }
        m->ids[i] = 0;
        for (unsigned object = 0; i < POOLS && object < OBJECTS; object++) {
            num += forget(m, i, object, 0, UINT64_MAX, &maybe);
        }
    }
    g_assert_true(value >= num);
    g_assert_true(ask->pool == POOLS || value <= num + maybe);
}

static void check_answer(Machine *m, Ring *ring, size_t used_len)
{
    Ask *ask = &ring->ask;
    struct virtio_tmem_resp resp;
    size_t payload;

    /* Destroyed by another queue, while this one waited for its first page */
    if (ask->valid && ask->hdr.type == VIRTIO_TMEM_REQ_GET &&
        used_len == sizeof(resp) && !pool_is_there(m, ask->hdr.pool)) {
        ask->valid = false;
    }
    payload = ask->valid ? ask->in_size : 0;
    g_assert_cmpuint(used_len, ==, sizeof(resp) + payload);
    g_assert_true(guest_read(&ring->in, 0, &resp, sizeof(resp)));
    g_assert_cmpint(resp.reserved[0] | resp.reserved[1] | resp.reserved[2],
                    ==, 0);
    g_assert_cmpuint(le32_to_cpu(resp.reservations), ==,
                     ring->queue.reservations);
    g_assert_cmpuint(ring->queue.reservations, <=,
                     VIRTIO_TMEM_MAX_RESERVATIONS);
    g_assert_true(ask->alias || guest_is_junk(&ring->in, used_len));
    if (!ask->valid) {
        g_assert_cmpint(resp.status, ==, VIRTIO_TMEM_S_INVALID);
        g_assert_cmpuint(resp.done | resp.failed | resp.value, ==, 0);
        return;
    }
    switch (ask->hdr.type) {
    case VIRTIO_TMEM_REQ_POOL_CREATE:
        check_create(m, ask, &resp);
        break;
    case VIRTIO_TMEM_REQ_POOL_DESTROY:
        check_destroy(m, ask, &resp);
        break;
    case VIRTIO_TMEM_REQ_PUT:
        check_put(m, ask, &resp);
        break;
    case VIRTIO_TMEM_REQ_GET:
        check_get(m, ring, &resp);
        break;
    case VIRTIO_TMEM_REQ_FLUSH:
        check_flush(m, ask, &resp);
        break;
    default:
        g_assert_cmpint(resp.status, ==, VIRTIO_TMEM_S_OK);
        break;
    }
}

/* What holds after each request, whatever it was */
static void check_bytes(Machine *m)
{
    g_assert_cmpuint(tmem_store_bytes(m->tmem.store), <=, m->tmem.max_size);
    g_assert_cmpuint(m->tmem.store->arena.reserve.puts, ==,
                     m->rings[0].queue.reservations +
                     m->rings[1].queue.reservations);
}

static void check_numbers(Machine *m)
{
    TmemStoreStats stats;
    uint64_t pages = 0, maybe = 0;

    tmem_store_get_stats(m->tmem.store, &stats);
    for (unsigned i = 0; i < POOLS * OBJECTS * INDEXES; i++) {
        pages += (&m->pages[0][0][0])[i].presence == PRESENT;
        maybe += (&m->pages[0][0][0])[i].presence == MAYBE;
    }
    g_assert_cmpuint(stats.pages, >=, pages);
    g_assert_true(m->others || stats.pages <= pages + maybe);
}

/* ---- One request ---- */

/* An exclusive get that waits has removed what it does not say yet */
static void expect_removals(Machine *m, const Ask *ask)
{
    for (unsigned i = 0; ask->hdr.type == VIRTIO_TMEM_REQ_GET &&
         i < ask->count && ask->pool < POOLS; i++) {
        Page *page = &m->pages[ask->pool][ask->object][ask->slot[i]];

        if ((ask->hdr.flags & VIRTIO_TMEM_FLAG_EXCLUSIVE) && page->presence) {
            page->presence = MAYBE;
        }
    }
}

/* What requests of the type have freed so far, if they are bounded */
static uint64_t count_flushes(Machine *m, uint8_t type)
{
    TmemStoreStats stats = { 0 };

    if (type == VIRTIO_TMEM_REQ_FLUSH || type == VIRTIO_TMEM_REQ_POOL_DESTROY) {
        tmem_store_get_stats(m->tmem.store, &stats);
    }
    return stats.flushes;
}

/* What takes long is done in portions; a leaf, with 32 pages, is not parted */
static void check_portion(Machine *m, uint8_t type, uint64_t before)
{
    g_assert_cmpuint(count_flushes(m, type) - before, <,
                     TMEM_FLUSH_PORTION + 32);
}

static void resume(Machine *m, Ring *ring)
{
    size_t used_len;

    while (ring->queue.parked && ring->bh.scheduled) {
        uint64_t flushes = count_flushes(m, ring->ask.hdr.type);
        bool done;

        ring->bh.scheduled = false;
        done = virtio_tmem_resume(&ring->queue, &used_len);
        check_portion(m, ring->ask.hdr.type, flushes);
        if (done) {
            check_answer(m, ring, used_len);
        }
    }
}

static void do_request(Machine *m, Input *in, uint8_t type)
{
    unsigned who = next_byte(in), tamper;
    Ring *ring = &m->rings[who / 128 % QUEUES];
    uint64_t flushes = count_flushes(m, type);
    size_t used_len;
    bool done;

    if (ring->queue.parked) {
        return;
    }
    m->ops++;
    if (!make_request(m, ring, in, type, who)) {
        return;
    }
    tamper = next_byte(in);
    guest_tamper = tamper < 192 ? GUEST_IS_HONEST : tamper % 4;
    if (ring->ask.alias) {
        guest_tamper = GUEST_IS_HONEST;
    }
    ring->elem = (VirtQueueElement) {
        .out_sg = ring->out.iov, .out_num = ring->out.num,
        .in_sg = ring->in.iov, .in_num = ring->in.num,
    };
    ring->bh.scheduled = false;
    done = virtio_tmem_serve(&ring->queue, &ring->elem, &used_len);
    check_portion(m, type, flushes);
    if (done) {
        check_answer(m, ring, used_len);
    } else {
        expect_removals(m, &ring->ask);
        resume(m, ring);
    }
    guest_tamper = GUEST_IS_HONEST;
}

/* ---- What is not a request ---- */

static void set_limit(Machine *m, uint64_t limit)
{
    m->limited = limit < m->tmem.max_size;
    tmem_store_set_limit(m->tmem.store, limit, m->limited ?
                         TMEM_LIMIT_PRESSURE : TMEM_LIMIT_MAX);
}

static void maintain(Machine *m, unsigned calls)
{
    model_clock += 20 * G_USEC_PER_SEC;
    while (calls-- && tmem_store_maintain(m->tmem.store, 1000)) {
        continue;
    }
}

static void end_waiting(Machine *m, bool abandon)
{
    if (m->device) {
        for (unsigned i = 0; abandon && i < QUEUES; i++) {
            if (m->rings[i].queue.parked) {
                virtio_tmem_abandon(&m->rings[i].queue);
            }
        }
        fake_set_defer(m->device, false);
    }
    for (unsigned i = 0; i < QUEUES; i++) {
        resume(m, &m->rings[i]);
        g_assert_null(m->rings[i].queue.parked);
    }
}

static void reset(Machine *m)
{
    end_waiting(m, true);
    for (unsigned i = 0; i < QUEUES; i++) {
        m->rings[i].queue.reservations = 0;
    }
    tmem_store_reset(m->tmem.store);
    memset(m->ids, 0, sizeof(m->ids));
    memset(m->pages, 0, sizeof(m->pages));
    m->others = false;
    m->tmem.store->next_pool = 1;
}

static void control(Machine *m, Input *in)
{
    unsigned what = next_byte(in), arg = next_byte(in);

    switch (what % 8) {
    case 0:
        set_limit(m, arg % 2 ? m->tmem.max_size : arg * 8192);
        break;
    case 1:
        maintain(m, arg % 8 + 1);
        break;
    case 2:
        if (arg >= 240) {
            reset(m);
        }
        break;
    case 3:
        /* As a reset of the queue does */
        if (!m->rings[arg % QUEUES].queue.parked) {
            virtio_tmem_set_reservations(&m->rings[arg % QUEUES].queue,
                                         arg / 4);
        }
        break;
    case 4:
        m->tmem.parent_obj.guest_features = arg;
        break;
    case 5:
        if (m->device) {
            m->tmem.store->spill->next_pass = 0;
            set_limit(m, 0);
            maintain(m, 4);
            set_limit(m, m->tmem.max_size);
        }
        break;
    case 6:
        if (m->device) {
            fake_set_defer(m->device, arg % 2);
        }
        break;
    case 7:
        end_waiting(m, arg % 2);
        break;
    }
    if (m->device && what >= 128) {
        fake_run(m->device);
    }
}

static void step(Machine *m, Input *in)
{
    static const uint8_t types[] = {
        VIRTIO_TMEM_REQ_POOL_CREATE, VIRTIO_TMEM_REQ_POOL_DESTROY,
        VIRTIO_TMEM_REQ_PUT, VIRTIO_TMEM_REQ_PUT, VIRTIO_TMEM_REQ_PUT,
        VIRTIO_TMEM_REQ_GET, VIRTIO_TMEM_REQ_GET, VIRTIO_TMEM_REQ_GET,
        VIRTIO_TMEM_REQ_FLUSH, VIRTIO_TMEM_REQ_FLUSH,
        VIRTIO_TMEM_REQ_RESERVE, VIRTIO_TMEM_REQ_STATS,
    };
    unsigned op = next_byte(in);

    if (op % 16 < G_N_ELEMENTS(types)) {
        do_request(m, in, types[op % 16]);
    } else if (op % 16 == 12) {
        do_request(m, in, next_byte(in));
    } else {
        control(m, in);
    }
    for (unsigned i = 0; i < QUEUES; i++) {
        resume(m, &m->rings[i]);
    }
    check_bytes(m);
}

/* ---- One input ---- */

static Machine *machine_new(TmemCompression compression, bool spill)
{
    TmemStoreConfig config = {
        .max_size = spill ? TMEM_STORE_MIN_SPILL_LIMIT : 8 * MIB,
        .compression = compression,
    };
    Machine *m = g_new0(Machine, 1);
    GError *err = NULL;

    m->tmem.store = tmem_store_new(&config, &err);
    g_assert_no_error(err);
    m->tmem.max_size = config.max_size;
    if (spill) {
        m->device = fake_new(DEVICE_BYTES);
        tmem_store_set_spill(m->tmem.store, &fake_ops, m->device, DEVICE_BYTES,
                             &err);
        g_assert_no_error(err);
    }
    for (unsigned i = 0; i < QUEUES; i++) {
        VirtIOTMEMQueue *q = &m->rings[i].queue;

        q->tmem = &m->tmem;
        q->fetch.done = virtio_tmem_fetch_done;
        q->resume_bh = &m->rings[i].bh;
        m->rings[i].out.mem = guest_memory_new();
        m->rings[i].in.mem = guest_memory_new();
    }
    reset(m);
    m->empty_bytes = tmem_store_bytes(m->tmem.store);
    return m;
}

static void check_pages(Machine *m)
{
    uint64_t got[PAGE_WORDS];

    for (unsigned i = 0; i < POOLS * OBJECTS * INDEXES; i++) {
        Page *page = &m->pages[0][0][0] + i;
        int ret;

        if (page->presence == ABSENT) {
            continue;
        }
        ret = tmem_store_get(m->tmem.store, m->ids[i / INDEXES / OBJECTS],
                             objects[i / INDEXES % OBJECTS],
                             index_of(i % INDEXES), got);
        g_assert_true(!ret || (ret == -ENOENT && page->presence == MAYBE));
        if (!ret) {
            assert_page(page, got);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static Machine *machines[4];
    static const TmemCompression kinds[] = {
        TMEM_COMPRESSION_LZ4, TMEM_COMPRESSION_NONE, TMEM_COMPRESSION_LZ4,
        TMEM_COMPRESSION_ZSTD,
    };
    Input in = { data, size };
    unsigned which = next_byte(&in) % 4;
    Machine *m;

    if (!machines[which]) {
        machines[which] = machine_new(kinds[which], which == 2);
    }
    m = machines[which];
    m->tmem.parent_obj.guest_features = ~next_byte(&in);
    m->versions = 0;
    while (in.left) {
        step(m, &in);
    }
    end_waiting(m, false);
    set_limit(m, m->tmem.max_size);
    check_numbers(m);
    check_pages(m);
    reset(m);
    g_assert_cmpuint(tmem_store_bytes(m->tmem.store), ==, m->empty_bytes);
    return 0;
}
