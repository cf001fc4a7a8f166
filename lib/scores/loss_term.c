/* SPDX-License-Identifier: Apache-2.0 */
#include "scores/loss_term.h"

#include <math.h>
#include <string.h>

#include "base/schedule.h"
#include "kernels/gradient_value.h"
#include "request/bank_view.h"
#include "scores/list_groups.h"

#define ALIGNED(bytes) (((bytes) + 63) / 64 * 64)

/* The result of a group of lists. Results are added in the order of the groups, so that the sum
 * does not depend on threads. */
struct list_group {
    struct rk_loss_term_total total;
    struct rk_err err;
};

enum run_groups { ALL_GROUPS, ALONE /* of one list alone */, TOGETHER /* the others */ };

/* A term while it is computed. */
struct run {
    struct rk_loss_term_job *job;
    const struct rk_loss_term *term;
    struct rk_exec list_exec; /* what a list may use: threads only if lists do not share them */
    uint32_t items;           /* of the longest list, memory included */
    size_t segments;          /* of a list */
    size_t scratch;           /* of the most demanding list */
    struct rk_list_groups groups;
    enum run_groups now; /* groups that are run */
    struct list_group *group;
    atomic_size_t failed; /* number of the first group known to have failed */
};

static void fail_group(struct run *run, size_t number)
{
    size_t seen = atomic_load_explicit(&run->failed, memory_order_relaxed);
    while (number < seen && !atomic_compare_exchange_weak(&run->failed, &seen, number))
        ;
}

/* Names a position in the request's own axes. */
static enum rankd_status fail_nan(const struct run *run, size_t list, uint32_t item, struct rk_err *err)
{
    const struct rk_lists *lists = &run->term->lists;
    if (item >= rk_lists_items(lists, list))
        return rk_fail(err, RANKD_INTERNAL, "the bank holds a NaN as a score of list %zu", list);
    char place[RK_LISTS_PLACE_TEXT];
    return rk_fail(err, RANKD_INVALID,
                   "scores%s is NaN; a score must be a number unless its target is -1 (ignored)",
                   rk_lists_place(run->job->sent, rk_lists_index(lists, list, item), place));
}

/* The memory of a worker for one list at a time. */
struct list_workspace {
    char *load;
    char *list;
    float *tile; /* gradient by column */
    struct rk_delta *sparse;
    struct rk_list_segment *segment;
};

static bool writes_tile(const struct run *run)
{
    return run->job->dense && run->term->lists.by_column && run->term->factor > 0;
}

/* Offsets of the parts of a workspace, and its bytes. */
struct layout {
    size_t list, tile, sparse, segment, bytes;
};

static struct layout layout_of(const struct run *run)
{
    const struct rk_lists *lists = &run->term->lists;
    const struct rk_sparse_accumulator *accumulator = &run->job->accumulator;
    struct layout at;
    at.list = ALIGNED(rk_lists_buffer(lists));
    at.tile = at.list + ALIGNED(run->scratch);
    at.sparse = at.tile + (writes_tile(run) ? ALIGNED(lists->tile * lists->items * sizeof(float)) : 0);
    at.segment =
        at.sparse + (accumulator->needed ? ALIGNED(accumulator->list_room * sizeof(struct rk_delta)) : 0);
    at.bytes = at.segment + ALIGNED(run->segments * sizeof(struct rk_list_segment));
    return at;
}

static struct list_workspace workspace_of(const struct run *run, void *memory)
{
    struct layout at = layout_of(run);
    char *base = memory;
    return (struct list_workspace){.load = base,
                                   .list = base + at.list,
                                   .tile = (float *)(void *)(base + at.tile),
                                   .sparse = (struct rk_delta *)(void *)(base + at.sparse),
                                   .segment = (struct rk_list_segment *)(void *)(base + at.segment)};
}

static void note(struct rk_loss_term_total *total, double w, const struct rk_list_out *out)
{
    rk_sum_add(&total->loss, w * out->loss);
    if (!out->gradient)
        return;
    total->stalled += out->stalled;
    total->nonzero += out->nonzero;
    total->jumped += out->jumped;
    double scale = w / out->divisor;
    rk_sum_add(&total->dropped, scale * (double)out->abs_bank);
    rk_sum_add(&total->moved, scale * ((double)out->abs_bank + (double)out->abs_differentiable));
}

/* A list without relevant items is only searched for NaN, and its gradient is 0. */
static enum rankd_status skip_list(const struct run *run, const struct rk_list *list, size_t number,
                                   float *dense, struct rk_err *err)
{
    if (run->job->list_loss && !run->term->flat)
        run->job->list_loss[number] = NAN;
    if (dense)
        memset(dense, 0, list->differentiable * sizeof *dense);
    return rk_list_has_nan(list) ? fail_nan(run, number, rk_list_first_nan(list), err) : RANKD_OK;
}

/* Counts elements that are not 0, because with a weight near 0 gradients vanish in FP32. */
static size_t count_nonzero(const float *dense, uint32_t items)
{
    size_t nonzero = 0;
    for (uint32_t i = 0; i < items; i++)
        nonzero += dense[i] != 0;
    return nonzero;
}

static enum rankd_status run_list(struct run *run, struct list_group *group, struct rk_list *list,
                                  size_t number, const struct list_workspace *workspace, float *dense)
{
    struct rk_loss_term_job *job = run->job;
    if (list->p == 0)
        return skip_list(run, list, number, dense, &group->err);
    struct rk_list_out out = {.gradient = job->gradient && run->term->factor > 0, .dense = dense};
    bool accumulates = out.gradient && !dense;
    if (accumulates) {
        out.sparse = workspace->sparse;
        out.room = job->accumulator.list_room;
    }
    double w = run->term->factor * rk_list_weights_of(&run->term->weights, number, list->p);
    enum rankd_status status = rk_list_run(&run->list_exec, job->exec->kernels, &job->box, w, list,
                                           workspace->list, &out, &group->err);
    if (status == RANKD_INVALID)
        return fail_nan(run, number, out.nan, &group->err);
    if (status != RANKD_OK)
        return status;
    if (job->list_loss && !run->term->flat)
        job->list_loss[number] = rk_list_loss_shown(&job->box, out.loss, out.stalled);
    if (out.gradient && dense && rk_gradient_value(w, out.divisor, 1) == 0)
        out.nonzero = count_nonzero(dense, list->differentiable);
    note(&group->total, w, &out);
    if (accumulates)
        rk_sparse_accumulator_add(&job->accumulator, &run->term->lists, number, w, &out);
    return RANKD_OK;
}

/* The current items, then the bank's, oldest first. */
static void fill_segments(const struct run *run, size_t number, struct rk_list_segment *segment)
{
    const struct rk_bank_scores *memory = run->term->memory;
    for (size_t c = 0; memory && c < memory->chunks; c++) {
        const struct rk_bank_scores_chunk *chunk = &memory->chunk[c];
        segment[c + 1] = (struct rk_list_segment){.scores = chunk->scores + number * chunk->stride,
                                                  .targets = chunk->targets + number * chunk->stride,
                                                  .items = (uint32_t)chunk->items,
                                                  .dtype = RK_FP32};
    }
}

/* The place of a list's dense gradient: the output itself for rows, a tile that is transposed later
 * for columns. */
static float *dense_of(const struct run *run, const struct list_workspace *workspace, size_t number,
                       size_t within)
{
    const struct rk_lists *lists = &run->term->lists;
    if (!run->job->dense || run->term->factor == 0)
        return NULL;
    return lists->by_column ? workspace->tile + within * lists->items
                            : run->job->dense + rk_lists_start(lists, number);
}

static enum rankd_status run_tile(struct run *run, struct list_group *group, size_t first, size_t count,
                                  const struct list_workspace *workspace)
{
    const struct rk_lists *lists = &run->term->lists;
    struct rk_lists_tile tile = rk_lists_load(lists, first, count, workspace->load);
    rk_exec_copied(run->job->exec, rk_lists_copied(lists, first, count));
    for (size_t i = 0; i < count; i++) {
        size_t number = first + i;
        const uint32_t items = rk_lists_items(lists, number);
        struct rk_list list = {.segment = workspace->segment,
                               .segments = run->segments,
                               .items = items + run->term->memory_items,
                               .differentiable = items,
                               .n = run->term->count[number].n,
                               .p = run->term->count[number].p};
        workspace->segment[0] = (struct rk_list_segment){.scores = tile.scores + i * tile.score_stride,
                                                         .targets = tile.targets + i * tile.target_stride,
                                                         .items = items,
                                                         .dtype = lists->dtype,
                                                         .grades = rk_lists_grades(lists, number)};
        fill_segments(run, number, workspace->segment);
        enum rankd_status status =
            run_list(run, group, &list, number, workspace, dense_of(run, workspace, number, i));
        if (status != RANKD_OK)
            return status;
    }
    if (writes_tile(run)) {
        rk_lists_store(lists, first, count, workspace->tile, run->job->dense);
        rk_exec_copied(run->job->exec, run->job->given ? count * lists->items * sizeof(float) : 0);
    }
    return RANKD_OK;
}

static void run_group(void *arg, size_t number, void *memory)
{
    struct run *run = arg;
    struct list_group *group = &run->group[number];
    const size_t tile = run->term->lists.tile;
    const struct rk_list_group of = rk_list_group(&run->groups, number);
    if (run->now != ALL_GROUPS && (run->now == ALONE) != of.alone)
        return;
    *group = (struct list_group){0};
    if (number > atomic_load_explicit(&run->failed, memory_order_relaxed))
        return;
    struct list_workspace workspace = workspace_of(run, memory);
    enum rankd_status status = rk_exec_check(run->job->exec, &group->err);
    for (size_t first = of.first, count; status == RANKD_OK && first < of.end; first += count) {
        count = of.end - first < tile ? of.end - first : tile;
        status = run_tile(run, group, first, count, &workspace);
    }
    if (status != RANKD_OK)
        fail_group(run, number);
}

/* Lists of different lengths up to this are not measured one by one, because they take little
 * memory. */
enum { SHORT_LIST = 4096 };

/* The most scratch memory that any list of the term takes, or could take while they are not
 * counted. */
static size_t most_scratch(const struct run *run, unsigned threads)
{
    const struct rk_lists *lists = &run->term->lists;
    const unsigned wants = (run->job->gradient ? RK_LIST_GRADIENT : RK_LIST_LOSS) |
                           (lists->rule != RK_TARGET_BINARY ? RK_LIST_GRADES : RK_LIST_LOSS);
    const uint32_t least = lists->start && run->items > SHORT_LIST ? SHORT_LIST : run->items;
    size_t most = 0;
    uint32_t last = 0;
    if (!run->term->count)
        return rk_list_scratch_most(run->items, lists->dtype, threads, wants);
    if (lists->start)
        most = rk_list_scratch_most(least, lists->dtype, threads, wants);
    for (size_t l = 0; l < lists->lists; l++) {
        const uint32_t p = run->term->count[l].p, items = rk_lists_items(lists, l);
        if (p == 0 || (lists->start ? items <= least : p == last))
            continue;
        last = p;
        size_t bytes = rk_list_scratch(run->job->exec->kernels, items + run->term->memory_items, p,
                                       lists->dtype, threads, wants);
        most = bytes > most ? bytes : most;
    }
    return most;
}

static enum rankd_status collect(const struct run *run, struct rk_loss_term_total *total, struct rk_err *err)
{
    *total = (struct rk_loss_term_total){0};
    for (size_t g = 0; g < run->groups.count; g++) {
        const struct list_group *group = &run->group[g];
        if (group->err.status != RANKD_OK)
            return rk_fail(err, group->err.status, "%s", group->err.text);
        rk_sum_add(&total->loss, rk_sum_value(&group->total.loss));
        rk_sum_add(&total->dropped, rk_sum_value(&group->total.dropped));
        rk_sum_add(&total->moved, rk_sum_value(&group->total.moved));
        total->stalled += group->total.stalled;
        total->nonzero += group->total.nonzero;
        total->jumped += group->total.jumped;
    }
    return RANKD_OK;
}

/* The term, divided into groups of lists. */
static struct run run_of(struct rk_loss_term_job *job, const struct rk_loss_term *term)
{
    struct run run = {.job = job,
                      .term = term,
                      .list_exec = *job->exec,
                      .items = term->lists.items + term->memory_items,
                      .segments = 1 + (term->memory ? term->memory->chunks : 0)};
    run.groups = rk_list_groups_of(&term->lists, RK_GROUP_ITEMS, term->memory_items);
    if (!rk_lists_scores_in_place(
            &term->lists)) /* a strategy would only copy what was copied and counted before */
        run.list_exec.copied = NULL;
    return run;
}

/* Groups of `now`, each on a thread of the pool, or one after the other with the pool for each
 * list. */
static enum rankd_status run_groups(struct run *run, enum run_groups now, bool over_lists, struct rk_err *err)
{
    struct rk_exec outer = *run->job->exec;
    const struct rk_lists *lists = &run->term->lists;
    const unsigned threads = outer.pool ? outer.pool->width : 1;
    const bool measures = rk_exec_measures(&outer);
    run->now = now;
    run->list_exec.pool = over_lists ? NULL : outer.pool;
    if (!over_lists)
        outer.pool = NULL;
    run->scratch = most_scratch(run, over_lists && !measures ? 1 : threads);
    return rk_schedule(&outer, run->groups.count, layout_of(run).bytes,
                       RK_WORKSPACE_PER_ITEM * (lists->elements + lists->lists * run->term->memory_items),
                       run_group, run, err);
}

/* Threads work on different lists if there are enough lists, else together on one; of lists of
 * different lengths, together on the long ones. The measured memory covers both. */
enum rankd_status rk_loss_term_run(struct rk_loss_term_job *job, const struct rk_loss_term *term,
                                   struct rk_loss_term_total *total, struct rk_err *err)
{
    const struct rk_exec *exec = job->exec;
    struct run run = run_of(job, term);
    const bool measures = rk_exec_measures(exec);
    const unsigned threads = exec->pool ? exec->pool->width : 1;
    const bool over_lists = measures || (run.groups.count >= threads && run.groups.count > 1);
    const bool apart = !measures && over_lists && threads > 1 && rk_list_groups_any_alone(&run.groups);
    atomic_store_explicit(&run.failed, SIZE_MAX, memory_order_relaxed);
    size_t mark = rk_scratch_mark(exec->scratch);
    run.group = rk_scratch_array(exec->scratch, run.groups.count, sizeof *run.group);
    if (!run.group)
        return rk_fail_scratch(err, exec->scratch);
    enum rankd_status status = apart ? run_groups(&run, ALONE, false, err) : RANKD_OK;
    if (status == RANKD_OK)
        status = run_groups(&run, apart ? TOGETHER : ALL_GROUPS, over_lists, err);
    if (status == RANKD_OK && !measures)
        status = collect(&run, total, err);
    rk_scratch_release(exec->scratch, mark);
    return status;
}
