/* SPDX-License-Identifier: Apache-2.0 */
#include "request/empty.h"

#include <math.h>

#include "request/appended.h"
#include "request/bank_view.h"
#include "request/list_weight.h"
#include "request/offsets.h"
#include "request/out.h"

bool rk_request_appends_nothing(const struct rk_request *request)
{
    const struct rk_tensor *rows = &request->in[rk_request_appended(request).rows];
    if (!request->in[RK_IN_EMBEDDINGS].data)
        return rk_batch_is_empty(request);
    return !rows->data || rows->shape[0] == 0;
}

bool rk_batch_is_empty(const struct rk_request *request)
{
    const struct rk_tensor *scores = &request->in[RK_IN_SCORES], *embeddings = &request->in[RK_IN_EMBEDDINGS];
    if (embeddings->data)
        return embeddings->shape[0] == 0;
    return scores->data && (scores->shape[0] == 0 || (scores->rank == 2 && scores->shape[1] == 0));
}

/* list_loss is the only output with elements that were not set. */
enum rankd_status rk_empty_scores_prepare(const struct rk_request *request, struct rk_reply *reply,
                                          struct rk_err *err)
{
    const size_t lists = rk_scores_lists(request), *shape = request->in[RK_IN_SCORES].shape;
    const unsigned rank = rk_request_is_ragged(request) ? 1 : 2;
    const struct {
        enum rk_output which;
        enum rk_dtype dtype;
        unsigned rank;
        const size_t *shape;
    } outputs[] = {
        {RK_OUT_LOSS, RK_FP32, 1, &(const size_t){1}},
        {RK_OUT_LIST_LOSS, RK_FP32, 1, &lists},
        {RK_OUT_GRADIENT, RK_FP32, rank, shape},
        {RK_OUT_RANKS, RK_INT64, rank, shape},
        {RK_OUT_GRADIENT_INDICES, RK_INT64, 1, &(const size_t){0}},
        {RK_OUT_GRADIENT_VALUES, RK_FP32, 1, &(const size_t){0}},
    };
    for (size_t i = 0; i < sizeof outputs / sizeof *outputs; i++) {
        if (request->outputs & RK_OUT_BIT(outputs[i].which) &&
            rk_out_prepare(reply, outputs[i].which, outputs[i].dtype, outputs[i].rank, outputs[i].shape,
                           err) != RANKD_OK)
            return err->status;
    }
    return RANKD_OK;
}

enum rankd_status rk_empty_scores_run(const struct rk_request *request, struct rk_reply *reply,
                                      struct rk_err *err)
{
    const size_t lists = rk_scores_lists(request);
    if (rk_request_is_ragged(request) && rk_offsets_check(request, err) != RANKD_OK)
        return err->status;
    if (rk_list_weights_check(request, err) != RANKD_OK ||
        rk_empty_scores_prepare(request, reply, err) != RANKD_OK)
        return err->status;
    if (request->outputs & RK_OUT_BIT(RK_OUT_LOSS))
        *(float *)reply->out[RK_OUT_LOSS].data = 0;
    float *list_loss = reply->out[RK_OUT_LIST_LOSS].data;
    for (size_t l = 0; request->outputs & RK_OUT_BIT(RK_OUT_LIST_LOSS) && l < lists; l++)
        list_loss[l] = NAN;
    reply->info.lists = lists;
    reply->info.lists_skipped = request->model->loss ? lists : 0;
    reply->info.has_gradient = request->outputs & (RK_OUT_BIT(RK_OUT_GRADIENT) | RK_OUT_SPARSE);
    if (request->model->loss && reply->info.has_gradient)
        rk_info_jumped(&reply->info, 0, 0);
    rk_info_bank(&reply->info, request->bank_snapshot);
    return RANKD_OK;
}
