/* SPDX-License-Identifier: Apache-2.0 */
/* The contract between a ranked list and the code that counts it.
 *
 * Blackbox differentiation of a ranking (Rolínek et al., CVPR 2020) needs, for one list, the ranks
 * of the relevant items, the ranks after only the relevant items were moved, and for every item the
 * difference of the two. No sort of the list is needed for that: the rank of a relevant item is its
 * rank among the relevant ones plus the number of irrelevant items above it, and the rank of an
 * irrelevant item changes by the number of relevant items that passed it. So a list costs two
 * streaming reads of its scores, with P thresholds each:
 *
 *   count   for each threshold, the irrelevant items at or above it; is any of them NaN?
 *   move    the same for the moved thresholds, and per irrelevant item how many thresholds passed
 *           it.
 *
 * A *strategy* is one implementation of the two (vector compares, a search tree, a table …).
 * lib/blackbox/blackbox.c handles the P relevant items, so strategies contain nothing about losses,
 * margins or lambda. */
#ifndef RK_KERNEL_H
#define RK_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/exec.h"
#include "base/tensor.h"
#include "kernels/gradient_value.h"
#include "request/target.h"

/* Contiguous items of a list. Contents may change while they are read (a segment shared with a
 * client): values that indices or bounds depend on are copied first, buffers are sized by `items`
 * and never by n or p, and a target below -1 counts nowhere. */
struct rk_list_segment {
    const void *scores; /* [items] of `dtype`; of any alignment */
    const int8_t
        *targets; /* [items]: above 0 relevant, 0 irrelevant, -1 ignored; NULL: every item is irrelevant */
    uint32_t items;
    enum rk_dtype dtype;     /* RK_FP32, RK_FP16 or RK_BF16 */
    struct rk_grades grades; /* of the relevant items, for the loss; strategies don't look at them. All
                                segments of a list have them, or none */
};

/* One ranking problem. The items are those of the segments, one after the other; an item's position
 * counts through them. */
struct rk_list {
    const struct rk_list_segment *segment;
    size_t segments;
    uint32_t items;          /* of all segments, ignored ones included; at most RK_LIST_MAX */
    uint32_t differentiable; /* the first ones, that receive a gradient; the rest (bank) do not. A boundary of
                                segments */
    uint32_t n;              /* not ignored. n == items: no target is -1, so `count` need not test for it */
    uint32_t p;              /* relevant */
    /* The relevant items, ascending in position. With these a strategy need not read the targets if
     * n == items: count all items, then subtract the relevant ones. */
    const uint32_t *position; /* [p] */
    const float *raw;         /* [p] their scores, before the margin; no NaN */
};

/* A rank difference that is not zero. */
struct rk_delta {
    uint32_t position;
    int32_t delta;
};

/* Output of `move`: Δ = rk(y) - rk(y') of the irrelevant items. At most one of dense and sparse is
 * set. */
struct rk_gradient_writer {
    /* [differentiable] or NULL. The strategy writes every element: rk_gradient_value() of Δ for
     * irrelevant items, +0.0f where Δ = 0. Elements of relevant items may have any value, because
     * the caller overwrites them; those of ignored items must be +0.0f. */
    float *dense;
    double w, divisor; /* of rk_gradient_value() */

    /* [room] or NULL: the differentiable items with Δ != 0, in any order. If there are more than
     * `room`, the first `room` are written and the rest are only counted: the caller calls again
     * with more room. */
    struct rk_delta *sparse;
    size_t room;

    /* Out, all from 0; irrelevant items only. */
    uint64_t changed;            /* differentiable items with Δ != 0 */
    uint64_t changed_bank;       /* the others with Δ != 0 */
    uint64_t abs_differentiable; /* Σ|Δ| over differentiable items; need be correct only if differentiable <
                                    items */
    uint64_t abs_bank;           /* Σ|Δ| over the others */
};

/* Adds one irrelevant item with Δ != 0, for strategies that find them one at a time. `dense` must
 * be cleared before. */
static inline void rk_gradient_writer_put(struct rk_gradient_writer *writer, const struct rk_list *list,
                                          uint32_t position, int32_t delta)
{
    uint64_t size = (uint64_t)(delta < 0 ? -(int64_t)delta : (int64_t)delta);
    if (position >= list->differentiable) {
        writer->changed_bank++;
        writer->abs_bank += size;
        return;
    }
    if (writer->dense)
        writer->dense[position] = rk_gradient_value(writer->w, writer->divisor, delta);
    else if (writer->changed < writer->room)
        writer->sparse[writer->changed] = (struct rk_delta){position, delta};
    writer->changed++;
    writer->abs_differentiable += size;
}

/* Input and output of a strategy. Thresholds are in units of the raw scores: they include the
 * margin (y_j >= t is s_j >= threshold, because rounding is monotone), so that scores are compared
 * as they are stored. Thresholds are descending, may be equal, may be ±inf, are never NaN and never
 * -0.0f. With FP16 or BF16 scores a strategy may round a threshold up to the next value of that
 * type. */
struct rk_pass {
    const struct rk_list *list;
    const struct rk_exec
        *exec;     /* threads (pool NULL: none) and the deadline; its scratch is not for strategies */
    void *scratch; /* scratch() bytes, 64-byte aligned */
    const float *threshold;     /* [p] */
    uint32_t *irrelevant_above; /* [p], count writes: irrelevant items with s_j >= threshold[k] */
    bool nan;        /* begin or count writes: an irrelevant item is NaN; `irrelevant_above` is unspecified */
    float high, low; /* count may write, for its own move: the range of the scores of counted items */
    /* for move only */
    const float *perturbed_threshold; /* [p]. A perturbation only raises relevant items (Λ·g > 0), so sorted
                               thresholds only rise: perturbed_threshold[k] >= threshold[k] */
    uint32_t
        *perturbed_irrelevant_above; /* [p], written: irrelevant items with s_j >= perturbed_threshold[k] */
    struct rk_gradient_writer
        *writer; /* Δ_j = #{k: threshold[k] > s_j} - #{k: perturbed_threshold[k] > s_j} */
};

/* All return RANKD_OK, or RANKD_DEADLINE (long lists check it between blocks). The order on one
 * pass is `begin`, if there is one, `count`, `move`. In between list, threshold and the kept
 * scratch memory stay unchanged. `move` may run several times (after a sparse writer that was too
 * small). The result does not depend on the pool. */
struct rk_strategy {
    const char *name;
    uint32_t most; /* largest number of relevant items that it is meant for */
    /* Bytes of scratch for a list of `items` items and `p` relevant ones; threads = pool width, 1
     * without a pool. */
    size_t (*scratch)(uint32_t items, uint32_t p, unsigned threads);
    /* The first kept() bytes of scratch must stay valid from count() to move(); the rest may be
     * overwritten in between. NULL: none. */
    size_t (*kept)(uint32_t items, uint32_t p, unsigned threads);
    /* Work that does not depend on the thresholds. It runs while another thread ranks the relevant
     * items, so it may use only these members of the pass: the list without `position` and `raw`,
     * exec without its pool, and scratch. It may write to the kept scratch memory, and may set
     * pass->nan, which count() then leaves set. NULL: none. */
    enum rankd_status (*begin)(struct rk_pass *pass);
    enum rankd_status (*count)(struct rk_pass *pass);
    enum rankd_status (*move)(struct rk_pass *pass);
};

struct rk_scan {
    size_t relevant, ignored;
    bool bad; /* some target is above `most` or below -1 (with is_signed false: below 0) */
};

struct rk_product_kernels;
struct rk_tile_kernels;

/* How a list is computed with such a set (lib/blackbox). */
enum rk_list_way {
    RK_LIST_STREAMED, /* by the strategies below */
    RK_LIST_SORTED    /* by plain sorting, as in the paper, without them */
};

/* One machine's (or one forced) set of code. Filled once, constant afterwards. */
struct rk_kernels {
    const char *name; /* "reference", "scalar", "avx2", "avx512" */
    enum rk_list_way way;

    /* Counts one-byte targets: 1 to `most` is relevant. */
    struct rk_scan (*scan)(const void *targets, size_t items, int8_t most, bool is_signed);
    /* Writes the positions, plus `base`, of targets above 0, at most `room` of them; returns their
     * number. */
    size_t (*positions)(const int8_t *targets, uint32_t items, uint32_t base, uint32_t *position,
                        size_t room);

    /* Each Δ of value[0..items-1], a whole number or +0.0f, becomes rk_gradient_value() of it. */
    void (*divide)(float *value, size_t items, double w, double divisor);

    /* Stable sort: writes the indices of `key` to perm[0..n-1] in ascending order of key, equal
     * keys by index; and the keys in that order to sorted[0..n-1], which may be `key` itself, or
     * NULL to omit it. `scratch`: argsort_scratch(n) bytes, 64-byte aligned. */
    size_t (*argsort_scratch)(uint32_t n);
    void (*argsort)(const uint32_t *key, uint32_t n, uint32_t *perm, uint32_t *sorted, void *scratch);

    const struct rk_tile_kernels *tile;       /* kernels/tile.h */
    const struct rk_product_kernels *product; /* kernels/product.h */

    const struct rk_strategy *const *strategy; /* all strategies of this set, NULL at the end; for tests */
    /* Chooses the strategy of a list, the only decision on n and P (lib/kernels/plan.c). Never
     * NULL. */
    const struct rk_strategy *(*plan)(uint32_t items, uint32_t p, enum rk_dtype dtype, unsigned threads);
};

/* The best set for this machine, or the one that RANKD_CPU=reference|scalar|avx2|avx512 names.
 * Chosen at the first call and constant afterwards. An unknown or unsupported name in the variable
 * is ignored here; the daemon calls rk_kernels_named() at the start to refuse it. */
const struct rk_kernels *rk_kernels(void);

/* Finds a set by name; NULL if the name is unknown or the machine lacks the instructions. */
const struct rk_kernels *rk_kernels_named(const char *name);

#endif
