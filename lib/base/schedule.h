/* Spreads groups of lists over the threads of a request. */
#ifndef RK_BASE_SCHEDULE_H
#define RK_BASE_SCHEDULE_H

#include <stddef.h>

#include "base/exec.h"

/* Calls run(job, group, share) for each group in 0..groups-1, in rising order of start, on the caller's
 * threads or the calling one alone. Each thread has a workspace of `workspace_bytes` of scratch (64-byte
 * aligned, uninitialised); no two calls use one workspace at a time. There are as many workspaces as threads,
 * or fewer where they would take more than `budget` bytes together or than the scratch memory has left, but
 * at least one. RANKD_OK when all returned, or RANKD_OVERLOADED if there is no memory for one workspace.
 *
 * Measuring, nothing is run: the most is counted that any number of threads takes, or one without a pool, for
 * workspaces of that size or less. */
enum rankd_status rk_schedule(const struct rk_exec *exec, size_t groups, size_t workspace_bytes,
                              size_t budget, void (*run)(void *job, size_t group, void *workspace), void *job,
                              struct rk_err *err) __attribute__((warn_unused_result));

/* Intermediate results per item that a request with many lists may take to use more threads, in bytes. */
#define RK_WORKSPACE_PER_ITEM 8

/* Items that a group of lists has at least: below this a thread costs more than it brings. */
#define RK_GROUP_ITEMS ((size_t)65536)

#endif
