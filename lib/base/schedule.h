/* SPDX-License-Identifier: Apache-2.0 */
/* Spreads groups of lists over the threads of a request. */
#ifndef RK_BASE_SCHEDULE_H
#define RK_BASE_SCHEDULE_H

#include <stddef.h>

#include "base/exec.h"

/* Calls run(job, group, workspace) for each group in 0..groups-1, started in rising order, on the
 * threads of exec->pool or, without one, on the calling thread. A workspace is `workspace_bytes` of
 * scratch, 64-byte aligned and uninitialised; no two calls use one at the same time. There is one
 * workspace per thread, or fewer (at least one) if all would exceed `budget` bytes or the free
 * scratch memory. Returns RANKD_OK after all calls, or RANKD_OVERLOADED if there is no memory for
 * one workspace.
 *
 * While measuring, nothing is run. What is counted is the most that any number of threads takes
 * (one thread without a pool), for workspaces of up to that size. */
enum rankd_status rk_schedule(const struct rk_exec *exec, size_t groups, size_t workspace_bytes,
                              size_t budget, void (*run)(void *job, size_t group, void *workspace), void *job,
                              struct rk_err *err) __attribute__((warn_unused_result));

/* Bytes per item that a request with many lists may use for the workspaces of several threads. */
#define RK_WORKSPACE_PER_ITEM 8

/* Least number of items in a group of lists: below it a thread costs more than it saves. No matter
 * of tuning: the last bit of the loss depends on it, as sums are made by group. */
#define RK_GROUP_ITEMS ((size_t)65536)

#endif
