/* ap and recall on scores: weights of the lists, the lists spread over threads, the parts put together. */
#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "blackbox.h"
#include "gather.h"
#include "lists.h"
#include "out.h"
#include "run.h"
#include "schedule.h"
#include "sum.h"

#define ALIGNED(bytes) (((bytes) + 63) / 64 * 64)

/* What a group of lists leaves; added up in order of the groups, so that threads change nothing. */
struct group {
    struct rk_sum loss, dropped, moved; /* of memory's |gradient|, of all |gradient| */
    size_t stalled, nonzero;
    struct rk_err err;
};

/* A part of the loss: the lists, or the flat list of interclass. */
struct part {
    struct rk_lists lists;
    const struct rk_list_count *count;
    double factor; /* 1-β, β, or 1 */
    int average;
    double valid, relevant; /* V, ΣP */
    bool flat;
    size_t per_group, groups;
    size_t scratch; /* of the most demanding list */
};

struct job {
    const struct rk_exec *exec;
    const struct rk_request *request;
    struct rk_blackbox box;
    const struct part *part;
    struct rk_exec list_exec; /* what a list may use: threads only where lists do not share them */
    bool gradient;
    float *dense;     /* NULL: into gather */
    float *list_loss; /* NULL: not asked for */
    struct rk_gather gather;
    struct group *group;
    atomic_size_t failed; /* number of the first group known to have failed */
};

static double weight_of(const struct part *part, uint32_t p)
{
    double w = part->average == RK_AVERAGE_MACRO   ? 1.0 / part->valid
               : part->average == RK_AVERAGE_MICRO ? (double)p / part->relevant
                                                   : 1.0;
    return part->factor == 1.0 ? w : part->factor * w;
}

static void fail_group(struct job *job, size_t number)
{
    size_t seen = atomic_load_explicit(&job->failed, memory_order_relaxed);
    while (number < seen && !atomic_compare_exchange_weak(&job->failed, &seen, number))
        ;
}

/* Names a position in the request's own axes. */
static void fail_nan(const struct job *job, size_t list, uint32_t item, struct rk_err *err)
{
    const struct rk_lists *lists = &job->part->lists;
    size_t columns = job->request->in[RK_IN_SCORES].shape[1];
    size_t index = rk_lists_index(lists, list, item);
    if (item >= lists->items)
        (void)rk_fail(err, RANKD_INTERNAL, "the bank holds a NaN for list %zu", list);
    else
        (void)rk_fail(err, RANKD_INVALID,
                      "scores[%zu, %zu] is NaN; a score must be a number unless its target is -1 (ignored)",
                      index / columns, index % columns);
}

/* The memory that a worker has for one list at a time. */
struct share {
    char *load;
    char *list;
    float *tile; /* gradient by column */
    struct rk_delta *sparse;
};

static size_t share_bytes(const struct job *job, const struct part *part, char *base, struct share *share)
{
    size_t load = ALIGNED(rk_lists_buffer(&part->lists)), list = ALIGNED(part->scratch);
    size_t tile = job->dense && part->lists.by_column
                      ? ALIGNED(part->lists.tile * part->lists.items * sizeof(float))
                      : 0;
    size_t sparse = job->gather.needed ? ALIGNED(job->gather.list_room * sizeof(struct rk_delta)) : 0;
    if (base)
        *share = (struct share){.load = base,
                                .list = base + load,
                                .tile = (float *)(void *)(base + load + list),
                                .sparse = (struct rk_delta *)(void *)(base + load + list + tile)};
    return load + list + tile + sparse;
}

static void note(struct group *group, double w, const struct rk_list_out *out)
{
    rk_sum_add(&group->loss, w * out->loss);
    if (!out->gradient)
        return;
    group->stalled += out->stalled;
    group->nonzero += out->nonzero;
    double scale = w / out->lambda;
    rk_sum_add(&group->dropped, scale * (double)out->abs_memory);
    rk_sum_add(&group->moved, scale * ((double)out->abs_memory + (double)out->abs_graded));
}

/* A list without relevant items: nothing but a look for NaN, and a gradient of 0. */
static enum rankd_status skip_list(struct job *job, struct rk_list *list, size_t number, float *dense,
                                   struct rk_err *err)
{
    if (job->list_loss && !job->part->flat)
        job->list_loss[number] = NAN;
    if (dense)
        memset(dense, 0, list->graded * sizeof *dense);
    if (!rk_list_has_nan(list))
        return RANKD_OK;
    fail_nan(job, number, rk_list_first_nan(list), err);
    return RANKD_INVALID;
}

static enum rankd_status run_list(struct job *job, struct group *group, struct rk_list *list, size_t number,
                                  const struct share *share, float *dense)
{
    struct rk_err *err = &group->err;
    if (list->p == 0)
        return skip_list(job, list, number, dense, err);
    struct rk_list_out out = {.gradient = job->gradient && job->part->factor > 0, .dense = dense};
    if (!dense && out.gradient) {
        out.sparse = share->sparse;
        out.room = job->gather.list_room;
    }
    double w = weight_of(job->part, list->p);
    enum rankd_status status =
        rk_list_run(&job->list_exec, job->exec->kernels, &job->box, w, list, share->list, &out, err);
    if (status == RANKD_INVALID)
        fail_nan(job, number, out.nan, err);
    if (status != RANKD_OK)
        return status;
    if (job->list_loss && !job->part->flat)
        job->list_loss[number] = (float)out.loss;
    note(group, w, &out);
    if (!dense && out.gradient)
        rk_gather_add(&job->gather, &job->part->lists, number, w, &out);
    return RANKD_OK;
}

/* Where a list's dense gradient goes: the output itself by row, a tile to be turned by column. */
static float *dense_of(const struct job *job, const struct share *share, size_t number, size_t within)
{
    const struct rk_lists *lists = &job->part->lists;
    if (!job->dense || job->part->factor == 0)
        return NULL;
    return lists->by_column ? share->tile + within * lists->items : job->dense + number * lists->items;
}

static enum rankd_status run_tile(struct job *job, struct group *group, size_t first, size_t count,
                                  const struct share *share)
{
    const struct rk_lists *lists = &job->part->lists;
    struct rk_lists_tile tile = rk_lists_load(lists, first, count, share->load);
    for (size_t i = 0; i < count; i++) {
        size_t number = first + i;
        struct rk_segment segment = {.scores = tile.scores + i * tile.score_stride,
                                     .targets = tile.targets + i * tile.target_stride,
                                     .items = lists->items,
                                     .dtype = lists->dtype};
        struct rk_list list = {.segment = &segment,
                               .segments = 1,
                               .items = lists->items,
                               .graded = lists->items,
                               .n = job->part->count[number].n,
                               .p = job->part->count[number].p};
        enum rankd_status status =
            run_list(job, group, &list, number, share, dense_of(job, share, number, i));
        if (status != RANKD_OK)
            return status;
    }
    if (job->dense && lists->by_column && job->part->factor > 0)
        rk_lists_store(lists, first, count, share->tile, job->dense);
    return RANKD_OK;
}

static void run_group(void *arg, size_t number, void *memory)
{
    struct job *job = arg;
    const struct part *part = job->part;
    struct group *group = &job->group[number];
    *group = (struct group){0};
    if (number > atomic_load_explicit(&job->failed, memory_order_relaxed))
        return;
    struct share share;
    (void)share_bytes(job, part, memory, &share);
    size_t first = number * part->per_group, end = first + part->per_group;
    end = end < part->lists.lists ? end : part->lists.lists;
    enum rankd_status status = rk_exec_check(job->exec, &group->err);
    for (size_t count; status == RANKD_OK && first < end; first += count) {
        count = end - first < part->lists.tile ? end - first : part->lists.tile;
        status = run_tile(job, group, first, count, &share);
    }
    if (status != RANKD_OK)
        fail_group(job, number);
}

/* The most scratch memory that any list of the part takes. */
static size_t most_scratch(const struct job *job, const struct part *part, unsigned threads)
{
    size_t most = 0;
    uint32_t last = 0;
    for (size_t l = 0; l < part->lists.lists; l++) {
        uint32_t p = part->count[l].p;
        if (p == last)
            continue;
        last = p;
        size_t bytes = rk_list_scratch(job->exec->kernels, part->lists.items, p, part->lists.dtype, threads,
                                       job->gradient);
        most = bytes > most ? bytes : most;
    }
    return most;
}

static void group_lists(struct part *part)
{
    size_t per_group = part->lists.items < RK_GROUP_ITEMS ? RK_GROUP_ITEMS / part->lists.items : 1;
    per_group = (per_group + part->lists.tile - 1) / part->lists.tile * part->lists.tile;
    part->per_group = per_group;
    part->groups = (part->lists.lists + per_group - 1) / per_group;
}

static enum rankd_status collect_groups(const struct job *job, const struct part *part, struct group *total,
                                        struct rk_err *err)
{
    for (size_t g = 0; g < part->groups; g++) {
        const struct group *group = &job->group[g];
        if (group->err.status != RANKD_OK)
            return rk_fail(err, group->err.status, "%s", group->err.text);
        rk_sum_add(&total->loss, rk_sum_value(&group->loss));
        rk_sum_add(&total->dropped, rk_sum_value(&group->dropped));
        rk_sum_add(&total->moved, rk_sum_value(&group->moved));
        total->stalled += group->stalled;
        total->nonzero += group->nonzero;
    }
    return RANKD_OK;
}

/* Threads work on different lists where there are enough of them, else on one list together. */
static enum rankd_status run_part(struct job *job, struct part *part, struct group *total, struct rk_err *err)
{
    struct rk_exec outer = *job->exec;
    job->list_exec = *job->exec;
    unsigned threads = outer.pool ? outer.pool->width : 1;
    bool over_lists = part->groups >= threads && part->groups > 1;
    if (over_lists)
        job->list_exec.pool = NULL;
    else
        outer.pool = NULL;
    part->scratch = most_scratch(job, part, over_lists ? 1 : threads);
    job->part = part;
    atomic_store_explicit(&job->failed, SIZE_MAX, memory_order_relaxed);
    size_t mark = rk_scratch_mark(job->exec->scratch);
    job->group = rk_scratch_take(job->exec->scratch, part->groups * sizeof *job->group);
    if (!job->group)
        return rk_fail_scratch(err, part->groups * sizeof *job->group);
    size_t budget = RK_SHARE_PER_ITEM * part->lists.lists * part->lists.items;
    enum rankd_status status =
        rk_schedule(&outer, part->groups, share_bytes(job, part, NULL, NULL), budget, run_group, job, err);
    if (status == RANKD_OK)
        status = collect_groups(job, part, total, err);
    rk_scratch_release(job->exec->scratch, mark);
    return status;
}

/* Both parts, again with more room where the gradient had too little. A third time would mean that the input
 * keeps changing. */
static enum rankd_status run_parts(struct job *job, struct part *lists, struct part *flat,
                                   struct group *total, struct group *flat_total, struct rk_err *err)
{
    for (int attempt = 0; attempt < 3; attempt++) {
        enum rankd_status status = RANKD_OK;
        *total = *flat_total = (struct group){0};
        if (job->gather.needed)
            rk_gather_reset(&job->gather);
        if (lists->factor > 0 || job->list_loss)
            status = run_part(job, lists, total, err);
        if (status == RANKD_OK && flat->factor > 0)
            status = run_part(job, flat, flat_total, err);
        if (status != RANKD_OK)
            return status;
        if (!job->gather.needed || rk_gather_fits(&job->gather, job->exec->scratch, err))
            return RANKD_OK;
        if (err->status != RANKD_OK)
            return err->status;
    }
    return rk_fail(err, RANKD_INVALID,
                   "scores and targets changed while they were read; leave them alone until the reply");
}

static enum rankd_status write_gradient(struct job *job, struct rk_reply *reply, struct rk_err *err)
{
    unsigned outputs = job->request->outputs;
    float *gradient = reply->out[RK_OUT_GRADIENT].data;
    if (!(outputs & RK_OUT_BIT(RK_OUT_GRADIENT)))
        return rk_gather_write(&job->gather, job->exec->scratch, outputs, reply, err);
    if (job->gather.needed)
        reply->info.gradient_nonzero = rk_gather_dense(&job->gather, gradient);
    if (outputs & RK_OUT_SPARSE)
        return rk_out_compress(reply, outputs, gradient, reply->out[RK_OUT_GRADIENT].bytes / sizeof(float),
                               err);
    return RANKD_OK;
}

static enum rankd_status prepare_outputs(struct job *job, struct rk_reply *reply, size_t lists,
                                         struct rk_err *err)
{
    const struct rk_request *request = job->request;
    enum rankd_status status = RANKD_OK;
    if (request->outputs & RK_OUT_BIT(RK_OUT_LOSS))
        status = rk_out_vector(reply, RK_OUT_LOSS, RK_FP32, 1, err);
    if (status == RANKD_OK && request->outputs & RK_OUT_BIT(RK_OUT_LIST_LOSS)) {
        status = rk_out_vector(reply, RK_OUT_LIST_LOSS, RK_FP32, lists, err);
        job->list_loss = reply->out[RK_OUT_LIST_LOSS].data;
    }
    if (status == RANKD_OK && request->outputs & RK_OUT_BIT(RK_OUT_GRADIENT))
        status = rk_out_prepare(reply, RK_OUT_GRADIENT, RK_FP32, 2, request->in[RK_IN_SCORES].shape, err);
    return status;
}

/* Dense and of one part: straight into the output. Otherwise it is gathered first. */
static enum rankd_status prepare_gradient(struct job *job, const struct part *lists, const struct part *flat,
                                          struct rk_reply *reply, struct rk_err *err)
{
    bool dense = job->request->outputs & RK_OUT_BIT(RK_OUT_GRADIENT);
    bool two = lists->factor > 0 && flat->factor > 0;
    size_t elements = lists->lists.lists * lists->lists.items;
    if (!job->gradient)
        return RANKD_OK;
    if (!dense || two)
        return rk_gather_start(&job->gather, job->exec->scratch, elements,
                               flat->factor > 0 ? elements : lists->lists.items, dense, err);
    job->dense = reply->out[RK_OUT_GRADIENT].data;
    return RANKD_OK;
}

static void sum_counts(struct part *part)
{
    for (size_t l = 0; l < part->lists.lists; l++) {
        part->valid += part->count[l].p > 0;
        part->relevant += (double)part->count[l].p;
    }
    group_lists(part);
}

static struct rk_blackbox box_of(const struct rk_request *request)
{
    const struct rk_params *params = &request->params;
    return (struct rk_blackbox){.loss = request->model->loss,
                                .weight = params->weight,
                                .margin = params->margin,
                                .lambda = params->lambda,
                                .normalized = params->lambda_units == RK_UNITS_NORMALIZED,
                                .batch = params->lambda_scope == RK_SCOPE_BATCH};
}

static void fill_info(const struct job *job, const struct part *lists, const struct group *total,
                      const struct group *flat, struct rk_reply *reply)
{
    struct rk_info *info = &reply->info;
    struct rk_sum loss = total->loss;
    rk_sum_add(&loss, rk_sum_value(&flat->loss));
    info->loss = rk_sum_value(&loss);
    info->lists = lists->lists.lists;
    info->lists_skipped = info->lists - (size_t)lists->valid;
    info->has_gradient = job->gradient;
    info->lists_stalled = total->stalled;
    info->gradient_nonzero = total->nonzero + flat->nonzero;
    double moved = rk_sum_value(&total->moved);
    info->gradient_dropped = moved > 0 ? rk_sum_value(&total->dropped) / moved : 0;
    if (job->request->outputs & RK_OUT_BIT(RK_OUT_LOSS))
        *(float *)reply->out[RK_OUT_LOSS].data = (float)info->loss;
}

enum rankd_status rk_run_scores(const struct rk_exec *exec, const struct rk_request *request,
                                struct rk_reply *reply, struct rk_err *err)
{
    struct job job = {.exec = exec, .request = request, .box = box_of(request)};
    struct part lists = {.factor = 1.0 - request->params.interclass, .average = request->params.average};
    struct part flat = {.factor = request->params.interclass, .average = RK_AVERAGE_SUM, .flat = true};
    struct group total, flat_total;
    lists.lists = rk_lists_of(&request->in[RK_IN_SCORES], &request->in[RK_IN_TARGETS],
                              request->params.axis == RK_AXIS_COLUMNS);
    job.gradient = request->outputs & (RK_OUT_BIT(RK_OUT_GRADIENT) | RK_OUT_SPARSE);

    struct rk_list_count *count = rk_scratch_take(exec->scratch, lists.lists.lists * sizeof *count);
    if (!count)
        return rk_fail_scratch(err, lists.lists.lists * sizeof *count);
    enum rankd_status status = rk_lists_count(&lists.lists, exec->kernels, count, err);
    if (status != RANKD_OK)
        return status;
    struct rk_list_count all = {0};
    for (size_t l = 0; l < lists.lists.lists; l++) {
        all.n += count[l].n;
        all.p += count[l].p;
    }
    lists.count = count;
    sum_counts(&lists);
    if (flat.factor > 0) {
        flat.lists = rk_lists_flat(&lists.lists);
        flat.count = &all;
        sum_counts(&flat);
    }

    status = prepare_outputs(&job, reply, lists.lists.lists, err);
    if (status == RANKD_OK)
        status = prepare_gradient(&job, &lists, &flat, reply, err);
    if (status == RANKD_OK)
        status = run_parts(&job, &lists, &flat, &total, &flat_total, err);
    if (status != RANKD_OK)
        return status;
    fill_info(&job, &lists, &total, &flat_total, reply);
    return job.gradient ? write_gradient(&job, reply, err) : RANKD_OK;
}

/* A list's scratch memory depends on its P, which a cost may not look at: the most over all sizes. */
static size_t worst_list(size_t items, enum rk_dtype dtype)
{
    size_t most = 0;
    if (items == 0 || items > RK_LIST_MAX)
        return items ? SIZE_MAX : 0;
    for (size_t p = 1;; p = p * 2 < items ? p * 2 : items) {
        size_t bytes = rk_list_scratch(rk_kernels(), (uint32_t)items, (uint32_t)p, dtype, 64, true);
        most = bytes > most ? bytes : most;
        if (p >= items)
            return most;
    }
}

size_t rk_cost_scores(const struct rk_request *request)
{
    const struct rk_tensor *scores = &request->in[RK_IN_SCORES];
    size_t elements = rk_cost_times(scores->shape[0], scores->shape[1]);
    bool columns = request->params.axis == RK_AXIS_COLUMNS, two = request->params.interclass > 0;
    bool dense =
        (request->outputs ? request->outputs : request->model->outputs_default) & RK_OUT_BIT(RK_OUT_GRADIENT);
    bool sparse = request->outputs & RK_OUT_SPARSE && !dense;
    size_t lists = scores->shape[columns ? 1 : 0], items = two ? elements : scores->shape[columns ? 0 : 1];
    size_t one = worst_list(items, scores->dtype == RK_FP64 ? RK_FP32 : scores->dtype);
    one =
        rk_cost_add(one, rk_cost_times(columns ? elements : items, 9)); /* loaded scores, targets, gradient */
    size_t many = rk_cost_times(elements, RK_SHARE_PER_ITEM);
    size_t groups = rk_cost_times(
        lists < elements / (RK_GROUP_ITEMS / 2) + 1 ? lists : elements / (RK_GROUP_ITEMS / 2) + 1,
        sizeof(struct group));
    size_t cost = rk_cost_add(one > many ? one : many,
                              rk_cost_add(groups, rk_cost_times(lists, sizeof(struct rk_list_count))));
    if (sparse || (dense && two))
        cost = rk_cost_add(cost, rk_gather_cost(elements, items, dense, two));
    return rk_cost_add(cost, 4096);
}
