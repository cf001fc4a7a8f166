/* Stable sort of indexes by key: insertion for a few, otherwise a radix sort of 11 bits at a time that skips
 * the digits in which all keys agree. */
#include <string.h>

#include "kernels_internal.h"

enum { FEW = 48, BITS = 11, DIGITS = 3, VALUES = 1 << BITS };

static size_t padded(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

size_t rk_order_scratch_scalar(uint32_t n)
{
    return n <= FEW ? 0 : padded(sizeof(uint32_t[DIGITS][VALUES])) + padded(sizeof(uint32_t) * (size_t)n);
}

static void insert(const uint32_t *key, uint32_t n, uint32_t *perm)
{
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = i;
        for (; at > 0 && key[perm[at - 1]] > key[i]; at--)
            perm[at] = perm[at - 1];
        perm[at] = i;
    }
}

static uint32_t digit_of(uint32_t key, unsigned digit)
{
    return key >> (digit * BITS) & (VALUES - 1);
}

/* Counts become first positions; false if all keys share one value of this digit. */
static bool first_positions(uint32_t *count, uint32_t n)
{
    uint32_t sum = 0;
    for (size_t v = 0; v < VALUES; v++) {
        uint32_t here = count[v];
        if (here == n)
            return false;
        count[v] = sum;
        sum += here;
    }
    return true;
}

void rk_order_scalar(const uint32_t *key, uint32_t n, uint32_t *perm, void *scratch)
{
    if (n <= FEW) {
        insert(key, n, perm);
        return;
    }
    uint32_t(*count)[VALUES] = scratch;
    uint32_t *spare = (uint32_t *)((char *)scratch + padded(sizeof(uint32_t[DIGITS][VALUES])));
    memset(count, 0, sizeof(uint32_t[DIGITS][VALUES]));
    for (uint32_t i = 0; i < n; i++) {
        for (unsigned d = 0; d < DIGITS; d++)
            count[d][digit_of(key[i], d)]++;
    }
    uint32_t *from = perm, *to = spare;
    for (uint32_t i = 0; i < n; i++)
        from[i] = i;
    for (unsigned d = 0; d < DIGITS; d++) {
        if (!first_positions(count[d], n))
            continue;
        for (uint32_t i = 0; i < n; i++)
            to[count[d][digit_of(key[from[i]], d)]++] = from[i];
        uint32_t *swap = from;
        from = to;
        to = swap;
    }
    if (from != perm)
        memcpy(perm, from, sizeof *perm * n);
}
