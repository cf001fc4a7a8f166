/* SPDX-License-Identifier: Apache-2.0 */
/* 1 - average precision: (1/P) Σ (rk - rp)/rk. */
#include "losses/ap.h"
#include "losses/loss.h"
#include "losses/sum_items.h"

static double list_loss(const struct rk_loss_params *params, uint32_t p, const uint32_t *irrelevant_above,
                        double *slope)
{
    return rk_loss_sum_items(rk_item_loss_ap, params, p, irrelevant_above, slope);
}

const struct rk_loss rk_loss_ap = {.name = "ap", .number = RK_LOSS_ap, .list = list_loss};
