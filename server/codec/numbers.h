/* SPDX-License-Identifier: Apache-2.0 */
/* Tensors in JSON: reads arrays of numbers, writes flat arrays of numbers. */
#ifndef RK_CODEC_NUMBERS_H
#define RK_CODEC_NUMBERS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/tensor.h"
#include "base/text.h"
#include "codec/json_arrays.h"

/* An array in a text, and the tensor that it represents. */
struct rk_numbers {
    struct rk_json_text *text;
    struct rk_json_array *array;    /* of it */
    const char *what;               /* the text's name in sentences ("the request") */
    const char *name;               /* the input's */
    const struct rk_tensor *tensor; /* its type and shape */
    size_t count;                   /* of the shape's elements */
    void *out;                      /* an aligned array of `count` elements of its type */
};

/* Reads exactly `count` numbers, flat or nested as the shape is, into `out`: floating ones to the
 * nearest FP64, and from there to the nearest FP32. In a floating type `null` is NaN, and
 * "Infinity" and "-Infinity" are infinities; in a whole one `4.0` is 4. FP16 and BF16 have no form
 * in JSON. `may_fit` false: the array is too short for `count`, `out` is NULL, and the sentence
 * tells how many elements it has. RANKD_INVALID also where any of the text isn't JSON; after a
 * success this array is known to be. RANKD_DEADLINE: that of the text. */
enum rankd_status rk_numbers_read(const struct rk_numbers *numbers, bool may_fit, struct rk_err *err)
    __attribute__((warn_unused_result));

/* Writes the member "data":[a,b,…] of the JSON object that is open: the shortest decimals that read
 * back as the same FP32; NaN is null, infinities are "Infinity" and "-Infinity". FP32 and INT64
 * only, the types of outputs. */
void rk_numbers_write(struct rk_text *text, enum rk_dtype dtype, const void *data, size_t count);

#endif
