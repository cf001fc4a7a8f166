/* SPDX-License-Identifier: Apache-2.0 */
#include "retrieval/check.h"

#include <limits.h>

#include "request/appended.h"
#include "request/bank_view.h"
#include "retrieval/retrieval.h"

/* The largest dimension: the BLAS of a device counts in int, and no training needs more. */
#define DIM_MAX ((size_t)1 << 20)

static bool sent(const struct rk_request *request, enum rk_input input)
{
    return request->in[input].data != NULL;
}

/* A vector beside a matrix: one element for each of its rows. */
static enum rankd_status check_beside(const struct rk_request *request, enum rk_input vector,
                                      enum rk_input matrix, struct rk_err *err)
{
    const struct rk_tensor *in = request->in;
    const char *name = rk_input_rows[vector].name, *rows = rk_input_rows[matrix].name;
    if (!sent(request, vector))
        return RANKD_OK;
    if (!sent(request, matrix))
        return rk_fail(err, RANKD_INVALID, "input %s goes with %s, which were not sent", name, rows);
    if (in[vector].shape[0] != in[matrix].shape[0])
        return rk_fail(err, RANKD_INVALID, "input %s has shape [%zu]; it must be [%zu], one for each of %s",
                       name, in[vector].shape[0], in[matrix].shape[0], rows);
    return RANKD_OK;
}

static enum rankd_status check_mask(const struct rk_request *request, struct rk_err *err)
{
    const struct rk_tensor *mask = &request->in[RK_IN_ENQUEUE_MASK];
    for (size_t i = 0; mask->data && i < mask->shape[0]; i++) {
        unsigned value = ((const unsigned char *)mask->data)[i];
        if (value > 1)
            return rk_fail(err, RANKD_INVALID, "enqueue_mask[%zu] is %u; it may be 0 or 1", i, value);
    }
    return RANKD_OK;
}

/* A vector without a dimension has no direction and no inner product. */
static enum rankd_status check_vectors(const struct rk_request *request, enum rk_input matrix,
                                       struct rk_err *err)
{
    const struct rk_tensor *in = &request->in[matrix];
    if (!in->data || in->shape[0] == 0 || in->shape[1] > 0)
        return RANKD_OK;
    return rk_fail(err, RANKD_INVALID, "input %s has shape [%zu, 0]; a vector must have at least 1 dimension",
                   rk_input_rows[matrix].name, in->shape[0]);
}

static enum rankd_status check_refs(const struct rk_request *request, struct rk_err *err)
{
    const struct rk_tensor *in = request->in;
    if (!sent(request, RK_IN_REF_EMBEDDINGS))
        return RANKD_OK;
    if (!sent(request, RK_IN_REF_LABELS) && !sent(request, RK_IN_RELEVANCE))
        return rk_fail(err, RANKD_INVALID, "input ref_labels is missing; ref_embeddings need a label each");
    if (in[RK_IN_REF_EMBEDDINGS].shape[1] != in[RK_IN_EMBEDDINGS].shape[1])
        return rk_fail(err, RANKD_INVALID,
                       "input ref_embeddings has shape [%zu, %zu]; its second dimension must be that of "
                       "embeddings, %zu",
                       in[RK_IN_REF_EMBEDDINGS].shape[0], in[RK_IN_REF_EMBEDDINGS].shape[1],
                       in[RK_IN_EMBEDDINGS].shape[1]);
    return RANKD_OK;
}

/* Whether a bank is named or, by a caller without names, given. */
static bool has_bank(const struct rk_request *request)
{
    return request->bank_snapshot || request->params.bank[0];
}

static enum rankd_status check_gallery(const struct rk_request *request, struct rk_err *err)
{
    if (rk_request_ranks_batch(request) || sent(request, RK_IN_REF_EMBEDDINGS) || has_bank(request))
        return RANKD_OK;
    return rk_fail(err, RANKD_INVALID,
                   "gallery is references, and there is nothing to rank; send ref_embeddings or name a bank");
}

static enum rankd_status check_relevance(const struct rk_request *request, struct rk_err *err)
{
    static const enum rk_input labels[] = {RK_IN_LABELS, RK_IN_REF_LABELS};
    const struct rk_tensor *relevance = &request->in[RK_IN_RELEVANCE];
    if (!relevance->data)
        return RANKD_OK;
    for (size_t i = 0; i < sizeof labels / sizeof *labels; i++) {
        if (sent(request, labels[i]))
            return rk_fail(err, RANKD_INVALID,
                           "input %s cannot be sent with relevance, which replaces labels",
                           rk_input_rows[labels[i]].name);
    }
    if (has_bank(request))
        return rk_fail(
            err, RANKD_INVALID,
            "parameter bank cannot be sent with relevance, which says nothing of the bank's items; send "
            "labels and ref_labels in its place, or no bank");
    const size_t n_queries = request->in[RK_IN_EMBEDDINGS].shape[0];
    const size_t items =
        (rk_request_ranks_batch(request) ? n_queries : 0) +
        (sent(request, RK_IN_REF_EMBEDDINGS) ? request->in[RK_IN_REF_EMBEDDINGS].shape[0] : 0);
    if (relevance->shape[0] == n_queries && relevance->shape[1] == items)
        return RANKD_OK;
    return rk_fail(
        err, RANKD_INVALID,
        "input relevance has shape [%zu, %zu]; it must be [%zu, %zu], one for each of embeddings and each "
        "item that is ranked (%s)",
        relevance->shape[0], relevance->shape[1], n_queries, items,
        rk_request_ranks_batch(request) ? "the batch, then the references" : "the references");
}

static enum rankd_status check_bank(const struct rk_request *request, struct rk_err *err)
{
    const struct rk_bank_snapshot *bank = request->bank_snapshot;
    const struct rk_params *params = &request->params;
    size_t dim = request->in[RK_IN_EMBEDDINGS].shape[1];
    if (!bank)
        return RANKD_OK;
    if (bank->holds != RK_BANK_HOLDS_EMBEDDINGS)
        return rk_fail(err, RANKD_INVALID, "bank \"%s\" holds %s; embeddings need a bank of kind embeddings",
                       params->bank, rk_bank_content_name(bank->holds));
    if (bank->embeddings.dim != dim)
        return rk_fail(err, RANKD_INVALID, "embeddings have %zu dimensions; bank \"%s\" holds items of %zu",
                       dim, params->bank, bank->embeddings.dim);
    if (params->given & (1u << RK_PARAM_normalize) && params->normalize != bank->embeddings.normalize)
        return rk_fail(err, RANKD_INVALID,
                       "normalize is %s; bank \"%s\" was made with %s, leave it out or send that",
                       params->normalize ? "true" : "false", params->bank,
                       bank->embeddings.normalize ? "true" : "false");
    return RANKD_OK;
}

static enum rankd_status check_size(const struct rk_request *request, struct rk_err *err)
{
    const struct rk_tensor *in = request->in;
    size_t n_queries = in[RK_IN_EMBEDDINGS].shape[0], dim = in[RK_IN_EMBEDDINGS].shape[1];
    if (n_queries > RK_RETRIEVAL_BATCH_MAX)
        return rk_fail(err, RANKD_TOO_LARGE,
                       "embeddings has shape [%zu, %zu]; a batch may have at most %d items, "
                       "because each ranks all others",
                       n_queries, dim, RK_RETRIEVAL_BATCH_MAX);
    if (dim > DIM_MAX)
        return rk_fail(err, RANKD_TOO_LARGE,
                       "embeddings has shape [%zu, %zu]; there may be at most %zu dimensions", n_queries, dim,
                       DIM_MAX);
    size_t refs = sent(request, RK_IN_REF_EMBEDDINGS) ? in[RK_IN_REF_EMBEDDINGS].shape[0] : 0;
    size_t memory = request->bank_snapshot ? request->bank_snapshot->items : 0;
    if (refs > RK_LIST_MAX || memory > RK_LIST_MAX || n_queries + refs + memory > RK_LIST_MAX)
        return rk_fail(
            err, RANKD_TOO_LARGE,
            "%zu embeddings, %zu ref_embeddings and %zu items of the bank are one list; it may have at most "
            "%u items",
            n_queries, refs, memory, RK_LIST_MAX);
    return RANKD_OK;
}

enum rankd_status rk_retrieval_check(const struct rk_request *request, struct rk_err *err)
{
    const enum rk_input beside[][2] = {
        {RK_IN_LABELS, RK_IN_EMBEDDINGS},
        {RK_IN_IDS, RK_IN_EMBEDDINGS},
        {RK_IN_ENQUEUE_MASK, rk_request_appended(request).rows},
        {RK_IN_REF_LABELS, RK_IN_REF_EMBEDDINGS},
        {RK_IN_REF_IDS, RK_IN_REF_EMBEDDINGS},
    };
    for (size_t i = 0; i < sizeof beside / sizeof *beside; i++) {
        if (check_beside(request, beside[i][0], beside[i][1], err) != RANKD_OK)
            return err->status;
    }
    enum rankd_status status = check_mask(request, err);
    if (status == RANKD_OK)
        status = check_vectors(request, RK_IN_EMBEDDINGS, err);
    if (status == RANKD_OK)
        status = check_vectors(request, RK_IN_REF_EMBEDDINGS, err);
    if (status == RANKD_OK)
        status = check_refs(request, err);
    if (status == RANKD_OK)
        status = check_gallery(request, err);
    if (status == RANKD_OK)
        status = check_relevance(request, err);
    if (status == RANKD_OK)
        status = check_bank(request, err);
    if (status == RANKD_OK)
        status = check_size(request, err);
    return status;
}

bool rk_retrieval_measurable(const struct rk_request *request)
{
    const struct rk_tensor *in = request->in;
    const size_t n_queries = in[RK_IN_EMBEDDINGS].shape[0], dim = in[RK_IN_EMBEDDINGS].shape[1];
    const size_t refs = sent(request, RK_IN_REF_EMBEDDINGS) ? in[RK_IN_REF_EMBEDDINGS].shape[0] : 0;
    const size_t memory = request->bank_snapshot ? request->bank_snapshot->items : 0;
    return n_queries <= RK_RETRIEVAL_BATCH_MAX && refs <= RK_LIST_MAX && memory <= RK_LIST_MAX &&
           n_queries + refs + memory <= RK_LIST_MAX && dim <= INT_MAX;
}
