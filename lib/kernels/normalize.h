/* SPDX-License-Identifier: Apache-2.0 */
/* Embeddings of unit length (`normalize`), in a batch and before storage in a bank. */
#ifndef RK_KERNELS_NORMALIZE_H
#define RK_KERNELS_NORMALIZE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/tensor.h"

/* Reads `in` [items, dim] (FP16, BF16, FP32, FP64; at any alignment) into FP32 rows out [items,
 * dim], FP64 rounded to FP32. With `normalize` each row is then divided by its L2 norm, in FP64,
 * and norms[i] is that norm; without, norms[i] is 1 (norms may be NULL). RANKD_INVALID for a row
 * that is zero (with normalize) or has a NaN or an infinity; the sentence names `field` and the
 * position. */
enum rankd_status rk_embeddings_read(const char *field, const struct rk_tensor *in, bool normalize,
                                     float *out, double *norms, struct rk_err *err)
    __attribute__((warn_unused_result));

/* The chain rule through x -> x / |x|, in place on one row: gradient = (gradient - (gradient . u)
 * u) / norm, u being the normalized row. */
void rk_normalize_chain(size_t dim, const float *unit, double norm, double *gradient);

#endif
