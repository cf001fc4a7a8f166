/* SPDX-License-Identifier: Apache-2.0 */
#include "engine.h"

#include "base/ranges.h"
#include "base/saturate.h"
#include "device/device.h"
#include "kernels/kernel.h"
#include "request/check.h"
#include "request/empty.h"
#include "request/offsets.h"
#include "request/out.h"
#include "retrieval/retrieval.h"
#include "scores/scores.h"

/* The sparse pair of a gradient with respect to embeddings comes from the dense one: nothing in it
 * is zero. */
static enum rankd_status run_embeddings(const struct rk_exec *exec, const struct rk_request *request,
                                        struct rk_reply *reply, struct rk_err *err)
{
    const unsigned sparse = RK_OUT_SPARSE, dense = RK_OUT_BIT(RK_OUT_GRADIENT);
    if (!(request->outputs & sparse))
        return rk_retrieval_run(exec, request, reply, err);
    struct rk_request asked = *request;
    asked.outputs = (request->outputs & ~sparse) | dense;
    struct rk_out given = reply->out[RK_OUT_GRADIENT], *gradient = &reply->out[RK_OUT_GRADIENT];
    const bool wanted = request->outputs & dense, measures = rk_exec_measures(exec);
    if (!wanted && !measures)
        *gradient = (struct rk_out){0};
    enum rankd_status status = rk_retrieval_run(exec, &asked, reply, err);
    const size_t elements = gradient->bytes / sizeof(float);
    if (status == RANKD_OK)
        status = measures ? rk_out_sparse(reply, request->outputs, elements, err)
                          : rk_out_compress(reply, request->outputs, gradient->data, elements, err);
    if (wanted || measures)
        return status;
    rk_exec_copied(exec, status == RANKD_OK ? rk_out_given(reply, RK_OUT_GRADIENT_INDICES) +
                                                  rk_out_given(reply, RK_OUT_GRADIENT_VALUES)
                                            : 0);
    struct rk_reply spare = {.out = {[RK_OUT_GRADIENT] = *gradient}};
    rk_reply_clear(&spare);
    *gradient = given;
    reply->outputs &= ~dense;
    return status;
}

/* Scores that are measured may not have been checked: they may have any size and number of
 * dimensions. */
static enum rankd_status run_scores(const struct rk_exec *exec, const struct rk_request *request,
                                    struct rk_reply *reply, struct rk_err *err)
{
    const bool measures = rk_exec_measures(exec);
    const size_t *shape = request->in[RK_IN_SCORES].shape;
    if (shape[0] == 0 || (shape[1] == 0 && !rk_request_is_ragged(request)))
        return (measures ? rk_empty_scores_prepare : rk_empty_scores_run)(request, reply, err);
    if (measures && !rk_scores_measurable(request))
        return rk_fail(err, RANKD_TOO_LARGE, "the scores have more items than can be computed");
    return (request->model->loss ? rk_scores_run : rk_rank_run)(exec, request, reply, err);
}

static enum rankd_status run_here(const struct rk_exec *exec, const struct rk_request *request,
                                  struct rk_reply *reply, struct rk_err *err)
{
    return (request->model->loss && rk_request_embeds(request) ? run_embeddings : run_scores)(exec, request,
                                                                                              reply, err);
}

/* The device first, if it is chosen. Requests that it does not compute are computed here, on copies
 * of tensors on the device. */
static enum rankd_status run_anywhere(const struct rk_exec *exec, struct rk_request *request,
                                      struct rk_reply *reply, struct rk_err *err)
{
    struct rk_local local = {0};
    if (exec->device && rk_device_chosen(exec->device, request, reply) &&
        rk_device_scores(exec->device, exec, request, reply) == RK_DEVICE_DONE)
        return RANKD_OK;
    reply->outputs = 0;
    reply->info = (struct rk_info){0};
    enum rankd_status status = rk_local_begin(exec->device, request, reply, &local, err);
    if (status == RANKD_OK)
        status = run_here(exec, request, reply, err);
    return rk_local_end(exec->device, request, reply, &local, status, err);
}

enum rankd_status rk_engine_run(const struct rk_exec *exec, const struct rk_request *request,
                                struct rk_reply *reply, struct rk_err *err)
{
    struct rk_request asked = *request;
    struct rk_exec lent = *exec;
    if (asked.outputs == 0)
        asked.outputs = asked.model->outputs_default;
    if (!lent.kernels)
        lent.kernels = rk_kernels();
    reply->outputs = 0;
    reply->info = (struct rk_info){0};
    size_t mark = rk_scratch_mark(exec->scratch);
    const struct rk_model_table models = {rk_models, rk_model_count};
    enum rankd_status status = rk_check_request(&asked, &models, err);
    if (status == RANKD_OK)
        status = run_anywhere(&lent, &asked, reply, err);
    rk_scratch_release(exec->scratch, mark);
    if (status != RANKD_OK)
        rk_reply_clear(reply);
    return status;
}

/* The outputs get addresses that are not written, and room for any size. */
static void give_outputs_nowhere(struct rk_reply *reply)
{
    for (unsigned o = 0; o < RK_OUT_COUNT; o++)
        reply->out[o] = (struct rk_out){.data = rk_scratch_nowhere(), .capacity = SIZE_MAX};
}

static size_t bytes_of(const struct rk_reply *reply)
{
    size_t bytes = 0;
    for (unsigned o = 0; o < RK_OUT_COUNT; o++)
        bytes = rk_size_add(bytes, reply->out[o].bytes);
    return bytes;
}

/* The same code as a run, with a scratch that measures and outputs without memory: so the cost
 * follows from what the code takes, and there is no second list of sizes that could differ. */
size_t rk_engine_cost(const struct rk_request *request)
{
    static struct rk_pool any_threads = {.width = RK_RANGES_MAX};
    struct rk_scratch scratch = rk_scratch_measuring();
    const struct rk_exec exec = {.pool = &any_threads, .scratch = &scratch, .kernels = rk_kernels()};
    struct rk_request asked = *request;
    struct rk_reply reply = {0};
    struct rk_err err = {0};
    asked.outputs = (asked.outputs ? asked.outputs : asked.model->outputs_default) & asked.model->outputs;
    give_outputs_nowhere(&reply);
    if (run_here(&exec, &asked, &reply, &err) != RANKD_OK)
        return SIZE_MAX; /* too large: the request will be refused */
    return rk_size_add(scratch.peak, bytes_of(&reply));
}
