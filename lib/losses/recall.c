/* SPDX-License-Identifier: Apache-2.0 */
/* Recall: (1/P) Σ ℓ(x) with x = rk - rp, the number of irrelevant items above a relevant one. */
#include "losses/recall.h"
#include "losses/loss.h"
#include "losses/sum_items.h"

static double list_loss(const struct rk_loss_params *params, const struct rk_ranked *ranked, double *slope)
{
    return rk_loss_sum_items(rk_item_loss_recall, params, ranked, slope);
}

const struct rk_loss rk_loss_recall = {.name = "recall", .number = RK_LOSS_recall, .list = list_loss};
