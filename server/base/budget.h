/* SPDX-License-Identifier: Apache-2.0 */
/* One byte budget for all requests: bodies, inflated data, the JSON heap, outputs and scratch are
 * reserved here before memory is taken, and released with it. A request that does not fit is
 * answered with 503. */
#ifndef RK_BASE_BUDGET_H
#define RK_BASE_BUDGET_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct rk_budget;
struct rk_memory;
struct rk_metrics;

/* NULL if out of memory. Temporary refusals are counted in `metrics`, and `memory` is told of
 * released bytes; either may be NULL. */
struct rk_budget *rk_budget_new(size_t limit, struct rk_metrics *metrics, struct rk_memory *memory);
void rk_budget_free(struct rk_budget *budget);

/* Reserves `bytes` more for a request that has `held` of them; `what` is what they are for, in
 * sentences ("the request", "input scores"). RANKD_TOO_LARGE: it can never have as much.
 * RANKD_OVERLOADED: not now; a request that gets this releases what it holds, so that growing
 * requests never wait for each other. */
enum rankd_status rk_budget_reserve(struct rk_budget *budget, size_t held, size_t bytes, const char *what,
                                    struct rk_err *err) __attribute__((warn_unused_result));

/* False if `bytes` more would pass the limit: nothing is reserved then. Any thread. */
bool rk_budget_take(struct rk_budget *budget, size_t bytes) __attribute__((warn_unused_result));
/* After the memory itself was freed. */
void rk_budget_give(struct rk_budget *budget, size_t bytes);

size_t rk_budget_used(const struct rk_budget *budget);
size_t rk_budget_limit(const struct rk_budget *budget);

#endif
