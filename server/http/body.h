/* A request's body as it arrives: memory grows with what came, not with what was announced, and is reserved
 * in the budget before it is taken. */
#ifndef RK_HTTP_BODY_H
#define RK_HTTP_BODY_H

#include <stddef.h>

#include "budget.h"
#include "err.h"

struct rk_body {
    char *data;
    size_t bytes, capacity;
    size_t limit;     /* most bytes it may have */
    size_t announced; /* Content-Length; 0 = unknown */
    size_t reserved;  /* in the budget, also for what is made of the body later */
};

/* Appends; RANKD_TOO_LARGE over the limit, RANKD_OVERLOADED where the budget or memory is exhausted. */
enum rankd_status rk_body_add(struct rk_body *body, struct rk_budget *budget, const void *bytes, size_t count,
                              struct rk_err *err) __attribute__((warn_unused_result));

/* Reserves more for what is made of the body; RANKD_OVERLOADED if it is not free. */
enum rankd_status rk_body_reserve(struct rk_body *body, struct rk_budget *budget, size_t bytes,
                                  struct rk_err *err) __attribute__((warn_unused_result));

/* Frees the body and gives back all that is reserved. */
void rk_body_free(struct rk_body *body, struct rk_budget *budget);

#endif
