/* The most scratch memory that a list can take, for whoever does not know its relevant items yet. */
#include "blackbox/blackbox.h"

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* P = 1, 3, 7, … and all items: a list of any other P takes no more than the next of these. A strategy's
 * memory grows with P, and the next strategy begins at a power of two (plan.c); where a share of the items
 * decides, P = items takes more than what is left out. The test of costs tries other P. */
static size_t most_of(const struct rk_kernels *kernels, uint32_t items, enum rk_dtype dtype, unsigned threads,
                      bool gradient)
{
    size_t most = 0;
    for (uint64_t p = 1; p < items; p = 2 * p + 1)
        most = larger(most, rk_list_scratch(kernels, items, (uint32_t)p, dtype, threads, gradient));
    return items ? larger(most, rk_list_scratch(kernels, items, items, dtype, threads, gradient)) : 0;
}

/* The machine's best code, or plain code, which turns to tables soonest, or the reference, which asks neither
 * for P nor for threads. More threads take more, but for a strategy that is for few. */
size_t rk_list_scratch_most(uint32_t items, enum rk_dtype dtype, unsigned threads, bool gradient)
{
    const struct rk_kernels *const sets[] = {rk_kernels(), rk_kernels_named("scalar")};
    size_t most = rk_list_scratch(rk_kernels_named("reference"), items, items, dtype, threads, gradient);
    for (size_t s = 0; s < sizeof sets / sizeof *sets; s++) {
        most = larger(most, most_of(sets[s], items, dtype, 1, gradient));
        if (threads > 1)
            most = larger(most, most_of(sets[s], items, dtype, threads, gradient));
    }
    return most;
}
