/* SPDX-License-Identifier: Apache-2.0 */
#include "request/param.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/choices.h"
#include "base/nearest.h"
#include "base/number.h"

const struct rk_param_row rk_param_rows[RK_PARAM_COUNT] = {
#define RK_REAL(field, name, value, min, max, uses, help)                                                    \
    {name, RK_PARAM_REAL, offsetof(struct rk_params, field), 0, value, min, max, NULL, uses, help},
#define RK_WHOLE(field, name, value, min, max, uses, help)                                                   \
    {name, RK_PARAM_WHOLE, offsetof(struct rk_params, field), 0, value, min, max, NULL, uses, help},
#define RK_CHOICE(field, name, value, choices, uses, help)                                                   \
    {name, RK_PARAM_CHOICE, offsetof(struct rk_params, field), 0, value, 0, 0, choices, uses, help},
#define RK_FLAG(field, name, value, uses, help)                                                              \
    {name, RK_PARAM_FLAG, offsetof(struct rk_params, field), 0, value, 0, 0, NULL, uses, help},
#define RK_TEXT(field, name, size, uses, help)                                                               \
    {name, RK_PARAM_TEXT, offsetof(struct rk_params, field), size, 0, 0, 0, NULL, uses, help},
#include "request/param.def"
#undef RK_REAL
#undef RK_WHOLE
#undef RK_CHOICE
#undef RK_FLAG
#undef RK_TEXT
};

static void *field_of(struct rk_params *params, const struct rk_param_row *row)
{
    return (char *)params + row->offset;
}

static uint32_t bit_of(const struct rk_param_row *row)
{
    return 1u << (unsigned)(row - rk_param_rows);
}

struct rk_params rk_params_default(void)
{
    struct rk_params params;
    memset(&params, 0, sizeof params);
    for (size_t i = 0; i < RK_PARAM_COUNT; i++) {
        const struct rk_param_row *row = &rk_param_rows[i];
        void *field = field_of(&params, row);
        switch (row->type) {
        case RK_PARAM_REAL:
            *(double *)field = row->value;
            break;
        case RK_PARAM_WHOLE:
            *(uint64_t *)field = (uint64_t)row->value;
            break;
        case RK_PARAM_CHOICE:
            *(int *)field = (int)row->value;
            break;
        case RK_PARAM_FLAG:
            *(bool *)field = row->value != 0;
            break;
        case RK_PARAM_TEXT:
            break;
        }
    }
    return params;
}

static size_t size_of(const struct rk_param_row *row)
{
    switch (row->type) {
    case RK_PARAM_REAL:
        return sizeof(double);
    case RK_PARAM_WHOLE:
        return sizeof(uint64_t);
    case RK_PARAM_CHOICE:
        return sizeof(int);
    case RK_PARAM_FLAG:
        return sizeof(bool);
    default:
        return 1; /* of a text: is it empty? */
    }
}

uint32_t rk_params_asked(const struct rk_params *params)
{
    const struct rk_params usual = rk_params_default();
    uint32_t asked = params->given;
    for (size_t i = 0; i < RK_PARAM_COUNT; i++) {
        const struct rk_param_row *row = &rk_param_rows[i];
        if (memcmp((const char *)params + row->offset, (const char *)&usual + row->offset, size_of(row)) != 0)
            asked |= bit_of(row);
    }
    return asked;
}

const struct rk_param_row *rk_param_find(const char *name)
{
    for (size_t i = 0; i < RK_PARAM_COUNT; i++) {
        if (strcmp(rk_param_rows[i].name, name) == 0)
            return &rk_param_rows[i];
    }
    return NULL;
}

uint32_t rk_params_used(unsigned uses)
{
    uint32_t used = 0;
    for (size_t i = 0; i < RK_PARAM_COUNT; i++)
        used |= rk_param_rows[i].uses & uses ? 1u << i : 0;
    return used;
}

struct rk_loss_params rk_loss_params_of(const struct rk_params *params)
{
    struct rk_loss_params values;
    memset(&values, 0, sizeof values); /* padding too: a device gets copies */
#define RK_REAL(field, ...) values.field = params->field;
#define RK_WHOLE(field, ...) values.field = params->field;
#define RK_CHOICE(field, ...) values.field = params->field;
#define RK_FLAG(field, ...) values.field = params->field;
#define RK_TEXT(field, ...)
#include "request/param.def"
#undef RK_REAL
#undef RK_WHOLE
#undef RK_CHOICE
#undef RK_FLAG
#undef RK_TEXT
    return values;
}

const char *rk_param_nearest(const char *name, uint32_t among)
{
    struct rk_nearest nearest = rk_nearest_start(name);
    for (size_t i = 0; i < RK_PARAM_COUNT; i++) {
        if (among >> i & 1)
            rk_nearest_offer(&nearest, rk_param_rows[i].name);
    }
    return nearest.best;
}

/* What the parameter may be, as the end of a sentence: "must be …". */
static const char *bounds_text(const struct rk_param_row *row, char *text, size_t size)
{
    char low[RK_NUMBER_TEXT], high[RK_NUMBER_TEXT], words[128];
    switch (row->type) {
    case RK_PARAM_REAL:
        (void)snprintf(text, size, "a number from %s to %s", rk_number_text(row->min, low),
                       rk_number_text(row->max, high));
        break;
    case RK_PARAM_WHOLE:
        (void)snprintf(text, size, "a whole number from %.0f to %.0f", row->min, row->max);
        break;
    case RK_PARAM_CHOICE:
        (void)snprintf(text, size, "%s", rk_choices_text(row->choices, words, sizeof words));
        break;
    case RK_PARAM_FLAG:
        (void)snprintf(text, size, "true or false");
        break;
    case RK_PARAM_TEXT:
        (void)snprintf(text, size, "a string of 1 to %zu bytes", row->size - 1);
        break;
    }
    return text;
}

enum rankd_status rk_param_refuse(const struct rk_param_row *row, const char *value, struct rk_err *err)
{
    char bounds[256];
    return rk_fail(err, RANKD_INVALID, "parameter %s was %s; it must be %s", row->name, value,
                   bounds_text(row, bounds, sizeof bounds));
}

/* Position of the word in "a|b|c", or -1. */
static int choice_position(const char *choices, const char *word)
{
    size_t length = strlen(word);
    int position = 0;
    for (const char *c = choices; c; position++) {
        const char *end = strchr(c, '|');
        size_t this_length = end ? (size_t)(end - c) : strlen(c);
        if (this_length == length && memcmp(c, word, length) == 0)
            return position;
        c = end ? end + 1 : NULL;
    }
    return -1;
}

static bool all_numbers(const char *choices)
{
    return strspn(choices, "0123456789|") == strlen(choices);
}

enum rankd_status rk_param_set_number(struct rk_params *params, const struct rk_param_row *row, double value,
                                      struct rk_err *err)
{
    char text[RK_NUMBER_TEXT];
    rk_number_text(value, text);
    if (row->type == RK_PARAM_REAL && value >= row->min && value <= row->max) {
        *(double *)field_of(params, row) = value;
    } else if (row->type == RK_PARAM_WHOLE && value >= row->min && value <= row->max &&
               value == floor(value)) {
        *(uint64_t *)field_of(params, row) = (uint64_t)value;
    } else if (row->type == RK_PARAM_CHOICE && all_numbers(row->choices)) {
        int position = choice_position(row->choices, text);
        if (position < 0)
            return rk_param_refuse(row, text, err);
        *(int *)field_of(params, row) = position;
    } else {
        return rk_param_refuse(row, text, err);
    }
    params->given |= bit_of(row);
    return RANKD_OK;
}

enum rankd_status rk_param_set_flag(struct rk_params *params, const struct rk_param_row *row, bool value,
                                    struct rk_err *err)
{
    if (row->type != RK_PARAM_FLAG)
        return rk_param_refuse(row, value ? "true" : "false", err);
    *(bool *)field_of(params, row) = value;
    params->given |= bit_of(row);
    return RANKD_OK;
}

/* A client's string as it may stand in a sentence: quoted, short, without control characters. */
static const char *quoted(const char *value, char *text, size_t size)
{
    size_t at = 0;
    text[at++] = '"';
    for (const char *c = value; *c && at + 5 < size; c++)
        text[at++] = (unsigned char)*c < 0x20 || *c == 0x7f ? '?' : *c;
    if (strlen(value) + 1 > at) {
        /* Not in the middle of a character. */
        while (at > 1 && ((unsigned char)value[at - 1] & 0xc0) == 0x80)
            at--;
        memcpy(text + at, "...", 3);
        at += 3;
    }
    text[at++] = '"';
    text[at] = '\0';
    return text;
}

enum rankd_status rk_param_set_text(struct rk_params *params, const struct rk_param_row *row,
                                    const char *value, struct rk_err *err)
{
    char shown[64];
    quoted(value, shown, sizeof shown);
    if (row->type == RK_PARAM_CHOICE) {
        int position = choice_position(row->choices, value);
        if (position < 0)
            return rk_param_refuse(row, shown, err);
        *(int *)field_of(params, row) = position;
    } else if (row->type == RK_PARAM_TEXT) {
        size_t length = strlen(value);
        if (length == 0 || length >= row->size)
            return rk_param_refuse(row, shown, err);
        memcpy(field_of(params, row), value, length + 1);
    } else {
        return rk_param_refuse(row, shown, err);
    }
    params->given |= bit_of(row);
    return RANKD_OK;
}
