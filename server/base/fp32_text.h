/* SPDX-License-Identifier: Apache-2.0 */
/* FP32 as decimal text, for JSON. */
#ifndef RK_BASE_FP32_TEXT_H
#define RK_BASE_FP32_TEXT_H

#include <stddef.h>

/* The most bytes of one number: "-1.17549435e-38". */
#define RK_FP32_TEXT 16

/* Writes a finite number, without a NUL, and returns its length: the fewest digits that read back
 * as the same number, the nearest of them, as printf's %g has them: "0.1", "1e-07". Whole numbers
 * below 10^6 are "3.0", so that readers which check the type of the first element see a float. */
size_t rk_fp32_text(float value, char out[RK_FP32_TEXT]);

#endif
