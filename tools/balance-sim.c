/*
 * balance-sim: tmemctl balance with hundreds of guests that are not there
 *
 *   balance-sim [-n GUESTS] [-s SEED] [-i SECONDS]     one line for each second
 *   balance-sim --scale                                one line for each size
 *
 * The policy is the real one; guests and host are a few lines of arithmetic: a
 * guest fills its store at a bounded rate up to its limit or to what it wants,
 * and gives pages back slowly, as guests do. What is measured against is
 * weighted max-min fairness by its definition, of what guests really want,
 * which the policy has to guess.
 *
 * A day in ten minutes: a third of the guests press; at 60 s all do; at 180 s
 * half of them have done; at 300 s other programs take a quarter of what could
 * be lent; at 420 s they end. A tenth of the guests has bursts all the time.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "balance-policy.h"

#define MIB (1 << 20)
#define SECONDS 600
#define FAIR_BYTES (256.0 * MIB)    /* of the budget, for each guest */
#define RESERVE_BYTES (64.0 * MIB)  /* the same, of the reserve */
#define FILL_BYTES (64.0 * MIB)     /* a second: some 40,000 pages */
#define DRAIN_S 20.0                /* time constant of what is given back */
#define TIME_CONSTANT_S 5.0

static int n_guests = 400;
static int seed = 1;
static double interval = 1;
static gboolean scale;

typedef struct {
    double low, high;           /* what it wants when idle and when busy */
    int kind;                   /* 0..9: 9 has bursts */
    double phase;
} Guest;

typedef struct {
    GRand *rand;
    int n;
    Guest *guests;
    BalanceGuest *policy;
    double *want, *ideal;
    double budget;              /* the policy's, smoothed */
    int changes;                /* limits set */
    double cpu_s;               /* of the policy */
    int rounds;
} Sim;

static void sim_init(Sim *sim, int n)
{
    int i;

    *sim = (Sim) {
        .rand = g_rand_new_with_seed(seed), .n = n,
        .guests = g_new0(Guest, n), .policy = g_new0(BalanceGuest, n),
        .want = g_new0(double, n), .ideal = g_new0(double, n), .budget = -1,
    };
    for (i = 0; i < n; i++) {
        Guest *guest = &sim->guests[i];
        BalanceGuest *policy = &sim->policy[i];

        guest->low = g_rand_double_range(sim->rand, 4, 64) * MIB;
        guest->high = g_rand_double_range(sim->rand, 3, 12) * FAIR_BYTES;
        guest->kind = g_rand_int_range(sim->rand, 0, 10);
        guest->phase = g_rand_double_range(sim->rand, 0, 60);
        policy->weight = 1 << g_rand_int_range(sim->rand, 0, 4);
        policy->cap = UINT64_MAX;
        policy->max = policy->limit = 16 * MIB;
    }
}

static void sim_free(Sim *sim)
{
    g_rand_free(sim->rand);
    g_free(sim->guests);
    g_free(sim->policy);
    g_free(sim->want);
    g_free(sim->ideal);
}

static double guest_want(const Guest *guest, double t)
{
    gboolean busy = t < 60 ? guest->kind < 3
                    : t < 180 ? TRUE : guest->kind < 5;

    if (guest->kind == 9) {
        busy = fmod(t + guest->phase, 60) < 20;
    }
    return busy ? guest->high : guest->low;
}

/* What other programs of the host take of what could be lent */
static double others(const Sim *sim, double t)
{
    return t >= 300 && t < 420 ? 0.25 * sim->n * FAIR_BYTES : 0;
}

static double sum_used(const Sim *sim)
{
    double sum = 0;
    int i;

    for (i = 0; i < sim->n; i++) {
        sum += sim->policy[i].used;
    }
    return sum;
}

/* MemAvailable: what can be lent and the reserve, less what is taken */
static double available(const Sim *sim, double t)
{
    return MAX(sim->n * (FAIR_BYTES + RESERVE_BYTES) - others(sim, t) -
               sum_used(sim), 0);
}

static void guests_go_on(Sim *sim, double t, double dt)
{
    int i;

    for (i = 0; i < sim->n; i++) {
        BalanceGuest *policy = &sim->policy[i];
        double want = guest_want(&sim->guests[i], t), used = policy->used;
        double goal = MIN(want, policy->max);

        sim->want[i] = want;
        if (goal >= used) {
            used = MIN(goal, used + FILL_BYTES * dt);
        } else {
            used = goal + (used - goal) * exp(-dt / DRAIN_S);
        }
        policy->used = used;
        policy->rejected += want > used && used >= 0.99 * policy->max;
    }
}

static double cpu_now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return ts.tv_sec + ts.tv_nsec / 1e9;
}

static void balance_round(Sim *sim, double t)
{
    BalanceParams params = {
        .time_constant_s = TIME_CONSTANT_S, .elapsed_s = interval,
    };
    double start = cpu_now(), budget;
    int i;

    budget = balance_budget(sum_used(sim), available(sim, t),
                            sim->n * (FAIR_BYTES + RESERVE_BYTES),
                            sim->n * RESERVE_BYTES, UINT64_MAX);
    sim->budget = sim->budget < 0 || budget < sim->budget
        ? budget
        : sim->budget + (budget - sim->budget) *
                        (1 - exp(-interval / TIME_CONSTANT_S));
    balance_demand(sim->policy, sim->n, &params);
    balance_share(sim->policy, sim->n, sim->budget);
    balance_move(sim->policy, sim->n, sim->budget, &params);
    sim->cpu_s += cpu_now() - start;
    sim->rounds++;
    for (i = 0; i < sim->n; i++) {
        BalanceGuest *policy = &sim->policy[i];

        sim->changes += policy->next != policy->max;
        policy->max = policy->limit = policy->next;
    }
}

/* ---- Measuring ---- */

static int by_want(gconstpointer a, gconstpointer b, gpointer data)
{
    const Sim *sim = data;
    double x = sim->want[*(const int *)a] /
               sim->policy[*(const int *)a].weight;
    double y = sim->want[*(const int *)b] /
               sim->policy[*(const int *)b].weight;

    return x < y ? -1 : x > y;
}

/* Weighted max-min by its definition, in the order of want for each weight */
static void find_ideal(Sim *sim, double budget)
{
    g_autofree int *order = g_new(int, sim->n);
    double weights = 0;
    int i;

    for (i = 0; i < sim->n; i++) {
        order[i] = i;
        weights += sim->policy[i].weight;
    }
    g_qsort_with_data(order, sim->n, sizeof(int), by_want, sim);
    for (i = 0; i < sim->n; i++) {
        int k = order[i];

        sim->ideal[k] = MIN(sim->want[k],
                            budget * sim->policy[k].weight / weights);
        budget -= sim->ideal[k];
        weights -= sim->policy[k].weight;
    }
}

typedef struct {
    double off;                 /* of what is shared, in wrong hands: 0..1 */
    double jain;                /* of used by weight, of those who want more */
    double shortfall;           /* of the reserve, 0..1 */
} Figures;

static Figures measure(Sim *sim, double t)
{
    double budget = sim->n * FAIR_BYTES - others(sim, t);
    double off = 0, all = 0, sum = 0, squares = 0;
    double reserve = sim->n * RESERVE_BYTES;
    int i, count = 0;

    find_ideal(sim, budget);
    for (i = 0; i < sim->n; i++) {
        off += fabs(sim->policy[i].used - sim->ideal[i]);
        all += sim->ideal[i];
        if (sim->want[i] > sim->ideal[i] * 1.01) {
            double x = sim->policy[i].used / sim->policy[i].weight;

            sum += x;
            squares += x * x;
            count++;
        }
    }
    return (Figures) {
        /* What one has too much another has too little */
        .off = off / 2 / all,
        .jain = count ? sum * sum / (count * squares) : 1,
        .shortfall = MAX(reserve - available(sim, t), 0) / reserve,
    };
}

/* Steps of the guests within a round: they do not wait for it */
static void step_round(Sim *sim, double t)
{
    int k;

    for (k = 0; k < 10; k++) {
        guests_go_on(sim, t + interval * k / 10, interval / 10);
    }
    balance_round(sim, t + interval);
}

static void run_one(void)
{
    Sim sim;
    double t;

    sim_init(&sim, n_guests);
    puts("# second, budget MiB, used MiB, limits MiB, off %, Jain's index, "
         "reserve lacking %, limits set");
    for (t = 0; t < SECONDS; t += interval) {
        Figures figures;

        sim.changes = 0;
        step_round(&sim, t);
        figures = measure(&sim, t);
        printf("%g %.0f %.0f %.0f %.2f %.4f %.2f %d\n", t + interval,
               (sim.n * FAIR_BYTES - others(&sim, t)) / MIB,
               sum_used(&sim) / MIB,
               (double)balance_commitment(sim.policy, sim.n, FALSE) / MIB,
               figures.off * 100, figures.jain, figures.shortfall * 100,
               sim.changes);
    }
    fprintf(stderr, "%d guests: %.0f us of CPU time for each round\n", sim.n,
            sim.cpu_s / sim.rounds * 1e6);
    sim_free(&sim);
}

static void run_scale(void)
{
    static const int sizes[] = { 3, 10, 30, 100, 300, 1000 };
    guint i;

    puts("# guests, us for each round, settled after all press (s), Jain's "
         "index then, limits set for each guest and minute");
    for (i = 0; i < G_N_ELEMENTS(sizes); i++) {
        double settled = -1, jain = 0, t;
        int changes = 0;
        Sim sim;

        sim_init(&sim, sizes[i]);
        for (t = 0; t < 180; t += interval) {
            Figures figures;

            sim.changes = 0;
            step_round(&sim, t);
            changes += sim.changes;
            figures = measure(&sim, t);
            jain = figures.jain;
            if (t + interval <= 60 || figures.off > 0.05) {
                settled = -1;
            } else if (settled < 0) {
                settled = t + interval - 60;
            }
        }
        printf("%d %.1f %g %.4f %.1f\n", sim.n, sim.cpu_s / sim.rounds * 1e6,
               settled, jain, changes / 3.0 / sim.n);
        sim_free(&sim);
    }
}

int main(int argc, char **argv)
{
    const GOptionEntry entries[] = {
        { "guests", 'n', 0, G_OPTION_ARG_INT, &n_guests, "Guests", "N" },
        { "seed", 's', 0, G_OPTION_ARG_INT, &seed, "Seed", "N" },
        { "interval", 'i', 0, G_OPTION_ARG_DOUBLE, &interval,
          "Time between two rounds", "SECONDS" },
        { "scale", 0, 0, G_OPTION_ARG_NONE, &scale,
          "Compare numbers of guests", NULL },
        G_OPTION_ENTRY_NULL
    };
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    GError *error = NULL;

    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error)) {
        fprintf(stderr, "balance-sim: %s\n", error->message);
        return 2;
    }
    if (n_guests < 1 || n_guests > 100000 ||
        !(interval >= 0.1 && interval <= 60)) {
        fprintf(stderr, "balance-sim: --guests is from 1 to 100000, --interval "
                "from 0.1 to 60\n");
        return 2;
    }
    if (scale) {
        run_scale();
    } else {
        run_one();
    }
    return 0;
}
