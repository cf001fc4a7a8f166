/* SPDX-License-Identifier: Apache-2.0 */
/* The unit scale where differences may be too large for FP32: that takes 16 million relevant items,
 * so here the list's code is compiled once more, with a limit of 3. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#define RK_UNIT_SCALE_EXACT 3
#define rk_list_streamed streamed_with_a_low_limit
#define rk_unit_scale_begin begin_with_a_low_limit
#define rk_unit_scale_sum sum_with_a_low_limit
#define rk_unit_scale_dense dense_with_a_low_limit
#include "blackbox/blackbox.c"   /* NOLINT(bugprone-suspicious-include) */
#include "blackbox/unit_scale.c" /* NOLINT(bugprone-suspicious-include) */
#undef rk_list_streamed
extern const struct rk_list_method rk_list_streamed; /* of the library */

#include <cmocka.h>

#include "unit/support/engine_call.h"

enum { ITEMS = 700, IGNORED = 40, MEMORY = 100 };

struct drawn {
    float score[ITEMS];
    int8_t target[ITEMS];
    struct rk_list_segment segment[2];
    struct rk_list list;
};

static void draw(struct drawn *drawn, struct test_random *random, size_t relevant)
{
    uint32_t n = ITEMS, p = 0;
    for (size_t i = 0; i < ITEMS; i++) {
        drawn->score[i] = (float)test_below(random, 300) / 64;
        drawn->target[i] = test_below(random, ITEMS) < relevant;
        if (test_below(random, ITEMS) < IGNORED)
            drawn->target[i] = -1;
        n -= drawn->target[i] == -1;
        p += drawn->target[i] == 1;
    }
    const uint32_t own = ITEMS - MEMORY;
    drawn->segment[0] = (struct rk_list_segment){
        .scores = drawn->score, .targets = drawn->target, .items = own, .dtype = RK_FP32};
    drawn->segment[1] = (struct rk_list_segment){
        .scores = drawn->score + own, .targets = drawn->target + own, .items = MEMORY, .dtype = RK_FP32};
    drawn->list = (struct rk_list){
        .segment = drawn->segment, .segments = 2, .items = ITEMS, .differentiable = own, .n = n, .p = p};
}

/* Dense, by one of the two. */
static struct rk_list_out run(const struct rk_list_method *method, const struct rk_kernels *kernels,
                              const struct drawn *drawn, float *gradient)
{
    const struct rk_exec exec = {0};
    const struct rk_blackbox box = {.loss = rk_model_find("recall")->loss,
                                    .params = {.transform = RK_TRANSFORM_LOG},
                                    .margin = 0.1,
                                    .lambda = 1,
                                    .lambda_per_n = true,
                                    .unit_scale = true};
    struct rk_list list = drawn->list;
    struct rk_list_out out = {.gradient = true, .dense = gradient};
    out.lambda = out.divisor = rk_box_lambda(&box, 0.25, list.n);
    const size_t bytes = method->scratch(kernels, list.items, list.p, RK_FP32, 1, true);
    void *scratch = aligned_alloc(64, (bytes + 63) / 64 * 64);
    assert_int_equal(method->run(&exec, kernels, &box, 0.25, &list, scratch, &out), RANKD_OK);
    free(scratch);
    return out;
}

static void the_second_move_gives_what_the_scaled_first_one_gives(void **state)
{
    (void)state;
    static const char *const names[] = {"scalar", "avx2", "avx512"};
    static struct drawn drawn;
    static float once[ITEMS], twice[ITEMS];
    size_t jumping = 0;
    for (size_t k = 0; k < 3; k++) {
        const struct rk_kernels *kernels = rk_kernels_named(names[k]);
        for (uint64_t seed = 1; kernels && seed <= 200; seed++) {
            struct test_random random = {seed};
            draw(&drawn, &random, seed % 5 ? 4 + seed : 600);
            if (drawn.list.p <= RK_UNIT_SCALE_EXACT)
                continue;
            struct rk_list_out a = run(&rk_list_streamed, kernels, &drawn, once);
            struct rk_list_out b = run(&streamed_with_a_low_limit, kernels, &drawn, twice);
            assert_memory_equal(once, twice, drawn.list.differentiable * sizeof *once);
            assert_true(a.divisor == b.divisor && a.loss == b.loss);
            assert_int_equal(a.jumped, b.jumped);
            assert_int_equal(a.nonzero, b.nonzero);
            assert_int_equal(a.abs_differentiable, b.abs_differentiable);
            assert_int_equal(a.abs_bank, b.abs_bank);
            jumping += a.jumped > 0;
        }
    }
    assert_true(jumping > 150);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_second_move_gives_what_the_scaled_first_one_gives),
    };
    return cmocka_run_group_tests_name("unit_scale", tests, NULL, NULL);
}
