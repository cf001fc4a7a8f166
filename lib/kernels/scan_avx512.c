/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/kernels_internal.h"
#include "kernels/load_avx512.h"

struct rk_scan rk_scan_avx512(const void *targets, size_t items, int8_t most, bool is_signed)
{
    const char *t = targets;
    struct rk_scan scan = {0};
    size_t known = 0;
    for (size_t i = 0; i < items; i += 64) {
        __mmask64 here = items - i >= 64 ? ~0ull : (1ull << (items - i)) - 1;
        __m512i x = _mm512_maskz_loadu_epi8(here, t + i);
        unsigned long long good = _mm512_mask_cmple_epu8_mask(here, x, _mm512_set1_epi8(most));
        unsigned long long ignored = _mm512_mask_cmpeq_epi8_mask(here, x, _mm512_set1_epi8(-1));
        scan.relevant += (unsigned)__builtin_popcountll(_mm512_mask_test_epi8_mask(good, x, x));
        scan.ignored += (unsigned)__builtin_popcountll(ignored);
        known += (unsigned)__builtin_popcountll(good);
    }
    if (is_signed)
        known += scan.ignored;
    else
        scan.ignored = 0;
    scan.bad = known != items;
    return scan;
}

/* The bits of a word are places from `first` on; two of them are written whether they exist or not
 * (there is room for them): where few targets are 1, a branch on whether there is any could not be
 * predicted. */
RK_INLINE uint32_t *put_places(uint32_t *position, unsigned long long word, uint32_t first)
{
    const unsigned long long rest = word & (word - 1);
    position[0] = first + (uint32_t)_tzcnt_u64(word);
    position[1] = first + (uint32_t)_tzcnt_u64(rest);
    uint32_t *end = position + _mm_popcnt_u64(word);
    position += 2;
    for (unsigned long long left = rest & (rest - 1); left; left &= left - 1)
        *position++ = first + (uint32_t)_tzcnt_u64(left);
    return end;
}

size_t rk_positions_avx512(const int8_t *targets, uint32_t items, uint32_t base, uint32_t *position,
                           size_t room)
{
    uint32_t *at = position, *const end = position + room;
    for (uint32_t i = 0; i < items; i += 64) {
        __mmask64 here = items - i >= 64 ? ~0ull : (1ull << (items - i)) - 1;
        __m512i x = _mm512_maskz_loadu_epi8(here, targets + i);
        unsigned long long left = _mm512_mask_cmpgt_epi8_mask(here, x, _mm512_setzero_si512());
        if (end - at >= 64)
            at = put_places(at, left, base + i);
        else
            for (; left && at < end; left &= left - 1)
                *at++ = base + i + (uint32_t)_tzcnt_u64(left);
        if (items - i <= 64)
            break; /* i + 64 may not fit 32 bits */
    }
    return (size_t)(at - position);
}
