/* SPDX-License-Identifier: Apache-2.0 */
/* Parts of a list: read block by block, and divided among threads. */
#ifndef RK_KERNELS_SPAN_H
#define RK_KERNELS_SPAN_H

#include "base/ranges.h"
#include "kernels/kernel.h"

/* Contiguous items of one segment. */
struct rk_span {
    const void *scores;    /* of the first one */
    const int8_t *targets; /* NULL: all items count as irrelevant */
    uint32_t items;
    uint32_t position; /* of the first one, in the list */
    enum rk_dtype dtype;
    const struct rk_list_segment *segment; /* that they belong to, */
    uint32_t within;                       /* and the place of the first one there */
    bool far;                              /* the list is too long for the caches */
};

/* Bytes of `items` scores of the span if these are the request's; 0 if they are a bank's. */
static inline size_t rk_span_sent(const struct rk_list *list, const struct rk_span *span, uint32_t items)
{
    return span->position < list->differentiable ? items * rk_dtype_size(span->dtype) : 0;
}

/* Reads the items at positions from..to-1 of a list in spans of at most `block` items. */
struct rk_walk {
    const struct rk_list *list;
    const struct rk_exec *exec; /* NULL: no deadline is checked */
    uint32_t block;
    uint32_t position, to;
    size_t segment;
    uint32_t at; /* within the segment */
    uint32_t since_look;
    bool late; /* out: the walk ended early because the deadline passed */
};

struct rk_walk rk_walk_start(const struct rk_pass *pass, uint32_t from, uint32_t to, uint32_t block);

/* False at the end. Checks the deadline about every million items. */
bool rk_walk_next(struct rk_walk *walk, struct rk_span *span);

/* The part of a list for one thread, and its results. */
struct rk_list_range {
    struct rk_pass *pass;
    void *shared;    /* data of the strategy */
    unsigned number; /* 0.. */
    uint32_t from, to;
    struct rk_gradient_writer writer; /* of this part (move only); rk_list_ranges_run() adds them up */
    bool late;                        /* set by the task if the deadline passed */
};

/* Runs task() for each part on the threads of the pool and adds up the counts of the writers. With
 * `ranges` 1 it runs on the calling thread. RANKD_OK or RANKD_DEADLINE. */
enum rankd_status rk_list_ranges_run(struct rk_pass *pass, unsigned ranges,
                                     void (*task)(struct rk_list_range *part), void *shared);

/* Number of parts of a pass: 1 without a pool, or if differences go into one sparse writer. */
unsigned rk_list_ranges_of(const struct rk_pass *pass, bool moving);

#endif
