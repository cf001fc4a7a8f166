#include <immintrin.h>

#include "kernel/tile.h"

enum { LANES = 8 };

static __m256i first_lanes(size_t n)
{
    const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n < LANES ? (int)n : LANES), index);
}

static __m256 load(const float *from, size_t left)
{
    return left >= LANES ? _mm256_loadu_ps(from) : _mm256_maskload_ps(from, first_lanes(left));
}

/* Number of thresholds at or below each score, for many thresholds. */
static __m256i place(const struct rk_steps *steps, __m256 score, __m256 live)
{
    __m256 at = _mm256_mul_ps(_mm256_sub_ps(score, _mm256_set1_ps(steps->low)), _mm256_set1_ps(steps->scale));
    /* max gives its second operand where the first is NaN */
    at = _mm256_min_ps(_mm256_max_ps(at, _mm256_setzero_ps()), _mm256_set1_ps((float)(steps->buckets - 1)));
    __m256i bucket = _mm256_min_epu32(_mm256_cvttps_epi32(at), _mm256_set1_epi32((int)(steps->buckets - 1)));
    __m256i k = _mm256_i32gather_epi32((const int *)steps->base, bucket, 4);
    for (__m256 on = live; _mm256_movemask_ps(on);) {
        __m256 cut = _mm256_mask_i32gather_ps(_mm256_setzero_ps(), steps->cut, k, on, 4);
        on = _mm256_and_ps(on, _mm256_cmp_ps(score, cut, _CMP_GE_OQ));
        k = _mm256_sub_epi32(k, _mm256_castps_si256(on));
    }
    return k;
}

static size_t keep(unsigned found, uint32_t first, const float *score, uint32_t *position, float *kept)
{
    size_t n = 0;
    for (; found; found &= found - 1, n++) {
        unsigned i = (unsigned)__builtin_ctz(found);
        position[n] = first + i;
        kept[n] = score[i];
    }
    return n;
}

static size_t many(const struct rk_steps *steps, const float *reach, const float *score, size_t n,
                   uint32_t first, uint32_t *hist, uint32_t *position, float *kept)
{
    size_t found = 0;
    __m256 least = _mm256_set1_ps(steps->cut[0]);
    for (size_t i = 0; i < n; i += LANES) {
        __m256 s = load(score + i, n - i);
        __m256 counted =
            _mm256_and_ps(_mm256_cmp_ps(s, least, _CMP_GE_OQ), _mm256_castsi256_ps(first_lanes(n - i)));
        if (!_mm256_movemask_ps(counted))
            continue;
        __m256i k = _mm256_and_si256(place(steps, s, counted), _mm256_castps_si256(counted));
        _Alignas(32) uint32_t place_of[LANES];
        _mm256_store_si256((__m256i *)(void *)place_of, k);
        for (int l = 0; l < LANES; l++)
            hist[place_of[l]]++; /* lanes that do not count go to hist[0] */
        if (!reach)
            continue;
        __m256 to = _mm256_mask_i32gather_ps(_mm256_setzero_ps(), reach, k, counted, 4);
        __m256 may = _mm256_and_ps(counted, _mm256_cmp_ps(s, to, _CMP_LT_OQ));
        found += keep((unsigned)_mm256_movemask_ps(may), first + (uint32_t)i, score + i, position + found,
                      kept + found);
    }
    return found;
}

/* As in the AVX-512 variant: the reaches rise with k. */
static size_t few(const struct rk_steps *steps, const float *reach, const float *score, size_t n,
                  uint32_t first, uint32_t *hist, uint32_t *position, float *kept)
{
    size_t found = 0;
    uint32_t p = steps->p;
    uint32_t count[RK_STEPS_FEW] = {0};
    __m256 least = _mm256_set1_ps(steps->cut[0]);
    for (size_t i = 0; i < n; i += LANES) {
        __m256 s = load(score + i, n - i);
        __m256 at =
            _mm256_and_ps(_mm256_cmp_ps(s, least, _CMP_GE_OQ), _mm256_castsi256_ps(first_lanes(n - i)));
        __m256 may = _mm256_setzero_ps();
        if (!_mm256_movemask_ps(at))
            continue;
        for (uint32_t k = 0; k < p; k++) {
            at = _mm256_and_ps(at, _mm256_cmp_ps(s, _mm256_set1_ps(steps->cut[k]), _CMP_GE_OQ));
            count[k] += (uint32_t)__builtin_popcount((unsigned)_mm256_movemask_ps(at));
            if (reach)
                may = _mm256_or_ps(
                    may, _mm256_and_ps(at, _mm256_cmp_ps(s, _mm256_set1_ps(reach[k + 1]), _CMP_LT_OQ)));
        }
        found += keep((unsigned)_mm256_movemask_ps(may), first + (uint32_t)i, score + i, position + found,
                      kept + found);
    }
    uint32_t above = 0;
    for (uint32_t k = p; k > 0; k--) {
        hist[k] += count[k - 1] - above;
        above = count[k - 1];
    }
    return found;
}

static void count(const struct rk_steps *steps, const float *score, size_t n, uint32_t *hist)
{
    if (steps->base)
        (void)many(steps, NULL, score, n, 0, hist, NULL, NULL);
    else
        (void)few(steps, NULL, score, n, 0, hist, NULL, NULL);
}

static size_t collect(const struct rk_steps *steps, const float *reach, const float *score, size_t n,
                      uint32_t first, uint32_t *hist, uint32_t *position, float *kept)
{
    return steps->base ? many(steps, reach, score, n, first, hist, position, kept)
                       : few(steps, reach, score, n, first, hist, position, kept);
}

static void places(const struct rk_steps *steps, const float *score, size_t n, uint32_t *k)
{
    for (size_t i = 0; i < n; i += LANES) {
        __m256 s = load(score + i, n - i);
        __m256i live = first_lanes(n - i), at = _mm256_setzero_si256();
        if (steps->base)
            at = place(steps, s, _mm256_castsi256_ps(live));
        else
            for (uint32_t c = 0; c < steps->p; c++)
                at = _mm256_sub_epi32(
                    at, _mm256_castps_si256(_mm256_cmp_ps(s, _mm256_set1_ps(steps->cut[c]), _CMP_GE_OQ)));
        _mm256_maskstore_epi32((int *)k + i, live, at);
    }
}

/* The product of two FP32 numbers is exact in FP64, so the fused operation rounds as the scalar code does. */
static void accumulate(size_t dim, size_t terms, const float *const *row, const double *factor, double *sum)
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

const struct rk_tile_kernels rk_tile_avx2 = {"avx2", count, collect, places, accumulate};
