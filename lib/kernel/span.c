#include "span.h"

enum { LOOK = 1 << 20, PART_MIN = 1 << 17, ALIGN = 64, FAR = 1 << 22 /* items */ };

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

unsigned rk_parts(uint32_t items, unsigned threads)
{
    unsigned most = items / PART_MIN < RK_PARTS_MAX ? items / PART_MIN : RK_PARTS_MAX;
    unsigned parts = threads < most ? threads : most;
    return parts ? parts : 1;
}

unsigned rk_parts_of(const struct rk_pass *pass, bool moving)
{
    if (!pass->exec->pool || (moving && !pass->sink->dense && pass->sink->room > 0))
        return 1;
    return rk_parts(pass->list->items, pass->exec->pool->width);
}

struct parts {
    struct rk_part part[RK_PARTS_MAX];
    void (*task)(struct rk_part *part);
};

static void run_one(void *arg, size_t i)
{
    struct parts *parts = arg;
    parts->task(&parts->part[i]);
}

static uint32_t boundary(uint32_t items, unsigned part, unsigned parts)
{
    return part == parts ? items : (uint32_t)((uint64_t)items * part / parts) / ALIGN * ALIGN;
}

static void add_up(struct rk_sink *sink, const struct rk_sink *part)
{
    sink->changed += part->changed;
    sink->changed_memory += part->changed_memory;
    sink->abs_graded += part->abs_graded;
    sink->abs_memory += part->abs_memory;
}

enum rankd_status rk_parts_run(struct rk_pass *pass, unsigned parts, void (*task)(struct rk_part *part),
                               void *shared)
{
    struct parts all = {.task = task};
    for (unsigned i = 0; i < parts; i++) {
        struct rk_part *part = &all.part[i];
        *part = (struct rk_part){.pass = pass,
                                 .shared = shared,
                                 .number = i,
                                 .from = boundary(pass->list->items, i, parts),
                                 .to = boundary(pass->list->items, i + 1, parts)};
        if (pass->sink) {
            part->sink = *pass->sink;
            part->sink.changed = part->sink.changed_memory = 0;
            part->sink.abs_graded = part->sink.abs_memory = 0;
        }
    }
    if (parts == 1)
        run_one(&all, 0);
    else
        pass->exec->pool->run(pass->exec->pool, parts, run_one, &all);
    bool late = false;
    for (unsigned i = 0; i < parts; i++) {
        late |= all.part[i].late;
        if (pass->sink)
            add_up(pass->sink, &all.part[i].sink);
    }
    return late ? RANKD_DEADLINE : RANKD_OK;
}
