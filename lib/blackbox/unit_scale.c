/* SPDX-License-Identifier: Apache-2.0 */
/* The unit scale: a list's gradient is divided by S = Σ|Δ| over its items, which is known only after the list
 * was streamed for the second time. By then a dense gradient is written: it holds the differences themselves,
 * and is divided in place. */
#include <string.h>

#include "base/ranges.h"
#include "blackbox/blackbox_internal.h"

/* With these factors rk_gradient_value() is (float)Δ. An irrelevant item is passed by p items at most, and
 * FP32 holds whole numbers up to 2^24 exactly. */
void rk_unit_scale_begin(uint32_t p, struct rk_gradient_writer *writer)
{
    if (!writer->dense || p > RK_UNIT_SCALE_EXACT)
        return;
    writer->w = -1;
    writer->divisor = 1;
}

double rk_unit_scale_sum(const int32_t *delta, uint32_t p, uint64_t jumped)
{
    uint64_t sum = jumped;
    for (uint32_t i = 0; i < p; i++)
        sum += (uint64_t)(delta[i] < 0 ? -(int64_t)delta[i] : (int64_t)delta[i]);
    return (double)sum;
}

/* What the threads share. */
struct scaling {
    float *dense;
    double w, divisor;
};

enum { BLOCK = 16 /* items, mostly all of them 0 */ };

static bool all_zero(const float *value)
{
    uint64_t bits[BLOCK / 2], any = 0;
    memcpy(bits, value, sizeof bits);
    for (int i = 0; i < BLOCK / 2; i++)
        any |= bits[i];
    return any == 0;
}

static void scale_items(const struct scaling *scaling, uint32_t from, uint32_t to)
{
    for (uint32_t i = from; i < to; i++) {
        float *value = &scaling->dense[i];
        if (*value != 0)
            *value = (float)((-scaling->w * (double)*value) / scaling->divisor) + 0.0f;
    }
}

static void scale_some(void *arg, struct rk_range range)
{
    const struct scaling *scaling = arg;
    uint32_t i = range.from;
    for (; i + BLOCK <= range.to; i += BLOCK) {
        if (!all_zero(scaling->dense + i))
            scale_items(scaling, i, i + BLOCK);
    }
    scale_items(scaling, i, range.to);
}

void rk_unit_scale_dense(struct rk_pool *pool, uint32_t items, const struct rk_gradient_writer *writer)
{
    struct scaling scaling = {.dense = writer->dense, .w = writer->w, .divisor = writer->divisor};
    rk_ranges_run(pool, items, RK_RANGE_MIN, scale_some, &scaling);
}
