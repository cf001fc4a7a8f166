/* SPDX-License-Identifier: Apache-2.0 */
/* A view of a bank together with the chunks that it holds by reference. */
#ifndef RK_BANK_HOLDER_H
#define RK_BANK_HOLDER_H

#include <stdatomic.h>

#include "bank/bank.h"
#include "bank/chunk.h"

/* A view with what it holds. */
struct rk_holder {
    struct rk_bank_snapshot view; /* first: a view's address is its holder's */
    atomic_size_t refs;
    uint64_t end;
    size_t chunks;
    struct rk_held_chunk {
        struct rk_chunk *chunk;
        size_t first, items; /* what the view shows of it */
    } * held;
    void *views; /* the same as requests see it: the kind's array */
};

static inline const struct rk_holder *rk_holder_of(const struct rk_bank_snapshot *view)
{
    return (const struct rk_holder *)(const void *)view;
}

/* An empty view with one reference and room for `chunks` chunks. NULL: out of memory. */
struct rk_holder *rk_holder_new(const struct rk_bank_shape *shape, size_t chunks);

/* Gives a reference back; the last one frees the view and releases its chunks. NULL is fine. */
void rk_holder_drop(struct rk_holder *holder);

/* Fills a new view with the items of `chunk` from sequence number `start` to point.end. It has room
 * for all `chunks`. */
void rk_holder_fill(struct rk_holder *holder, const struct rk_bank_shape *shape,
                    struct rk_chunk *const *chunk, size_t chunks, struct rk_bank_position point,
                    uint64_t start);

/* Fills a new view with those items of `whole` that come from sequence number `start` on. It has
 * room for the chunks of `whole`. */
void rk_holder_narrow(struct rk_holder *holder, const struct rk_bank_shape *shape,
                      const struct rk_holder *whole, uint64_t start);

#endif
