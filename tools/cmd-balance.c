/*
 * tmemctl balance: share the host's spare memory between guests
 *
 * Each round looks at all guests and at the host, lets balance-policy.c say
 * what is fair, and sets max-size of their devices. Nothing is kept but what
 * smooths the way: killed at any moment, limits stay as they are, and a new
 * balance goes on from there.
 *
 * Each device is a party of its own; what the configuration says of a guest is
 * for all its devices together.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "balance-config.h"
#include "balance-policy.h"
#include "tmem-error.h"
#include "tmem-host.h"
#include "tmem-options.h"
#include "tmem-size.h"

#define DEFAULT_CONFIG TMEM_SYSCONFDIR "/tmemctl/balance.conf"

static char *config_path;
static char *meminfo = "/proc/meminfo";
static char *reserve_text;
static char *total_text;
static double interval;
static int count;
static gboolean once;
static gboolean dry_run;
static gboolean verbose;

static const GOptionEntry entries[] = {
    { "config", 'f', 0, G_OPTION_ARG_FILENAME, &config_path,
      "Weights, caps and the rest, see tmemctl-balance.conf(5) (default: "
      DEFAULT_CONFIG ", if it is there)", "FILE" },
    { "reserve", 'r', 0, G_OPTION_ARG_STRING, &reserve_text,
      "Host memory that is never lent: a size or a percentage (default: 10%)",
      "SIZE" },
    { "total", 'T', 0, G_OPTION_ARG_STRING, &total_text,
      "Most that all page stores may take together", "SIZE" },
    { "interval", 'i', 0, G_OPTION_ARG_DOUBLE, &interval,
      "Time between two rounds (default: 2)", "SECONDS" },
    { "count", 'n', 0, G_OPTION_ARG_INT, &count,
      "End after so many rounds", "NUMBER" },
    { "once", '1', 0, G_OPTION_ARG_NONE, &once,
      "Set all limits to what is fair now, at once, and end", NULL },
    { "dry-run", 0, 0, G_OPTION_ARG_NONE, &dry_run,
      "Say what would be set, and set nothing", NULL },
    { "verbose", 'v', 0, G_OPTION_ARG_NONE, &verbose,
      "Say each limit that is set", NULL },
    { "meminfo", 0, 0, G_OPTION_ARG_FILENAME, &meminfo,
      "Where the memory of the host is told (default: /proc/meminfo)",
      "FILE" },
    G_OPTION_ENTRY_NULL
};

/* A device, from round to round */
typedef struct {
    char *guest_name;
    BalanceGuest policy;
    guint round;                /* in which it was seen or believed */
} Party;

/* A device in this round */
typedef struct {
    TmemGuest *guest;           /* NULL: it is silent */
    TmemDevice *device;
    Party *party;
    char *key;                  /* of it in Balance.parties */
} Seat;

typedef struct {
    TmemOptions options;
    BalanceConfig *config;
    struct timespec config_time;
    GHashTable *parties;        /* "source device" -> Party */
    GHashTable *complaints;     /* "source" -> kind of the last error */
    double budget;              /* smoothed; < 0: none yet */
    int64_t last_us;
    guint round;
} Balance;

static void party_free(gpointer data)
{
    Party *party = data;

    g_free(party->guest_name);
    g_free(party);
}

/* ---- Configuration ---- */

static gboolean apply_options(BalanceConfig *config, GError **error)
{
    if (interval) {
        config->interval_s = interval;
    }
    return (!reserve_text ||
            balance_config_set_reserve(config, "--reserve", reserve_text,
                                       error)) &&
           (!total_text ||
            tmem_size_parse("--total", total_text, &config->total, error));
}

static gboolean load_config(Balance *balance, GError **error)
{
    const char *path = config_path ?: DEFAULT_CONFIG;
    g_autoptr(BalanceConfig) config = NULL;
    struct stat st = { 0 };

    if (stat(path, &st) < 0 && !config_path) {
        config = balance_config_parse("", path, error);
    } else {
        config = balance_config_load(path, error);
    }
    balance->config_time = st.st_mtim;
    if (!config || !apply_options(config, error)) {
        return FALSE;
    }
    g_clear_pointer(&balance->config, balance_config_free);
    balance->config = g_steal_pointer(&config);
    return TRUE;
}

/*
 * A file that was changed holds from the next round, if there is sense in it.
 */
static void reload_config(Balance *balance)
{
    g_autoptr(GError) error = NULL;
    struct stat st;

    if (stat(config_path ?: DEFAULT_CONFIG, &st) < 0 ||
        (st.st_mtim.tv_sec == balance->config_time.tv_sec &&
         st.st_mtim.tv_nsec == balance->config_time.tv_nsec)) {
        return;
    }
    if (load_config(balance, &error)) {
        tmem_warn("balance: the configuration was read again");
    } else {
        tmem_error_print("the configuration stays as it was", error);
    }
}

/* ---- Who is there ---- */

static char *party_key(const TmemGuest *guest, const char *id)
{
    g_autofree char *source = tmem_guest_source(guest);

    return g_strdup_printf("%s %s", source, id);
}

static Party *get_party(Balance *balance, const TmemGuest *guest,
                        const char *key)
{
    Party *party = g_hash_table_lookup(balance->parties, key);

    if (!party) {
        party = g_new0(Party, 1);
        g_hash_table_insert(balance->parties, g_strdup(key), party);
    }
    if (g_strcmp0(party->guest_name, guest->name)) {
        g_free(party->guest_name);
        party->guest_name = g_strdup(guest->name);
    }
    party->round = balance->round;
    return party;
}

/* The guest's part of what is said of it, for one of @n devices */
static void apply_rule(BalanceGuest *policy, const BalanceRule *rule, guint n,
                       uint64_t memory)
{
    policy->weight = rule->weight / n;
    policy->floor = rule->floor / n;
    policy->cap = rule->cap == UINT64_MAX ? UINT64_MAX : rule->cap / n;
    /* QEMU takes no max-size beyond the memory of the host */
    policy->cap = MIN(policy->cap, memory);
    policy->fixed = !rule->managed;
}

static void seat_devices(Balance *balance, TmemGuest *guest, uint64_t memory,
                         GArray *seats)
{
    BalanceRule rule;
    guint i;

    balance_config_rule(balance->config, guest->name, &rule);
    for (i = 0; i < guest->devices->len; i++) {
        TmemDevice *device = guest->devices->pdata[i];
        Seat seat = {
            .guest = guest, .device = device,
            .key = party_key(guest, device->id),
        };
        BalanceGuest *policy;

        seat.party = get_party(balance, guest, seat.key);
        policy = &seat.party->policy;
        apply_rule(policy, &rule, guest->devices->len, memory);
        /* No QEMU takes or has more than the host has, whatever it says */
        policy->max = MIN(device->max_size, memory);
        policy->min = MIN(device->min_size, memory);
        policy->limit = MIN(device->limit, memory);
        policy->used = MIN(device->bytes_used, memory);
        policy->rejected = device->rejected_puts;
        policy->pressured = policy->limit < policy->max;
        g_array_append_val(seats, seat);
    }
}

/*
 * A guest that does not answer has what it had, and nobody else can have it.
 * One whose QEMU is gone has nothing.
 */
static void seat_silent(Balance *balance, TmemGuest *guest, GArray *seats)
{
    g_autofree char *prefix = party_key(guest, "");
    GHashTableIter iter;
    gpointer key, value;

    if (g_error_matches(guest->error, TMEM_ERROR, TMEM_ERROR_UNREACHABLE) ||
        g_error_matches(guest->error, TMEM_ERROR, TMEM_ERROR_UNSUPPORTED)) {
        return;
    }
    g_hash_table_iter_init(&iter, balance->parties);
    while (g_hash_table_iter_next(&iter, &key, &value)) {
        Seat seat = { .party = value };

        if (g_str_has_prefix(key, prefix)) {
            seat.party->round = balance->round;
            seat.party->policy.fixed = TRUE;
            seat.key = g_strdup(key);
            g_array_append_val(seats, seat);
        }
    }
}

/* Once for each kind of error, not in each round */
static void complain(Balance *balance, const TmemGuest *guest)
{
    g_autofree char *source = tmem_guest_source(guest);
    const char *before = g_hash_table_lookup(balance->complaints, source);
    const char *now = guest->error ? tmem_error_kind(guest->error) : NULL;

    if (now && g_strcmp0(before, now)) {
        tmem_error_print(guest->name, guest->error);
        g_hash_table_insert(balance->complaints, g_steal_pointer(&source),
                            g_strdup(now));
    } else if (!now && before) {
        tmem_warn("%s: answers again", guest->name);
        g_hash_table_remove(balance->complaints, source);
    }
}

static gboolean party_is_gone(gpointer key G_GNUC_UNUSED, gpointer party,
                              gpointer balance)
{
    return ((Party *)party)->round != ((Balance *)balance)->round;
}

static void clear_seat(gpointer seat)
{
    g_free(((Seat *)seat)->key);
}

static GArray *take_seats(Balance *balance, GPtrArray *guests, uint64_t memory)
{
    GArray *seats = g_array_new(FALSE, FALSE, sizeof(Seat));
    guint i;

    g_array_set_clear_func(seats, clear_seat);
    for (i = 0; i < guests->len; i++) {
        TmemGuest *guest = guests->pdata[i];

        complain(balance, guest);
        if (guest->error) {
            seat_silent(balance, guest, seats);
        } else {
            seat_devices(balance, guest, memory, seats);
        }
    }
    g_hash_table_foreach_remove(balance->parties, party_is_gone, balance);
    return seats;
}

/* ---- Setting ---- */

/*
 * Set max-size of the devices that go down, or of those that go up: those of
 * one guest in one session. Returns how many guests failed.
 */
static guint set_limits(Balance *balance, GPtrArray *guests,
                        const GArray *seats, const BalanceGuest *policy,
                        gboolean up)
{
    g_autofree TmemChange *changes = g_new0(TmemChange, guests->len + 1);
    guint i, j, n = 0, failed = 0;

    for (i = 0; i < guests->len; i++) {
        GPtrArray *commands = g_ptr_array_new();

        for (j = 0; j < seats->len; j++) {
            const Seat *seat = &g_array_index(seats, Seat, j);

            if (seat->guest == guests->pdata[i] &&
                (up ? policy[j].next > policy[j].max
                    : policy[j].next < policy[j].max)) {
                g_ptr_array_add(commands, tmem_fleet_set_command(
                                    seat->device, "max-size",
                                    policy[j].next));
            }
        }
        if (commands->len) {
            changes[n].guest = guests->pdata[i];
            g_ptr_array_add(commands, NULL);
            changes[n++].commands = (char **)g_ptr_array_free(commands, FALSE);
        } else {
            g_ptr_array_free(commands, TRUE);
        }
    }
    if (!dry_run) {
        tmem_fleet_change(changes, n, balance->options.places.timeout_ms);
    }
    for (i = 0; i < n; i++) {
        if (changes[i].error) {
            tmem_error_print(changes[i].guest->name, changes[i].error);
            g_error_free(changes[i].error);
            failed++;
        }
        g_strfreev(changes[i].commands);
    }
    return failed;
}

/* ---- Telling ---- */

static void tell_changes(const GArray *seats, const BalanceGuest *policy)
{
    guint i;

    for (i = 0; i < seats->len; i++) {
        const Seat *seat = &g_array_index(seats, Seat, i);
        g_autofree char *old = tmem_size_format(policy[i].max);
        g_autofree char *new = tmem_size_format(policy[i].next);
        g_autofree char *target = tmem_size_format(policy[i].target);
        g_autofree char *name = tmem_printable(seat->party->guest_name);

        if (policy[i].next != policy[i].max) {
            printf("%s %s: max-size %s -> %s, on the way to %s%s%s\n", name,
                   seat->device->id, old, new, target,
                   policy[i].pressing ? ", pressing" : "",
                   dry_run ? " (not changed)" : "");
        }
    }
}

static void build_seat(JsonBuilder *b, const Seat *seat,
                       const BalanceGuest *policy)
{
    g_autofree char *name = g_utf8_make_valid(seat->party->guest_name, -1);
    g_autofree char *key = g_utf8_make_valid(seat->key, -1);
    const struct {
        const char *name;
        uint64_t value;
    } sizes[] = {
        { "used", policy->used }, { "demand", policy->demand },
        { "target", policy->target }, { "old", policy->max },
        { "new", policy->next },
    };
    guint i;

    json_builder_begin_object(b);
    json_builder_set_member_name(b, "guest");
    json_builder_add_string_value(b, name);
    json_builder_set_member_name(b, "device");
    json_builder_add_string_value(b, strrchr(key, ' ') + 1);
    json_builder_set_member_name(b, "weight");
    json_builder_add_double_value(b, policy->weight);
    json_builder_set_member_name(b, "fixed");
    json_builder_add_boolean_value(b, policy->fixed);
    json_builder_set_member_name(b, "pressing");
    json_builder_add_boolean_value(b, policy->pressing);
    for (i = 0; i < G_N_ELEMENTS(sizes); i++) {
        json_builder_set_member_name(b, sizes[i].name);
        json_builder_add_int_value(b, MIN(sizes[i].value, INT64_MAX));
    }
    json_builder_end_object(b);
}

static void tell_json(const GArray *seats, const BalanceGuest *policy,
                      uint64_t budget, uint64_t commitment)
{
    g_autoptr(JsonBuilder) b = json_builder_new();
    g_autoptr(JsonNode) root = NULL;
    g_autofree char *text = NULL;
    guint i;

    json_builder_begin_object(b);
    json_builder_set_member_name(b, "format");
    json_builder_add_int_value(b, 1);
    json_builder_set_member_name(b, "budget");
    json_builder_add_int_value(b, MIN(budget, INT64_MAX));
    json_builder_set_member_name(b, "committed");
    json_builder_add_int_value(b, MIN(commitment, INT64_MAX));
    json_builder_set_member_name(b, "devices");
    json_builder_begin_array(b);
    for (i = 0; i < seats->len; i++) {
        build_seat(b, &g_array_index(seats, Seat, i), &policy[i]);
    }
    json_builder_end_array(b);
    json_builder_end_object(b);
    root = json_builder_get_root(b);
    text = json_to_string(root, FALSE);
    puts(text);
}

/* ---- A round ---- */

/* What goes is believed at once, what comes by and by. */
static uint64_t smooth_budget(Balance *balance, uint64_t budget, double share)
{
    if (balance->budget < 0 || budget < balance->budget) {
        balance->budget = budget;
    } else {
        balance->budget += (budget - balance->budget) * share;
    }
    return balance->budget;
}

static uint64_t sum_used(const BalanceGuest *policy, guint n)
{
    uint64_t sum = 0;
    guint i;

    for (i = 0; i < n; i++) {
        sum += policy[i].used;
    }
    return sum;
}

static void take_back(BalanceGuest *policy, guint n)
{
    guint i;

    for (i = 0; i < n; i++) {
        policy[i].next = MIN(policy[i].next, policy[i].max);
    }
}

static void decide_and_set(Balance *balance, GPtrArray *guests, GArray *seats,
                           const TmemHost *host, double elapsed_s)
{
    const BalanceConfig *config = balance->config;
    BalanceParams params = {
        .time_constant_s = config->time_constant_s, .elapsed_s = elapsed_s,
    };
    g_autofree BalanceGuest *policy = g_new(BalanceGuest, seats->len + 1);
    guint n = seats->len, i;
    uint64_t budget;

    for (i = 0; i < n; i++) {
        policy[i] = g_array_index(seats, Seat, i).party->policy;
    }
    budget = balance_budget(sum_used(policy, n), host->available, host->total,
                            balance_config_reserve(config, host->total),
                            config->total);
    budget = smooth_budget(balance, budget,
                           1 - exp(-elapsed_s / config->time_constant_s));
    balance_demand(policy, n, &params);
    balance_share(policy, n, budget);
    balance_move(policy, n, budget, &params);
    for (i = 0; i < n; i++) {
        g_array_index(seats, Seat, i).party->policy = policy[i];
    }

    /* Nobody gets what someone else has not given back yet */
    if (set_limits(balance, guests, seats, policy, FALSE)) {
        take_back(policy, n);
    }
    set_limits(balance, guests, seats, policy, TRUE);

    if (balance->options.json) {
        tell_json(seats, policy, budget, balance_commitment(policy, n, TRUE));
    } else if (verbose || dry_run) {
        tell_changes(seats, policy);
    }
}

static gboolean run_round(Balance *balance, int *status, GError **error)
{
    const TmemOptions *options = &balance->options;
    g_autoptr(GPtrArray) guests = NULL;
    g_autoptr(GArray) seats = NULL;
    int64_t now = g_get_monotonic_time();
    double elapsed = balance->last_us ? (now - balance->last_us) / 1e6
                                      : balance->config->interval_s;
    TmemHost host;

    balance->last_us = now;
    balance->round++;
    guests = tmem_options_ask(options, FALSE, error);
    if (!guests || !tmem_host_read(meminfo, &host, error)) {
        return FALSE;
    }
    seats = take_seats(balance, guests, host.total);
    decide_and_set(balance, guests, seats, &host, once ? INFINITY : elapsed);
    *status = tmem_options_exit(guests);
    return TRUE;
}

static int run(Balance *balance)
{
    g_autofree char *complaint = NULL;
    int64_t next = g_get_monotonic_time();
    int rounds, status = TMEM_EXIT_OK;

    for (rounds = 0; !count || rounds < count; rounds++) {
        GError *error = NULL;
        int64_t now = g_get_monotonic_time();

        if (now < next) {
            g_usleep(next - now);
        }
        next = MAX(next, now) + balance->config->interval_s * G_USEC_PER_SEC;
        reload_config(balance);
        if (run_round(balance, &status, &error)) {
            /* Asked to tell, and nobody listens any more: then it is to end */
            if (fflush(stdout) != 0) {
                return TMEM_EXIT_FAILED;
            }
            g_clear_pointer(&complaint, g_free);
            continue;
        }
        /* libvirtd may be restarted, and a guest that is named come later */
        if (once || (count && rounds + 1 == count) || rounds == 0) {
            return tmem_options_fail(error);
        }
        if (g_strcmp0(complaint, error->message)) {
            tmem_error_print(NULL, error);
            g_free(complaint);
            complaint = g_strdup(error->message);
        }
        g_error_free(error);
    }
    return status;
}

int tmem_cmd_balance(const TmemCommand *command, int argc, char **argv)
{
    Balance balance = { .budget = -1 };
    GError *error = NULL;
    int status;

    if (!tmem_options_parse(command, entries, &balance.options, argc, argv,
                            &error)) {
        return tmem_options_fail(error);
    }
    if ((interval && !(interval >= 0.1 && interval <= 3600)) || count < 0) {
        tmem_warn("balance: --interval is from 0.1 to 3600 seconds, and "
                  "--count not negative");
        return TMEM_EXIT_USAGE;
    }
    if (once) {
        count = 1;
    }
    if (!load_config(&balance, &error)) {
        return tmem_options_fail(error);
    }
    balance.parties = g_hash_table_new_full(g_str_hash, g_str_equal, g_free,
                                            party_free);
    balance.complaints = g_hash_table_new_full(g_str_hash, g_str_equal,
                                               g_free, g_free);
    status = run(&balance);
    g_hash_table_unref(balance.parties);
    g_hash_table_unref(balance.complaints);
    balance_config_free(balance.config);
    return status;
}
