/* SPDX-License-Identifier: Apache-2.0 */
/* Recall, item by item: ℓ(x), x = rk - rp; `weight` (RK_TRANSFORM_*) names ℓ. */
#ifndef RK_LOSSES_RECALL_H
#define RK_LOSSES_RECALL_H

#include "base/ln.h"
#include "losses/item_loss.h"

RK_DEVICE static inline struct rk_item_loss
rk_item_loss_recall(const struct rk_loss_params *params, uint32_t p, uint32_t k, uint32_t irrelevant_above)
{
    (void)k;
    double x = (double)irrelevant_above;
    struct rk_item_loss term = {x, 1.0};
    if (params->transform == RK_TRANSFORM_LOG) {
        term.value = rk_ln(1.0 + x);
        term.slope = 1.0 / (1.0 + x);
    } else if (params->transform == RK_TRANSFORM_LOGLOG) {
        double inner = 1.0 + rk_ln(1.0 + x);
        term.value = rk_ln(inner);
        term.slope = 1.0 / (inner * (1.0 + x));
    }
    term.slope /= (double)p;
    return term;
}

#endif
