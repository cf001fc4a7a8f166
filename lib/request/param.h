/* SPDX-License-Identifier: Apache-2.0 */
/* Parameters of a request, generated from the table in param.def. */
#ifndef RK_REQUEST_PARAM_H
#define RK_REQUEST_PARAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* What a parameter may be sent with, whatever the loss is. */
enum {
    RK_USE_NAMED = 0, /* only with losses that name it (RK_TAKES in losses.def) */
    RK_USE_SCORES = 1u << 0,
    RK_USE_EMBEDDINGS = 1u << 1,
    RK_USE_LOSS = RK_USE_SCORES | RK_USE_EMBEDDINGS,
    RK_USE_VJP = 1u << 2,
    RK_USE_GRADIENT = 1u << 3, /* losses, and no metrics */
    RK_NEEDS_BANK =
        1u << 4 /* beside the others, for numbers and flags: only the default goes without a bank */
};

/* Names for the positions in the `choices` of param.def. */
enum { RK_SCOPE_LIST, RK_SCOPE_BATCH };
enum { RK_UNITS_NORMALIZED, RK_UNITS_RANK };
enum { RK_SCALE_LAMBDA, RK_SCALE_UNIT }; /* of the gradient */
enum { RK_AVERAGE_MACRO, RK_AVERAGE_MICRO, RK_AVERAGE_SUM };
enum { RK_AXIS_COLUMNS, RK_AXIS_ROWS }; /* which of them are the lists: axis 0, axis 1 */
enum { RK_SHARE_OF_RELEVANT, RK_SHARE_OF_TOP_K };
enum { RK_GALLERY_ALL, RK_GALLERY_REFERENCES };
enum { RK_GAIN_EXP2, RK_GAIN_LINEAR };
enum { RK_TRANSFORM_LOG, RK_TRANSFORM_LOGLOG, RK_TRANSFORM_IDENTITY };

/* Row numbers in the table: RK_PARAM_lambda, … */
enum rk_param_id {
#define RK_REAL(field, ...) RK_PARAM_##field,
#define RK_WHOLE(field, ...) RK_PARAM_##field,
#define RK_CHOICE(field, ...) RK_PARAM_##field,
#define RK_FLAG(field, ...) RK_PARAM_##field,
#define RK_TEXT(field, ...) RK_PARAM_##field,
#include "request/param.def"
#undef RK_REAL
#undef RK_WHOLE
#undef RK_CHOICE
#undef RK_FLAG
#undef RK_TEXT
    RK_PARAM_COUNT
};

/* The values. Start from rk_params_default(); bit `1u << RK_PARAM_x` of `given` is set where x was
 * sent. */
struct rk_params {
#define RK_REAL(field, ...) double field;
#define RK_WHOLE(field, ...) uint64_t field;
#define RK_CHOICE(field, ...) int field;
#define RK_FLAG(field, ...) bool field;
#define RK_TEXT(field, name, size, ...) char field[size];
#include "request/param.def"
#undef RK_REAL
#undef RK_WHOLE
#undef RK_CHOICE
#undef RK_FLAG
#undef RK_TEXT
    uint32_t given;
};

/* Those that are not text: what a loss is told, and a device. */
struct rk_loss_params {
#define RK_REAL(field, ...) double field;
#define RK_WHOLE(field, ...) uint64_t field;
#define RK_CHOICE(field, ...) int field;
#define RK_FLAG(field, ...) bool field;
#define RK_TEXT(field, ...)
#include "request/param.def"
#undef RK_REAL
#undef RK_WHOLE
#undef RK_CHOICE
#undef RK_FLAG
#undef RK_TEXT
};

enum rk_param_type { RK_PARAM_REAL, RK_PARAM_WHOLE, RK_PARAM_CHOICE, RK_PARAM_FLAG, RK_PARAM_TEXT };

/* One row, for metadata and documentation. */
struct rk_param_row {
    const char *name;
    enum rk_param_type type;
    size_t offset;          /* of the field in struct rk_params */
    size_t size;            /* of a text field, NUL included */
    double value, min, max; /* default (number, position of a choice, flag) and bounds */
    const char *choices;    /* "a|b|c" */
    unsigned uses;
    const char *help;
};

extern const struct rk_param_row rk_param_rows[RK_PARAM_COUNT];

/* Every parameter at its default, none given. */
struct rk_params rk_params_default(void);

struct rk_loss_params rk_loss_params_of(const struct rk_params *params);

/* Bits 1u << RK_PARAM_x of the rows that share a bit with `uses` (RK_USE_*). */
uint32_t rk_params_used(unsigned uses);

/* Bits 1u << RK_PARAM_x of the parameters that were given or are not at their default: a device has
 * to know each of them to compute the request. */
uint32_t rk_params_asked(const struct rk_params *params);

/* The row of that name, or NULL. */
const struct rk_param_row *rk_param_find(const char *name);

/* The name in the table that is most like `name` (edit distance), for "did you mean"; NULL if none
 * is near. Only those whose bits 1u << RK_PARAM_x are set in `among` are considered. */
const char *rk_param_nearest(const char *name, uint32_t among);

/* Set one parameter from a value of the wire's type. Each checks type and range and marks the row
 * as given; on failure *params is unchanged, *err has the sentence and its status is returned. A
 * choice takes its word, and also an integer where every word is a number (axis). Nothing is
 * retained of the arguments. */
enum rankd_status rk_param_set_number(struct rk_params *params, const struct rk_param_row *row, double value,
                                      struct rk_err *err) __attribute__((warn_unused_result));
enum rankd_status rk_param_set_flag(struct rk_params *params, const struct rk_param_row *row, bool value,
                                    struct rk_err *err) __attribute__((warn_unused_result));
enum rankd_status rk_param_set_text(struct rk_params *params, const struct rk_param_row *row,
                                    const char *value, struct rk_err *err)
    __attribute__((warn_unused_result));

/* RANKD_INVALID with the sentence of a refused value, which is shown as `value` has it: for callers
 * that know how it was sent. */
enum rankd_status rk_param_refuse(const struct rk_param_row *row, const char *value, struct rk_err *err);

#endif
