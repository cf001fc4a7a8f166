/* SPDX-License-Identifier: Apache-2.0 */
/* Average precision, item by item: (rk - rp)/rk, which is free of the cancellation in 1 - AP. */
#ifndef RK_LOSSES_AP_H
#define RK_LOSSES_AP_H

#include "losses/item_loss.h"

RK_DEVICE static inline struct rk_item_loss rk_item_loss_ap(const struct rk_loss_params *params, uint32_t p,
                                                            uint32_t k, uint32_t irrelevant_above)
{
    (void)params;
    double rp = (double)k + 1.0;
    double rk = rp + (double)irrelevant_above;
    struct rk_item_loss term = {(double)irrelevant_above / rk, rp / (((double)p * rk) * rk)};
    return term;
}

#endif
