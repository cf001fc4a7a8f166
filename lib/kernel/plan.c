/* Which strategy a list gets: the only place where n and P decide. */
#include "kernels_internal.h"

enum { COMPARE_AVX2 = 64, COMPARE_AVX512 = 128 };

const struct rk_strategy *rk_plan_scalar(uint32_t items, uint32_t p, enum rk_dtype dtype, unsigned threads)
{
    (void)items;
    (void)p;
    (void)dtype;
    (void)threads;
    return &rk_search_scalar;
}

const struct rk_strategy *rk_plan_avx2(uint32_t items, uint32_t p, enum rk_dtype dtype, unsigned threads)
{
    return p <= COMPARE_AVX2 ? &rk_compare_avx2 : rk_plan_scalar(items, p, dtype, threads);
}

const struct rk_strategy *rk_plan_avx512(uint32_t items, uint32_t p, enum rk_dtype dtype, unsigned threads)
{
    return p <= COMPARE_AVX512 ? &rk_compare_avx512 : rk_plan_scalar(items, p, dtype, threads);
}
