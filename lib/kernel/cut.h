/* Thresholds in units of the raw scores. */
#ifndef RK_CUT_H
#define RK_CUT_H

/* The least score s (±inf included, +0.0 for -0.0) with (float)((double)s + half_margin) >= threshold.
 * Because rounding is monotone, y >= threshold is then s >= cut for every irrelevant item. threshold is not
 * NaN; half_margin is finite and not negative. */
float rk_cut(float threshold, double half_margin);

#endif
