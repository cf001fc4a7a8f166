/* SPDX-License-Identifier: Apache-2.0 */
/* From differences of ranks to the gradient of embeddings.
 *
 * The gradient G_qj of a pair's similarity s = <x_q, x_j> reaches x_q as G_qj x_j, and x_j as G_qj
 * x_q where x_j belongs to the batch or the references (memory receives none). Sums are FP64, of
 * products that are exact there, in the order of queries and, within one, of positions: the same
 * whatever the number of threads. */
#ifndef RK_RETRIEVAL_GRADIENT_H
#define RK_RETRIEVAL_GRADIENT_H

#include "kernels/tile.h"
#include "retrieval/items.h"

/* Adds lists to the sums, one after the other. */
struct rk_gradient;

size_t rk_gradient_bytes(size_t dim);

/* `memory` of rk_gradient_bytes(), 64-byte aligned; sum [batch + refs, dim], by
 * rk_items_own_row(). */
struct rk_gradient *rk_gradient_at(void *memory, const struct rk_items *items,
                                   const struct rk_tile_kernels *tile, double *sum);

/* A list: its query, w and divisor (rk_gradient_value()); then its differences of ranks in rising
 * order of positions on the ranked axis (a 0 adds nothing); then the end. */
void rk_gradient_begin(struct rk_gradient *gradient, size_t q, double w, double divisor);
void rk_gradient_put(struct rk_gradient *gradient, uint32_t position, int32_t delta);
void rk_gradient_end(struct rk_gradient *gradient);

/* Writes rows first..first+count-1 of the sums as FP32, through the normalization if there was one.
 * Returns how many elements are not 0; a zero is +0.0. */
size_t rk_gradient_finish(const struct rk_items *items, bool normalize, size_t first, size_t count,
                          double *sum, float *out);

#endif
