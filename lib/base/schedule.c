#include "base/schedule.h"

#include <stdatomic.h>

struct spread {
    void (*run)(void *job, size_t group, void *share);
    void *job;
    size_t groups, share_bytes;
    char *shares;
    atomic_size_t next;
};

enum rankd_status rk_fail_scratch(struct rk_err *err, size_t bytes)
{
    return rk_fail(
        err, RANKD_OVERLOADED,
        "no memory for %zu bytes of intermediate results; try again later, or send fewer or shorter lists",
        bytes);
}

static void work(void *arg, size_t thread)
{
    struct spread *spread = arg;
    size_t group;
    while ((group = atomic_fetch_add_explicit(&spread->next, 1, memory_order_relaxed)) < spread->groups)
        spread->run(spread->job, group, spread->shares + thread * spread->share_bytes);
}

enum rankd_status rk_schedule(const struct rk_exec *exec, size_t groups, size_t share_bytes, size_t budget,
                              void (*run)(void *job, size_t group, void *share), void *job,
                              struct rk_err *err)
{
    share_bytes = share_bytes / 64 * 64 + (share_bytes % 64 ? 64 : 0);
    size_t threads = exec->pool ? exec->pool->width : 1;
    if (threads > groups)
        threads = groups;
    if (share_bytes > 0 && threads > budget / share_bytes)
        threads = budget / share_bytes;
    struct spread spread = {.run = run, .job = job, .groups = groups, .share_bytes = share_bytes};
    size_t mark = rk_scratch_mark(exec->scratch);
    for (threads = threads ? threads : 1; threads > 0; threads /= 2) {
        spread.shares = rk_scratch_take(exec->scratch, threads * share_bytes);
        if (spread.shares)
            break;
    }
    if (threads == 0)
        return rk_fail_scratch(err, share_bytes);
    if (threads == 1)
        work(&spread, 0);
    else
        exec->pool->run(exec->pool, threads, work, &spread);
    rk_scratch_release(exec->scratch, mark);
    return RANKD_OK;
}
