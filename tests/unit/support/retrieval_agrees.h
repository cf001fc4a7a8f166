/* SPDX-License-Identifier: Apache-2.0 */
/* A case on the embeddings route, compared with the oracle. */
#ifndef RETRIEVAL_AGREES_H
#define RETRIEVAL_AGREES_H

#include "kernels/kernel.h"
#include "unit/support/retrieval_case.h"

/* Runs the case with these kernels (NULL: this machine's best) for all outputs of the route; The
 * caller clears *reply. */
enum rankd_status case_run(struct retrieval_case *c, struct rk_scratch *scratch,
                           const struct rk_kernels *kernels, struct rk_reply *reply, struct rk_err *err);

/* Ends the test unless loss, list losses, counts and gradients are those of the definition. */
void case_agrees(struct retrieval_case *c, struct rk_scratch *scratch, const struct rk_kernels *kernels);

#endif
