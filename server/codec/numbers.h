/* Tensors in JSON: arrays of numbers in, flat arrays of numbers out. */
#ifndef RK_NUMBERS_H
#define RK_NUMBERS_H

#include <jansson.h>
#include <stddef.h>

#include "codec/text.h"
#include "err.h"
#include "tensor.h"

/* Reads the `count` numbers of a tensor of that type and shape from `data`, an array, flat or nested as the
 * shape is, into `out`, an aligned array of the type. In a floating type `null` is NaN, and "Infinity" and
 * "-Infinity" are what they say. FP16 and BF16 have no form in JSON. `name` names the input in sentences. */
enum rankd_status rk_numbers_read(const json_t *data, const char *name, const struct rk_tensor *tensor,
                                  size_t count, void *out, struct rk_err *err)
    __attribute__((warn_unused_result));

/* Writes the member "data":[a,b,…] of the JSON object that is open: the shortest decimals that read back as
 * the same FP32, null for NaN, "Infinity" and "-Infinity". FP32 and INT64 only: the types of outputs. */
void rk_numbers_write(struct rk_text *text, enum rk_dtype dtype, const void *data, size_t count);

#endif
