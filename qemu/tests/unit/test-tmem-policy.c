/*
 * Limit of virtio-tmem's page store: the controller, against scripted pressure
 * and in a closed loop with a model of a host
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "hw/virtio/tmem-store-policy.h"
#include "tmem-store-pages.h"

#define GIB (UINT64_C(1) << 30)
#define NS_PER_MS INT64_C(1000000)
#define NS_PER_SEC INT64_C(1000000000)

/* A controller, and the inputs of its next update. */
typedef struct Rig {
    TmemPolicy policy;
    TmemPolicyInput in;
    uint64_t limit;
} Rig;

/* A store that is full, with 16 GiB. */
static void rig_init(Rig *rig)
{
    *rig = (Rig) {
        .in = { .used = 16 * GIB, .max_size = 16 * GIB },
        .limit = 16 * GIB,
    };
    tmem_policy_init(&rig->policy, rig->in.max_size, 0);
}

static uint64_t rig_update(Rig *rig, int ms, int permille)
{
    rig->in.now_ns += ms * NS_PER_MS;
    rig->in.pressure_permille = permille;
    rig->limit = tmem_policy_update(&rig->policy, &rig->in);
    g_assert_cmpuint(rig->limit, >=, MIN(rig->in.min_size, rig->in.max_size));
    g_assert_cmpuint(rig->limit, <=, rig->in.max_size);
    return rig->limit;
}

static void rig_assert_reason(Rig *rig, TmemLimitCause cause)
{
    g_assert_cmpint(tmem_policy_cause(&rig->policy), ==, cause);
}

/* Updates as they are due, with the store as full as it may be. */
static void rig_run(Rig *rig, int ms, int permille)
{
    while (ms > 0) {
        int interval = tmem_policy_interval_ms(&rig->policy);

        rig_update(rig, interval, permille);
        rig->in.used = MIN(rig->in.used, rig->limit);
        ms -= interval;
    }
}

/* Calm until the limit grows. Returns how long that took, in ms. */
static int rig_run_until_growth(Rig *rig)
{
    int ms = 0;

    do {
        rig_update(rig, 250, 0);
        ms += 250;
        g_assert_cmpint(ms, <, 3600 * 1000);
    } while (tmem_policy_cause(&rig->policy) != TMEM_LIMIT_GROWING);
    rig->in.used = rig->limit;
    return ms;
}

/* Pressure needs up to 2 s more to be over, by smoothing. */
static void rig_assert_waits(Rig *rig, int seconds)
{
    int ms = rig_run_until_growth(rig);

    g_assert_cmpint(ms, >=, seconds * 1000);
    g_assert_cmpint(ms, <=, seconds * 1000 + 2000);
}

/* From any moment between two updates, and for any pressure above HIGH */
static void test_falls_within_two_seconds(void)
{
    for (int permille = 102; permille <= 1000; permille += 7) {
        for (int begin = 0; begin < 1000; begin += 50) {
            int now = 0;
            Rig rig;

            rig_init(&rig);
            while (rig.limit == rig.in.max_size) {
                int ms = tmem_policy_interval_ms(&rig.policy);
                int stalled = MAX(0, MIN(now + ms - begin, ms)) * permille;

                now += ms;
                g_assert_cmpint(now, <=, begin + 2000);
                rig_update(&rig, ms, stalled / ms);
            }
            rig_assert_reason(&rig, TMEM_LIMIT_PRESSURE);
        }
    }
}

/* Whether or not the store can follow, and with updates up to 4 s late */
static void test_falls_by_ten_percent_each_second(void)
{
    static const int intervals[] = { 50, 250, 333, 1000, 2000, 4000 };

    for (unsigned i = 0; i < G_N_ELEMENTS(intervals) * 2; i++) {
        int ms = intervals[i / 2];
        uint64_t used, limit;
        Rig rig;

        rig_init(&rig);
        rig_run(&rig, 2000, 300);
        used = rig.in.used;
        while (rig.limit > GIB / 100) {
            limit = rig.limit;
            rig_update(&rig, ms, 300);
            g_assert_cmpuint(rig.limit, <=,
                             limit - MIN(limit, used / 10000.0 * ms));
            if (i % 2) {
                used = rig.in.used = rig.limit;
            }
        }
    }
}

/* In bursts too: a fifth of each second is above HIGH, whenever it is */
static void test_falls_under_bursts(void)
{
    Rig rig;

    rig_init(&rig);
    rig_run(&rig, 2000, 200);
    for (unsigned second = 0; second < 20; second++) {
        uint64_t limit = rig.limit;

        for (unsigned i = 0; i < 4; i++) {
            rig_update(&rig, 250, i == second % 4 ? 800 : 0);
        }
        g_assert_cmpuint(rig.limit, <=, limit - limit / 10);
        rig.in.used = rig.limit;
    }
}

static void test_falls_below_what_is_used(void)
{
    Rig rig;

    rig_init(&rig);
    rig.in.used = GIB;
    rig_update(&rig, 1000, 500);
    g_assert_cmpuint(rig.limit, <, GIB);
    g_assert_cmpuint(rig.limit, >, GIB / 2);
}

static void test_single_stall_changes_nothing(void)
{
    Rig rig;

    rig_init(&rig);
    rig_update(&rig, 250, 0);
    for (unsigned i = 0; i < 100; i++) {
        rig_update(&rig, 250, i % 10 ? 0 : 190);
        g_assert_cmpuint(rig.limit, ==, rig.in.max_size);
    }
}

static void test_stops_at_min_size(void)
{
    Rig rig;

    rig_init(&rig);
    rig.in.min_size = 3 * GIB;
    rig_run(&rig, 20000, 1000);
    g_assert_cmpuint(rig.limit, ==, 3 * GIB);
    rig_assert_reason(&rig, TMEM_LIMIT_MIN);
    rig_run(&rig, 4000, 0);
    g_assert_cmpuint(rig.limit, ==, 3 * GIB);
    rig_assert_reason(&rig, TMEM_LIMIT_HOLD);

    rig_init(&rig);
    rig.in.min_size = rig.in.max_size;
    rig_run(&rig, 2000, 1000);
    rig_assert_reason(&rig, TMEM_LIMIT_MIN);
    rig_run(&rig, 2000, 0);
    rig_assert_reason(&rig, TMEM_LIMIT_MAX);
}

static void test_stops_when_pressure_stops(void)
{
    uint64_t limit;
    Rig rig;

    rig_init(&rig);
    rig_run(&rig, 2000, 1000000); /* as much as all of the time, no more */
    limit = rig.limit;
    rig_run(&rig, 1000, 0);
    g_assert_cmpuint(rig.limit, >, limit * 8 / 10);
    limit = rig.limit;
    rig_run(&rig, 5000, 0);
    g_assert_cmpuint(rig.limit, ==, limit);
    rig_assert_reason(&rig, TMEM_LIMIT_HOLD);
}

static void test_holds_between_low_and_high(void)
{
    uint64_t limit;
    Rig rig;

    for (int permille = 20; permille <= 100; permille += 20) {
        rig_init(&rig);
        rig_run(&rig, 9000, permille);
        g_assert_cmpuint(rig.limit, ==, rig.in.max_size);

        rig_run(&rig, 2000, 1000);
        while (tmem_policy_cause(&rig.policy) != TMEM_LIMIT_HOLD) {
            rig_run(&rig, 250, 50);
        }
        limit = rig.limit;
        rig_run(&rig, 9000, permille);
        g_assert_cmpuint(rig.limit, ==, limit);
        rig_assert_reason(&rig, TMEM_LIMIT_HOLD);
    }
}

/* Only calm counts, but what was counted is not lost */
static void test_time_between_low_and_high_is_not_calm(void)
{
    Rig rig;

    rig_init(&rig);
    rig_run(&rig, 2000, 300);
    rig_run(&rig, 1500, 0);
    for (unsigned i = 0; i < 4; i++) {
        rig_run(&rig, 4000, 60);
        rig_run(&rig, 2000, 0);
        rig_assert_reason(&rig, TMEM_LIMIT_HOLD);
    }
    g_assert_cmpint(rig_run_until_growth(&rig), <=, 4500);
}

/* Pressure that never gets high, but stays: 1/8 of the store each 10 s */
static void test_lasting_strain_is_relieved_slowly(void)
{
    uint64_t expected = 16 * GIB;
    Rig rig;

    rig_init(&rig);
    rig_update(&rig, 1000, 50);
    for (unsigned i = 0; i < 8; i++) {
        rig_run(&rig, 10000, 50);
        expected -= expected / 8;
        g_assert_cmpuint(rig.limit, <=, expected);
        g_assert_cmpuint(rig.limit, >=, expected - 16);
    }
}

static void test_grows_to_max_within_a_minute_of_calm(void)
{
    static const int intervals[] = { 50, 250, 400, 1000 };

    for (unsigned i = 0; i < G_N_ELEMENTS(intervals); i++) {
        uint64_t limit, step = 0;
        Rig rig;

        rig_init(&rig);
        rig_run(&rig, 20000, 1000);
        g_assert_cmpuint(rig.limit, <, GIB);
        for (int ms = 0; rig.limit < rig.in.max_size; ms += intervals[i]) {
            limit = rig.limit;
            g_assert_cmpint(ms, <, 60000);
            rig_update(&rig, intervals[i], 0);
            if (rig.limit > limit && rig.limit < rig.in.max_size) {
                g_assert_cmpint(ms, >=, 9000);
                rig_assert_reason(&rig, TMEM_LIMIT_GROWING);
                g_assert_true(step == 0 || step == rig.limit - limit);
                step = rig.limit - limit;
            }
        }
        rig_assert_reason(&rig, TMEM_LIMIT_MAX);
    }
}

static void test_each_return_of_pressure_doubles_the_wait(void)
{
    static const int seconds[] = { 10, 20, 40, 80, 160, 320, 600, 600 };
    Rig rig;

    rig_init(&rig);
    for (unsigned i = 0; i < G_N_ELEMENTS(seconds); i++) {
        rig_run(&rig, 2000, 300);
        rig_assert_waits(&rig, seconds[i]);
    }
}

/* Pressure that comes again before there was growth is the same episode */
static void test_flickering_pressure_is_one_episode(void)
{
    Rig rig;

    rig_init(&rig);
    for (unsigned i = 0; i < 10; i++) {
        rig_run(&rig, 1000, 300);
        rig_run(&rig, 5000, 0);
    }
    rig_run(&rig, 1000, 300);
    rig_assert_waits(&rig, 10);
}

/* Two episodes, the second at 8 GiB: the knee is at 7 GiB, the wait 20 s. */
static void rig_learn_knee(Rig *rig)
{
    rig_init(rig);
    rig_run(rig, 2000, 1000);
    while (rig->limit > 6 * GIB) {
        rig_run(rig, 250, 1000);
    }
    rig_run_until_growth(rig);
    while (rig->limit < 8 * GIB) {
        rig_run(rig, 250, 0);
    }
    rig->in.used = rig->limit = 8 * GIB;
    rig_update(rig, 250, 1000);
    rig_run(rig, 3000, 1000);
    rig_assert_waits(rig, 20);
}

static void test_waits_below_where_pressure_came_back(void)
{
    uint64_t limit, step;
    int ms = 0;
    Rig rig;

    rig_learn_knee(&rig);
    /* Pressure comes back beyond the knee: the next probe is after 40 s. */
    do {
        rig_update(&rig, 250, 0);
    } while (rig.limit < 8 * GIB);
    rig.in.used = 8 * GIB;
    rig_run(&rig, 3000, 1000);
    g_assert_cmpuint(rig.limit, <, 6 * GIB);
    rig_assert_waits(&rig, 10);

    while (tmem_policy_cause(&rig.policy) == TMEM_LIMIT_GROWING) {
        rig_update(&rig, 250, 0);
        ms += 250;
        g_assert_cmpint(ms, <, 20000);
    }
    g_assert_cmpuint(rig.limit, ==, 7 * GIB);
    rig_assert_reason(&rig, TMEM_LIMIT_HOLD);

    while (rig_update(&rig, 250, 0) == 7 * GIB) {
        ms += 250;
        g_assert_cmpint(ms, <=, 30000);
    }
    g_assert_cmpint(ms, >=, 28000);

    /* First with care, then as fast as ever, and to the end. */
    limit = rig.limit;
    step = rig_update(&rig, 250, 0) - limit;
    g_assert_cmpuint(step, <=, rig.in.max_size / 160 / 15);
    for (ms = 0; rig.limit < rig.in.max_size; ms += 250) {
        limit = rig.limit;
        rig_update(&rig, 250, 0);
        g_assert_cmpuint(rig.limit - limit, <=, rig.in.max_size / 160 + 1);
        if (rig.limit < rig.in.max_size) {
            g_assert_cmpuint(rig.limit - limit, >=, step);
            step = rig.limit - limit;
        }
        g_assert_cmpint(ms, <, 50000);
    }
    g_assert_cmpuint(step, >=, rig.in.max_size / 160);
}

/* A knee that stood until the next probe was right: recovery is quick again */
static void test_standing_knee_shortens_recovery(void)
{
    Rig rig;

    rig_learn_knee(&rig);
    while (rig.limit <= 7 * GIB) {
        rig_update(&rig, 250, 0);
    }
    rig.in.used = 8 * GIB;
    while (rig.limit <= 7 * GIB + GIB / 2) {
        rig_update(&rig, 250, 0);
    }
    rig_run(&rig, 3000, 1000);
    rig_assert_waits(&rig, 10);
}

static void test_long_calm_at_max_is_forgiven(void)
{
    for (unsigned minutes = 17; minutes <= 21; minutes += 4) {
        Rig rig;

        rig_init(&rig);
        rig_run(&rig, 2000, 1000);
        rig_run(&rig, minutes * 60 * 1000, 0);
        g_assert_cmpuint(rig.limit, ==, rig.in.max_size);
        rig.in.used = rig.limit;
        rig_run(&rig, 2000, 1000);
        rig_assert_waits(&rig, minutes < 20 ? 20 : 10);
    }
}

/* Also when it was max-size that came down to the limit */
static void test_long_calm_at_lowered_max_is_forgiven(void)
{
    Rig rig;

    rig_init(&rig);
    rig_run(&rig, 2000, 1000);
    rig_run(&rig, 5000, 0);
    rig.in.max_size = rig.limit;
    rig_run(&rig, 21 * 60 * 1000, 0);
    rig_assert_reason(&rig, TMEM_LIMIT_MAX);
    rig_run(&rig, 2000, 1000);
    rig_assert_waits(&rig, 10);
    rig_run(&rig, 2000, 1000);
    rig_assert_waits(&rig, 20);
}

/*
 * A host with room for @room bytes of the store's. Beyond that it stalls, the
 * more the further: fully at (1 + 1 / @gain) of the room. The store follows
 * its limit: up as fast as its guest wants, down as fast as it can.
 */
typedef struct Host {
    double room;           /* all as shares of max-size, each per second */
    double gain;
    double want;
    double drain;
} Host;

typedef struct Loop {
    Rig rig;
    Host host;
    double used;           /* share of max-size */
    int64_t now_ms;
    int64_t next_ms;
    int64_t updated_ms;
    double stalled_ms;
    bool grown;
    unsigned falls;        /* each after growth, or the first */
    unsigned late_falls;   /* of these: in the second half */
    double late_stalled;   /* ms, in the second half */
    double held;           /* ms times share of the room */
} Loop;

#define LOOP_TICK_MS 50

static void loop_init(Loop *loop, Host host)
{
    *loop = (Loop) { .host = host, .used = 1, .grown = true };
    rig_init(&loop->rig);
}

static void loop_update(Loop *loop)
{
    Rig *rig = &loop->rig;
    int ms = loop->now_ms - loop->updated_ms;
    uint64_t before = rig->limit;

    rig->in.used = loop->used * rig->in.max_size;
    rig_update(rig, ms, 1000 * loop->stalled_ms / ms);
    if (rig->limit < before && loop->grown) {
        loop->falls++;
        loop->grown = false;
    }
    loop->grown |= rig->limit > before;
    loop->stalled_ms = 0;
    loop->updated_ms = loop->now_ms;
    loop->next_ms = loop->now_ms + tmem_policy_interval_ms(&rig->policy);
}

static void loop_run(Loop *loop, int64_t ms)
{
    int64_t half_ms = loop->now_ms + ms / 2;
    int64_t end_ms = loop->now_ms + ms;
    unsigned falls = 0;

    loop->late_stalled = 0;
    loop->held = 0;
    while (loop->now_ms < end_ms) {
        double over = loop->used / loop->host.room - 1;
        double stalled = CLAMP(over * loop->host.gain, 0, 1) * LOOP_TICK_MS;
        double limit;

        loop->stalled_ms += stalled;
        loop->held += MIN(over, 0) * LOOP_TICK_MS + LOOP_TICK_MS;
        loop->now_ms += LOOP_TICK_MS;
        if (loop->now_ms > half_ms) {
            loop->late_stalled += stalled;
        } else {
            falls = loop->falls;
        }
        if (loop->now_ms >= loop->next_ms) {
            loop_update(loop);
        }
        limit = (double)loop->rig.limit / loop->rig.in.max_size;
        if (loop->used > limit) {
            loop->used -= loop->host.drain * LOOP_TICK_MS / 1000;
            loop->used = MAX(loop->used, limit);
        } else {
            loop->used += loop->host.want * LOOP_TICK_MS / 1000;
            loop->used = MIN(loop->used, limit);
        }
    }
    loop->late_falls = loop->falls - falls;
}

/*
 * Half an hour with less room than max-size: at most 8 falls, one of them in
 * the second half; then stalls are below 2 permille, and all the time the
 * store holds 8/10 of what there is room for
 */
static void test_never_oscillates(void)
{
    static const double rooms[] = { 0.02, 0.05, 0.1, 0.35, 0.5, 0.7, 0.9,
                                    0.99 };
    static const double gains[] = { 2, 20, 200 };
    static const double wants[] = { 1000, 0.02 };
    static const double drains[] = { 1000, 0.05, 0.01 };
    static const int minutes = 30;

    for (unsigned i = 0; i < G_N_ELEMENTS(rooms); i++) {
        unsigned falls = 0, late_falls = 0;
        double late_stalled = 0, held = 1;

        for (unsigned j = 0; j < 18; j++) {
            double ms = minutes * 60 * 1000;
            Loop loop;

            loop_init(&loop, (Host) {
                rooms[i], gains[j % 3], wants[j / 3 % 2], drains[j / 6]
            });
            loop_run(&loop, ms);
            falls = MAX(falls, loop.falls);
            late_falls = MAX(late_falls, loop.late_falls);
            late_stalled = MAX(late_stalled, loop.late_stalled / (ms / 2));
            held = MIN(held, loop.held / ms);
        }
        g_test_message("room %2.0f %% of max-size: at most %u falls in %d min, "
                       "%u in the second half, then stalls of %.1f permille; "
                       "%.0f %% of the room is held at least",
                       rooms[i] * 100, falls, minutes, late_falls,
                       late_stalled * 1000, held * 100);
        g_assert_cmpuint(falls, <=, 8);
        g_assert_cmpuint(late_falls, <=, 1);
        g_assert_cmpfloat(late_stalled, <, 0.002);
        g_assert_cmpfloat(held, >, 0.8);
    }
}

/* Room is lost: the store is out of the way in seconds; it comes back, later */
static void test_follows_the_room_there_is(void)
{
    Loop loop;

    loop_init(&loop, (Host) { 2, 20, 1000, 1000 });
    loop_run(&loop, 60 * 1000);
    g_assert_cmpuint(loop.falls, ==, 0);
    g_assert_cmpfloat(loop.used, ==, 1);

    loop.host.room = 0.5;
    loop_run(&loop, 6 * 1000);
    g_assert_cmpfloat(loop.used, <, 0.51);
    loop_run(&loop, 8 * 60 * 1000);
    g_test_message("room from 200 to 50 %% of max-size: %u falls in 8 min",
                   loop.falls);
    g_assert_cmpuint(loop.falls, <=, 7);

    loop.host.room = 0.25;
    loop.falls = 0;
    loop_run(&loop, 8 * 1000);
    g_assert_cmpfloat(loop.used, <, 0.255);
    loop_run(&loop, 8 * 60 * 1000);
    g_test_message("room from 50 to 25 %% of max-size: %u falls in 8 min",
                   loop.falls);
    g_assert_cmpuint(loop.falls, <=, 3);

    loop.host.room = 2;
    loop_run(&loop, 11 * 60 * 1000);
    g_assert_cmpfloat(loop.used, ==, 1);
}

/* A job that hogs memory in each minute: soon, growth waits for its end */
static void test_periodic_pressure_does_not_make_a_sawtooth(void)
{
    unsigned grew = 0;
    Rig rig;

    rig_init(&rig);
    for (unsigned minute = 0; minute < 30; minute++) {
        uint64_t limit;

        rig_run(&rig, 5000, 400);
        limit = rig.limit;
        rig_run(&rig, 55000, 0);
        grew += rig.limit > limit;
        rig.in.used = rig.limit;
    }
    g_test_message("5 s of pressure in each of 30 min: %u times growth", grew);
    g_assert_cmpuint(grew, <=, 6);
}

static void test_min_and_max_move_at_run_time(void)
{
    Rig rig;

    /* In calm, max-size down and up: at once. */
    rig_init(&rig);
    rig_run(&rig, 20000, 0);
    rig.in.max_size = 4 * GIB;
    g_assert_cmpuint(rig_update(&rig, 250, 0), ==, 4 * GIB);
    rig_assert_reason(&rig, TMEM_LIMIT_MAX);
    rig.in.max_size = 8 * GIB;
    g_assert_cmpuint(rig_update(&rig, 250, 0), ==, 8 * GIB);
    rig_assert_reason(&rig, TMEM_LIMIT_MAX);

    /* min-size up, under pressure: at once. Down: the fall goes on. */
    rig.in.used = rig.limit;
    rig_run(&rig, 20000, 1000);
    g_assert_cmpuint(rig.limit, <, GIB);
    rig.in.min_size = 2 * GIB;
    g_assert_cmpuint(rig_update(&rig, 250, 1000), ==, 2 * GIB);
    rig_assert_reason(&rig, TMEM_LIMIT_MIN);
    rig.in.used = 2 * GIB;
    rig.in.min_size = GIB;
    g_assert_cmpuint(rig_update(&rig, 250, 1000), <, 2 * GIB);
    rig_assert_reason(&rig, TMEM_LIMIT_PRESSURE);

    /* min-size up in calm, also beyond max-size; and max-size of nothing. */
    rig_run(&rig, 3000, 0);
    rig.in.min_size = 5 * GIB;
    g_assert_cmpuint(rig_update(&rig, 250, 0), ==, 5 * GIB);
    rig_assert_reason(&rig, TMEM_LIMIT_HOLD);
    rig.in.min_size = 9 * GIB;
    g_assert_cmpuint(rig_update(&rig, 250, 0), ==, 8 * GIB);
    rig.in.max_size = 0;
    g_assert_cmpuint(rig_update(&rig, 250, 1000), ==, 0);

    /* Also when the clock does not move. */
    rig.in.max_size = 7 * GIB;
    g_assert_cmpuint(rig_update(&rig, 0, 0), ==, 7 * GIB);
}

static void test_time_may_jump(void)
{
    uint64_t limit;
    Rig rig;

    /* Standing still or going back: nothing moves. */
    rig_init(&rig);
    rig_run(&rig, 3000, 1000);
    limit = rig.limit;
    rig_update(&rig, 0, 1000);
    rig_update(&rig, -5000, 1000);
    g_assert_cmpuint(rig.limit, ==, limit);
    rig_assert_reason(&rig, TMEM_LIMIT_HOLD);
    rig_update(&rig, 250, 1000);
    g_assert_cmpuint(rig.limit, <, limit);

    /* An hour at once: no more than 2 s of falling, 1 s of growth. */
    rig_init(&rig);
    rig_update(&rig, 3600 * 1000, 1000);
    g_assert_cmpuint(rig.limit, >=, 16 * GIB * 59 / 100);
    limit = rig.limit;
    for (unsigned i = 0; i < 4; i++) {
        rig_update(&rig, 3600 * 1000, 0);
        g_assert_cmpuint(rig.limit, <=, limit + 16 * GIB / 40 + 1);
        limit = rig.limit;
    }

    /* From one end of time to the other. */
    rig_init(&rig);
    tmem_policy_init(&rig.policy, 16 * GIB, INT64_MIN);
    rig.in.now_ns = INT64_MAX;
    g_assert_cmpuint(rig_update(&rig, 0, 1000), <, 16 * GIB);
    rig.in.now_ns = INT64_MIN;
    limit = rig.limit;
    g_assert_cmpuint(rig_update(&rig, 0, 0), ==, limit);
    rig.in.now_ns = INT64_MAX;
    rig_update(&rig, 0, 0);
}

static void test_unknown_pressure_holds(void)
{
    uint64_t limit;
    Rig rig;

    rig_init(&rig);
    rig_run(&rig, 60000, -1);
    g_assert_cmpuint(rig.limit, ==, rig.in.max_size);
    rig_assert_reason(&rig, TMEM_LIMIT_MAX);
    rig_run(&rig, 2000, 300);
    limit = rig.limit;
    rig_run(&rig, 600000, -1);
    g_assert_cmpuint(rig.limit, ==, limit);
    rig_assert_reason(&rig, TMEM_LIMIT_HOLD);
    rig_assert_waits(&rig, 10);
}

static void test_empty_store_may_have_no_more(void)
{
    Rig rig;

    rig_init(&rig);
    rig.in.used = 0;
    rig.in.min_size = 1;
    rig_update(&rig, 1000, 1000);
    g_assert_cmpuint(rig.limit, ==, 1);
    rig_assert_reason(&rig, TMEM_LIMIT_MIN);
    for (int ms = 0; ms < 60000; ms += 250) {
        rig_update(&rig, 250, 0);
    }
    g_assert_cmpuint(rig.limit, ==, rig.in.max_size);

    /* Also when pressure comes back, so that nothing is believed safe. */
    rig_update(&rig, 1000, 1000);
    for (int ms = 0; ms < 120000; ms += 250) {
        rig_update(&rig, 250, 0);
    }
    g_assert_cmpuint(rig.limit, ==, rig.in.max_size);
}

static void test_interval_is_short_when_it_matters(void)
{
    Rig rig;

    rig_init(&rig);
    g_assert_cmpuint(tmem_policy_interval_ms(&rig.policy), ==, 1000);
    rig_update(&rig, 1000, 19);
    g_assert_cmpuint(tmem_policy_interval_ms(&rig.policy), ==, 1000);
    rig_update(&rig, 1000, 20);
    g_assert_cmpuint(tmem_policy_interval_ms(&rig.policy), ==, 250);
    rig_update(&rig, 1000, 0);
    g_assert_cmpuint(tmem_policy_interval_ms(&rig.policy), ==, 1000);
    rig_update(&rig, 1000, 500);
    rig_update(&rig, 1000, 0);
    g_assert_cmpuint(tmem_policy_interval_ms(&rig.policy), ==, 250);
}

static uint64_t random_size(void)
{
    uint64_t bits = (uint64_t)g_test_rand_int() << 32 |
                    (uint32_t)g_test_rand_int();

    switch (g_test_rand_int_range(0, 8)) {
    case 0:
        return UINT64_MAX;
    case 1:
        return UINT64_C(1) << 63;
    case 2:
        return 0;
    default:
        return bits >> g_test_rand_int_range(0, 64);
    }
}

/* rig_update() checks the bounds, UBSan the arithmetic */
static void test_any_input_keeps_the_bounds(void)
{
    Rig rig;

    for (unsigned run = 0; run < 200; run++) {
        rig_init(&rig);
        rig.in.max_size = random_size();
        tmem_policy_init(&rig.policy, random_size(), 0);
        for (unsigned i = 0; i < 2000; i++) {
            int choice = g_test_rand_int_range(0, 100);

            if (choice == 0) {
                rig.in.max_size = random_size();
            } else if (choice == 1) {
                rig.in.min_size = random_size();
            } else if (choice < 5) {
                rig.in.used = random_size();
            } else if (choice == 5) {
                rig.in.now_ns = random_size();
            } else if (choice < 50) {
                rig.in.used = rig.limit;
            }
            rig.in.now_ns = CLAMP(rig.in.now_ns, INT64_MIN / 2, INT64_MAX / 2);
            rig_update(&rig, g_test_rand_int_range(-10, 1500),
                       i / 100 % 2 ? 0 : g_test_rand_int_range(-10, 2000));
        }
    }
}

/* Sizes at the end of the range are moved like any other */
static void test_largest_sizes_fall_and_grow(void)
{
    Rig rig;

    rig_init(&rig);
    rig.in.max_size = rig.in.used = UINT64_MAX;
    tmem_policy_init(&rig.policy, UINT64_MAX, 0);
    rig_update(&rig, 4000, 1000);
    g_assert_cmpuint(rig.limit, <=, UINT64_MAX / 10 * 6 + 6);
    g_assert_cmpuint(rig.limit, >=, UINT64_MAX / 10 * 5);
    for (int ms = 0; ms < 60000; ms += 250) {
        rig_update(&rig, 250, 0);
    }
    g_assert_cmpuint(rig.limit, ==, UINT64_MAX);
}

int main(int argc, char **argv)
{
    test_init(argc, argv);
    g_test_add_func("/tmem-policy/falls-within-two-seconds",
                    test_falls_within_two_seconds);
    g_test_add_func("/tmem-policy/falls-by-ten-percent-each-second",
                    test_falls_by_ten_percent_each_second);
    g_test_add_func("/tmem-policy/falls-under-bursts", test_falls_under_bursts);
    g_test_add_func("/tmem-policy/falls-below-what-is-used",
                    test_falls_below_what_is_used);
    g_test_add_func("/tmem-policy/single-stall-changes-nothing",
                    test_single_stall_changes_nothing);
    g_test_add_func("/tmem-policy/stops-at-min-size", test_stops_at_min_size);
    g_test_add_func("/tmem-policy/stops-when-pressure-stops",
                    test_stops_when_pressure_stops);
    g_test_add_func("/tmem-policy/holds-between-low-and-high",
                    test_holds_between_low_and_high);
    g_test_add_func("/tmem-policy/time-between-low-and-high-is-not-calm",
                    test_time_between_low_and_high_is_not_calm);
    g_test_add_func("/tmem-policy/lasting-strain-is-relieved-slowly",
                    test_lasting_strain_is_relieved_slowly);
    g_test_add_func("/tmem-policy/grows-to-max-within-a-minute-of-calm",
                    test_grows_to_max_within_a_minute_of_calm);
    g_test_add_func("/tmem-policy/each-return-of-pressure-doubles-the-wait",
                    test_each_return_of_pressure_doubles_the_wait);
    g_test_add_func("/tmem-policy/flickering-pressure-is-one-episode",
                    test_flickering_pressure_is_one_episode);
    g_test_add_func("/tmem-policy/waits-below-where-pressure-came-back",
                    test_waits_below_where_pressure_came_back);
    g_test_add_func("/tmem-policy/standing-knee-shortens-recovery",
                    test_standing_knee_shortens_recovery);
    g_test_add_func("/tmem-policy/long-calm-at-max-is-forgiven",
                    test_long_calm_at_max_is_forgiven);
    g_test_add_func("/tmem-policy/long-calm-at-lowered-max-is-forgiven",
                    test_long_calm_at_lowered_max_is_forgiven);
    g_test_add_func("/tmem-policy/never-oscillates", test_never_oscillates);
    g_test_add_func("/tmem-policy/follows-the-room-there-is",
                    test_follows_the_room_there_is);
    g_test_add_func("/tmem-policy/periodic-pressure-does-not-make-a-sawtooth",
                    test_periodic_pressure_does_not_make_a_sawtooth);
    g_test_add_func("/tmem-policy/min-and-max-move-at-run-time",
                    test_min_and_max_move_at_run_time);
    g_test_add_func("/tmem-policy/time-may-jump", test_time_may_jump);
    g_test_add_func("/tmem-policy/unknown-pressure-holds",
                    test_unknown_pressure_holds);
    g_test_add_func("/tmem-policy/empty-store-may-have-no-more",
                    test_empty_store_may_have_no_more);
    g_test_add_func("/tmem-policy/interval-is-short-when-it-matters",
                    test_interval_is_short_when_it_matters);
    g_test_add_func("/tmem-policy/any-input-keeps-the-bounds",
                    test_any_input_keeps_the_bounds);
    g_test_add_func("/tmem-policy/largest-sizes-fall-and-grow",
                    test_largest_sizes_fall_and_grow);
    return g_test_run();
}
