/* SPDX-License-Identifier: Apache-2.0 */
/* A term of the loss of a request on scores: its lists, or with interclass the flat list of the
 * whole batch. */
#ifndef RK_SCORES_LOSS_TERM_H
#define RK_SCORES_LOSS_TERM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/sum.h"
#include "blackbox/blackbox.h"
#include "request/list_weight.h"
#include "request/request.h"
#include "scores/lists.h"
#include "scores/sparse_accumulator.h"

struct rk_bank_scores; /* lib/request/bank_view.h */

struct rk_loss_term {
    struct rk_lists lists;
    const struct rk_bank_scores *memory; /* follows each list; NULL: none */
    uint32_t memory_items;               /* of a list */
    const struct rk_list_count *count;   /* [lists], memory included, P of a list that is skipped for its
                                            weight is 0; NULL: not counted, to measure */
    double factor;                       /* 1-β, β, or 1 */
    struct rk_list_weights weights;      /* with its sums */
    bool flat;
};

/* The result of a term. */
struct rk_loss_term_total {
    struct rk_sum loss;
    struct rk_sum dropped, moved; /* |gradient| of the bank's items, of all items */
    size_t stalled, nonzero;
    uint64_t jumped; /* pairs: rk_list_out.jumped */
};

/* State shared by the terms of a request. */
struct rk_loss_term_job {
    const struct rk_exec *exec;
    struct rk_blackbox box;
    const struct rk_lists *sent; /* the tensor as sent, to name positions */
    bool gradient;               /* is one wanted at all? */
    float *dense;                /* NULL: into the accumulator */
    bool given;                  /* `dense` is the caller's memory */
    float *list_loss;            /* [lists]; NULL: not asked for */
    struct rk_sparse_accumulator accumulator;
};

/* Runs all lists of the term. The result does not depend on threads. Errors: RANKD_INVALID (the
 * first NaN, by its position in the tensor), RANKD_OVERLOADED, RANKD_DEADLINE. Measures; *total is
 * then left alone. */
enum rankd_status rk_loss_term_run(struct rk_loss_term_job *job, const struct rk_loss_term *term,
                                   struct rk_loss_term_total *total, struct rk_err *err)
    __attribute__((warn_unused_result));

#endif
