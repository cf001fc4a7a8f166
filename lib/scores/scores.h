/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of rk_engine_run(), one per kind of model. The request has been checked; `outputs` is
 * never 0. Both measure (base/exec.h): then rk_scores_measurable() is the only check that is
 * needed. */
#ifndef RK_SCORES_H
#define RK_SCORES_H

#include "request/request.h"

/* Losses of scores: lib/scores/scores.c. */
enum rankd_status rk_scores_run(const struct rk_exec *exec, const struct rk_request *request,
                                struct rk_reply *reply, struct rk_err *err)
    __attribute__((warn_unused_result));

/* rank, rank_vjp: lib/scores/rank.c. */
enum rankd_status rk_rank_run(const struct rk_exec *exec, const struct rk_request *request,
                              struct rk_reply *reply, struct rk_err *err) __attribute__((warn_unused_result));

/* True if the batch has items and its memory can be counted in bytes; larger requests are refused.
 * Any request may be asked about. */
bool rk_scores_measurable(const struct rk_request *request) __attribute__((warn_unused_result));

#endif
