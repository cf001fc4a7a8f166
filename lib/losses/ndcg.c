/* SPDX-License-Identifier: Apache-2.0 */
/* 1 - NDCG: 1 - DCG/IDCG with DCG = Σ G/log2(1 + rk) over the relevant items, and IDCG the same sum
 * in the best order. With a cut-off both sums count ranks up to it. */
#include "base/ln_whole.h"
#include "base/sum.h"
#include "losses/cut.h"
#include "losses/loss.h"

static double gain_of(const double *gain, uint32_t k)
{
    return gain ? gain[k] : 1.0;
}

/* L = ln(1 + rk) is given, because the slope needs it too. */
static double discounted(double gain, double ln)
{
    return gain / (ln / RK_LN2);
}

struct best {
    double whole, counted; /* IDCG, and of the ranks that count */
};

static struct best best_order(const struct rk_loss_params *params, const struct rk_ranked *ranked)
{
    const uint32_t p = ranked->p, m = rk_counted_most(params, p);
    struct best best = {0};
    struct rk_sum sum = {0};
    for (uint32_t k = 0; k < p; k++) {
        rk_sum_add(&sum,
                   discounted(gain_of(ranked->gain_ascending, p - 1 - k), rk_ln_whole(2 + (uint64_t)k)));
        if (k + 1 == m)
            best.counted = rk_sum_value(&sum);
    }
    best.whole = rk_sum_value(&sum);
    return best;
}

/* Both sums run over ascending ranks, so a perfect order, whose terms are the same, has a loss of
 * exactly 0. A nearly perfect order may exceed the best one in the last bits: its loss is 0 too. */
static double list_loss(const struct rk_loss_params *params, const struct rk_ranked *ranked, double *slope)
{
    const struct best best = best_order(params, ranked);
    struct rk_sum sum = {0};
    for (uint32_t k = 0; k < ranked->p; k++) {
        const uint64_t rk = (uint64_t)k + 1 + ranked->irrelevant_above[k];
        const double gain = gain_of(ranked->gain, k), ln = rk_ln_whole(1 + rk);
        if (rk_counts(params, rk))
            rk_sum_add(&sum, discounted(gain, ln));
        if (slope)
            slope[k] = ((gain / best.whole) * RK_LN2) / ((1.0 + (double)rk) * (ln * ln));
    }
    const double loss = 1.0 - rk_sum_value(&sum) / best.counted;
    return loss > 0 ? loss : 0;
}

const struct rk_loss rk_loss_ndcg = {.name = "ndcg", .number = RK_LOSS_ndcg, .list = list_loss};
