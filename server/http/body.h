/* A request's body as it arrives: what is reserved in the budget grows with what came, not with what was
 * announced. */
#ifndef RK_HTTP_BODY_H
#define RK_HTTP_BODY_H

#include <stddef.h>

#include "base/budget.h"
#include "base/err.h"

struct rk_body {
    char *data;
    size_t bytes, capacity;
    size_t limit;     /* most bytes it may have */
    size_t announced; /* Content-Length; 0 = unknown */
    size_t filled;    /* of the capacity, reserved: the rest was never touched, and takes no memory */
    size_t reserved;  /* in the budget, `filled` and what is made of the body later */
};

/* Appends; RANKD_TOO_LARGE over the limit, or where the budget could never hold it, RANKD_OVERLOADED where
 * budget or memory are exhausted. */
enum rankd_status rk_body_add(struct rk_body *body, struct rk_budget *budget, const void *bytes, size_t count,
                              struct rk_err *err) __attribute__((warn_unused_result));

/* Reserves more for what is made of the body; errors as rk_budget_reserve(). */
enum rankd_status rk_body_reserve(struct rk_body *body, struct rk_budget *budget, size_t bytes,
                                  struct rk_err *err) __attribute__((warn_unused_result));

/* Gives back what is reserved beyond `bytes`. */
void rk_body_keep(struct rk_body *body, struct rk_budget *budget, size_t bytes);

/* Frees the bytes and gives back all that is reserved; `bytes` goes on telling how many there were. */
void rk_body_free(struct rk_body *body, struct rk_budget *budget);

#endif
