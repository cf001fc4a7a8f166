/* Pieces of a list: walked block by block, and shared out among threads. */
#ifndef RK_KERNELS_SPAN_H
#define RK_KERNELS_SPAN_H

#include "base/ranges.h"
#include "kernels/kernel.h"

/* Items that lie together, all of one segment. */
struct rk_span {
    const void *scores;    /* of the first one */
    const int8_t *targets; /* NULL: all of them are irrelevant, or are to be taken so */
    uint32_t items;
    uint32_t position; /* of the first one, in the list */
    enum rk_dtype dtype;
    bool far; /* the list is too long to be in a cache */
};

/* Bytes of so many of its scores where they are the request's own; 0 where they are memory's. */
static inline size_t rk_span_sent(const struct rk_list *list, const struct rk_span *span, uint32_t items)
{
    return span->position < list->differentiable ? items * rk_dtype_size(span->dtype) : 0;
}

/* Goes through the items at positions from..to-1 of a list in blocks of at most so many. */
struct rk_walk {
    const struct rk_list *list;
    const struct rk_exec *exec; /* NULL: no deadline is looked at */
    uint32_t block;
    uint32_t position, to;
    size_t segment;
    uint32_t at; /* within the segment */
    uint32_t since_look;
    bool late; /* out: the deadline passed, and the walk ended early */
};

struct rk_walk rk_walk_start(const struct rk_pass *pass, uint32_t from, uint32_t to, uint32_t block);

/* False at the end. Looks at the deadline every million items or so. */
bool rk_walk_next(struct rk_walk *walk, struct rk_span *span);

/* A thread's part of a list: a range (ranges.h), and what it leaves. */
struct rk_list_range {
    struct rk_pass *pass;
    void *shared;    /* the strategy's */
    unsigned number; /* 0.. */
    uint32_t from, to;
    struct rk_gradient_writer writer; /* its own (move only); rk_list_ranges_run() adds them up */
    bool late;                        /* the task sets it where the deadline passed */
};

/* Runs task() for each part, on the pool's threads, and adds up what the writers counted. `ranges` = 1: the
 * caller alone. RANKD_OK or RANKD_DEADLINE. */
enum rankd_status rk_list_ranges_run(struct rk_pass *pass, unsigned ranges,
                                     void (*task)(struct rk_list_range *part), void *shared);

/* Parts of a pass: 1 where there is no pool, or where differences go into one sparse writer. */
unsigned rk_list_ranges_of(const struct rk_pass *pass, bool moving);

#endif
