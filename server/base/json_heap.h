/* SPDX-License-Identifier: Apache-2.0 */
/* The memory of JSON documents: taken in pieces that are reserved in the budget first, and given back at
 * once. A text of 3 bytes, `{},`, takes over 200 of heap, so it is the heap that must be counted, not the
 * text.
 *
 * While a thread has a heap open, all that Jansson takes on that thread comes from there, and nothing is free
 * before the heap is closed: a document lives as long at most. Without one Jansson uses malloc(). */
#ifndef RK_BASE_JSON_HEAP_H
#define RK_BASE_JSON_HEAP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/budget.h"
#include "base/err.h"

struct rk_json_heap {
    struct rk_budget *budget; /* NULL: nothing is reserved */
    size_t beside;            /* bytes that the request has reserved elsewhere */
    size_t held;              /* here */
    struct rk_err err;        /* why more was refused */
    struct rk_json_piece *pieces;
    char *at, *end; /* what is left of the newest piece */
};

/* Once, before any document is made. */
void rk_json_heap_install(void);

/* Opens a heap on this thread, which has none open. `budget` outlives it. */
void rk_json_heap_open(struct rk_json_heap *heap, struct rk_budget *budget, size_t beside);

/* Frees everything and gives the reservation back. */
void rk_json_heap_close(struct rk_json_heap *heap);

/* True if this thread's heap could not grow: *err then says so, RANKD_TOO_LARGE (it never can) or
 * RANKD_OVERLOADED. */
bool rk_json_heap_refused(struct rk_err *err);

#endif
