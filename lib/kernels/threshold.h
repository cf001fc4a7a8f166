/* Thresholds in units of the raw scores. Device code includes it too. */
#ifndef RK_KERNELS_THRESHOLD_H
#define RK_KERNELS_THRESHOLD_H

#include <math.h>
#include <stdbool.h>

#include "kernels/score.h"

RK_DEVICE static inline bool rk_cut_reaches(uint32_t key, float threshold, double half_margin)
{
    return (float)((double)rk_float_of_key(key) + half_margin) >= threshold;
}

/* Halves the range of keys until one is left. `high` reaches. */
RK_DEVICE static inline uint32_t rk_cut_bisect(uint32_t low, uint32_t high, float threshold,
                                               double half_margin)
{
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (rk_cut_reaches(middle, threshold, half_margin))
            high = middle;
        else
            low = middle + 1;
    }
    return high;
}

/* The least score s (±inf included, +0.0 for -0.0) with (float)((double)s + half_margin) >= threshold.
 * Because rounding is monotone, y >= threshold is then s >= cut for every irrelevant item. threshold is not
 * NaN; half_margin is finite and not negative. */
RK_DEVICE static inline float rk_cut(float threshold, double half_margin)
{
    if (half_margin == 0 || fabsf(threshold) == INFINITY)
        return threshold + 0.0f;
    const uint32_t lowest = rk_key(-INFINITY), highest = rk_key(INFINITY);
    /* Mostly within a step or two of the difference; not where a large margin swallows the last bits of a
     * score. */
    uint32_t guess = rk_key((float)((double)threshold - half_margin));
    uint32_t low = guess < lowest + 2 ? lowest : guess - 2;
    uint32_t high = guess > highest - 2 ? highest : guess + 2;
    if (low > lowest && rk_cut_reaches(low - 1, threshold, half_margin)) {
        high = low - 1;
        low = lowest;
    } else if (!rk_cut_reaches(high, threshold, half_margin)) {
        low = high;
        high = highest;
    }
    return rk_float_of_key(rk_cut_bisect(low, high, threshold, half_margin)) + 0.0f;
}

#endif
