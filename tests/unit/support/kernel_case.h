/* SPDX-License-Identifier: Apache-2.0 */
/* Random passes over one list, and their expected results: by comparing each item with each
 * threshold. */
#ifndef RK_TEST_KERNEL_CASE_H
#define RK_TEST_KERNEL_CASE_H

#include "kernels/kernel.h"
#include "unit/support/engine_call.h"

/* Where the scores of a case come from. */
enum kernel_scores {
    KERNEL_UNIFORM,
    KERNEL_NORMAL,
    KERNEL_TIES,      /* few values, +0.0 and -0.0 and infinities among them */
    KERNEL_EQUAL,     /* one value */
    KERNEL_CLUSTERED, /* a few steps of the last bit around 0.5, and one far away */
    KERNEL_SPREAD,    /* all magnitudes, denormals too */
    KERNEL_ASCENDING,
    KERNEL_DESCENDING,
    KERNEL_SCORES
};

struct kernel_draw {
    uint32_t items;
    double relevant; /* share of items */
    double ignored;
    enum rk_dtype dtype;
    enum kernel_scores scores;
    size_t segments; /* 1 to 3; the last one receives no gradient where there are more */
    bool no_targets; /* the last of several segments has none: all irrelevant */
    double step;     /* how far the thresholds move: upwards by up to that much, 0 = anywhere */
};

struct kernel_case {
    struct rk_list list;
    struct rk_list_segment segment[3];
    void *memory[6]; /* scores, then targets; each starts at an odd address */
    float *score;    /* [items] as FP32 */
    int8_t *target;  /* [items] */
    uint32_t *position;
    float *raw, *threshold, *perturbed_threshold;
    /* The expected results. */
    uint32_t *irrelevant_above, *perturbed_irrelevant_above;
    int32_t *delta; /* 0 for relevant and ignored items */
};

/* kernel_case_free() frees. */
void kernel_case_draw(struct kernel_case *c, struct test_random *random, const struct kernel_draw *draw);
void kernel_case_free(struct kernel_case *c);

/* Runs the first pass, begin() with no more of it than the contract gives, and leaves pass->nan. A
 * test that needs pass->exec sets it afterwards. */
void kernel_case_count(const struct rk_strategy *strategy, struct rk_pool *pool, struct rk_pass *pass);

/* Runs count, move into a dense writer and move into sparse writers of several sizes, and ends the
 * test if anything differs from the expected results. */
void kernel_case_check(const struct kernel_case *c, const struct rk_strategy *strategy, struct rk_pool *pool);

#endif
