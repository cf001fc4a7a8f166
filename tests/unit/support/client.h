/* SPDX-License-Identifier: Apache-2.0 */
/* Clients of a daemon over either transport, and requests whose answers are known. */
#ifndef RK_TEST_CLIENT_H
#define RK_TEST_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rankd.h"
#include "unit/support/daemon.h"

/* The state of a test that runs over both transports. */
extern const bool test_over_ring, test_over_http;

/* A test of the table that is run twice: with &test_over_ring and with &test_over_http as its
 * state. */
#define over_both(f)                                                                                         \
    {#f " [ring]", f, NULL, NULL, (void *)(uintptr_t)&test_over_ring},                                       \
    {                                                                                                        \
#f " [http]", f, NULL, NULL, (void *)(uintptr_t)&test_over_http                                      \
    }
#define over_ring(f)                                                                                         \
    {                                                                                                        \
#f, f, NULL, NULL, (void *)(uintptr_t)&test_over_ring                                                \
    }
#define over_http(f)                                                                                         \
    {                                                                                                        \
#f, f, NULL, NULL, (void *)(uintptr_t)&test_over_http                                                \
    }
#define is_ring(state) (*(const bool *)*(state))

#define SECONDS(n) ((uint64_t)((n)*1000000000.0))

const char *test_url(const struct test_daemon *daemon, void **state);

/* Options NULL: the defaults. A failure ends the test. */
rankd_client *test_open(const struct test_daemon *daemon, void **state, const struct rankd_options *options);

/* A request and everything that it points to. */
struct test_request {
    struct rankd_request request;
    struct rankd_tensor inputs[2], outputs[2];
    struct rankd_parameter parameters[2];
    float *scores;
    int8_t *targets;
};

/* scores 0.9 0.8 0.7 0.6, targets 0 1 0 1, lambda 1, margin 0: loss 0.5, gradient 0.25 -0.25 0.25
 * -0.25; both are requested, in memory of the library. */
void test_example(struct test_request *request);
extern const float test_example_gradient[4];

/* True if the reply is the example's. */
bool test_is_example(const struct rankd_reply *reply);

/* Sorting of so many scores: slow, and large enough for a worker. The ranks are asked for.
 * test_request_free() frees. */
void test_sorting(struct test_request *request, size_t items);
void test_request_free(struct test_request *request);

/* Sends it and gives its tag; waits for the example's answer; both. Anything else ends the test. */
uint64_t test_submitted(rankd_client *client, const struct test_request *request);
void test_takes_example(rankd_client *client, uint64_t tag);
void test_still_works(rankd_client *client);

/* A control call that must end with that status. `body` NULL: none. */
void test_call(rankd_client *client, const char *method, const char *path, const char *body, int status);

uint64_t test_now_ns(void);

/* Whether the condition becomes true within some seconds. */
bool test_eventually(bool (*is_true)(void *arg), void *arg);

#endif
