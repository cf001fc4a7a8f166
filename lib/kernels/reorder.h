/* Relevant items that were in order of their scores, once a perturbation moved them: nearly in order still.
 */
#ifndef RK_KERNELS_REORDER_H
#define RK_KERNELS_REORDER_H

#include "kernels/kernel.h"

/* Bytes that rk_reorder() works on. */
size_t rk_reorder_scratch(const struct rk_kernels *kernels, uint32_t n);

/* Writes to perm[0..n-1] the places 0..n-1 in ascending order of key, equal keys by index[place]; and leaves
 * `key` in that order. index: a permutation of 0..n-1. `scratch`: 64-byte aligned, none of the others.
 *
 * Places are taken in turn and kept while they ascend; where one does not, it and the last that was kept are
 * put aside, so that no far outlier blocks those behind it. The few aside are sorted and merged; where they
 * are not few, everything is sorted. */
void rk_reorder(const struct rk_kernels *kernels, uint32_t *key, const uint32_t *index, uint32_t n,
                uint32_t *perm, void *scratch);

#endif
