/*
 * A page store that spills to a device of tests, and pages for it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TMEM_SPILL_FIXTURE_H
#define TMEM_SPILL_FIXTURE_H

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "hw/virtio/tmem-store-spill-internal.h"
#include "tmem-store-pages.h"
#include "tmem-spill-fake.h"

#define MAX_SIZE (32 * MIB)

/* A store with a device, and what both must agree on. */
typedef struct Fixture {
    TmemStore *store;
    FakeSpill *fake;
    uint32_t pool;
} Fixture;

static bool woken;           /* atomic */

static inline void wake(void *opaque)
{
    qatomic_set(&woken, true);
}

static inline Fixture fixture_new(uint64_t device)
{
    TmemStoreConfig config = { .max_size = MAX_SIZE };
    GError *err = NULL;
    Fixture f;

    f.store = tmem_store_new(&config, &err);
    g_assert_no_error(err);
    f.fake = fake_new(device);
    tmem_store_set_spill(f.store, &fake_ops, f.fake, device, &err);
    g_assert_no_error(err);
    tmem_store_set_wake(f.store, wake, NULL);
    f.pool = pool_new(f.store);
    return f;
}

static inline void fixture_free(Fixture *f)
{
    fake_set_defer(f->fake, false);
    tmem_store_free(f->store);
    fake_free(f->fake);
}

static inline TmemSpillStats spill_stats(Fixture *f)
{
    TmemStoreStats stats;

    tmem_store_get_stats(f->store, &stats);
    return stats.spill;
}

/* Pages of half their size; what is in them follows from key and version. */
static inline void put_version(Fixture *f, uint64_t index, uint64_t version)
{
    Page page;

    page_random(&page, index * 1000003 + version, 256);
    page.word[511] = version;
    g_assert_cmpint(tmem_store_put(f->store, f->pool, 0, index, &page), ==, 0);
}

static inline void assert_version(const Page *got, uint64_t index,
                                  uint64_t version)
{
    Page want;

    page_random(&want, index * 1000003 + version, 256);
    want.word[511] = version;
    g_assert_cmpmem(got, sizeof(*got), &want, sizeof(want));
}

static inline void check_version(Fixture *f, uint64_t index, uint64_t version)
{
    Page got;

    g_assert_cmpint(tmem_store_get(f->store, f->pool, 0, index, &got), ==, 0);
    assert_version(&got, index, version);
}

static inline void put_all(Fixture *f, uint64_t num)
{
    for (uint64_t i = 0; i < num; i++) {
        put_version(f, i, 1);
    }
}

/* Until it has nothing to do, or waits. */
static inline void maintain(Fixture *f)
{
    for (unsigned i = 0; i < 10000; i++) {
        qatomic_set(&woken, false);
        if (!tmem_store_maintain(f->store, 1000) && !qatomic_read(&woken)) {
            return;
        }
    }
    g_assert_not_reached();
}

/* Everything that can be spilled is. */
static inline void spill_all(Fixture *f)
{
    f->store->spill->next_pass = 0;
    f->store->spill->next_clean = 0;
    tmem_store_set_limit(f->store, 0, TMEM_LIMIT_PRESSURE);
    maintain(f);
    tmem_store_set_limit(f->store, MAX_SIZE, TMEM_LIMIT_MAX);
}

static inline TmemSpillPlace place_of(Fixture *f, uint64_t index)
{
    TmemShard *shard = tmem_shard_find(f->store, 0, index);
    uint64_t *slot;

    slot = tmem_page_lookup(f->store, tmem_pool_find(shard, f->pool), 0,
                            tmem_shard_key(index));
    g_assert_nonnull(slot);
    g_assert_cmpuint(tmem_entry_kind(*slot), ==, ENTRY_SPILLED);
    return tmem_spill_place(f->store, *slot);
}

static inline uint64_t position_of(Fixture *f, uint64_t index)
{
    TmemSpillPlace place = place_of(f, index);

    return place.record.extent * (uint64_t)TMEM_EXTENT_SIZE +
           place.record.offset;
}

typedef struct Getter {
    TmemFetch fetch;
    unsigned done;
} Getter;

static inline void getter_done(TmemFetch *fetch)
{
    container_of(fetch, Getter, fetch)->done++;
}

static inline int getter_get(Fixture *f, Getter *getter, uint64_t index,
                             Page *page)
{
    if (!getter->fetch.done) {
        getter->fetch.done = getter_done;
    }
    return tmem_store_get_async(f->store, f->pool, 0, index, page,
                                &getter->fetch);
}

#endif
