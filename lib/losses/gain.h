/* SPDX-License-Identifier: Apache-2.0 */
/* What a grade is worth: `gain` (RK_GAIN_*). */
#ifndef RK_LOSSES_GAIN_H
#define RK_LOSSES_GAIN_H

#include <stdint.h>

#include "request/target.h"

/* The gain of a grade that rk_grade_at() gave under the same rule: finite and above 0. */
static inline double rk_gain(double grade, enum rk_target_rule rule)
{
    return rule == RK_TARGET_GRADE ? (double)((UINT64_C(1) << (unsigned)grade) - 1) : grade;
}

#endif
