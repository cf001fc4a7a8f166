/* SPDX-License-Identifier: Apache-2.0 */
#include "config/config.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/nearest.h"
#include "config/config_table.h"

const struct rk_option *rk_option_find(const char *name)
{
    for (size_t i = 0; i < rk_option_count; i++) {
        if (strcmp(rk_options[i].name, name) == 0)
            return &rk_options[i];
    }
    return NULL;
}

/* A whole number with a suffix of the type; false if it is anything else, or does not fit. */
static bool parse_quantity(enum rk_option_type type, const char *value, uint64_t *out)
{
    static const struct {
        const char *suffix;
        enum rk_option_type type;
        uint64_t factor;
    } suffixes[] = {
        {"K", RK_OPTION_BYTES, 1u << 10}, {"M", RK_OPTION_BYTES, 1u << 20}, {"G", RK_OPTION_BYTES, 1u << 30},
        {"ms", RK_OPTION_TIME, 1},        {"s", RK_OPTION_TIME, 1000},      {"min", RK_OPTION_TIME, 60000},
    };
    if (*value < '0' || *value > '9')
        return false;
    char *end;
    errno = 0;
    unsigned long long number = strtoull(value, &end, 10);
    if (errno)
        return false;
    uint64_t factor = *end ? 0 : 1;
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        if (suffixes[i].type == type && strcmp(end, suffixes[i].suffix) == 0)
            factor = suffixes[i].factor;
    }
    return factor && !__builtin_mul_overflow((uint64_t)number, factor, out);
}

static int word_position(const char *words, const char *word)
{
    size_t length = strlen(word);
    int position = 0;
    for (const char *at = words; at; position++) {
        const char *end = strchr(at, '|');
        if ((end ? (size_t)(end - at) : strlen(at)) == length && memcmp(at, word, length) == 0)
            return position;
        at = end ? end + 1 : NULL;
    }
    return -1;
}

static bool parse_flag(const char *value, bool *out)
{
    const bool yes = strcmp(value, "true") == 0 || strcmp(value, "1") == 0;
    const bool no = strcmp(value, "false") == 0 || strcmp(value, "0") == 0;
    *out = yes;
    return yes || no;
}

/* Writes the value into the field; false if it is not of the type or out of range. */
static bool assign(struct rk_config *config, const struct rk_option *option, const char *value)
{
    void *field = (char *)config + option->offset;
    uint64_t number;
    switch (option->type) {
    case RK_OPTION_TEXT:
        if (strlen(value) >= RK_CONFIG_TEXT)
            return false;
        (void)snprintf(field, RK_CONFIG_TEXT, "%s", value);
        return true;
    case RK_OPTION_COUNT:
    case RK_OPTION_BYTES:
    case RK_OPTION_TIME:
        if (!parse_quantity(option->type, value, &number) || number < option->min || number > option->max)
            return false;
        *(uint64_t *)field = number;
        return true;
    case RK_OPTION_WORD: {
        int position = word_position(option->words, value);
        if (position >= 0)
            *(int *)field = position;
        return position >= 0;
    }
    case RK_OPTION_FLAG:
        return parse_flag(value, field);
    }
    return false;
}

enum rankd_status rk_config_set(struct rk_config *config, const char *name, const char *value,
                                const char *where, struct rk_err *err)
{
    const struct rk_option *option = rk_option_find(name);
    if (!option) {
        struct rk_nearest nearest = rk_nearest_start(name);
        for (size_t i = 0; i < rk_option_count; i++)
            rk_nearest_offer(&nearest, rk_options[i].name);
        if (nearest.best)
            return rk_fail(err, RANKD_INVALID, "%s: there is no option \"%.64s\"; did you mean \"%s\"?",
                           where, name, nearest.best);
        return rk_fail(err, RANKD_INVALID, "%s: there is no option \"%.64s\"; --help lists them", where,
                       name);
    }
    if (!assign(config, option, value)) {
        char bounds[RK_OPTION_BOUNDS];
        return rk_fail(err, RANKD_INVALID, "%s: %s was \"%.64s\"; it must be %s", where, name, value,
                       rk_option_bounds(option, bounds));
    }
    return RANKD_OK;
}
