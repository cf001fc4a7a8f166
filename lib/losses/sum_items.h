/* SPDX-License-Identifier: Apache-2.0 */
/* The loss of a list as the mean over its relevant items, for losses that have a function of
 * item_loss.h. */
#ifndef RK_LOSSES_SUM_ITEMS_H
#define RK_LOSSES_SUM_ITEMS_H

#include "base/sum.h"
#include "losses/item_loss.h"
#include "losses/loss.h"

typedef struct rk_item_loss rk_item_loss_fn(const struct rk_loss_params *params, uint32_t p, uint32_t k,
                                            uint32_t irrelevant_above);

/* As struct rk_loss's `list`. Inlined, so that `item` is no call in the loop. The terms are added
 * in order of k, with compensation. */
__attribute__((always_inline)) static inline double rk_loss_sum_items(rk_item_loss_fn *item,
                                                                      const struct rk_loss_params *params,
                                                                      const struct rk_ranked *ranked,
                                                                      double *slope)
{
    const uint32_t p = ranked->p;
    struct rk_sum sum = {0};
    for (uint32_t k = 0; k < p; k++) {
        struct rk_item_loss term = item(params, p, k, ranked->irrelevant_above[k]);
        rk_sum_add(&sum, term.value);
        if (slope)
            slope[k] = term.slope;
    }
    return rk_sum_value(&sum) / (double)p;
}

#endif
