/* SPDX-License-Identifier: Apache-2.0 */
/* Targets of every type, as bytes. */
#ifndef RK_REQUEST_TARGET_H
#define RK_REQUEST_TARGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/number.h"
#include "base/tensor.h"

#define RK_TARGET_BAD 2 /* stands for every value that is no target */

/* Elements 0..n-1 of a buffer at any alignment as 1, 0, -1, or RK_TARGET_BAD. BOOL and UINT8 know no -1. */
void rk_targets_narrow(const void *targets, enum rk_dtype dtype, size_t n, int8_t *out);

/* The first element that is no target and what it is; false if there is none. */
bool rk_targets_first_bad(const void *targets, enum rk_dtype dtype, size_t n, size_t *at,
                          char value[RK_NUMBER_TEXT]);

#endif
