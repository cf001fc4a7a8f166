/* SPDX-License-Identifier: Apache-2.0 */
#include "base/budget.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/memory.h"
#include "base/metrics.h"

struct rk_budget {
    size_t limit;
    atomic_size_t used;
    struct rk_metrics *metrics;
    struct rk_memory *memory;
};

struct rk_budget *rk_budget_new(size_t limit, struct rk_metrics *metrics, struct rk_memory *memory)
{
    struct rk_budget *budget = calloc(1, sizeof *budget);
    if (budget) {
        budget->limit = limit;
        budget->metrics = metrics;
        budget->memory = memory;
    }
    return budget;
}

void rk_budget_free(struct rk_budget *budget)
{
    free(budget);
}

bool rk_budget_take(struct rk_budget *budget, size_t bytes)
{
    size_t used = atomic_load_explicit(&budget->used, memory_order_relaxed);
    do {
        if (bytes > budget->limit - used)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&budget->used, &used, used + bytes, memory_order_relaxed,
                                                    memory_order_relaxed));
    return true;
}

enum rankd_status rk_budget_reserve(struct rk_budget *budget, size_t held, size_t bytes, const char *what,
                                    struct rk_err *err)
{
    if (bytes > budget->limit || held > budget->limit - bytes)
        return rk_fail(err, RANKD_TOO_LARGE,
                       "%s takes %zu bytes of memory beside the %zu it has; all requests together may have "
                       "%zu (--budget-bytes)",
                       what, bytes, held, budget->limit);
    if (rk_budget_take(budget, bytes))
        return RANKD_OK;
    rk_metric_add(budget->metrics, RK_METRIC_rejected, RK_REASON_BUDGET, 0, 1);
    return rk_fail(err, RANKD_OVERLOADED,
                   "%zu bytes of memory for %s are not free now; try again in a moment", bytes, what);
}

void rk_budget_give(struct rk_budget *budget, size_t bytes)
{
    atomic_fetch_sub_explicit(&budget->used, bytes, memory_order_relaxed);
    if (budget->memory)
        rk_memory_given(budget->memory, bytes);
}

size_t rk_budget_used(const struct rk_budget *budget)
{
    return atomic_load_explicit(&budget->used, memory_order_relaxed);
}

size_t rk_budget_limit(const struct rk_budget *budget)
{
    return budget->limit;
}
