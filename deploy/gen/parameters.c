/* SPDX-License-Identifier: Apache-2.0 */
/* What the Python package knows of parameters: their values, and the losses that take them. */
#include <stdint.h>
#include <string.h>

#include "gen.h"
#include "request/param.h"

/* What parameters may be, and with what they go. */
struct rk_gen_parameter {
    const char *name, *kind, *least, *most; /* the kind is "number", "bool", "str", or words: "a|b|c" */
    unsigned uses;
};
static const struct rk_gen_parameter parameter_values[] = {
#define RK_REAL(field, name, preset, min, max, uses, help) {name, "number", #min, #max, uses},
#define RK_WHOLE(field, name, preset, min, max, uses, help) {name, "number", #min, #max, uses},
#define RK_CHOICE(field, name, preset, choices, uses, help) {name, choices, "", "", uses},
#define RK_FLAG(field, name, preset, uses, help) {name, "bool", "", "", uses},
#define RK_TEXT(field, name, size, uses, help) {name, "str", "", "", uses},
#include "request/param.def"
    {NULL, NULL, NULL, NULL, 0}};
static const struct rk_gen_taker {
    const char *name;
    uint32_t takes;
    unsigned uses;
} takers[] = {
#define RK_TAKES(field) 1u << RK_PARAM_##field
#define RK_LOSS(number, name, takes, help) {#name, takes, RK_USE_LOSS | RK_USE_GRADIENT},
#define RK_METRIC(number, name, takes, help) {#name, takes, RK_USE_LOSS},
#include "losses/losses.def"
    {NULL, 0, 0}};

/* ("a", "b",) for a|b. */
static void words(FILE *out, const char *text)
{
    const char *before = "(";
    while (*text) {
        const int length = (int)strcspn(text, "|");
        fprintf(out, "%s\"%.*s\",", before, length, text);
        before = " ";
        text += length + (text[length] != '\0');
    }
    fputc(')', out);
}

void rk_gen_parameters_py(FILE *out)
{
    fputs("# What a parameter may be: bool, str, one of some words, or from the one number to the other, "
          "whole\n"
          "# if they are.\nVALUES: dict[str, type | tuple[str, ...] | tuple[float, float]] = {\n",
          out);
    for (const struct rk_gen_parameter *row = parameter_values; row->name; row++) {
        fprintf(out, "    \"%s\": ", row->name);
        if (strcmp(row->kind, "number") == 0)
            fprintf(out, "(%s, %s)", row->least, row->most);
        else if (strcmp(row->kind, "bool") == 0 || strcmp(row->kind, "str") == 0)
            fputs(row->kind, out);
        else
            words(out, row->kind);
        fputs(",\n", out);
    }
    fputs("}\n# The losses and metrics that take a parameter.\nTAKEN_BY: dict[str, tuple[str, ...]] = {\n",
          out);
    for (const struct rk_gen_parameter *row = parameter_values; row->name; row++) {
        const char *before = "";
        fprintf(out, "    \"%s\": (", row->name);
        for (const struct rk_gen_taker *taker = takers; taker->name; taker++) {
            if (row->uses & taker->uses || taker->takes >> (row - parameter_values) & 1) {
                fprintf(out, "%s\"%s\",", before, taker->name);
                before = " ";
            }
        }
        fputs("),\n", out);
    }
    fputs("}\n# Parameters that go with lists of scores only, or with embeddings only.\nONLY_WITH: dict[str, "
          "str] = {\n",
          out);
    for (const struct rk_gen_parameter *row = parameter_values; row->name; row++) {
        const unsigned with = row->uses & RK_USE_LOSS;
        if (with == RK_USE_SCORES || with == RK_USE_EMBEDDINGS)
            fprintf(out, "    \"%s\": \"%s\",\n", row->name, with == RK_USE_SCORES ? "scores" : "embeddings");
    }
    fputs("}\n", out);
}
