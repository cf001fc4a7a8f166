#include "kernels/tree.h"

#include <math.h>
#include <string.h>

#include "kernels/tally.h"

enum {
    ROW = RK_TREE_CUTS + 1,
    TURNS = 4 /* tallies in turn, so that equal items do not wait for one another */
};

struct shared {
    const struct rk_tree_code *code;
    struct rk_tree was, is;
    bool masked; /* some items are ignored, so that targets have to be read while counting */
    bool nan[RK_RANGES_MAX];
    uint32_t (*tally)[ROW]; /* [parts] */
};

size_t rk_tree_scratch(uint32_t items, uint32_t p, unsigned threads)
{
    (void)p;
    return rk_ranges(items, RK_RANGE_MIN, threads) * sizeof(uint32_t[ROW]);
}

/* Node i of level l is the middle of the (i + 1)-th of 2^l ranges. */
static void build(const float *cut, uint32_t p, struct rk_tree *tree)
{
    tree->levels = RK_TREE_LEAST;
    while (p >> tree->levels)
        tree->levels++;
    memcpy(tree->sorted, cut, p * sizeof *cut);
    for (uint32_t k = p; k < ROW; k++)
        tree->sorted[k] = -INFINITY;
    for (int l = 0; l < tree->levels; l++) {
        for (uint32_t i = 0; i < 1u << l; i++)
            tree->node[(1u << l) + i] = tree->sorted[((2 * i + 1) << (tree->levels - 1 - l)) - 1];
    }
}

static void add(const uint32_t *above, uint32_t items, uint32_t (*tally)[ROW])
{
    uint32_t i = 0;
    for (; i + TURNS <= items; i += TURNS) {
        for (uint32_t t = 0; t < TURNS; t++)
            tally[t][above[i + t]]++;
    }
    for (; i < items; i++)
        tally[0][above[i]]++;
}

static void count_part(struct rk_part *part)
{
    struct shared *shared = part->shared;
    uint32_t above[RK_TREE_BLOCK + 16], tally[TURNS][ROW] = {0};
    struct rk_walk walk = rk_walk_start(part->pass, part->from, part->to, RK_TREE_BLOCK);
    struct rk_span span;
    bool nan = false;
    while (rk_walk_next(&walk, &span)) {
        if (!shared->masked)
            span.targets = NULL;
        add(above, shared->code->place(&span, &shared->was, above, &nan), tally);
    }
    for (uint32_t b = 0; b < ROW; b++)
        shared->tally[part->number][b] = tally[0][b] + tally[1][b] + tally[2][b] + tally[3][b];
    shared->nan[part->number] = nan;
    part->late = walk.late;
}

/* Where targets were not read, the relevant items were counted too. */
static void take_relevant_off(const struct rk_list *list, const struct shared *shared, uint32_t *tally)
{
    uint32_t above[RK_TREE_BLOCK];
    shared->code->above(&shared->was, list->raw, list->p, above);
    for (uint32_t k = 0; k < list->p; k++)
        tally[above[k]]--;
}

enum rankd_status rk_tree_count(struct rk_pass *pass, const struct rk_tree_code *code)
{
    const struct rk_list *list = pass->list;
    struct shared shared = {.code = code, .masked = list->n != list->items, .tally = pass->scratch};
    unsigned parts = rk_parts_of(pass, false);
    build(pass->cut, list->p, &shared.was);
    enum rankd_status status = rk_parts_run(pass, parts, count_part, &shared);
    if (!shared.masked)
        take_relevant_off(list, &shared, shared.tally[0]);
    memset(pass->ahead, 0, list->p * sizeof *pass->ahead);
    pass->nan = false;
    for (unsigned i = 0; i < parts; i++) {
        rk_tally_sum(shared.tally[i], list->p, pass->ahead);
        pass->nan |= shared.nan[i];
    }
    return status;
}

/* Items of a block that a cut passed. */
struct moved {
    float score[RK_TREE_BLOCK + 16];
    uint32_t before[RK_TREE_BLOCK + 16], after[RK_TREE_BLOCK + 16], position[RK_TREE_BLOCK + 16];
};

static void put(struct rk_part *part, const struct shared *shared, const struct moved *moved, uint32_t items)
{
    const struct rk_list *list = part->pass->list;
    struct rk_sink *sink = &part->sink;
    float value[RK_TREE_BLOCK + 16];
    if (sink->dense && list->graded == list->items) {
        sink->changed += shared->code->values(sink->w, sink->lambda, items, moved->before, moved->after,
                                              value, &sink->abs_graded);
        for (uint32_t i = 0; i < items; i++)
            sink->dense[moved->position[i]] = value[i];
        return;
    }
    for (uint32_t i = 0; i < items; i++)
        rk_sink_put(sink, list, moved->position[i], (int32_t)(moved->before[i] - moved->after[i]));
}

static void move_part(struct rk_part *part)
{
    const struct shared *shared = part->shared;
    uint32_t *tally = memset(shared->tally[part->number], 0, sizeof *shared->tally);
    struct rk_walk walk = rk_walk_start(part->pass, part->from, part->to, RK_TREE_BLOCK);
    struct rk_span span;
    struct moved moved;
    while (rk_walk_next(&walk, &span)) {
        if (part->sink.dense && span.position < part->pass->list->graded)
            memset(part->sink.dense + span.position, 0, span.items * sizeof(float));
        uint32_t items =
            shared->code->passed(&span, &shared->was, &shared->is, moved.score, moved.before, moved.position);
        if (items == 0)
            continue;
        shared->code->above(&shared->is, moved.score, items, moved.after);
        for (uint32_t i = 0; i < items; i++) {
            tally[moved.before[i]]--;
            tally[moved.after[i]]++;
        }
        put(part, shared, &moved, items);
    }
    part->late = walk.late;
}

enum rankd_status rk_tree_move(struct rk_pass *pass, const struct rk_tree_code *code)
{
    const struct rk_list *list = pass->list;
    struct shared shared = {.code = code, .tally = pass->scratch};
    unsigned parts = rk_parts_of(pass, true);
    build(pass->cut, list->p, &shared.was);
    build(pass->cut_after, list->p, &shared.is);
    enum rankd_status status = rk_parts_run(pass, parts, move_part, &shared);
    memcpy(pass->ahead_after, pass->ahead, list->p * sizeof *pass->ahead);
    for (unsigned i = 0; i < parts; i++)
        rk_tally_sum(shared.tally[i], list->p, pass->ahead_after);
    return status;
}
