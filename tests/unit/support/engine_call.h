/* SPDX-License-Identifier: Apache-2.0 */
/* Requests to the engine, for tests: all arguments of rk_engine_run() in one value. */
#ifndef RK_TEST_ENGINE_H
#define RK_TEST_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "request/request.h"

struct test_call {
    struct rk_request request;
    struct rk_reply reply;
    struct rk_err err;
    struct rk_exec exec;
};

/* A call of a model with defaults, scratch of its own (limit 0 = none) and no threads.
 * test_call_end() frees it and the reply. */
void test_call_start(struct test_call *call, const char *model, size_t scratch_limit);
void test_call_end(struct test_call *call);

/* Sets an input; data is borrowed. */
void test_input(struct test_call *call, enum rk_input which, enum rk_dtype dtype, size_t rows, size_t columns,
                const void *data);
void test_vector(struct test_call *call, enum rk_input which, enum rk_dtype dtype, size_t n,
                 const void *data);

/* Sets parameters by name; a refusal ends the test. */
void test_number(struct test_call *call, const char *name, double value);
void test_word(struct test_call *call, const char *name, const char *value);

/* Runs; anything but RANKD_OK ends the test with the sentence. */
void test_run(struct test_call *call);

/* Runs; anything but that status with that sentence ends the test. */
void test_refused(struct test_call *call, enum rankd_status status, const char *sentence);

/* Both replies are the same to the bit; anything else ends the test. */
void test_same_bits(const struct rk_reply *a, const struct rk_reply *b);

/* Ends the test if a call took more memory than its cost, which is computed from sizes alone. */
void test_covered(const struct test_call *call);

const float *test_gradient(const struct test_call *call);
const float *test_floats(const struct test_call *call, enum rk_output which);
const int64_t *test_ints(const struct test_call *call, enum rk_output which);

/* SplitMix64: seeded, the same everywhere. */
struct test_random {
    uint64_t state;
};
uint64_t test_next(struct test_random *random);
size_t test_below(struct test_random *random, size_t bound); /* 0..bound-1 */
double test_uniform(struct test_random *random);             /* [0, 1) */

/* A pool of real threads; width at least 2. */
struct rk_pool *test_pool_new(unsigned width);
void test_pool_free(struct rk_pool *pool);

#endif
