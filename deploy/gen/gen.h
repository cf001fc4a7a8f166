/* SPDX-License-Identifier: Apache-2.0 */
/* Generates files from the project's tables: man pages, shell completion, the example
 * configuration, and the reference pages of docs/. Not part of the daemon: `make` runs it. */
#ifndef RK_GEN_H
#define RK_GEN_H

#include <stddef.h>
#include <stdio.h>

struct rk_gen_option { /* of the daemon: server/config/config.def */
    const char *name, *help;
    const char *words; /* "a|b|c", or NULL */
    char preset[96];   /* as in the configuration file */
    char range[96];    /* "" = any text */
    char kind[24]; /* the placeholder of the value: "N", "BYTES", "TIME", "TEXT", "WORD", "" for a switch */
};
extern struct rk_gen_option rk_gen_options[];
extern const size_t rk_gen_options_count;

struct rk_gen_command { /* of rankctl: clients/ctl/command.def */
    const char *name, *arguments, *help;
};
extern const struct rk_gen_command rk_gen_commands[];
extern const size_t rk_gen_commands_count;

struct rk_gen_flag {
    const char *name;
    char letter;
    const char *argument;
    int commands; /* bit i = command i */
    const char *preset, *help;
};
extern const struct rk_gen_flag rk_gen_flags[];
extern const size_t rk_gen_flags_count;
#define RK_GEN_EVERY_COMMAND ((1 << rk_gen_commands_count) - 1)

/* Computes the parts of the tables that are not constants (defaults as text, ranges). To be called
 * once, first. */
void rk_gen_tables(void);

void rk_gen_man_rankd(FILE *out);
void rk_gen_man_conf(FILE *out);
void rk_gen_man_rankctl(FILE *out);
void rk_gen_completion_rankd(FILE *out);
void rk_gen_completion_rankctl(FILE *out);
void rk_gen_example(FILE *out);
void rk_gen_configuration_md(FILE *out);
void rk_gen_tuning_md(FILE *out);
void rk_gen_parameters_md(FILE *out);
void rk_gen_metrics_md(FILE *out);
void rk_gen_routes_md(FILE *out);
void rk_gen_rankctl_md(FILE *out);
void rk_gen_models_md(FILE *out);
void rk_gen_names_py(FILE *out);
void rk_gen_parameters_py(FILE *out); /* a part of it */
void rk_gen_openapi(FILE *out);

#endif
