/* SPDX-License-Identifier: Apache-2.0 */
/* Declarations shared by the files of lib/kernels. */
#ifndef RK_KERNELS_INTERNAL_H
#define RK_KERNELS_INTERNAL_H

#include "kernels/kernel.h"

/* Scalar code: the fallback of every set, and the oracle in tests of faster code. */
struct rk_scan rk_scan_scalar(const void *targets, size_t items, int8_t most, bool is_signed);
size_t rk_positions_scalar(const int8_t *targets, uint32_t items, uint32_t base, uint32_t *position,
                           size_t room);
void rk_divide_scalar(float *value, size_t items, double w, double divisor);
enum { RK_ARGSORT_FEW = 128 /* keys that are sorted by counting, which takes no memory */ };
size_t rk_argsort_scratch_scalar(uint32_t n);
void rk_argsort_scalar(const uint32_t *key, uint32_t n, uint32_t *perm, uint32_t *sorted, void *scratch);
extern const struct rk_strategy rk_search_scalar;
extern const struct rk_strategy rk_table_scalar;
extern const struct rk_strategy rk_merge_scalar;

struct rk_scan rk_scan_avx2(const void *targets, size_t items, int8_t most, bool is_signed);
size_t rk_positions_avx2(const int8_t *targets, uint32_t items, uint32_t base, uint32_t *position,
                         size_t room);
void rk_divide_avx2(float *value, size_t items, double w, double divisor);
void rk_argsort_avx2(const uint32_t *key, uint32_t n, uint32_t *perm, uint32_t *sorted, void *scratch);
extern const struct rk_strategy rk_compare_avx2;
extern const struct rk_strategy rk_table_avx2;

struct rk_scan rk_scan_avx512(const void *targets, size_t items, int8_t most, bool is_signed);
size_t rk_positions_avx512(const int8_t *targets, uint32_t items, uint32_t base, uint32_t *position,
                           size_t room);
void rk_divide_avx512(float *value, size_t items, double w, double divisor);
extern const struct rk_strategy rk_compare_avx512;
extern const struct rk_strategy rk_table_avx512;
extern const struct rk_strategy rk_tree_avx512;
/* value[i] = rk_gradient_value() of before[i] - after[i]. Returns the number of differences other
 * than 0, and adds their absolute values to *size. */
uint32_t rk_values_avx512(double w, double divisor, uint32_t items, const uint32_t *before,
                          const uint32_t *after, float *value, uint64_t *size);

/* The best set for a machine with these features (RK_CPU_*, cpu.h). The choice depends on nothing
 * else, neither on a second CPU probe nor on the environment. */
const struct rk_kernels *rk_kernels_for(unsigned features);

/* The choice per list (plan.c). */
const struct rk_strategy *rk_plan_scalar(uint32_t items, uint32_t p, enum rk_dtype dtype, unsigned threads);
const struct rk_strategy *rk_plan_avx2(uint32_t items, uint32_t p, enum rk_dtype dtype, unsigned threads);
const struct rk_strategy *rk_plan_avx512(uint32_t items, uint32_t p, enum rk_dtype dtype, unsigned threads);

#endif
