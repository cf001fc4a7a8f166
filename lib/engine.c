#include "engine.h"

#include "base/saturate.h"
#include "device/device.h"
#include "kernels/kernel.h"
#include "request/check.h"
#include "request/empty.h"
#include "request/out.h"
#include "retrieval/retrieval.h"
#include "scores/scores.h"

/* The sparse pair of a gradient with respect to embeddings comes from the dense one: nothing in it is zero.
 */
static enum rankd_status run_embeddings(const struct rk_exec *exec, const struct rk_request *request,
                                        struct rk_reply *reply, struct rk_err *err)
{
    const unsigned sparse = RK_OUT_SPARSE, dense = RK_OUT_BIT(RK_OUT_GRADIENT);
    if (!(request->outputs & sparse))
        return rk_retrieval_run(exec, request, reply, err);
    struct rk_request asked = *request;
    asked.outputs = (request->outputs & ~sparse) | dense;
    struct rk_out given = reply->out[RK_OUT_GRADIENT];
    bool wanted = request->outputs & dense;
    if (!wanted)
        reply->out[RK_OUT_GRADIENT] = (struct rk_out){0};
    enum rankd_status status = rk_retrieval_run(exec, &asked, reply, err);
    struct rk_out *gradient = &reply->out[RK_OUT_GRADIENT];
    if (status == RANKD_OK)
        status =
            rk_out_compress(reply, request->outputs, gradient->data, gradient->bytes / sizeof(float), err);
    if (!wanted) {
        rk_exec_copied(exec, status == RANKD_OK ? rk_out_given(reply, RK_OUT_GRADIENT_INDICES) +
                                                      rk_out_given(reply, RK_OUT_GRADIENT_VALUES)
                                                : 0);
        struct rk_reply spare = {.out = {[RK_OUT_GRADIENT] = *gradient}};
        rk_reply_clear(&spare);
        *gradient = given;
        reply->outputs &= ~dense;
    }
    return status;
}

static enum rankd_status run_here(const struct rk_exec *exec, const struct rk_request *request,
                                  struct rk_reply *reply, struct rk_err *err)
{
    if (!rk_request_embeds(request) && rk_batch_is_empty(request))
        return rk_empty_scores_run(request, reply, err);
    if (!request->model->loss)
        return rk_rank_run(exec, request, reply, err);
    if (rk_request_embeds(request))
        return run_embeddings(exec, request, reply, err);
    return rk_scores_run(exec, request, reply, err);
}

/* The device first, where it is chosen; what it does not do is done here, on copies of what lies there.
 */
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

/* `lists`: not more lists than that. */
static size_t outputs_cost(const struct rk_request *request, size_t elements, size_t lists)
{
    unsigned outputs = request->outputs ? request->outputs : request->model->outputs_default;
    size_t cost = 0;
    for (unsigned o = 0; o < RK_OUT_COUNT; o++) {
        bool wide = o == RK_OUT_RANKS || o == RK_OUT_GRADIENT_INDICES;
        size_t count = o == RK_OUT_LOSS ? 1 : o == RK_OUT_LIST_LOSS ? lists : elements;
        if (outputs & RK_OUT_BIT(o))
            cost = rk_size_add(cost, rk_size_times(count, wide ? sizeof(int64_t) : sizeof(float)));
    }
    return cost;
}

static size_t larger(const size_t *shape)
{
    return shape[0] > shape[1] ? shape[0] : shape[1];
}

static size_t elements_of(const struct rk_tensor *tensor)
{
    return tensor->rank < 2 ? tensor->shape[0] : rk_size_times(tensor->shape[0], tensor->shape[1]);
}

size_t rk_engine_cost(const struct rk_request *request)
{
    if (request->in[RK_IN_EMBEDDINGS].data) {
        size_t elements = rk_size_add(elements_of(&request->in[RK_IN_EMBEDDINGS]),
                                      elements_of(&request->in[RK_IN_REF_EMBEDDINGS]));
        /* One more for the dense gradient behind a sparse pair. */
        return rk_size_add(
            rk_size_add(outputs_cost(request, elements, request->in[RK_IN_EMBEDDINGS].shape[0]),
                        rk_size_times(elements, sizeof(float))),
            rk_retrieval_cost(request));
    }
    size_t elements = elements_of(&request->in[RK_IN_SCORES]);
    size_t scratch = rk_batch_is_empty(request) ? 0
                     : request->model->loss     ? rk_scores_cost(request)
                                                : rk_rank_cost(request);
    return rk_size_add(outputs_cost(request, elements, larger(request->in[RK_IN_SCORES].shape)), scratch);
}
