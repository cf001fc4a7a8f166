/* SPDX-License-Identifier: Apache-2.0 */
/* One query's list while its similarities are streamed: thresholds, counts, windows, and the items
 * that may have changed places with a relevant one.
 *
 * A relevant item i is moved from y_i to y'_i = y_i + Λ g_i, and only irrelevant items between the
 * two change their rank. g_i falls with the rank of i, so a lower bound of the ranks, from a sample
 * of the items, bounds y'_i before the list has been read. Items in these windows are kept while
 * all are counted. At the end the true y' must be within the windows. This is checked, and a list
 * for which it does not hold is computed in another way, so the sample affects speed only. */
#ifndef RK_RETRIEVAL_LIST_H
#define RK_RETRIEVAL_LIST_H

#include "kernels/tile.h"
#include "retrieval/retrieval_internal.h"

/* Kept items, in order, as links of one size from a common store. */
#define RK_LINK 1024u
#define RK_LINK_STEP 128u /* a link is full when fewer than that fit */
struct rk_link {
    struct rk_link *next;
    uint32_t count;
    uint32_t position[RK_LINK + RK_THRESHOLD_INDEX_PAD];
    union {
        float score[RK_LINK + RK_THRESHOLD_INDEX_PAD];
        int32_t delta[RK_LINK + RK_THRESHOLD_INDEX_PAD]; /* after rk_stream_list_finish() */
    };
};

struct rk_store {
    struct rk_link *link; /* [links] */
    size_t links, used;
};

struct rk_stream_list {
    size_t q;                     /* the query */
    uint32_t p, skips;            /* relevant items; those and the ignored ones */
    uint32_t *relevant;           /* [p], index order */
    uint32_t *skip;               /* [skips], ascending: items that must not be counted */
    float *y;                     /* [p], index order: similarity, then after the margin */
    uint32_t *argsort;            /* [p], ranked: place in index order */
    int32_t *delta;               /* [p], index order: Δ of the relevant items, after finish */
    float *threshold;             /* [p + RK_THRESHOLD_INDEX_PAD], ascending */
    uint32_t *base;               /* of steps */
    float *perturbed_upper_bound; /* [p + 1] */
    uint32_t *hist;               /* [p + 1] */
    struct rk_threshold_index threshold_index;
    double lambda, divisor; /* as rk_list_out has them; divisor after finish */
    uint64_t jumped;        /* after finish, as rk_list_out has it */
    size_t cursor;          /* in skip */
    size_t expected;        /* items that the windows will keep, estimated from the sample */
    struct rk_link *first, *last;
    bool nan;    /* a similarity is no number */
    bool failed; /* its windows or the store were too small: to be computed in another way */
};

/* Work memory for lists of up to `p` relevant items, shared. */
struct rk_list_work {
    uint32_t p;
    uint32_t *key, *irrelevant_above, *place; /* [p], [p], [RK_LINK + RK_THRESHOLD_INDEX_PAD] */
    uint32_t *argsort, *below, *below_after;  /* [p], [p + 1], [p + 1] */
    float *y, *after;                         /* [p], [p + RK_THRESHOLD_INDEX_PAD] */
    uint32_t *base;
    double *slope; /* [p] */
    void *sort;
};

/* Bytes that a list keeps, and that the work takes. */
size_t rk_stream_list_bytes(uint32_t p, uint32_t skips);
size_t rk_list_work_bytes(const struct rk_kernels *kernels, uint32_t p);

/* Place the arrays in `memory`, 64-byte aligned. */
void rk_stream_list_place(struct rk_stream_list *list, void *memory);
void rk_list_work_place(struct rk_list_work *work, const struct rk_kernels *kernels, uint32_t p,
                        void *memory);

/* From the relevant items' similarities in list->y: margin, order, thresholds; counts at 0.
 * RANKD_INVALID (without a sentence) if one is NaN. */
enum rankd_status rk_stream_list_begin(const struct rk_retrieval *run, struct rk_stream_list *list,
                                       struct rk_list_work *work) __attribute__((warn_unused_result));

/* Back to before the first item: counts 0, nothing kept; windows stay. */
void rk_stream_list_restart(struct rk_stream_list *list);

/* From the counts of `sampled` of `total` items: windows. Then the sample is counted again, now
 * with a store, and tells how many items the windows will keep. Both restart the list. */
void rk_stream_list_window(const struct rk_retrieval *run, struct rk_stream_list *list,
                           struct rk_list_work *work, size_t sampled, size_t total);
void rk_stream_list_expect(struct rk_stream_list *list, size_t sampled, size_t total);

/* Without a sample: keep nothing (loss only). */
void rk_stream_list_keep_nothing(struct rk_stream_list *list);

/* Counts items first..first+n-1 of the ranked axis and keeps those in the windows, if `store` is
 * not NULL. Similarities of relevant and ignored items are overwritten. To be called with rising
 * `first`. */
void rk_stream_list_count(const struct rk_tile_kernels *tile, struct rk_stream_list *list, float *score,
                          size_t n, uint32_t first, bool check_nan, struct rk_store *store);

/* After everything was counted: the query's loss, and with a gradient Δ of the relevant items and
 * of the kept ones (those with Δ = 0 are dropped); sets failed instead where the windows were too
 * narrow. *stalled as in rk_list_out. */
void rk_stream_list_finish(const struct rk_retrieval *run, const struct rk_tile_kernels *tile,
                           struct rk_stream_list *list, struct rk_list_work *work, bool *stalled);

#endif
