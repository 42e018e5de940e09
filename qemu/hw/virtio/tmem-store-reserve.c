/*
 * Reservations of the virtio-tmem page store: puts that cannot fail
 *
 * For each put that is promised, the arena keeps back what one can need at
 * most: an object of a whole page, and a branch of nodes in both trees. A put
 * under a promise takes from these only when there is no other room, so in the
 * usual case they stay for the next promise, and no put pays for them.
 *
 * Rule: objects held >= objects needed by what is promised, at any time.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "tmem-store-alloc.h"
#include "tmem-store-index.h"

/* Puts that memory is held for without a promise, between two of them. */
#define MAX_SLACK 64

/*
 * A put of a new object makes the tree of objects taller (2 * 11 - 1 nodes for
 * a key at the far end) and has a tree of its own (11), and may need small
 * objects for its data and for its place among ephemeral pages: 34, at the very
 * most 33 at the same time.
 */
#define SMALL_PER_PUT (3 * 11 + 1)
#define SMALL_SIZE TMEM_INDEX_NODE_SIZE

void tmem_reserve_init(TmemReserve *reserve)
{
    memset(reserve, 0, sizeof(*reserve));
    g_mutex_init(&reserve->lock);
}

void tmem_reserve_destroy(TmemReserve *reserve)
{
    g_free(reserve->large);
    g_free(reserve->small);
    g_mutex_clear(&reserve->lock);
}

void tmem_reserve_reset(TmemReserve *reserve)
{
    reserve->puts = 0;
    reserve->num_large = 0;
    reserve->num_small = 0;
}

/* Hold what another put can need; false: there is no room. */
static bool reserve_grow(TmemArena *arena)
{
    TmemReserve *reserve = &arena->reserve;
    unsigned puts = reserve->puts + 1;

    if (reserve->num_large < puts) {
        TmemHandle handle = tmem_arena_alloc(arena, arena->max_object,
                                             TMEM_ALLOC_GROW);

        if (!handle) {
            return false;
        }
        reserve->large[reserve->num_large++] = handle;
    }
    while (reserve->num_small < puts * SMALL_PER_PUT) {
        TmemHandle handle = tmem_arena_alloc(arena, SMALL_SIZE,
                                             TMEM_ALLOC_GROW);

        if (!handle) {
            return false;
        }
        reserve->small[reserve->num_small++] = handle;
    }
    reserve->puts = puts;
    return true;
}

/* Free what is held for more than @puts. Called with the lock held. */
static bool reserve_shrink(TmemArena *arena, unsigned puts)
{
    TmemReserve *reserve = &arena->reserve;
    bool any = false;

    while (reserve->num_large > puts) {
        tmem_arena_free(arena, reserve->large[--reserve->num_large]);
        any = true;
    }
    while (reserve->num_small > puts * SMALL_PER_PUT) {
        tmem_arena_free(arena, reserve->small[--reserve->num_small]);
        any = true;
    }
    return any;
}

/* The tables of handles, with the first promise. Called with the lock held. */
static bool reserve_has_tables(TmemReserve *reserve)
{
    if (!reserve->large) {
        reserve->large = g_try_new(TmemHandle, TMEM_MAX_RESERVED);
    }
    if (!reserve->small) {
        reserve->small = g_try_new(TmemHandle,
                                   TMEM_MAX_RESERVED * SMALL_PER_PUT);
    }
    return reserve->large && reserve->small;
}

unsigned tmem_reserve_add(TmemArena *arena, unsigned puts)
{
    TmemReserve *reserve = &arena->reserve;
    unsigned n = 0;

    g_mutex_lock(&reserve->lock);
    while (n < puts && reserve->puts < TMEM_MAX_RESERVED &&
           reserve_has_tables(reserve) && reserve_grow(arena)) {
        n++;
    }
    if (n < puts) {
        /* What was held for a promise that could not be made */
        reserve_shrink(arena, reserve->puts);
    }
    g_mutex_unlock(&reserve->lock);
    return n;
}

void tmem_reserve_sub(TmemArena *arena, unsigned puts, bool keep)
{
    TmemReserve *reserve = &arena->reserve;

    g_mutex_lock(&reserve->lock);
    reserve->puts -= MIN(puts, reserve->puts);
    reserve_shrink(arena, reserve->puts + (keep ? MAX_SLACK : 0));
    g_mutex_unlock(&reserve->lock);
}

unsigned tmem_reserve_puts(TmemArena *arena)
{
    TmemReserve *reserve = &arena->reserve;
    unsigned puts;

    g_mutex_lock(&reserve->lock);
    puts = reserve->puts;
    g_mutex_unlock(&reserve->lock);
    return puts;
}

bool tmem_reserve_trim(TmemArena *arena)
{
    TmemReserve *reserve = &arena->reserve;
    bool any;

    g_mutex_lock(&reserve->lock);
    any = reserve_shrink(arena, reserve->puts);
    g_mutex_unlock(&reserve->lock);
    return any;
}

void tmem_reserve_drop(TmemArena *arena)
{
    TmemReserve *reserve = &arena->reserve;

    g_mutex_lock(&reserve->lock);
    reserve->puts = 0;
    reserve_shrink(arena, 0);
    g_mutex_unlock(&reserve->lock);
}

TmemHandle tmem_reserve_take(TmemArena *arena, size_t size)
{
    TmemReserve *reserve = &arena->reserve;
    TmemHandle handle = 0;

    g_mutex_lock(&reserve->lock);
    if (size <= SMALL_SIZE && reserve->num_small) {
        handle = reserve->small[--reserve->num_small];
    } else if (size > SMALL_SIZE && reserve->num_large) {
        handle = reserve->large[--reserve->num_large];
    }
    g_mutex_unlock(&reserve->lock);
    return handle;
}
