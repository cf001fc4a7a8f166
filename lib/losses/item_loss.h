/* What one relevant item adds to the loss of its list, and how that grows with its rank: one function for
 * every backend, because the perturbation depends on the last bit of a slope. Device code includes it too. */
#ifndef RK_LOSSES_ITEM_LOSS_H
#define RK_LOSSES_ITEM_LOSS_H

#include "base/ln.h"
#include "request/param.h"

struct rk_item_loss {
    double value; /* the list's loss is Σ value / p */
    double slope; /* d loss / d rk, rp held constant: the g of the blackbox method */
};

/* The k-th relevant item of `p` (k from 0, in the order in which they are ranked) with `irrelevant_above`
 * irrelevant items ahead of it: rp = k + 1, rk = rp + ahead.
 *
 * ap: (rk - rp)/rk, which is free of the cancellation in 1 - AP. */
RK_DEVICE static inline struct rk_item_loss rk_item_loss_ap(uint32_t p, uint32_t k, uint32_t irrelevant_above)
{
    double rp = (double)k + 1.0;
    double rk = rp + (double)irrelevant_above;
    struct rk_item_loss term = {(double)irrelevant_above / rk, rp / (((double)p * rk) * rk)};
    return term;
}

/* recall: ℓ(x), x = rk - rp, with `transform` (RK_TRANSFORM_*) naming ℓ. */
RK_DEVICE static inline struct rk_item_loss rk_item_loss_recall(uint32_t p, uint32_t irrelevant_above,
                                                                int transform)
{
    double x = (double)irrelevant_above;
    struct rk_item_loss term = {x, 1.0};
    if (transform == RK_TRANSFORM_LOG) {
        term.value = rk_ln(1.0 + x);
        term.slope = 1.0 / (1.0 + x);
    } else if (transform == RK_TRANSFORM_LOGLOG) {
        double inner = 1.0 + rk_ln(1.0 + x);
        term.value = rk_ln(inner);
        term.slope = 1.0 / (inner * (1.0 + x));
    }
    term.slope /= (double)p;
    return term;
}

#endif
