/* Tensors in JSON: reads arrays of numbers, writes flat arrays of numbers. */
#ifndef RK_CODEC_NUMBERS_H
#define RK_CODEC_NUMBERS_H

#include <jansson.h>
#include <stddef.h>

#include "base/err.h"
#include "base/tensor.h"
#include "base/text.h"
#include "codec/json.h"

/* Reads exactly `count` numbers of the array `data`, flat or nested as the shape of `tensor`, into `out`, an
 * aligned array of its type. In a floating type `null` is NaN, and "Infinity" and "-Infinity" are infinities;
 * in an integer type `4.0` is 4. FP16 and BF16 are not supported in JSON. `name` names the input in
 * sentences, `source` is the document. */
enum rankd_status rk_numbers_read(const json_t *data, const struct rk_json_source *source, const char *name,
                                  const struct rk_tensor *tensor, size_t count, void *out, struct rk_err *err)
    __attribute__((warn_unused_result));

/* Writes the member "data":[a,b,…] of the JSON object that is open: the shortest decimals that read back as
 * the same FP32; NaN is null, infinities are "Infinity" and "-Infinity". FP32 and INT64 only, the types of
 * outputs. */
void rk_numbers_write(struct rk_text *text, enum rk_dtype dtype, const void *data, size_t count);

#endif
