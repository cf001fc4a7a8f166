/* SPDX-License-Identifier: Apache-2.0 */
#include "unit/support/kernel_case.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint16_t fp16_near(double x)
{
    if (isinf(x))
        return x > 0 ? 0x7c00 : 0xfc00;
    int exponent;
    double m = frexp(fabs(x), &exponent); /* [0.5, 1) */
    uint16_t sign = signbit(x) ? 0x8000 : 0;
    if (m == 0 || exponent < -23)
        return sign;
    if (exponent < -13)
        return (uint16_t)(sign | (unsigned)ldexp(m, exponent + 24));
    if (exponent > 15)
        return (uint16_t)(sign | 0x7bff);
    return (uint16_t)(sign | (unsigned)(exponent + 14) << 10 | ((unsigned)(m * 2048) & 0x3ff));
}

static double fp16_value(uint16_t half)
{
    int exponent = half >> 10 & 31, fraction = half & 1023;
    double size = exponent == 31 ? INFINITY
                  : exponent     ? ldexp(1024 + fraction, exponent - 25)
                                 : ldexp(fraction, -24);
    return half & 0x8000 ? -size : size;
}

static float from_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static uint32_t to_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static float draw_score(struct test_random *random, enum kernel_scores scores, uint32_t i, uint32_t items)
{
    static const float ties[] = {0.0f, -0.0f, 1.0f, 0.5f, -1.0f, INFINITY, -INFINITY, 0.75f};
    switch (scores) {
    case KERNEL_NORMAL:
        return (float)(sqrt(-2 * log(1 - test_uniform(random))) * cos(6.283185307 * test_uniform(random)));
    case KERNEL_TIES:
        return ties[test_below(random, 8)];
    case KERNEL_EQUAL:
        return 0.25f;
    case KERNEL_CLUSTERED:
        return i == 0 ? 1e30f : from_bits(0x3f000000u + (uint32_t)test_below(random, 3));
    case KERNEL_SPREAD:
        return (float)ldexp(test_uniform(random) - 0.5, (int)test_below(random, 270) - 145);
    case KERNEL_ASCENDING:
        return (float)i / (float)items;
    case KERNEL_DESCENDING:
        return -(float)i / (float)items;
    default:
        return (float)test_uniform(random);
    }
}

/* Stores a score as `dtype`; returns what it is as FP32. */
static float store(void *memory, enum rk_dtype dtype, uint32_t i, float x)
{
    uint16_t half;
    if (dtype == RK_FP32) {
        memcpy((char *)memory + 4 * (size_t)i, &x, sizeof x);
        return x;
    }
    half = dtype == RK_FP16 ? fp16_near((double)x) : (uint16_t)(to_bits(x) >> 16);
    memcpy((char *)memory + 2 * (size_t)i, &half, sizeof half);
    return dtype == RK_FP16 ? (float)fp16_value(half) : from_bits((uint32_t)half << 16);
}

static int descending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return x > y ? -1 : x < y;
}

static void draw_segments(struct kernel_case *c, struct test_random *random, const struct kernel_draw *draw)
{
    uint32_t done = 0;
    c->list.segments = draw->segments;
    for (size_t s = 0; s < draw->segments; s++) {
        bool last = s + 1 == draw->segments, bare = last && s > 0 && draw->no_targets;
        uint32_t items = last ? draw->items - done : (uint32_t)test_below(random, draw->items - done + 1);
        char *scores = c->memory[s] = malloc(items * rk_dtype_size(draw->dtype) + 1);
        char *targets = c->memory[3 + s] = malloc((size_t)items + 1);
        c->segment[s] = (struct rk_list_segment){.scores = scores + 1,
                                                 .targets = bare ? NULL : (int8_t *)targets + 1,
                                                 .items = items,
                                                 .dtype = draw->dtype};
        for (uint32_t i = 0; i < items; i++, done++) {
            double u = test_uniform(random);
            int8_t target = u < draw->relevant ? 1 : u < draw->relevant + draw->ignored ? -1 : 0;
            c->target[done] = bare ? 0 : target;
            targets[1 + i] = (char)c->target[done];
            c->score[done] =
                store(scores + 1, draw->dtype, i, draw_score(random, draw->scores, done, draw->items));
            if (c->target[done] == -1 && test_below(random, 2))
                store(scores + 1, RK_BF16, draw->dtype == RK_FP32 ? 2 * i + 1 : i, NAN); /* may be anything */
        }
        if (s == 0 || !last)
            c->list.differentiable = done;
    }
    c->list.items = done;
    if (draw->segments == 1)
        c->list.differentiable = done;
}

/* Thresholds are near scores, and most of them equal a score. */
static void draw_cuts(struct kernel_case *c, struct test_random *random, const struct kernel_draw *draw)
{
    uint32_t p = c->list.p;
    for (uint32_t k = 0; k < p; k++) {
        c->threshold[k] = c->raw[k] + 0.0f;
        if (test_below(random, 8) == 0)
            c->threshold[k] = draw_score(random, draw->scores, k, draw->items) + 0.0f;
        double far = draw->step * test_uniform(random) * test_uniform(random);
        c->perturbed_threshold[k] = draw->step > 0 ? (float)((double)c->threshold[k] + far) + 0.0f
                                                   : draw_score(random, draw->scores, k, draw->items) + 0.0f;
    }
    if (p > 2 && test_below(random, 8) == 0) {
        c->threshold[0] = INFINITY;
        c->perturbed_threshold[1] = INFINITY;
        c->perturbed_threshold[2] = -INFINITY;
    }
    qsort(c->threshold, p, sizeof *c->threshold, descending);
    qsort(c->perturbed_threshold, p, sizeof *c->perturbed_threshold, descending);
    for (uint32_t k = 0; k < p; k++) /* they only rise, and keep their order */
        c->perturbed_threshold[k] =
            c->perturbed_threshold[k] > c->threshold[k] ? c->perturbed_threshold[k] : c->threshold[k];
}

/* First k with threshold[k] <= x, by halving. */
static uint32_t first_at_most(const float *threshold, uint32_t p, float x)
{
    uint32_t low = 0, high = p;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (threshold[middle] <= x)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* The same for lists that are too long for every pair. */
static void expect_long(struct kernel_case *c)
{
    uint32_t *before = calloc(c->list.p + 1, sizeof *before), *after = calloc(c->list.p + 1, sizeof *after);
    for (uint32_t i = 0; i < c->list.items; i++) {
        if (c->target[i] != 0)
            continue;
        uint32_t b = first_at_most(c->threshold, c->list.p, c->score[i]);
        uint32_t a = first_at_most(c->perturbed_threshold, c->list.p, c->score[i]);
        before[b]++;
        after[a]++;
        c->delta[i] = (int32_t)b - (int32_t)a;
    }
    for (uint32_t k = 0; k < c->list.p; k++) {
        c->irrelevant_above[k] = before[k] + (k ? c->irrelevant_above[k - 1] : 0);
        c->perturbed_irrelevant_above[k] = after[k] + (k ? c->perturbed_irrelevant_above[k - 1] : 0);
    }
    free(before);
    free(after);
}

/* By comparing each item with each threshold. */
static void expect(struct kernel_case *c)
{
    if ((double)c->list.items * c->list.p > 5e7) {
        expect_long(c);
        return;
    }
    for (uint32_t i = 0; i < c->list.items; i++) {
        for (uint32_t k = 0; k < c->list.p && c->target[i] == 0; k++) {
            c->irrelevant_above[k] += c->score[i] >= c->threshold[k];
            c->perturbed_irrelevant_above[k] += c->score[i] >= c->perturbed_threshold[k];
            c->delta[i] += (c->threshold[k] > c->score[i]) - (c->perturbed_threshold[k] > c->score[i]);
        }
    }
}

void kernel_case_draw(struct kernel_case *c, struct test_random *random, const struct kernel_draw *draw)
{
    memset(c, 0, sizeof *c);
    c->score = calloc(draw->items + 1, sizeof *c->score);
    c->target = calloc(draw->items + 1, 1);
    c->delta = calloc(draw->items + 1, sizeof *c->delta);
    c->list.segment = c->segment;
    draw_segments(c, random, draw);
    for (uint32_t i = 0; i < c->list.items; i++) {
        c->list.p += c->target[i] == 1;
        c->list.n += c->target[i] != -1;
    }
    c->position = calloc(c->list.p + 1, sizeof *c->position);
    c->raw = calloc(c->list.p + 1, sizeof *c->raw);
    c->threshold = calloc(c->list.p + 1, sizeof *c->threshold);
    c->perturbed_threshold = calloc(c->list.p + 1, sizeof *c->perturbed_threshold);
    c->irrelevant_above = calloc(c->list.p + 1, sizeof *c->irrelevant_above);
    c->perturbed_irrelevant_above = calloc(c->list.p + 1, sizeof *c->perturbed_irrelevant_above);
    for (uint32_t i = 0, k = 0; i < c->list.items; i++) {
        if (c->target[i] != 1)
            continue;
        c->position[k] = i;
        c->raw[k++] = c->score[i];
    }
    c->list.position = c->position;
    c->list.raw = c->raw;
    draw_cuts(c, random, draw);
    expect(c);
}

void kernel_case_free(struct kernel_case *c)
{
    for (size_t i = 0; i < 6; i++)
        free(c->memory[i]);
    free(c->score);
    free(c->target);
    free(c->delta);
    free(c->position);
    free(c->raw);
    free(c->threshold);
    free(c->perturbed_threshold);
    free(c->irrelevant_above);
    free(c->perturbed_irrelevant_above);
}

static void check_sums(const struct kernel_case *c, const struct rk_gradient_writer *writer)
{
    uint64_t changed = 0, changed_bank = 0, abs_differentiable = 0, abs_bank = 0;
    for (uint32_t i = 0; i < c->list.items; i++) {
        uint64_t size = (uint64_t)llabs((long long)c->delta[i]);
        *(i < c->list.differentiable ? &changed : &changed_bank) += size > 0;
        *(i < c->list.differentiable ? &abs_differentiable : &abs_bank) += size;
    }
    assert_int_equal(writer->changed, changed);
    assert_int_equal(writer->changed_bank, changed_bank);
    if (c->list.differentiable < c->list.items)
        assert_int_equal(writer->abs_differentiable, abs_differentiable);
    assert_int_equal(writer->abs_bank, abs_bank);
}

static void check_dense(const struct kernel_case *c, const struct rk_strategy *strategy, struct rk_pass *pass)
{
    float *gradient = malloc((c->list.differentiable + 1) * sizeof *gradient);
    struct rk_gradient_writer writer = {.dense = gradient, .w = 0.37, .divisor = 1.7};
    for (uint32_t i = 0; i < c->list.differentiable; i++)
        gradient[i] = 123.0f;
    gradient[c->list.differentiable] = 123.0f;
    pass->writer = &writer;
    assert_int_equal(strategy->move(pass), RANKD_OK);
    for (uint32_t i = 0; i < c->list.differentiable; i++) {
        float want = (float)((-0.37 * (double)c->delta[i]) / 1.7) + 0.0f;
        if (c->target[i] != 1 && to_bits(gradient[i]) != to_bits(want))
            fail_msg("%s: gradient of item %u of %u is %g, should be %g", strategy->name, i, c->list.items,
                     (double)gradient[i], (double)want);
    }
    assert_true(gradient[c->list.differentiable] == 123.0f);
    assert_memory_equal(pass->perturbed_irrelevant_above, c->perturbed_irrelevant_above,
                        c->list.p * sizeof *c->perturbed_irrelevant_above);
    check_sums(c, &writer);
    free(gradient);
}

static void check_sparse(const struct kernel_case *c, const struct rk_strategy *strategy,
                         struct rk_pass *pass, size_t room)
{
    struct rk_delta *sparse = malloc((room + 1) * sizeof *sparse);
    struct rk_gradient_writer writer = {.sparse = sparse, .room = room, .w = 0.37, .divisor = 1.7};
    unsigned char *seen = calloc(c->list.items + 1, 1);
    pass->writer = &writer;
    assert_int_equal(strategy->move(pass), RANKD_OK);
    check_sums(c, &writer);
    for (size_t i = 0; i < room && i < writer.changed; i++) {
        assert_in_range(sparse[i].position, 0, c->list.differentiable - 1);
        assert_int_equal(sparse[i].delta, c->delta[sparse[i].position]);
        assert_int_equal(seen[sparse[i].position]++, 0);
    }
    assert_memory_equal(pass->perturbed_irrelevant_above, c->perturbed_irrelevant_above,
                        c->list.p * sizeof *c->perturbed_irrelevant_above);
    free(seen);
    free(sparse);
}

void kernel_case_count(const struct rk_strategy *strategy, struct rk_pool *pool, struct rk_pass *pass)
{
    struct rk_exec alone = {0}, shared = {.pool = pool};
    struct rk_list list = *pass->list;
    list.position = NULL;
    list.raw = NULL;
    struct rk_pass begin = {.list = &list, .exec = &alone, .scratch = pass->scratch};
    if (strategy->begin)
        assert_int_equal(strategy->begin(&begin), RANKD_OK);
    pass->nan = begin.nan;
    pass->exec = &shared;
    assert_int_equal(strategy->count(pass), RANKD_OK);
    pass->exec = NULL;
}

void kernel_case_check(const struct kernel_case *c, const struct rk_strategy *strategy, struct rk_pool *pool)
{
    struct rk_exec exec = {.pool = pool};
    uint32_t p = c->list.p;
    size_t bytes = strategy->scratch(c->list.items, p, pool ? pool->width : 1);
    void *scratch = aligned_alloc(64, (bytes + 127) / 64 * 64);
    uint32_t *irrelevant_above = calloc(p + 1, sizeof *irrelevant_above),
             *after = calloc(p + 1, sizeof *after);
    memset(scratch, 0xa5, bytes);
    struct rk_pass pass = {.list = &c->list,
                           .scratch = scratch,
                           .threshold = c->threshold,
                           .irrelevant_above = irrelevant_above};
    kernel_case_count(strategy, pool, &pass);
    pass.exec = &exec;
    assert_false(pass.nan);
    if (memcmp(irrelevant_above, c->irrelevant_above, p * sizeof *irrelevant_above) != 0)
        fail_msg("%s: counts of %u thresholds over %u items differ", strategy->name, p, c->list.items);
    size_t kept = strategy->kept ? strategy->kept(c->list.items, p, pool ? pool->width : 1) : 0;
    memset((char *)scratch + kept, 0xa5, bytes - kept);
    pass.perturbed_threshold = c->perturbed_threshold;
    pass.perturbed_irrelevant_above = after;
    check_dense(c, strategy, &pass);
    check_sparse(c, strategy, &pass, 1);
    check_sparse(c, strategy, &pass, c->list.items);
    free(irrelevant_above);
    free(after);
    free(scratch);
}
