/* SPDX-License-Identifier: Apache-2.0 */
/* Stable sort of indexes by key: by counting for a few, otherwise a radix sort of 11 bits at a time
 * that skips the digits in which all keys agree. Keys travel with their indexes, so that every pass
 * reads memory in order; only the first one reads the keys, and only the last one writes the
 * permutation.
 *
 * Where the pairs outgrow the cache (MANY), a store to each of 2,048 places in turn would first
 * fetch a line that is about to be overwritten, 64 bytes for every 8. There the pairs of one value
 * are gathered in a line of their own, which goes to memory past the caches when it is full. */
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "kernels/kernels_internal.h"

enum { FEW = RK_ARGSORT_FEW, MANY = 1 << 20, BITS = 11, DIGITS = 3, VALUES = 1 << BITS, LINE = 64 };

struct keyed_index {
    uint32_t key, index;
};

/* Pairs are gathered in lines until a line is full. `begin` is where each value's first item
 * goes. */
struct line_buffers {
    _Alignas(LINE) unsigned char line[VALUES][LINE];
    uint32_t begin[VALUES];
};

static size_t padded_to_line(size_t bytes)
{
    return (bytes + LINE - 1) / LINE * LINE;
}

size_t rk_argsort_scratch_scalar(uint32_t n)
{
    if (n <= FEW)
        return 0;
    return padded_to_line(sizeof(uint32_t[DIGITS][VALUES])) +
           2 * padded_to_line(sizeof(struct keyed_index) * (size_t)n) +
           (n < MANY ? 0 : sizeof(struct line_buffers));
}

/* Four keys at a time; a comparison that holds is -1 in its lane. */
typedef int32_t lanes __attribute__((vector_size(16)));
enum { LANES = sizeof(lanes) / sizeof(int32_t) };

/* Each item's place is the number of those before it: smaller keys, and equal ones of lower index.
 * That is n² / 4 comparisons, but unlike an insertion it has no branch that depends on the keys. */
static void count_few(const uint32_t *key, uint32_t n, uint32_t *perm, uint32_t *sorted)
{
    int32_t copy[FEW + LANES];
    const uint32_t blocks = (n + LANES - 1) / LANES;
    for (uint32_t i = 0; i < n; i++)
        copy[i] = (int32_t)(key[i] ^ 0x80000000u); /* the order of unsigned numbers, by signed comparisons */
    for (uint32_t i = n; i < blocks * LANES; i++)
        copy[i] = INT32_MAX; /* an equal key with a lower index is never before an item */
    for (uint32_t i = 0; i < n; i++) {
        const lanes mine = {copy[i], copy[i], copy[i], copy[i]};
        lanes index = {0, 1, 2, 3}, before = {0};
        for (uint32_t b = 0; b < blocks; b++, index += LANES) {
            lanes other;
            memcpy(&other, copy + (size_t)b * LANES, sizeof other);
            before -= (other < mine) | ((other == mine) & (index < (int32_t)i));
        }
        perm[before[0] + before[1] + before[2] + before[3]] = i;
    }
    for (uint32_t k = 0; sorted && k < n; k++)
        sorted[k] = (uint32_t)copy[perm[k]] ^ 0x80000000u;
}

static void take_apart(const struct keyed_index *from, uint32_t n, uint32_t *perm, uint32_t *sorted)
{
    for (uint32_t i = 0; i < n; i++) {
        perm[i] = from[i].index;
        sorted[i] = from[i].key;
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

/* One digit, from keys or pairs (`from` not NULL) to pairs or, at the end, the permutation (`to`
 * NULL). */
static void pass(const uint32_t *key, const struct keyed_index *from, uint32_t n, unsigned digit,
                 uint32_t *first, struct keyed_index *to, uint32_t *perm)
{
    if (from && to) {
        for (uint32_t i = 0; i < n; i++)
            to[first[digit_of(from[i].key, digit)]++] = from[i];
    } else if (from) {
        for (uint32_t i = 0; i < n; i++)
            perm[first[digit_of(from[i].key, digit)]++] = from[i].index;
    } else if (to) {
        for (uint32_t i = 0; i < n; i++)
            to[first[digit_of(key[i], digit)]++] = (struct keyed_index){key[i], i};
    } else {
        for (uint32_t i = 0; i < n; i++)
            perm[first[digit_of(key[i], digit)]++] = i;
    }
}

static inline void store_past_caches(void *to, const void *line)
{
#ifdef __SSE2__
    for (int i = 0; i < LINE / 16; i++)
        _mm_stream_si128((__m128i *)to + i, _mm_load_si128((const __m128i *)line + i));
#else
    memcpy(to, line, LINE);
#endif
}

/* The item goes to its place among those of its value, by way of the value's line. */
static inline void put_in_line(struct line_buffers *g, void *to, size_t size, uint32_t value, uint32_t *first,
                               const void *item)
{
    size_t at = first[value]++, slot = at % (LINE / size);
    memcpy(g->line[value] + slot * size, item, size);
    if (slot == LINE / size - 1)
        store_past_caches((unsigned char *)to + (at - slot) * size, g->line[value]);
}

/* Writes the lines that were never full. This comes last, after the fence, because a value's first
 * line may begin with places of the value before it, and has then overwritten them. */
static inline void write_rest(const struct line_buffers *g, void *to, size_t size, const uint32_t *end)
{
#ifdef __SSE2__
    _mm_sfence();
#endif
    for (size_t v = 0; v < VALUES; v++) {
        size_t line = end[v] / (LINE / size) * (LINE / size), at = line < g->begin[v] ? g->begin[v] : line;
        if (at < end[v])
            memcpy((unsigned char *)to + at * size, g->line[v] + (at - line) * size, (end[v] - at) * size);
    }
}

/* As pass(), through lines; `to` and `perm` aligned to them. */
static void pass_in_lines(const uint32_t *key, const struct keyed_index *from, uint32_t n, unsigned digit,
                          uint32_t *first, struct keyed_index *to, uint32_t *perm, struct line_buffers *g)
{
    memcpy(g->begin, first, sizeof g->begin);
    for (uint32_t i = 0; i < n; i++) {
        struct keyed_index item = from ? from[i] : (struct keyed_index){key[i], i};
        uint32_t value = digit_of(item.key, digit);
        if (to)
            put_in_line(g, to, sizeof item, value, first, &item);
        else
            put_in_line(g, perm, sizeof item.index, value, first, &item.index);
    }
    if (to)
        write_rest(g, to, sizeof *to, first);
    else
        write_rest(g, perm, sizeof *perm, first);
}

void rk_argsort_scalar(const uint32_t *key, uint32_t n, uint32_t *perm, uint32_t *sorted, void *scratch)
{
    if (n <= FEW) {
        count_few(key, n, perm, sorted);
        return;
    }
    uint32_t(*count)[VALUES] = scratch;
    struct keyed_index *to = (void *)((char *)scratch + padded_to_line(sizeof(uint32_t[DIGITS][VALUES])));
    struct keyed_index *spare = (void *)((char *)to + padded_to_line(sizeof *to * n)), *from = NULL;
    struct line_buffers *lines = n < MANY ? NULL : (void *)((char *)spare + padded_to_line(sizeof *to * n));
    unsigned digit[DIGITS], digits = 0;
    count_digits(key, n, count);
    for (unsigned d = 0; d < DIGITS; d++) {
        if (first_positions(count[d], n))
            digit[digits++] = d;
    }
    if (digits == 0) {
        for (uint32_t i = 0; i < n; i++)
            perm[i] = i;
        if (sorted && sorted != key)
            memcpy(sorted, key, n * sizeof *key);
        return;
    }
    for (unsigned i = 0; i < digits; i++) {
        struct keyed_index *next = sorted || i + 1 < digits ? to : NULL;
        if (lines && (next || (uintptr_t)perm % LINE == 0))
            pass_in_lines(key, from, n, digit[i], count[digit[i]], next, perm, lines);
        else
            pass(key, from, n, digit[i], count[digit[i]], next, perm);
        from = to;
        to = spare;
        spare = from;
    }
    if (sorted)
        take_apart(from, n, perm, sorted);
}
