/* SPDX-License-Identifier: Apache-2.0 */
/* Lists that a score bank extends: the results are those of longer lists, except that memory gets
 * no gradient. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine.h"
#include "kernels/kernel.h"
#include "request/bank_view.h"
#include "unit/support/kernel_sets.h"
#include "unit/support/problem.h"

enum { CHUNKS = 3 };

/* Every list of `whole`, cut: its first `current` items are the request, the others memory in some
 * chunks. */
struct cut {
    size_t lists, current, items;
    float *scores; /* the request's, [lists, current] or its transpose */
    int8_t *targets;
    float *memory_scores; /* [chunk][lists, stride] one after the other */
    int8_t *memory_targets;
    struct rk_bank_scores_chunk chunk[CHUNKS];
    struct rk_bank_snapshot view;
};

static size_t index_of(const struct problem *p, size_t list, size_t item)
{
    return p->brute.lists_are_columns ? item * p->columns + list : list * p->columns + item;
}

static void cut_chunks(struct cut *cut, const struct problem *whole, struct test_random *random)
{
    size_t item = cut->current, at = 0;
    for (size_t c = 0; c < CHUNKS && item < cut->items; c++) {
        size_t left = cut->items - item, n = c + 1 == CHUNKS ? left : 1 + test_below(random, left);
        struct rk_bank_scores_chunk *chunk = &cut->chunk[cut->view.scores.chunks++];
        *chunk = (struct rk_bank_scores_chunk){.items = n,
                                               .stride = n + test_below(random, 3),
                                               .scores = cut->memory_scores + at,
                                               .targets = cut->memory_targets + at};
        for (size_t l = 0; l < cut->lists; l++) {
            for (size_t i = 0; i < n; i++) {
                cut->memory_scores[at + l * chunk->stride + i] = whole->values[index_of(whole, l, item + i)];
                cut->memory_targets[at + l * chunk->stride + i] = whole->labels[index_of(whole, l, item + i)];
            }
        }
        at += cut->lists * chunk->stride;
        item += n;
    }
}

static void cut_start(struct cut *cut, const struct problem *whole, struct test_random *random)
{
    bool columns = whole->brute.lists_are_columns;
    memset(cut, 0, sizeof *cut);
    cut->lists = columns ? whole->columns : whole->rows;
    cut->items = columns ? whole->rows : whole->columns;
    cut->current = 1 + test_below(random, cut->items);
    cut->scores = calloc(cut->lists * cut->current, sizeof *cut->scores);
    cut->targets = calloc(cut->lists * cut->current, 1);
    size_t most = cut->lists * (cut->items + 3 * CHUNKS);
    cut->memory_scores = calloc(most, sizeof *cut->memory_scores);
    cut->memory_targets = calloc(most, 1);
    for (size_t l = 0; l < cut->lists; l++) {
        for (size_t i = 0; i < cut->current; i++) {
            size_t to = columns ? i * cut->lists + l : l * cut->current + i;
            cut->scores[to] = whole->values[index_of(whole, l, i)];
            cut->targets[to] = whole->labels[index_of(whole, l, i)];
        }
    }
    cut_chunks(cut, whole, random);
    cut->view.items = cut->items - cut->current;
    cut->view.version = 7;
    cut->view.generation = 3;
    cut->view.scores.lists = cut->lists;
    cut->view.scores.chunk = cut->chunk;
}

static void cut_end(struct cut *cut)
{
    free(cut->scores);
    free(cut->targets);
    free(cut->memory_scores);
    free(cut->memory_targets);
}

static void compare(const struct problem *whole, const struct cut *cut, const struct test_call *all,
                    const struct test_call *part)
{
    double differentiable = 0, dropped = 0;
    bool columns = whole->brute.lists_are_columns;
    assert_true(fabs(all->reply.info.loss - part->reply.info.loss) <= 1e-12 * fabs(all->reply.info.loss));
    assert_int_equal(all->reply.info.lists_skipped, part->reply.info.lists_skipped);
    assert_int_equal(all->reply.info.lists_stalled, part->reply.info.lists_stalled);
    assert_true(all->reply.info.number[RANKD_REPLY_PAIRS_JUMPED] ==
                part->reply.info.number[RANKD_REPLY_PAIRS_JUMPED]);
    for (size_t l = 0; l < cut->lists; l++) {
        for (size_t i = 0; i < cut->items; i++) {
            float want = test_gradient(all)[index_of(whole, l, i)];
            if (i >= cut->current) {
                dropped += fabs((double)want);
                continue;
            }
            float got = test_gradient(part)[columns ? i * cut->lists + l : l * cut->current + i];
            if (got != want)
                fail_msg("gradient of list %zu, item %zu is %.9g, not %.9g", l, i, (double)got, (double)want);
            differentiable += fabs((double)want);
        }
    }
    double share = dropped > 0 ? dropped / (dropped + differentiable) : 0;
    assert_true(fabs(part->reply.info.gradient_dropped - share) < 1e-6);
    assert_true(part->reply.info.has_bank);
    assert_int_equal(part->reply.info.bank_items, cut->items - cut->current);
    assert_int_equal(part->reply.info.bank_version, 7);
    assert_int_equal(part->reply.info.bank_generation, 3);
}

static void run_seed(uint64_t seed, const char *set)
{
    struct test_random random = {seed};
    struct problem whole;
    struct cut cut;
    struct test_call all, part;
    for (problem_draw(&whole, &random, 6, seed % 10 ? 60 : 900); whole.brute.loss_kind >= BRUTE_NDCG_EXP2;
         problem_draw(&whole, &random, 6, seed % 10 ? 60 : 900))
        problem_free(&whole);   /* a bank holds no grades */
    whole.brute.interclass = 0; /* the flat list is of the current batch only */
    cut_start(&cut, &whole, &random);
    test_call_start(&all, problem_model(&whole), 0);
    problem_fill(&whole, &all);
    test_run(&all);
    test_call_start(&part, problem_model(&whole), 0);
    problem_fill(&whole, &part);
    part.exec.kernels = rk_kernels_named(set);
    bool columns = whole.brute.lists_are_columns;
    size_t rows = columns ? cut.current : cut.lists, width = columns ? cut.lists : cut.current;
    test_input(&part, RK_IN_SCORES, RK_FP32, rows, width, cut.scores);
    test_input(&part, RK_IN_TARGETS, RK_INT8, rows, width, cut.targets);
    part.request.bank_snapshot = &cut.view;
    test_run(&part);
    compare(&whole, &cut, &all, &part);
    assert_true(strcmp(set, "reference") == 0 ||
                rk_scratch_peak(part.exec.scratch) <= rk_engine_cost(&part.request));
    test_call_end(&all);
    test_call_end(&part);
    cut_end(&cut);
    problem_free(&whole);
}

static void memory_is_ranked_like_more_items(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 600; seed++) {
        for (size_t s = 0; s < TEST_SETS; s++) {
            if (rk_kernels_named(test_set_names[s]))
                run_seed(seed * 4242, test_set_names[s]);
        }
    }
}

static void the_flat_list_is_of_the_current_batch(void **state)
{
    (void)state;
    const float scores[4] = {4, 3, 2, 1}, old[2] = {10, 10};
    const int8_t targets[4] = {0, 1, 0, 1}, old_targets[2] = {0, 0};
    struct rk_bank_scores_chunk chunk = {.items = 1, .stride = 1, .scores = old, .targets = old_targets};
    struct rk_bank_snapshot view = {.items = 1, .scores = {.lists = 2, .chunks = 1, .chunk = &chunk}};
    struct test_call call;
    double loss[2];
    for (int i = 0; i < 2; i++) {
        test_call_start(&call, "ap", 0);
        test_input(&call, RK_IN_SCORES, RK_FP32, 2, 2, scores);
        test_input(&call, RK_IN_TARGETS, RK_INT8, 2, 2, targets);
        test_number(&call, "interclass", 1);
        call.request.bank_snapshot = i ? &view : NULL;
        test_run(&call);
        loss[i] = call.reply.info.loss;
        test_call_end(&call);
    }
    assert_true(loss[0] == 0.5 && loss[1] == 0.5);
}

static void a_bank_that_does_not_fit_is_refused(void **state)
{
    (void)state;
    const float scores[4] = {4, 3, 2, 1};
    const int8_t targets[4] = {0, 1, 0, 1};
    struct rk_bank_scores_chunk chunk = {.items = 1, .stride = 1, .scores = scores, .targets = targets};
    struct rk_bank_snapshot view = {.items = 1, .scores = {.lists = 3, .chunks = 1, .chunk = &chunk}};
    struct test_call call;
    test_call_start(&call, "ap", 0);
    test_input(&call, RK_IN_SCORES, RK_FP32, 2, 2, scores);
    test_input(&call, RK_IN_TARGETS, RK_INT8, 2, 2, targets);
    test_word(&call, "bank", "old");
    call.request.bank_snapshot = &view;
    test_refused(&call, RANKD_INVALID,
                 "scores has 2 lists (its rows); bank \"old\" has 3, and they must be as many");
    view.scores.lists = 2;
    view.items = 0x7fffffff;
    test_refused(&call, RANKD_TOO_LARGE,
                 "a list of scores has 2 items and bank \"old\" adds 2147483647; together they may be at "
                 "most 2147483647");
    view.holds = RK_BANK_HOLDS_EMBEDDINGS;
    test_refused(
        &call, RANKD_INVALID,
        "parameter bank was \"old\", which holds embeddings; with scores it must name a bank of scores");
    test_call_end(&call);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_ranked_like_more_items),
        cmocka_unit_test(the_flat_list_is_of_the_current_batch),
        cmocka_unit_test(a_bank_that_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests_name("engine_bank", tests, NULL, NULL);
}
