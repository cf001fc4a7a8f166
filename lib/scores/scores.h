/* The parts of rk_run(), one per kind of model. The request has been checked; `outputs` is never 0. */
#ifndef RK_SCORES_H
#define RK_SCORES_H

#include "request/bank_view.h"
#include "request/request.h"

/* ap, recall with scores: lib/scores/scores.c. */
enum rankd_status rk_run_scores(const struct rk_exec *exec, const struct rk_request *request,
                                struct rk_reply *reply, struct rk_err *err)
    __attribute__((warn_unused_result));

/* rank, rank_vjp: lib/scores/rank.c. */
enum rankd_status rk_run_rank(const struct rk_exec *exec, const struct rk_request *request,
                              struct rk_reply *reply, struct rk_err *err) __attribute__((warn_unused_result));

/* Upper bounds of the scratch bytes of the two; saturate at SIZE_MAX. */
size_t rk_cost_scores(const struct rk_request *request);
size_t rk_cost_rank(const struct rk_request *request);

/* Saturating arithmetic for costs. */
static inline size_t rk_cost_add(size_t a, size_t b)
{
    return a > SIZE_MAX - b ? SIZE_MAX : a + b;
}
static inline size_t rk_cost_times(size_t a, size_t b)
{
    size_t product;
    return __builtin_mul_overflow(a, b, &product) ? SIZE_MAX : product;
}

/* What the reply says of the bank that was read; nothing where none was named. */
static inline void rk_info_bank(struct rk_info *info, const struct rk_bank_view *bank)
{
    if (!bank)
        return;
    info->has_bank = true;
    info->bank_items = bank->items;
    info->bank_version = bank->version;
    info->bank_generation = bank->generation;
}

/* Intermediate results per item that a request with many lists may take to use more threads, in bytes. */
#define RK_SHARE_PER_ITEM 8

/* Items that a group of lists has at least: below this a thread costs more than it brings. */
#define RK_GROUP_ITEMS ((size_t)65536)

#endif
