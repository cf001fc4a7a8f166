/* SPDX-License-Identifier: Apache-2.0 */
#include "request/target.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* x of some signed or floating type; comparing before converting keeps large values from wrapping into good
 * ones. */
#define NARROW(type)                                                                                         \
    for (size_t i = 0; i < n; i++) {                                                                         \
        type x;                                                                                              \
        memcpy(&x, at + i * sizeof x, sizeof x);                                                             \
        out[i] = x == (type)0 ? 0 : x == (type)1 ? 1 : x == (type)-1 ? -1 : RK_TARGET_BAD;                   \
    }

void rk_targets_narrow(const void *targets, enum rk_dtype dtype, size_t n, int8_t *out)
{
    const char *at = targets;
    switch (dtype) {
    case RK_INT8:
        NARROW(int8_t)
        break;
    case RK_INT32:
        NARROW(int32_t)
        break;
    case RK_INT64:
        NARROW(int64_t)
        break;
    case RK_FP32:
        NARROW(float)
        break;
    default:
        for (size_t i = 0; i < n; i++)
            out[i] = (unsigned char)at[i] <= 1 ? at[i] : RK_TARGET_BAD;
        break;
    }
}

static void value_text(const char *at, enum rk_dtype dtype, char value[RK_NUMBER_TEXT])
{
    int8_t i8;
    int32_t i32;
    int64_t i64 = 0;
    float x;
    switch (dtype) {
    case RK_INT8:
        memcpy(&i8, at, sizeof i8);
        i64 = (int64_t)i8;
        break;
    case RK_INT32:
        memcpy(&i32, at, sizeof i32);
        i64 = i32;
        break;
    case RK_INT64:
        memcpy(&i64, at, sizeof i64);
        break;
    case RK_FP32:
        memcpy(&x, at, sizeof x);
        rk_float_text(x, value);
        return;
    default:
        i64 = *(const unsigned char *)at;
        break;
    }
    (void)snprintf(value, RK_NUMBER_TEXT, "%" PRId64, i64);
}

bool rk_targets_first_bad(const void *targets, enum rk_dtype dtype, size_t n, size_t *at,
                          char value[RK_NUMBER_TEXT])
{
    const char *from = targets;
    size_t size = rk_dtype_size(dtype);
    for (size_t i = 0; i < n; i++) {
        int8_t narrow;
        rk_targets_narrow(from + i * size, dtype, 1, &narrow);
        if (narrow != RK_TARGET_BAD)
            continue;
        *at = i;
        value_text(from + i * size, dtype, value);
        return true;
    }
    return false;
}
