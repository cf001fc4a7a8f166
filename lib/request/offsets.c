/* SPDX-License-Identifier: Apache-2.0 */
#include "request/offsets.h"

#include <inttypes.h>
#include <string.h>

size_t rk_scores_lists(const struct rk_request *request)
{
    if (rk_request_is_ragged(request)) {
        const size_t offsets = request->in[RK_IN_OFFSETS].shape[0];
        return offsets > 0 ? offsets - 1 : 0;
    }
    const bool columns = request->model->loss && request->params.axis == RK_AXIS_COLUMNS;
    return request->in[RK_IN_SCORES].shape[columns ? 1 : 0];
}

size_t rk_scores_items(const struct rk_request *request)
{
    const size_t *shape = request->in[RK_IN_SCORES].shape;
    return rk_request_is_ragged(request) ? shape[0] : shape[0] * shape[1];
}

static int64_t offset_at(const struct rk_tensor *offsets, size_t i)
{
    int64_t offset;
    memcpy(&offset, (const char *)offsets->data + i * sizeof offset, sizeof offset);
    return offset;
}

/* Offset i, which follows `before`. */
static enum rankd_status check_offset(size_t i, int64_t offset, int64_t before, struct rk_err *err)
{
    if (i == 0 && offset != 0)
        return rk_fail(err, RANKD_INVALID, "offsets[0] is %" PRId64 "; the first list must begin at 0",
                       offset);
    if (offset < before)
        return rk_fail(err, RANKD_INVALID,
                       "offsets[%zu] is %" PRId64 ", below offsets[%zu], %" PRId64
                       "; offsets must not descend",
                       i, offset, i - 1, before);
    if (offset - before > RK_LIST_MAX)
        return rk_fail(err, RANKD_TOO_LARGE,
                       "offsets[%zu] is %" PRId64 " and offsets[%zu] %" PRId64
                       "; a list may have at most %u items",
                       i - 1, before, i, offset, RK_LIST_MAX);
    return RANKD_OK;
}

size_t rk_offsets_longest(const struct rk_request *request)
{
    const struct rk_tensor *offsets = &request->in[RK_IN_OFFSETS], *scores = &request->in[RK_IN_SCORES];
    size_t longest = 0;
    if (!offsets->data || offsets->on_device || offsets->dtype != RK_INT64 || offsets->rank != 1 ||
        offsets->shape[0] == 0 || offsets->shape[0] > offsets->bytes / sizeof(int64_t) || scores->rank != 1)
        return 0;
    int64_t before = offset_at(offsets, 0);
    for (size_t i = 1; i < offsets->shape[0]; i++) {
        const int64_t offset = offset_at(offsets, i);
        if (before < 0 || offset < before || (uint64_t)offset > scores->shape[0])
            return 0;
        const size_t items = (size_t)(offset - before);
        longest = items > longest ? items : longest;
        before = offset;
    }
    return longest;
}

/* To `start`, unless that is NULL. */
static enum rankd_status read_offsets(const struct rk_request *request, size_t *start, struct rk_err *err)
{
    const struct rk_tensor *offsets = &request->in[RK_IN_OFFSETS];
    const size_t items = rk_scores_items(request), last = offsets->shape[0] - 1;
    int64_t before = 0;
    for (size_t i = 0; i <= last; i++) {
        const int64_t offset = offset_at(offsets, i);
        if (check_offset(i, offset, before, err) != RANKD_OK)
            return err->status;
        if (request->longest > 0 && (size_t)(offset - before) > request->longest)
            return rk_fail(err, RANKD_INVALID,
                           "offsets changed while they were read; leave them alone until the reply");
        if (start)
            start[i] = (size_t)offset;
        before = offset;
    }
    if ((size_t)before != items)
        return rk_fail(err, RANKD_INVALID,
                       "offsets[%zu], the last, is %" PRId64 "; it must be the number of scores, %zu", last,
                       before, items);
    return RANKD_OK;
}

enum rankd_status rk_offsets_take(const struct rk_exec *exec, const struct rk_request *request,
                                  const size_t **start, struct rk_err *err)
{
    size_t *copy = rk_scratch_array(exec->scratch, request->in[RK_IN_OFFSETS].shape[0], sizeof *copy);
    *start = copy;
    if (!copy)
        return rk_fail_scratch(err, exec->scratch);
    if (rk_exec_measures(exec))
        return RANKD_OK;
    rk_exec_copied(exec, request->in[RK_IN_OFFSETS].bytes);
    return read_offsets(request, copy, err);
}

enum rankd_status rk_offsets_check(const struct rk_request *request, struct rk_err *err)
{
    return read_offsets(request, NULL, err);
}
