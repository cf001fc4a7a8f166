/* SPDX-License-Identifier: Apache-2.0 */
/* Random ranking problems with all difficult cases. */
#ifndef RK_TEST_PROBLEM_H
#define RK_TEST_PROBLEM_H

#include "unit/support/brute.h"
#include "unit/support/engine_call.h"

struct problem {
    size_t rows, columns;
    enum rk_dtype score_dtype, target_dtype;
    void *scores;   /* as sent */
    void *targets;  /* as sent */
    float *values;  /* the scores as FP32 */
    int8_t *labels; /* the targets as bytes: 1, 0, -1 */
    double *grades; /* and the grades of relevant items */
    struct brute brute;
};

/* The most items of a list, the most lists. problem_free() frees. */
void problem_draw(struct problem *problem, struct test_random *random, size_t lists, size_t items);
void problem_free(struct problem *problem);

/* Fills a call that test_call_start() began for problem_model(). */
const char *problem_model(const struct problem *problem);
void problem_fill(const struct problem *problem, struct test_call *call);

/* Independent conversions, by arithmetic on the fields. */
float problem_fp16(uint16_t half);
float problem_bf16(uint16_t half);

#endif
