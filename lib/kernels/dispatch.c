/* SPDX-License-Identifier: Apache-2.0 */
/* Decides, once, which code runs on this machine. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu.h"
#include "kernels/kernels_internal.h"
#include "kernels/product.h"
#include "kernels/tile.h"

static const struct rk_strategy *const scalar_strategies[] = {&rk_search_scalar, &rk_table_scalar,
                                                              &rk_merge_scalar, NULL};
static const struct rk_strategy *const avx2_strategies[] = {&rk_compare_avx2, &rk_table_avx2,
                                                            &rk_merge_scalar, NULL};
static const struct rk_strategy *const avx512_strategies[] = {&rk_compare_avx512, &rk_tree_avx512,
                                                              &rk_table_avx512, &rk_merge_scalar, NULL};

/* Sets that need less come first. */
static const struct {
    unsigned needs; /* RK_CPU_* */
    struct rk_kernels kernels;
} sets[] = {
    {0,
     {.name = "reference",
      .way = RK_LIST_SORTED,
      .scan = rk_scan_scalar,
      .positions = rk_positions_scalar,
      .divide = rk_divide_scalar,
      .argsort_scratch = rk_argsort_scratch_scalar,
      .argsort = rk_argsort_scalar,
      .tile = &rk_tile_scalar,
      .product = &rk_product_scalar,
      .strategy = scalar_strategies,
      .plan = rk_plan_scalar}},
    {0,
     {.name = "scalar",
      .scan = rk_scan_scalar,
      .positions = rk_positions_scalar,
      .divide = rk_divide_scalar,
      .argsort_scratch = rk_argsort_scratch_scalar,
      .argsort = rk_argsort_scalar,
      .tile = &rk_tile_scalar,
      .product = &rk_product_scalar,
      .strategy = scalar_strategies,
      .plan = rk_plan_scalar}},
    {RK_CPU_AVX2,
     {.name = "avx2",
      .scan = rk_scan_avx2,
      .positions = rk_positions_avx2,
      .divide = rk_divide_avx2,
      .argsort_scratch = rk_argsort_scratch_scalar,
      .argsort = rk_argsort_avx2,
      .tile = &rk_tile_avx2,
      .product = &rk_product_avx2,
      .strategy = avx2_strategies,
      .plan = rk_plan_avx2}},
    {RK_CPU_AVX2 | RK_CPU_AVX512,
     {.name = "avx512",
      .scan = rk_scan_avx512,
      .positions = rk_positions_avx512,
      .divide = rk_divide_avx512,
      .argsort_scratch = rk_argsort_scratch_scalar,
      .argsort = rk_argsort_avx2,
      .tile = &rk_tile_avx512,
      .product = &rk_product_avx512,
      .strategy = avx512_strategies,
      .plan = rk_plan_avx512}},
};

enum { SETS = sizeof sets / sizeof *sets };

static const struct rk_kernels *named(const char *name, unsigned features)
{
    for (size_t i = 0; i < SETS; i++) {
        if (strcmp(sets[i].kernels.name, name) == 0)
            return (sets[i].needs & ~features) == 0 ? &sets[i].kernels : NULL;
    }
    return NULL;
}

const struct rk_kernels *rk_kernels_for(unsigned features)
{
    size_t i = SETS;
    while (sets[--i].needs & ~features)
        ;
    return &sets[i].kernels;
}

const struct rk_kernels *rk_kernels_named(const char *name)
{
    return named(name, rk_cpu_features());
}

static pthread_once_t once = PTHREAD_ONCE_INIT;
static const struct rk_kernels *chosen;

static void choose(void)
{
    const char *forced = getenv("RANKD_CPU");
    if (forced)
        chosen = rk_kernels_named(forced);
    if (!chosen)
        chosen = rk_kernels_for(rk_cpu_features());
}

const struct rk_kernels *rk_kernels(void)
{
    (void)pthread_once(&once, choose);
    return chosen;
}
