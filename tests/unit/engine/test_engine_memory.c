/* SPDX-License-Identifier: Apache-2.0 */
/* Lack of memory: each allocation fails in turn, and every limit of scratch memory is tried. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "blackbox/blackbox.h"
#include "engine.h"
#include "unit/support/engine_call.h"

/* The allocation of that number fails, counted from 1; 0 = none. */
static size_t fail_at, allocations;
static bool map_fails;
static size_t map_most = SIZE_MAX;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset);

void *__wrap_malloc(size_t size)
{
    return ++allocations == fail_at ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return ++allocations == fail_at ? NULL : __real_calloc(count, size);
}

void *__wrap_mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset)
{
    if (map_fails || length > map_most)
        return MAP_FAILED;
    return __real_mmap(at, length, protection, flags, fd, offset);
}

enum { ROWS = 40, COLUMNS = 500 };
static float scores[ROWS * COLUMNS];
static double wide[ROWS * COLUMNS];
static int8_t targets[ROWS * COLUMNS];

static int fill(void **state)
{
    (void)state;
    struct test_random random = {3};
    for (size_t i = 0; i < sizeof targets; i++) {
        scores[i] = (float)test_uniform(&random);
        wide[i] = (double)scores[i];
        targets[i] = test_below(&random, 10) == 0;
    }
    return 0;
}

/* The ways through the engine that take memory differently. */
static void configure(struct test_call *call, int way)
{
    if (way == 4) {
        test_input(call, RK_IN_SCORES, RK_FP32, ROWS, COLUMNS, scores);
        test_input(call, RK_IN_UPSTREAM, RK_FP32, ROWS, COLUMNS, scores);
        call->request.outputs = call->request.model->outputs & ~(1u << RK_OUT_GRADIENT);
        return;
    }
    test_input(call, RK_IN_SCORES, way == 1 ? RK_FP64 : RK_FP32, ROWS, COLUMNS,
               way == 1 ? (void *)wide : (void *)scores);
    test_input(call, RK_IN_TARGETS, RK_INT8, ROWS, COLUMNS, targets);
    test_number(call, "axis", way != 1);
    test_number(call, "interclass", way == 2 ? 0.5 : 0);
    test_number(call, "lambda",
                1000); /* so much moves that the first guess of a sparse gradient is too small */
    call->request.outputs = way == 3 ? 1u << RK_OUT_GRADIENT_INDICES | 1u << RK_OUT_GRADIENT_VALUES
                                     : 1u << RK_OUT_LOSS | 1u << RK_OUT_GRADIENT | 1u << RK_OUT_LIST_LOSS;
}

static enum rankd_status run(struct test_call *call)
{
    rk_reply_clear(&call->reply);
    call->err = (struct rk_err){0};
    return rk_engine_run(&call->exec, &call->request, &call->reply, &call->err);
}

static const char *model_of(int way)
{
    return way == 4 ? "rank_vjp" : "ap";
}

static void each_output_that_cannot_be_allocated_is_named(void **state)
{
    (void)state;
    for (int way = 0; way < 5; way++) {
        struct test_call call;
        test_call_start(&call, model_of(way), 0);
        configure(&call, way);
        size_t failures = 0;
        for (size_t n = 1;; n++) {
            allocations = 0;
            fail_at = n;
            enum rankd_status status = run(&call);
            fail_at = 0;
            if (allocations < n) {
                assert_int_equal(status, RANKD_OK);
                break;
            }
            assert_int_equal(status, RANKD_OVERLOADED);
            assert_non_null(strstr(call.err.text, "no memory for the "));
            assert_non_null(strstr(call.err.text, "bytes of output "));
            failures++;
            for (size_t o = 0; o < RK_OUT_COUNT; o++)
                assert_null(call.reply.out[o].data);
        }
        assert_true(failures >= 2);
        test_call_end(&call);
    }
}

static void every_limit_of_scratch_memory_gives_an_answer_or_a_refusal(void **state)
{
    (void)state;
    struct rk_pool *pool = test_pool_new(3);
    for (int way = 0; way < 5; way++) {
        size_t refusals = 0;
        bool answered = false;
        for (size_t limit = 64; !answered; limit += limit / 8 / 64 * 64 + 64) {
            struct test_call call;
            test_call_start(&call, model_of(way), limit);
            configure(&call, way);
            call.exec.pool = pool;
            enum rankd_status status = run(&call);
            answered = status == RANKD_OK;
            refusals += !answered;
            if (!answered) {
                assert_int_equal(status, RANKD_OVERLOADED);
                assert_non_null(strstr(call.err.text, "bytes of intermediate results"));
            }
            assert_true(rk_scratch_peak(call.exec.scratch) <= limit);
            assert_int_equal(rk_scratch_mark(call.exec.scratch), 0);
            test_call_end(&call);
        }
        assert_true(refusals > 3);
    }
    test_pool_free(pool);
}

static void a_warm_request_with_outputs_of_its_caller_allocates_nothing(void **state)
{
    (void)state;
    static float gradient[ROWS * COLUMNS], loss[1], list_loss[ROWS];
    struct test_call call;
    test_call_start(&call, "ap", 0);
    configure(&call, 0);
    call.reply.out[RK_OUT_GRADIENT].data = gradient;
    call.reply.out[RK_OUT_GRADIENT].capacity = sizeof gradient;
    call.reply.out[RK_OUT_LOSS].data = loss;
    call.reply.out[RK_OUT_LOSS].capacity = sizeof loss;
    call.reply.out[RK_OUT_LIST_LOSS].data = list_loss;
    call.reply.out[RK_OUT_LIST_LOSS].capacity = sizeof list_loss;
    allocations = 0;
    assert_int_equal(run(&call), RANKD_OK);
    assert_int_equal(allocations, 0);
    test_call_end(&call);
}

static void the_cost_of_any_shape_can_be_asked_for(void **state)
{
    (void)state;
    static const size_t shapes[][2] = {{0, 0},        {1, 0},        {0, SIZE_MAX}, {SIZE_MAX, SIZE_MAX},
                                       {1, SIZE_MAX}, {SIZE_MAX, 1}, {1u << 30, 1}, {1, 1}};
    for (size_t m = 0; m < rk_model_count; m++) {
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
            for (unsigned way = 0; way < 16; way++) {
                struct rk_request request = {.model = &rk_models[m], .params = rk_params_default()};
                request.params.axis = way & 1;
                request.params.interclass = way & 2 ? 0.5 : 0;
                request.outputs = way & 4 ? ~0u : way & 8 ? 1u << RK_OUT_GRADIENT_INDICES : 0;
                struct rk_tensor tensor = {.dtype = (enum rk_dtype)(way * 3), .rank = way % 4};
                memcpy(tensor.shape, shapes[i], sizeof tensor.shape);
                tensor.data = scores;
                request.in[RK_IN_SCORES] = tensor;
                size_t cost = rk_engine_cost(&request);
                /* An impossible shape must not be cheap, a possible one not impossible. */
                bool endless = shapes[i][0] == SIZE_MAX || shapes[i][1] == SIZE_MAX;
                bool empty = shapes[i][0] == 0 || shapes[i][1] == 0;
                if (empty && endless)
                    continue;
                if (endless ? cost <= SIZE_MAX / 2 : cost >= (size_t)1 << 45)
                    fail_msg("%s, shape %zu, way %u: %zu", rk_models[m].name, i, way, cost);
            }
        }
    }
}

/* Where a tenth is relevant or less: eight bytes an item at most, beside 72 KiB for any list, on
 * one thread or two. */
static void a_list_takes_eight_bytes_an_item(void **state)
{
    (void)state;
    const char *const sets[] = {"scalar", "avx2", "avx512"};
    for (size_t s = 0; s < sizeof sets / sizeof *sets; s++) {
        const struct rk_kernels *kernels = rk_kernels_named(sets[s]);
        for (uint32_t n = 10; kernels && n < 1u << 30; n += n / 9 + 1) {
            for (uint32_t p = 1; p <= n / 10; p += p / 7 + 1) {
                for (unsigned threads = 1; threads <= 2; threads++) {
                    size_t bytes = rk_list_scratch(kernels, n, p, RK_FP32, threads, true);
                    if (bytes > (size_t)8 * n + (72 << 10))
                        fail_msg("%s: %zu bytes for %u of %u items on %u threads", sets[s], bytes, p, n,
                                 threads);
                }
            }
        }
    }
}

static void scratch_is_a_stack(void **state)
{
    (void)state;
    struct rk_scratch *scratch = rk_scratch_new(1 << 20);
    assert_non_null(scratch);
    char *a = rk_scratch_take(scratch, 100);
    size_t mark = rk_scratch_mark(scratch);
    char *b = rk_scratch_take(scratch, 1000);
    assert_non_null(a);
    assert_non_null(b);
    assert_int_equal((uintptr_t)a % 64, 0);
    assert_int_equal((uintptr_t)b % 64, 0);
    memset(a, 1, 100);
    memset(b, 2, 1000);
    assert_int_equal(a[99], 1);
    rk_scratch_release(scratch, mark);
    assert_ptr_equal(rk_scratch_take(scratch, 10), b);
    assert_null(rk_scratch_take(scratch, 1 << 20));
    assert_null(rk_scratch_take(scratch, SIZE_MAX));
    assert_null(rk_scratch_take(scratch, SIZE_MAX - 70));
    rk_scratch_release(scratch, 0);
    assert_true(rk_scratch_held(scratch) >= 1100);
    assert_int_equal(rk_scratch_held(scratch), rk_scratch_peak(scratch));
    rk_scratch_free(scratch);
    rk_scratch_free(NULL);
}

static void scratch_goes_back_to_the_system(void **state)
{
    (void)state;
    struct rk_scratch *scratch = rk_scratch_new(0);
    unsigned char *a = rk_scratch_take(scratch, 1 << 22);
    memset(a, 7, 1 << 22);
    rk_scratch_release(scratch, 0);
    rk_scratch_trim(scratch, 1 << 12);
    assert_int_equal(rk_scratch_held(scratch), 1 << 12);
    assert_true(rk_scratch_peak(scratch) >= 1 << 22);
    a = rk_scratch_take(scratch, 1 << 22);
    assert_int_equal(a[(1 << 22) - 1], 0); /* a new page */
    assert_int_equal(a[0], 7);             /* one that was kept */
    rk_scratch_free(scratch);
}

static void scratch_makes_do_with_less_address_space(void **state)
{
    (void)state;
    map_most = 1 << 24;
    struct rk_scratch *scratch = rk_scratch_new(0);
    map_most = SIZE_MAX;
    assert_non_null(scratch);
    assert_non_null(rk_scratch_take(scratch, 1 << 20));
    assert_null(rk_scratch_take(scratch, 1 << 24));
    rk_scratch_free(scratch);
    map_fails = true;
    assert_null(rk_scratch_new(0));
    map_fails = false;
    allocations = 0;
    fail_at = 1;
    assert_null(rk_scratch_new(0));
    fail_at = 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_output_that_cannot_be_allocated_is_named),
        cmocka_unit_test(every_limit_of_scratch_memory_gives_an_answer_or_a_refusal),
        cmocka_unit_test(a_warm_request_with_outputs_of_its_caller_allocates_nothing),
        cmocka_unit_test(the_cost_of_any_shape_can_be_asked_for),
        cmocka_unit_test(a_list_takes_eight_bytes_an_item),
        cmocka_unit_test(scratch_is_a_stack),
        cmocka_unit_test(scratch_goes_back_to_the_system),
        cmocka_unit_test(scratch_makes_do_with_less_address_space),
    };
    return cmocka_run_group_tests_name("engine_memory", tests, fill, NULL);
}
