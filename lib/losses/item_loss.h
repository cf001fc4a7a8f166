/* SPDX-License-Identifier: Apache-2.0 */
/* What one relevant item adds to the loss of its list, and how that grows with its rank: for losses
 * that are a sum over relevant items, one function for every backend, because the perturbation
 * depends on the last bit of a slope. It is named rk_item_loss_<name>, stands in losses/<name>.h,
 * and device code includes it too:
 *
 *   RK_DEVICE static inline struct rk_item_loss
 *   rk_item_loss_<name>(const struct rk_loss_params *params, uint32_t p, uint32_t k, uint32_t
 * irrelevant_above)
 *
 * for the k-th relevant item of `p` (k from 0, in the order in which they are ranked) with
 * `irrelevant_above` irrelevant items above it: its rank among the relevant ones is rp = k + 1, its
 * rank rk = rp + irrelevant_above. The promises of loss.h hold for its slope. */
#ifndef RK_LOSSES_ITEM_LOSS_H
#define RK_LOSSES_ITEM_LOSS_H

#include "base/device_code.h"
#include "request/param.h"

struct rk_item_loss {
    double value; /* the list's loss is Σ value / p */
    double slope; /* d loss / d rk, rp held constant: the g of the blackbox method */
};

#endif
