/* Which strategy a list gets: the only place where n and P decide. */
#include "kernels_internal.h"

/* Most relevant items for which comparing is faster than a table. Measured with `make tune` on a Zen 5
 * (forward + backward, uniform scores): AVX-512 at n = 65,536: 1.6 against 2.9 ns an item at P = 32, 3.3
 * against 2.9 at 64; AVX2: 3.5 against 7.2 at 32, 7.2 against 7.1 at 64. It hardly moves with n from 4,096 to
 * 1M. Plain code has nothing to compare many at a time with; its search is for lists too small for a table, a
 * choice that was not measured. */
enum { SEARCH_SCALAR = 16, COMPARE_AVX2 = 64, COMPARE_AVX512 = 56 };

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
