/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/tree.h"

#include <math.h>
#include <string.h>

#include "kernels/tally.h"
#include "kernels/tuning.h"

enum {
    ROW = RK_TREE_THRESHOLDS + 1,
    TURNS = 4 /* tallies used by turns, so that equal items do not wait for one another */
};

struct tree_pass {
    const struct rk_tree_code *code;
    struct rk_tree was, is;
    bool masked; /* some items are ignored, so that targets have to be read while counting */
    bool nan[RK_RANGES_MAX];
    uint32_t (*tally)[ROW]; /* [parts] */
};

size_t rk_tree_scratch(uint32_t items, uint32_t p, unsigned threads)
{
    (void)p;
    return rk_ranges(items, rk_tuning.grain, threads) * sizeof(uint32_t[ROW]);
}

/* Node i of level l is the middle of the (i + 1)-th of 2^l ranges. */
static void build(const float *threshold, uint32_t p, struct rk_tree *tree)
{
    tree->levels = RK_TREE_LEAST;
    while (p >> tree->levels)
        tree->levels++;
    memcpy(tree->sorted, threshold, p * sizeof *threshold);
    for (uint32_t k = p; k < ROW; k++)
        tree->sorted[k] = -INFINITY;
    for (int l = 0; l < tree->levels; l++) {
        for (uint32_t i = 0; i < 1u << l; i++)
            tree->node[(1u << l) + i] = tree->sorted[((2 * i + 1) << (tree->levels - 1 - l)) - 1];
    }
}

static void add_to_tallies(const uint32_t *above, uint32_t items, uint32_t (*tally)[ROW])
{
    uint32_t i = 0;
    for (; i + TURNS <= items; i += TURNS) {
        for (uint32_t t = 0; t < TURNS; t++)
            tally[t][above[i + t]]++;
    }
    for (; i < items; i++)
        tally[0][above[i]]++;
}

static void count_range(struct rk_list_range *range)
{
    struct tree_pass *shared = range->shared;
    uint32_t above[RK_TREE_BLOCK + 16], tally[TURNS][ROW] = {0};
    struct rk_walk walk = rk_walk_start(range->pass, range->from, range->to, RK_TREE_BLOCK);
    struct rk_span span;
    bool nan = false;
    while (rk_walk_next(&walk, &span)) {
        if (!shared->masked)
            span.targets = NULL;
        add_to_tallies(above, shared->code->place(&span, &shared->was, above, &nan), tally);
    }
    for (uint32_t b = 0; b < ROW; b++)
        shared->tally[range->number][b] = tally[0][b] + tally[1][b] + tally[2][b] + tally[3][b];
    shared->nan[range->number] = nan;
    range->late = walk.late;
}

/* Where targets were not read, the relevant items were counted too. */
static void take_relevant_off(const struct rk_list *list, const struct tree_pass *shared, uint32_t *tally)
{
    uint32_t above[RK_TREE_BLOCK];
    shared->code->above(&shared->was, list->raw, list->p, above);
    for (uint32_t k = 0; k < list->p; k++)
        tally[above[k]]--;
}

enum rankd_status rk_tree_count(struct rk_pass *pass, const struct rk_tree_code *code)
{
    const struct rk_list *list = pass->list;
    struct tree_pass shared = {.code = code, .masked = list->n != list->items, .tally = pass->scratch};
    unsigned ranges = rk_list_ranges_of(pass, false);
    build(pass->threshold, list->p, &shared.was);
    enum rankd_status status = rk_list_ranges_run(pass, ranges, count_range, &shared);
    if (!shared.masked)
        take_relevant_off(list, &shared, shared.tally[0]);
    memset(pass->irrelevant_above, 0, list->p * sizeof *pass->irrelevant_above);
    pass->nan = false;
    for (unsigned i = 0; i < ranges; i++) {
        rk_tally_sum(shared.tally[i], list->p, pass->irrelevant_above);
        pass->nan |= shared.nan[i];
    }
    return status;
}

/* Items of a block that a threshold crossed. */
struct moved {
    float score[RK_TREE_BLOCK + 16];
    uint32_t before[RK_TREE_BLOCK + 16], after[RK_TREE_BLOCK + 16], position[RK_TREE_BLOCK + 16];
};

static void put_moved(struct rk_list_range *range, const struct tree_pass *shared, const struct moved *moved,
                      uint32_t items)
{
    const struct rk_list *list = range->pass->list;
    struct rk_gradient_writer *writer = &range->writer;
    float value[RK_TREE_BLOCK + 16];
    if (writer->dense && list->differentiable == list->items) {
        writer->changed += shared->code->values(writer->w, writer->divisor, items, moved->before,
                                                moved->after, value, &writer->abs_differentiable);
        for (uint32_t i = 0; i < items; i++)
            writer->dense[moved->position[i]] = value[i];
        return;
    }
    for (uint32_t i = 0; i < items; i++)
        rk_gradient_writer_put(writer, list, moved->position[i],
                               (int32_t)(moved->before[i] - moved->after[i]));
}

static void move_range(struct rk_list_range *range)
{
    const struct tree_pass *shared = range->shared;
    uint32_t *tally = memset(shared->tally[range->number], 0, sizeof *shared->tally);
    struct rk_walk walk = rk_walk_start(range->pass, range->from, range->to, RK_TREE_BLOCK);
    struct rk_span span;
    struct moved moved;
    while (rk_walk_next(&walk, &span)) {
        if (range->writer.dense && span.position < range->pass->list->differentiable)
            memset(range->writer.dense + span.position, 0, span.items * sizeof(float));
        uint32_t items = shared->code->crossed(&span, &shared->was, &shared->is, moved.score, moved.before,
                                               moved.position);
        if (items == 0)
            continue;
        shared->code->above(&shared->is, moved.score, items, moved.after);
        for (uint32_t i = 0; i < items; i++) {
            tally[moved.before[i]]--;
            tally[moved.after[i]]++;
        }
        put_moved(range, shared, &moved, items);
    }
    range->late = walk.late;
}

enum rankd_status rk_tree_move(struct rk_pass *pass, const struct rk_tree_code *code)
{
    const struct rk_list *list = pass->list;
    struct tree_pass shared = {.code = code, .tally = pass->scratch};
    unsigned ranges = rk_list_ranges_of(pass, true);
    build(pass->threshold, list->p, &shared.was);
    build(pass->perturbed_threshold, list->p, &shared.is);
    enum rankd_status status = rk_list_ranges_run(pass, ranges, move_range, &shared);
    memcpy(pass->perturbed_irrelevant_above, pass->irrelevant_above,
           list->p * sizeof *pass->irrelevant_above);
    for (unsigned i = 0; i < ranges; i++)
        rk_tally_sum(shared.tally[i], list->p, pass->perturbed_irrelevant_above);
    return status;
}
