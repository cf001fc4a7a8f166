/* SPDX-License-Identifier: Apache-2.0 */
/* Bit arrays in words of 32 bits. */
#ifndef RK_KERNELS_BITS_H
#define RK_KERNELS_BITS_H

#include <stdint.h>

/* Sets the bits from..to, both included. */
static inline void rk_set_bits(uint32_t *word, uint32_t from, uint32_t to)
{
    uint32_t first = ~0u << (from % 32), last = ~0u >> (31 - to % 32);
    if (from / 32 == to / 32) {
        word[from / 32] |= first & last;
        return;
    }
    word[from / 32] |= first;
    for (uint32_t w = from / 32 + 1; w < to / 32; w++)
        word[w] = ~0u;
    word[to / 32] |= last;
}

#endif
