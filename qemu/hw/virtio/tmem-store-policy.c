/*
 * Limit controller of the virtio-tmem page store
 *
 * What it guarantees, if updates come when they are due:
 * - pressure above HIGH lowers the limit within 2 s, and for as long as it
 *   lasts by at least 10 % of what is used each second, down to min-size;
 * - pressure between LOW and HIGH lowers it only if it stays for 10 s;
 * - after a first episode the limit is at max-size within 60 s of calm;
 * - where the host has room for less than max-size, the store asks for more at
 *   ever longer intervals, in the end once in 10 min: no oscillation.
 *
 * Late updates slow growth down and never speed it up; a fall keeps its pace
 * with updates that are up to 4 s apart.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "tmem-store-policy.h"

/*
 * The law
 *
 * Pressure is the share of wall time in which some task stalled on memory (the
 * "some" line of Linux PSI, Documentation/accounting/psi.rst), in permille,
 * smoothed over half a second.
 *
 *   above HIGH     fall from min(limit, used), by 20 % of used each second
 *   LOW .. HIGH    hold; each 10 s of it, fall by 1/8 of min(limit, used)
 *   below LOW      grow, up to the knee after recover_ns of calm since the
 *                  last fall, and beyond it after probe_ns
 *   not known      hold
 *
 * Only calm counts as calm: in the two states that hold, its count stands
 * still. Without the slow fall the store would settle where the host is just
 * not desperate, and keep it there.
 *
 * Growth is linear, the whole of max-size in 40 s. The knee is the level that
 * is believed safe, as ssthresh is in TCP (RFC 5681): at first everything, and
 * when pressure comes back after growth, 7/8 of the level where it did. Beyond
 * the knee growth begins at a sixteenth of that speed and gains with the
 * distance, much as CUBIC does (RFC 9438): where pressure begins is then found
 * by a small step, not by a leap.
 *
 * Each return of pressure doubles probe_ns: 10 s, 20 s, 40 s .. 10 min. If it
 * did not even take growth beyond the knee, belief was wrong, and recover_ns
 * doubles too; a knee that stands until the next probe brings that back to
 * 10 s. After 20 min of calm, with the limit at max-size, all is forgotten.
 */

#define NS_PER_SEC INT64_C(1000000000)

/*
 * Permille. HIGH is where systemd has services shrink by themselves: 200 ms of
 * stalls in 2 s, see sd_event_add_memory_pressure(3). LOW is below the mildest
 * warning of GLib's GMemoryMonitor: 70 ms in 2 s. The factor of 5 between them
 * is the hysteresis.
 */
#define PRESSURE_HIGH 100
#define PRESSURE_LOW 20

/*
 * A single stall of direct reclaim, some 10 ms, is no emergency: with this and
 * updates every 250 ms, only 100 ms of stalls in two of them are. Pressure that
 * stays at p is seen as more than 0.99 p after 7 updates: within 2 s.
 */
#define SMOOTHING_NS (NS_PER_SEC / 2)

/*
 * Share of used. Twice what is promised, so that the promise is kept when half
 * of the time is lost to late updates and to pressure that comes in bursts.
 */
#define FALL_PER_SEC 0.20

/* Time between LOW and HIGH after which waiting has not helped. */
#define STRAIN_NS (10 * NS_PER_SEC)

/* However late an update is, one sample takes no more than this away. */
#define FALL_MAX_NS (2 * NS_PER_SEC)

/* Shares of max-size. 10 s of calm and 40 s of growth leave 10 s to spare. */
#define GROW_PER_SEC (1.0 / 40)
#define PROBE_PER_SEC (GROW_PER_SEC / 16)

/* Share of the distance from the knee, which grows e-fold in 8 s then. */
#define PROBE_GAIN_PER_SEC (1.0 / 8)

/* Time that passed unseen is no reason to leap. */
#define GROW_MAX_NS NS_PER_SEC

/* Calm time before growth, at first and after many returns of pressure. */
#define CALM_MIN_NS (10 * NS_PER_SEC)
#define CALM_MAX_NS (600 * NS_PER_SEC)

/* Calm time after which nothing is remembered: longer than any wait. */
#define FORGET_NS (1200 * NS_PER_SEC)

/*
 * Time between updates. The longer one is short enough for a fall within 2 s
 * by sampling alone, and for a sample not to dilute what happened at its end.
 */
#define BUSY_INTERVAL_MS 250
#define IDLE_INTERVAL_MS 1000

static void policy_forget(TmemPolicy *policy)
{
    policy->knee = UINT64_MAX;
    policy->recover_ns = CALM_MIN_NS;
    policy->probe_ns = 0;
    policy->fell = false;
}

void tmem_policy_init(TmemPolicy *policy, uint64_t max_size, int64_t now_ns)
{
    *policy = (TmemPolicy) {
        .limit = max_size,
        .updated_ns = now_ns,
        .cause = TMEM_LIMIT_MAX,
    };
    policy_forget(policy);
}

static int64_t longer_calm(int64_t calm_ns)
{
    return MIN(2 * calm_ns, CALM_MAX_NS);
}

/* Pressure came, at @level: for the first time, or back after growth. */
static void policy_learn(TmemPolicy *policy, uint64_t level)
{
    if (policy->probe_ns == 0) {
        policy->probe_ns = CALM_MIN_NS;
        return;
    }
    if (level <= policy->knee) {
        policy->recover_ns = longer_calm(policy->recover_ns);
    }
    policy->probe_ns = longer_calm(policy->probe_ns);
    policy->knee = level - level / 8;
}

/* Go down by @step bytes from @from: the limit, or what is used if less. */
static void policy_fall(TmemPolicy *policy, uint64_t from, uint64_t step)
{
    if (!policy->fell) {
        policy_learn(policy, from);
        policy->fell = true;
    }
    policy->calm_ns = 0;
    policy->strain_ns = 0;
    policy->limit = from - MIN(step, from);
    policy->cause = TMEM_LIMIT_PRESSURE;
}

static void policy_shortage(TmemPolicy *policy, uint64_t used,
                            int64_t elapsed_ns)
{
    double seconds = (double)MIN(elapsed_ns, FALL_MAX_NS) / NS_PER_SEC;

    policy_fall(policy, MIN(policy->limit, used),
                used * FALL_PER_SEC * seconds + 1);
}

static void policy_strain(TmemPolicy *policy, uint64_t used,
                          int64_t elapsed_ns)
{
    uint64_t from = MIN(policy->limit, used);

    policy->strain_ns += MIN(elapsed_ns, STRAIN_NS);
    if (policy->strain_ns >= STRAIN_NS) {
        policy_fall(policy, from, from / 8);
    }
}

static void policy_grow(TmemPolicy *policy, uint64_t max_size,
                        int64_t elapsed_ns)
{
    double seconds = (double)MIN(elapsed_ns, GROW_MAX_NS) / NS_PER_SEC;
    double per_sec = max_size * GROW_PER_SEC;
    uint64_t bound = max_size;
    uint64_t step;

    if (policy->limit < policy->knee) {
        if (policy->calm_ns < policy->recover_ns) {
            return;
        }
        bound = MIN(max_size, policy->knee);
    } else {
        double distance = policy->limit - policy->knee;

        if (policy->calm_ns < policy->probe_ns) {
            return;
        }
        policy->recover_ns = CALM_MIN_NS;
        per_sec = MIN(per_sec, max_size * PROBE_PER_SEC +
                               distance * PROBE_GAIN_PER_SEC);
    }

    step = per_sec * seconds;
    policy->limit += MIN(step, bound - policy->limit);
    policy->fell = false;
    policy->cause = TMEM_LIMIT_GROWING;
}

static void policy_calm(TmemPolicy *policy, uint64_t max_size,
                        int64_t elapsed_ns)
{
    policy->strain_ns = 0;
    policy->calm_ns += MIN(elapsed_ns, FORGET_NS - policy->calm_ns);
    if (policy->limit < max_size) {
        policy_grow(policy, max_size, elapsed_ns);
    } else if (policy->calm_ns == FORGET_NS) {
        policy_forget(policy);
    }
}

uint64_t tmem_policy_update(TmemPolicy *policy, const TmemPolicyInput *input)
{
    uint64_t max_size = input->max_size;
    uint64_t min_size = MIN(input->min_size, max_size);
    int64_t elapsed_ns = 0;

    if (input->now_ns > policy->updated_ns) {
        /* As unsigned numbers: the two may be further apart than INT64_MAX. */
        elapsed_ns = MIN((uint64_t)input->now_ns - policy->updated_ns,
                         INT64_MAX);
    }
    policy->updated_ns = input->now_ns;

    /* Nothing speaks against the new max-size that did not against the old. */
    if (policy->cause == TMEM_LIMIT_MAX && max_size > policy->limit) {
        policy->limit = max_size;
    }
    policy->limit = MIN(MAX(policy->limit, min_size), max_size);
    policy->cause = TMEM_LIMIT_HOLD;

    if (elapsed_ns > 0 && input->pressure_permille >= 0) {
        double weight = (double)MIN(elapsed_ns, SMOOTHING_NS) / SMOOTHING_NS;
        int sample = MIN(input->pressure_permille, 1000);

        policy->pressure += (sample - policy->pressure) * weight;
        if (policy->pressure > PRESSURE_HIGH) {
            policy_shortage(policy, input->used, elapsed_ns);
        } else if (policy->pressure < PRESSURE_LOW) {
            policy_calm(policy, max_size, elapsed_ns);
        } else {
            policy_strain(policy, input->used, elapsed_ns);
        }
    }

    if (policy->cause == TMEM_LIMIT_PRESSURE && policy->limit <= min_size) {
        policy->limit = min_size;
        policy->cause = TMEM_LIMIT_MIN;
    } else if (policy->limit == max_size) {
        policy->cause = TMEM_LIMIT_MAX;
    }
    return policy->limit;
}

TmemLimitCause tmem_policy_cause(const TmemPolicy *policy)
{
    return policy->cause;
}

unsigned tmem_policy_interval_ms(const TmemPolicy *policy)
{
    return policy->cause == TMEM_LIMIT_MAX && policy->pressure < PRESSURE_LOW
           ? IDLE_INTERVAL_MS : BUSY_INTERVAL_MS;
}
