#include "kernels_internal.h"
#include "load_avx512.h"

struct rk_scan rk_scan_avx512(const void *targets, size_t items, bool is_signed)
{
    const char *t = targets;
    struct rk_scan scan = {0};
    size_t known = 0;
    for (size_t i = 0; i < items; i += 64) {
        __mmask64 here = items - i >= 64 ? ~0ull : (1ull << (items - i)) - 1;
        __m512i x = _mm512_maskz_loadu_epi8(here, t + i);
        unsigned long long relevant = _mm512_mask_cmpeq_epi8_mask(here, x, _mm512_set1_epi8(1));
        unsigned long long ignored = _mm512_mask_cmpeq_epi8_mask(here, x, _mm512_set1_epi8(-1));
        unsigned long long zero = _mm512_mask_cmpeq_epi8_mask(here, x, _mm512_setzero_si512());
        scan.relevant += (unsigned)__builtin_popcountll(relevant);
        scan.ignored += (unsigned)__builtin_popcountll(ignored);
        known += (unsigned)__builtin_popcountll(relevant | zero);
    }
    if (is_signed)
        known += scan.ignored;
    else
        scan.ignored = 0;
    scan.bad = known != items;
    return scan;
}

size_t rk_positions_avx512(const int8_t *targets, uint32_t items, uint32_t base, uint32_t *position,
                           size_t room)
{
    size_t found = 0;
    for (uint32_t i = 0; i < items; i += 64) {
        __mmask64 here = items - i >= 64 ? ~0ull : (1ull << (items - i)) - 1;
        __m512i x = _mm512_maskz_loadu_epi8(here, targets + i);
        unsigned long long left = _mm512_mask_cmpeq_epi8_mask(here, x, _mm512_set1_epi8(1));
        for (; left && found < room; left &= left - 1)
            position[found++] = base + i + (unsigned)__builtin_ctzll(left);
        if (items - i <= 64)
            break; /* i + 64 may not fit 32 bits */
    }
    return found;
}
