/* Recall: (1/P) Σ ℓ(x) with x = rk - rp, the number of irrelevant items ahead of a relevant one. */
#include "ln.h"
#include "loss.h"
#include "param.h"
#include "sum.h"

static double list_loss(uint32_t p, const uint32_t *ahead, int weight, double *slope)
{
    double count = (double)p;
    struct rk_sum sum = {0};
    for (uint32_t k = 0; k < p; k++) {
        double x = (double)ahead[k];
        double value = x, derivative = 1.0;
        if (weight == RK_WEIGHT_LOG) {
            value = rk_ln(1.0 + x);
            derivative = 1.0 / (1.0 + x);
        } else if (weight == RK_WEIGHT_LOGLOG) {
            double inner = 1.0 + rk_ln(1.0 + x);
            value = rk_ln(inner);
            derivative = 1.0 / (inner * (1.0 + x));
        }
        rk_sum_add(&sum, value);
        if (slope)
            slope[k] = derivative / count;
    }
    return rk_sum_value(&sum) / count;
}

const struct rk_loss rk_loss_recall = {.name = "recall", .list = list_loss};
