/* SPDX-License-Identifier: Apache-2.0 */
/* As argsort_scalar.c, with eight of a few keys in a register; the radix sort gains nothing by
 * that. */
#include <immintrin.h>

#include "kernels/kernels_internal.h"
#include "kernels/unroll.h"

enum { FEW = RK_ARGSORT_FEW, LANES = 8 };

/* -1 in the lanes whose key is above key[at]. */
RK_INLINE __m256i above(__m256i mine, const int32_t *key, uint32_t at)
{
    return _mm256_cmpgt_epi32(mine, _mm256_set1_epi32(key[at]));
}

/* -1 in the lanes whose key is below key[at]. */
RK_INLINE __m256i below(__m256i mine, const int32_t *key, uint32_t at)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(key[at]), mine);
}

/* The places of keys own..own+7 among n: the number of those before each. Equal keys are before it
 * if they stand in front of these, or on an earlier lane. Two sums, so that steps do not wait for
 * each other. */
static __m256i places_of(const int32_t *key, uint32_t n, uint32_t own)
{
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    __m256i mine = _mm256_loadu_si256((const void *)(key + own));
    __m256i place = _mm256_set1_epi32((int32_t)own), other = _mm256_setzero_si256();
    uint32_t j = 0;
    for (; j < own; j += 2) {
        place = _mm256_add_epi32(place, below(mine, key, j));
        other = _mm256_sub_epi32(other, below(mine, key, j + 1));
    }
    RK_UNROLL
    for (int l = 0; l < LANES; l++) {
        __m256i equal = _mm256_cmpeq_epi32(mine, _mm256_set1_epi32(key[own + (uint32_t)l]));
        __m256i later = _mm256_and_si256(equal, _mm256_cmpgt_epi32(lane, _mm256_set1_epi32(l)));
        place = _mm256_sub_epi32(place, later);
        other = _mm256_add_epi32(other, above(mine, key, own + (uint32_t)l));
    }
    for (j += LANES; j < n; j += 2) {
        place = _mm256_sub_epi32(place, above(mine, key, j));
        other = _mm256_add_epi32(other, above(mine, key, j + 1));
    }
    return _mm256_sub_epi32(place, other);
}

/* Each item's place is the number of those before it: n² / 8 comparisons, and no branch that
 * depends on keys. Pads are never before an item: an equal one stands in front of them. */
static void sort_few(const uint32_t *key, uint32_t n, uint32_t *perm, uint32_t *sorted)
{
    int32_t copy[FEW], place[LANES];
    const uint32_t padded = (n + LANES - 1) / LANES * LANES;
    for (uint32_t i = 0; i < n; i++)
        copy[i] = (int32_t)(key[i] ^ 0x80000000u); /* the order of unsigned numbers, by signed comparisons */
    for (uint32_t i = n; i < padded; i++)
        copy[i] = INT32_MAX;
    for (uint32_t i = 0; i < n; i += LANES) {
        _mm256_storeu_si256((void *)place, places_of(copy, padded, i));
        for (uint32_t j = i; j < n && j < i + LANES; j++)
            perm[place[j - i]] = j;
    }
    for (uint32_t k = 0; sorted && k < n; k++)
        sorted[k] = (uint32_t)copy[perm[k]] ^ 0x80000000u;
}

void rk_argsort_avx2(const uint32_t *key, uint32_t n, uint32_t *perm, uint32_t *sorted, void *scratch)
{
    if (n <= FEW)
        sort_few(key, n, perm, sorted);
    else
        rk_argsort_scalar(key, n, perm, sorted, scratch);
}
