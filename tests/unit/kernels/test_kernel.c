/* SPDX-License-Identifier: Apache-2.0 */
/* Every strategy of every instruction set of this machine, against comparing each item with each
 * threshold. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/cpu.h"
#include "unit/support/kernel_case.h"

static const char *const sets[] = {"scalar", "avx2", "avx512"};
static const enum rk_dtype dtypes[] = {RK_FP32, RK_FP16, RK_BF16};

/* Checks a case with every strategy of every set. */
static void check_all(const struct kernel_draw *draw, uint64_t seed, struct rk_pool *pool)
{
    struct test_random random = {seed};
    struct kernel_case c;
    kernel_case_draw(&c, &random, draw);
    for (size_t s = 0; c.list.p > 0 && s < sizeof sets / sizeof *sets; s++) {
        const struct rk_kernels *kernels = rk_kernels_named(sets[s]);
        for (size_t i = 0; kernels && kernels->strategy[i]; i++) {
            if (c.list.p <= kernels->strategy[i]->most)
                kernel_case_check(&c, kernels->strategy[i], pool);
        }
    }
    kernel_case_free(&c);
}

static const struct rk_strategy *strategy_named(const char *name)
{
    const struct rk_strategy *const *strategy = rk_kernels_named("scalar")->strategy;
    while (strcmp((*strategy)->name, name) != 0)
        strategy++;
    return *strategy;
}

static void every_strategy_counts_every_tail_length(void **state)
{
    (void)state;
    for (uint32_t items = 1; items <= 150; items++) {
        for (size_t d = 0; d < 3; d++) {
            struct kernel_draw draw = {.items = items,
                                       .relevant = items % 3 ? 0.1 : 0.5,
                                       .ignored = items % 2 ? 0.2 : 0,
                                       .dtype = dtypes[d],
                                       .scores = items % 4 ? KERNEL_UNIFORM : KERNEL_TIES,
                                       .segments = 1,
                                       .step = items % 5 ? 0.3 : 0};
            check_all(&draw, items * 3 + d, NULL);
        }
    }
}

static void every_strategy_takes_every_kind_of_scores(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 40 * KERNEL_SCORES; i++) {
        struct kernel_draw draw = {.items = 64 + 97 * (i % 23),
                                   .relevant = (double[]){0.003, 0.02, 0.2, 0.6}[i % 4],
                                   .ignored = i % 3 ? 0 : 0.1,
                                   .dtype = dtypes[i % 5 % 3],
                                   .scores = (enum kernel_scores)(i % KERNEL_SCORES),
                                   .segments = 1 + i % 7 % 3,
                                   .no_targets = i % 2,
                                   .step = (double[]){0, 0.01, 0.5, 1e-7, 10}[i % 5]};
        check_all(&draw, 1000 + i, NULL);
    }
}

/* Buckets of a table are marked from 65,536 thresholds on. */
static void every_strategy_takes_every_kind_of_scores_with_many_cuts(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2 * KERNEL_SCORES; i++) {
        struct kernel_draw draw = {.items = 200000 + i,
                                   .relevant = i % 2 ? 0.35 : 0.5,
                                   .ignored = i % 3 ? 0 : 0.05,
                                   .dtype = dtypes[i % 3],
                                   .scores = (enum kernel_scores)(i / 2),
                                   .segments = 1 + i % 2,
                                   .step = (double[]){0.01, 1e-7, 0.5}[i % 3]};
        check_all(&draw, 3000 + i, NULL);
    }
}

static void every_strategy_takes_large_lists_on_several_threads(void **state)
{
    (void)state;
    struct rk_pool *pool = test_pool_new(3);
    for (unsigned i = 0; i < 8; i++) {
        struct kernel_draw draw = {.items = 400000 + i,
                                   .relevant = (double[]){0.00002, 0.0002, 0.11, 0.5}[i % 4],
                                   .ignored = i == 3 || i == 6 ? 0.1 : 0,
                                   .dtype = dtypes[i % 3],
                                   .scores = (enum kernel_scores)(i % KERNEL_SCORES),
                                   .segments = 1 + i % 2,
                                   .step = 0.01};
        check_all(&draw, 5000 + i, i % 2 ? pool : NULL);
    }
    /* So many thresholds that slots are marked; and so many that items are put in order first, in
     * several rounds. */
    for (unsigned i = 0; i < 2; i++) {
        struct kernel_draw draw = {.items = (i ? 3400000 : 1300000) + i,
                                   .relevant = 0.48,
                                   .ignored = i ? 0.05 : 0,
                                   .dtype = dtypes[i],
                                   .scores = i ? KERNEL_SPREAD : KERNEL_UNIFORM,
                                   .segments = 1 + i,
                                   .step = 0.001};
        check_all(&draw, 6000 + i, i ? pool : NULL);
    }
    test_pool_free(pool);
}

/* If a merge is divided, equal items and thresholds may be on both sides. */
static void merges_are_cut_anywhere(void **state)
{
    (void)state;
    struct rk_pool *pool = test_pool_new(3);
    for (unsigned i = 0; i < KERNEL_SCORES; i++) {
        struct kernel_case c;
        struct test_random random = {7000 + i};
        struct kernel_draw draw = {.items = 500000 + i,
                                   .relevant = i % 2 ? 0.6 : 0.3,
                                   .dtype = dtypes[i % 3],
                                   .scores = (enum kernel_scores)i,
                                   .segments = 1,
                                   .step = 0.01};
        kernel_case_draw(&c, &random, &draw);
        kernel_case_check(&c, strategy_named("merge"), pool);
        kernel_case_free(&c);
    }
    test_pool_free(pool);
}

/* A NaN at one place: detected if the item is irrelevant, not if it is ignored. */
static void check_nan(const struct rk_strategy *strategy, struct kernel_case *c, uint32_t at)
{
    uint32_t *irrelevant_above = calloc(c->list.p, sizeof *irrelevant_above);
    void *scratch = aligned_alloc(64, (strategy->scratch(c->list.items, c->list.p, 1) + 127) / 64 * 64);
    struct rk_pass pass = {.list = &c->list,
                           .scratch = scratch,
                           .threshold = c->threshold,
                           .irrelevant_above = irrelevant_above};
    const uint16_t nan16 = 0xffff; /* in FP16 and in BF16 */
    const float nan32 = NAN;
    size_t size = rk_dtype_size(c->segment[0].dtype);
    char *place = (char *)c->memory[0] + 1 + at * size, kept[4];
    memcpy(kept, place, size);
    memcpy(place, size == 2 ? (const void *)&nan16 : &nan32, size);
    kernel_case_count(strategy, NULL, &pass);
    assert_int_equal(pass.nan, c->target[at] == 0);
    memcpy(place, kept, size);
    free(scratch);
    free(irrelevant_above);
}

static void a_nan_is_seen_wherever_it_is(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 6; i++) {
        struct kernel_draw draw = {.items = 83,
                                   .relevant = 0.2,
                                   .ignored = i % 2 ? 0.2 : 0,
                                   .dtype = dtypes[i % 3],
                                   .segments = 1,
                                   .step = 1};
        struct test_random random = {77 + i};
        struct kernel_case c;
        kernel_case_draw(&c, &random, &draw);
        for (size_t s = 0; s < sizeof sets / sizeof *sets; s++) {
            const struct rk_kernels *kernels = rk_kernels_named(sets[s]);
            for (size_t k = 0; kernels && kernels->strategy[k]; k++) {
                for (uint32_t at = 0; at < c.list.items; at++) {
                    if (c.target[at] != 1) /* the caller has looked at the relevant ones */
                        check_nan(kernels->strategy[k], &c, at);
                }
            }
        }
        kernel_case_free(&c);
    }
}

/* Targets of any byte, at any length: the machine's sets agree with a plain loop. */
static void targets_are_counted_and_found_at_every_length(void **state)
{
    (void)state;
    struct test_random random = {9};
    for (uint32_t items = 0; items <= 200; items++) {
        int8_t *targets = malloc(items + 1);
        uint32_t want[200], got[200];
        const int8_t most = (int8_t[]){1, 31, INT8_MAX}[test_below(&random, 3)];
        size_t above = 0, relevant = 0, ignored = 0, bad_signed = 0, bad_unsigned = 0;
        for (uint32_t i = 0; i < items; i++) {
            targets[i] = (int8_t)(test_below(&random, items % 3 ? 256 : (size_t)most + 2) - 1);
            if (targets[i] > 0)
                want[above++] = 1000 + i;
            relevant += targets[i] > 0 && targets[i] <= most;
            ignored += targets[i] == -1;
            bad_signed += targets[i] > most || targets[i] < -1;
            bad_unsigned += targets[i] > most || targets[i] < 0;
        }
        for (size_t s = 0; s < sizeof sets / sizeof *sets; s++) {
            const struct rk_kernels *kernels = rk_kernels_named(sets[s]);
            if (!kernels)
                continue;
            struct rk_scan is = kernels->scan(targets, items, most, true),
                           un = kernels->scan(targets, items, most, false);
            assert_int_equal(is.relevant, relevant);
            assert_int_equal(is.ignored, ignored);
            assert_int_equal(un.relevant, relevant);
            assert_int_equal(un.ignored, 0);
            assert_int_equal(is.bad, bad_signed > 0);
            assert_int_equal(un.bad, bad_unsigned > 0);
            for (size_t room = 0; room <= above; room += above ? above : 1) {
                memset(got, 0, sizeof got);
                assert_int_equal(kernels->positions(targets, items, 1000, got, room), room);
                assert_memory_equal(got, want, room * sizeof *got);
            }
        }
        free(targets);
    }
}

/* Keys of which only some bits differ; the permutation `off` items from where memory is aligned. */
static void check_order(struct test_random *random, uint32_t n, uint32_t mask, size_t off)
{
    const struct rk_kernels *kernels = rk_kernels();
    size_t bytes = (n + off + 16) / 16 * 64;
    uint32_t *key = calloc(n + 1, sizeof *key), *memory = aligned_alloc(64, bytes), *perm = memory + off;
    unsigned char *seen = calloc(n + 1, 1);
    void *scratch = aligned_alloc(64, (kernels->argsort_scratch(n) + 127) / 64 * 64);
    for (uint32_t i = 0; i < n; i++)
        key[i] = (uint32_t)test_next(random) & mask;
    uint32_t *in_order = calloc(n + 1, sizeof *in_order), *copy = calloc(n + 1, sizeof *copy);
    kernels->argsort(key, n, perm, in_order,
                     scratch); /* with the keys, then in place of the keys, then without */
    for (uint32_t k = 0; k < n; k++)
        assert_true(perm[k] < n && in_order[k] == key[perm[k]]);
    memcpy(copy, key, n * sizeof *copy);
    kernels->argsort(copy, n, perm, copy, scratch);
    assert_memory_equal(copy, in_order, n * sizeof *copy);
    free(copy);
    free(in_order);
    kernels->argsort(key, n, perm, NULL, scratch);
    bool permutation = true, sorted = true;
    for (uint32_t i = 0; i < n && permutation; i++) {
        permutation = perm[i] < n && seen[perm[i]]++ == 0;
        sorted = sorted && (i == 0 || key[perm[i - 1]] < key[perm[i]] ||
                            (key[perm[i - 1]] == key[perm[i]] && perm[i - 1] < perm[i]));
    }
    assert_true(permutation);
    assert_true(sorted);
    free(key);
    free(memory);
    free(seen);
    free(scratch);
}

static void indexes_are_sorted_stably_by_key(void **state)
{
    (void)state;
    const uint32_t masks[] = {0, 0x7ff, 0x3ff800, 0xffc00000u, 0xffc007ffu, 0xffffffffu, 0x00101001u};
    struct test_random random = {11};
    for (size_t m = 0; m < sizeof masks / sizeof *masks; m++) {
        for (uint32_t n = 0; n < 4000; n += n < 140 ? 1 : 777)
            check_order(&random, n, masks[m], 0);
        /* So many that items gather in lines: whole ones, and a rest. */
        check_order(&random, (1u << 20) + 13, masks[m], m % 2 ? 3 : 0);
    }
    check_order(&random, 1u << 20, 0xffffffffu, 0);
}

static void wide_registers_that_the_system_does_not_save_are_not_used(void **state)
{
    (void)state;
    const struct rk_cpuid zen5 = {
        .leaf1_ecx = 0xfef8320b, .leaf7_ebx = 0xf1bf97ab, .extended1_ecx = 0x75c237ff, .xcr0 = 0xe7};
    struct rk_cpuid cpu = zen5;
    assert_int_equal(rk_cpu_features_of(&cpu), RK_CPU_ALL);
    cpu.xcr0 = 0x07; /* AVX saved, AVX-512 not */
    assert_int_equal(rk_cpu_features_of(&cpu), RK_CPU_AVX2);
    cpu.xcr0 = 0x27; /* mask registers only */
    assert_int_equal(rk_cpu_features_of(&cpu), RK_CPU_AVX2);
    cpu.xcr0 = 0x03; /* not even AVX */
    assert_int_equal(rk_cpu_features_of(&cpu), 0);
    cpu = zen5;
    cpu.leaf1_ecx &= ~(1u << 27); /* no OSXSAVE */
    assert_int_equal(rk_cpu_features_of(&cpu), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_strategy_counts_every_tail_length),
        cmocka_unit_test(every_strategy_takes_every_kind_of_scores),
        cmocka_unit_test(every_strategy_takes_every_kind_of_scores_with_many_cuts),
        cmocka_unit_test(merges_are_cut_anywhere),
        cmocka_unit_test(every_strategy_takes_large_lists_on_several_threads),
        cmocka_unit_test(a_nan_is_seen_wherever_it_is),
        cmocka_unit_test(targets_are_counted_and_found_at_every_length),
        cmocka_unit_test(indexes_are_sorted_stably_by_key),
        cmocka_unit_test(wide_registers_that_the_system_does_not_save_are_not_used),
    };
    return cmocka_run_group_tests_name("kernel", tests, NULL, NULL);
}
