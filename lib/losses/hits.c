/* SPDX-License-Identifier: Apache-2.0 */
/* 1 - h/d with h relevant items among the first k, for recall (d = P), precision (d = k) and,
 * without a cut-off, R-precision (k = P). A metric: it is a step function without a slope. */
#include <string.h>

#include "losses/loss.h"

static double list_loss(const struct rk_loss_params *params, const struct rk_ranked *ranked, double *slope)
{
    const uint64_t p = ranked->p, k = params->top_k ? params->top_k : p;
    const uint64_t of = params->share_of == RK_SHARE_OF_RELEVANT ? p : k;
    uint64_t h = 0;
    while (h < p && h + 1 + ranked->irrelevant_above[h] <= k) /* ranks ascend */
        h++;
    if (slope)
        memset(slope, 0, p * sizeof *slope);
    return (double)(of - h) / (double)of;
}

const struct rk_loss rk_loss_hits = {.name = "hits", .number = RK_LOSS_hits, .list = list_loss};
