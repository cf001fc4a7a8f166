/* SPDX-License-Identifier: Apache-2.0 */
#include "base/schedule.h"

#include <stdatomic.h>

#include "base/saturate.h"

struct spread {
    void (*run)(void *job, size_t group, void *workspace);
    void *job;
    size_t groups, workspace_bytes;
    char *workspaces;
    atomic_size_t next;
};

static void work(void *arg, size_t thread)
{
    struct spread *spread = arg;
    size_t group;
    while ((group = atomic_fetch_add_explicit(&spread->next, 1, memory_order_relaxed)) < spread->groups)
        spread->run(spread->job, group, spread->workspaces + thread * spread->workspace_bytes);
}

/* Whatever the number of threads, and also if workspaces turn out smaller, so that more of them fit
 * the budget, they take at most one workspace or the budget. */
static enum rankd_status measure_workspaces(const struct rk_exec *exec, size_t groups, size_t workspace_bytes,
                                            size_t budget, struct rk_err *err)
{
    const size_t mark = rk_scratch_mark(exec->scratch), all = rk_size_times(groups, workspace_bytes);
    const size_t many = !exec->pool ? 0 : all < budget ? all : budget;
    const void *at = rk_scratch_take(exec->scratch, many > workspace_bytes ? many : workspace_bytes);
    rk_scratch_release(exec->scratch, mark);
    return at ? RANKD_OK : rk_fail_scratch(err, exec->scratch);
}

enum rankd_status rk_schedule(const struct rk_exec *exec, size_t groups, size_t workspace_bytes,
                              size_t budget, void (*run)(void *job, size_t group, void *workspace), void *job,
                              struct rk_err *err)
{
    workspace_bytes = workspace_bytes / 64 * 64 + (workspace_bytes % 64 ? 64 : 0);
    if (rk_exec_measures(exec))
        return measure_workspaces(exec, groups, workspace_bytes, budget, err);
    size_t threads = exec->pool ? exec->pool->width : 1;
    if (threads > groups)
        threads = groups;
    if (workspace_bytes > 0 && threads > budget / workspace_bytes)
        threads = budget / workspace_bytes;
    struct spread spread = {.run = run, .job = job, .groups = groups, .workspace_bytes = workspace_bytes};
    size_t mark = rk_scratch_mark(exec->scratch);
    for (threads = threads ? threads : 1; threads > 0; threads /= 2) {
        spread.workspaces = rk_scratch_array(exec->scratch, threads, workspace_bytes);
        if (spread.workspaces)
            break;
    }
    if (threads == 0)
        return rk_fail_scratch(err, exec->scratch);
    if (threads == 1)
        work(&spread, 0);
    else
        exec->pool->run(exec->pool, threads, work, &spread);
    rk_scratch_release(exec->scratch, mark);
    return RANKD_OK;
}
