/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of config.def as data, for reading, printing and documenting them. Private to this
 * room. */
#ifndef RK_CONFIG_TABLE_H
#define RK_CONFIG_TABLE_H

#include <stddef.h>
#include <stdint.h>

#include "config/config.h"

enum rk_option_type {
    RK_OPTION_TEXT,
    RK_OPTION_COUNT,
    RK_OPTION_BYTES,
    RK_OPTION_TIME,
    RK_OPTION_WORD,
    RK_OPTION_FLAG
};

struct rk_option {
    const char *name;
    enum rk_option_type type;
    size_t offset;            /* of the field in struct rk_config */
    uint64_t value, min, max; /* default (number, enumerator of a word, flag) and bounds */
    const char *text;         /* default of a text */
    const char *words;        /* "a|b|c" */
    const char *help;
};

extern const struct rk_option rk_options[];
extern const size_t rk_option_count;

/* NULL if there is none of that name. */
const struct rk_option *rk_option_find(const char *name);

#define RK_OPTION_BOUNDS 160
#define RK_OPTION_VALUE (RK_CONFIG_TEXT + 8)

/* What the option may be: "a whole number from 1 to 1024", "auto, uring or epoll". Returns
 * `text`. */
const char *rk_option_bounds(const struct rk_option *option, char text[RK_OPTION_BOUNDS]);

/* The value in *config as it would be written in a file: "256M", "60s", "auto". Returns `text`. */
const char *rk_option_value(const struct rk_option *option, const struct rk_config *config,
                            char text[RK_OPTION_VALUE]);

#endif
