/* SPDX-License-Identifier: Apache-2.0 */
#include <stdbool.h>
#include <string.h>

#include "base/choices.h"
#include "config/config_table.h"

/* A number with the largest suffix that leaves it whole. */
static void quantity(enum rk_option_type type, uint64_t value, char *text, size_t size)
{
    static const struct {
        enum rk_option_type type;
        uint64_t factor;
        const char *suffix;
    } suffixes[] = {
        {RK_OPTION_BYTES, 1u << 30, "G"}, {RK_OPTION_BYTES, 1u << 20, "M"}, {RK_OPTION_BYTES, 1u << 10, "K"},
        {RK_OPTION_TIME, 60000, "min"},   {RK_OPTION_TIME, 1000, "s"},      {RK_OPTION_TIME, 1, "ms"},
    };
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        if (suffixes[i].type == type && value && value % suffixes[i].factor == 0) {
            (void)snprintf(text, size, "%llu%s", (unsigned long long)(value / suffixes[i].factor),
                           suffixes[i].suffix);
            return;
        }
    }
    (void)snprintf(text, size, "%llu", (unsigned long long)value);
}

static void nth_word(const char *words, int position, char *text, size_t size)
{
    const char *at = words;
    while (position-- > 0)
        at = strchr(at, '|') + 1;
    (void)snprintf(text, size, "%.*s", (int)strcspn(at, "|"), at);
}

const char *rk_option_bounds(const struct rk_option *option, char text[RK_OPTION_BOUNDS])
{
    char low[32], high[32];
    quantity(option->type, option->min, low, sizeof low);
    quantity(option->type, option->max, high, sizeof high);
    switch (option->type) {
    case RK_OPTION_TEXT:
        (void)snprintf(text, RK_OPTION_BOUNDS, "at most %d bytes of text", RK_CONFIG_TEXT - 1);
        break;
    case RK_OPTION_COUNT:
        (void)snprintf(text, RK_OPTION_BOUNDS, "a whole number from %s to %s", low, high);
        break;
    case RK_OPTION_BYTES:
        (void)snprintf(text, RK_OPTION_BOUNDS, "bytes from %s to %s, suffixes K, M and G allowed", low, high);
        break;
    case RK_OPTION_TIME:
        (void)snprintf(text, RK_OPTION_BOUNDS, "milliseconds from %s to %s, suffixes ms, s and min allowed",
                       low, high);
        break;
    case RK_OPTION_WORD:
        (void)rk_choices_text(option->words, text, RK_OPTION_BOUNDS);
        break;
    case RK_OPTION_FLAG:
        (void)snprintf(text, RK_OPTION_BOUNDS, "true or false");
        break;
    }
    return text;
}

const char *rk_option_value(const struct rk_option *option, const struct rk_config *config,
                            char text[RK_OPTION_VALUE])
{
    const void *field = (const char *)config + option->offset;
    switch (option->type) {
    case RK_OPTION_TEXT:
        (void)snprintf(text, RK_OPTION_VALUE, "%s", (const char *)field);
        break;
    case RK_OPTION_COUNT:
    case RK_OPTION_BYTES:
    case RK_OPTION_TIME:
        quantity(option->type, *(const uint64_t *)field, text, RK_OPTION_VALUE);
        break;
    case RK_OPTION_WORD:
        nth_word(option->words, *(const int *)field, text, RK_OPTION_VALUE);
        break;
    case RK_OPTION_FLAG:
        (void)snprintf(text, RK_OPTION_VALUE, "%s", *(const bool *)field ? "true" : "false");
        break;
    }
    return text;
}

void rk_config_help(FILE *out)
{
    struct rk_config defaults;
    char value[RK_OPTION_VALUE], bounds[RK_OPTION_BOUNDS];
    rk_config_default(&defaults);
    (void)fprintf(
        out,
        "rankd %s: rank-based losses and their gradients over HTTP and shared memory.\n\n"
        "    rankd [--option VALUE …]\n\n"
        "Options may also be set in a file (--config FILE, lines `option = value`) or in the\n"
        "environment (RANKD_OPTION_NAME); the command line wins, then the environment, then the file.\n\n"
        "  --config FILE     read options from FILE (or RANKD_CONFIG)\n"
        "  --check-config    check the configuration, and end\n"
        "  --health          ask the daemon that runs with these options whether it is ready, and end\n"
        "  --tune            time the engine for some seconds, print a file for --tuning, and end\n"
        "  --print-config    print the effective configuration as a file\n"
        "  --print-reference print the table of options as Markdown\n"
        "  --help, --version\n\n",
        RK_VERSION);
    for (size_t i = 0; i < rk_option_count; i++) {
        const struct rk_option *option = &rk_options[i];
        rk_option_value(option, &defaults, value);
        (void)fprintf(out, "  --%s\n        %s\n        Default: %s.", option->name, option->help,
                      *value ? value : "none");
        if (option->type != RK_OPTION_TEXT && option->type != RK_OPTION_FLAG)
            (void)fprintf(out, " May be %s.", rk_option_bounds(option, bounds));
        (void)fprintf(out, "\n");
    }
}

void rk_config_print(const struct rk_config *config, FILE *out)
{
    char value[RK_OPTION_VALUE];
    (void)fprintf(out, "# rankd's configuration. Lines are `option = value`; # begins a comment line.\n");
    for (size_t i = 0; i < rk_option_count; i++)
        (void)fprintf(out, "\n# %s\n%s = %s\n", rk_options[i].help, rk_options[i].name,
                      rk_option_value(&rk_options[i], config, value));
}

void rk_config_reference(FILE *out)
{
    struct rk_config defaults;
    char value[RK_OPTION_VALUE], bounds[RK_OPTION_BOUNDS];
    rk_config_default(&defaults);
    (void)fprintf(out, "| option | default | may be | |\n|---|---|---|---|\n");
    for (size_t i = 0; i < rk_option_count; i++)
        (void)fprintf(out, "| `%s` | `%s` | %s | %s |\n", rk_options[i].name,
                      rk_option_value(&rk_options[i], &defaults, value),
                      rk_option_bounds(&rk_options[i], bounds), rk_options[i].help);
}
