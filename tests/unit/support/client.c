/* SPDX-License-Identifier: Apache-2.0 */
#include "unit/support/client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

const bool test_over_ring = true, test_over_http = false;
const float test_example_gradient[4] = {0.25f, -0.25f, 0.25f, -0.25f};

const char *test_url(const struct test_daemon *daemon, void **state)
{
    return is_ring(state) ? daemon->ring : daemon->http;
}

rankd_client *test_open(const struct test_daemon *daemon, void **state, const struct rankd_options *options)
{
    rankd_client *client = NULL;
    struct rankd_error error = {0};
    if (rankd_open(test_url(daemon, state), options, &client, &error) != RANKD_OK)
        fail_msg("%s", error.text);
    assert_non_null(client);
    return client;
}

void test_example(struct test_request *request)
{
    static float scores[4] = {0.9f, 0.8f, 0.7f, 0.6f};
    static int8_t targets[4] = {0, 1, 0, 1};
    memset(request, 0, sizeof *request);
    request->inputs[0] = (struct rankd_tensor){RANKD_IN_SCORES, RANKD_FP32, 2, {1, 4}, scores, sizeof scores};
    request->inputs[1] =
        (struct rankd_tensor){RANKD_IN_TARGETS, RANKD_INT8, 2, {1, 4}, targets, sizeof targets};
    request->outputs[0] = (struct rankd_tensor){.port = RANKD_OUT_LOSS};
    request->outputs[1] = (struct rankd_tensor){.port = RANKD_OUT_GRADIENT};
    request->parameters[0] = (struct rankd_parameter){"lambda", RANKD_NUMBER, 1, NULL};
    request->parameters[1] = (struct rankd_parameter){"margin", RANKD_NUMBER, 0, NULL};
    request->request = (struct rankd_request){.model = "ap",
                                              .inputs = request->inputs,
                                              .input_count = 2,
                                              .outputs = request->outputs,
                                              .output_count = 2,
                                              .parameters = request->parameters,
                                              .parameter_count = 2};
}

bool test_is_example(const struct rankd_reply *reply)
{
    const struct rankd_tensor *loss = &reply->outputs[RANKD_OUT_LOSS];
    const struct rankd_tensor *gradient = &reply->outputs[RANKD_OUT_GRADIENT];
    return reply->status == RANKD_OK && reply->error[0] == '\0' && reply->loss == 0.5 && reply->lists == 1 &&
           reply->lists_skipped == 0 && reply->has_gradient && reply->gradient_nonzero == 4 &&
           !reply->has_bank && loss->data != NULL && loss->dtype == RANKD_FP32 && loss->rank == 1 &&
           loss->shape[0] == 1 && loss->bytes == 4 && *(const float *)loss->data == 0.5f &&
           gradient->data != NULL && gradient->rank == 2 && gradient->shape[0] == 1 &&
           gradient->shape[1] == 4 && gradient->bytes == sizeof test_example_gradient &&
           memcmp(gradient->data, test_example_gradient, sizeof test_example_gradient) == 0;
}

void test_sorting(struct test_request *request, size_t items)
{
    uint32_t x = 1;
    memset(request, 0, sizeof *request);
    request->scores = malloc(items * sizeof *request->scores);
    assert_non_null(request->scores);
    for (size_t i = 0; i < items; i++) {
        x = x * 1664525u + 1013904223u;
        request->scores[i] = (float)x;
    }
    request->inputs[0] = (struct rankd_tensor){
        RANKD_IN_SCORES, RANKD_FP32, 2, {1, items}, request->scores, items * sizeof *request->scores};
    request->outputs[0] = (struct rankd_tensor){.port = RANKD_OUT_RANKS};
    request->request = (struct rankd_request){.model = "rank",
                                              .inputs = request->inputs,
                                              .input_count = 1,
                                              .outputs = request->outputs,
                                              .output_count = 1};
}

void test_request_free(struct test_request *request)
{
    free(request->scores);
    free(request->targets);
    memset(request, 0, sizeof *request);
}

uint64_t test_submitted(rankd_client *client, const struct test_request *request)
{
    struct rankd_error error = {0};
    uint64_t tag = 0;
    if (rankd_submit(client, &request->request, &tag, &error) != RANKD_OK)
        fail_msg("%s", error.text);
    assert_true(tag != 0);
    return tag;
}

void test_takes_example(rankd_client *client, uint64_t tag)
{
    struct rankd_reply reply;
    if (rankd_wait(client, tag, SECONDS(30), &reply) != RANKD_OK || !test_is_example(&reply))
        fail_msg("%d: %s", reply.status, reply.error);
    rankd_reply_clear(client, &reply);
}

void test_still_works(rankd_client *client)
{
    struct test_request example;
    test_example(&example);
    test_takes_example(client, test_submitted(client, &example));
}

void test_call(rankd_client *client, const char *method, const char *path, const char *body, int status)
{
    char *answer;
    size_t bytes = 0;
    struct rankd_error error = {0};
    int got = rankd_call(client, method, path, body, body != NULL ? strlen(body) : 0, SECONDS(30), &answer,
                         &bytes, &error);
    if (got != status)
        fail_msg("%s %s: %d %s", method, path, got, error.text);
    assert_true((answer != NULL) == (status == RANKD_OK));
    assert_true(answer == NULL || strlen(answer) == bytes);
    free(answer);
}

uint64_t test_now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

bool test_eventually(bool (*is_true)(void *arg), void *arg)
{
    uint64_t until = test_now_ns() + SECONDS(20);
    while (!is_true(arg)) {
        if (test_now_ns() > until)
            return false;
        (void)nanosleep(&(struct timespec){0, 5000000}, NULL);
    }
    return true;
}
