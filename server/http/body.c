/* SPDX-License-Identifier: Apache-2.0 */
#include "http/body.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_BYTES = 4096, WHOLE_BYTES = 1 << 20, STEP_BYTES = 1 << 16 };

enum rankd_status rk_body_reserve(struct rk_body *body, struct rk_budget *budget, size_t bytes,
                                  struct rk_err *err)
{
    if (rk_budget_reserve(budget, body->reserved, bytes, "the request", err) != RANKD_OK)
        return err->status;
    body->reserved += bytes;
    return RANKD_OK;
}

void rk_body_keep(struct rk_body *body, struct rk_budget *budget, size_t bytes)
{
    if (body->reserved <= bytes)
        return;
    rk_budget_give(budget, body->reserved - bytes);
    body->reserved = bytes;
}

/* Up to WHOLE_BYTES an announced size is believed; beyond that the buffer doubles as the bytes
 * arrive. */
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
        char *data = realloc(body->data, capacity);
        if (!data)
            return rk_fail(err, RANKD_OVERLOADED, "no memory for a body of %zu bytes; try again in a moment",
                           capacity);
        body->data = data;
        body->capacity = capacity;
    }
    if (wanted > body->filled) {
        const size_t step = (wanted + STEP_BYTES - 1) / STEP_BYTES * STEP_BYTES;
        const size_t filled = step < body->capacity ? step : body->capacity;
        if (rk_body_reserve(body, budget, filled - body->filled, err) != RANKD_OK)
            return err->status;
        body->filled = filled;
    }
    memcpy(body->data + body->bytes, bytes, count);
    body->bytes = wanted;
    return RANKD_OK;
}

void rk_body_free(struct rk_body *body, struct rk_budget *budget)
{
    free(body->data);
    body->data = NULL;
    body->capacity = body->filled = 0;
    rk_body_keep(body, budget, 0);
}
