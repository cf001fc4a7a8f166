/* SPDX-License-Identifier: Apache-2.0 */
#include "base/ranges.h"

enum { ALIGN = 64 /* items */ };

unsigned rk_ranges(uint32_t items, uint32_t least, unsigned threads)
{
    unsigned most = items / least < RK_RANGES_MAX ? items / least : RK_RANGES_MAX;
    unsigned ranges = threads < most ? threads : most;
    return ranges ? ranges : 1;
}

static uint32_t boundary(uint32_t items, unsigned number, unsigned ranges)
{
    return number == ranges ? items : (uint32_t)((uint64_t)items * number / ranges) / ALIGN * ALIGN;
}

struct rk_range rk_range(uint32_t items, unsigned number, unsigned ranges)
{
    return (struct rk_range){
        .from = boundary(items, number, ranges), .to = boundary(items, number + 1, ranges), .number = number};
}

struct ranges_job {
    uint32_t items;
    unsigned ranges;
    void (*task)(void *arg, struct rk_range range);
    void *arg;
};

static void run_one(void *arg, size_t number)
{
    const struct ranges_job *shared = arg;
    shared->task(shared->arg, rk_range(shared->items, (unsigned)number, shared->ranges));
}

void rk_ranges_run_parallel(struct rk_pool *pool, uint32_t items, unsigned ranges,
                            void (*task)(void *arg, struct rk_range range), void *arg)
{
    struct ranges_job shared = {.items = items, .ranges = ranges, .task = task, .arg = arg};
    pool->run(pool, ranges, run_one, &shared);
}
