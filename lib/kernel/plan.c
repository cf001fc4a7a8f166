/* Which strategy a list gets: the only place where n and P decide. */
#include "kernels_internal.h"

enum { SEARCH_SCALAR = 16, COMPARE_AVX2 = 64, COMPARE_AVX512 = 128 };

const struct rk_strategy *rk_plan_scalar(uint32_t items, uint32_t p, enum rk_dtype dtype, unsigned threads)
{
    (void)items;
    (void)dtype;
    (void)threads;
    return p <= SEARCH_SCALAR ? &rk_search_scalar : &rk_table_scalar;
}

const struct rk_strategy *rk_plan_avx2(uint32_t items, uint32_t p, enum rk_dtype dtype, unsigned threads)
{
    (void)items;
    (void)dtype;
    (void)threads;
    return p <= COMPARE_AVX2 ? &rk_compare_avx2 : &rk_table_avx2;
}

const struct rk_strategy *rk_plan_avx512(uint32_t items, uint32_t p, enum rk_dtype dtype, unsigned threads)
{
    (void)items;
    (void)dtype;
    (void)threads;
    return p <= COMPARE_AVX512 ? &rk_compare_avx512 : &rk_table_avx512;
}
