#include "budget.h"

#include <stdatomic.h>
#include <stdlib.h>

struct rk_budget {
    size_t limit;
    atomic_size_t used;
};

struct rk_budget *rk_budget_new(size_t limit)
{
    struct rk_budget *budget = calloc(1, sizeof *budget);
    if (budget)
        budget->limit = limit;
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

void rk_budget_give(struct rk_budget *budget, size_t bytes)
{
    atomic_fetch_sub_explicit(&budget->used, bytes, memory_order_relaxed);
}

size_t rk_budget_used(const struct rk_budget *budget)
{
    return atomic_load_explicit(&budget->used, memory_order_relaxed);
}

size_t rk_budget_limit(const struct rk_budget *budget)
{
    return budget->limit;
}
