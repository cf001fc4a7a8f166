/* SPDX-License-Identifier: Apache-2.0 */
/* The weight w of each list in the loss of a request: from its average, the lists' relevant items,
 * and the input list_weight where there is one.
 *
 *   macro   weight / Σ weight          micro   (weight·P) / Σ weight·P          sum   weight
 *
 * Sums are over valid lists, in their order: those with relevant items (P > 0) and a weight above
 * 0. Without list_weight every weight is 1. */
#ifndef RK_REQUEST_LIST_WEIGHT_H
#define RK_REQUEST_LIST_WEIGHT_H

#include "base/exec.h"
#include "request/request.h"

struct rk_list_weights {
    const double *weight; /* [lists], finite and at least 0; NULL: 1 each */
    int average;          /* RK_AVERAGE_* */
    double sum;           /* Σ weight */
    double sum_relevant;  /* Σ weight·P */
    size_t valid;         /* lists */
    uint64_t relevant;    /* ΣP of the valid lists */
};

/* Copies the input list_weight of a request whose shapes were checked, [lists], to its scratch, and
 * checks the copy; without that input every weight is 1. Sums are 0. Measures. RANKD_OK,
 * RANKD_INVALID with the position and value, RANKD_OVERLOADED. */
enum rankd_status rk_list_weights_take(const struct rk_exec *exec, const struct rk_request *request,
                                       struct rk_list_weights *weights, struct rk_err *err)
    __attribute__((warn_unused_result));

/* The same check without a copy, for batches of no item. */
enum rankd_status rk_list_weights_check(const struct rk_request *request, struct rk_err *err)
    __attribute__((warn_unused_result));

/* A list of weight 0 is skipped like one without relevant items. */
static inline bool rk_list_weights_skip(const struct rk_list_weights *weights, size_t list)
{
    return weights->weight && weights->weight[list] == 0;
}

static inline double rk_list_weights_at(const struct rk_list_weights *weights, size_t list)
{
    return weights->weight ? weights->weight[list] : 1.0;
}

/* Adds a list with `p` relevant items to the sums, unless it is skipped. */
static inline void rk_list_weights_add(struct rk_list_weights *weights, size_t list, uint32_t p)
{
    const double weight = rk_list_weights_at(weights, list);
    if (p == 0 || weight == 0)
        return;
    weights->sum += weight;
    weights->sum_relevant += weight * (double)p;
    weights->valid++;
    weights->relevant += p;
}

/* w of a valid list, once all are added. */
static inline double rk_list_weights_of(const struct rk_list_weights *weights, size_t list, uint32_t p)
{
    const double weight = rk_list_weights_at(weights, list);
    return weights->average == RK_AVERAGE_MACRO   ? weight / weights->sum
           : weights->average == RK_AVERAGE_MICRO ? (weight * (double)p) / weights->sum_relevant
                                                  : weight;
}

#endif
