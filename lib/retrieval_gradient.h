/* From differences of ranks to the gradient of embeddings.
 *
 * The gradient G_qj of a pair's similarity s = <x_q, x_j> reaches x_q as G_qj x_j, and x_j as G_qj x_q where
 * x_j belongs to the batch or the references (memory receives none). Sums are FP64, of products that are
 * exact there, in the order of queries and, within one, of positions: the same whatever the number of
 * threads. */
#ifndef RK_RETRIEVAL_GRADIENT_H
#define RK_RETRIEVAL_GRADIENT_H

#include "kernel/kernel.h"
#include "retrieval_items.h"

/* Adds a list's gradient: `count` differences, ascending in position on the ranked axis, with the w and Λ of
 * rk_sink_value(), to sum [batch + refs, dim]. `wide` has room for dim floats. */
void rk_gradient_add(const struct rk_items *items, size_t q, double w, double lambda,
                     const struct rk_delta *delta, size_t count, double *sum, float *wide);

/* Writes rows first..first+count-1 of the sums as FP32, through the normalization if there was one. Returns
 * how many elements are not 0; a zero is +0.0. */
size_t rk_gradient_finish(const struct rk_items *items, bool normalize, size_t first, size_t count,
                          double *sum, float *out);

#endif
