/* 1 - average precision: (1/P) Σ (rk - rp)/rk. */
#include "base/sum.h"
#include "losses/item_loss.h"
#include "losses/loss.h"

static double list_loss(uint32_t p, const uint32_t *irrelevant_above, int transform, double *slope)
{
    (void)transform;
    struct rk_sum sum = {0};
    for (uint32_t k = 0; k < p; k++) {
        struct rk_item_loss term = rk_item_loss_ap(p, k, irrelevant_above[k]);
        rk_sum_add(&sum, term.value);
        if (slope)
            slope[k] = term.slope;
    }
    return rk_sum_value(&sum) / (double)p;
}

const struct rk_loss rk_loss_ap = {.name = "ap", .number = RK_LOSS_AP, .list = list_loss};
