/* SPDX-License-Identifier: Apache-2.0 */
/* Repairs the order of the relevant items after the perturbation, which leaves them nearly in
 * order. */
#ifndef RK_KERNELS_REORDER_H
#define RK_KERNELS_REORDER_H

#include "kernels/kernel.h"

/* Bytes of scratch for rk_reorder(). */
size_t rk_reorder_scratch(const struct rk_kernels *kernels, uint32_t n);

/* Writes to perm[0..n-1] the places 0..n-1 in ascending order of key, equal keys by index[place];
 * and leaves `key` in that order. index: a permutation of 0..n-1. `scratch`: rk_reorder_scratch()
 * bytes, 64-byte aligned, overlapping nothing else.
 *
 * Places are kept one after the other while their keys ascend. If one descends, it and the last
 * kept one are set aside, so that one outlier does not displace all later places. The places set
 * aside are sorted and merged; if there are many, everything is sorted. */
void rk_reorder(const struct rk_kernels *kernels, uint32_t *key, const uint32_t *index, uint32_t n,
                uint32_t *perm, void *scratch);

#endif
