/* SPDX-License-Identifier: Apache-2.0 */
/* Writes the names of models, inputs, outputs and parameters into files that no compiler reads:
 * openapi.yaml, the Python package, and a page of the reference. */
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "gen.h"

/* Types in the order of enum rankd_dtype, by the words of rankd_ports.def. */
static const char *const dtypes[] = {"BOOL", "UINT8", "INT8", "INT32", "INT64",
                                     "FP16", "BF16",  "FP32", "FP64"};
enum { BOOL = 1, UINT8 = 2, INT8 = 4, INT32 = 8, INT64 = 16, FP16 = 32, BF16 = 64, FP32 = 128, FP64 = 256 };
enum {
    FLOATS = FP64 | FP32 | FP16 | BF16,
    TARGETS = BOOL | UINT8 | INT8 | INT32 | INT64 | FP32 | FP16 | BF16,
    LABELS = INT64 | INT32
};

struct rk_gen_name {
    const char *name, *help, *shape;
    unsigned dtypes;
};

static const struct rk_gen_name losses[] = {
#define RK_LOSS(number, name, takes, help) {#name, help, "", 0},
#define RK_METRIC(number, name, takes, help)
#include "losses/losses.def"
    {NULL, NULL, NULL, 0}};
static const struct rk_gen_name metrics[] = {
#define RK_LOSS(number, name, takes, help)
#define RK_METRIC(number, name, takes, help) {#name, help, "", 0},
#include "losses/losses.def"
    {NULL, NULL, NULL, 0}};
static const struct rk_gen_name models[] = {
#define RK_LOSS(number, name, takes, help) {#name, help, "", 0},
#include "losses/losses.def"
    {"rank", "", "", 0}, {"rank_vjp", "", "", 0}, {NULL, NULL, NULL, 0}};
static const struct rk_gen_name inputs[] = {
#define RANKD_INPUT(ID, name, with, dtypes, rank, shape, help) {name, help, shape, dtypes},
#include "rankd_ports.def"
    {NULL, NULL, NULL, 0}};
static const struct rk_gen_name outputs[] = {
#define RANKD_OUTPUT(ID, name, with, dtypes, rank, shape, help) {name, help, shape, dtypes},
#include "rankd_ports.def"
    {NULL, NULL, NULL, 0}};
static const struct rk_gen_name reply_numbers[] = {
#define RANKD_REPLY_NUMBER(ID, name, whole, help) {name, help, whole ? "int" : "float", 0},
#include "rankd_numbers.def"
    {NULL, NULL, NULL, 0}};
static const struct rk_gen_name bank_kinds[] = {
#define RK_BANK_KIND(name) {#name, "", "", 0},
#include "bank/kinds.def"
#undef RK_BANK_KIND
    {NULL, NULL, NULL, 0}};
static const struct rk_gen_name parameters[] = {
#define RK_REAL(field, name, preset, min, max, uses, help) {name, help, "number", 0},
#define RK_WHOLE(field, name, preset, min, max, uses, help) {name, help, "integer", 0},
#define RK_CHOICE(field, name, preset, choices, uses, help) {name, help, "{}", 0},
#define RK_FLAG(field, name, preset, uses, help) {name, help, "boolean", 0},
#define RK_TEXT(field, name, size, uses, help) {name, help, "string", 0},
#include "request/param.def"
    {NULL, NULL, NULL, 0}};

/* name, name, … each between `quote`s. */
static void list(FILE *out, const struct rk_gen_name *rows, const char *quote)
{
    for (const struct rk_gen_name *row = rows; row->name; row++)
        fprintf(out, "%s%s%s%s", row == rows ? "" : ", ", quote, row->name, quote);
}

static void types(FILE *out, unsigned of, const char *quote)
{
    const char *join = "";
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++) {
        if (of >> i & 1) {
            fprintf(out, "%s%s%s%s", join, quote, dtypes[i], quote);
            join = ", ";
        }
    }
}

/* The names of the rows, one a line. */
static void lines(FILE *out, const struct rk_gen_name *rows)
{
    for (const struct rk_gen_name *row = rows; row->name; row++)
        fprintf(out, "    \"%s\",\n", row->name);
}

static void ports_py(FILE *out)
{
    fputs("# By number, each with the types that it may have.\nINPUTS: dict[str, tuple[str, ...]] = {\n",
          out);
    for (const struct rk_gen_name *row = inputs; row->name; row++) {
        fprintf(out, "    \"%s\": (", row->name);
        types(out, row->dtypes, "\"");
        fputs(",),\n", out);
    }
    fputs("}\nSHAPES: dict[str, str] = {  # of inputs, in words\n", out);
    for (const struct rk_gen_name *row = inputs; row->name; row++)
        fprintf(out, "    \"%s\": \"%s\",\n", row->name, row->shape);
    fputs("}\nOUTPUTS: tuple[str, ...] = (\n    ", out);
    list(out, outputs, "\"");
    fputs(")\n# Of a reply, beside its tensors and counts: their types. None: there is none.\n"
          "REPLY_NUMBERS: dict[str, type] = {\n",
          out);
    for (const struct rk_gen_name *row = reply_numbers; row->name; row++)
        fprintf(out, "    \"%s\": %s,\n", row->name, row->shape);
    fputs("}\n", out);
}

void rk_gen_names_py(FILE *out)
{
    fputs("\"\"\"Written by `make reference` from the daemon's tables (lib/losses/losses.def,\n"
          "proto/rankd_ports.def, proto/rankd_numbers.def, lib/request/param.def); change it there.\"\"\"\n"
          "from __future__ import annotations\n\nLOSSES: tuple[str, ...] = (",
          out);
    list(out, losses, "\"");
    fputs(",)\nMETRICS: tuple[str, ...] = (", out);
    list(out, metrics, "\"");
    fputs(",)\nMODELS: tuple[str, ...] = (", out);
    list(out, models, "\"");
    fputs(")\n", out);
    ports_py(out);
    fputs("PARAMETERS: tuple[str, ...] = (\n", out);
    lines(out, parameters);
    fputs(")\n", out);
    rk_gen_parameters_py(out);
}

static void ports_md(FILE *out, const char *what, const struct rk_gen_name *rows)
{
    fprintf(out, "\n| %s | types | shape | description |\n|---|---|---|---|\n", what);
    for (const struct rk_gen_name *row = rows; row->name; row++) {
        fprintf(out, "| `%s` | ", row->name);
        types(out, row->dtypes, "");
        fprintf(out, " | %s | %s |\n", row->shape, row->help);
    }
}

void rk_gen_models_md(FILE *out)
{
    fputs("<!-- Written by `make reference` from the tables lib/losses/losses.def and proto/rankd_ports.def; "
          "change it there. -->\n\n"
          "# Losses, inputs and outputs\n\n"
          "`GET /v2/models/NAME` has the same for one model, with its parameters. There are more models:\n"
          "`rank`, the ranking itself, `rank_vjp`, its gradient, and metrics, which have no gradient.\n\n"
          "| loss | description |\n|---|---|\n",
          out);
    for (const struct rk_gen_name *row = losses; row->name; row++)
        fprintf(out, "| `%s` | %s |\n", row->name, row->help);
    fputs("\n| metric | description |\n|---|---|\n", out);
    for (const struct rk_gen_name *row = metrics; row->name; row++)
        fprintf(out, "| `%s` | %s |\n", row->name, row->help);
    ports_md(out, "input", inputs);
    ports_md(out, "output", outputs);
}

static void schema_of_parameters(FILE *out)
{
    for (const struct rk_gen_name *row = parameters; row->name; row++) {
        const bool any = strcmp(row->shape, "{}") == 0;
        fprintf(out, "%s%s: {%s%s}", row == parameters ? "" : ", ", row->name,
                any ? "" : "type: ", any ? "" : row->shape);
    }
}

/* proto/openapi.yaml. In a line that ends in `# names: KIND`, the text between the last pair of [ ]
 * (or { } for parameters) comes from the tables. */
void rk_gen_openapi(FILE *out)
{
    static const struct {
        const char *kind;
        const struct rk_gen_name *rows;
    } kinds[] = {{"models", models},
                 {"inputs", inputs},
                 {"outputs", outputs},
                 {"bank_kinds", bank_kinds},
                 {"parameters", parameters}};
    static char line[4096];
    FILE *page = fopen("proto/openapi.yaml", "r");
    while (page && fgets(line, sizeof line, page)) {
        char *mark = strstr(line, "# names: ");
        const struct rk_gen_name *rows = NULL;
        for (size_t i = 0; mark && i < sizeof kinds / sizeof kinds[0]; i++)
            if (strncmp(mark + 9, kinds[i].kind, strlen(kinds[i].kind)) == 0)
                rows = kinds[i].rows;
        char *open = !rows ? NULL : rows == parameters ? strchr(line, '{') : strrchr(line, '[');
        char *close = !rows ? NULL : rows == parameters ? strrchr(line, '}') : strrchr(line, ']');
        if (!open || !close) {
            fputs(line, out);
            continue;
        }
        fprintf(out, "%.*s", (int)(open + 1 - line), line);
        if (rows == parameters)
            schema_of_parameters(out);
        else
            list(out, rows, "");
        fputs(close, out);
    }
    if (page)
        fclose(page);
}
