/* SPDX-License-Identifier: Apache-2.0 */
/* The work queue: parking and resuming, and the order of clients. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "exec/worker_pool.h"

static struct {
    pthread_mutex_t lock;
    pthread_cond_t moved;
    char seen[32]; /* what happened, in order */
    bool open;
} tape = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, "", false};
static struct rk_worker_pool *work;

static void note(char what)
{
    pthread_mutex_lock(&tape.lock);
    tape.seen[strlen(tape.seen)] = what;
    pthread_cond_broadcast(&tape.moved);
    pthread_mutex_unlock(&tape.lock);
}

static void wait_for(const char *seen)
{
    pthread_mutex_lock(&tape.lock);
    while (strcmp(tape.seen, seen) != 0)
        pthread_cond_wait(&tape.moved, &tape.lock);
    pthread_mutex_unlock(&tape.lock);
}

static void run_plain(struct rk_job *job, struct rk_worker *worker)
{
    (void)job, (void)worker;
    note('p');
}

static void run_gate(struct rk_job *job, struct rk_worker *worker)
{
    (void)job, (void)worker;
    note('g');
    pthread_mutex_lock(&tape.lock);
    while (!tape.open)
        pthread_cond_wait(&tape.moved, &tape.lock);
    pthread_mutex_unlock(&tape.lock);
}

static void open_gate(void)
{
    pthread_mutex_lock(&tape.lock);
    tape.open = true;
    pthread_cond_broadcast(&tape.moved);
    pthread_mutex_unlock(&tape.lock);
}

static void run_parking(struct rk_job *job, struct rk_worker *worker)
{
    (void)job, (void)worker;
    rk_worker_pool_park(work);
    note('k');
}

static void resume(struct rk_job *job, struct rk_worker *worker)
{
    (void)job, (void)worker;
    note('r');
}

static void drop(struct rk_job *job, enum rankd_status why)
{
    (void)job, (void)why;
    note('d');
}

static int start(void **state)
{
    struct rk_err err = {0};
    (void)state;
    memset(tape.seen, 0, sizeof tape.seen);
    tape.open = false;
    work = rk_worker_pool_start("worker", 1, 8, 0, &err);
    return work ? 0 : -1;
}

static void a_parked_job_leaves_its_worker_to_others(void **state)
{
    (void)state;
    struct rk_job parking = {.run = run_parking, .drop = drop, .resume = resume};
    struct rk_job plain = {.run = run_plain, .drop = drop};
    assert_int_equal(rk_worker_pool_submit(work, &parking), RANKD_OK);
    assert_int_equal(rk_worker_pool_submit(work, &plain), RANKD_OK);
    wait_for("kp");
    assert_int_equal(rk_worker_pool_parked(work), 1);
    assert_false(rk_worker_pool_idle(work));
    rk_worker_pool_resume(work, &parking);
    wait_for("kpr");
    rk_worker_pool_stop(work);
}

static void a_resumed_job_goes_before_those_that_wait(void **state)
{
    (void)state;
    struct rk_job parking = {.run = run_parking, .drop = drop, .resume = resume};
    struct rk_job gate = {.run = run_gate, .drop = drop}, plain = {.run = run_plain, .drop = drop};
    assert_int_equal(rk_worker_pool_submit(work, &parking), RANKD_OK);
    assert_int_equal(rk_worker_pool_submit(work, &gate), RANKD_OK);
    wait_for("kg");
    assert_int_equal(rk_worker_pool_submit(work, &plain), RANKD_OK);
    rk_worker_pool_resume(work, &parking);
    open_gate();
    wait_for("kgrp");
    rk_worker_pool_stop(work);
}

static void *stop(void *arg)
{
    (void)arg;
    rk_worker_pool_stop(work);
    note('e');
    return NULL;
}

/* Even if everything else is dropped, begun work is completed. */
static void the_work_ends_when_what_is_parked_was_resumed(void **state)
{
    (void)state;
    pthread_t stopper;
    struct rk_job parking = {.run = run_parking, .drop = drop, .resume = resume};
    assert_int_equal(rk_worker_pool_submit(work, &parking), RANKD_OK);
    wait_for("k");
    rk_worker_pool_abandon(work);
    assert_int_equal(pthread_create(&stopper, NULL, stop, NULL), 0);
    parking.deadline_ns = 1; /* long over */
    rk_worker_pool_resume(work, &parking);
    pthread_join(stopper, NULL);
    assert_non_null(strstr(tape.seen, "re"));
}

struct named {
    struct rk_job job;
    char name;
};

static void run_named(struct rk_job *job, struct rk_worker *worker)
{
    (void)worker;
    note(((struct named *)job)->name);
}

static void a_client_with_many_jobs_gets_one_turn_a_round(void **state)
{
    (void)state;
    struct rk_client_queue many = {0}, few = {0};
    struct rk_job gate = {.run = run_gate, .drop = drop};
    struct rk_client_queue *lanes[] = {&many, &many, &many, &few, NULL, &few, NULL};
    struct named jobs[7];
    assert_int_equal(rk_worker_pool_submit(work, &gate), RANKD_OK);
    wait_for("g");
    for (size_t i = 0; i < 7; i++) {
        jobs[i] = (struct named){{.run = run_named, .drop = drop, .client_queue = lanes[i]}, "123ab4c"[i]};
        assert_int_equal(rk_worker_pool_submit(work, &jobs[i].job), RANKD_OK);
    }
    open_gate();
    wait_for("g1abc243"); /* 1 2 3 are one client's, a 4 another's, b and c came alone */
    rk_worker_pool_stop(work);
}

static void a_client_that_comes_back_waits_for_the_round(void **state)
{
    (void)state;
    struct rk_client_queue one = {0}, other = {0};
    struct rk_job gate = {.run = run_gate, .drop = drop};
    struct named jobs[4];
    assert_int_equal(rk_worker_pool_submit(work, &gate), RANKD_OK);
    wait_for("g");
    for (size_t i = 0; i < 4; i++) {
        jobs[i] = (struct named){{.run = run_named, .drop = drop, .client_queue = i < 2 ? &one : &other},
                                 "abcd"[i]};
        assert_int_equal(rk_worker_pool_submit(work, &jobs[i].job), RANKD_OK);
    }
    open_gate();
    wait_for("gacbd");
    assert_int_equal(one.waiting, 0);
    jobs[0].name = 'e';
    assert_int_equal(rk_worker_pool_submit(work, &jobs[0].job), RANKD_OK); /* a lane that was empty is fine */
    wait_for("gacbde");
    rk_worker_pool_stop(work);
}

static void the_last_places_are_for_those_that_have_none(void **state)
{
    (void)state;
    struct rk_client_queue many = {0};
    struct rk_job gate = {.run = run_gate, .drop = drop}, refused = {.run = run_plain, .drop = drop};
    struct named jobs[8];
    assert_int_equal(rk_worker_pool_submit(work, &gate), RANKD_OK);
    wait_for("g");
    for (size_t i = 0; i < 8; i++) { /* of eight places one is kept for clients without one */
        jobs[i] = (struct named){{.run = run_named, .drop = drop, .client_queue = &many}, 'n'};
        assert_int_equal(rk_worker_pool_submit(work, &jobs[i].job), i < 7 ? RANKD_OK : RANKD_OVERLOADED);
    }
    jobs[7].job.client_queue = NULL;
    assert_int_equal(rk_worker_pool_submit(work, &jobs[7].job), RANKD_OK);
    assert_int_equal(rk_worker_pool_submit(work, &refused),
                     RANKD_OVERLOADED); /* now it is full for all clients */
    open_gate();
    rk_worker_pool_stop(work);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_parked_job_leaves_its_worker_to_others, start),
        cmocka_unit_test_setup(a_resumed_job_goes_before_those_that_wait, start),
        cmocka_unit_test_setup(the_work_ends_when_what_is_parked_was_resumed, start),
        cmocka_unit_test_setup(a_client_with_many_jobs_gets_one_turn_a_round, start),
        cmocka_unit_test_setup(a_client_that_comes_back_waits_for_the_round, start),
        cmocka_unit_test_setup(the_last_places_are_for_those_that_have_none, start),
    };
    return cmocka_run_group_tests_name("work", tests, NULL, NULL);
}
