#include "body.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_BYTES = 4096, WHOLE_BYTES = 1 << 20 };

enum rankd_status rk_body_reserve(struct rk_body *body, struct rk_budget *budget, size_t bytes,
                                  struct rk_err *err)
{
    if (!rk_budget_take(budget, bytes))
        return rk_fail(err, RANKD_OVERLOADED,
                       "%zu bytes of memory for this request are not free now; try again in a moment", bytes);
    body->reserved += bytes;
    return RANKD_OK;
}

/* Up to WHOLE_BYTES an announced size is believed; beyond that the buffer doubles as the bytes arrive. */
static size_t next_capacity(const struct rk_body *body, size_t wanted)
{
    size_t capacity = body->capacity ? 2 * body->capacity : FIRST_BYTES;
    if (body->announced && body->capacity == 0)
        capacity = body->announced < WHOLE_BYTES ? body->announced : WHOLE_BYTES;
    if (body->announced && capacity > body->announced)
        capacity = body->announced;
    if (capacity > body->limit)
        capacity = body->limit;
    return capacity < wanted ? wanted : capacity;
}

enum rankd_status rk_body_add(struct rk_body *body, struct rk_budget *budget, const void *bytes, size_t count,
                              struct rk_err *err)
{
    if (count > body->limit - body->bytes)
        return rk_fail(err, RANKD_TOO_LARGE, "the body has more than %zu bytes, the most it may have",
                       body->limit);
    const size_t wanted = body->bytes + count;
    if (wanted > body->capacity) {
        const size_t capacity = next_capacity(body, wanted);
        if (rk_body_reserve(body, budget, capacity - body->capacity, err) != RANKD_OK)
            return err->status;
        char *data = realloc(body->data, capacity);
        if (!data)
            return rk_fail(err, RANKD_OVERLOADED, "no memory for a body of %zu bytes; try again in a moment",
                           capacity);
        body->data = data;
        body->capacity = capacity;
    }
    memcpy(body->data + body->bytes, bytes, count);
    body->bytes = wanted;
    return RANKD_OK;
}

void rk_body_free(struct rk_body *body, struct rk_budget *budget)
{
    free(body->data);
    if (body->reserved)
        rk_budget_give(budget, body->reserved);
    memset(body, 0, sizeof *body);
}
