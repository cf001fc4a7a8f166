/* SPDX-License-Identifier: Apache-2.0 */
/* The body of a request as it arrives. The reservation in the budget grows with the received bytes,
 * not with the announced size. */
#ifndef RK_HTTP_BODY_H
#define RK_HTTP_BODY_H

#include <stddef.h>

#include "base/budget.h"
#include "base/err.h"

struct rk_body {
    char *data;
    size_t bytes, capacity;
    size_t limit;     /* most bytes allowed */
    size_t announced; /* Content-Length; 0 = unknown */
    size_t filled; /* part of the capacity that is reserved; the rest was never touched and takes no memory */
    size_t reserved; /* bytes in the budget: `filled`, and data that is derived from the body later */
};

/* Appends bytes. RANKD_TOO_LARGE over the limit, or if the whole budget could not hold it.
 * RANKD_OVERLOADED if budget or memory are exhausted now. */
enum rankd_status rk_body_add(struct rk_body *body, struct rk_budget *budget, const void *bytes, size_t count,
                              struct rk_err *err) __attribute__((warn_unused_result));

/* Reserves more for data derived from the body. Errors as rk_budget_reserve(). */
enum rankd_status rk_body_reserve(struct rk_body *body, struct rk_budget *budget, size_t bytes,
                                  struct rk_err *err) __attribute__((warn_unused_result));

/* Releases the reservation beyond `bytes`. */
void rk_body_keep(struct rk_body *body, struct rk_budget *budget, size_t bytes);

/* Frees the data and releases the reservation. `body->bytes` keeps its value. */
void rk_body_free(struct rk_body *body, struct rk_budget *budget);

#endif
