/* SPDX-License-Identifier: Apache-2.0 */
#include "base/tensor.h"

#include <string.h>

static const char *const names[RK_DTYPE_COUNT] = {
    [RK_BOOL] = "BOOL",   [RK_UINT8] = "UINT8", [RK_INT8] = "INT8",
    [RK_INT32] = "INT32", [RK_INT64] = "INT64", [RK_FP16] = "FP16",
    [RK_BF16] = "BF16",   [RK_FP32] = "FP32",   [RK_FP64] = "FP64",
};

const char *rk_dtype_name(enum rk_dtype dtype)
{
    return (unsigned)dtype < RK_DTYPE_COUNT ? names[dtype] : "?";
}

bool rk_dtype_parse(const char *name, enum rk_dtype *out)
{
    for (unsigned i = 0; i < RK_DTYPE_COUNT; i++) {
        if (strcmp(name, names[i]) == 0) {
            *out = (enum rk_dtype)i;
            return true;
        }
    }
    return false;
}

bool rk_shape_bytes(enum rk_dtype dtype, unsigned rank, const size_t *shape, size_t *count, size_t *bytes)
{
    size_t n = 1;
    for (unsigned i = 0; i < rank; i++) {
        if (__builtin_mul_overflow(n, shape[i], &n))
            return false;
    }
    *count = n;
    return !__builtin_mul_overflow(n, rk_dtype_size(dtype), bytes);
}
