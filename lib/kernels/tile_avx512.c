/* SPDX-License-Identifier: Apache-2.0 */
#include <immintrin.h>

#include "kernels/tile.h"
#include "kernels/tile_candidates.h"

enum { LANES = 16 };

static __mmask16 lanes(size_t left)
{
    return left >= LANES ? (__mmask16)0xffff : (__mmask16)((1u << left) - 1);
}

static __m512i bucket_of(const struct rk_threshold_index *threshold_index, __m512 score)
{
    __m512 at = _mm512_mul_ps(_mm512_sub_ps(score, _mm512_set1_ps(threshold_index->low)),
                              _mm512_set1_ps(threshold_index->scale));
    /* max gives its second operand where the first is NaN: such a score goes to bucket 0, and no
     * further. */
    at = _mm512_max_ps(at, _mm512_setzero_ps());
    at = _mm512_min_ps(at, _mm512_set1_ps((float)(threshold_index->buckets - 1)));
    return _mm512_min_epu32(_mm512_cvttps_epi32(at), _mm512_set1_epi32((int)(threshold_index->buckets - 1)));
}

static __m512i positions_from(uint32_t first)
{
    return _mm512_add_epi32(_mm512_set1_epi32((int)first),
                            _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
}

static size_t keep_avx512(__mmask16 found, uint32_t first, __m512 score, uint32_t *position, float *kept)
{
    __m512i at = positions_from(first);
    _mm512_storeu_si512(position, _mm512_maskz_compress_epi32(found, at));
    _mm512_storeu_ps(kept, _mm512_maskz_compress_ps(found, score));
    return (size_t)__builtin_popcount(found);
}

/* Scores that reach the least threshold, with their buckets and positions. */
static size_t reach_least_avx512(const struct rk_threshold_index *threshold_index, const float *score,
                                 size_t n, uint32_t first, struct rk_tile_candidates *to)
{
    size_t count = 0;
    __m512 least = _mm512_set1_ps(threshold_index->threshold[0]);
    for (size_t i = 0; i < n; i += LANES) {
        __mmask16 live = lanes(n - i);
        __m512 s = _mm512_maskz_loadu_ps(live, score + i);
        __mmask16 at = _mm512_mask_cmp_ps_mask(live, s, least, _CMP_GE_OQ);
        if (!at)
            continue;
        _mm512_storeu_ps(to->score + count, _mm512_maskz_compress_ps(at, s));
        _mm512_storeu_si512(to->bucket + count,
                            _mm512_maskz_compress_epi32(at, bucket_of(threshold_index, s)));
        _mm512_storeu_si512(to->position + count,
                            _mm512_maskz_compress_epi32(at, positions_from(first + (uint32_t)i)));
        count += (size_t)__builtin_popcount(at);
    }
    return count;
}

static size_t many_avx512(const struct rk_threshold_index *threshold_index,
                          const float *perturbed_upper_bound, const float *score, size_t n, uint32_t first,
                          uint32_t *hist, uint32_t *position, float *kept)
{
    struct rk_tile_candidates some;
    size_t found = 0;
    for (size_t i = 0; i < n; i += RK_TILE_CANDIDATES) {
        size_t left = n - i, count = reach_least_avx512(threshold_index, score + i,
                                                        left < RK_TILE_CANDIDATES ? left : RK_TILE_CANDIDATES,
                                                        first + (uint32_t)i, &some);
        if (perturbed_upper_bound)
            found += rk_tile_candidates_collect(threshold_index, perturbed_upper_bound, &some, count, hist,
                                                position + found, kept + found);
        else
            rk_tile_candidates_count(threshold_index, &some, count, hist);
    }
    return found;
}

/* A few thresholds: each is compared with every score that reaches the least one. A score between
 * the k-th and the next is kept if it lies below perturbed_upper_bound[k], and these bounds rise
 * with k, so that "at or above the threshold, below its bound" for any k is the same test. */
static size_t few_avx512(const struct rk_threshold_index *threshold_index, const float *perturbed_upper_bound,
                         const float *score, size_t n, uint32_t first, uint32_t *hist, uint32_t *position,
                         float *kept)
{
    size_t found = 0;
    uint32_t p = threshold_index->p;
    __m512i count[RK_THRESHOLD_INDEX_FEW];
    for (uint32_t k = 0; k < p; k++)
        count[k] = _mm512_setzero_si512();
    const __m512i minus_one = _mm512_set1_epi32(-1);
    __m512 least = _mm512_set1_ps(threshold_index->threshold[0]);
    for (size_t i = 0; i < n; i += LANES) {
        __mmask16 live = lanes(n - i);
        __m512 s = _mm512_maskz_loadu_ps(live, score + i);
        __mmask16 at = _mm512_mask_cmp_ps_mask(live, s, least, _CMP_GE_OQ), may = 0;
        if (!at)
            continue;
        for (uint32_t k = 0; k < p; k++) {
            at = _mm512_mask_cmp_ps_mask(at, s, _mm512_set1_ps(threshold_index->threshold[k]), _CMP_GE_OQ);
            count[k] = _mm512_mask_sub_epi32(count[k], at, count[k], minus_one);
            if (perturbed_upper_bound)
                may |=
                    _mm512_mask_cmp_ps_mask(at, s, _mm512_set1_ps(perturbed_upper_bound[k + 1]), _CMP_LT_OQ);
        }
        if (may)
            found += keep_avx512(may, first + (uint32_t)i, s, position + found, kept + found);
    }
    uint32_t above = 0;
    for (uint32_t k = p; k > 0; k--) {
        uint32_t here = (uint32_t)_mm512_reduce_add_epi32(count[k - 1]);
        hist[k] += here - above;
        above = here;
    }
    return found;
}

static void count_avx512(const struct rk_threshold_index *threshold_index, const float *score, size_t n,
                         uint32_t *hist)
{
    if (threshold_index->base)
        (void)many_avx512(threshold_index, NULL, score, n, 0, hist, NULL, NULL);
    else
        (void)few_avx512(threshold_index, NULL, score, n, 0, hist, NULL, NULL);
}

static size_t collect_avx512(const struct rk_threshold_index *threshold_index,
                             const float *perturbed_upper_bound, const float *score, size_t n, uint32_t first,
                             uint32_t *hist, uint32_t *position, float *kept)
{
    return threshold_index->base
               ? many_avx512(threshold_index, perturbed_upper_bound, score, n, first, hist, position, kept)
               : few_avx512(threshold_index, perturbed_upper_bound, score, n, first, hist, position, kept);
}

static void locate_avx512(const struct rk_threshold_index *threshold_index, const float *score, size_t n,
                          uint32_t *k)
{
    for (size_t i = 0; i < n; i += LANES) {
        __mmask16 live = lanes(n - i);
        __m512 s = _mm512_maskz_loadu_ps(live, score + i);
        if (threshold_index->base) {
            _Alignas(64) uint32_t bucket[LANES];
            _mm512_store_si512(bucket, bucket_of(threshold_index, s));
            for (size_t l = 0; l < LANES && i + l < n; l++)
                k[i + l] = rk_tile_candidate_locate(threshold_index, score[i + l], bucket[l]);
            continue;
        }
        __m512i at = _mm512_setzero_si512();
        for (uint32_t c = 0; c < threshold_index->p; c++) {
            __mmask16 reached =
                _mm512_cmp_ps_mask(s, _mm512_set1_ps(threshold_index->threshold[c]), _CMP_GE_OQ);
            at = _mm512_mask_add_epi32(at, reached, at, _mm512_set1_epi32(1));
        }
        _mm512_mask_storeu_epi32(k + i, live, at);
    }
}

/* The product of two FP32 numbers is exact in FP64, so the fused operation rounds as the scalar
 * code does. */
static void accumulate_avx512(size_t dim, size_t terms, const float *const *row, const double *factor,
                              double *sum)
{
    for (size_t d = 0; d < dim; d += 64) {
        __m512d part[8];
        __mmask8 live[8];
        for (size_t v = 0; v < 8; v++) {
            size_t at = d + 8 * v, left = at < dim ? dim - at : 0;
            live[v] = left >= 8 ? (__mmask8)0xff : (__mmask8)((1u << left) - 1);
            part[v] = _mm512_maskz_loadu_pd(live[v], sum + at);
        }
        for (size_t i = 0; i < terms; i++) {
            __m512d f = _mm512_set1_pd(factor[i]);
            for (size_t v = 0; v < 8; v++) {
                __m256 x = _mm256_maskz_loadu_ps(live[v], row[i] + d + 8 * v);
                part[v] = _mm512_fmadd_pd(f, _mm512_cvtps_pd(x), part[v]);
            }
        }
        for (size_t v = 0; v < 8; v++)
            _mm512_mask_storeu_pd(sum + d + 8 * v, live[v], part[v]);
    }
}

const struct rk_tile_kernels rk_tile_avx512 = {"avx512", count_avx512, collect_avx512, locate_avx512,
                                               accumulate_avx512};
