/* SPDX-License-Identifier: Apache-2.0 */
/* Sends a request on scores to a device. */
#include "device/device.h"
#include "losses/loss.h"
#include "request/out.h"

struct sparse {
    struct rk_reply *reply;
    unsigned outputs;
};

/* The two outputs in host memory: their length is known only once they are computed. */
static bool sparse_room(void *arg, size_t count, int64_t **index, float **value)
{
    struct sparse *sparse = arg;
    struct rk_err err = {0};
    enum rankd_status status = RANKD_OK;
    if (sparse->outputs & RK_OUT_BIT(RK_OUT_GRADIENT_INDICES)) {
        status = rk_out_vector(sparse->reply, RK_OUT_GRADIENT_INDICES, RK_INT64, count, &err);
        *index = sparse->reply->out[RK_OUT_GRADIENT_INDICES].data;
    }
    if (status == RANKD_OK && sparse->outputs & RK_OUT_BIT(RK_OUT_GRADIENT_VALUES)) {
        status = rk_out_vector(sparse->reply, RK_OUT_GRADIENT_VALUES, RK_FP32, count, &err);
        *value = sparse->reply->out[RK_OUT_GRADIENT_VALUES].data;
    }
    return status == RANKD_OK;
}

/* Of the outputs, only those of a tensor's shape may be on the device. */
static bool others_on_device(const struct rk_reply *reply)
{
    for (unsigned o = 0; o < RK_OUT_COUNT; o++)
        if (o != RK_OUT_GRADIENT && o != RK_OUT_RANKS && reply->out[o].data && reply->out[o].on_device)
            return true;
    return false;
}

/* Room for the outputs whose sizes are known beforehand. */
static enum rankd_status prepare(const struct rk_request *request, struct rk_reply *reply, struct rk_err *err)
{
    const size_t *shape = request->in[RK_IN_SCORES].shape;
    const size_t lists = shape[request->params.axis == RK_AXIS_COLUMNS ? 1 : 0];
    enum rankd_status status = RANKD_OK;
    if (request->outputs & RK_OUT_BIT(RK_OUT_LOSS))
        status = rk_out_vector(reply, RK_OUT_LOSS, RK_FP32, 1, err);
    if (status == RANKD_OK && request->outputs & RK_OUT_BIT(RK_OUT_LIST_LOSS))
        status = rk_out_vector(reply, RK_OUT_LIST_LOSS, RK_FP32, lists, err);
    if (status == RANKD_OK && request->outputs & RK_OUT_BIT(RK_OUT_RANKS))
        status = rk_out_prepare(reply, RK_OUT_RANKS, RK_INT64, 2, shape, err);
    if (status == RANKD_OK && request->outputs & RK_OUT_BIT(RK_OUT_GRADIENT))
        status = rk_out_prepare(reply, RK_OUT_GRADIENT, RK_FP32, 2, shape, err);
    return status;
}

static struct rk_device_gradient gradient_of(const struct rk_request *request, const struct rk_reply *reply,
                                             struct sparse *sparse)
{
    return (struct rk_device_gradient){
        .dense = request->outputs & RK_OUT_BIT(RK_OUT_GRADIENT),
        .sparse = request->outputs & RK_OUT_SPARSE,
        .data = reply->out[RK_OUT_GRADIENT].data,
        .on_device = reply->out[RK_OUT_GRADIENT].on_device,
        .sparse_room = sparse_room,
        .sparse_arg = sparse,
    };
}

struct rk_device_blackbox rk_device_blackbox_of(const struct rk_blackbox *box)
{
    return (struct rk_device_blackbox){.number = (int)box->loss->number,
                                       .lambda_per_n = box->lambda_per_n,
                                       .lambda_batch_scope = box->lambda_batch_scope,
                                       .margin = box->margin,
                                       .lambda = box->lambda,
                                       .params = box->params};
}

static struct rk_device_scores_job scores_of(const struct rk_request *request, const struct rk_reply *reply,
                                             struct sparse *sparse)
{
    const struct rk_blackbox box = rk_blackbox_of(request);
    const struct rk_tensor *scores = &request->in[RK_IN_SCORES], *targets = &request->in[RK_IN_TARGETS];
    return (struct rk_device_scores_job){
        .scores = scores->data,
        .targets = targets->data,
        .scores_on_device = scores->on_device,
        .targets_on_device = targets->on_device,
        .score_dtype = (int)scores->dtype,
        .target_dtype = (int)targets->dtype,
        .rows = scores->shape[0],
        .columns = scores->shape[1],
        .by_column = box.params.axis == RK_AXIS_COLUMNS,
        .box = rk_device_blackbox_of(&box),
        .gradient = gradient_of(request, reply, sparse),
        .list_loss = reply->out[RK_OUT_LIST_LOSS].data,
    };
}

static struct rk_device_rank_job rank_of(const struct rk_request *request, const struct rk_reply *reply,
                                         struct sparse *sparse)
{
    const struct rk_params *params = &request->params;
    const struct rk_tensor *scores = &request->in[RK_IN_SCORES], *upstream = &request->in[RK_IN_UPSTREAM];
    struct rk_device_rank_job job = {
        .scores = scores->data,
        .scores_on_device = scores->on_device,
        .score_dtype = (int)scores->dtype,
        .rows = scores->shape[0],
        .columns = scores->shape[1],
        .ranks = reply->out[RK_OUT_RANKS].data,
        .ranks_on_device = reply->out[RK_OUT_RANKS].on_device,
        .lambda = params->lambda,
        .gradient = gradient_of(request, reply, sparse),
    };
    job.scale =
        params->lambda_units == RK_UNITS_NORMALIZED ? (double)job.columns * params->lambda : params->lambda;
    if (job.gradient.dense || job.gradient.sparse) {
        job.upstream = upstream->data;
        job.upstream_on_device = upstream->on_device;
    }
    return job;
}

/* Bytes that went from host memory to the device. */
static size_t sent(const struct rk_request *request)
{
    size_t bytes = 0;
    for (unsigned i = 0; i < RK_IN_COUNT; i++)
        bytes += request->in[i].data && !request->in[i].on_device ? request->in[i].bytes : 0;
    return bytes;
}

/* Bytes that went back to host memory. */
static size_t fetched(const struct rk_reply *reply)
{
    static const enum rk_output large[] = {RK_OUT_GRADIENT, RK_OUT_RANKS, RK_OUT_GRADIENT_INDICES,
                                           RK_OUT_GRADIENT_VALUES};
    size_t bytes = 0;
    for (size_t i = 0; i < sizeof large / sizeof *large; i++)
        bytes += reply->out[large[i]].on_device ? 0 : rk_out_given(reply, large[i]);
    return bytes;
}

static void note_moved(const struct rk_exec *exec, size_t bytes)
{
    rk_exec_copied(exec, bytes);
    if (exec->host_region)
        (void)atomic_fetch_add_explicit(&exec->host_region->traffic_bytes, bytes, memory_order_relaxed);
}

static enum rk_device_outcome run_scores(struct rk_device *device, const struct rk_request *request,
                                         struct rk_reply *reply, struct sparse *sparse, char *why)
{
    struct rk_device_scores_job job = scores_of(request, reply, sparse);
    const enum rk_device_outcome outcome = device->plugin->scores(device->handle, &job, why);
    reply->info = (struct rk_info){.loss = job.loss,
                                   .lists = job.lists,
                                   .lists_skipped = job.skipped,
                                   .lists_stalled = job.stalled,
                                   .gradient_nonzero = job.gradient.nonzero,
                                   .has_gradient = job.gradient.dense || job.gradient.sparse,
                                   .on_device = true};
    if (reply->info.has_gradient)
        rk_info_jumped(&reply->info, job.jumped, (double)job.relevant);
    return outcome;
}

static enum rk_device_outcome run_rank(struct rk_device *device, const struct rk_request *request,
                                       struct rk_reply *reply, struct sparse *sparse, char *why)
{
    struct rk_device_rank_job job = rank_of(request, reply, sparse);
    const enum rk_device_outcome outcome = device->plugin->rank(device->handle, &job, why);
    reply->info = (struct rk_info){.lists = job.rows,
                                   .gradient_nonzero = job.gradient.nonzero,
                                   .has_gradient = job.upstream != NULL,
                                   .on_device = true};
    return outcome;
}

enum rk_device_outcome rk_device_scores(struct rk_device *device, const struct rk_exec *exec,
                                        const struct rk_request *request, struct rk_reply *reply)
{
    char why[RK_DEVICE_WHY];
    struct rk_err err = {0};
    struct sparse sparse = {reply, request->outputs};
    enum rk_device_outcome outcome = RK_DEVICE_DECLINED;
    if (!others_on_device(reply) && rk_exec_check(exec, &err) == RANKD_OK &&
        prepare(request, reply, &err) == RANKD_OK) {
        if (exec->host_region)
            rk_device_pin(device, exec->host_region);
        outcome = rk_device_note(
            device, (request->model->loss ? run_scores : run_rank)(device, request, reply, &sparse, why));
        if (outcome != RK_DEVICE_DECLINED)
            note_moved(exec, sent(request));
        if (outcome == RK_DEVICE_DONE)
            note_moved(exec, fetched(reply));
    }
    if (outcome != RK_DEVICE_DONE)
        rk_reply_clear(reply);
    else if (request->outputs & RK_OUT_BIT(RK_OUT_LOSS))
        *(float *)reply->out[RK_OUT_LOSS].data = (float)reply->info.loss;
    return outcome;
}
