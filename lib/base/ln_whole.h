/* SPDX-License-Identifier: Apache-2.0 */
/* The natural logarithm of whole numbers: the same bits as rk_ln(), read from a table where they
 * are small. A list with few relevant items would spend most of its time on them. */
#ifndef RK_BASE_LN_WHOLE_H
#define RK_BASE_LN_WHOLE_H

#include "base/ln.h"

#define RK_LN_TABLE 65 /* numbers below are in the table */
extern const double rk_ln_table[RK_LN_TABLE];

/* ln(n) of n >= 1, below 2^53. */
static inline double rk_ln_whole(uint64_t n)
{
    return n < RK_LN_TABLE ? rk_ln_table[n] : rk_ln((double)n);
}

#endif
