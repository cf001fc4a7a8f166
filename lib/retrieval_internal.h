/* A retrieval request while it is computed. */
#ifndef RK_RETRIEVAL_INTERNAL_H
#define RK_RETRIEVAL_INTERNAL_H

#include "blackbox.h"
#include "request.h"
#include "retrieval_items.h"

/* One query and its list. */
struct rk_query {
    struct rk_found found;
    double w;    /* weight of the list in the loss */
    double loss; /* of the list, before w */
};

struct rk_retrieval {
    const struct rk_exec *exec;
    const struct rk_kernels *kernels;
    struct rk_items items;
    struct rk_blackbox box;
    struct rk_query *query;               /* [batch] */
    uint32_t most_relevant, most_ignored; /* of any query */
    bool gradient;
    double *sum;    /* [batch + refs, dim]: the gradient; NULL unless `gradient` */
    size_t stalled; /* lists */
};

/* Computes every query's list from complete rows of similarities, as many rows at a time as fit
 * RK_ROWS_BYTES: fills loss of each query, `sum` and `stalled`. RANKD_OK; RANKD_INVALID (a similarity is
 * NaN), RANKD_OVERLOADED, RANKD_DEADLINE. */
enum rankd_status rk_retrieval_rows(struct rk_retrieval *run, struct rk_err *err)
    __attribute__((warn_unused_result));

/* Scratch bytes of that, for a request of so many queries and items. */
size_t rk_retrieval_rows_cost(size_t batch, size_t total, size_t dim);

#define RK_ROWS_BYTES ((size_t)40 << 20)

#endif
