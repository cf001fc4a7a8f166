/* SPDX-License-Identifier: Apache-2.0 */
/* 1 - average precision: (1/P) Σ (rk - rp)/rk. With a cut-off k, m = min(P, k) and h relevant items
 * at ranks up to k: (1/m)·(Σ (rk - rp)/rk + m - h) over those h, so that a relevant item beyond k
 * costs 1. */
#include "losses/ap.h"
#include "losses/cut.h"
#include "losses/loss.h"
#include "losses/sum_items.h"

static double cut_loss(const struct rk_loss_params *params, const struct rk_ranked *ranked, double *slope)
{
    const uint32_t m = rk_counted_most(params, ranked->p);
    struct rk_sum sum = {0};
    uint32_t h = 0;
    for (uint32_t k = 0; k < ranked->p; k++) {
        const uint32_t above = ranked->irrelevant_above[k];
        const struct rk_item_loss term = rk_item_loss_ap(params, ranked->p, k, above);
        if (rk_counts(params, (uint64_t)k + 1 + above)) {
            rk_sum_add(&sum, term.value);
            h++;
        }
        if (slope)
            slope[k] = term.slope;
    }
    return (rk_sum_value(&sum) + (double)(m - h)) / (double)m;
}

static double list_loss(const struct rk_loss_params *params, const struct rk_ranked *ranked, double *slope)
{
    if (params->top_k > 0)
        return cut_loss(params, ranked, slope);
    return rk_loss_sum_items(rk_item_loss_ap, params, ranked, slope);
}

const struct rk_loss rk_loss_ap = {.name = "ap", .number = RK_LOSS_ap, .list = list_loss};
