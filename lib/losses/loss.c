/* SPDX-License-Identifier: Apache-2.0 */
#include "losses/loss.h"

#ifdef RK_DEBUG
#include <assert.h>
#include <math.h>

static void check_promises(double value, uint32_t p, const double *slope)
{
    assert(isfinite(value) && value >= 0);
    for (uint32_t k = 0; slope && k < p; k++)
        assert(isfinite(slope[k]) && slope[k] >= 0);
}
#endif

double rk_loss_list(const struct rk_loss *loss, const struct rk_loss_params *params,
                    const struct rk_ranked *ranked, double *slope)
{
    double value = loss->list(params, ranked, slope);
#ifdef RK_DEBUG
    check_promises(value, ranked->p, slope);
#endif
    return value;
}
