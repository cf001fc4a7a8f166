/* SPDX-License-Identifier: Apache-2.0 */
#include "sample.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "kernels/score.h"

static uint64_t state;

void seed(uint64_t start)
{
    state = start;
}

uint64_t draw(void)
{
    state += 0x9e3779b97f4a7c15u;
    uint64_t z = (state ^ (state >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}
size_t below(size_t n)
{
    return draw() % n;
}
double unit(void)
{
    return (double)(draw() >> 11) * 0x1p-53;
}

void *room(size_t bytes)
{
    void *memory = malloc(bytes ? bytes : 1);
    if (!memory) {
        puts("no memory");
        exit(1);
    }
    return memory;
}
static float score_of(int kind)
{
    switch (kind) {
    case 0:
        return (float)unit();
    case 1: /* heavy ties */
        return (float)below(7) / 4 - 1;
    case 2: /* all equal */
        return 0.25f;
    case 3: { /* extremes */
        static const float extreme[] = {INFINITY, -INFINITY, 0.0f,   -0.0f, 1e-45f,
                                        -1e-45f,  3e38f,     -3e38f, 1.0f};
        return below(3) ? extreme[below(9)] : (float)(unit() - 0.5);
    }
    case 4: /* a few ulps */
        return rk_float_of_bits(0x3f800000u + (uint32_t)below(40));
    default: /* wide */
        return (float)((unit() - 0.5) * exp(40 * (unit() - 0.5)));
    }
}

uint16_t half_of(float x, bool brain)
{
    /* Any bits near x are good enough for a test. */
    uint32_t bits = rk_float_bits(x);
    if (brain)
        return (uint16_t)(bits >> 16);
    if (isinf(x))
        return x > 0 ? 0x7c00 : 0xfc00;
    int exponent = (int)(bits >> 23 & 0xff) - 112;
    if (exponent <= 0)
        return (uint16_t)(bits >> 16 & 0x8000);
    if (exponent >= 31)
        return (uint16_t)((bits >> 16 & 0x8000) | 0x7bff);
    return (uint16_t)((bits >> 16 & 0x8000) | (uint32_t)exponent << 10 | (bits >> 13 & 0x3ff));
}

static void put_score(void *scores, enum rk_dtype dtype, size_t i, float x)
{
    if (dtype == RK_FP64)
        ((double *)scores)[i] = isfinite(x) ? (double)x * (1 + 1e-9 * unit()) : (double)x;
    else if (dtype == RK_FP32)
        ((float *)scores)[i] = x;
    else
        ((uint16_t *)scores)[i] = isnan(x) ? 0x7fff : half_of(x, dtype == RK_BF16);
}

static void put_target(void *targets, enum rk_dtype dtype, size_t i, int x)
{
    switch (dtype) {
    case RK_INT32:
        ((int32_t *)targets)[i] = x;
        break;
    case RK_INT64:
        ((int64_t *)targets)[i] = x;
        break;
    case RK_FP32:
        ((float *)targets)[i] = (float)x;
        break;
    case RK_FP16:
    case RK_BF16:
        ((uint16_t *)targets)[i] = half_of((float)x, dtype == RK_BF16);
        break;
    default:
        ((int8_t *)targets)[i] = (int8_t)x;
        break;
    }
}

struct rk_tensor matrix(enum rk_dtype dtype, size_t rows, size_t columns, const void *data)
{
    return (struct rk_tensor){.dtype = dtype,
                              .rank = 2,
                              .shape = {rows, columns},
                              .data = data,
                              .bytes = rows * columns * rk_dtype_size(dtype)};
}

void fill(struct sample *s, enum rk_dtype score, enum rk_dtype target, size_t rows, size_t columns, int kind,
          double share, double ignored, bool good_model)
{
    size_t n = rows * columns;
    const bool is_signed = target != RK_BOOL && target != RK_UINT8;
    s->scores = room(n * 8);
    s->targets = room(n * 8);
    for (size_t i = 0; i < n; i++) {
        int t = unit() < share ? 1 : is_signed && unit() < ignored ? -1 : 0;
        float x = score_of(kind);
        if (good_model && t == 1)
            x += 0.9f;
        if (t == -1 && below(2))
            x = NAN; /* ignored items may be anything */
        put_target(s->targets, target, i, t);
        put_score(s->scores, score, i, x);
    }
    s->request.in[RK_IN_SCORES] = matrix(score, rows, columns, s->scores);
    s->request.in[RK_IN_TARGETS] = matrix(target, rows, columns, s->targets);
}

void random_params(struct sample *s)
{
    struct rk_params *params = &s->request.params;
    static const double lambdas[] = {1, 0.01, 4, 100, 1e-6, 1e6, 1e12};
    static const double margins[] = {0, 0, 0.02, 0.1, 1, 1e30};
    *params = rk_params_default();
    params->lambda = lambdas[below(7)];
    params->margin = margins[below(6)];
    params->lambda_scope = (int)below(2);
    params->lambda_units = (int)below(2);
    params->average = (int)below(3);
    params->axis = (int)below(3) ? RK_AXIS_ROWS : RK_AXIS_COLUMNS;
    params->transform = (int)below(3);
    params->mark_stalled = below(2);
    params->interclass = below(3) ? 0 : below(3) ? unit() : 1;
    s->request.model = rk_model_find(below(2) ? "ap" : "recall");
    if (s->request.model->loss == rk_model_find("ap")->loss)
        params->transform = RK_TRANSFORM_LOGLOG;
    const unsigned sparse = 1u << RK_OUT_GRADIENT_INDICES | 1u << RK_OUT_GRADIENT_VALUES;
    const unsigned sets[] = {1u << RK_OUT_GRADIENT, 0, sparse, sparse | 1u << RK_OUT_GRADIENT,
                             1u << RK_OUT_GRADIENT};
    s->request.outputs = 1u << RK_OUT_LOSS | 1u << RK_OUT_LIST_LOSS | sets[below(5)];
}
