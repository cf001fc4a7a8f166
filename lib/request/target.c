/* SPDX-License-Identifier: Apache-2.0 */
#include "request/target.h"

#include <float.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/half.h"
#include "request/request.h"

enum rk_target_rule rk_target_rule_of(const struct rk_request *request)
{
    if (!rk_model_graded(request->model))
        return RK_TARGET_BINARY;
    return request->params.gain == RK_GAIN_EXP2 ? RK_TARGET_GRADE : RK_TARGET_REAL;
}

const char *rk_target_may_be(enum rk_target_rule rule, enum rk_dtype dtype)
{
    static const char *const may[][2] = {
        [RK_TARGET_BINARY] = {"1 (relevant) or 0 (irrelevant)",
                              "1 (relevant), 0 (irrelevant) or -1 (ignored)"},
        [RK_TARGET_GRADE] = {"a whole grade from 0 (irrelevant) to 31",
                             "a whole grade from 0 (irrelevant) to 31, or -1 (ignored)"},
        [RK_TARGET_REAL] = {"a grade of 0 (irrelevant) or more",
                            "a finite grade of 0 (irrelevant) or more, or -1 (ignored)"},
    };
    return may[dtype == RK_BOOL ? RK_TARGET_BINARY : rule][dtype != RK_BOOL && dtype != RK_UINT8];
}

/* Bytes above 127 would look negative. */
bool rk_targets_are_bytes(enum rk_dtype dtype, enum rk_target_rule rule)
{
    return rk_dtype_size(dtype) == 1 && !(dtype == RK_UINT8 && rule == RK_TARGET_REAL);
}

int8_t rk_targets_most(enum rk_dtype dtype, enum rk_target_rule rule)
{
    static const int8_t most[] = {
        [RK_TARGET_BINARY] = 1, [RK_TARGET_GRADE] = RK_GRADE_MAX, [RK_TARGET_REAL] = INT8_MAX};
    return most[dtype == RK_BOOL ? RK_TARGET_BINARY : rule];
}

/* Written with vector types, because compilers do not vectorize such loops. A comparison that holds
 * is -1 in its lane. */
enum { BYTES = 16, WORDS = 4 /* lanes */, BLOCK = 256 /* elements, a multiple of both */ };
typedef int8_t i8_lanes __attribute__((vector_size(BYTES)));
typedef uint8_t u8_lanes __attribute__((vector_size(BYTES)));
typedef int32_t i32_lanes __attribute__((vector_size(WORDS * sizeof(int32_t))));
typedef float f32_lanes __attribute__((vector_size(WORDS * sizeof(float))));
typedef int8_t narrow_bytes __attribute__((vector_size(BYTES)));
typedef int8_t narrow_words __attribute__((vector_size(WORDS)));

#define BETWEEN(x, low, high) (((x) >= (low)) & ((x) <= (high)))

/* narrow_<name>(): `n` elements, a multiple of the lanes. `whole` and `finite` say of lanes x which
 * of them are that, `ignored` which are -1. */
#define NARROW_LOOP(lanes, narrow, relevant, ignored)                                                        \
    for (size_t i = 0; i < n; i += sizeof(narrow)) {                                                         \
        lanes x;                                                                                             \
        memcpy(&x, from + i * (sizeof x / sizeof(narrow)), sizeof x);                                        \
        narrow value = __builtin_convertvector(                                                              \
            ((ignored) - (relevant)) | (~((relevant) | (ignored) | (x == 0)) & RK_TARGET_BAD), narrow);      \
        memcpy(out + i, &value, sizeof value);                                                               \
    }
#define NARROW(name, lanes, narrow, whole, finite, ignored)                                                  \
    static void narrow_##name(const char *from, enum rk_target_rule rule, size_t n, int8_t *out)             \
    {                                                                                                        \
        if (rule == RK_TARGET_BINARY)                                                                        \
            NARROW_LOOP(lanes, narrow, x == 1, ignored)                                                      \
        else if (rule == RK_TARGET_GRADE)                                                                    \
            NARROW_LOOP(lanes, narrow, BETWEEN(x, 1, RK_GRADE_MAX) & (whole), ignored)                       \
        else                                                                                                 \
            NARROW_LOOP(lanes, narrow, (x > 0) & (finite), ignored)                                          \
    }
NARROW(i8, i8_lanes, narrow_bytes, -1, -1, x == -1)
NARROW(u8, u8_lanes, narrow_bytes, -1, -1, x != x)
NARROW(i32, i32_lanes, narrow_words, -1, -1, x == -1)
/* Adding 2^23 to a number from 1 to 31 leaves no room for a fraction. */
NARROW(f32, f32_lanes, narrow_words, (x + 0x1p23f) - 0x1p23f == x, x <= FLT_MAX, x == -1)

/* Values beyond 32 bits are clamped, which does not change their meaning. */
static void saturate(const char *at, size_t n, char *out)
{
    for (size_t i = 0; i < n; i++) {
        int64_t x;
        memcpy(&x, at + i * sizeof x, sizeof x);
        const int32_t narrow = x > INT32_MAX ? INT32_MAX : x < INT32_MIN ? INT32_MIN : (int32_t)x;
        memcpy(out + i * sizeof narrow, &narrow, sizeof narrow);
    }
}

static void widen(const char *at, enum rk_dtype dtype, size_t n, char *out)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t half;
        memcpy(&half, at + i * sizeof half, sizeof half);
        const float wide = dtype == RK_FP16 ? rk_float_of_fp16(half) : rk_float_of_bf16(half);
        memcpy(out + i * sizeof wide, &wide, sizeof wide);
    }
}

/* Elements of 1 or 4 bytes, a multiple of BYTES of them. */
static void narrow_lanes(const char *at, enum rk_dtype dtype, enum rk_target_rule rule, size_t n, int8_t *out)
{
    switch (dtype) {
    case RK_INT8:
        narrow_i8(at, rule, n, out);
        break;
    case RK_INT32:
    case RK_INT64:
        narrow_i32(at, rule, n, out);
        break;
    case RK_FP32:
    case RK_FP16:
    case RK_BF16:
        narrow_f32(at, rule, n, out);
        break;
    default:
        narrow_u8(at, dtype == RK_BOOL ? RK_TARGET_BINARY : rule, n, out);
        break;
    }
}

/* Up to BLOCK elements, through a buffer that has the size and alignment that vectors need. */
static void narrow_block(const char *at, enum rk_dtype dtype, enum rk_target_rule rule, size_t n, int8_t *out)
{
    char block[BLOCK * sizeof(int32_t)] = {0};
    if (dtype == RK_INT64)
        saturate(at, n, block);
    else if (dtype == RK_FP16 || dtype == RK_BF16)
        widen(at, dtype, n, block);
    else
        memcpy(block, at, n * rk_dtype_size(dtype));
    narrow_lanes(block, dtype, rule, (n + BYTES - 1) / BYTES * BYTES, out);
}

void rk_targets_narrow(const void *targets, enum rk_dtype dtype, enum rk_target_rule rule, size_t n,
                       int8_t *out)
{
    const char *at = targets;
    const size_t size = rk_dtype_size(dtype),
                 whole = size == 1 || size == sizeof(int32_t) ? n - n % BYTES : 0;
    int8_t narrow[BLOCK];
    narrow_lanes(at, dtype, rule, whole, out);
    for (size_t i = whole, here; i < n; i += here) {
        here = n - i < BLOCK ? n - i : BLOCK;
        narrow_block(at + i * size, dtype, rule, here, narrow);
        memcpy(out + i, narrow, here);
    }
}

/* At `at`, of any alignment. */
#define READ(type, x)                                                                                        \
    type x;                                                                                                  \
    memcpy(&(x), at, sizeof(x))

/* An element as a number, exact but for INT64 beyond 2^53. */
static double value_at(const void *at, enum rk_dtype dtype)
{
    READ(uint8_t, byte);
    switch (dtype) {
    case RK_INT8:
        return (int8_t)byte;
    case RK_INT32: {
        READ(int32_t, whole);
        return whole;
    }
    case RK_INT64: {
        READ(int64_t, whole);
        return (double)whole;
    }
    case RK_FP32: {
        READ(float, real);
        return (double)real;
    }
    case RK_FP16:
    case RK_BF16: {
        READ(uint16_t, half);
        return (double)(dtype == RK_FP16 ? rk_float_of_fp16(half) : rk_float_of_bf16(half));
    }
    default:
        return byte;
    }
}

static void value_text(const void *at, enum rk_dtype dtype, char value[RK_NUMBER_TEXT])
{
    const double x = value_at(at, dtype);
    if (dtype == RK_INT64) { /* every digit */
        READ(int64_t, whole);
        (void)snprintf(value, RK_NUMBER_TEXT, "%" PRId64, whole);
    } else if (dtype == RK_FP32 || dtype == RK_FP16 || dtype == RK_BF16) {
        rk_float_text((float)x, value);
    } else {
        (void)snprintf(value, RK_NUMBER_TEXT, "%.0f", x);
    }
}

bool rk_targets_first_bad(const void *targets, enum rk_dtype dtype, enum rk_target_rule rule, size_t n,
                          size_t *at, char value[RK_NUMBER_TEXT])
{
    int8_t narrow[BLOCK];
    for (size_t from = 0; from < n; from += BLOCK) {
        const size_t here = n - from < BLOCK ? n - from : BLOCK;
        rk_targets_narrow((const char *)targets + from * rk_dtype_size(dtype), dtype, rule, here, narrow);
        const int8_t *bad = memchr(narrow, RK_TARGET_BAD, here);
        if (!bad)
            continue;
        *at = from + (size_t)(bad - narrow);
        value_text((const char *)targets + *at * rk_dtype_size(dtype), dtype, value);
        return true;
    }
    return false;
}

double rk_grade_at(const struct rk_grades *grades, enum rk_target_rule rule, size_t i)
{
    if (!grades->first)
        return 1.0;
    const double grade = value_at((const char *)grades->first + i * grades->stride, grades->dtype),
                 most = rule == RK_TARGET_GRADE ? RK_GRADE_MAX : DBL_MAX;
    if (!(grade > 0 && grade <= most))
        return 1.0;
    return rule != RK_TARGET_GRADE || grade == (double)(int)grade ? grade : 1.0;
}
