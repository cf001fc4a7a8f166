/* Loops that threads may share: 0..items-1 cut into ranges, at most one a thread. */
#ifndef RK_BASE_RANGES_H
#define RK_BASE_RANGES_H

#include <stdint.h>

#include "base/exec.h"

/* Items of a range, unless there are fewer: so many that waking a thread is small beside them. */
enum {
    RK_RANGES_MAX = 64,
    RK_RANGE_MIN = 1 << 17,    /* that lie together */
    RK_RANGE_MIN_FAR = 1 << 14 /* each of which waits for memory */
};

/* Items number from..to-1. Ranges begin at multiples of 64, so that two threads do not write to one line of
 * the cache. */
struct rk_range {
    uint32_t from, to;
    unsigned number; /* 0.. */
};

/* How many ranges of at least so many items; `threads` at most, and at least 1. */
unsigned rk_ranges(uint32_t items, uint32_t least, unsigned threads);

/* How many rk_ranges_run() makes. */
static inline unsigned rk_ranges_of(const struct rk_pool *pool, uint32_t items, uint32_t least)
{
    return pool && items >= 2 * least ? rk_ranges(items, least, pool->width) : 1;
}

/* One of so many. */
struct rk_range rk_range(uint32_t items, unsigned number, unsigned ranges);

/* As rk_ranges_run(), for several ranges. */
void rk_ranges_run_parallel(struct rk_pool *pool, uint32_t items, unsigned ranges,
                            void (*task)(void *arg, struct rk_range range), void *arg);

/* Runs the task for each range, on the pool's threads; `pool` NULL: for the whole, by the caller. Inline, so
 * that short lists, of which there may be many, pay for no more than their loop. */
static inline void rk_ranges_run(struct rk_pool *pool, uint32_t items, uint32_t least,
                                 void (*task)(void *arg, struct rk_range range), void *arg)
{
    const unsigned ranges = rk_ranges_of(pool, items, least);
    if (ranges > 1)
        rk_ranges_run_parallel(pool, items, ranges, task, arg);
    else
        task(arg, (struct rk_range){.to = items});
}

#endif
