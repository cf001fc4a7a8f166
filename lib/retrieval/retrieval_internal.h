/* SPDX-License-Identifier: Apache-2.0 */
/* A retrieval request while it is computed. */
#ifndef RK_RETRIEVAL_INTERNAL_H
#define RK_RETRIEVAL_INTERNAL_H

#include "blackbox/blackbox.h"
#include "request/request.h"
#include "retrieval/items.h"

/* One query and its list. */
struct rk_query {
    struct rk_match_counts match_counts;
    double w;    /* weight of the list in the loss */
    double loss; /* of the list, before w */
    bool stalled;
    bool done; /* its loss and gradient have been computed */
};

struct rk_retrieval {
    const struct rk_exec *exec;
    const struct rk_kernels *kernels;
    struct rk_items items;
    struct rk_blackbox box;
    struct rk_query *query;               /* [batch] */
    uint32_t most_relevant, most_ignored; /* of any query */
    bool gradient;
    bool check_nan;    /* similarities may be NaN: embeddings are not normalized */
    double *sum;       /* [batch + refs, dim]: the gradient; NULL unless `gradient` */
    size_t stalled;    /* lists */
    uint64_t relevant; /* ΣP */
    uint64_t jumped;   /* pairs: rk_list_out.jumped, over lists */
    size_t on_device;  /* lists that the device computed */
};

/* Both compute the lists of queries that are not done: fill their losses, `sum` and `stalled`.
 * RANKD_OK; RANKD_INVALID (a similarity is not a number), RANKD_OVERLOADED, RANKD_DEADLINE. Both
 * measure; of the queries only most_relevant and most_ignored are then looked at.
 *
 * rows: from complete rows of similarities, as many at a time as fit RK_ROWS_BYTES.
 * stream: in tiles; for lists too long for many rows to fit; goes on with rows where it has to. */
enum rankd_status rk_retrieval_rows(struct rk_retrieval *run, struct rk_err *err)
    __attribute__((warn_unused_result));
enum rankd_status rk_retrieval_stream(struct rk_retrieval *run, struct rk_err *err)
    __attribute__((warn_unused_result));

/* Computes those lists of a retrieval request that the device can: fills their losses, the sums and
 * `stalled` and marks them as done. The caller computes the others. */
void rk_device_retrieval(struct rk_device *device, const struct rk_request *request,
                         struct rk_retrieval *run);

#define RK_ROWS_BYTES ((size_t)40 << 20)

/* True where streaming pays: the rows of a batch do not fit, and a sample says something. */
static inline bool rk_retrieval_streams(size_t n_queries, size_t total)
{
    return n_queries > 1 && total >= 65536 && n_queries * total > RK_ROWS_BYTES / sizeof(float) &&
           total >= 4 * n_queries;
}

#endif
