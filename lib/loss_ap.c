/* 1 - average precision: (1/P) Σ (rk - rp)/rk, which is free of the cancellation in 1 - AP. */
#include "loss.h"
#include "sum.h"

static double list_loss(uint32_t p, const uint32_t *ahead, int weight, double *slope)
{
    (void)weight;
    double count = (double)p;
    struct rk_sum sum = {0};
    for (uint32_t k = 0; k < p; k++) {
        double rp = (double)k + 1.0;
        double rk = rp + (double)ahead[k];
        rk_sum_add(&sum, (double)ahead[k] / rk);
        if (slope)
            slope[k] = rp / ((count * rk) * rk);
    }
    return rk_sum_value(&sum) / count;
}

const struct rk_loss rk_loss_ap = {.name = "ap", .list = list_loss};
