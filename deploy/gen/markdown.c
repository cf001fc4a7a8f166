/* SPDX-License-Identifier: Apache-2.0 */
/* The example configuration and the reference pages of docs/. */
#include <ctype.h>
#include <inttypes.h>
#include <string.h>

#include "gen.h"
#include "request/param.h"

static void begin(FILE *out, const char *table, const char *text, const char *columns)
{
    fprintf(out,
            "<!-- Written by `make reference` from the table %s; change it there. -->\n\n%s\n\n| %s |\n|",
            table, text, columns);
    for (const char *at = columns; at; at = strchr(at + 1, '|'))
        fputs("---|", out);
    fputc('\n', out);
}

static void row(FILE *out, const char *const *cells, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        fputs("| ", out);
        for (const char *at = cells[i]; *at; at++)
            fprintf(out, *at == '|' ? "\\%c" : "%c", *at); /* a bar would end the cell */
        fputc(' ', out);
    }
    fputs("|\n", out);
}

void rk_gen_example(FILE *out)
{
    fputs("# Configuration of rankd; see rankd.conf(5). Lines that are commented out show the defaults.\n",
          out);
    for (size_t i = 0; i < rk_gen_options_count; i++) {
        const struct rk_gen_option *o = &rk_gen_options[i];
        fprintf(out, "\n# %s\n", o->help);
        if (o->range[0])
            fprintf(out, "# It may be %s.\n", o->range);
        fprintf(out, "#%s = %s\n", o->name, o->preset);
    }
}

void rk_gen_configuration_md(FILE *out)
{
    begin(out, "server/config/config.def",
          "# Options of rankd\n\nOn the command line `--name value`, in the environment `RANKD_NAME` (`-` "
          "becomes `_`), in the\n"
          "file `name = value`; the first of these three that names an option wins.",
          "option | default | values | description");
    for (size_t i = 0; i < rk_gen_options_count; i++) {
        const struct rk_gen_option *o = &rk_gen_options[i];
        char name[64], preset[100];
        snprintf(name, sizeof name, "`%s`", o->name);
        snprintf(preset, sizeof preset, o->preset[0] ? "`%s`" : "%s", o->preset);
        row(out, (const char *const[]){name, preset, o->range, o->help}, 4);
    }
}

void rk_gen_tuning_md(FILE *out)
{
    static const struct {
        const char *name, *help;
        uint32_t value, min, max;
    } rows[] = {
#define RK_TUNING(field, name, value, min, max, help) {name, help, value, min, max},
#include "kernels/tuning.def"
#undef RK_TUNING
    };
    begin(
        out, "lib/kernels/tuning.def",
        "# The tuning file\n\nThe engine chooses between its ways to count a list by numbers that were "
        "measured on a few\nmachines. `rankd --tune` measures them on this one, in some seconds of processor "
        "time, and prints a\nfile that the option `tuning` names:\n\n    rankd --tune > /etc/rankd/tuning\n  "
        "  "
        "rankd --tuning /etc/rankd/tuning\n\nResults do not depend on it, to the last bit. A line is `name = "
        "number`, `#` begins a comment, a\nname that is missing keeps its default; a file that can't be used "
        "ends the start with one sentence.",
        "name | default | or a power of two | description");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char name[64], preset[32], bounds[64];
        snprintf(name, sizeof name, "`%s`", rows[i].name);
        snprintf(preset, sizeof preset, "`%" PRIu32 "`", rows[i].value);
        snprintf(bounds, sizeof bounds, "%" PRIu32 " to %" PRIu32, rows[i].min, rows[i].max);
        row(out, (const char *const[]){name, preset, bounds, rows[i].help}, 4);
    }
}

/* The models that take a parameter, by its `uses` or because their rows name it. */
static void with(enum rk_param_id id, unsigned uses, char *text, size_t size)
{
    static const struct {
        const char *name;
        uint32_t takes;
        unsigned uses;
    } losses[] = {
#define RK_TAKES(field) 1u << RK_PARAM_##field
#define RK_LOSS(number, name, takes, help) {#name, takes, RK_USE_LOSS | RK_USE_GRADIENT},
#define RK_METRIC(number, name, takes, help) {#name, takes, RK_USE_LOSS},
#include "losses/losses.def"
    };
    text[0] = '\0';
    for (size_t i = 0; i < sizeof losses / sizeof losses[0]; i++) {
        const size_t at = strlen(text);
        if (uses & losses[i].uses || losses[i].takes >> id & 1)
            snprintf(text + at, size - at, "%s%s", at ? ", " : "", losses[i].name);
    }
    const size_t at = strlen(text);
    snprintf(text + at, size - at, "%s%s%s", uses & RK_USE_VJP ? ", rank_vjp" : "",
             (uses & RK_USE_LOSS) == RK_USE_SCORES       ? "; scores"
             : (uses & RK_USE_LOSS) == RK_USE_EMBEDDINGS ? "; embeddings"
                                                         : "",
             uses & RK_NEEDS_BANK ? "; bank" : "");
}

void rk_gen_parameters_md(FILE *out)
{
    begin(out, "lib/request/param.def",
          "# Parameters of a request\n\nAn unknown parameter is refused, because a typo must never train "
          "silently.\n"
          "After a semicolon: only with scores or only with embeddings; `bank`: another value than the\n"
          "default needs the parameter `bank`.\n"
          "[Exact definitions](../semantics.md).",
          "parameter | default | values | with | description");
    static const struct {
        const char *name, *preset, *range, *help;
        int position; /* of the default among the words of `range`; -1 = `preset` has it */
        unsigned uses;
    } rows[] = {
#define RK_REAL(field, name, preset, min, max, uses, help) {name, #preset, #min " to " #max, help, -1, uses},
#define RK_WHOLE(field, name, preset, min, max, uses, help)                                                  \
    {name, #preset, #min " to " #max ", whole", help, -1, uses},
#define RK_CHOICE(field, name, preset, choices, uses, help) {name, "", choices, help, preset, uses},
#define RK_FLAG(field, name, preset, uses, help) {name, #preset, "true|false", help, -1, uses},
#define RK_TEXT(field, name, size, uses, help) {name, "", "text", help, -1, uses},
#include "request/param.def"
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char name[64], preset[64], models[256];
        const char *word = rows[i].range;
        for (int k = 0; k < rows[i].position; k++)
            word += strcspn(word, "|") + 1;
        snprintf(name, sizeof name, "`%s`", rows[i].name);
        snprintf(preset, sizeof preset, "%.*s", (int)strcspn(word, "|"), word);
        with((enum rk_param_id)i, rows[i].uses, models, sizeof models);
        row(out,
            (const char *const[]){name, rows[i].position < 0 ? rows[i].preset : preset, rows[i].range, models,
                                  rows[i].help},
            5);
    }
}

/* A word of metrics.def in the notation of Prometheus. */
static const char *metric_word(const char *word)
{
    static const char *const words[][2] = {{"COUNTER", "counter"},
                                           {"SECONDS_COUNTER", "counter"},
                                           {"GAUGE", "gauge"},
                                           {"HISTOGRAM", "histogram"},
                                           {"NONE", ""},
                                           {"MODEL", "model"},
                                           {"TRANSPORT", "transport"},
                                           {"STATUS", "status"},
                                           {"STAGE", "stage"},
                                           {"REASON", "reason"},
                                           {"ENGINE", "engine"},
                                           {"NAME", "name"},
                                           {"VERSION", "version"}};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcmp(words[i][0], word) == 0)
            return words[i][1];
    return word;
}

void rk_gen_metrics_md(FILE *out)
{
    begin(
        out, "server/base/metrics.def",
        "# Metrics\n\nAt `/metrics`, in the text format of Prometheus. Metrics of queue, budget and process "
        "are in the\ntable server/exec/gauges.def, those of banks in server/bank/gauges.def, those of a "
        "device in\nserver/exec/device.def.",
        "metric | type | labels | description");
    static const struct {
        const char *name, *type, *a, *b, *help;
    } rows[] = {
#define RK_METRIC(id, name, type, label_a, label_b, help) {name, #type, #label_a, #label_b, help},
#include "base/metrics.def"
#define RK_GAUGE(name, type, label, value, help) {name, #type, #label, "NONE", help},
#include "exec/gauges.def"
#define RK_BANK_METRIC(id, name, type, help) {name, #type, "bank", "NONE", help},
#include "bank/gauges.def"
#define RK_DEVICE_METRIC(name, type, label, value, help) {name, #type, #label, "NONE", help},
#include "exec/device.def"
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *a = metric_word(rows[i].a), *b = metric_word(rows[i].b);
        char labels[64], name[96];
        snprintf(labels, sizeof labels, "%s%s%s", a, b[0] ? ", " : "", b);
        snprintf(name, sizeof name, "`%s`", rows[i].name);
        row(out, (const char *const[]){name, metric_word(rows[i].type), labels, rows[i].help}, 4);
    }
}

void rk_gen_routes_md(FILE *out)
{
    begin(
        out, "server/api/route.def",
        "# Routes of the HTTP API\n\nWith [tokens](../howto/deployment.md), a request needs a token with the "
        "scope given here;\n`none` is open to everybody. Requests and replies are described in\n"
        "[openapi.yaml](../../proto/openapi.yaml).",
        "request | scope");
    static const struct {
        const char *verb, *pattern, *scope;
    } rows[] = {
#define RK_ROUTE(verb, pattern, scope, kind, handler) {verb, pattern, #scope},
#include "api/route.def"
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char request[128], scope[16] = "";
        snprintf(request, sizeof request, "`%s %s`", rows[i].verb, rows[i].pattern);
        for (size_t c = 0; c < sizeof scope - 1 && rows[i].scope[c]; c++)
            scope[c] = (char)tolower((unsigned char)rows[i].scope[c]);
        row(out, (const char *const[]){request, scope}, 2);
    }
}

void rk_gen_rankctl_md(FILE *out)
{
    begin(out, "clients/ctl/command.def", "# rankctl", "command | description");
    for (size_t i = 0; i < rk_gen_commands_count; i++) {
        const struct rk_gen_command *c = &rk_gen_commands[i];
        char usage[160];
        snprintf(usage, sizeof usage, "`rankctl %s%s%s`", c->name, c->arguments[0] ? " " : "", c->arguments);
        row(out, (const char *const[]){usage, c->help}, 2);
    }
    fputs("\n| option | of | default | description |\n|---|---|---|---|\n", out);
    for (size_t i = 0; i < rk_gen_flags_count; i++) {
        const struct rk_gen_flag *f = &rk_gen_flags[i];
        char name[96], of[128] = "";
        snprintf(name, sizeof name, "`--%s%s%s`", f->name, f->argument[0] ? " " : "", f->argument);
        for (size_t c = 0; c < rk_gen_commands_count; c++)
            if (f->commands >> c & 1)
                snprintf(of + strlen(of), sizeof of - strlen(of), "%s%s", of[0] ? ", " : "",
                         rk_gen_commands[c].name);
        row(out,
            (const char *const[]){name, f->commands == RK_GEN_EVERY_COMMAND ? "all" : of, f->preset, f->help},
            4);
    }
}
