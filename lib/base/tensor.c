/* SPDX-License-Identifier: Apache-2.0 */
#include "base/tensor.h"

#include <string.h>

static const struct {
    const char *name;
    size_t size;
} dtypes[RK_DTYPE_COUNT] = {
    [RK_BOOL] = {"BOOL", 1},   [RK_UINT8] = {"UINT8", 1}, [RK_INT8] = {"INT8", 1},
    [RK_INT32] = {"INT32", 4}, [RK_INT64] = {"INT64", 8}, [RK_FP16] = {"FP16", 2},
    [RK_BF16] = {"BF16", 2},   [RK_FP32] = {"FP32", 4},   [RK_FP64] = {"FP64", 8},
};

const char *rk_dtype_name(enum rk_dtype dtype)
{
    return (unsigned)dtype < RK_DTYPE_COUNT ? dtypes[dtype].name : "?";
}

size_t rk_dtype_size(enum rk_dtype dtype)
{
    return (unsigned)dtype < RK_DTYPE_COUNT ? dtypes[dtype].size : 0;
}

bool rk_dtype_parse(const char *name, enum rk_dtype *out)
{
    for (unsigned i = 0; i < RK_DTYPE_COUNT; i++) {
        if (strcmp(name, dtypes[i].name) == 0) {
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
