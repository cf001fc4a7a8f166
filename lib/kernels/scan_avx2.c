/* SPDX-License-Identifier: Apache-2.0 */
#include <immintrin.h>

#include "kernels/kernels_internal.h"

static unsigned equal(__m256i x, int value)
{
    return (unsigned)_mm256_movemask_epi8(_mm256_cmpeq_epi8(x, _mm256_set1_epi8((char)value)));
}

/* Unsigned bytes. */
static unsigned at_most(__m256i x, __m256i most)
{
    return (unsigned)_mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_max_epu8(x, most), most));
}

struct rk_scan rk_scan_avx2(const void *targets, size_t items, int8_t most, bool is_signed)
{
    const char *t = targets;
    size_t whole = items / 32 * 32, known = 0;
    struct rk_scan scan = {0};
    for (size_t i = 0; i < whole; i += 32) {
        __m256i x = _mm256_loadu_si256((const void *)(t + i));
        unsigned good = at_most(x, _mm256_set1_epi8(most)), ignored = equal(x, -1);
        scan.relevant += (unsigned)__builtin_popcount(good & ~equal(x, 0));
        scan.ignored += (unsigned)__builtin_popcount(ignored);
        known += (unsigned)__builtin_popcount(good);
    }
    if (is_signed)
        known += scan.ignored;
    else
        scan.ignored = 0;
    struct rk_scan rest = rk_scan_scalar(t + whole, items - whole, most, is_signed);
    scan.relevant += rest.relevant;
    scan.ignored += rest.ignored;
    scan.bad = known != whole || rest.bad;
    return scan;
}

size_t rk_positions_avx2(const int8_t *targets, uint32_t items, uint32_t base, uint32_t *position,
                         size_t room)
{
    uint32_t whole = items / 32 * 32;
    size_t found = 0;
    for (uint32_t i = 0; i < whole; i += 32) {
        unsigned left = (unsigned)_mm256_movemask_epi8(
            _mm256_cmpgt_epi8(_mm256_loadu_si256((const void *)(targets + i)), _mm256_setzero_si256()));
        for (; left && found < room; left &= left - 1)
            position[found++] = base + i + (unsigned)__builtin_ctz(left);
    }
    return found +
           rk_positions_scalar(targets + whole, items - whole, base + whole, position + found, room - found);
}
