/* SPDX-License-Identifier: Apache-2.0 */
/* The cost of a request bounds the memory of its computation: requests of every kind, with every
 * option, on any number of threads, against the memory that was taken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/ranges.h"
#include "blackbox/blackbox.h"
#include "engine.h"
#include "request/offsets.h"
#include "unit/support/engine_call.h"
#include "unit/support/kernel_sets.h"
#include "unit/support/retrieval_case.h"

#define BIT(x) (1u << (x))

enum { CHUNKS = 3 };

/* A pool of any width that runs on the calling thread: the memory depends only on the width. */
static void run_in_turn(struct rk_pool *pool, size_t count, void (*task)(void *arg, size_t i), void *arg)
{
    (void)pool;
    for (size_t i = 0; i < count; i++)
        task(arg, i);
}

/* What a case is drawn from. */
struct draw {
    size_t lists, items; /* at most */
    const char *model;   /* NULL: any */
    double relevant;     /* share; negative: drawn */
    bool by_threads;     /* on every number of threads, not on one that is drawn */
};

struct scores_case {
    struct test_call call;
    struct rk_bank_snapshot bank;
    struct rk_bank_scores_chunk chunk[CHUNKS];
    void *memory[16];
    size_t memories;
};

static void *keep(struct scores_case *c, size_t bytes)
{
    void *memory = calloc(1, bytes + 1);
    assert_non_null(memory);
    return c->memory[c->memories++] = memory;
}

static float *draw_scores(struct scores_case *c, struct test_random *random, size_t n)
{
    float *scores = keep(c, n * sizeof(double)); /* as wide as any type; zeros are scores of every type */
    for (size_t i = 0; i < n; i++)
        scores[i] = (float)test_uniform(random);
    return scores;
}

static int8_t *draw_targets(struct scores_case *c, struct test_random *random, size_t n, double relevant)
{
    int8_t *targets = keep(c, n * sizeof(int64_t));
    for (size_t i = 0; i < n; i++)
        targets[i] = test_uniform(random) < relevant;
    return targets;
}

static void draw_bank(struct scores_case *c, struct test_random *random, size_t lists, double relevant)
{
    c->bank.scores.lists = lists;
    c->bank.scores.chunk = c->chunk;
    c->bank.scores.chunks = test_below(random, CHUNKS + 1);
    for (size_t i = 0; i < c->bank.scores.chunks; i++) {
        size_t items = 1 + test_below(random, 200);
        c->chunk[i] =
            (struct rk_bank_scores_chunk){.items = items,
                                          .stride = items,
                                          .scores = draw_scores(c, random, lists * items),
                                          .targets = draw_targets(c, random, lists * items, relevant)};
        c->bank.items += items;
    }
    c->call.request.bank_snapshot = &c->bank;
}

static void draw_params(struct test_call *call, struct test_random *random)
{
    const bool loss = call->request.model->loss;
    const double lambda[] = {1e-9, 0.5, 1000, 1e12};
    struct rk_params *params = &call->request.params;
    params->lambda = lambda[test_below(random, 4)];
    params->axis = loss ? (int)test_below(random, 2) : params->axis;
    params->interclass = loss && test_below(random, 3) == 0 ? (double)(1 + test_below(random, 2)) / 2 : 0;
    do
        call->request.outputs = (unsigned)test_next(random) & call->request.model->outputs;
    while (call->request.outputs & BIT(RK_OUT_REF_GRADIENT));
}

static void draw_case(struct scores_case *c, const struct draw *draw, struct test_random *random)
{
    static const char *const models[] = {"ap", "recall", "rank", "rank_vjp", "ndcg", "mrr"};
    static const enum rk_dtype score_dtypes[] = {RK_FP32, RK_FP16, RK_FP64, RK_BF16};
    static const enum rk_dtype target_dtypes[] = {RK_INT8, RK_UINT8, RK_INT64, RK_FP32};
    memset(c, 0, sizeof *c);
    struct test_call *call = &c->call;
    test_call_start(call, draw->model ? draw->model : models[test_below(random, 6)], 0);
    draw_params(call, random);
    const double relevant = draw->relevant < 0 ? test_uniform(random) : draw->relevant;
    const bool columns = call->request.params.axis == RK_AXIS_COLUMNS && call->request.model->loss;
    size_t lists = 1 + test_below(random, draw->lists), items = 1 + test_below(random, draw->items);
    if (draw->relevant >= 0) { /* as large as it may be */
        lists = draw->lists;
        items = draw->items;
    }
    const size_t rows = columns ? items : lists, width = columns ? lists : items, n = rows * width;
    /* Other types read the same bytes: their values do not matter, and small ones are finite. */
    const bool plain = test_below(random, 2) || draw->relevant >= 0;
    void *scores = plain ? (void *)draw_scores(c, random, n) : keep(c, n * sizeof(double));
    test_input(call, RK_IN_SCORES, plain ? RK_FP32 : score_dtypes[test_below(random, 4)], rows, width,
               scores);
    if (!call->request.model->loss) {
        if (call->request.model->inputs_scores & BIT(RK_IN_UPSTREAM))
            test_input(call, RK_IN_UPSTREAM, RK_FP32, rows, width, draw_scores(c, random, n));
        return;
    }
    const bool bytes = test_below(random, 2) || draw->relevant >= 0;
    void *targets = bytes ? (void *)draw_targets(c, random, n, relevant) : keep(c, n * sizeof(int64_t));
    test_input(call, RK_IN_TARGETS, bytes ? RK_INT8 : target_dtypes[test_below(random, 4)], rows, width,
               targets);
    if (test_below(random, 3) == 0 && !rk_model_graded(call->request.model))
        draw_bank(c, random, lists, relevant);
}

static void end_case(struct scores_case *c)
{
    test_call_end(&c->call);
    for (size_t i = 0; i < c->memories; i++)
        free(c->memory[i]);
}

/* Runs the request; the bytes that it took. */
static size_t take(struct test_call *call, const char *set, unsigned width)
{
    struct rk_pool pool = {.width = width, .run = run_in_turn};
    rk_scratch_free(call->exec.scratch);
    call->exec.scratch = rk_scratch_new(0);
    call->exec.pool = width > 1 ? &pool : NULL;
    call->exec.kernels = set ? rk_kernels_named(set) : NULL;
    rk_reply_clear(&call->reply);
    test_run(call);
    size_t bytes = rk_scratch_peak(call->exec.scratch);
    for (unsigned o = 0; o < RK_OUT_COUNT; o++)
        bytes += call->reply.out[o].bytes;
    return bytes;
}

/* The cost, which comes from the sizes alone: no tensor is read. */
static size_t cost_of(const struct test_call *call)
{
    struct rk_request request = call->request;
    for (unsigned i = 0; i < RK_IN_COUNT; i++)
        request.in[i].data = request.in[i].data ? rk_scratch_nowhere() : NULL;
    size_t cost = rk_engine_cost(&request);
    assert_int_equal(cost, rk_engine_cost(&call->request));
    return cost;
}

static void assert_covers(struct test_call *call, const char *set, unsigned width)
{
    const size_t cost = cost_of(call), taken = take(call, set, width);
    const struct rk_tensor *in =
        &call->request.in[call->request.in[RK_IN_SCORES].data ? RK_IN_SCORES : RK_IN_EMBEDDINGS];
    if (taken > cost)
        fail_msg("%s, %s, %u threads, [%zu, %zu], outputs 0x%x: took %zu bytes, its cost is %zu",
                 call->request.model->name, set, width, in->shape[0], in->shape[1], call->request.outputs,
                 taken, cost);
}

static void try_draw(const struct draw *draw, struct test_random *random)
{
    struct scores_case c;
    draw_case(&c, draw, random);
    const char *set = test_set_names[test_below(random, TEST_SETS)];
    set = rk_kernels_named(set) ? set : "scalar";
    if (draw->by_threads)
        for (unsigned width = 1; width <= 64; width++)
            assert_covers(&c.call, set, width);
    else
        assert_covers(&c.call, set, 1 + (unsigned)test_below(random, 64));
    end_case(&c);
}

static void requests_on_scores_take_no_more_than_they_cost(void **state)
{
    (void)state;
    struct test_random random = {11};
    for (int round = 0; round < 1500; round++)
        try_draw(&(struct draw){.lists = 40, .items = 60, .relevant = -1}, &random);
    for (int round = 0; round < 120; round++)
        try_draw(&(struct draw){.lists = 3, .items = 20000, .relevant = -1}, &random);
    for (int round = 0; round < 100; round++)
        try_draw(&(struct draw){.lists = 20000, .items = 4, .relevant = -1}, &random);
    for (int round = 0; round < 6; round++)
        try_draw(&(struct draw){.lists = 200, .items = 3000, .relevant = -1}, &random);
    for (int round = 0; round < 4; round++)
        try_draw(&(struct draw){.lists = 400, .items = 500, .relevant = -1, .by_threads = true}, &random);
}

/* Rows that are ranked before and after at once, targets counted in pieces, lists that are merged,
 * and tables of every size. */
static void long_lists_take_no_more_than_they_cost(void **state)
{
    (void)state;
    struct test_random random = {12};
    const double shares[] = {0, 1e-5, 0.01, 0.3, 0.95};
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
        try_draw(&(struct draw){.model = "ap", .lists = 1, .items = 700000, .relevant = shares[i]}, &random);
        try_draw(&(struct draw){.model = "recall", .lists = 1, .items = 1200000, .relevant = shares[i]},
                 &random);
        try_draw(&(struct draw){.model = "rank_vjp", .lists = 1 + i, .items = 140000, .relevant = 0},
                 &random);
    }
}

/* Lists of random lengths up to `longest`; the offsets' memory belongs to the case. */
static void draw_ragged(struct scores_case *c, struct test_random *random, size_t lists, size_t longest)
{
    static const char *const models[] = {"ap", "rank", "rank_vjp", "ndcg"};
    int64_t *offset = keep(c, (lists + 1) * sizeof *offset);
    struct test_call *call = &c->call;
    for (size_t l = 0; l < lists; l++)
        offset[l + 1] = offset[l] + (int64_t)test_below(random, longest + 1);
    offset[lists] += offset[lists] == 0;
    const size_t n = (size_t)offset[lists];
    test_call_start(call, models[test_below(random, 4)], 0);
    do
        call->request.outputs = (unsigned)test_next(random) & call->request.model->outputs;
    while (call->request.outputs & BIT(RK_OUT_REF_GRADIENT));
    test_vector(call, RK_IN_SCORES, RK_FP32, n, draw_scores(c, random, n));
    test_vector(call, RK_IN_OFFSETS, RK_INT64, lists + 1, offset);
    if (call->request.model->inputs_scores & BIT(RK_IN_UPSTREAM))
        test_vector(call, RK_IN_UPSTREAM, RK_FP32, n, draw_scores(c, random, n));
    if (call->request.model->loss)
        test_vector(call, RK_IN_TARGETS, RK_INT8, n, draw_targets(c, random, n, test_uniform(random)));
}

static void lists_of_different_lengths_take_no_more_than_they_cost_with_the_longest_known(void **state)
{
    (void)state;
    struct test_random random = {14};
    for (int round = 0; round < 400; round++) {
        static const size_t lengths[] = {1, 30, 500, 6000, 200000};
        struct scores_case c = {0};
        const size_t longest = lengths[test_below(&random, round % 20 ? 4 : 5)];
        draw_ragged(&c, &random, 1 + test_below(&random, longest > 500 ? 6 : 300), longest);
        c.call.request.longest = test_below(&random, 4) ? rk_offsets_longest(&c.call.request) : 0;
        const char *set = test_set_names[test_below(&random, TEST_SETS)];
        assert_covers(&c.call, rk_kernels_named(set) ? set : "scalar", 1 + (unsigned)test_below(&random, 64));
        end_case(&c);
    }
}

static void many_short_lists_cost_what_runs_at_once_and_not_one_list_of_all(void **state)
{
    (void)state;
    enum { LISTS = 10000, ITEMS = 260, N = LISTS * ITEMS };
    struct scores_case c = {0};
    struct test_random random = {15};
    int64_t *offset = keep(&c, (LISTS + 1) * sizeof *offset);
    for (size_t l = 0; l <= LISTS; l++)
        offset[l] = (int64_t)(l * ITEMS);
    test_call_start(&c.call, "ap", 0);
    c.call.request.outputs = BIT(RK_OUT_LOSS) | BIT(RK_OUT_GRADIENT);
    test_vector(&c.call, RK_IN_SCORES, RK_FP32, N, draw_scores(&c, &random, N));
    test_vector(&c.call, RK_IN_TARGETS, RK_INT8, N, draw_targets(&c, &random, N, 0.05));
    test_vector(&c.call, RK_IN_OFFSETS, RK_INT64, LISTS + 1, offset);
    const size_t one = rk_engine_cost(&c.call.request);
    c.call.request.longest = rk_offsets_longest(&c.call.request);
    assert_int_equal(c.call.request.longest, ITEMS);
    const size_t cost = cost_of(&c.call), taken = take(&c.call, NULL, 64);
    if (taken > cost || cost > 2 * taken || one < 4 * cost)
        fail_msg("took %zu bytes, cost %zu, as one list %zu", taken, cost, one);
    end_case(&c);
}

/* For the worst request the cost is only a little more than the memory. */
static void the_worst_request_costs_about_what_it_takes(void **state)
{
    (void)state;
    static const struct {
        const char *model;
        size_t lists, items;
        unsigned outputs, width;
    } worst[] = {
        {"ap", 1, 300000, BIT(RK_OUT_GRADIENT), 3},
        {"ap", 1, 300000, BIT(RK_OUT_GRADIENT), 64},
        {"ap", 400, 2000, BIT(RK_OUT_GRADIENT) | BIT(RK_OUT_LIST_LOSS), 64},
        {"ap", 100, 2000, BIT(RK_OUT_GRADIENT_INDICES) | BIT(RK_OUT_GRADIENT_VALUES), 1},
        {"rank", 500, 1000, BIT(RK_OUT_RANKS), 64},
        {"rank_vjp", 2, 200000, BIT(RK_OUT_GRADIENT), 64},
        {"rank_vjp", 100, 2000, BIT(RK_OUT_GRADIENT_VALUES), 1},
    };
    for (size_t i = 0; i < sizeof worst / sizeof *worst; i++) {
        struct test_random random = {i};
        struct scores_case c;
        const struct draw draw = {.model = worst[i].model,
                                  .lists = worst[i].lists,
                                  .items = worst[i].items,
                                  .relevant = i < 2    ? 0.99
                                              : i == 2 ? 0.05
                                                       : 0.9};
        draw_case(&c, &draw, &random);
        c.call.request.params = rk_params_default();
        c.call.request.params.lambda = 1e3;
        c.call.request.bank_snapshot = NULL;
        for (unsigned in = 0; in < RK_IN_COUNT; in++)
            if (c.call.request.in[in].data)
                test_input(&c.call, (enum rk_input)in, c.call.request.in[in].dtype, draw.lists, draw.items,
                           c.call.request.in[in].data);
        c.call.request.outputs = worst[i].outputs;
        const size_t taken = take(&c.call, NULL, worst[i].width), cost = cost_of(&c.call);
        if (taken > cost || cost > 2 * taken)
            fail_msg("%s, case %zu: took %zu bytes, its cost is %zu", draw.model, i, taken, cost);
        end_case(&c);
    }
}

static void try_retrieval(struct retrieval_shape shape, struct test_random *random)
{
    struct retrieval_case c;
    struct test_call call;
    uint64_t seed = test_next(random);
    case_random(&c, &shape, &seed);
    test_call_start(&call, test_below(random, 2) ? "ap" : "recall", 0);
    const struct rk_model *model = call.request.model;
    call.request = c.request;
    call.request.model = model;
    do
        call.request.outputs = (unsigned)test_next(random) & model->outputs;
    while (call.request.outputs & BIT(RK_OUT_REF_GRADIENT) && !c.request.in[RK_IN_REF_EMBEDDINGS].data);
    call.request.params.lambda = test_below(random, 2) ? 0.5 : 1e6;
    const char *set = test_set_names[test_below(random, TEST_SETS)];
    assert_covers(&call, rk_kernels_named(set) ? set : "scalar", 1 + (unsigned)test_below(random, 64));
    test_call_end(&call);
    case_free(&c);
}

static void requests_on_embeddings_take_no_more_than_they_cost(void **state)
{
    (void)state;
    struct test_random random = {13};
    for (int round = 0; round < 400; round++)
        try_retrieval(
            (struct retrieval_shape){.batch = 1 + test_below(&random, 60),
                                     .refs = test_below(&random, 3) ? 0 : test_below(&random, 50),
                                     .memory = test_below(&random, 2) ? 0 : test_below(&random, 900),
                                     .dim = 1 + test_below(&random, 20),
                                     .labels = (int64_t)test_below(&random, 8),
                                     .with_id = test_below(&random, 2) ? 0 : 0.5,
                                     .ids = 5,
                                     .dtype = RK_FP32,
                                     .references = test_below(&random, 2),
                                     .bank = test_below(&random, 2) ? RK_FP32 : RK_FP16,
                                     .chunk = 400},
            &random);
    for (int round = 0; round < 100; round++)
        try_retrieval((struct retrieval_shape){.batch = 1 + test_below(&random, 60),
                                               .refs = 1 + test_below(&random, 50),
                                               .dim = 1 + test_below(&random, 20),
                                               .with_id = test_below(&random, 2) ? 0 : 0.5,
                                               .ids = 5,
                                               .dtype = RK_FP32,
                                               .references = test_below(&random, 2),
                                               .relevance = test_uniform(&random),
                                               .target = test_below(&random, 2) ? RK_INT8 : RK_FP32},
                      &random);
    /* In tiles, with few relevant items and with many. */
    for (int64_t labels = 10; labels <= 1000; labels *= 100)
        try_retrieval((struct retrieval_shape){.batch = 200,
                                               .memory = 70000,
                                               .dim = 4,
                                               .labels = labels,
                                               .with_id = 0.1,
                                               .ids = 1000,
                                               .dtype = RK_FP32,
                                               .bank = RK_FP32,
                                               .chunk = 30000},
                      &random);
}

/* `list` of the items, or some of them are ignored and left out. */
static void try_list(uint32_t items, uint32_t list, uint32_t p, unsigned threads, bool gradient)
{
    const size_t most = rk_list_scratch_most(items, RK_FP32, threads == 1 ? 1 : RK_RANGES_MAX, gradient);
    for (size_t s = 0; s < TEST_SETS; s++) {
        const struct rk_kernels *kernels = rk_kernels_named(test_set_names[s]);
        size_t bytes = kernels ? rk_list_scratch(kernels, list, p, RK_FP32, threads, gradient) : 0;
        if (bytes > most)
            fail_msg("%s: %zu bytes for %u of %u items on %u threads, the most of %u is %zu",
                     test_set_names[s], bytes, p, list, threads, items, most);
    }
}

/* The most for any number of its items, up to that number of threads and every set of code. */
static void no_list_takes_more_than_the_most(void **state)
{
    (void)state;
    struct test_random random = {14};
    for (uint32_t items = 1; items <= 400; items++) {
        for (uint32_t p = 1; p <= items; p++) {
            try_list(items, items, p, 1 + (items + p) % 64, p % 2);
            try_list(items, p, 1 + p / 3, 1, p % 2);
        }
    }
    for (int round = 0; round < 40000; round++) {
        uint32_t items = 1 + (uint32_t)test_below(&random, (size_t)1 << (4 + test_below(&random, 27)));
        uint32_t list = test_below(&random, 2) ? items : 1 + (uint32_t)test_below(&random, items);
        uint32_t edge = (uint32_t)1 << test_below(&random, 31);
        uint32_t p = test_below(&random, 2) ? 1 + (uint32_t)test_below(&random, list)
                                            : list / edge + (uint32_t)test_below(&random, 3);
        try_list(items, list,
                 p < 1      ? 1
                 : p > list ? list
                            : p,
                 1 + (unsigned)test_below(&random, 64), test_below(&random, 2));
    }
    for (int round = 0; round < 40000; round++) { /* where strategies change */
        uint32_t p = ((uint32_t)1 << test_below(&random, 22)) - 2 + (uint32_t)test_below(&random, 4);
        p = p < 1 || p > 1u << 30 ? 1 : p;
        uint32_t items = p + (uint32_t)test_below(&random, (size_t)p * 40);
        try_list(items, items, p, 1 + (unsigned)test_below(&random, 5), true);
    }
}

static void a_scratch_that_measures_counts_what_another_takes(void **state)
{
    (void)state;
    struct test_random random = {15};
    struct rk_scratch *scratch = rk_scratch_new(0), measuring = rk_scratch_measuring();
    size_t mark[100][2], marks = 0;
    for (int round = 0; round < 2000; round++) {
        if (test_below(&random, 3) > 0 && marks < 100) {
            size_t bytes = test_below(&random, 3000);
            mark[marks][0] = rk_scratch_mark(scratch);
            mark[marks++][1] = rk_scratch_mark(&measuring);
            assert_non_null(rk_scratch_take(scratch, bytes));
            assert_ptr_equal(rk_scratch_take(&measuring, bytes), rk_scratch_nowhere());
        } else if (marks > 0) {
            marks = test_below(&random, marks);
            rk_scratch_release(scratch, mark[marks][0]);
            rk_scratch_release(&measuring, mark[marks][1]);
        }
        assert_int_equal(rk_scratch_peak(scratch), rk_scratch_peak(&measuring));
    }
    assert_int_equal(rk_scratch_held(&measuring), 0);
    rk_scratch_free(scratch);
}

static void a_count_stops_at_the_largest_number(void **state)
{
    (void)state;
    struct rk_scratch measuring = rk_scratch_measuring();
    assert_non_null(rk_scratch_take(&measuring, 1000));
    size_t mark = rk_scratch_mark(&measuring);
    assert_non_null(rk_scratch_array(&measuring, SIZE_MAX / 2, 3));
    assert_non_null(rk_scratch_take(&measuring, SIZE_MAX - 10));
    rk_scratch_release(&measuring, mark);
    assert_int_equal(rk_scratch_mark(&measuring), mark);
    assert_int_equal(rk_scratch_peak(&measuring), SIZE_MAX);
    struct rk_scratch *scratch = rk_scratch_new(1 << 20);
    assert_null(rk_scratch_array(scratch, SIZE_MAX / 2, 3));
    rk_scratch_free(scratch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_on_scores_take_no_more_than_they_cost),
        cmocka_unit_test(long_lists_take_no_more_than_they_cost),
        cmocka_unit_test(lists_of_different_lengths_take_no_more_than_they_cost_with_the_longest_known),
        cmocka_unit_test(many_short_lists_cost_what_runs_at_once_and_not_one_list_of_all),
        cmocka_unit_test(the_worst_request_costs_about_what_it_takes),
        cmocka_unit_test(requests_on_embeddings_take_no_more_than_they_cost),
        cmocka_unit_test(no_list_takes_more_than_the_most),
        cmocka_unit_test(a_scratch_that_measures_counts_what_another_takes),
        cmocka_unit_test(a_count_stops_at_the_largest_number),
    };
    return cmocka_run_group_tests_name("engine_cost", tests, NULL, NULL);
}
