/* SPDX-License-Identifier: Apache-2.0 */
/* Loops that threads share: 0..items-1 divided into ranges, at most one per thread. */
#ifndef RK_BASE_RANGES_H
#define RK_BASE_RANGES_H

#include <stdint.h>

#include "base/exec.h"

/* Least number of items in a range, so that waking a thread costs little in comparison. */
enum {
    RK_RANGES_MAX = 64,
    RK_RANGE_MIN = 1 << 17,    /* items contiguous in memory */
    RK_RANGE_MIN_FAR = 1 << 14 /* items scattered in memory */
};

/* Items from..to-1. Ranges begin at multiples of 64, so that two threads do not write to one cache
 * line. */
struct rk_range {
    uint32_t from, to;
    unsigned number; /* 0.. */
};

/* Number of ranges of at least `least` items: 1..threads. */
unsigned rk_ranges(uint32_t items, uint32_t least, unsigned threads);

/* Number of ranges that rk_ranges_run() makes. */
static inline unsigned rk_ranges_of(const struct rk_pool *pool, uint32_t items, uint32_t least)
{
    return pool && items >= 2 * least ? rk_ranges(items, least, pool->width) : 1;
}

/* Range `number` of `ranges`. */
struct rk_range rk_range(uint32_t items, unsigned number, unsigned ranges);

/* As rk_ranges_run(), for more than one range. */
void rk_ranges_run_parallel(struct rk_pool *pool, uint32_t items, unsigned ranges,
                            void (*task)(void *arg, struct rk_range range), void *arg);

/* Runs the task for each range on the threads of the pool; with `pool` NULL once for all items, on
 * the calling thread. Inline, so that short lists cost only their loop. */
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
