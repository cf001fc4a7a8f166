/* SPDX-License-Identifier: Apache-2.0 */
/* librankd: the arena, where outputs go, and a process that runs out of memory at every allocation
 * in turn. */
#include <curl/curl.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "unit/failing/allocations.h"
#include "unit/support/client.h"

/* ---- Allocations that fail on purpose ---- */

/* Jansson's have a count of their own. */
static atomic_size_t json_fail_at, json_allocations;

static void make_json_fail(size_t n)
{
    json_allocations = 0;
    json_fail_at = n;
}

static bool has_failed(void)
{
    return (fail_at != 0 && allocations >= fail_at) ||
           (json_fail_at != 0 && json_allocations >= json_fail_at);
}

/* Jansson's memory in a program with its own allocator: it can't be freed by free(). */
static void *json_malloc(size_t size)
{
    char *memory = ++json_allocations == json_fail_at ? NULL : counted(__real_malloc(size + 16));
    return memory != NULL ? memory + 16 : NULL;
}

static void json_free(void *at)
{
    if (at != NULL)
        __wrap_free((char *)at - 16);
}

/* ---- The daemon ---- */

static const char *const flags[] = {NULL};
static struct test_daemon daemon_;

static int start(void **state)
{
    (void)state;
    json_set_alloc_funcs(json_malloc, json_free);
    (void)curl_global_init_mem(CURL_GLOBAL_DEFAULT, malloc, free, realloc, strdup, calloc);
    test_daemon_start(&daemon_, flags);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    test_daemon_stop(&daemon_);
    return 0;
}

static void to_close_with_everything_outstanding_leaks_nothing(void **state)
{
    struct test_request example;
    struct rankd_reply reply;
    char *answer;
    long before = living;
    uint64_t tag;
    rankd_client *client = test_open(&daemon_, state, NULL);
    test_example(&example);
    assert_non_null(rankd_alloc(client, 1000));
    test_daemon_hold(&daemon_);
    for (int i = 0; i < 10; i++)
        assert_int_equal(rankd_submit(client, &example.request, &tag, NULL), RANKD_OK);
    rankd_forget(client, tag);
    assert_int_equal(rankd_call(client, "GET", "/v2", NULL, 0, 1000000, &answer, NULL, NULL), RANKD_TIMEOUT);
    test_daemon_go(&daemon_);
    assert_int_equal(rankd_infer(client, &example.request, &reply), RANKD_OK);
    rankd_close(client); /* and with it the piece of 1,000 bytes, and the reply's outputs */
    assert_int_equal(living, before);
}

/* ---- Memory of the process ---- */

/* A step that failed for lack of memory, and for no other reason, is repeated: it must not have
 * broken anything. */
static int *failures_seen;
static bool by_http;

static bool again(int status, const char *what)
{
    /* curl reports some lacks of memory as a host that was not found, Jansson as bad syntax. */
    bool told =
        status == RANKD_NO_MEMORY ||
        (by_http && (status == RANKD_UNREACHABLE || status == RANKD_LOST || status == RANKD_PROTOCOL));
    if (has_failed() && told) {
        ++*failures_seen;
        return true;
    }
    if (status != RANKD_OK)
        fail_msg("%s, allocation %zu: status %d", what, fail_at, status);
    return false;
}

static rankd_client *opened(void **state)
{
    struct rankd_error error;
    struct rankd_options options = {.token = "a-token", .arena_bytes = 1 << 20};
    rankd_client *client;
    while (again(rankd_open(test_url(&daemon_, state), &options, &client, &error), "open"))
        assert_true(client == NULL && error.status == RANKD_NO_MEMORY && strlen(error.text) > 10);
    return client;
}

static void *allocated(rankd_client *client, size_t bytes)
{
    void *memory = rankd_alloc(client, bytes);
    return memory != NULL ? memory : rankd_alloc(client, bytes);
}

static void infers(rankd_client *client, struct test_request *example)
{
    struct rankd_reply reply = {0};
    while (again(rankd_infer(client, &example->request, &reply), "infer"))
        assert_true(reply.owned == 0 && strlen(reply.error) > 10);
    /* Jansson 2.14 silently loses a letter of a key if it can't enlarge a buffer. */
    assert_true(test_is_example(&reply) || json_fail_at != 0);
    rankd_reply_clear(client, &reply);
}

static void calls(rankd_client *client)
{
    struct rankd_error error;
    char *answer;
    size_t bytes;
    int status;
    while (again(rankd_call(client, "GET", "/v2/models/ap", NULL, 0, SECONDS(20), &answer, &bytes, &error),
                 "call"))
        assert_true(answer == NULL && strlen(error.text) > 10);
    assert_non_null(strstr(answer, "\"ap\""));
    assert_int_equal(strlen(answer), bytes);
    free(answer);
    do
        status = rankd_call(client, "PUT", "/v2/banks/x", "{", 1, SECONDS(20), &answer, NULL, &error);
    while (status != RANKD_INVALID && again(status, "call"));
    assert_int_equal(status, RANKD_INVALID);
    assert_true(answer == NULL && strlen(error.text) > 10);
}

static bool is_as_before(void *arg)
{
    return living == *(const long *)arg;
}

/* All steps of a program while some allocation fails. Returns the number of failed steps. */
static int run_short_of_memory(void **state)
{
    int failures = 0;
    struct test_request example;
    static float gradient[4];
    test_example(&example);
    failures_seen = &failures;
    by_http = !is_ring(state);
    long before = living;
    rankd_client *client = opened(state);
    float *shared = allocated(client, 16);
    assert_non_null(shared);
    infers(client, &example);
    example.request.id = "short of memory";
    example.inputs[0].data = memcpy(shared, example.inputs[0].data, 16);
    example.outputs[1].data = gradient;
    example.outputs[1].bytes = sizeof gradient;
    infers(client, &example);
    calls(client);
    rankd_free(client, shared);
    rankd_close(client);
    if (!test_eventually(is_as_before, &before)) /* a thread of curl may still have to free something */
        fail_msg("allocations %zu, %zu: %ld were not freed", fail_at, json_fail_at, living - before);
    return failures;
}

static void each_allocation_may_fail_in_turn(void **state)
{
    size_t n = 0;
    int failures = 0;
    (void)run_short_of_memory(state); /* allocates what is made once per process */
    do {
        make_fail(++n);
        failures += run_short_of_memory(state);
    } while (has_failed() && n < 5000);
    make_fail(0);
    assert_in_range(n, 10, 4999);
    print_message("%zu allocations, %d of them were missed\n", n - 1, failures);
    assert_true(failures > 5);
    n = 0;
    do {
        make_json_fail(++n);
        failures += run_short_of_memory(state);
    } while (has_failed() && n < 5000);
    make_json_fail(0);
    assert_in_range(n, 3, 4999);
    print_message("and %zu of Jansson's\n", n - 1);
}

/* After a reconnect without memory the client still reports RANKD_LOST, and can try again. */
static void to_reconnect_may_fail_for_want_of_memory(void **state)
{
    struct test_daemon daemon;
    struct test_request example;
    struct rankd_reply reply;
    struct rankd_error error;
    test_example(&example);
    test_daemon_start(&daemon, flags);
    rankd_client *client = test_open(&daemon, state, NULL);
    for (size_t n = 1; n < 100; n++) {
        uint64_t tag;
        char *answer;
        void *kept = rankd_alloc(client, 64);
        assert_int_equal(rankd_submit(client, &example.request, &tag, NULL), RANKD_OK);
        test_daemon_kill(&daemon);
        while (rankd_infer(client, &example.request, &reply) != RANKD_LOST)
            rankd_reply_clear(client, &reply);
        test_daemon_again(&daemon);
        make_fail(n);
        int status = rankd_reconnect(client, &error);
        bool failed = has_failed();
        make_fail(0);
        assert_int_equal(status, failed ? RANKD_NO_MEMORY : RANKD_OK);
        if (failed) {
            assert_int_equal(rankd_wait(client, tag, SECONDS(1), &reply), RANKD_LOST); /* answered or not */
            assert_int_equal(rankd_infer(client, &example.request, &reply), RANKD_LOST);
            assert_int_equal(rankd_call(client, "GET", "/v2", NULL, 0, SECONDS(1), &answer, NULL, NULL),
                             RANKD_LOST);
            rankd_forget(client, tag);
            assert_int_equal(rankd_reconnect(client, &error), RANKD_OK);
        }
        assert_int_equal(rankd_infer(client, &example.request, &reply), RANKD_OK);
        assert_true(test_is_example(&reply));
        rankd_reply_clear(client, &reply);
        rankd_free(client, kept);
        if (!failed)
            break;
    }
    rankd_close(client);
    test_daemon_stop(&daemon);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        over_both(to_close_with_everything_outstanding_leaks_nothing),
        over_both(each_allocation_may_fail_in_turn),
        over_ring(to_reconnect_may_fail_for_want_of_memory),
    };
    return cmocka_run_group_tests_name("client_memory", tests, start, stop);
}
