/* SPDX-License-Identifier: Apache-2.0 */
/* The input offsets: lists of different lengths, side by side in flat scores. List q is items
 * offsets[q] to offsets[q + 1] - 1; offsets[0] is 0, the last one is the number N of scores, and
 * none is below the one before it. A list may be empty. */
#ifndef RK_REQUEST_OFFSETS_H
#define RK_REQUEST_OFFSETS_H

#include "base/exec.h"
#include "request/request.h"

/* True if the request has lists of different lengths: its scores, targets and upstream are flat
 * then. */
static inline bool rk_request_is_ragged(const struct rk_request *request)
{
    return request->in[RK_IN_OFFSETS].data != NULL;
}

/* Lists of a request on scores, whether checked or not: rows, columns with axis 0, or those of
 * offsets. */
size_t rk_scores_lists(const struct rk_request *request);

/* Number of scores, [Q, N] or [N], of a request whose shapes were checked. */
size_t rk_scores_items(const struct rk_request *request);

/* Items of the longest list, of a request that is not checked yet: the offsets are read as they are
 * now. 0 if there are none, if they are in a device's memory, or if a run would refuse them. */
size_t rk_offsets_longest(const struct rk_request *request);

/* Copies the offsets of a request whose shapes were checked to its scratch, and checks the copy:
 * another process may write to the tensor's memory. *start is [lists + 1]. Measures; *start must
 * then not be read. RANKD_OK, RANKD_INVALID with the position and value, also where a list is
 * longer than request->longest, RANKD_TOO_LARGE (a list of more than RK_LIST_MAX items),
 * RANKD_OVERLOADED. */
enum rankd_status rk_offsets_take(const struct rk_exec *exec, const struct rk_request *request,
                                  const size_t **start, struct rk_err *err)
    __attribute__((warn_unused_result));

/* The same check without a copy, for batches of no item, where nothing depends on it later. */
enum rankd_status rk_offsets_check(const struct rk_request *request, struct rk_err *err)
    __attribute__((warn_unused_result));

#endif
