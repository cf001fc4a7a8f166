/* SPDX-License-Identifier: Apache-2.0 */
/* The pool of threads behind workers, helpers and bank commits. */
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/threads.h"

static const struct rk_threads_work tasks = {.name = "a name of more than fifteen bytes"};

static void start(struct rk_threads *threads, unsigned count)
{
    struct rk_err err = {0};
    assert_int_equal(rk_threads_start(threads, count, &tasks, NULL, "thread", &err), RANKD_OK);
}

struct numbered {
    struct rk_task task;
    size_t number;
};

static struct {
    size_t seen[64];
    size_t count;
} order; /* of one thread's tasks */

static void note(struct rk_task *task)
{
    order.seen[order.count++] = ((struct numbered *)task)->number;
}

static void tasks_run_in_order_and_a_stop_runs_what_is_queued(void **state)
{
    (void)state;
    struct rk_threads threads;
    struct numbered task[64];
    order.count = 0;
    start(&threads, 1);
    for (size_t i = 0; i < 64; i++) {
        task[i] = (struct numbered){{note, NULL}, i};
        rk_threads_add(&threads, &task[i].task);
    }
    rk_threads_stop(&threads);
    assert_int_equal(order.count, 64);
    for (size_t i = 0; i < 64; i++)
        assert_int_equal(order.seen[i], i);
}

static struct {
    char name[16];
    sigset_t blocked;
} found;

static void look(struct rk_task *task)
{
    (void)task;
    pthread_sigmask(SIG_SETMASK, NULL, &found.blocked);
}

static void a_thread_blocks_signals_and_has_a_name(void **state)
{
    (void)state;
    struct rk_threads threads;
    struct rk_task task = {look, NULL};
    pthread_t id = 0;
    start(&threads, 1);
    memcpy(&id, threads.thread, sizeof id); /* its first member */
    assert_int_equal(pthread_getname_np(id, found.name, sizeof found.name), 0);
    rk_threads_add(&threads, &task);
    rk_threads_stop(&threads);
    assert_string_equal(found.name, "a name of more ");
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        assert_int_equal(sigismember(&found.blocked, signals[i]), 1);
    sigset_t own;
    pthread_sigmask(SIG_SETMASK, NULL, &own);
    assert_int_equal(sigismember(&own, SIGTERM), 0);
}

static sem_t taken, go, ran;

static void wait_for_go(struct rk_task *task)
{
    (void)task;
    sem_post(&taken);
    sem_wait(&go);
}

static void tell(struct rk_task *task)
{
    (void)task;
    sem_post(&ran);
}

/* Like syncs on a disk that hangs: every thread of one instance waits, and another instance
 * serves. */
static void an_instance_that_waits_keeps_no_other_waiting(void **state)
{
    (void)state;
    struct rk_threads disk, compute;
    struct rk_task sync[2] = {{wait_for_go, NULL}, {wait_for_go, NULL}}, late = {tell, NULL},
                   task = {tell, NULL};
    sem_init(&taken, 0, 0);
    sem_init(&go, 0, 0);
    sem_init(&ran, 0, 0);
    start(&disk, 2);
    start(&compute, 1);
    for (size_t i = 0; i < 2; i++)
        rk_threads_add(&disk, &sync[i]);
    for (size_t i = 0; i < 2; i++)
        sem_wait(&taken);
    rk_threads_add(&disk, &late);
    int value;
    assert_int_equal(sem_getvalue(&ran, &value), 0);
    assert_int_equal(value, 0);
    rk_threads_add(&compute, &task);
    sem_wait(&ran);
    for (size_t i = 0; i < 2; i++)
        sem_post(&go);
    sem_wait(&ran);
    rk_threads_stop(&compute);
    rk_threads_stop(&disk);
}

struct held {
    struct rk_threads threads;
    bool held, served;
};

static bool serve_held(void *owner, unsigned thread)
{
    struct held *held = owner;
    (void)thread;
    if (held->held || held->served)
        return false;
    held->served = true;
    return true;
}

static bool is_held(void *owner)
{
    return ((struct held *)owner)->held;
}

static void *let_go(void *arg)
{
    struct held *held = arg;
    pthread_mutex_lock(&held->threads.lock);
    while (!held->threads.stopping) {
        pthread_mutex_unlock(&held->threads.lock);
        sched_yield();
        pthread_mutex_lock(&held->threads.lock);
    }
    held->held = false;
    rk_threads_wake_all(&held->threads);
    pthread_mutex_unlock(&held->threads.lock);
    return NULL;
}

static void a_stop_waits_for_what_is_unfinished(void **state)
{
    (void)state;
    static const struct rk_threads_work work = {"held", serve_held, is_held};
    struct held held = {.held = true};
    struct rk_err err = {0};
    pthread_t other;
    assert_int_equal(rk_threads_start(&held.threads, 2, &work, &held, "thread", &err), RANKD_OK);
    assert_int_equal(pthread_create(&other, NULL, let_go, &held), 0);
    rk_threads_stop(&held.threads);
    assert_true(held.served);
    pthread_join(other, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tasks_run_in_order_and_a_stop_runs_what_is_queued),
        cmocka_unit_test(a_thread_blocks_signals_and_has_a_name),
        cmocka_unit_test(an_instance_that_waits_keeps_no_other_waiting),
        cmocka_unit_test(a_stop_waits_for_what_is_unfinished),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
