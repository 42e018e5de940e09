/*
 * tmemctl balance: its configuration file
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <fnmatch.h>
#include <string.h>

#include "balance-config.h"
#include "tmem-error.h"
#include "tmem-size.h"

#define GUEST_PREFIX "guest "

typedef struct {
    GKeyFile *file;
    const char *name;           /* of the file */
    const char *group;
} Section;

static char *key_name(const Section *section, const char *key)
{
    return g_strdup_printf("%s: [%s] %s", section->name, section->group, key);
}

/* The text of a key, NULL if it is not there */
static char *get_text(const Section *section, const char *key)
{
    char *text = g_key_file_get_value(section->file, section->group, key,
                                      NULL);

    return text ? g_strstrip(text) : NULL;
}

static gboolean get_number(const Section *section, const char *key,
                           double min, double max, double *value,
                           GError **error)
{
    g_autofree char *text = get_text(section, key);
    g_autofree char *what = NULL;
    char *end;
    double number;

    if (!text) {
        return TRUE;
    }
    number = g_ascii_strtod(text, &end);
    if (!*text || *end || !(number >= min && number <= max)) {
        what = key_name(section, key);
        g_set_error(error, TMEM_ERROR, TMEM_ERROR_USAGE,
                    "%s: '%s' is not a number from %g to %g", what, text, min,
                    max);
        return FALSE;
    }
    *value = number;
    return TRUE;
}

static gboolean get_size(const Section *section, const char *key,
                         uint64_t *size, GError **error)
{
    g_autofree char *text = get_text(section, key);
    g_autofree char *what = key_name(section, key);

    if (!text) {
        return TRUE;
    }
    if (!strcmp(text, "none") && *size == UINT64_MAX) {
        return TRUE;
    }
    return tmem_size_parse(what, text, size, error);
}

/* "cap=none" below a default that has a cap */
static gboolean get_bound(const Section *section, const char *key,
                          uint64_t *size, GError **error)
{
    g_autofree char *text = get_text(section, key);

    if (text && !strcmp(text, "none")) {
        *size = UINT64_MAX;
        return TRUE;
    }
    return get_size(section, key, size, error);
}

static gboolean get_bool(const Section *section, const char *key,
                         gboolean *value, GError **error)
{
    g_autofree char *text = get_text(section, key);
    g_autofree char *what = key_name(section, key);

    if (!text) {
        return TRUE;
    }
    if (!strcmp(text, "true") || !strcmp(text, "false")) {
        *value = !strcmp(text, "true");
        return TRUE;
    }
    g_set_error(error, TMEM_ERROR, TMEM_ERROR_USAGE,
                "%s: '%s' is not true or false", what, text);
    return FALSE;
}

/* A word that nobody knows would be a wish that nobody hears. */
static gboolean check_keys(const Section *section, const char *const *known,
                           GError **error)
{
    g_auto(GStrv) keys = g_key_file_get_keys(section->file, section->group,
                                             NULL, NULL);
    char **key;

    for (key = keys; key && *key; key++) {
        if (!g_strv_contains(known, *key)) {
            g_autofree char *list = g_strjoinv(", ", (char **)known);

            g_set_error(error, TMEM_ERROR, TMEM_ERROR_USAGE,
                        "%s: [%s] has no key '%s'; it has %s", section->name,
                        section->group, *key, list);
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean read_rule(const Section *section, BalanceRule *rule,
                          GError **error)
{
    static const char *const known[] = {
        "weight", "min", "cap", "managed", NULL,
    };

    if (!check_keys(section, known, error) ||
        !get_number(section, "weight", 0.001, 1e6, &rule->weight, error) ||
        !get_size(section, "min", &rule->floor, error) ||
        !get_bound(section, "cap", &rule->cap, error) ||
        !get_bool(section, "managed", &rule->managed, error)) {
        return FALSE;
    }
    if (rule->floor > rule->cap) {
        g_set_error(error, TMEM_ERROR, TMEM_ERROR_USAGE,
                    "%s: [%s] min is more than cap", section->name,
                    section->group);
        return FALSE;
    }
    return TRUE;
}

gboolean balance_config_set_reserve(BalanceConfig *config, const char *what,
                                    const char *text, GError **error)
{
    size_t length = strlen(text);
    char *end;
    double share;

    if (!length || text[length - 1] != '%') {
        config->reserve_share = -1;
        return tmem_size_parse(what, text, &config->reserve, error);
    }
    share = g_ascii_strtod(text, &end);
    if (end == text || strcmp(end, "%") || !(share >= 0 && share <= 100)) {
        g_set_error(error, TMEM_ERROR, TMEM_ERROR_USAGE,
                    "%s: '%s' is not from 0%% to 100%%", what, text);
        return FALSE;
    }
    config->reserve_share = share / 100;
    return TRUE;
}

static gboolean read_balance(const Section *section, BalanceConfig *config,
                             GError **error)
{
    static const char *const known[] = {
        "interval", "time-constant", "reserve", "total", NULL,
    };
    g_autofree char *reserve = get_text(section, "reserve");
    g_autofree char *what = key_name(section, "reserve");

    return check_keys(section, known, error) &&
           get_number(section, "interval", 0.1, 3600, &config->interval_s,
                      error) &&
           get_number(section, "time-constant", 0.1, 3600,
                      &config->time_constant_s, error) &&
           get_bound(section, "total", &config->total, error) &&
           (!reserve || balance_config_set_reserve(config, what, reserve,
                                                   error));
}

static gboolean read_guest(const Section *section, BalanceConfig *config,
                           GError **error)
{
    const char *pattern = section->group + strlen(GUEST_PREFIX);
    BalanceRule rule = config->fallback;

    if (!read_rule(section, &rule, error)) {
        return FALSE;
    }
    g_ptr_array_add(config->names, g_strdup(pattern));
    g_array_append_val(config->rules, rule);
    return TRUE;
}

static gboolean read_file(Section *section, BalanceConfig *config,
                          GError **error)
{
    g_auto(GStrv) groups = g_key_file_get_groups(section->file, NULL);
    char **group;

    /* First the default, wherever it stands: guests begin with it */
    section->group = "default";
    if (!read_rule(section, &config->fallback, error)) {
        return FALSE;
    }
    for (group = groups; *group; group++) {
        gboolean ok = TRUE;

        section->group = *group;
        if (!strcmp(*group, "balance")) {
            ok = read_balance(section, config, error);
        } else if (g_str_has_prefix(*group, GUEST_PREFIX)) {
            ok = read_guest(section, config, error);
        } else if (strcmp(*group, "default")) {
            g_set_error(error, TMEM_ERROR, TMEM_ERROR_USAGE,
                        "%s: there is no section [%s]; it is [balance], "
                        "[default] or [guest NAME]", section->name, *group);
            ok = FALSE;
        }
        if (!ok) {
            return FALSE;
        }
    }
    return TRUE;
}

BalanceConfig *balance_config_parse(const char *text, const char *name,
                                    GError **error)
{
    g_autoptr(BalanceConfig) config = g_new0(BalanceConfig, 1);
    g_autoptr(GKeyFile) file = g_key_file_new();
    Section section = { .file = file, .name = name };

    *config = (BalanceConfig) {
        .interval_s = 2,
        .time_constant_s = 5,
        .total = UINT64_MAX,
        .reserve_share = 0.1,
        .fallback = { .weight = 1, .cap = UINT64_MAX, .managed = TRUE },
        .names = g_ptr_array_new_with_free_func(g_free),
        .rules = g_array_new(FALSE, FALSE, sizeof(BalanceRule)),
    };
    /* Of length 0, it would be an error of its own */
    if (*text && !g_key_file_load_from_data(file, text, strlen(text),
                                            G_KEY_FILE_NONE, error)) {
        g_prefix_error(error, "%s: ", name);
        return NULL;
    }
    return read_file(&section, config, error) ? g_steal_pointer(&config)
                                              : NULL;
}

BalanceConfig *balance_config_load(const char *path, GError **error)
{
    g_autofree char *text = NULL;

    if (!g_file_get_contents(path, &text, NULL, error)) {
        g_prefix_error(error, "cannot read the configuration: ");
        return NULL;
    }
    return balance_config_parse(text, path, error);
}

void balance_config_free(BalanceConfig *config)
{
    if (config->names) {
        g_ptr_array_unref(config->names);
        g_array_unref(config->rules);
    }
    g_free(config);
}

uint64_t balance_config_reserve(const BalanceConfig *config, uint64_t memory)
{
    return config->reserve_share < 0 ? config->reserve
                                     : memory * config->reserve_share;
}

void balance_config_rule(const BalanceConfig *config, const char *guest,
                         BalanceRule *rule)
{
    guint i, found = config->names->len;

    for (i = 0; i < config->names->len; i++) {
        const char *name = config->names->pdata[i];

        if (!strcmp(name, guest)) {
            found = i;
            break;
        }
        if (found == config->names->len && fnmatch(name, guest, 0) == 0) {
            found = i;
        }
    }
    *rule = found < config->names->len
            ? g_array_index(config->rules, BalanceRule, found)
            : config->fallback;
}
