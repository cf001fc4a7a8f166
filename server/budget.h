/* One byte budget for all requests: bodies, inflated data, the JSON heap, outputs and scratch are reserved
 * here before memory is taken, and given back with it. What does not fit is answered 503. */
#ifndef RK_BUDGET_H
#define RK_BUDGET_H

#include <stdbool.h>
#include <stddef.h>

struct rk_budget;

struct rk_budget *rk_budget_new(size_t limit); /* NULL if out of memory */
void rk_budget_free(struct rk_budget *budget);

/* False if `bytes` more would pass the limit: nothing is reserved then. Any thread. */
bool rk_budget_take(struct rk_budget *budget, size_t bytes) __attribute__((warn_unused_result));
void rk_budget_give(struct rk_budget *budget, size_t bytes);

size_t rk_budget_used(const struct rk_budget *budget);
size_t rk_budget_limit(const struct rk_budget *budget);

#endif
