/* SPDX-License-Identifier: Apache-2.0 */
/* The results of a retrieval request by the definition: a full matrix of similarities, sorting
 * before and after the perturbation, and the chain rule written as matrices. Shares nothing with
 * the engine but the struct of a request. */
#ifndef RETRIEVAL_ORACLE_H
#define RETRIEVAL_ORACLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct oracle_item {
    const double *x; /* [dim], as sent or as stored */
    int64_t label, id;
    bool stored; /* an item of the bank: ranked as it is, without gradient */
};

struct oracle_request {
    size_t batch, items, dim; /* the first `batch` items are the queries */
    const struct oracle_item *item;
    const int8_t *relevance; /* [batch, items], 1, 0, -1; NULL: equal labels are relevant */
    const double *gain;      /* [batch, items] of the relevance, for ndcg; NULL: 1 */
    bool ndcg;               /* in place of ap and recall */
    bool references;         /* the queries are not ranked */
    bool recall, normalize, rank_units, batch_scope, unit_scale;
    int weight, average; /* RK_TRANSFORM_*, RK_AVERAGE_* */
    double margin, lambda;
};

struct oracle_reply {
    double loss;
    double *list_loss; /* [batch], NaN where skipped */
    double *gradient;  /* [items, dim]; 0 for stored ones */
    double *pair;      /* [batch, items]: gradient of each similarity, as a reply would round it */
    size_t skipped, stalled;
    double jumped; /* pairs_jumped */
};

/* Everything in the reply is malloc'ed; oracle_free() frees it. */
struct oracle_reply oracle_run(const struct oracle_request *request);
void oracle_free(struct oracle_reply *reply);

#endif
