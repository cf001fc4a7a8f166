/* SPDX-License-Identifier: Apache-2.0 */
/* A loss of a ranked list: what the list costs, and how that grows with each relevant item's rank.
 * A loss is one file lib/losses/<name>.c and one row in losses.def.
 *
 * The promises of a loss, on which the kernels rely. With g(k) = slope[k] of the k-th relevant
 * item:
 *
 *   1. The loss is finite and at least 0. Lists whose loss is above 0 and whose gradient is 0 are
 *      counted as stalled. A loss that stops counting at a rank (top_k) is a step function there,
 *      without a slope. Its slopes are therefore those of the loss without the cut-off: above 0
 *      also beyond it, and where the loss is 0.
 *   2. Each g(k) is finite and at least 0: the perturbation y' = y + Λ·g never lowers a relevant
 *      item, so an irrelevant item that stands below all relevant ones keeps its rank and is not
 *      looked at again.
 *   3. g need not fall with k (a gain may be larger further down), and may be 0 for some items
 *      (mrr) or all: the perturbed relevant items are sorted again, and a list in which none moved
 *      has the gradient 0.
 *   4. Loss and slopes depend on nothing but the arguments, to the last bit: no state, no threads,
 *      sums in order of k. The CPU's engines and the device's are compared by these bits.
 *   5. For speed only: g(k) does not grow when more irrelevant items rank above a relevant one.
 *      Streamed retrieval derives from this a bound on how far a relevant item may move. It checks
 *      the bound, and computes a list that broke it from complete rows.
 *
 * In debug builds (RK_DEBUG, which the sanitizers' builds define) rk_loss_list() asserts 1 and
 * 2. */
#ifndef RK_LOSSES_LOSS_H
#define RK_LOSSES_LOSS_H

#include <stdint.h>

#include "request/param.h"

/* The numbers by which a device's plugin knows losses (device_plugin.h): RK_LOSS_ap, … */
enum rk_loss_number {
    RK_LOSS_NONE, /* rank and rank_vjp */
#define RK_LOSS(number, name, takes, help) RK_LOSS_##name = (number),
#include "losses/losses.def"
};

/* The relevant items of a list, in the order in which they are ranked. All arrays have p
 * elements. */
struct rk_ranked {
    uint32_t p; /* at least 1 */
    /* Irrelevant items above the k-th relevant one: its rank is rk = rp + irrelevant_above[k], with
     * rp = k + 1 its rank among the relevant ones. */
    const uint32_t *irrelevant_above;
    /* The gain of each, finite and above 0; and the same numbers ascending, from which the best
     * order is read backwards. Both NULL: every gain is 1, as always with losses that take no
     * grades. */
    const double *gain, *gain_ascending;
};

struct rk_loss {
    const char *name;
    enum rk_loss_number number;
    /* The loss of one list.
     *   params    of the request
     *   slope[k]  out: d loss / d rk, rp held constant (the g of the blackbox method); NULL: not
     *             wanted */
    double (*list)(const struct rk_loss_params *params, const struct rk_ranked *ranked, double *slope);
};

/* rk_loss_ap, … */
#define RK_LOSS(number, name, takes, help) extern const struct rk_loss rk_loss_##name;
#include "losses/losses.def"

/* loss->list(), which is called only here. */
double rk_loss_list(const struct rk_loss *loss, const struct rk_loss_params *params,
                    const struct rk_ranked *ranked, double *slope);

#endif
