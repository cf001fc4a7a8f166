/* Stable sort of indexes by key: insertion for a few, otherwise a radix sort of 11 bits at a time that skips
 * the digits in which all keys agree. Keys travel with their indexes, so that every pass reads memory in
 * order; only the first one reads the keys, and only the last one writes the permutation. */
#include <string.h>

#include "kernels_internal.h"

enum { FEW = 48, BITS = 11, DIGITS = 3, VALUES = 1 << BITS };

struct keyed {
    uint32_t key, index;
};

static size_t padded(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

size_t rk_order_scratch_scalar(uint32_t n)
{
    return n <= FEW ? 0
                    : padded(sizeof(uint32_t[DIGITS][VALUES])) + 2 * padded(sizeof(struct keyed) * (size_t)n);
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

static void count_digits(const uint32_t *key, uint32_t n, uint32_t (*count)[VALUES])
{
    memset(count, 0, sizeof(uint32_t[DIGITS][VALUES]));
    for (uint32_t i = 0; i < n; i++) {
        for (unsigned d = 0; d < DIGITS; d++)
            count[d][digit_of(key[i], d)]++;
    }
}

/* One digit, from keys or pairs (`from` not NULL) to pairs or, at the end, the permutation (`to` NULL). */
static void pass(const uint32_t *key, const struct keyed *from, uint32_t n, unsigned digit, uint32_t *first,
                 struct keyed *to, uint32_t *perm)
{
    if (from && to) {
        for (uint32_t i = 0; i < n; i++)
            to[first[digit_of(from[i].key, digit)]++] = from[i];
    } else if (from) {
        for (uint32_t i = 0; i < n; i++)
            perm[first[digit_of(from[i].key, digit)]++] = from[i].index;
    } else if (to) {
        for (uint32_t i = 0; i < n; i++)
            to[first[digit_of(key[i], digit)]++] = (struct keyed){key[i], i};
    } else {
        for (uint32_t i = 0; i < n; i++)
            perm[first[digit_of(key[i], digit)]++] = i;
    }
}

void rk_order_scalar(const uint32_t *key, uint32_t n, uint32_t *perm, void *scratch)
{
    if (n <= FEW) {
        insert(key, n, perm);
        return;
    }
    uint32_t(*count)[VALUES] = scratch;
    struct keyed *to = (void *)((char *)scratch + padded(sizeof(uint32_t[DIGITS][VALUES])));
    struct keyed *spare = (void *)((char *)to + padded(sizeof *to * n)), *from = NULL;
    unsigned digit[DIGITS], digits = 0;
    count_digits(key, n, count);
    for (unsigned d = 0; d < DIGITS; d++) {
        if (first_positions(count[d], n))
            digit[digits++] = d;
    }
    for (uint32_t i = 0; digits == 0 && i < n; i++)
        perm[i] = i;
    for (unsigned i = 0; i < digits; i++) {
        pass(key, from, n, digit[i], count[digit[i]], i + 1 < digits ? to : NULL, perm);
        from = to;
        to = spare;
        spare = from;
    }
}
