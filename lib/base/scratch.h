/* SPDX-License-Identifier: Apache-2.0 */
/* Scratch memory of one worker: a stack, kept between requests so that a warm request allocates
 * nothing.
 *
 * A scratch that measures has no memory. It counts what code would take, so that the cost of a
 * request comes from the code that computes it. Memory taken from it has an address, but may
 * neither be read nor written. */
#ifndef RK_BASE_SCRATCH_H
#define RK_BASE_SCRATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Fields are for scratch.c; others use the functions. */
struct rk_scratch {
    char *base; /* NULL: measures */
    size_t reserved;
    size_t used;    /* the top of the stack */
    size_t held;    /* touched, not yet given back */
    size_t peak;    /* the most ever held, or measured */
    size_t refused; /* bytes of the last take that failed */
};

/* NULL if out of memory. `limit` bounds the bytes held at any time; 0 = no bound. */
struct rk_scratch *rk_scratch_new(size_t limit);
void rk_scratch_free(struct rk_scratch *scratch); /* NULL is fine */

/* One that measures, from 0 bytes. It holds nothing that would have to be freed; counts stop at
 * SIZE_MAX. */
static inline struct rk_scratch rk_scratch_measuring(void)
{
    return (struct rk_scratch){0};
}
static inline bool rk_scratch_measures(const struct rk_scratch *scratch)
{
    return !scratch->base;
}

/* 64-byte aligned, uninitialised; lives until the mark it was taken after is released. NULL where
 * memory or the limit is exhausted: the caller then fails with rk_fail_scratch(). Never NULL while
 * measuring. Bytes are not cleared. Not thread-safe: only the owning request's thread takes and
 * releases; tasks of a pool get their workspace before they start. */
void *rk_scratch_take(struct rk_scratch *scratch, size_t bytes) __attribute__((warn_unused_result));
/* The same for an array; NULL too where its bytes overflow. */
void *rk_scratch_array(struct rk_scratch *scratch, size_t count, size_t size)
    __attribute__((warn_unused_result));
size_t rk_scratch_mark(const struct rk_scratch *scratch);
void rk_scratch_release(struct rk_scratch *scratch, size_t mark);

/* An address without memory, as a measuring scratch hands out: 64-byte aligned, not to be read or
 * written. */
void *rk_scratch_nowhere(void);

/* RANKD_OVERLOADED, in the same words wherever scratch memory ran out: the last take failed. */
enum rankd_status rk_fail_scratch(struct rk_err *err, const struct rk_scratch *scratch);

/* Bytes held now, and the most ever held: for metrics. Of one that measures: 0, and its result. */
size_t rk_scratch_held(const struct rk_scratch *scratch);
size_t rk_scratch_peak(const struct rk_scratch *scratch);

/* Gives memory back to the system until at most `keep` bytes are held; for idle workers. Nothing
 * may be taken. */
void rk_scratch_trim(struct rk_scratch *scratch, size_t keep);

#endif
