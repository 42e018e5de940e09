/*
 * tmemctl balance: who may take how much of the host's spare memory
 *
 * The idea of shares by weight is that of Waldspurger, Memory Resource
 * Management in VMware ESX Server (OSDI 2002), and of Xen's tmem-set; unlike
 * theirs, pages that a guest holds cannot be taken away from here, so what is
 * shared is the right to take more.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <math.h>

#include "balance-policy.h"

/*
 * A guest presses if it uses all of its limit but a 32nd, or was refused a put
 * and uses three quarters: refusals of a guest with much room left have another
 * cause (a quota of its pool), and more room would not help. It is taken to
 * press for some seconds more, as guests swap in bursts: so many time constants.
 */
#define PRESSING_SHARE (31.0 / 32)
#define REFUSED_SHARE (3.0 / 4)
#define PRESSING_TIME 2

/*
 * A guest that does not press would take what it uses, an eighth more, and room
 * for a small burst. What it wanted so many time constants ago (a minute, of the
 * default) is forgotten by two thirds.
 */
#define SLACK_SHARE (1.0 / 8)
#define SLACK_BYTES (4 << 20)
#define FORGET_TIME 12

/*
 * A limit is left as it is when it is this near to its target: each change is a
 * QMP command, and tells the guest a new number of pages.
 */
#define DEADBAND_SHARE (1.0 / 64)
#define DEADBAND_BYTES (256 << 10)

uint64_t balance_budget(uint64_t used, uint64_t available, uint64_t memory,
                        uint64_t reserve, uint64_t total)
{
    uint64_t sum;

    available = MIN(available, memory);
    sum = MIN(used, memory - available) + available;
    return MIN(sum - MIN(reserve, sum), total);
}

/* QEMU takes no lower limit; and room that a guest has or could have anyway */
static uint64_t bottom(const BalanceGuest *guest)
{
    return MAX(guest->min, BALANCE_MIN_LIMIT);
}

static uint64_t kept(const BalanceGuest *guest)
{
    return MAX(guest->used, bottom(guest));
}

static uint64_t highest(const BalanceGuest *guest)
{
    return MAX(guest->cap, bottom(guest));
}

static uint64_t lowest(const BalanceGuest *guest)
{
    return CLAMP(guest->floor, bottom(guest), highest(guest));
}

void balance_demand(BalanceGuest *guests, guint n, const BalanceParams *params)
{
    double forget_s = FORGET_TIME * params->time_constant_s;
    guint i;

    for (i = 0; i < n; i++) {
        BalanceGuest *guest = &guests[i];
        double used = guest->used;
        gboolean refused = guest->known &&
                           guest->rejected > guest->last_rejected;
        double demand;

        guest->pressing_s = MAX(guest->pressing_s - params->elapsed_s, 0);
        if (!guest->pressured &&
            (used >= guest->limit * PRESSING_SHARE ||
             (refused && used >= guest->limit * REFUSED_SHARE))) {
            guest->pressing_s = PRESSING_TIME * params->time_constant_s;
        }
        guest->pressing = guest->pressing_s > 0 && !guest->pressured;
        demand = used + used * SLACK_SHARE + SLACK_BYTES;
        guest->recent = MAX(guest->recent * exp(-params->elapsed_s / forget_s),
                            demand);
        guest->demand = guest->pressing ? highest(guest)
                        : MIN((uint64_t)guest->recent, highest(guest));
        guest->last_rejected = guest->rejected;
        guest->known = TRUE;
    }
}

/* ---- Shares ---- */

typedef struct {
    double weight;
    double low, high;           /* it gets no less and no more */
} Want;

static double clamp(double value, double low, double high)
{
    return value < low ? low : value > high ? high : value;
}

static double filled(const Want *wants, guint n, double level)
{
    double sum = 0;
    guint i;

    for (i = 0; i < n; i++) {
        sum += clamp(level * wants[i].weight, wants[i].low, wants[i].high);
    }
    return sum;
}

/*
 * The level to which all glasses can be filled: the greatest for which what is
 * in them, level * weight each within its bounds, is no more than @budget. The
 * sum grows with the level, so bisection finds it; 100 steps exhaust a double.
 */
static double fill_level(const Want *wants, guint n, double budget)
{
    double low = 0, high = 0;
    int i;

    for (guint j = 0; j < n; j++) {
        high = MAX(high, wants[j].high / wants[j].weight);
    }
    if (filled(wants, n, high) <= budget) {
        return high;
    }
    for (i = 0; i < 100; i++) {
        double middle = low + (high - low) / 2;

        if (filled(wants, n, middle) <= budget) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

typedef struct {
    BalanceGuest *guests;
    guint n;
    double left;                /* of the budget, without what is fixed */
    double scale;               /* of floors beyond the bottom: can be had */
    Want *wants;                /* of each guest; nothing for the fixed */
} Sharing;

static double sharing_floor(const Sharing *s, guint i)
{
    double low = bottom(&s->guests[i]);

    return low + (lowest(&s->guests[i]) - low) * s->scale;
}

/* What is wanted, between @low and @high; fixed guests want nothing */
static void set_want(Sharing *s, guint i, double low, double high)
{
    s->wants[i].weight = s->guests[i].weight;
    s->wants[i].low = s->guests[i].fixed ? 0 : low;
    s->wants[i].high = s->guests[i].fixed ? 0 : MAX(low, high);
}

static double filled_to(const Sharing *s, guint i, double level)
{
    return clamp(level * s->wants[i].weight, s->wants[i].low,
                 s->wants[i].high);
}

/*
 * There is less than what guests hold and their floors: the level says who is
 * to go down, as if all of it could be shared. Nobody goes up but towards its
 * floor, as far as the others leave room for that.
 */
static void share_short(Sharing *s)
{
    double level;
    guint i;

    for (i = 0; i < s->n; i++) {
        set_want(s, i, sharing_floor(s, i), s->guests[i].demand);
    }
    level = fill_level(s->wants, s->n, s->left);
    for (i = 0; i < s->n; i++) {
        s->guests[i].target = filled_to(s, i, level);
    }
    for (i = 0; i < s->n; i++) {
        set_want(s, i, kept(&s->guests[i]), sharing_floor(s, i));
    }
    level = fill_level(s->wants, s->n, s->left);
    for (i = 0; i < s->n; i++) {
        s->guests[i].target = MIN(s->guests[i].target,
                                  (uint64_t)filled_to(s, i, level));
    }
}

/*
 * What a guest holds it keeps, also above its share: so much less is there for
 * the others. It gets none of the headroom: it is to go down.
 */
static void share_plenty(Sharing *s)
{
    double level;
    guint i;

    for (i = 0; i < s->n; i++) {
        set_want(s, i, MAX(sharing_floor(s, i), kept(&s->guests[i])),
                 s->guests[i].demand);
    }
    level = fill_level(s->wants, s->n, s->left);
    for (i = 0; i < s->n; i++) {
        BalanceGuest *guest = &s->guests[i];
        double floor = sharing_floor(s, i);

        guest->target = clamp(level * guest->weight, floor,
                              MAX(floor, guest->demand));
        set_want(s, i, MAX(guest->target, guest->used), highest(guest));
    }
    level = fill_level(s->wants, s->n, s->left);
    for (i = 0; i < s->n; i++) {
        BalanceGuest *guest = &s->guests[i];

        if (guest->target >= guest->used) {
            guest->target = filled_to(s, i, level);
        }
    }
}

void balance_share(BalanceGuest *guests, guint n, uint64_t budget)
{
    g_autofree Want *wants = g_new0(Want, n + 1);
    Sharing s = {
        .guests = guests, .n = n, .left = budget, .wants = wants,
    };
    double held = 0, bottoms = 0, floors = 0;
    guint i;

    for (i = 0; i < n; i++) {
        if (guests[i].fixed) {
            s.left -= MAX(guests[i].max, guests[i].used);
            continue;
        }
        bottoms += bottom(&guests[i]);
        floors += lowest(&guests[i]) - bottom(&guests[i]);
        held += MAX(guests[i].used, lowest(&guests[i]));
    }
    s.left = MAX(s.left, 0);
    /* The reserve goes before floors, and both before fairness */
    s.scale = floors > 0 ? clamp((s.left - bottoms) / floors, 0, 1) : 1;
    if (held >= s.left) {
        share_short(&s);
    } else {
        share_plenty(&s);
    }
    for (i = 0; i < n; i++) {
        if (guests[i].fixed) {
            guests[i].target = guests[i].max;
        }
    }
}

/* ---- Moving ---- */

static uint64_t commitment(const BalanceGuest *guest, uint64_t limit)
{
    return MAX(limit, guest->used);
}

uint64_t balance_commitment(const BalanceGuest *guests, guint n, gboolean next)
{
    uint64_t sum = 0;
    guint i;

    for (i = 0; i < n; i++) {
        uint64_t one = commitment(&guests[i],
                                  next ? guests[i].next : guests[i].max);

        sum += MIN(one, UINT64_MAX - sum);
    }
    return sum;
}

/* What QEMU takes as max-size */
static uint64_t possible(const BalanceGuest *guest, double limit)
{
    uint64_t bytes = limit;

    /* Whole pages: a size that can be read */
    bytes &= ~UINT64_C(4095);
    return MAX(bytes, bottom(guest));
}

static uint64_t step(const BalanceGuest *guest, double share)
{
    double distance = (double)guest->target - guest->max;
    double deadband = MAX(guest->max * DEADBAND_SHARE, DEADBAND_BYTES);

    if (guest->fixed) {
        return guest->max;
    }
    /* A cap holds at once */
    if (guest->max > highest(guest)) {
        return possible(guest, MIN(guest->target, highest(guest)));
    }
    /*
     * A device that holds back does not come to its limit as it is. A higher
     * one would have it grow faster, as it grows by shares of max-size.
     */
    if (fabs(distance) <= deadband ||
        (guest->pressured && distance > 0)) {
        return guest->max;
    }
    return possible(guest, guest->max + distance * share);
}

/* Take @excess out of what is raised, from each the same share. */
static double cut_raises(BalanceGuest *guests, guint n, double excess)
{
    double raised = 0, keep;
    guint i;

    for (i = 0; i < n; i++) {
        if (guests[i].next > guests[i].max) {
            raised += commitment(&guests[i], guests[i].next) -
                      commitment(&guests[i], guests[i].max);
        }
    }
    if (raised <= 0) {
        return excess;
    }
    keep = 1 - MIN(excess / raised, 1);
    for (i = 0; i < n; i++) {
        BalanceGuest *guest = &guests[i];

        if (guest->next > guest->max) {
            guest->next = keep > 0
                ? possible(guest, guest->max +
                                  (guest->next - guest->max) * keep)
                : guest->max;
            guest->next = MAX(guest->next, guest->max);
        }
    }
    return excess - MIN(excess, raised);
}

/* Take @excess out of unused room above the targets, at once. */
static void cut_room(BalanceGuest *guests, guint n, double excess)
{
    double room = 0, share;
    guint i;

    for (i = 0; i < n; i++) {
        if (!guests[i].fixed && guests[i].next > guests[i].target) {
            room += commitment(&guests[i], guests[i].next) -
                    commitment(&guests[i], guests[i].target);
        }
    }
    if (room <= 0) {
        return;
    }
    share = MIN(excess / room, 1);
    for (i = 0; i < n; i++) {
        BalanceGuest *guest = &guests[i];
        uint64_t goal = commitment(guest, guest->target);

        if (!guest->fixed && guest->next > goal) {
            guest->next = possible(guest, guest->next -
                                          (guest->next - goal) * share);
        }
    }
}

void balance_move(BalanceGuest *guests, guint n, uint64_t budget,
                  const BalanceParams *params)
{
    double share = 1 - exp(-params->elapsed_s / params->time_constant_s);
    double excess;
    guint i;

    for (i = 0; i < n; i++) {
        guests[i].next = step(&guests[i], share);
    }
    excess = (double)balance_commitment(guests, n, TRUE) - budget;
    if (excess > 0) {
        excess = cut_raises(guests, n, excess);
    }
    if (excess > 0) {
        cut_room(guests, n, excess);
    }
}
