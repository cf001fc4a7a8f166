/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/span.h"

#include "kernels/tuning.h"

enum { LOOK = 1 << 20 /* items */ };

struct rk_walk rk_walk_start(const struct rk_pass *pass, uint32_t from, uint32_t to, uint32_t block)
{
    struct rk_walk walk = {
        .list = pass->list, .exec = pass->exec, .block = block, .position = from, .to = to, .at = from};
    while (walk.segment < walk.list->segments && walk.at >= walk.list->segment[walk.segment].items)
        walk.at -= walk.list->segment[walk.segment++].items;
    return walk;
}

static bool is_late(struct rk_walk *walk)
{
    if (!walk->exec || walk->since_look < LOOK)
        return false;
    struct rk_err late = {0};
    walk->since_look = 0;
    walk->late = rk_exec_check(walk->exec, &late) != RANKD_OK;
    return walk->late;
}

bool rk_walk_next(struct rk_walk *walk, struct rk_span *span)
{
    const struct rk_list *list = walk->list;
    while (walk->segment < list->segments && walk->at == list->segment[walk->segment].items) {
        walk->segment++;
        walk->at = 0;
    }
    if (walk->position >= walk->to || walk->segment == list->segments || is_late(walk))
        return false;
    const struct rk_list_segment *segment = &list->segment[walk->segment];
    uint32_t items = segment->items - walk->at;
    items = items < walk->block ? items : walk->block;
    items = items < walk->to - walk->position ? items : walk->to - walk->position;
    *span = (struct rk_span){
        .scores = (const char *)segment->scores + walk->at * rk_dtype_size(segment->dtype),
        .targets = segment->targets ? segment->targets + walk->at : NULL,
        .items = items,
        .position = walk->position,
        .dtype = segment->dtype,
        .segment = segment,
        .within = walk->at,
        .far = list->items >= rk_tuning.far,
    };
    walk->at += items;
    walk->position += items;
    walk->since_look += items;
    return true;
}

unsigned rk_list_ranges_of(const struct rk_pass *pass, bool moving)
{
    if (!pass->exec->pool || (moving && !pass->writer->dense && pass->writer->room > 0))
        return 1;
    return rk_ranges(pass->list->items, rk_tuning.grain, pass->exec->pool->width);
}

struct ranges {
    void (*task)(struct rk_list_range *range_of_list);
    struct rk_list_range range_of_list[RK_RANGES_MAX];
};

static void run_one(void *arg, size_t i)
{
    struct ranges *ranges = arg;
    ranges->task(&ranges->range_of_list[i]);
}

static void lay_out(struct rk_list_range *range_of_list, struct rk_pass *pass, void *shared,
                    struct rk_range range)
{
    *range_of_list = (struct rk_list_range){
        .pass = pass, .shared = shared, .number = range.number, .from = range.from, .to = range.to};
    if (pass->writer) {
        range_of_list->writer = *pass->writer;
        range_of_list->writer.changed = range_of_list->writer.changed_bank = 0;
        range_of_list->writer.abs_differentiable = range_of_list->writer.abs_bank = 0;
    }
}

/* True if it was late. */
static bool add_up(struct rk_gradient_writer *writer, const struct rk_list_range *range_of_list)
{
    if (writer) {
        writer->changed += range_of_list->writer.changed;
        writer->changed_bank += range_of_list->writer.changed_bank;
        writer->abs_differentiable += range_of_list->writer.abs_differentiable;
        writer->abs_bank += range_of_list->writer.abs_bank;
    }
    return range_of_list->late;
}

static bool run_together(struct rk_pass *pass, unsigned ranges,
                         void (*task)(struct rk_list_range *range_of_list), void *shared)
{
    struct ranges all; /* no initializer: it would clear 7 KB of unused parts each time */
    bool late = false;
    all.task = task;
    for (unsigned i = 0; i < ranges; i++)
        lay_out(&all.range_of_list[i], pass, shared, rk_range(pass->list->items, i, ranges));
    pass->exec->pool->run(pass->exec->pool, ranges, run_one, &all);
    for (unsigned i = 0; i < ranges; i++)
        late |= add_up(pass->writer, &all.range_of_list[i]);
    return late;
}

enum rankd_status rk_list_ranges_run(struct rk_pass *pass, unsigned ranges,
                                     void (*task)(struct rk_list_range *range_of_list), void *shared)
{
    if (ranges > 1)
        return run_together(pass, ranges, task, shared) ? RANKD_DEADLINE : RANKD_OK;
    struct rk_list_range whole;
    lay_out(&whole, pass, shared, (struct rk_range){.to = pass->list->items});
    task(&whole);
    return add_up(pass->writer, &whole) ? RANKD_DEADLINE : RANKD_OK;
}
