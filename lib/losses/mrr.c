/* SPDX-License-Identifier: Apache-2.0 */
/* 1 - reciprocal rank of the best ranked relevant item: 1 - 1/rk, or 1 where that is beyond the
 * cut-off. */
#include <string.h>

#include "losses/cut.h"
#include "losses/loss.h"

static double list_loss(const struct rk_loss_params *params, const struct rk_ranked *ranked, double *slope)
{
    const uint64_t above = ranked->irrelevant_above[0];
    const double rk = (double)(above + 1);
    if (slope) {
        memset(slope, 0, ranked->p * sizeof *slope);
        slope[0] = 1.0 / (rk * rk);
    }
    return rk_counts(params, above + 1) ? (double)above / rk : 1.0; /* free of the cancellation in 1 - 1/rk */
}

const struct rk_loss rk_loss_mrr = {.name = "mrr", .number = RK_LOSS_mrr, .list = list_loss};
