/* SPDX-License-Identifier: Apache-2.0 */
/* rankctl: declarations shared by its commands. */
#ifndef RANKD_CTL_H
#define RANKD_CTL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum rankd_ctl_command {
#define CTL_COMMAND(name, arguments, help) CTL_##name,
#include "command.def"
    CTL_COMMANDS
};

enum {
#define CTL_COMMAND(name, arguments, help) CTL_IN_##name = 1 << CTL_##name,
#include "command.def"
    CTL_IN_ALL = (1 << CTL_COMMANDS) - 1
};

enum { CTL_MAX_PARAMETERS = 32 };

/* The command line. Strings belong to argv, the environment, or are static; "" = not given. */
struct ctl {
#define CTL_OPTION(name, flag, letter, argument, commands, preset, help) const char *name;
#include "command.def"
    const char *parameters[CTL_MAX_PARAMETERS]; /* every --parameter, in order */
    size_t parameters_count;
    char **arguments; /* words that are no options, after the command */
    int arguments_count;
    char token[512];
};

/* Each returns the exit status: 0 done, 1 an error of the daemon or the machine, 2 a wrong command
 * line. */
#define CTL_COMMAND(name, arguments, help) int rankd_ctl_##name(struct ctl *ctl);
#include "command.def"

/* Prints "rankctl: " and the sentence to stderr; returns `status`, so that a command can end with
 * it. */
int rankd_ctl_fail(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The number in `text`, which option --`flag` gave, if it is in [min, max]; else says so and exits
 * with 2. */
double rankd_ctl_number(const char *flag, const char *text, double min, double max);

/* The same for a whole number. */
uint64_t rankd_ctl_whole(const char *flag, const char *text, uint64_t min, uint64_t max);

/* --timeout, in seconds. */
double rankd_ctl_timeout(const struct ctl *ctl);

#endif
