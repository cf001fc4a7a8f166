/* SPDX-License-Identifier: Apache-2.0 */
/* The memory of JSON documents: taken in pieces that are first reserved in the budget, and freed
 * all at the same time. A text of 3 bytes, `{},`, takes over 200 bytes of heap, so the heap must be
 * counted, not the text.
 *
 * While a thread has a heap open, Jansson's memory on that thread comes from it, and is freed only
 * when the heap is closed, so a document must not outlive the heap. Without one Jansson uses
 * malloc(). */
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
    struct rk_err err;        /* why it could not grow; then it gives nothing any more */
    struct rk_json_piece *pieces;
    char *at, *end; /* what is left of the newest piece */
};

/* Once, before any document is made. */
void rk_json_heap_install(void);

/* Opens a heap on this thread, which has none open. `budget` outlives it. */
void rk_json_heap_open(struct rk_json_heap *heap, struct rk_budget *budget, size_t beside);

/* Frees everything and gives the reservation back. */
void rk_json_heap_close(struct rk_json_heap *heap);

/* What was taken since the mark, and is not used any more, is taken anew by what follows. So values
 * that are read one by one take the memory of the largest. Nothing happens without a heap. */
struct rk_json_heap_mark {
    struct rk_json_piece *piece;
    char *at;
};
struct rk_json_heap_mark rk_json_heap_mark(void);
void rk_json_heap_back(struct rk_json_heap_mark mark);

/* Bytes of this thread's heap; 0 without one. */
size_t rk_json_heap_held(void);

/* The request has reserved this much more elsewhere: what it can never have is told from both. */
void rk_json_heap_beside(size_t bytes);

/* True if this thread's heap could not grow: *err then says so, RANKD_TOO_LARGE (it never can) or
 * RANKD_OVERLOADED. */
bool rk_json_heap_refused(struct rk_err *err);

#endif
