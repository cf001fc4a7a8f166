/* SPDX-License-Identifier: Apache-2.0 */
/* The results that the engine must give, from the definitions alone: ranks by comparing every pair
 * of items, all in FP64, one plain loop after the other. Shares no code and no idea (no sort, no
 * threshold) with the engine. */
#ifndef RK_TEST_BRUTE_H
#define RK_TEST_BRUTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum brute_loss {
    BRUTE_AP,
    BRUTE_RECALL_LOG,
    BRUTE_RECALL_LOGLOG,
    BRUTE_RECALL_IDENTITY,
    BRUTE_MRR,
    BRUTE_NDCG_EXP2,
    BRUTE_NDCG_LINEAR
};
enum brute_average { BRUTE_MACRO, BRUTE_MICRO, BRUTE_SUM };

struct brute {
    /* In. */
    size_t rows, columns;
    const float *scores;   /* [rows, columns] */
    const int8_t *targets; /* [rows, columns]: 1, 0, -1 */
    const double *grades;  /* [rows, columns], looked at where a target is 1, for NDCG */
    bool lists_are_columns;
    enum brute_loss loss_kind;
    enum brute_average average;
    double lambda, margin, interclass;
    size_t top_k; /* 0: none; not for recall */
    bool normalized, batch_scope, unit_scale, marks;
    /* Out; the arrays are the caller's. */
    double loss;
    double *list_loss; /* [lists], NaN where skipped */
    double *gradient;  /* [rows, columns], before the last rounding */
    size_t skipped, stalled;
    double jumped; /* pairs_jumped */
};

void brute_run(struct brute *brute);

/* rank_vjp of one row: ranks (score, then index) and the gradient before its rounding. */
void brute_vjp(const float *scores, const float *upstream, size_t n, double lambda, bool normalized,
               int64_t *ranks, double *gradient);

#endif
