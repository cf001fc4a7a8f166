/* What one relevant item adds to the loss of its list, and how that grows with its rank: one function for
 * every backend, because the perturbation depends on the last bit of a slope. Device code includes it too. */
#ifndef RK_LOSSES_ITEM_LOSS_H
#define RK_LOSSES_ITEM_LOSS_H

#include "base/ln.h"
#include "request/param.h"

struct rk_term {
    double value; /* the list's loss is Σ value / p */
    double slope; /* d loss / d rk, rp held constant: the g of the blackbox method */
};

/* The k-th relevant item of `p` (k from 0, in the order in which they are ranked) with `ahead` irrelevant
 * items ahead of it: rp = k + 1, rk = rp + ahead.
 *
 * ap: (rk - rp)/rk, which is free of the cancellation in 1 - AP. */
RK_DEVICE static inline struct rk_term rk_term_ap(uint32_t p, uint32_t k, uint32_t ahead)
{
    double rp = (double)k + 1.0;
    double rk = rp + (double)ahead;
    struct rk_term term = {(double)ahead / rk, rp / (((double)p * rk) * rk)};
    return term;
}

/* recall: ℓ(x), x = rk - rp, with `weight` (RK_WEIGHT_*) naming ℓ. */
RK_DEVICE static inline struct rk_term rk_term_recall(uint32_t p, uint32_t ahead, int weight)
{
    double x = (double)ahead;
    struct rk_term term = {x, 1.0};
    if (weight == RK_WEIGHT_LOG) {
        term.value = rk_ln(1.0 + x);
        term.slope = 1.0 / (1.0 + x);
    } else if (weight == RK_WEIGHT_LOGLOG) {
        double inner = 1.0 + rk_ln(1.0 + x);
        term.value = rk_ln(inner);
        term.slope = 1.0 / (inner * (1.0 + x));
    }
    term.slope /= (double)p;
    return term;
}

#endif
