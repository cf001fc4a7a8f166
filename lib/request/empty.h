/* SPDX-License-Identifier: Apache-2.0 */
/* Requests whose batch has no item: no scores, or no embeddings. Nothing is ranked and nothing
 * appended, which is an answer and not an error: one trainer of a job without proposals must not
 * end the others.
 *
 * They are answered here, so that no list, kernel or device has to expect a length of zero. */
#ifndef RK_REQUEST_EMPTY_H
#define RK_REQUEST_EMPTY_H

#include "request/request.h"

/* True if the request's batch has no item: [0, N], [Q, 0] or flat [0] scores, [0, d] embeddings.
 * Any request may be asked about, checked or not. */
bool rk_batch_is_empty(const struct rk_request *request) __attribute__((warn_unused_result));

/* True if there is no item that a bank would get: the batch is empty; or, where it is the
 * references that are appended (request/appended.h), there are none. */
bool rk_request_appends_nothing(const struct rk_request *request) __attribute__((warn_unused_result));

/* Answers a checked request whose scores have no item: the loss is 0, every list is skipped
 * (list_loss NaN), gradient and ranks have the shape of the scores, a sparse gradient has no entry.
 * With a bank its version is reported, and its items make no list valid. RANKD_OK, or the errors of
 * rk_out_prepare(). */
enum rankd_status rk_empty_scores_run(const struct rk_request *request, struct rk_reply *reply,
                                      struct rk_err *err) __attribute__((warn_unused_result));

/* The part of it that takes memory: gives every output that is asked for its shape. The request may
 * be an unchecked one. */
enum rankd_status rk_empty_scores_prepare(const struct rk_request *request, struct rk_reply *reply,
                                          struct rk_err *err) __attribute__((warn_unused_result));

#endif
