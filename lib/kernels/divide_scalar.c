/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "kernels/kernels_internal.h"

enum { BLOCK = 16 /* items; mostly all of them are 0 */ };

static bool all_zero(const float *value)
{
    uint64_t bits[BLOCK / 2], any = 0;
    memcpy(bits, value, sizeof bits);
    for (int i = 0; i < BLOCK / 2; i++)
        any |= bits[i];
    return any == 0;
}

/* A zero goes through the division as well: no branch to mispredict. */
static void divide(float *value, size_t items, double w, double divisor)
{
    for (size_t i = 0; i < items; i++)
        value[i] = (float)((-w * (double)value[i]) / divisor) + 0.0f;
}

void rk_divide_scalar(float *value, size_t items, double w, double divisor)
{
    size_t i = 0;
    for (; i + BLOCK <= items; i += BLOCK) {
        if (!all_zero(value + i))
            divide(value + i, BLOCK, w, divisor);
    }
    divide(value + i, items - i, w, divisor);
}
