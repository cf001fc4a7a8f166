/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of a request against its model, before anything is computed. */
#ifndef RK_REQUEST_CHECK_H
#define RK_REQUEST_CHECK_H

#include "request/request.h"

/* Inputs belong to the model and to one route; types, numbers of dimensions, bytes; outputs;
 * parameters (which, and their values). For the scores route the shapes too. `models`: all that
 * there are, for the sentence about a parameter of another one. RANKD_OK or RANKD_INVALID,
 * RANKD_TOO_LARGE. */
enum rankd_status rk_check_request(const struct rk_request *request, const struct rk_model_table *models,
                                   struct rk_err *err) __attribute__((warn_unused_result));

/* True if the request takes the embeddings route. */
bool rk_request_embeds(const struct rk_request *request);

#endif
