/* Stable sort of indexes by key: insertion for a few, otherwise a radix sort from the lowest digit up that
 * skips the digits in which all keys agree.
 *
 * Key and index travel together as one 64-bit number, so that each pass reads in order; only the writes are
 * spread. The first pass takes its pairs from the keys, the last one writes indexes only. */
#include <string.h>

#include "kernels_internal.h"

/* Below MANY a digit has 8 bits, because 2048 counters take longer to clear and sum than a fourth pass.
 * (rank_vjp, which sorts twice: on rows of 128 items 41 ns an item with 11 bits, 21 with 8; on 10M items 92
 * when keys were looked up by index, 27 with pairs.) */
enum { FEW = 32, MANY = 8192, DIGITS_MOST = 4, VALUES_MOST = 2048 };

struct digits {
    unsigned bits, count;
};

static struct digits digits_of(uint32_t n)
{
    return n < MANY ? (struct digits){8, 4} : (struct digits){11, 3};
}

static size_t padded(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

size_t rk_order_scratch_scalar(uint32_t n)
{
    return n <= FEW ? 0
                    : sizeof(uint32_t[DIGITS_MOST][VALUES_MOST]) + 2 * padded(sizeof(uint64_t) * (size_t)n);
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

/* One digit: its place in the pair, and for each value the place of the next item that has it. */
struct pass {
    unsigned shift;
    uint32_t mask;
    uint32_t *next;
};

static inline uint32_t place(const struct pass *pass, uint64_t pair)
{
    return pass->next[pair >> pass->shift & pass->mask]++;
}

static void keys_to_pairs(const struct pass *pass, const uint32_t *key, uint32_t n, uint64_t *to)
{
    for (uint32_t i = 0; i < n; i++) {
        uint64_t pair = (uint64_t)key[i] << 32 | i;
        to[place(pass, pair)] = pair;
    }
}

static void pairs_to_pairs(const struct pass *pass, const uint64_t *from, uint32_t n, uint64_t *to)
{
    for (uint32_t i = 0; i < n; i++)
        to[place(pass, from[i])] = from[i];
}

static void pairs_to_indexes(const struct pass *pass, const uint64_t *from, uint32_t n, uint32_t *perm)
{
    for (uint32_t i = 0; i < n; i++)
        perm[place(pass, from[i])] = (uint32_t)from[i];
}

static void keys_to_indexes(const struct pass *pass, const uint32_t *key, uint32_t n, uint32_t *perm)
{
    for (uint32_t i = 0; i < n; i++)
        perm[place(pass, (uint64_t)key[i] << 32)] = i;
}

/* Counts become first places; false if all keys share one value of this digit. */
static bool first_places(uint32_t *count, uint32_t values, uint32_t n)
{
    uint32_t sum = 0;
    for (uint32_t v = 0; v < values; v++) {
        uint32_t here = count[v];
        if (here == n)
            return false;
        count[v] = sum;
        sum += here;
    }
    return true;
}

/* Fills pass[] with the digits in which the keys differ. Returns how many. */
static unsigned plan_passes(const uint32_t *key, uint32_t n, uint32_t (*count)[VALUES_MOST],
                            struct pass *pass)
{
    const struct digits digits = digits_of(n);
    const uint32_t values = 1u << digits.bits, mask = values - 1;
    unsigned passes = 0;
    for (unsigned d = 0; d < digits.count; d++)
        memset(count[d], 0, values * sizeof *count[d]);
    for (uint32_t i = 0; i < n; i++) {
        for (unsigned d = 0; d < digits.count; d++)
            count[d][key[i] >> d * digits.bits & mask]++;
    }
    for (unsigned d = 0; d < digits.count; d++) {
        if (first_places(count[d], values, n))
            pass[passes++] = (struct pass){32 + d * digits.bits, mask, count[d]};
    }
    return passes;
}

void rk_order_scalar(const uint32_t *key, uint32_t n, uint32_t *perm, void *scratch)
{
    if (n <= FEW) {
        insert(key, n, perm);
        return;
    }
    uint32_t(*count)[VALUES_MOST] = scratch;
    char *after = (char *)scratch + sizeof(uint32_t[DIGITS_MOST][VALUES_MOST]);
    uint64_t *from = (uint64_t *)(void *)after;
    uint64_t *to = (uint64_t *)(void *)(after + padded(sizeof(uint64_t) * (size_t)n));
    struct pass pass[DIGITS_MOST];
    unsigned passes = plan_passes(key, n, count, pass);
    if (passes == 0) {
        for (uint32_t i = 0; i < n; i++)
            perm[i] = i;
        return;
    }
    if (passes == 1) {
        keys_to_indexes(&pass[0], key, n, perm);
        return;
    }
    keys_to_pairs(&pass[0], key, n, from);
    for (unsigned d = 1; d + 1 < passes; d++) {
        pairs_to_pairs(&pass[d], from, n, to);
        uint64_t *swap = from;
        from = to;
        to = swap;
    }
    pairs_to_indexes(&pass[passes - 1], from, n, perm);
}
