/* SPDX-License-Identifier: Apache-2.0 */
/* Configuration: one table (config.def), four sources. The command line wins over the environment,
 * that over the file, that over the defaults. */
#ifndef RK_CONFIG_H
#define RK_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"

#define RK_CONFIG_TEXT 256

/* Enumerations of the options that are words: enum rk_config_io {RK_IO_AUTO, …} and so on. */
#define RK_OPT_TEXT(field, ...)
#define RK_OPT_COUNT(field, ...)
#define RK_OPT_BYTES(field, ...)
#define RK_OPT_TIME(field, ...)
#define RK_OPT_WORD(field, name, value, words, help, ...) enum rk_config_##field{__VA_ARGS__};
#define RK_OPT_FLAG(field, ...)
#include "config/config.def"
#undef RK_OPT_TEXT
#undef RK_OPT_COUNT
#undef RK_OPT_BYTES
#undef RK_OPT_TIME
#undef RK_OPT_WORD
#undef RK_OPT_FLAG

/* Counts, bytes and milliseconds are uint64_t; words are their enumerators. */
struct rk_config {
#define RK_OPT_TEXT(field, ...) char field[RK_CONFIG_TEXT];
#define RK_OPT_COUNT(field, ...) uint64_t field;
#define RK_OPT_BYTES(field, ...) uint64_t field;
#define RK_OPT_TIME(field, ...) uint64_t field;
#define RK_OPT_WORD(field, ...) int field;
#define RK_OPT_FLAG(field, ...) bool field;
#include "config/config.def"
#undef RK_OPT_TEXT
#undef RK_OPT_COUNT
#undef RK_OPT_BYTES
#undef RK_OPT_TIME
#undef RK_OPT_WORD
#undef RK_OPT_FLAG
};

/* Actions on the command line beside options. */
enum rk_config_action {
    RK_CONFIG_RUN,
    RK_CONFIG_HELP,    /* --help */
    RK_CONFIG_VERSION, /* --version */
    RK_CONFIG_PRINT,   /* --print-config: the effective configuration as a file that can be read back */
    RK_CONFIG_CHECK,   /* --check-config */
    RK_CONFIG_TUNE,    /* --tune: times the engine and prints a tuning file */
    RK_CONFIG_HEALTH,  /* --health: asks the daemon that runs with this configuration */
    RK_CONFIG_MARKDOWN /* --print-reference: the table for the documentation */
};

/* Fills *config from the defaults, the file (--config FILE or RANKD_CONFIG), `environment`
 * ("NAME=value", NULL at the end) and the arguments. RANKD_INVALID names the option, its source,
 * its value and the allowed values; an unknown name is refused with the nearest known one. Nothing
 * is retained of the arguments. */
enum rankd_status rk_config_read(struct rk_config *config, int argc, char *const *argv,
                                 char *const *environment, enum rk_config_action *action, struct rk_err *err)
    __attribute__((warn_unused_result));

/* Every option at its default. */
void rk_config_default(struct rk_config *config);

/* Sets one option from text; `where` names the source for the sentence ("--workers",
 * "RANKD_WORKERS", "file:3"). */
enum rankd_status rk_config_set(struct rk_config *config, const char *name, const char *value,
                                const char *where, struct rk_err *err) __attribute__((warn_unused_result));

void rk_config_help(FILE *out);
void rk_config_print(const struct rk_config *config, FILE *out);
void rk_config_reference(FILE *out);

#endif
