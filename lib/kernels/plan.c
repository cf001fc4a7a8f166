/* SPDX-License-Identifier: Apache-2.0 */
/* Chooses the strategy of a list: the only decision on n and P. */
#include "kernels/kernels_internal.h"
#include "kernels/tuning.h"

/* Most relevant items for which comparing is faster than a table. AVX2 on AMD Zen 3 (forward +
 * backward, uniform scores), microseconds of 32 lists of 4,096, comparing against table: P = 32
 * 570/1,240, 64 1,120/1,310, 128 1,990/1,530. Plain code has nothing to compare many at a time
 * with; its search is for lists too small for a table, a choice that was not measured.
 *
 * AVX-512, on an AMD EPYC (Zen 5), comparing against the tree at P = 16, 32 and 64: n = 4,096
 * 0.70/1.09, 1.22/1.44, 2.63/2.42; 65,536 0.57/0.85, 0.81/1.01, 1.47/1.37; 1M 0.55/0.88, 0.81/1.06,
 * 1.48/1.43. On an Intel Xeon (Ice Lake), before comparing had its filter, they crossed at 20, so
 * the limit is below the best one for Zen 5. The tree against the table at P = 64: 2.42/2.52,
 * 1.37/1.48, 1.43/1.73 on the first, 4.8/6.9, 2.3/4.3, 2.6/4.2 on the second; so the tree is used
 * up to its maximum. */
enum { SEARCH_SCALAR = 16, COMPARE_AVX2 = 64, COMPARE_AVX512 = 32 };

/* From this number of relevant items on, and this share, sorting the others is faster than a table
 * that misses the cache for every item (Intel Xeon, table against merge: 10M, 50 % 82/54; 1M, 50 %
 * 68/51; 500k, 40 % 71/63; 2M, 15 % 37/48). It runs on one thread; a table is shared out among
 * many. The table of plain code, which AVX2 has too, is slower (AVX2 on AMD Zen 3, milliseconds:
 * 100k, 33 % 3.6/2.6, 50 % 5.0/2.9, 90 % 6.0/3.4; 400k, 26 % 17.7/10.7, 50 % 23.9/13.2). */
enum { MERGE_PLAIN = 1 << 15, MERGE_AVX512 = 1 << 18, MERGE_SHARE = 4, MERGE_THREADS = 3 };

/* Whether comparing is meant for p relevant items; `usual` unless the machine has its own
 * crossover. */
static bool compares(uint32_t p, uint32_t usual)
{
    return p <= (rk_tuning.compare ? rk_tuning.compare : usual);
}

static bool merges(uint32_t items, uint32_t p, unsigned threads, uint32_t usual)
{
    return p >= (rk_tuning.merge ? rk_tuning.merge : usual) && p > items / MERGE_SHARE &&
           threads <= MERGE_THREADS;
}

const struct rk_strategy *rk_plan_scalar(uint32_t items, uint32_t p, enum rk_dtype dtype, unsigned threads)
{
    (void)dtype;
    if (merges(items, p, threads, MERGE_PLAIN))
        return &rk_merge_scalar;
    return compares(p, SEARCH_SCALAR) ? &rk_search_scalar : &rk_table_scalar;
}

const struct rk_strategy *rk_plan_avx2(uint32_t items, uint32_t p, enum rk_dtype dtype, unsigned threads)
{
    (void)dtype;
    if (merges(items, p, threads, MERGE_PLAIN))
        return &rk_merge_scalar;
    return compares(p, COMPARE_AVX2) ? &rk_compare_avx2 : &rk_table_avx2;
}

const struct rk_strategy *rk_plan_avx512(uint32_t items, uint32_t p, enum rk_dtype dtype, unsigned threads)
{
    (void)dtype;
    if (merges(items, p, threads, MERGE_AVX512))
        return &rk_merge_scalar;
    if (compares(p, COMPARE_AVX512))
        return &rk_compare_avx512;
    return p <= rk_tree_avx512.most ? &rk_tree_avx512 : &rk_table_avx512;
}
