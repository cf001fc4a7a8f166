/* SPDX-License-Identifier: Apache-2.0 */
#include "unit/support/engine_call.h"
#include "engine.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

void test_call_start(struct test_call *call, const char *model, size_t scratch_limit)
{
    memset(call, 0, sizeof *call);
    call->request.model = rk_model_find(model);
    call->request.params = rk_params_default();
    call->exec.scratch = rk_scratch_new(scratch_limit);
    assert_non_null(call->request.model);
    assert_non_null(call->exec.scratch);
}

void test_call_end(struct test_call *call)
{
    rk_reply_clear(&call->reply);
    rk_scratch_free(call->exec.scratch);
    memset(call, 0, sizeof *call);
}

void test_input(struct test_call *call, enum rk_input which, enum rk_dtype dtype, size_t rows, size_t columns,
                const void *data)
{
    call->request.in[which] = (struct rk_tensor){.dtype = dtype,
                                                 .rank = 2,
                                                 .shape = {rows, columns},
                                                 .data = data,
                                                 .bytes = rows * columns * rk_dtype_size(dtype)};
}

void test_vector(struct test_call *call, enum rk_input which, enum rk_dtype dtype, size_t n, const void *data)
{
    call->request.in[which] = (struct rk_tensor){
        .dtype = dtype, .rank = 1, .shape = {n}, .data = data, .bytes = n * rk_dtype_size(dtype)};
}

static void accept(struct test_call *call, enum rankd_status status)
{
    if (status != RANKD_OK)
        fail_msg("%s", call->err.text);
}

void test_number(struct test_call *call, const char *name, double value)
{
    accept(call, rk_param_set_number(&call->request.params, rk_param_find(name), value, &call->err));
}

void test_word(struct test_call *call, const char *name, const char *value)
{
    accept(call, rk_param_set_text(&call->request.params, rk_param_find(name), value, &call->err));
}

void test_run(struct test_call *call)
{
    rk_reply_clear(&call->reply);
    call->err = (struct rk_err){0};
    accept(call, rk_engine_run(&call->exec, &call->request, &call->reply, &call->err));
    assert_int_equal(call->err.status, RANKD_OK);
}

void test_refused(struct test_call *call, enum rankd_status status, const char *sentence)
{
    rk_reply_clear(&call->reply);
    call->err = (struct rk_err){0};
    enum rankd_status was = rk_engine_run(&call->exec, &call->request, &call->reply, &call->err);
    assert_string_equal(call->err.text, sentence);
    assert_int_equal(was, status);
    assert_int_equal(call->err.status, status);
    for (size_t i = 0; i < RK_OUT_COUNT; i++)
        assert_false(call->reply.out[i].owned);
}

const float *test_floats(const struct test_call *call, enum rk_output which)
{
    assert_true(call->reply.outputs >> which & 1u);
    return call->reply.out[which].data;
}

const float *test_gradient(const struct test_call *call)
{
    return test_floats(call, RK_OUT_GRADIENT);
}

const int64_t *test_ints(const struct test_call *call, enum rk_output which)
{
    assert_true(call->reply.outputs >> which & 1u);
    return call->reply.out[which].data;
}

uint64_t test_next(struct test_random *random)
{
    uint64_t z = random->state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

size_t test_below(struct test_random *random, size_t bound)
{
    return (size_t)(test_next(random) % bound);
}

double test_uniform(struct test_random *random)
{
    return (double)(test_next(random) >> 11) * 0x1p-53;
}

void test_same_bits(const struct rk_reply *a, const struct rk_reply *b)
{
    assert_memory_equal(&a->info, &b->info, sizeof a->info);
    assert_int_equal(a->outputs, b->outputs);
    for (size_t o = 0; o < RK_OUT_COUNT; o++) {
        if (!(a->outputs >> o & 1u))
            continue;
        assert_int_equal(a->out[o].bytes, b->out[o].bytes);
        assert_memory_equal(a->out[o].data, b->out[o].data, a->out[o].bytes);
    }
}

struct threads {
    struct rk_pool pool;
    void (*task)(void *arg, size_t i);
    void *arg;
    size_t count;
    atomic_size_t next;
};

static void *work(void *arg)
{
    struct threads *threads = arg;
    size_t i;
    while ((i = atomic_fetch_add(&threads->next, 1)) < threads->count)
        threads->task(threads->arg, i);
    return NULL;
}

static void run(struct rk_pool *pool, size_t count, void (*task)(void *arg, size_t i), void *arg)
{
    struct threads *threads = (struct threads *)pool;
    pthread_t thread[16];
    unsigned started = 0;
    threads->task = task;
    threads->arg = arg;
    threads->count = count;
    atomic_store(&threads->next, 0);
    for (; started + 1 < pool->width && started < 16; started++)
        assert_int_equal(pthread_create(&thread[started], NULL, work, threads), 0);
    work(threads);
    for (unsigned i = 0; i < started; i++)
        assert_int_equal(pthread_join(thread[i], NULL), 0);
}

struct rk_pool *test_pool_new(unsigned width)
{
    struct threads *threads = calloc(1, sizeof *threads);
    assert_non_null(threads);
    threads->pool = (struct rk_pool){.width = width, .run = run};
    return &threads->pool;
}

void test_pool_free(struct rk_pool *pool)
{
    free(pool);
}

void test_covered(const struct test_call *call)
{
    struct rk_request request = call->request;
    for (unsigned i = 0; i < RK_IN_COUNT; i++)
        request.in[i].data = request.in[i].data ? rk_scratch_nowhere() : NULL;
    size_t taken = rk_scratch_peak(call->exec.scratch);
    for (unsigned o = 0; o < RK_OUT_COUNT; o++)
        taken += call->reply.out[o].bytes;
    if (taken > rk_engine_cost(&request))
        fail_msg("took %zu bytes, the cost is %zu", taken, rk_engine_cost(&request));
}
