/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdint.h>
#include <string.h>

#include "config/config.h"
#include "ctl.h"
#include "gen.h"

enum option_kind { TEXT, COUNT, BYTES, TIME, WORD, SWITCH };

static const struct option_row {
    enum option_kind kind;
    const char *name, *help, *text; /* text: the default of TEXT, the words of WORD */
    uint64_t preset, min, max;
} rows[] = {
#define RK_OPT_TEXT(field, name, preset, help) {TEXT, name, help, preset, 0, 0, 0},
#define RK_OPT_COUNT(field, name, preset, min, max, help) {COUNT, name, help, "", preset, min, max},
#define RK_OPT_BYTES(field, name, preset, min, max, help) {BYTES, name, help, "", preset, min, max},
#define RK_OPT_TIME(field, name, preset, min, max, help) {TIME, name, help, "", preset, min, max},
#define RK_OPT_WORD(field, name, preset, words, help, ...) {WORD, name, help, words, preset, 0, 0},
#define RK_OPT_FLAG(field, name, preset, help) {SWITCH, name, help, "", preset, 0, 0},
#include "config/config.def"
};

struct rk_gen_option rk_gen_options[sizeof rows / sizeof rows[0]];
const size_t rk_gen_options_count = sizeof rows / sizeof rows[0];

const struct rk_gen_command rk_gen_commands[] = {
#define CTL_COMMAND(name, arguments, help) {#name, arguments, help},
#include "command.def"
};
const size_t rk_gen_commands_count = sizeof rk_gen_commands / sizeof rk_gen_commands[0];

const struct rk_gen_flag rk_gen_flags[] = {
#define CTL_OPTION(name, flag, letter, argument, commands, preset, help)                                     \
    {flag, letter, argument, commands, preset, help},
#include "command.def"
};
const size_t rk_gen_flags_count = sizeof rk_gen_flags / sizeof rk_gen_flags[0];

/* A quantity with the largest suffix that leaves it whole. */
static void quantity(char *out, size_t size, enum option_kind kind, uint64_t value)
{
    static const struct {
        uint64_t unit;
        const char *suffix;
    } bytes[] = {{1u << 30, "G"}, {1u << 20, "M"}, {1u << 10, "K"}, {1, ""}},
      time[] = {{60000, "min"}, {1000, "s"}, {1, "ms"}, {1, ""}};
    for (size_t i = 0; i < 4 && kind != COUNT; i++) {
        uint64_t unit = kind == BYTES ? bytes[i].unit : time[i].unit;
        if (value == 0 || value % unit)
            continue;
        snprintf(out, size, "%" PRIu64 "%s", value / unit, kind == BYTES ? bytes[i].suffix : time[i].suffix);
        return;
    }
    snprintf(out, size, "%" PRIu64, value);
}

static void fill(struct rk_gen_option *option, const struct option_row *row)
{
    static const char *const kinds[] = {"TEXT", "N", "BYTES", "TIME", "WORD", ""};
    option->name = row->name;
    option->help = row->help;
    snprintf(option->kind, sizeof option->kind, "%s", kinds[row->kind]);
    if (row->kind == TEXT) {
        snprintf(option->preset, sizeof option->preset, "%s", row->text);
    } else if (row->kind == SWITCH) {
        snprintf(option->preset, sizeof option->preset, "%s", row->preset ? "true" : "false");
        snprintf(option->range, sizeof option->range, "true or false");
    } else if (row->kind == WORD) {
        option->words = row->text;
        const char *word = row->text;
        for (uint64_t i = 0; i < row->preset; i++)
            word += strcspn(word, "|") + 1;
        snprintf(option->preset, sizeof option->preset, "%.*s", (int)strcspn(word, "|"), word);
        snprintf(option->range, sizeof option->range, "%s", row->text);
    } else {
        char low[32], high[32];
        quantity(option->preset, sizeof option->preset, row->kind, row->preset);
        quantity(low, sizeof low, row->kind, row->min);
        quantity(high, sizeof high, row->kind, row->max);
        snprintf(option->range, sizeof option->range, "%s to %s", low, high);
    }
}

void rk_gen_tables(void)
{
    for (size_t i = 0; i < rk_gen_options_count; i++)
        fill(&rk_gen_options[i], &rows[i]);
}
