/* SPDX-License-Identifier: Apache-2.0 */
/* The threads that a large request borrows: each task runs once, no request waits for the tasks of
 * another, and nothing is left running. */
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "exec/compute_pool.h"
#include "unit/support/problem.h"

enum { TASKS = 200 };

struct counted {
    atomic_uint calls[TASKS];
    atomic_uint now, most;
};

static void count(void *arg, size_t i)
{
    struct counted *c = arg;
    unsigned now = atomic_fetch_add(&c->now, 1) + 1, most = atomic_load(&c->most);
    while (now > most && !atomic_compare_exchange_weak(&c->most, &most, now))
        ;
    atomic_fetch_add(&c->calls[i], 1);
    atomic_fetch_sub(&c->now, 1);
}

static void each_task_runs_once_and_all_have_ended_on_return(void **state)
{
    (void)state;
    struct rk_err err = {0};
    struct rk_compute_pool *helpers = rk_compute_pool_start(3, &err);
    assert_non_null(helpers);
    struct rk_pool *pool = rk_compute_pool_threads(helpers);
    assert_int_equal(pool->width, 4);
    for (size_t round = 0; round < 3000; round++) {
        /* On the stack, and invalid after each round: a late task would write to memory that it
         * must not. */
        struct counted c;
        memset(&c, 0, sizeof c);
        size_t tasks = round % TASKS;
        pool->run(pool, tasks, count, &c);
        assert_int_equal(c.now, 0);
        assert_true(c.most <= pool->width);
        for (size_t i = 0; i < TASKS; i++)
            assert_int_equal(c.calls[i], i < tasks);
        memset(&c, 0xff, sizeof c);
    }
    rk_compute_pool_stop(helpers);
}

struct borrower {
    struct rk_pool *pool;
    bool wrong;
};

static void *borrow(void *arg)
{
    struct borrower *b = arg;
    for (size_t round = 0; round < 1500; round++) {
        struct counted c;
        memset(&c, 0, sizeof c);
        b->pool->run(b->pool, 1 + round % 20, count, &c);
        for (size_t i = 0; i < TASKS; i++)
            b->wrong |= c.calls[i] != (i < 1 + round % 20);
    }
    return NULL;
}

static void many_may_borrow_at_a_time(void **state)
{
    (void)state;
    struct rk_err err = {0};
    struct rk_compute_pool *helpers = rk_compute_pool_start(2, &err);
    struct borrower borrower[4];
    pthread_t thread[4];
    for (size_t i = 0; i < 4; i++) {
        borrower[i] = (struct borrower){rk_compute_pool_threads(helpers), false};
        assert_int_equal(pthread_create(&thread[i], NULL, borrow, &borrower[i]), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(thread[i], NULL), 0);
        assert_false(borrower[i].wrong);
    }
    rk_compute_pool_stop(helpers);
    rk_compute_pool_stop(NULL);
}

/* A borrower that was told that its helpers are done, but comes to run late: meanwhile another
 * borrows them, and both are told. pthread_cond_wait is wrapped, so that the first one's return can
 * be held back. */
struct late {
    struct rk_pool *pool;
    sem_t helped, go;   /* a helper is in the task; it may leave */
    sem_t waits[2];     /* the borrower waits for its helper */
    sem_t woken, other; /* the first was told; the second waits, so the first may go on */
    sem_t ended[2];     /* the borrower's call has ended */
    atomic_bool held;
};

static struct late late;
static _Thread_local enum { HELPER, FIRST, SECOND } role;

int __real_pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *lock);
int __wrap_pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *lock);

int __wrap_pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *lock)
{
    if (role != HELPER)
        sem_post(&late.waits[role == SECOND]);
    if (role == SECOND)
        sem_post(&late.other);
    int failed = __real_pthread_cond_wait(condition, lock);
    if (role == FIRST && !atomic_exchange(&late.held, true)) {
        pthread_mutex_unlock(lock);
        sem_post(&late.woken);
        sem_wait(&late.other);
        pthread_mutex_lock(lock);
    }
    return failed;
}

/* Of two tasks a helper takes one, and stays until it may go. */
static void stay(void *arg, size_t i)
{
    (void)arg;
    (void)i;
    if (role == HELPER) {
        sem_post(&late.helped);
        sem_wait(&late.go);
        return;
    }
    sem_wait(&late.helped);
}

static void *first(void *arg)
{
    role = FIRST;
    late.pool->run(late.pool, 2, stay, arg);
    sem_post(&late.ended[0]);
    return NULL;
}

static void *second(void *arg)
{
    role = SECOND;
    sem_wait(&late.woken);
    late.pool->run(late.pool, 2, stay, arg);
    sem_post(&late.ended[1]);
    return NULL;
}

static void a_borrower_that_wakes_late_is_told(void **state)
{
    (void)state;
    struct rk_err err = {0};
    struct rk_compute_pool *helpers = rk_compute_pool_start(1, &err);
    pthread_t thread[2];
    struct timespec until;
    late.pool = rk_compute_pool_threads(helpers);
    sem_t *all[] = {&late.helped, &late.go,    &late.waits[0], &late.waits[1],
                    &late.woken,  &late.other, &late.ended[0], &late.ended[1]};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        assert_int_equal(sem_init(all[i], 0, 0), 0);
    assert_int_equal(pthread_create(&thread[0], NULL, first, NULL), 0);
    assert_int_equal(pthread_create(&thread[1], NULL, second, NULL), 0);
    sem_wait(&late.waits[0]);
    sem_post(&late.go);
    sem_wait(&late.waits[1]);
    (void)usleep(50000); /* gives the first time to check again; a missed wake-up shows only after that */
    sem_post(&late.go);
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += 20;
    for (size_t i = 0; i < 2; i++) {
        if (sem_clockwait(&late.ended[i], CLOCK_MONOTONIC, &until) != 0)
            fail_msg("the %s borrower was not told that its helpers are done", i ? "second" : "first");
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    }
    rk_compute_pool_stop(helpers);
}

static void a_request_with_helpers_gives_the_same_bits(void **state)
{
    (void)state;
    struct rk_err err = {0};
    struct rk_compute_pool *helpers = rk_compute_pool_start(2, &err);
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct test_random random = {seed * 99};
        struct problem problem;
        struct test_call alone, helped;
        problem_draw(&problem, &random, 1500, 500);
        test_call_start(&alone, problem_model(&problem), 0);
        problem_fill(&problem, &alone);
        test_run(&alone);
        test_call_start(&helped, problem_model(&problem), 0);
        problem_fill(&problem, &helped);
        helped.exec.pool = rk_compute_pool_threads(helpers);
        test_run(&helped);
        assert_memory_equal(&alone.reply.info, &helped.reply.info, sizeof alone.reply.info);
        assert_memory_equal(test_gradient(&alone), test_gradient(&helped),
                            problem.rows * problem.columns * sizeof(float));
        test_call_end(&alone);
        test_call_end(&helped);
        problem_free(&problem);
    }
    rk_compute_pool_stop(helpers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_task_runs_once_and_all_have_ended_on_return),
        cmocka_unit_test(many_may_borrow_at_a_time),
        cmocka_unit_test(a_borrower_that_wakes_late_is_told),
        cmocka_unit_test(a_request_with_helpers_gives_the_same_bits),
    };
    return cmocka_run_group_tests_name("helpers", tests, NULL, NULL);
}
