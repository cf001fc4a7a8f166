/* SPDX-License-Identifier: Apache-2.0 */
/* Thresholds in units of the raw scores. Device code includes it too. */
#ifndef RK_KERNELS_THRESHOLD_H
#define RK_KERNELS_THRESHOLD_H

#include <math.h>
#include <stdbool.h>

#include "kernels/score.h"

RK_DEVICE static inline bool rk_threshold_reached(uint32_t key, float adjusted, double half_margin)
{
    return (float)((double)rk_float_of_key(key) + half_margin) >= adjusted;
}

/* Bisects the range of keys. `high` reaches the threshold. */
RK_DEVICE static inline uint32_t rk_threshold_bisect(uint32_t low, uint32_t high, float adjusted,
                                                     double half_margin)
{
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (rk_threshold_reached(middle, adjusted, half_margin))
            high = middle;
        else
            low = middle + 1;
    }
    return high;
}

/* The least score s (±inf included, +0.0 for -0.0) with (float)((double)s + half_margin) >=
 * adjusted. Because rounding is monotone, y >= adjusted is then s >= threshold for every irrelevant
 * item. adjusted is not NaN; half_margin is finite and not negative. */
RK_DEVICE static inline float rk_raw_threshold(float adjusted, double half_margin)
{
    if (half_margin == 0 || fabsf(adjusted) == INFINITY)
        return adjusted + 0.0f;
    const uint32_t lowest = rk_key(-INFINITY), highest = rk_key(INFINITY);
    /* Usually within two steps of the difference, unless a large margin absorbs the last bits of a
     * score. */
    uint32_t guess = rk_key((float)((double)adjusted - half_margin));
    uint32_t low = guess < lowest + 2 ? lowest : guess - 2;
    uint32_t high = guess > highest - 2 ? highest : guess + 2;
    if (low > lowest && rk_threshold_reached(low - 1, adjusted, half_margin)) {
        high = low - 1;
        low = lowest;
    } else if (!rk_threshold_reached(high, adjusted, half_margin)) {
        low = high;
        high = highest;
    }
    return rk_float_of_key(rk_threshold_bisect(low, high, adjusted, half_margin)) + 0.0f;
}

#endif
