/* SPDX-License-Identifier: Apache-2.0 */
/* An embedding bank as of one version: what a request ranks against. Borrowed from the bank for the
 * length of a request; nothing in it changes meanwhile, whatever is appended or evicted
 * (lib/bank/bank.h takes and releases it). */
#ifndef RK_REQUEST_BANK_VIEW_H
#define RK_REQUEST_BANK_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/tensor.h"

struct rk_labels; /* bank/labels.h */

/* Items that are consecutive in memory. Those of the view are first..first+items-1 of each array:
 * older ones have been evicted, newer ones belong to a later version. */
struct rk_bank_chunk {
    size_t first, items;
    const void *embeddings; /* [.., dim] in the bank's type, normalized already where the bank normalizes */
    const int64_t *labels;
    const int64_t *ids; /* -1 = none; NULL where no item of the chunk has one */
    const struct rk_labels
        *by_label; /* over `labels`: positions count from the chunk's beginning, not from `first` */
    const struct rk_labels *by_id; /* over `ids`; NULL where that is NULL */
    uint64_t identity; /* of the memory of `embeddings`, never used again for another; 0: none. A device's
                          copy made under it stays valid, because chunks are only appended to */
};

struct rk_bank_embeddings {
    enum rk_dtype dtype; /* RK_FP32, RK_FP16, RK_BF16 */
    size_t dim;
    bool normalize;
    size_t chunks;
    const struct rk_bank_chunk *chunk; /* oldest first; none is empty */
};

/* Items that every list has, side by side per list. */
struct rk_bank_scores_chunk {
    size_t items;  /* of each list; not 0 */
    size_t stride; /* from a list's first item to the next list's, at least `items` */
    const float
        *scores; /* [lists, stride] from the first item on: as sent, before the margin, rounded to FP32 */
    const int8_t *targets; /* [lists, stride]: 1, 0, -1. No NaN but where -1 */
};

struct rk_bank_scores {
    size_t lists;
    size_t chunks;
    const struct rk_bank_scores_chunk *chunk; /* oldest first */
};

/* Which requests may rank a bank: its items follow the scores of each list, or the embeddings. */
enum rk_bank_content { RK_BANK_HOLDS_SCORES, RK_BANK_HOLDS_EMBEDDINGS };

/* "scores", "embeddings". */
static inline const char *rk_bank_content_name(enum rk_bank_content holds)
{
    return holds == RK_BANK_HOLDS_EMBEDDINGS ? "embeddings" : "scores";
}

/* What struct rk_request carries: a bank of any kind (bank/kind.h) as of one version. */
struct rk_bank_snapshot {
    enum rk_bank_content holds;
    size_t items; /* of a bank of scores: of one list */
    uint64_t version, generation;
    struct rk_bank_embeddings embeddings; /* where it holds embeddings; otherwise zero */
    struct rk_bank_scores scores;         /* where it holds scores; otherwise zero */
};

#endif
