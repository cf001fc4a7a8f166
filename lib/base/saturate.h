/* SPDX-License-Identifier: Apache-2.0 */
/* Arithmetic that saturates at SIZE_MAX, for sizes in bytes that come from a request. */
#ifndef RK_SATURATE_H
#define RK_SATURATE_H

#include <stddef.h>
#include <stdint.h>

static inline size_t rk_size_add(size_t a, size_t b)
{
    return a > SIZE_MAX - b ? SIZE_MAX : a + b;
}
static inline size_t rk_size_times(size_t a, size_t b)
{
    size_t product;
    return __builtin_mul_overflow(a, b, &product) ? SIZE_MAX : product;
}

#endif
