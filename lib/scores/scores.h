/* The parts of rk_engine_run(), one per kind of model. The request has been checked; `outputs` is never 0. */
#ifndef RK_SCORES_H
#define RK_SCORES_H

#include "request/request.h"

/* ap, recall with scores: lib/scores/scores.c. */
enum rankd_status rk_scores_run(const struct rk_exec *exec, const struct rk_request *request,
                                struct rk_reply *reply, struct rk_err *err)
    __attribute__((warn_unused_result));

/* rank, rank_vjp: lib/scores/rank.c. */
enum rankd_status rk_rank_run(const struct rk_exec *exec, const struct rk_request *request,
                              struct rk_reply *reply, struct rk_err *err) __attribute__((warn_unused_result));

/* Upper bounds of the scratch bytes of the two; saturate at SIZE_MAX. */
size_t rk_scores_cost(const struct rk_request *request);
size_t rk_rank_cost(const struct rk_request *request);

#endif
