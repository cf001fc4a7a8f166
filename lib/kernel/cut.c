#include "cut.h"

#include <math.h>
#include <stdbool.h>

#include "score.h"

static bool reaches(uint32_t key, float threshold, double half_margin)
{
    return (float)((double)rk_float_of_key(key) + half_margin) >= threshold;
}

/* Halves the range of keys until one is left. `high` reaches. */
static uint32_t bisect(uint32_t low, uint32_t high, float threshold, double half_margin)
{
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (reaches(middle, threshold, half_margin))
            high = middle;
        else
            low = middle + 1;
    }
    return high;
}

float rk_cut(float threshold, double half_margin)
{
    if (half_margin == 0 || isinf(threshold))
        return threshold + 0.0f;
    const uint32_t lowest = rk_key(-INFINITY), highest = rk_key(INFINITY);
    /* Mostly within a step or two of the difference; not where a large margin swallows the last bits of a
     * score. */
    uint32_t guess = rk_key((float)((double)threshold - half_margin));
    uint32_t low = guess < lowest + 2 ? lowest : guess - 2;
    uint32_t high = guess > highest - 2 ? highest : guess + 2;
    if (low > lowest && reaches(low - 1, threshold, half_margin)) {
        high = low - 1;
        low = lowest;
    } else if (!reaches(high, threshold, half_margin)) {
        low = high;
        high = highest;
    }
    return rk_float_of_key(bisect(low, high, threshold, half_margin)) + 0.0f;
}
