/* SPDX-License-Identifier: Apache-2.0 */
/* The cut-off of a loss: `top_k`. */
#ifndef RK_LOSSES_CUT_H
#define RK_LOSSES_CUT_H

#include <stdbool.h>
#include <stdint.h>

#include "request/param.h"

/* Whether a rank counts; ranks begin at 1. */
static inline bool rk_counts(const struct rk_loss_params *params, uint64_t rk)
{
    return params->top_k == 0 || rk <= params->top_k;
}

/* How many of p relevant items have ranks that count in the best order: m = min(P, k). */
static inline uint32_t rk_counted_most(const struct rk_loss_params *params, uint32_t p)
{
    return rk_counts(params, p) ? p : (uint32_t)params->top_k;
}

#endif
