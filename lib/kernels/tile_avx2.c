/* SPDX-License-Identifier: Apache-2.0 */
#include <immintrin.h>

#include "kernels/tile.h"
#include "kernels/tile_candidates.h"

enum { LANES = 8 };

static __m256i first_lanes(size_t n)
{
    const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n < LANES ? (int)n : LANES), index);
}

static __m256 load_eight(const float *from, size_t left)
{
    return left >= LANES ? _mm256_loadu_ps(from) : _mm256_maskload_ps(from, first_lanes(left));
}

static __m256i bucket_of(const struct rk_threshold_index *threshold_index, __m256 score)
{
    __m256 at = _mm256_mul_ps(_mm256_sub_ps(score, _mm256_set1_ps(threshold_index->low)),
                              _mm256_set1_ps(threshold_index->scale));
    /* max gives its second operand where the first is NaN: such a score goes to bucket 0, and no
     * further. */
    at = _mm256_min_ps(_mm256_max_ps(at, _mm256_setzero_ps()),
                       _mm256_set1_ps((float)(threshold_index->buckets - 1)));
    return _mm256_min_epu32(_mm256_cvttps_epi32(at), _mm256_set1_epi32((int)(threshold_index->buckets - 1)));
}

static size_t keep_avx2(unsigned found, uint32_t first, const float *score, uint32_t *position, float *kept)
{
    size_t n = 0;
    for (; found; found &= found - 1, n++) {
        unsigned i = (unsigned)__builtin_ctz(found);
        position[n] = first + i;
        kept[n] = score[i];
    }
    return n;
}

/* Scores that reach the least threshold, with their buckets and positions. */
static size_t reach_least_avx2(const struct rk_threshold_index *threshold_index, const float *score, size_t n,
                               uint32_t first, struct rk_tile_candidates *to)
{
    size_t count = 0;
    __m256 least = _mm256_set1_ps(threshold_index->threshold[0]);
    for (size_t i = 0; i < n; i += LANES) {
        __m256 s = load_eight(score + i, n - i);
        __m256 at =
            _mm256_and_ps(_mm256_cmp_ps(s, least, _CMP_GE_OQ), _mm256_castsi256_ps(first_lanes(n - i)));
        unsigned found = (unsigned)_mm256_movemask_ps(at);
        if (!found)
            continue;
        _Alignas(32) uint32_t bucket[LANES];
        _mm256_store_si256((__m256i *)(void *)bucket, bucket_of(threshold_index, s));
        for (; found; found &= found - 1, count++) {
            unsigned l = (unsigned)__builtin_ctz(found);
            to->score[count] = score[i + l];
            to->bucket[count] = bucket[l];
            to->position[count] = first + (uint32_t)i + l;
        }
    }
    return count;
}

static size_t many_avx2(const struct rk_threshold_index *threshold_index, const float *perturbed_upper_bound,
                        const float *score, size_t n, uint32_t first, uint32_t *hist, uint32_t *position,
                        float *kept)
{
    struct rk_tile_candidates some;
    size_t found = 0;
    for (size_t i = 0; i < n; i += RK_TILE_CANDIDATES) {
        size_t left = n - i, count = reach_least_avx2(threshold_index, score + i,
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

/* As in the AVX-512 variant: the upper bounds rise with k. */
static size_t few_avx2(const struct rk_threshold_index *threshold_index, const float *perturbed_upper_bound,
                       const float *score, size_t n, uint32_t first, uint32_t *hist, uint32_t *position,
                       float *kept)
{
    size_t found = 0;
    uint32_t p = threshold_index->p;
    uint32_t count[RK_THRESHOLD_INDEX_FEW] = {0};
    __m256 least = _mm256_set1_ps(threshold_index->threshold[0]);
    for (size_t i = 0; i < n; i += LANES) {
        __m256 s = load_eight(score + i, n - i);
        __m256 at =
            _mm256_and_ps(_mm256_cmp_ps(s, least, _CMP_GE_OQ), _mm256_castsi256_ps(first_lanes(n - i)));
        __m256 may = _mm256_setzero_ps();
        if (!_mm256_movemask_ps(at))
            continue;
        for (uint32_t k = 0; k < p; k++) {
            at = _mm256_and_ps(at,
                               _mm256_cmp_ps(s, _mm256_set1_ps(threshold_index->threshold[k]), _CMP_GE_OQ));
            count[k] += (uint32_t)__builtin_popcount((unsigned)_mm256_movemask_ps(at));
            if (perturbed_upper_bound)
                may = _mm256_or_ps(
                    may, _mm256_and_ps(
                             at, _mm256_cmp_ps(s, _mm256_set1_ps(perturbed_upper_bound[k + 1]), _CMP_LT_OQ)));
        }
        found += keep_avx2((unsigned)_mm256_movemask_ps(may), first + (uint32_t)i, score + i,
                           position + found, kept + found);
    }
    uint32_t above = 0;
    for (uint32_t k = p; k > 0; k--) {
        hist[k] += count[k - 1] - above;
        above = count[k - 1];
    }
    return found;
}

static void count_avx2(const struct rk_threshold_index *threshold_index, const float *score, size_t n,
                       uint32_t *hist)
{
    if (threshold_index->base)
        (void)many_avx2(threshold_index, NULL, score, n, 0, hist, NULL, NULL);
    else
        (void)few_avx2(threshold_index, NULL, score, n, 0, hist, NULL, NULL);
}

static size_t collect_avx2(const struct rk_threshold_index *threshold_index,
                           const float *perturbed_upper_bound, const float *score, size_t n, uint32_t first,
                           uint32_t *hist, uint32_t *position, float *kept)
{
    return threshold_index->base
               ? many_avx2(threshold_index, perturbed_upper_bound, score, n, first, hist, position, kept)
               : few_avx2(threshold_index, perturbed_upper_bound, score, n, first, hist, position, kept);
}

static void locate_avx2(const struct rk_threshold_index *threshold_index, const float *score, size_t n,
                        uint32_t *k)
{
    for (size_t i = 0; i < n; i += LANES) {
        __m256 s = load_eight(score + i, n - i);
        if (threshold_index->base) {
            _Alignas(32) uint32_t bucket[LANES];
            _mm256_store_si256((__m256i *)(void *)bucket, bucket_of(threshold_index, s));
            for (size_t l = 0; l < LANES && i + l < n; l++)
                k[i + l] = rk_tile_candidate_locate(threshold_index, score[i + l], bucket[l]);
            continue;
        }
        __m256i at = _mm256_setzero_si256();
        for (uint32_t c = 0; c < threshold_index->p; c++)
            at = _mm256_sub_epi32(at, _mm256_castps_si256(_mm256_cmp_ps(
                                          s, _mm256_set1_ps(threshold_index->threshold[c]), _CMP_GE_OQ)));
        _mm256_maskstore_epi32((int *)k + i, first_lanes(n - i), at);
    }
}

/* The product of two FP32 numbers is exact in FP64, so the fused operation rounds as the scalar
 * code does. */
static void accumulate_avx2(size_t dim, size_t terms, const float *const *row, const double *factor,
                            double *sum)
{
    size_t d = 0;
    for (; d + 32 <= dim; d += 32) {
        __m256d part[8];
        for (size_t v = 0; v < 8; v++)
            part[v] = _mm256_loadu_pd(sum + d + 4 * v);
        for (size_t i = 0; i < terms; i++) {
            __m256d f = _mm256_set1_pd(factor[i]);
            for (size_t v = 0; v < 8; v++)
                part[v] = _mm256_fmadd_pd(f, _mm256_cvtps_pd(_mm_loadu_ps(row[i] + d + 4 * v)), part[v]);
        }
        for (size_t v = 0; v < 8; v++)
            _mm256_storeu_pd(sum + d + 4 * v, part[v]);
    }
    for (size_t i = 0; i < terms; i++)
        for (size_t e = d; e < dim; e++)
            sum[e] += factor[i] * (double)row[i][e];
}

const struct rk_tile_kernels rk_tile_avx2 = {"avx2", count_avx2, collect_avx2, locate_avx2, accumulate_avx2};
