/* SPDX-License-Identifier: Apache-2.0 */
/* Neumaier's compensated sum: the error does not grow with the number of terms, so backends that
 * add in another order still agree to the last few bits. */
#ifndef RK_BASE_SUM_H
#define RK_BASE_SUM_H

#include <math.h>

struct rk_sum {
    double total, lost;
};

static inline void rk_sum_add(struct rk_sum *sum, double term)
{
    double total = sum->total + term;
    if (fabs(sum->total) >= fabs(term))
        sum->lost += (sum->total - total) + term;
    else
        sum->lost += (term - total) + sum->total;
    sum->total = total;
}

static inline double rk_sum_value(const struct rk_sum *sum)
{
    return sum->total + sum->lost;
}

#endif
