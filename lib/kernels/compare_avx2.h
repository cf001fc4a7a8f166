/* SPDX-License-Identifier: Apache-2.0 */
/* The two halves of "compare" for AVX2. */
#ifndef RK_KERNELS_COMPARE_AVX2_H
#define RK_KERNELS_COMPARE_AVX2_H

#include "kernels/compare.h"

enum { RK_COMPARE_GROUP_AVX2 = 4 /* a divisor of RK_COMPARE_PAD; as many as rk_add_sums_avx2() takes */ };

/* As rk_compare_code.move. */
uint32_t rk_compare_move_avx2(const struct rk_span *span, const struct rk_compare_move *move,
                              struct rk_gradient_writer *writer);

#endif
