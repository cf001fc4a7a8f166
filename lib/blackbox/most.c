/* SPDX-License-Identifier: Apache-2.0 */
/* The most scratch memory that a list can take, for a caller that does not know its relevant items
 * yet. */
#include "blackbox/blackbox.h"

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* For any number of threads up to `threads`. A strategy takes more on more threads, except one for
 * few threads, which a single thread covers. */
static size_t most_of_threads(const struct rk_kernels *kernels, uint32_t items, uint32_t p,
                              enum rk_dtype dtype, unsigned threads, unsigned wants)
{
    const size_t bytes = rk_list_scratch(kernels, items, p, dtype, threads, wants);
    if (kernels->plan(items, p, dtype, threads) == kernels->plan(items, p, dtype, 1))
        return bytes;
    return larger(bytes, rk_list_scratch(kernels, items, p, dtype, 1, wants));
}

/* P = 1, 3, 7, … and all items: a list of any other P takes no more than the next of these. A
 * strategy's memory grows with P, and the next strategy begins at a power of two (plan.c); if a
 * strategy depends on the share of relevant items, P = items takes more than the values left out.
 * The test of costs tries other P. */
static size_t most_of_relevant(const struct rk_kernels *kernels, uint32_t items, enum rk_dtype dtype,
                               unsigned threads, unsigned wants)
{
    size_t most = items ? most_of_threads(kernels, items, items, dtype, threads, wants) : 0;
    for (uint64_t p = 1; p < items; p = 2 * p + 1)
        most = larger(most, most_of_threads(kernels, items, (uint32_t)p, dtype, threads, wants));
    return most;
}

/* The machine's best code, plain code, which uses tables from the smallest P on, and the reference,
 * which depends on neither P nor threads. */
size_t rk_list_scratch_most(uint32_t items, enum rk_dtype dtype, unsigned threads, unsigned wants)
{
    const struct rk_kernels *best = rk_kernels(), *plain = rk_kernels_named("scalar");
    size_t most = rk_list_scratch(rk_kernels_named("reference"), items, items, dtype, threads, wants);
    most = larger(most, most_of_relevant(plain, items, dtype, threads, wants));
    return best == plain ? most : larger(most, most_of_relevant(best, items, dtype, threads, wants));
}
