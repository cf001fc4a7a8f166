/* SPDX-License-Identifier: Apache-2.0 */
#include "unit/support/problem.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

float problem_fp16(uint16_t half)
{
    int exponent = half >> 10 & 31, fraction = half & 1023;
    double value = exponent == 31  ? (fraction ? (double)NAN : (double)INFINITY)
                   : exponent == 0 ? ldexp(fraction, -24)
                                   : ldexp(1024 + fraction, exponent - 25);
    return (float)(half >> 15 ? -value : value);
}

float problem_bf16(uint16_t half)
{
    int exponent = half >> 7 & 255, fraction = half & 127;
    double value = exponent == 255 ? (fraction ? (double)NAN : (double)INFINITY)
                   : exponent == 0 ? ldexp(fraction, -133)
                                   : ldexp(128 + fraction, exponent - 134);
    return (float)(half >> 15 ? -value : value);
}

enum problem_kind { PLAIN, FEW_VALUES, EQUAL, INFINITE, DENORMAL, ZEROS, HUGE_VALUES, NEAR, ANY_BITS, KINDS };

static double draw_score(struct test_random *random, enum problem_kind kind)
{
    double u = test_uniform(random) * 2 - 1;
    switch (kind) {
    case FEW_VALUES:
        return (double)test_below(random, 4) * 0.5 - 1;
    case EQUAL:
        return 0.25;
    case INFINITE:
        return test_below(random, 3) ? u : test_below(random, 2) ? (double)INFINITY : (double)-INFINITY;
    case DENORMAL:
        return u * (test_below(random, 2) ? 1e-40 : 1e-44);
    case ZEROS:
        return test_below(random, 3) ? (test_below(random, 2) ? 0.0 : -0.0) : u * 1e-3;
    case HUGE_VALUES:
        return u * FLT_MAX;
    case NEAR:
        return 1 + (double)test_below(random, 8) * 0x1p-23;
    default:
        return u;
    }
}

/* One score in the type of the problem, and its FP32 value. */
static float put_score(struct problem *problem, struct test_random *random, size_t i, double score,
                       bool any_bits)
{
    uint16_t half = 0;
    float x = (float)score;
    uint32_t bits = (uint32_t)test_next(random);
    switch (problem->score_dtype) {
    case RK_FP64:
        if (any_bits)
            score = test_uniform(random) * ldexp(1, (int)test_below(random, 280) - 140);
        ((double *)problem->scores)[i] = score;
        return (float)score;
    case RK_FP16:
        /* Not converted from the score: any pattern with a value of the same kind is enough. */
        half = (uint16_t)(any_bits
                              ? bits
                              : (uint32_t)(int)(fmin(fmax(isfinite(score) ? fabs(score) : 0, 0), 1) * 15360) |
                                    (score < 0 ? 0x8000u : 0));
        if (!any_bits && isinf(score))
            half = score < 0 ? 0xfc00 : 0x7c00;
        ((uint16_t *)problem->scores)[i] = half;
        return problem_fp16(half);
    case RK_BF16:
        memcpy(&bits, &x, sizeof bits);
        half = (uint16_t)(any_bits ? test_next(random) : bits >> 16);
        ((uint16_t *)problem->scores)[i] = half;
        return problem_bf16(half);
    default:
        if (any_bits)
            memcpy(&x, &bits, sizeof x);
        ((float *)problem->scores)[i] = x;
        return x;
    }
}

/* A relevant item's grade that the type holds: few different ones, so that there are ties, or
 * any. */
static double draw_grade(const struct problem *problem, struct test_random *random, bool any)
{
    static const double reals[] = {1, 1, 0.5, 0.25, 1.5, 2, 3};
    const bool real = problem->target_dtype == RK_FP32 || problem->target_dtype == RK_FP16 ||
                      problem->target_dtype == RK_BF16;
    if (problem->brute.loss_kind < BRUTE_NDCG_EXP2 || problem->target_dtype == RK_BOOL)
        return 1;
    if (problem->brute.loss_kind == BRUTE_NDCG_EXP2)
        return 1 + (double)test_below(random, any ? 31 : 4);
    if (!real)
        return 1 + (double)test_below(random, !any                                ? 4
                                              : problem->target_dtype == RK_INT64 ? (size_t)1 << 50
                                              : problem->target_dtype == RK_INT32 ? INT32_MAX
                                                                                  : 127);
    if (!any)
        return reals[test_below(random, sizeof reals / sizeof *reals)];
    uint16_t half = (uint16_t)(1 + test_below(random, problem->target_dtype == RK_FP16 ? 0x7bff : 0x7f7f));
    return problem->target_dtype == RK_FP16 ? (double)problem_fp16(half)
           : problem->target_dtype == RK_BF16
               ? (double)problem_bf16(half)
               : (double)(float)ldexp(1 + test_uniform(random), (int)test_below(random, 250) - 126);
}

/* The bits of a float that a type of 16 bits holds exactly. */
static uint16_t half_of(double x, enum rk_dtype dtype)
{
    const int digits = dtype == RK_FP16 ? 10 : 7, bias = dtype == RK_FP16 ? 15 : 127,
              sign = x < 0 ? 0x8000 : 0;
    int exponent;
    const double fraction = 2 * frexp(fabs(x), &exponent); /* [1, 2), or 0 */
    exponent += bias - 1;
    const double bits = exponent > 0 ? (fraction - 1) * ldexp(1, digits) + ldexp(exponent, digits)
                                     : ldexp(fabs(x), bias - 1 + digits);
    return (uint16_t)(sign | (x == 0 ? 0 : (int)bits));
}

static void put_target(struct problem *problem, size_t i, int8_t label, double grade)
{
    const double target = label == 1 ? grade : (double)label;
    problem->labels[i] = label;
    problem->grades[i] = target;
    switch (problem->target_dtype) {
    case RK_INT32:
        ((int32_t *)problem->targets)[i] = (int32_t)target;
        break;
    case RK_INT64:
        ((int64_t *)problem->targets)[i] = (int64_t)target;
        break;
    case RK_FP32:
        ((float *)problem->targets)[i] = (float)target;
        break;
    case RK_FP16:
    case RK_BF16:
        ((uint16_t *)problem->targets)[i] = half_of(target, problem->target_dtype);
        break;
    default:
        ((int8_t *)problem->targets)[i] = (int8_t)target;
        break;
    }
}

/* P from 0 to n, ignored items in half of the lists. */
static int8_t draw_target(struct test_random *random, double share, double ignored)
{
    if (test_uniform(random) < ignored)
        return -1;
    return test_uniform(random) < share;
}

static void draw_items(struct problem *problem, struct test_random *random)
{
    static const double shares[] = {0, 0.002, 0.02, 0.2, 0.5, 0.9, 1};
    bool may_ignore = problem->target_dtype != RK_BOOL && problem->target_dtype != RK_UINT8;
    double ignored = may_ignore && test_below(random, 2) ? test_uniform(random) * 0.6 : 0;
    enum problem_kind kind = (enum problem_kind)test_below(random, KINDS);
    bool any_grade = test_below(random, 3) == 0;
    double share = shares[test_below(random, sizeof shares / sizeof *shares)];
    for (size_t i = 0; i < problem->rows * problem->columns; i++) {
        float x = put_score(problem, random, i, draw_score(random, kind), kind == ANY_BITS);
        int8_t target = draw_target(random, share, ignored);
        if (isnan(x) && target != -1)
            x = put_score(problem, random, i, 0.5, false);
        if (target == -1 && test_below(random, 2))
            x = put_score(problem, random, i, (double)NAN, false);
        problem->values[i] = x;
        put_target(problem, i, target, target == 1 ? draw_grade(problem, random, any_grade) : 0);
    }
}

static double pick(struct test_random *random, const double *from, size_t n)
{
    return from[test_below(random, n)];
}

static void draw_parameters(struct brute *o, struct test_random *random)
{
    static const double lambdas[] = {1e-12, 1e-3, 0.05, 0.3, 1, 1, 1, 4, 100, 1e12};
    static const double margins[] = {0, 0, 0.02, 0.1, 1, 3, 1e-7, 1e-44, 1e30};
    static const double betas[] = {0, 0, 0, 0.25, 0.5, 1};
    static const size_t cuts[] = {0, 0, 1, 2, 3, 10, 100, INT32_MAX};
    o->loss_kind = (enum brute_loss)test_below(random, BRUTE_NDCG_LINEAR + 1);
    if (o->loss_kind == BRUTE_AP || o->loss_kind >= BRUTE_MRR)
        o->top_k = cuts[test_below(random, sizeof cuts / sizeof *cuts)];
    o->average = (enum brute_average)test_below(random, 3);
    o->lambda = pick(random, lambdas, sizeof lambdas / sizeof *lambdas);
    o->margin = pick(random, margins, sizeof margins / sizeof *margins);
    o->interclass = pick(random, betas, sizeof betas / sizeof *betas);
    o->normalized = test_below(random, 2);
    o->batch_scope = test_below(random, 2);
    o->unit_scale = test_below(random, 2);
    o->marks = test_below(random, 2);
    o->lists_are_columns = test_below(random, 2);
}

void problem_draw(struct problem *problem, struct test_random *random, size_t lists, size_t items)
{
    static const enum rk_dtype score_types[] = {RK_FP32, RK_FP32, RK_FP16, RK_BF16, RK_FP64};
    static const enum rk_dtype target_types[] = {RK_INT8,  RK_INT8, RK_BOOL, RK_UINT8, RK_INT32,
                                                 RK_INT64, RK_FP32, RK_FP16, RK_BF16};
    memset(problem, 0, sizeof *problem);
    draw_parameters(&problem->brute, random);
    size_t q = 1 + test_below(random, lists), n = 1 + test_below(random, items);
    problem->rows = problem->brute.lists_are_columns ? n : q;
    problem->columns = problem->brute.lists_are_columns ? q : n;
    problem->score_dtype = score_types[test_below(random, sizeof score_types / sizeof *score_types)];
    problem->target_dtype = target_types[test_below(random, sizeof target_types / sizeof *target_types)];
    size_t total = q * n;
    problem->scores = calloc(total, 8);
    problem->targets = calloc(total, 8);
    problem->values = calloc(total, sizeof *problem->values);
    problem->labels = calloc(total, 1);
    problem->grades = calloc(total, sizeof *problem->grades);
    problem->brute.gradient = calloc(total, sizeof(double));
    problem->brute.list_loss = calloc(q, sizeof(double));
    draw_items(problem, random);
    problem->brute.rows = problem->rows;
    problem->brute.columns = problem->columns;
    problem->brute.scores = problem->values;
    problem->brute.targets = problem->labels;
    problem->brute.grades = problem->grades;
}

void problem_free(struct problem *problem)
{
    free(problem->scores);
    free(problem->targets);
    free(problem->values);
    free(problem->labels);
    free(problem->grades);
    free(problem->brute.gradient);
    free(problem->brute.list_loss);
}

const char *problem_model(const struct problem *problem)
{
    static const char *const models[] = {"ap", "recall", "recall", "recall", "mrr", "ndcg", "ndcg"};
    return models[problem->brute.loss_kind];
}

void problem_fill(const struct problem *problem, struct test_call *call)
{
    static const char *const weights[] = {"", "log", "loglog", "identity"};
    static const char *const averages[] = {"macro", "micro", "sum"};
    const struct brute *o = &problem->brute;
    test_input(call, RK_IN_SCORES, problem->score_dtype, problem->rows, problem->columns, problem->scores);
    test_input(call, RK_IN_TARGETS, problem->target_dtype, problem->rows, problem->columns, problem->targets);
    test_number(call, "lambda", o->lambda);
    test_number(call, "margin", o->margin);
    test_number(call, "interclass", o->interclass);
    test_number(call, "axis", o->lists_are_columns ? 0 : 1);
    test_word(call, "average", averages[o->average]);
    test_word(call, "lambda_units", o->normalized ? "normalized" : "rank");
    test_word(call, "lambda_scope", o->batch_scope ? "batch" : "list");
    call->request.params.mark_stalled = o->marks;
    test_word(call, "gradient_scale", o->unit_scale ? "unit" : "lambda");
    if (o->loss_kind >= BRUTE_RECALL_LOG && o->loss_kind <= BRUTE_RECALL_IDENTITY)
        test_word(call, "weight", weights[o->loss_kind]);
    if (o->loss_kind >= BRUTE_NDCG_EXP2)
        test_word(call, "gain", o->loss_kind == BRUTE_NDCG_EXP2 ? "exp2" : "linear");
    if (o->top_k)
        test_number(call, "top_k", (double)o->top_k);
}
