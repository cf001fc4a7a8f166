/* SPDX-License-Identifier: Apache-2.0 */
/* librankd: requests from submit to reply, one after the other, many at once, and by many threads.
 * Nearly every test runs over both transports, with the same results. */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "unit/support/client.h"

enum { ENTRIES = 64, SLOW = 1 << 20 };

/* ---- Submit, poll, wait ---- */

static void infer_answers_the_worked_example(void **state)
{
    struct test_request example;
    struct rankd_reply reply;
    rankd_client *client = test_open(&test_shared, state, NULL);
    test_example(&example);
    for (int i = 0; i < 200; i++) { /* more often than there are entries */
        assert_int_equal(rankd_infer(client, &example.request, &reply), RANKD_OK);
        assert_true(test_is_example(&reply));
        rankd_reply_clear(client, &reply);
    }
    rankd_close(client);
}

static void a_request_is_pending_and_times_out_until_it_is_answered(void **state)
{
    struct test_request example;
    struct rankd_reply reply;
    rankd_client *client = test_open(&test_shared, state, NULL);
    test_example(&example);
    test_daemon_hold(&test_shared);
    uint64_t tag = test_submitted(client, &example), begun = test_now_ns();
    assert_int_equal(rankd_poll(client, tag, &reply), RANKD_PENDING);
    assert_int_equal(reply.status, RANKD_PENDING);
    assert_int_equal(rankd_wait(client, tag, 0, &reply), RANKD_TIMEOUT);
    assert_int_equal(rankd_wait(client, tag, SECONDS(0.05), &reply), RANKD_TIMEOUT);
    assert_true(test_now_ns() - begun >= SECONDS(0.05));
    assert_true(strlen(reply.error) > 10);
    test_daemon_go(&test_shared);
    test_takes_example(client, tag);
    assert_int_equal(rankd_wait(client, tag, SECONDS(1), &reply), RANKD_MISUSE); /* it was taken */
    assert_int_equal(rankd_poll(client, tag, &reply), RANKD_MISUSE);
    rankd_close(client);
}

struct poll {
    rankd_client *client;
    uint64_t tag;
    struct rankd_reply reply;
};

static bool is_answered(void *arg)
{
    struct poll *poll = arg;
    return rankd_poll(poll->client, poll->tag, &poll->reply) != RANKD_PENDING;
}

static void to_poll_is_enough_to_get_an_answer(void **state)
{
    struct test_request example;
    struct poll poll = {.client = test_open(&test_shared, state, NULL)};
    test_example(&example);
    poll.tag = test_submitted(poll.client, &example);
    assert_true(test_eventually(is_answered, &poll));
    assert_true(test_is_example(&poll.reply));
    rankd_reply_clear(poll.client, &poll.reply);
    rankd_close(poll.client);
}

static void as_many_as_there_are_entries_are_outstanding_and_one_more_is_overloaded(void **state)
{
    struct test_request example;
    struct rankd_error error = {0};
    uint64_t tags[ENTRIES], more = 7;
    rankd_client *client = test_open(&test_shared, state, NULL);
    test_example(&example);
    for (int round = 0; round < 2; round++) {
        test_daemon_hold(&test_shared);
        for (int i = 0; i < ENTRIES; i++) {
            tags[i] = test_submitted(client, &example);
            for (int j = 0; j < i; j++)
                assert_true(tags[j] != tags[i]);
        }
        assert_int_equal(rankd_submit(client, &example.request, &more, &error), RANKD_OVERLOADED);
        assert_non_null(strstr(error.text, "64"));
        test_daemon_go(&test_shared);
        for (int i = ENTRIES; i-- > 0;) /* in any order: here from the last */
            test_takes_example(client, tags[i]);
    }
    rankd_close(client);
}

static void an_answer_that_is_not_taken_keeps_its_entry(void **state)
{
    struct test_request example;
    rankd_client *client = test_open(&test_shared, state, &(struct rankd_options){.entries = 4});
    test_example(&example);
    uint64_t tags[4];
    for (int i = 0; i < 4; i++)
        tags[i] = test_submitted(client, &example);
    for (int i = 0; i < 3; i++)
        test_takes_example(client, tags[i]);
    for (int i = 0; i < 20; i++) /* beside the one that stays */
        test_takes_example(client, test_submitted(client, &example));
    test_takes_example(client, tags[3]);
    rankd_close(client);
}

static void a_small_request_overtakes_a_slow_one(void **state)
{
    struct test_request example, slow;
    struct rankd_reply reply;
    rankd_client *client = test_open(&test_shared, state, NULL);
    test_example(&example);
    test_sorting(&slow, SLOW);
    bool overtaken = false;
    for (int i = 0; i < 20 && !overtaken; i++) { /* on a busy machine the small one may be slow */
        uint64_t first = test_submitted(client, &slow);
        test_takes_example(client, test_submitted(client, &example));
        overtaken = rankd_poll(client, first, &reply) == RANKD_PENDING;
        assert_int_equal(overtaken ? rankd_wait(client, first, SECONDS(30), &reply) : reply.status, RANKD_OK);
        assert_int_equal(reply.outputs[RANKD_OUT_RANKS].bytes, SLOW * sizeof(int64_t));
        rankd_reply_clear(client, &reply);
    }
    assert_true(overtaken);
    test_request_free(&slow);
    rankd_close(client);
}

static void a_deadline_that_passes_is_told_as_such(void **state)
{
    struct test_request slow;
    struct rankd_reply reply;
    rankd_client *client = test_open(&test_shared, state, NULL);
    test_sorting(&slow, SLOW);
    slow.request.timeout_ns = 1;
    assert_int_equal(rankd_infer(client, &slow.request, &reply), RANKD_DEADLINE);
    assert_int_equal(reply.status, RANKD_DEADLINE);
    assert_non_null(strstr(reply.error, "deadline"));
    assert_null(reply.outputs[RANKD_OUT_RANKS].data);
    rankd_reply_clear(client, &reply);
    slow.request.timeout_ns = UINT64_MAX;
    assert_int_equal(rankd_infer(client, &slow.request, &reply), RANKD_OK);
    rankd_reply_clear(client, &reply);
    test_still_works(client);
    test_request_free(&slow);
    rankd_close(client);
}

/* ---- Cancel, forget ---- */

static void what_was_not_started_is_taken_back(void **state)
{
    struct test_request slow;
    struct rankd_reply reply;
    rankd_client *client = test_open(&test_shared, state, NULL);
    test_sorting(&slow, SLOW);
    uint64_t first = test_submitted(client, &slow),
             second = test_submitted(client, &slow); /* there is one worker */
    assert_int_equal(rankd_cancel(client, second), RANKD_OK);
    int status = rankd_wait(client, second, SECONDS(30), &reply);
    if (is_ring(state)) {
        assert_int_equal(status, RANKD_CANCELLED);
        assert_non_null(strstr(reply.error, "taken back"));
    } else {
        assert_int_equal(status, RANKD_OK); /* HTTP can't cancel a request */
    }
    rankd_reply_clear(client, &reply);
    assert_int_equal(rankd_wait(client, first, SECONDS(30), &reply), RANKD_OK);
    rankd_reply_clear(client, &reply);
    assert_int_equal(rankd_cancel(client, first), RANKD_MISUSE);
    assert_int_equal(rankd_cancel(client, 123456), RANKD_MISUSE);
    assert_int_equal(rankd_cancel(client, 0), RANKD_MISUSE);
    test_request_free(&slow);
    rankd_close(client);
}

static void what_is_answered_already_is_not_taken_back(void **state)
{
    struct test_request example;
    struct poll poll = {.client = test_open(&test_shared, state, NULL)};
    test_example(&example);
    uint64_t first = test_submitted(poll.client, &example);
    poll.tag = test_submitted(poll.client, &example);
    assert_true(test_eventually(is_answered, &poll)); /* so the one before it is answered too */
    rankd_reply_clear(poll.client, &poll.reply);
    assert_int_equal(rankd_cancel(poll.client, first), RANKD_OK);
    test_takes_example(poll.client, first);
    rankd_close(poll.client);
}

enum { FEW = 4 };

struct room {
    rankd_client *client;
    uint64_t free;
};

static bool all_is_free(void *arg)
{
    struct room *room = arg;
    uint64_t bytes, largest, tags[FEW];
    struct test_request example;
    int count = 0;
    test_example(&example);
    /* Abandoned requests take room until they are answered. */
    while (count < FEW && rankd_submit(room->client, &example.request, &tags[count], NULL) == RANKD_OK)
        count++;
    for (int i = 0; i < count; i++)
        test_takes_example(room->client, tags[i]);
    if (count < FEW)
        return false;
    rankd_arena(room->client, &bytes, &largest);
    return largest == room->free;
}

static void what_is_forgotten_leaves_nothing_behind(void **state)
{
    struct test_request example;
    struct rankd_reply reply;
    uint64_t bytes, tags[FEW];
    struct room room = {.client = test_open(&test_shared, state, &(struct rankd_options){.entries = FEW})};
    rankd_client *client = room.client;
    rankd_arena(client, &bytes, &room.free);
    test_example(&example);
    for (int round = 0; round < 30; round++) {
        if (round % 3 == 0)
            test_daemon_hold(&test_shared);
        for (int i = 0; i < FEW - 1; i++)
            tags[i] = test_submitted(client, &example);
        if (round % 3 == 1)
            test_still_works(client); /* so that they are answered already */
        for (int i = 0; i < FEW - 1; i++) {
            rankd_forget(client, tags[i]);
            assert_int_equal(rankd_poll(client, tags[i], &reply), RANKD_MISUSE);
            assert_int_equal(rankd_wait(client, tags[i], SECONDS(5), &reply), RANKD_MISUSE);
            assert_int_equal(rankd_cancel(client, tags[i]), RANKD_MISUSE);
            rankd_forget(client, tags[i]);
        }
        if (round % 3 == 0)
            test_daemon_go(&test_shared);
        assert_true(test_eventually(all_is_free, &room));
    }
    rankd_forget(client, 987654321);
    rankd_forget(client, 0);
    rankd_close(client);
}

/* ---- Threads ---- */

enum { THREADS = 8, ROUNDS = 100 };

struct worker {
    pthread_t thread;
    rankd_client *client;
    int number, wrong;
};

/* A request whose loss identifies its thread: thread k's relevant item has k + 1 others above
 * it. */
static int one_round(const struct worker *worker)
{
    float scores[THREADS + 2];
    int8_t targets[THREADS + 2] = {0};
    struct test_request r;
    struct rankd_reply reply;
    char *answer;
    uint64_t tag;
    int status;
    for (int i = 0; i < THREADS + 2; i++)
        scores[i] = (float)-i;
    targets[worker->number + 1] = 1;
    test_example(&r);
    r.inputs[0] =
        (struct rankd_tensor){RANKD_IN_SCORES, RANKD_FP32, 2, {1, THREADS + 2}, scores, sizeof scores};
    r.inputs[1] =
        (struct rankd_tensor){RANKD_IN_TARGETS, RANKD_INT8, 2, {1, THREADS + 2}, targets, sizeof targets};
    if (worker->number % 4 == 3) {
        status =
            rankd_call(worker->client, "GET", "/v2/models/ap", NULL, 0, SECONDS(30), &answer, NULL, NULL);
        free(answer);
        if (status != RANKD_OK)
            return 1;
    }
    if (rankd_submit(worker->client, &r.request, &tag, NULL) != RANKD_OK)
        return 1;
    do
        status = rankd_wait(worker->client, tag, worker->number % 2 ? UINT64_MAX : 100000, &reply);
    while (status == RANKD_TIMEOUT);
    double precision = 1.0 / (worker->number + 2);
    bool right = status == RANKD_OK && fabs(reply.loss - (1 - precision)) < 1e-6;
    rankd_reply_clear(worker->client, &reply);
    return !right;
}

static void *work(void *arg)
{
    struct worker *worker = arg;
    for (int i = 0; i < ROUNDS; i++)
        worker->wrong += one_round(worker);
    return NULL;
}

static void eight_threads_wait_on_one_client_each_for_its_own(void **state)
{
    struct worker workers[THREADS];
    rankd_client *client =
        test_open(&test_shared, state, &(struct rankd_options){.spin_us = is_ring(state) ? 20 : 0});
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.client = client, .number = i};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(workers[i].wrong, 0);
    test_still_works(client);
    rankd_close(client);
}

struct poller {
    rankd_client *client;
    uint64_t tag;
    atomic_bool over;
    int status;
};

static void *poll_on_and_on(void *arg)
{
    struct poller *poller = arg;
    struct rankd_reply reply;
    while ((poller->status = rankd_poll(poller->client, poller->tag, &reply)) == RANKD_PENDING)
        continue;
    rankd_reply_clear(poller->client, &reply);
    atomic_store(&poller->over, true);
    return NULL;
}

/* A thread that polls for its own answer may find the answer of another thread, which sleeps and
 * has to be woken. */
static void a_thread_that_polls_does_not_keep_one_that_waits_from_its_answer(void **state)
{
    pthread_t thread;
    struct test_request slow;
    struct poller poller = {.client =
                                test_open(&test_shared, state,
                                          &(struct rankd_options){.spin_us = 500, .arena_bytes = 192 << 20})};
    int served = 0;
    test_sorting(&slow, 8 * SLOW);
    poller.tag = test_submitted(poller.client, &slow);
    assert_int_equal(pthread_create(&thread, NULL, poll_on_and_on, &poller), 0);
    for (; !atomic_load(&poller.over); served++)
        test_still_works(poller.client);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(poller.status, RANKD_OK);
    assert_true(served > 20); /* some thousand on an idle machine */
    test_request_free(&slow);
    rankd_close(poller.client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        over_both(infer_answers_the_worked_example),
        over_both(a_request_is_pending_and_times_out_until_it_is_answered),
        over_both(to_poll_is_enough_to_get_an_answer),
        over_both(as_many_as_there_are_entries_are_outstanding_and_one_more_is_overloaded),
        over_both(an_answer_that_is_not_taken_keeps_its_entry),
        over_both(a_small_request_overtakes_a_slow_one),
        over_both(a_deadline_that_passes_is_told_as_such),
        over_both(what_was_not_started_is_taken_back),
        over_both(what_is_answered_already_is_not_taken_back),
        over_both(what_is_forgotten_leaves_nothing_behind),
        over_both(eight_threads_wait_on_one_client_each_for_its_own),
        over_ring(a_thread_that_polls_does_not_keep_one_that_waits_from_its_answer),
    };
    return cmocka_run_group_tests_name("client_calls", tests, test_shared_start, test_shared_stop);
}
