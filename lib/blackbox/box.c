/* SPDX-License-Identifier: Apache-2.0 */
/* The settings shared by all lists of a request, from its parameters. */
#include "blackbox/blackbox.h"
#include "request/bank_view.h"
#include "request/check.h"

/* The margin with normalized embeddings, unless one is sent. */
#define MARGIN_NORMALIZED 0.1

bool rk_request_normalizes(const struct rk_request *request)
{
    if (!rk_request_embeds(request))
        return false;
    return request->bank_snapshot ? request->bank_snapshot->embeddings.normalize : request->params.normalize;
}

struct rk_blackbox rk_blackbox_of(const struct rk_request *request)
{
    const struct rk_params *params = &request->params;
    const bool given = params->given & (1u << RK_PARAM_margin);
    return (struct rk_blackbox){
        .loss = request->model->loss,
        .params = rk_loss_params_of(params),
        .rule = rk_target_rule_of(request),
        .margin = !given && rk_request_normalizes(request) ? MARGIN_NORMALIZED
                  : given || !rk_request_embeds(request)   ? params->margin
                                                           : 0.0,
        .lambda = params->lambda,
        .lambda_per_n = params->lambda_units == RK_UNITS_NORMALIZED,
        .lambda_batch_scope = params->lambda_scope == RK_SCOPE_BATCH,
        .unit_scale = params->gradient_scale == RK_SCALE_UNIT,
    };
}
