/*
 * tmemctl balance: its configuration file
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BALANCE_CONFIG_H
#define BALANCE_CONFIG_H

#include <glib.h>
#include <stdint.h>

/* What holds for a guest, all its devices together */
typedef struct BalanceRule {
    double weight;
    uint64_t floor;
    uint64_t cap;               /* UINT64_MAX: none */
    gboolean managed;
} BalanceRule;

typedef struct BalanceConfig {
    double interval_s;
    double time_constant_s;
    uint64_t total;             /* UINT64_MAX: none */
    uint64_t reserve;           /* bytes, */
    double reserve_share;       /* or of the host's memory; < 0: bytes hold */
    BalanceRule fallback;
    GPtrArray *names;           /* patterns, in the order of the file */
    GArray *rules;              /* BalanceRule of each */
} BalanceConfig;

/*
 * Read a configuration; see tmemctl-balance.conf(5). Each error names @name,
 * the section and the key, and says what would be right.
 */
BalanceConfig *balance_config_parse(const char *text, const char *name,
                                    GError **error);
BalanceConfig *balance_config_load(const char *path, GError **error);
void balance_config_free(BalanceConfig *config);

/* Set the reserve: a size, or a percentage */
gboolean balance_config_set_reserve(BalanceConfig *config, const char *what,
                                    const char *text, GError **error);

/* The reserve of a host with @memory bytes */
uint64_t balance_config_reserve(const BalanceConfig *config, uint64_t memory);

/*
 * The rule for a guest: that of its name, else of the first pattern that fits
 */
void balance_config_rule(const BalanceConfig *config, const char *guest,
                         BalanceRule *rule);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(BalanceConfig, balance_config_free)

#endif
