/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers and shapes as text, for sentences. */
#ifndef RK_BASE_NUMBER_H
#define RK_BASE_NUMBER_H

#include <stddef.h>

#include "base/tensor.h"

#define RK_NUMBER_TEXT 32

/* The shortest decimal that reads back as the same number: "0.1", "40", "1e+12", "NaN",
 * "-Infinity". Returns `text`. */
const char *rk_number_text(double value, char text[RK_NUMBER_TEXT]);

/* The shortest decimal that reads back as the same FP32 number: 0.1f is "0.1", as it was sent.
 * Returns `text`. */
const char *rk_float_text(float value, char text[RK_NUMBER_TEXT]);

#define RK_SHAPE_TEXT 64

/* "[3, 17]". Returns `text`. */
const char *rk_shape_text(unsigned rank, const size_t *shape, char text[RK_SHAPE_TEXT]);

#endif
