#include "kernels/span.h"

enum { LOOK = 1 << 20, FAR = 1 << 22 /* items */ };

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
    const struct rk_segment *segment = &list->segment[walk->segment];
    uint32_t items = segment->items - walk->at;
    items = items < walk->block ? items : walk->block;
    items = items < walk->to - walk->position ? items : walk->to - walk->position;
    *span = (struct rk_span){
        .scores = (const char *)segment->scores + walk->at * rk_dtype_size(segment->dtype),
        .targets = segment->targets ? segment->targets + walk->at : NULL,
        .items = items,
        .position = walk->position,
        .dtype = segment->dtype,
        .far = list->items >= FAR,
    };
    walk->at += items;
    walk->position += items;
    walk->since_look += items;
    return true;
}

unsigned rk_parts_of(const struct rk_pass *pass, bool moving)
{
    if (!pass->exec->pool || (moving && !pass->sink->dense && pass->sink->room > 0))
        return 1;
    return rk_ranges(pass->list->items, RK_RANGE_MIN, pass->exec->pool->width);
}

struct parts {
    void (*task)(struct rk_part *part);
    struct rk_part part[RK_RANGES_MAX];
};

static void run_one(void *arg, size_t i)
{
    struct parts *parts = arg;
    parts->task(&parts->part[i]);
}

static void lay_out(struct rk_part *part, struct rk_pass *pass, void *shared, struct rk_range range)
{
    *part = (struct rk_part){
        .pass = pass, .shared = shared, .number = range.number, .from = range.from, .to = range.to};
    if (pass->sink) {
        part->sink = *pass->sink;
        part->sink.changed = part->sink.changed_memory = 0;
        part->sink.abs_graded = part->sink.abs_memory = 0;
    }
}

/* True if it was late. */
static bool add_up(struct rk_sink *sink, const struct rk_part *part)
{
    if (sink) {
        sink->changed += part->sink.changed;
        sink->changed_memory += part->sink.changed_memory;
        sink->abs_graded += part->sink.abs_graded;
        sink->abs_memory += part->sink.abs_memory;
    }
    return part->late;
}

static bool run_together(struct rk_pass *pass, unsigned parts, void (*task)(struct rk_part *part),
                         void *shared)
{
    struct parts all; /* no initializer: it would clear parts that there are not, 7 KB of them, each time */
    bool late = false;
    all.task = task;
    for (unsigned i = 0; i < parts; i++)
        lay_out(&all.part[i], pass, shared, rk_range(pass->list->items, i, parts));
    pass->exec->pool->run(pass->exec->pool, parts, run_one, &all);
    for (unsigned i = 0; i < parts; i++)
        late |= add_up(pass->sink, &all.part[i]);
    return late;
}

enum rankd_status rk_parts_run(struct rk_pass *pass, unsigned parts, void (*task)(struct rk_part *part),
                               void *shared)
{
    if (parts > 1)
        return run_together(pass, parts, task, shared) ? RANKD_DEADLINE : RANKD_OK;
    struct rk_part whole;
    lay_out(&whole, pass, shared, (struct rk_range){.to = pass->list->items});
    task(&whole);
    return add_up(pass->sink, &whole) ? RANKD_DEADLINE : RANKD_OK;
}
