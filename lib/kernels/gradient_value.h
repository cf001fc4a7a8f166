/* SPDX-License-Identifier: Apache-2.0 */
/* From a change of rank to the gradient of the item. */
#ifndef RK_KERNELS_GRADIENT_VALUE_H
#define RK_KERNELS_GRADIENT_VALUE_H

#include <stdint.h>

#include "base/device_code.h"

/* The gradient of an item whose rank changed by Δ: `(float)((-w·Δ)/divisor)`, and +0.0f for
 * -0.0f. The divisor is Λ or S (blackbox.h). */
RK_DEVICE static inline float rk_gradient_value(double w, double divisor, int32_t delta)
{
    float value = (float)((-w * (double)delta) / divisor);
    return value + 0.0f; /* -0.0f + 0.0f is +0.0f */
}

#endif
