/*
 * tmemctl balance: who may take how much of the host's spare memory
 *
 * Pure functions: numbers in, numbers out; nothing here knows of sockets, files
 * or time other than what it is told. All sizes are bytes.
 *
 * What it keeps to, whatever the guests do:
 * - no limit is above a guest's cap, and none below QEMU's minimum of 1 MiB;
 * - what all stores could take together (of each, its limit or what it holds,
 *   whichever is more) is not raised above the budget, and is brought below it
 *   in one step as far as it is more than what they hold already;
 * - guests that want more than they get have shares in proportion to their
 *   weights, and nobody could have more without someone with less (by weight)
 *   having less still: weighted max-min fairness, as in Bertsekas and Gallager,
 *   Data Networks, 6.5.2. What nobody wants is headroom, shared the same way.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BALANCE_POLICY_H
#define BALANCE_POLICY_H

#include <glib.h>
#include <stdint.h>

/* QEMU takes no max-size below this */
#define BALANCE_MIN_LIMIT (UINT64_C(1) << 20)

typedef struct BalanceGuest {
    /* What the operator wants */
    double weight;              /* > 0 */
    uint64_t floor;             /* share that it has in any case */
    uint64_t cap;               /* UINT64_MAX: none */

    /* What was seen */
    gboolean fixed;             /* its limit cannot be changed: no answer, or
                                 * not ours to change */
    gboolean pressured;         /* the device holds back by itself */
    uint64_t max;               /* max-size: the limit that is ours to set */
    uint64_t min;               /* min-size: max-size cannot be below it */
    uint64_t limit;             /* what it may take now, at most max */
    uint64_t used;
    uint64_t rejected;          /* puts, a count that grows */

    /* Remembered; all zero at first */
    gboolean known;
    uint64_t last_rejected;
    double pressing_s;          /* for so long still */
    double recent;              /* demand, as it was a while ago */

    /* Results */
    gboolean pressing;          /* it would take more if it could */
    uint64_t demand;            /* what it would take */
    uint64_t target;            /* the limit that is fair */
    uint64_t next;              /* the limit for now, on the way there */
} BalanceGuest;

typedef struct BalanceParams {
    double time_constant_s;     /* of the way to the target: 63 % of it; what
                                 * guests wanted is remembered as it is long */
    double elapsed_s;           /* since the last round */
} BalanceParams;

/*
 * What all stores may take together: what they take already, and what the host
 * has available beyond its reserve; at most @total.
 *
 * @used is what QEMU says. That it is more than the part of the host's @memory
 * which is not available cannot be, and is not believed: else a guest that has
 * taken over its QEMU could have the reserve lent.
 */
uint64_t balance_budget(uint64_t used, uint64_t available, uint64_t memory,
                        uint64_t reserve, uint64_t total);

/* Sets pressing and demand of each. */
void balance_demand(BalanceGuest *guests, guint n,
                    const BalanceParams *params);

/* Sets the target of each, from its demand. */
void balance_share(BalanceGuest *guests, guint n, uint64_t budget);

/* Sets the next limit of each, on the way to its target. */
void balance_move(BalanceGuest *guests, guint n, uint64_t budget,
                  const BalanceParams *params);

/* What all could take together if limits were as @next (or as max) says */
uint64_t balance_commitment(const BalanceGuest *guests, guint n,
                            gboolean next);

#endif
