/* SPDX-License-Identifier: Apache-2.0 */
/* librankd: daemons that are killed, and their successors. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "unit/support/client.h"

enum { SLOW = 1 << 20, THREADS = 8 };

static const char *const flags[] = {NULL};

/* ---- A daemon that is killed ---- */

struct waiter {
    pthread_t thread;
    rankd_client *client;
    uint64_t tag; /* 0: a control call */
    int status;
    struct rankd_reply reply;
    uint64_t ended_ns;
};

static void *wait_without_limit(void *arg)
{
    struct waiter *waiter = arg;
    char *answer;
    if (waiter->tag != 0) {
        waiter->status = rankd_wait(waiter->client, waiter->tag, UINT64_MAX, &waiter->reply);
    } else {
        struct rankd_error error = {0};
        waiter->status = rankd_call(waiter->client, "GET", "/v2", NULL, 0, UINT64_MAX, &answer, NULL, &error);
        free(answer);
        (void)snprintf(waiter->reply.error, sizeof waiter->reply.error, "%s", error.text);
    }
    waiter->ended_ns = test_now_ns();
    return NULL;
}

static void every_waiter_is_told_within_a_second_when_the_daemon_is_killed(void **state)
{
    struct test_daemon daemon;
    struct test_request slow;
    struct waiter waiters[THREADS + 1];
    test_daemon_start(&daemon, flags);
    rankd_client *client = test_open(&daemon, state, NULL);
    test_still_works(client);
    test_sorting(&slow, SLOW / 16);
    test_daemon_hold(&daemon);
    for (int i = 0; i <= THREADS; i++) {
        waiters[i] =
            (struct waiter){.client = client, .tag = i < THREADS ? test_submitted(client, &slow) : 0};
        assert_int_equal(pthread_create(&waiters[i].thread, NULL, wait_without_limit, &waiters[i]), 0);
    }
    (void)usleep(200000); /* all of them wait */
    uint64_t killed = test_now_ns();
    test_daemon_kill(&daemon);
    for (int i = 0; i <= THREADS; i++) {
        assert_int_equal(pthread_join(waiters[i].thread, NULL), 0);
        if (waiters[i].status != RANKD_LOST || strlen(waiters[i].reply.error) < 10)
            fail_msg("waiter %d: %d %s", i, waiters[i].status, waiters[i].reply.error);
        assert_true(waiters[i].ended_ns - killed < SECONDS(1));
        for (int port = 0; port < RANKD_OUT_COUNT && i < THREADS; port++)
            assert_null(waiters[i].reply.outputs[port].data);
        rankd_reply_clear(client, &waiters[i].reply);
    }
    test_request_free(&slow);
    rankd_close(client);
    test_daemon_stop(&daemon);
}

/* The answers of a client to every call between the death of a daemon and rankd_reconnect(). */
static void is_lost(rankd_client *client, bool ring)
{
    struct test_request example;
    struct rankd_reply reply;
    struct rankd_error error = {0};
    char *answer;
    int expected = ring ? RANKD_LOST : RANKD_UNREACHABLE; /* HTTP connects anew for each request */
    test_example(&example);
    assert_int_equal(rankd_infer(client, &example.request, &reply), expected);
    assert_true(strlen(reply.error) > 10);
    assert_int_equal(rankd_call(client, "GET", "/v2", NULL, 0, SECONDS(10), &answer, NULL, &error), expected);
    assert_null(answer);
}

static void polls_and_calls_are_told_too(void **state)
{
    struct test_daemon daemon;
    struct test_request example;
    struct rankd_reply reply;
    struct rankd_error error;
    char *answer;
    test_example(&example);
    for (int first = 0; first < 2; first++) {
        test_daemon_start(&daemon, flags);
        rankd_client *client = test_open(&daemon, state, NULL);
        test_still_works(client);
        test_daemon_hold(&daemon);
        uint64_t tag = test_submitted(client, &example), until = test_now_ns() + SECONDS(10);
        assert_int_equal(rankd_poll(client, tag, &reply), RANKD_PENDING);
        test_daemon_kill(&daemon);
        if (first == 1) /* a call is the first to notice: it may find the connection open or not */
            assert_int_not_equal(
                rankd_call(client, "GET", "/v2", NULL, 0, SECONDS(10), &answer, NULL, &error), RANKD_OK);
        while (rankd_poll(client, tag, &reply) == RANKD_PENDING)
            assert_true(test_now_ns() < until);
        assert_int_equal(reply.status, RANKD_LOST);
        is_lost(client, is_ring(state));
        rankd_close(client);
        test_daemon_stop(&daemon);
    }
}

/* ---- Its successor ---- */

static int segments_mapped(void)
{
    char line[512];
    int count = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (fgets(line, sizeof line, maps) != NULL)
        count += strstr(line, "memfd:rankd-ring") != NULL;
    (void)fclose(maps);
    return count;
}

/* Waits until the client is connected to the successor: the kernel closes descriptors of an
 * io_uring some milliseconds after the process is gone, and until then the old connection
 * exists. */
static void reconnected(rankd_client *client)
{
    struct rankd_error error = {0};
    struct rankd_reply reply;
    struct test_request example;
    uint64_t until = test_now_ns() + SECONDS(10);
    int status;
    test_example(&example);
    do {
        if (rankd_reconnect(client, &error) != RANKD_OK)
            fail_msg("%s", error.text);
        status = rankd_infer(client, &example.request, &reply);
        rankd_reply_clear(client, &reply);
    } while (status == RANKD_LOST && test_now_ns() < until);
    assert_int_equal(status, RANKD_OK);
}

static void a_successor_is_found_and_memory_from_before_is_kept(void **state)
{
    struct test_daemon daemon;
    struct test_request example;
    struct rankd_reply reply, kept;
    struct rankd_error error = {0};
    bool ring = is_ring(state);
    test_daemon_start(&daemon, flags);
    rankd_client *client = test_open(&daemon, state, NULL);
    uint64_t first = rankd_daemon_id(client), bytes, largest;
    test_example(&example);
    float *scores = rankd_alloc(client, 16), *gradient = rankd_alloc(client, 16);
    memcpy(scores, example.inputs[0].data, 16);
    assert_int_equal(rankd_infer(client, &example.request, &kept), RANKD_OK);
    uint64_t tag = test_submitted(client, &example), other = test_submitted(client, &example);
    test_takes_example(client, tag);
    test_daemon_kill(&daemon);
    if (ring) { /* HTTP has nothing to reconnect to */
        is_lost(client,
                ring); /* the kernel closes what io_uring held some milliseconds after the process is gone */
        assert_int_equal(rankd_reconnect(client, &error), RANKD_UNREACHABLE);
        assert_true(strlen(error.text) > 10);
        is_lost(client, ring);
        rankd_free(client, rankd_alloc(client, 64));
        rankd_arena(client, &bytes, &largest);
        assert_int_equal(rankd_poll(client, other, &reply), RANKD_LOST);
        rankd_forget(client, other);
    }
    test_daemon_again(&daemon);
    reconnected(client);
    assert_true(!ring || rankd_daemon_id(client) != first);
    test_still_works(client);
    assert_true(test_is_example(&kept)); /* readable */
    gradient[0] = 7;                     /* and writable */
    example.inputs[0].data = scores;     /* as input, and as an output */
    example.outputs[1].data = gradient;
    example.outputs[1].bytes = 16;
    assert_int_equal(rankd_infer(client, &example.request, &reply), RANKD_OK);
    assert_true(test_is_example(&reply));
    assert_ptr_equal(reply.outputs[RANKD_OUT_GRADIENT].data, gradient);
    rankd_reply_clear(client, &reply);
    assert_int_equal(segments_mapped(), ring ? 2 : 0);
    rankd_reply_clear(client, &kept);
    rankd_free(client, scores);
    assert_int_equal(segments_mapped(), ring ? 2 : 0);
    rankd_free(client, gradient);
    assert_int_equal(segments_mapped(),
                     ring ? 1 : 0); /* the old one is unmapped with the last piece of its arena */
    test_still_works(client);
    rankd_close(client);
    assert_int_equal(segments_mapped(), 0);
    test_daemon_stop(&daemon);
}

static void tags_from_before_are_over(void **state)
{
    struct test_daemon daemon;
    struct test_request example;
    struct rankd_reply reply;
    test_example(&example);
    test_daemon_start(&daemon, flags);
    rankd_client *client = test_open(&daemon, state, NULL);
    test_daemon_hold(&daemon);
    uint64_t tag = test_submitted(client, &example);
    test_daemon_kill(&daemon);
    test_daemon_again(&daemon);
    reconnected(client);
    for (int i = 0; i < 100; i++) { /* tags go on from there: none of these is it */
        uint64_t next = test_submitted(client, &example);
        assert_true(next != tag);
        test_takes_example(client, next);
    }
    /* RANKD_LOST and not RANKD_MISUSE: a thread may begin to wait after another has
     * reconnected. */
    assert_int_equal(rankd_poll(client, tag, &reply), RANKD_LOST);
    assert_int_equal(rankd_wait(client, tag, SECONDS(5), &reply), RANKD_LOST);
    assert_int_equal(rankd_cancel(client, tag), RANKD_LOST);
    assert_int_equal(rankd_wait(client, tag + 1000, SECONDS(5), &reply), RANKD_MISUSE);
    assert_int_equal(rankd_wait(client, 0, SECONDS(5), &reply), RANKD_MISUSE);
    rankd_close(client);
    test_daemon_stop(&daemon);
}

static void *reconnect_and_infer(void *arg)
{
    struct waiter *waiter = arg;
    struct test_request example;
    int losses = 0;
    test_example(&example);
    for (int i = 0; i < 20; i++) {
        waiter->status = rankd_infer(waiter->client, &example.request, &waiter->reply);
        if (waiter->status == RANKD_OK && !test_is_example(&waiter->reply))
            waiter->status = -1;
        rankd_reply_clear(waiter->client, &waiter->reply);
        if (waiter->status == RANKD_LOST && ++losses == 1) /* with the old daemon; and never again */
            waiter->status = rankd_reconnect(waiter->client, NULL);
        if (waiter->status != RANKD_OK)
            break;
    }
    return NULL;
}

/* One connects for all; a later thread must not close the connection that the others use. */
static void eight_threads_reconnect_at_once(void **state)
{
    struct test_daemon daemon;
    struct waiter waiters[THREADS];
    test_daemon_start(&daemon, flags);
    rankd_client *client = test_open(&daemon, state, NULL);
    for (int round = 0; round < 3; round++) {
        test_still_works(client);
        test_daemon_kill(&daemon);
        test_daemon_again(&daemon);
        for (int i = 0; i < THREADS; i++) {
            waiters[i] = (struct waiter){.client = client};
            assert_int_equal(pthread_create(&waiters[i].thread, NULL, reconnect_and_infer, &waiters[i]), 0);
        }
        for (int i = 0; i < THREADS; i++)
            assert_int_equal(pthread_join(waiters[i].thread, NULL), 0);
        for (int i = 0; i < THREADS; i++) {
            if (waiters[i].status != RANKD_OK)
                fail_msg("thread %d: %d %s", i, waiters[i].status, waiters[i].reply.error);
        }
    }
    rankd_close(client);
    test_daemon_stop(&daemon);
}

static void a_call_is_not_left_waiting_for_a_daemon_that_is_gone(void **state)
{
    struct test_daemon daemon;
    struct waiter waiter;
    test_daemon_start(&daemon, flags);
    rankd_client *client = test_open(&daemon, state, NULL);
    int lost = 0;
    for (int round = 0; round < 5; round++) { /* another thread reconnects before it has looked */
        test_daemon_hold(&daemon);
        waiter = (struct waiter){.client = client};
        assert_int_equal(pthread_create(&waiter.thread, NULL, wait_without_limit, &waiter), 0);
        (void)usleep(50000);
        test_daemon_kill(&daemon);
        test_daemon_again(&daemon);
        reconnected(client);
        assert_int_equal(pthread_join(waiter.thread, NULL), 0);
        /* RANKD_OK: on a busy machine the thread may begin after all that, and ask the
         * successor. */
        assert_true(waiter.status == RANKD_LOST || waiter.status == RANKD_OK);
        lost += waiter.status == RANKD_LOST;
        test_still_works(client);
    }
    assert_true(lost > 0);
    rankd_close(client);
    test_daemon_stop(&daemon);
}

static void a_daemon_that_stops_answers_what_it_has_taken(void **state)
{
    struct test_daemon daemon;
    struct test_request slow;
    struct rankd_reply reply;
    test_daemon_start(&daemon, flags);
    rankd_client *client = test_open(&daemon, state, NULL);
    test_sorting(&slow, SLOW);
    uint64_t tags[3];
    for (int i = 0; i < 3; i++)
        tags[i] = test_submitted(client, &slow);
    assert_int_equal(rankd_wait(client, tags[0], SECONDS(30), &reply), RANKD_OK); /* all were taken */
    rankd_reply_clear(client, &reply);
    assert_int_equal(kill(daemon.pid, SIGTERM), 0);
    for (int i = 1; i < 3; i++) {
        assert_int_equal(rankd_wait(client, tags[i], SECONDS(30), &reply), RANKD_OK);
        assert_int_equal(reply.outputs[RANKD_OUT_RANKS].bytes, SLOW * sizeof(int64_t));
        rankd_reply_clear(client, &reply);
    }
    test_request_free(&slow);
    rankd_close(client);
    test_daemon_ended(&daemon);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        over_both(every_waiter_is_told_within_a_second_when_the_daemon_is_killed),
        over_both(polls_and_calls_are_told_too),
        over_both(a_successor_is_found_and_memory_from_before_is_kept),
        over_ring(tags_from_before_are_over),
        over_both(eight_threads_reconnect_at_once),
        over_ring(a_call_is_not_left_waiting_for_a_daemon_that_is_gone),
        over_both(a_daemon_that_stops_answers_what_it_has_taken),
    };
    return cmocka_run_group_tests_name("client_death", tests, NULL, NULL);
}
