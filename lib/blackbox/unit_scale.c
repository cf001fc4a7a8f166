/* SPDX-License-Identifier: Apache-2.0 */
/* The unit scale: a list's gradient is divided by S = Σ|Δ| over its items, which is known only
 * after the list was streamed for the second time. By then a dense gradient is written: it holds
 * the differences themselves, and is divided in place. */
#include "base/ranges.h"
#include "blackbox/blackbox_internal.h"

/* With these factors rk_gradient_value() is (float)Δ. An irrelevant item is passed by p items at
 * most, and FP32 holds whole numbers up to 2^24 exactly. */
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

/* Shared by the threads. */
struct division {
    const struct rk_kernels *kernels;
    const struct rk_gradient_writer *writer;
};

static void divide_some(void *arg, struct rk_range range)
{
    const struct division *division = arg;
    const struct rk_gradient_writer *writer = division->writer;
    division->kernels->divide(writer->dense + range.from, range.to - range.from, writer->w, writer->divisor);
}

void rk_unit_scale_dense(const struct rk_kernels *kernels, struct rk_pool *pool, uint32_t items,
                         const struct rk_gradient_writer *writer)
{
    struct division division = {.kernels = kernels, .writer = writer};
    rk_ranges_run(pool, items, RK_RANGE_MIN, divide_some, &division);
}
