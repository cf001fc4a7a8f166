/* SPDX-License-Identifier: Apache-2.0 */
/* The embeddings route: a batch of embeddings and labels, each item of the batch is a query that
 * ranks all others (those of the batch, the references and the bank) by inner product.
 *
 * Whole lists are never in memory: similarities are computed in tiles, counted against those of the
 * relevant items and dropped (list.h). */
#ifndef RK_RETRIEVAL_H
#define RK_RETRIEVAL_H

#include "base/err.h"
#include "base/exec.h"
#include "request/request.h"

/* Computes a request whose `embeddings` were sent, for a model with a loss. rk_engine_run() has
 * checked that inputs and parameters belong to the model and that each tensor's type and number of
 * dimensions fit its row; here the shapes, the values and their relations are checked. Fills
 * reply->info and those of loss, gradient, list_loss and ref_gradient that request->outputs asks
 * for (not 0 here). On failure rk_engine_run() clears the reply.
 *
 * Measures (base/exec.h), unchecked requests too: of these only the sizes are looked at.
 *
 * Errors: RANKD_INVALID (names the field and the position), RANKD_OVERLOADED (scratch),
 * RANKD_DEADLINE. */
enum rankd_status rk_retrieval_run(const struct rk_exec *exec, const struct rk_request *request,
                                   struct rk_reply *reply, struct rk_err *err)
    __attribute__((warn_unused_result));

/* Largest batch: the in-batch part grows with its square. */
#define RK_RETRIEVAL_BATCH_MAX 16384

#endif
