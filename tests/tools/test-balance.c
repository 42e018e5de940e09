/*
 * Unit tests of tmemctl balance's policy and of its configuration
 *
 * Each test is a promise of balance-policy.h. Random hosts are made from GLib's
 * test seed, so that a failure can be had again.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <math.h>
#include <string.h>

#include "balance-config.h"
#include "balance-policy.h"

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

static BalanceGuest guest(double weight, uint64_t used, uint64_t max)
{
    return (BalanceGuest) {
        .weight = weight, .cap = UINT64_MAX, .max = max, .limit = max,
        .used = used,
    };
}

static const BalanceParams one_second = { .time_constant_s = 5, .elapsed_s = 1 };

static void run(BalanceGuest *guests, guint n, uint64_t budget, double seconds)
{
    BalanceParams params = { .time_constant_s = 5, .elapsed_s = seconds };

    balance_demand(guests, n, &params);
    balance_share(guests, n, budget);
    balance_move(guests, n, budget, &params);
}

/* Guests that take all that they may, and give back slowly */
static void obey(BalanceGuest *guests, guint n, const uint64_t *want)
{
    guint i;

    for (i = 0; i < n; i++) {
        BalanceGuest *g = &guests[i];
        uint64_t goal = MIN(want[i], g->next);

        g->max = g->limit = g->next;
        g->rejected += want[i] > g->next;
        g->used = goal > g->used ? goal : g->used - (g->used - goal) / 4;
    }
}

static void assert_near(uint64_t value, uint64_t expected, double share)
{
    if (fabs((double)value - expected) > expected * share) {
        g_error("%" G_GUINT64_FORMAT " is not within %g %% of "
                "%" G_GUINT64_FORMAT, value, share * 100, expected);
    }
}

/* ---- Budget ---- */

static void test_budget(void)
{
    g_assert_cmpuint(balance_budget(GIB, 3 * GIB, 8 * GIB, GIB, UINT64_MAX),
                     ==, 3 * GIB);
    g_assert_cmpuint(balance_budget(GIB, 3 * GIB, 8 * GIB, GIB, 2 * GIB), ==,
                     2 * GIB);
    g_assert_cmpuint(balance_budget(GIB, 0, 8 * GIB, 3 * GIB, UINT64_MAX), ==,
                     0);
}

static void test_budget_is_of_this_host(void)
{
    g_assert_cmpuint(balance_budget(UINT64_MAX, 3 * GIB, 8 * GIB, GIB,
                                    UINT64_MAX), ==, 7 * GIB);
    g_assert_cmpuint(balance_budget(0, 9 * GIB, 8 * GIB, GIB, UINT64_MAX), ==,
                     7 * GIB);
}

/* ---- Demand ---- */

static void test_demand_of_the_idle(void)
{
    BalanceGuest g = guest(1, 80 * MIB, GIB);

    balance_demand(&g, 1, &one_second);
    g_assert_false(g.pressing);
    g_assert_cmpuint(g.demand, ==, 94 * MIB);
}

static void test_demand_of_the_full(void)
{
    BalanceGuest g = guest(1, 99 * MIB, 100 * MIB);

    g.cap = GIB;
    balance_demand(&g, 1, &one_second);
    g_assert_true(g.pressing);
    g_assert_cmpuint(g.demand, ==, GIB);
}

static void test_demand_of_the_refused(void)
{
    BalanceGuest g = guest(1, 80 * MIB, 100 * MIB);
    int i;

    g.rejected = 1000;
    balance_demand(&g, 1, &one_second);
    g_assert_false(g.pressing);     /* long ago, for all we know */
    g.rejected++;
    balance_demand(&g, 1, &one_second);
    g_assert_true(g.pressing);
    for (i = 0; i < 9; i++) {
        balance_demand(&g, 1, &one_second);
        g_assert_true(g.pressing);
    }
    balance_demand(&g, 1, &one_second);
    g_assert_false(g.pressing);
}

static void test_demand_is_forgotten_by_time_constants(void)
{
    BalanceParams slow = { .time_constant_s = 5, .elapsed_s = 6 };
    BalanceParams fast = { .time_constant_s = .5, .elapsed_s = 6 };
    BalanceGuest g[] = { guest(1, 100 * MIB, GIB), guest(1, 100 * MIB, GIB) };

    balance_demand(g, 2, &one_second);
    g[0].used = g[1].used = 0;
    balance_demand(&g[0], 1, &slow);
    balance_demand(&g[1], 1, &fast);
    g_assert_cmpuint(g[0].demand, >, 100 * MIB);
    g_assert_cmpuint(g[1].demand, <, 50 * MIB);
}

static void test_refused_with_room_is_no_demand(void)
{
    BalanceGuest g = guest(1, 10 * MIB, 100 * MIB);

    balance_demand(&g, 1, &one_second);
    g.rejected = 5;
    balance_demand(&g, 1, &one_second);
    g_assert_false(g.pressing);
}

static void test_pressured_does_not_press(void)
{
    BalanceGuest g = guest(1, 60 * MIB, 100 * MIB);

    g.limit = 60 * MIB;
    g.pressured = TRUE;
    balance_demand(&g, 1, &one_second);
    g_assert_false(g.pressing);
}

/* ---- Shares ---- */

static void test_all_press_by_weight(void)
{
    BalanceGuest g[] = {
        guest(1, 10 * MIB, 10 * MIB), guest(2, 10 * MIB, 10 * MIB),
        guest(4, 10 * MIB, 10 * MIB),
    };

    balance_demand(g, 3, &one_second);
    balance_share(g, 3, 700 * MIB);
    assert_near(g[0].target, 100 * MIB, 0.001);
    assert_near(g[1].target, 200 * MIB, 0.001);
    assert_near(g[2].target, 400 * MIB, 0.001);
}

static void test_who_wants_less_leaves_it_to_others(void)
{
    BalanceGuest g[] = {
        guest(1, 100 * MIB, 100 * MIB), guest(1, 100 * MIB, 100 * MIB),
        guest(8, 32 * MIB, 500 * MIB),
    };

    balance_demand(g, 3, &one_second);
    balance_share(g, 3, 700 * MIB);
    g_assert_cmpuint(g[2].target, ==, g[2].demand);
    g_assert_cmpuint(g[2].demand, ==, 40 * MIB);
    assert_near(g[0].target, 330 * MIB, 0.001);
    assert_near(g[1].target, 330 * MIB, 0.001);
}

static void test_what_nobody_wants_is_headroom(void)
{
    BalanceGuest g[] = {
        guest(1, 0, 10 * MIB), guest(3, 0, 10 * MIB), guest(4, 0, 10 * MIB),
    };

    g[2].cap = 50 * MIB;
    balance_demand(g, 3, &one_second);
    balance_share(g, 3, 850 * MIB);
    g_assert_cmpuint(g[2].target, ==, 50 * MIB);
    assert_near(g[0].target, 200 * MIB, 0.001);
    assert_near(g[1].target, 600 * MIB, 0.001);
}

static void test_floor(void)
{
    BalanceGuest g[] = {
        guest(1, 10 * MIB, 10 * MIB), guest(99, 10 * MIB, 10 * MIB),
    };

    g[0].floor = 60 * MIB;
    balance_demand(g, 2, &one_second);
    balance_share(g, 2, 100 * MIB);
    assert_near(g[0].target, 60 * MIB, 0.001);
    assert_near(g[1].target, 40 * MIB, 0.001);
}

static void test_reserve_goes_before_floors(void)
{
    BalanceGuest g[] = { guest(1, 0, 10 * MIB), guest(1, 0, 10 * MIB) };

    g[0].floor = 300 * MIB;
    g[1].floor = 100 * MIB;
    balance_demand(g, 2, &one_second);
    balance_share(g, 2, 200 * MIB);
    assert_near(g[0].target, 150 * MIB, 0.01);
    assert_near(g[1].target, 50 * MIB, 0.01);
}

/* What a guest holds cannot be taken: the others share what is left. */
static void test_what_is_held_is_kept(void)
{
    BalanceGuest g[] = {
        guest(1, 400 * MIB, 500 * MIB), guest(1, 10 * MIB, 10 * MIB),
        guest(2, 10 * MIB, 10 * MIB),
    };

    balance_demand(g, 3, &one_second);
    balance_share(g, 3, 700 * MIB);
    assert_near(g[0].target, 100 * MIB, 0.001);
    assert_near(g[1].target, 100 * MIB, 0.001);
    assert_near(g[2].target, 200 * MIB, 0.001);
}

static void test_short_of_memory_nobody_grows(void)
{
    BalanceGuest g[] = {
        guest(1, 400 * MIB, 500 * MIB), guest(1, 10 * MIB, 100 * MIB),
    };

    run(g, 2, 200 * MIB, 1);
    assert_near(g[0].target, 200 * MIB - g[1].demand, 0.001);
    g_assert_cmpuint(g[1].target, ==, 10 * MIB);
    g_assert_cmpuint(g[1].next, <=, 10 * MIB);
    g_assert_cmpuint(g[0].next, <=, 400 * MIB);
}

static void test_fixed_is_left_alone(void)
{
    BalanceGuest g[] = {
        guest(1, 10 * MIB, 300 * MIB), guest(1, 10 * MIB, 10 * MIB),
    };

    g[0].fixed = TRUE;
    run(g, 2, 400 * MIB, 1000);
    g_assert_cmpuint(g[0].next, ==, 300 * MIB);
    assert_near(g[1].target, 100 * MIB, 0.001);
}

/* ---- Moving ---- */

static void test_moves_smoothly(void)
{
    BalanceGuest g = guest(1, 100 * MIB, 100 * MIB);
    uint64_t before = 0, moved;
    int i;

    for (i = 0; i < 20; i++) {
        run(&g, 1, 1100 * MIB, 1);
        moved = g.next - g.max;
        g_assert_cmpuint(moved, <=, 200 * MIB);
        if (before) {
            g_assert_cmpuint(moved, <=, before);
        }
        before = moved;
        g.max = g.limit = g.used = g.next;
    }
    assert_near(g.max, 1100 * MIB, 0.05);
}

static void test_rests_near_the_target(void)
{
    BalanceGuest g = guest(1, 100 * MIB, 100 * MIB);

    run(&g, 1, 101 * MIB, 100);
    g_assert_cmpuint(g.next, ==, 100 * MIB);
}

static void test_cap_holds_at_once(void)
{
    BalanceGuest g = guest(1, 10 * MIB, GIB);

    g.cap = 64 * MIB;
    run(&g, 1, 8 * GIB, 0.001);
    g_assert_cmpuint(g.next, <=, 64 * MIB);
}

static void test_budget_holds_at_once(void)
{
    BalanceGuest g[] = {
        guest(1, 10 * MIB, 8 * GIB), guest(1, 20 * MIB, 8 * GIB),
    };

    run(g, 2, GIB, 0.001);
    g_assert_cmpuint(balance_commitment(g, 2, TRUE), <=, GIB);
}

static void test_nobody_is_raised_beyond_the_budget(void)
{
    BalanceGuest g[] = {
        guest(1, 10 * MIB, 100 * MIB), guest(1, 10 * MIB, 10 * MIB),
    };

    run(g, 2, 80 * MIB, 1);
    g_assert_cmpuint(g[1].target, >, 20 * MIB);
    g_assert_cmpuint(g[1].next, ==, 10 * MIB);
    g_assert_cmpuint(balance_commitment(g, 2, TRUE), <=, 80 * MIB);
}

static void test_pressured_is_not_raised(void)
{
    BalanceGuest g = guest(1, 60 * MIB, 100 * MIB);

    g.limit = 60 * MIB;
    g.pressured = TRUE;
    run(&g, 1, GIB, 10);
    g_assert_cmpuint(g.next, ==, 100 * MIB);
}

static void test_never_below_min_size(void)
{
    BalanceGuest g = guest(1, 0, 100 * MIB);

    g.min = 50 * MIB;
    run(&g, 1, 10 * MIB, 100);
    g_assert_cmpuint(g.next, ==, 50 * MIB);
    g.min = 0;
    run(&g, 1, 0, 100);
    g_assert_cmpuint(g.next, ==, BALANCE_MIN_LIMIT);
}

/* ---- Any host ---- */

static BalanceGuest random_guest(void)
{
    uint64_t max = BALANCE_MIN_LIMIT + g_test_rand_int_range(0, 1 << 30);
    BalanceGuest g = guest(exp(g_test_rand_double_range(-2, 4)), 0, max);

    g.used = g_test_rand_double_range(0, 1.2) * max;
    g.limit = g_test_rand_bit() ? max : max * g_test_rand_double_range(0, 1);
    g.pressured = g.limit < max && g_test_rand_bit();
    g.fixed = g_test_rand_int_range(0, 8) == 0;
    if (g_test_rand_bit()) {
        g.cap = g_test_rand_int_range(0, 1 << 30);
    }
    if (g_test_rand_bit()) {
        g.floor = g_test_rand_int_range(0, 1 << 28);
    }
    if (g_test_rand_int_range(0, 4) == 0) {
        g.min = g_test_rand_int_range(0, 1 << 26);
        g.min = MIN(g.min, g.max);
    }
    return g;
}

/*
 * The first two promises, for every guest and the whole. Limits that QEMU does
 * not take any lower (min-size, 1 MiB) are no fault of the policy.
 */
static void check_promises(const BalanceGuest *guests, guint n,
                           uint64_t budget)
{
    uint64_t least = 0, before = balance_commitment(guests, n, FALSE);
    uint64_t after = balance_commitment(guests, n, TRUE);
    guint i;

    for (i = 0; i < n; i++) {
        const BalanceGuest *g = &guests[i];
        uint64_t bottom = MAX(g->min, BALANCE_MIN_LIMIT);

        if (g->fixed) {
            g_assert_cmpuint(g->next, ==, g->max);
            least += MAX(g->max, g->used);
            continue;
        }
        g_assert_cmpuint(g->next, >=, bottom);
        g_assert_cmpuint(g->next, <=, MAX(g->cap, bottom));
        least += MAX(bottom, g->used);
    }
    if (after > budget) {
        /* Then there was no way: all are at what they hold */
        g_assert_cmpuint(after, <=, MAX(least, budget) + n * 4096);
        g_assert_cmpuint(after, <=, MAX(before, least) + n * 4096);
    }
}

static void test_promises_on_any_host(void)
{
    int round;

    for (round = 0; round < 3000; round++) {
        guint n = g_test_rand_int_range(1, 40), i;
        g_autofree BalanceGuest *guests = g_new0(BalanceGuest, n);
        uint64_t budget = (uint64_t)g_test_rand_int_range(0, 1 << 30) << 3;
        int again;

        for (i = 0; i < n; i++) {
            guests[i] = random_guest();
        }
        for (again = 0; again < 3; again++) {
            run(guests, n, budget, g_test_rand_double_range(0.01, 30));
            check_promises(guests, n, budget);
            for (i = 0; i < n; i++) {
                guests[i].max = guests[i].next;
                guests[i].limit = MIN(guests[i].limit, guests[i].max);
                guests[i].rejected += g_test_rand_bit();
            }
        }
    }
}

/*
 * Weighted max-min by its definition, guest by guest in the order of demand for
 * each unit of weight: not how the policy does it.
 */
static void fair_by_definition(const BalanceGuest *guests, guint n,
                               double budget, double *fair)
{
    g_autofree gboolean *done = g_new0(gboolean, n);
    double weights = 0;
    guint i, k;

    for (i = 0; i < n; i++) {
        weights += guests[i].weight;
    }
    for (k = 0; k < n; k++) {
        guint least = n;

        for (i = 0; i < n; i++) {
            if (!done[i] && (least == n ||
                             guests[i].demand / guests[i].weight <
                             guests[least].demand / guests[least].weight)) {
                least = i;
            }
        }
        fair[least] = MIN((double)guests[least].demand,
                          budget * guests[least].weight / weights);
        budget -= fair[least];
        weights -= guests[least].weight;
        done[least] = TRUE;
    }
}

static void test_fair_by_definition(void)
{
    int round;

    for (round = 0; round < 1000; round++) {
        guint n = g_test_rand_int_range(1, 30), i;
        g_autofree BalanceGuest *guests = g_new0(BalanceGuest, n);
        g_autofree double *fair = g_new0(double, n);
        uint64_t budget = (uint64_t)n * 20 * MIB;

        for (i = 0; i < n; i++) {
            guests[i] = guest(exp(g_test_rand_double_range(-1, 2)), 0, GIB);
            /* Caps, as all press: demands as they may be */
            guests[i].cap = guests[i].demand =
                g_test_rand_int_range(2 * MIB, 64 * MIB);
        }
        fair_by_definition(guests, n, budget, fair);
        balance_share(guests, n, budget);
        for (i = 0; i < n; i++) {
            /* QEMU's minimum is a floor that the definition has not */
            if (fair[i] > 2 * MIB) {
                g_assert_cmpfloat(fabs(guests[i].target - fair[i]), <,
                                  0.05 * fair[i] + 2);
            }
        }
    }
}

/* ---- Over time ---- */

static void test_settles_by_weight(void)
{
    BalanceGuest g[] = {
        guest(1, 0, 4 * MIB), guest(2, 0, 200 * MIB), guest(4, 0, 4 * MIB),
    };
    uint64_t want[] = { GIB, GIB, GIB };
    int second;

    for (second = 0; second < 60; second++) {
        run(g, 3, 140 * MIB, 1);
        obey(g, 3, want);
    }
    assert_near(g[0].used, 20 * MIB, 0.05);
    assert_near(g[1].used, 40 * MIB, 0.05);
    assert_near(g[2].used, 80 * MIB, 0.05);
}

static void test_settles_anew(void)
{
    BalanceGuest g[] = { guest(1, 0, 50 * MIB), guest(1, 0, 50 * MIB) };
    uint64_t want[] = { GIB, 8 * MIB };
    int second;

    for (second = 0; second < 120; second++) {
        if (second == 60) {
            want[1] = GIB;
        }
        run(g, 2, 100 * MIB, 1);
        g_assert_cmpuint(balance_commitment(g, 2, TRUE), <=, 100 * MIB);
        obey(g, 2, want);
        if (second == 59) {
            g_assert_cmpuint(g[0].used, >, 80 * MIB);
        }
    }
    assert_near(g[0].used, 50 * MIB, 0.05);
    assert_near(g[1].used, 50 * MIB, 0.05);
}

/* With demands that do not change, limits come to rest. */
static void test_comes_to_rest(void)
{
    BalanceGuest g[8];
    uint64_t want[8];
    int second, changes = 0;
    guint i;

    for (i = 0; i < 8; i++) {
        g[i] = guest(1 + i % 3, 0, 10 * MIB);
        want[i] = (i + 1) * 10 * MIB;
    }
    for (second = 0; second < 300; second++) {
        run(g, 8, 200 * MIB, 1);
        for (i = 0; second >= 240 && i < 8; i++) {
            changes += g[i].next != g[i].max;
        }
        obey(g, 8, want);
    }
    g_assert_cmpint(changes, <=, 8);
}

/* ---- Configuration ---- */

static BalanceConfig *parse(const char *text, GError **error)
{
    return balance_config_parse(text, "test.conf", error);
}

static void test_config(void)
{
    g_autoptr(BalanceConfig) config =
        parse("[balance]\nreserve=2G\ntotal=16G\ninterval=0.5\n"
              "[default]\nweight=1\ncap=1G\n"
              "[guest db-*]\nweight=4\nmin=256M\ncap=none\n"
              "[guest db-2]\nweight=8\n"
              "[guest build]\nmanaged=false\n", NULL);
    BalanceRule rule;

    g_assert_nonnull(config);
    g_assert_cmpuint(balance_config_reserve(config, 100 * GIB), ==, 2 * GIB);
    g_assert_cmpuint(config->total, ==, 16 * GIB);
    g_assert_cmpfloat(config->interval_s, ==, 0.5);
    balance_config_rule(config, "web", &rule);
    g_assert_cmpfloat(rule.weight, ==, 1);
    g_assert_cmpuint(rule.cap, ==, GIB);
    g_assert_true(rule.managed);
    balance_config_rule(config, "db-1", &rule);
    g_assert_cmpfloat(rule.weight, ==, 4);
    g_assert_cmpuint(rule.floor, ==, 256 * MIB);
    g_assert_cmpuint(rule.cap, ==, UINT64_MAX);
    /*
     * A name is stronger than a pattern, and what it does not say is the
     * default's
     */
    balance_config_rule(config, "db-2", &rule);
    g_assert_cmpfloat(rule.weight, ==, 8);
    g_assert_cmpuint(rule.cap, ==, GIB);
    balance_config_rule(config, "build", &rule);
    g_assert_false(rule.managed);
}

static void test_config_defaults(void)
{
    g_autoptr(BalanceConfig) config = parse("", NULL);
    BalanceRule rule;

    g_assert_nonnull(config);
    g_assert_cmpuint(balance_config_reserve(config, 100 * GIB), ==, 10 * GIB);
    g_assert_cmpuint(config->total, ==, UINT64_MAX);
    balance_config_rule(config, "web", &rule);
    g_assert_cmpfloat(rule.weight, ==, 1);
    g_assert_cmpuint(rule.cap, ==, UINT64_MAX);
}

static void test_config_errors(void)
{
    static const struct {
        const char *text, *message;
    } bad[] = {
        { "[balance]\nreserve=lots\n", "lots" },
        { "[balance]\nreserve=200%\n", "200%" },
        { "[balance]\nreserv=1G\n", "reserv" },
        { "[balance]\ninterval=0\n", "interval" },
        { "[balance]\ntime-constant=nan\n", "time-constant" },
        { "[guests web]\nweight=1\n", "guests web" },
        { "[guest]\nweight=1\n", "guest" },
        { "[guest web]\nweight=0\n", "weight" },
        { "[guest web]\nweight=-1\n", "weight" },
        { "[guest web]\nweight=inf\n", "weight" },
        { "[guest web]\nweight=2x\n", "weight" },
        { "[guest web]\nmin=2G\ncap=1G\n", "min" },
        { "[guest web]\nmanaged=perhaps\n", "managed" },
        { "weight=1\n", "test.conf" },
        { "[guest web\n", "test.conf" },
    };
    guint i;

    for (i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        BalanceConfig *config = parse(bad[i].text, &error);

        if (config || !strstr(error->message, bad[i].message) ||
            !strstr(error->message, "test.conf") ||
            strchr(error->message, '\n')) {
            g_error("%s: %s", bad[i].text,
                    error ? error->message : "no error");
        }
    }
}

int main(int argc, char **argv)
{
    static const struct {
        const char *path;
        GTestFunc func;
    } tests[] = {
        { "/balance/budget/sum", test_budget },
        { "/balance/budget/of-this-host", test_budget_is_of_this_host },
        { "/balance/demand/idle", test_demand_of_the_idle },
        { "/balance/demand/full", test_demand_of_the_full },
        { "/balance/demand/refused", test_demand_of_the_refused },
        { "/balance/demand/forgotten",
          test_demand_is_forgotten_by_time_constants },
        { "/balance/demand/refused-with-room",
          test_refused_with_room_is_no_demand },
        { "/balance/demand/pressured", test_pressured_does_not_press },
        { "/balance/share/by-weight", test_all_press_by_weight },
        { "/balance/share/who-wants-less",
          test_who_wants_less_leaves_it_to_others },
        { "/balance/share/headroom", test_what_nobody_wants_is_headroom },
        { "/balance/share/floor", test_floor },
        { "/balance/share/reserve-before-floors",
          test_reserve_goes_before_floors },
        { "/balance/share/held-is-kept", test_what_is_held_is_kept },
        { "/balance/share/host-is-short", test_short_of_memory_nobody_grows },
        { "/balance/share/fixed", test_fixed_is_left_alone },
        { "/balance/share/by-definition", test_fair_by_definition },
        { "/balance/move/smoothly", test_moves_smoothly },
        { "/balance/move/rests", test_rests_near_the_target },
        { "/balance/move/cap-at-once", test_cap_holds_at_once },
        { "/balance/move/budget-at-once", test_budget_holds_at_once },
        { "/balance/move/nobody-beyond-the-budget",
          test_nobody_is_raised_beyond_the_budget },
        { "/balance/move/pressured", test_pressured_is_not_raised },
        { "/balance/move/min-size", test_never_below_min_size },
        { "/balance/any-host", test_promises_on_any_host },
        { "/balance/time/by-weight", test_settles_by_weight },
        { "/balance/time/anew", test_settles_anew },
        { "/balance/time/rest", test_comes_to_rest },
        { "/balance/config/all", test_config },
        { "/balance/config/defaults", test_config_defaults },
        { "/balance/config/errors", test_config_errors },
    };
    guint i;

    g_test_init(&argc, &argv, NULL);
    for (i = 0; i < G_N_ELEMENTS(tests); i++) {
        g_test_add_func(tests[i].path, tests[i].func);
    }
    return g_test_run();
}
