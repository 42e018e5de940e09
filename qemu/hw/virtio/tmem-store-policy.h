/*
 * Limit controller of the virtio-tmem page store
 *
 * Says how many bytes the store may hold now: a number between min-size and
 * max-size, from how long the host's tasks stalled on memory. The law is in
 * tmem-store-policy.c. Private to tmem-store*.c and their unit tests.
 *
 * Threads: none of its own; the caller serializes. No clock, no I/O, no
 * memory: the same inputs give the same limits.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef HW_VIRTIO_TMEM_STORE_POLICY_H
#define HW_VIRTIO_TMEM_STORE_POLICY_H

#include <stdbool.h>
#include <stdint.h>
#include "hw/virtio/tmem-store.h"

/* Use only through the functions below. */
typedef struct TmemPolicy {
    uint64_t limit;        /* bytes */
    uint64_t knee;         /* bytes that are believed safe */
    int64_t updated_ns;    /* time of the last update */
    int64_t calm_ns;       /* calm time since the last fall */
    int64_t recover_ns;    /* calm time before growth up to the knee */
    int64_t probe_ns;      /* calm time before growth beyond the knee, or 0 */
    int64_t strain_ns;     /* time since it was calm, with no fall */
    double pressure;       /* smoothed, in permille of wall time */
    bool fell;             /* a fall was the last move, not growth */
    TmemLimitCause cause;
} TmemPolicy;

typedef struct TmemPolicyInput {
    int64_t now_ns;        /* any clock; may stand still, be late or go back */
    int pressure_permille; /* of the time since the last update; < 0: unknown */
    uint64_t used;         /* bytes the store holds, overhead included */
    uint64_t min_size;     /* bytes; above max_size it counts as max_size */
    uint64_t max_size;     /* bytes; both may change from call to call */
} TmemPolicyInput;

/**
 * tmem_policy_init: start at @max_size, with no pressure remembered
 * @now_ns: what the first update counts its time from
 */
void tmem_policy_init(TmemPolicy *policy, uint64_t max_size, int64_t now_ns);

/**
 * tmem_policy_update: take one sample and move the limit
 *
 * Call it every tmem_policy_interval_ms(), and at once when the pressure
 * source says so.
 *
 * Returns: the limit in bytes, always min_size <= limit <= max_size.
 */
uint64_t tmem_policy_update(TmemPolicy *policy, const TmemPolicyInput *input);

/**
 * tmem_policy_cause: why the last update returned what it did
 */
TmemLimitCause tmem_policy_cause(const TmemPolicy *policy);

/**
 * tmem_policy_interval_ms: time until the next update is due
 */
unsigned tmem_policy_interval_ms(const TmemPolicy *policy);

#endif
