/* The contract between a ranked list and the code that counts it.
 *
 * Blackbox differentiation of a ranking (Rolínek et al., CVPR 2020) needs, for one list, the ranks of the
 * relevant items, the ranks after only the relevant items were moved, and for every item the difference of
 * the two. No sort of the list is needed for that: the rank of a relevant item is its rank among the relevant
 * ones plus the number of irrelevant items ahead of it, and the rank of an irrelevant item changes by the
 * number of relevant items that jumped over it. So a list costs two streaming reads of its scores, with P
 * thresholds each:
 *
 *   count   for each threshold, the irrelevant items at or above it; is any of them NaN?
 *   move    the same for the moved thresholds, and per irrelevant item how many thresholds passed it.
 *
 * A *strategy* is one way to do the two (vector compares, a search tree, a partition …).
 * lib/blackbox/blackbox.c does everything that concerns the P relevant items only, so strategies share no
 * code on losses, margins or lambda. */
#ifndef RK_KERNEL_H
#define RK_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/exec.h"
#include "base/tensor.h"
#include "kernels/gradient_value.h"

/* Items of a list that lie together. Contents may change while they are read (a segment shared with a
 * client): what indexes or bounds depend on is copied first, buffers are sized by `items` and never by n or
 * p, and a target that is neither 1 nor -1 is taken as 0. */
struct rk_list_segment {
    const void *scores;    /* [items] of `dtype`; aligned to nothing */
    const int8_t *targets; /* [items]: 1 relevant, 0 irrelevant, -1 ignored; NULL: every item is irrelevant */
    uint32_t items;
    enum rk_dtype dtype; /* RK_FP32, RK_FP16 or RK_BF16 */
};

/* One ranking problem. The items are those of the segments, one after the other; an item's position counts
 * through them. */
struct rk_list {
    const struct rk_list_segment *segment;
    size_t segments;
    uint32_t items;          /* of all segments, ignored ones included; at most RK_LIST_MAX */
    uint32_t differentiable; /* the first so many receive a gradient, the rest (memory) do not; a boundary of
                                segments */
    uint32_t n; /* not ignored; n == items: the targets hold no -1, so `count` need not look for it */
    uint32_t p; /* relevant */
    /* The relevant items, ascending in position. With these a strategy may leave the targets unread where
     * n == items: count all items, then take the relevant ones' own share off. */
    const uint32_t *position; /* [p] */
    const float *raw;         /* [p] their scores, before the margin; no NaN */
};

/* A rank difference that is not zero. */
struct rk_delta {
    uint32_t position;
    int32_t delta;
};

/* Where `move` leaves Δ = rk(y) - rk(y') of the irrelevant items. At most one of dense and sparse is set. */
struct rk_gradient_writer {
    /* [differentiable] or NULL. The strategy writes every element: rk_gradient_value() of Δ for irrelevant
     * items, +0.0f where Δ = 0. Elements of relevant and ignored items may be left at any value of their own:
     * the caller overwrites the relevant ones; ignored ones must be +0.0f. */
    float *dense;
    double w, lambda; /* of rk_gradient_value(); lambda is Λ, the list's own */

    /* [room] or NULL: the differentiable items with Δ != 0, in any order. Where they are more than `room`,
     * the first `room` are written, and counting goes on: the caller comes back with more. */
    struct rk_delta *sparse;
    size_t room;

    /* Out, all from 0; irrelevant items only. */
    uint64_t changed;            /* differentiable items with Δ != 0 */
    uint64_t changed_bank;       /* the others with Δ != 0 */
    uint64_t abs_differentiable; /* Σ|Δ| over differentiable items; need be right only where differentiable <
                                    items */
    uint64_t abs_bank;           /* Σ|Δ| over the others */
};

/* One irrelevant item with Δ != 0, for strategies that come by them one at a time. `dense` must have been
 * cleared. */
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
        writer->dense[position] = rk_gradient_value(writer->w, writer->lambda, delta);
    else if (writer->changed < writer->room)
        writer->sparse[writer->changed] = (struct rk_delta){position, delta};
    writer->changed++;
    writer->abs_differentiable += size;
}

/* What a strategy works on. Thresholds are *thresholds in units of the raw scores*: the caller has taken the
 * margin into them (y_j >= t is s_j >= threshold, because rounding is monotone), so that scores are compared
 * as they come. Thresholds are descending, may be equal, may be ±inf, are never NaN and never -0.0f. With
 * FP16 or BF16 scores a strategy may round a threshold up to the next value of that type. */
struct rk_pass {
    const struct rk_list *list;
    const struct rk_exec
        *exec;     /* threads to borrow (pool NULL: none) and the deadline; its scratch is not theirs */
    void *scratch; /* what scratch() asked for, 64-byte aligned */
    const float *threshold;     /* [p] */
    uint32_t *irrelevant_above; /* [p], count writes: irrelevant items with s_j >= threshold[k] */
    bool nan; /* begin or count writes: some irrelevant item is NaN (then `irrelevant_above` does not matter)
               */
    float high, low; /* count may write, for its own move: no item that counts has a score beyond */
    /* of move only */
    const float *perturbed_threshold; /* [p]. A perturbation only raises relevant items (Λ·g > 0), so sorted
                               thresholds only rise: perturbed_threshold[k] >= threshold[k] */
    uint32_t
        *perturbed_irrelevant_above; /* [p], written: irrelevant items with s_j >= perturbed_threshold[k] */
    struct rk_gradient_writer
        *writer; /* Δ_j = #{k: threshold[k] > s_j} - #{k: perturbed_threshold[k] > s_j} */
};

/* All return RANKD_OK, or RANKD_DEADLINE (seen between blocks; a huge list looks). `count` follows `begin`,
 * if there is one, and `move` follows `count` on the same pass, with nothing of list, threshold and what is
 * kept of the scratch memory changed; it may follow several times (a sparse writer that was too small). With
 * a pool the result is the same as without. */
struct rk_strategy {
    const char *name;
    uint32_t most; /* relevant items, of the lists it is for */
    /* Bytes of scratch for a list of that many items and relevant items; threads = pool width, 1 without. */
    size_t (*scratch)(uint32_t items, uint32_t p, unsigned threads);
    /* So many bytes at its beginning have to last from count() to move(), the rest may be written to in
     * between. NULL: none. */
    size_t (*kept)(uint32_t items, uint32_t p, unsigned threads);
    /* What does not depend on the thresholds: runs while another thread ranks the relevant items, so of the
     * pass only the list without `position` and `raw`, exec without its pool, and scratch are there. It may
     * write to what is kept of the scratch memory, and may set pass->nan, which count() then leaves set.
     * NULL: there is nothing. */
    enum rankd_status (*begin)(struct rk_pass *pass);
    enum rankd_status (*count)(struct rk_pass *pass);
    enum rankd_status (*move)(struct rk_pass *pass);
};

struct rk_scan {
    size_t relevant, ignored;
    bool bad; /* some target is none of 1, 0, -1 (with is_signed false: none of 1, 0) */
};

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

    /* Counts targets of one byte. */
    struct rk_scan (*scan)(const void *targets, size_t items, bool is_signed);
    /* Writes the positions, plus `base`, of targets equal to 1, at most `room` of them; returns how many were
     * written. */
    size_t (*positions)(const int8_t *targets, uint32_t items, uint32_t base, uint32_t *position,
                        size_t room);

    /* Stable sort: writes to perm[0..n-1] the indexes of `key` in ascending order of key, equal keys by
     * index; and the keys in that order to sorted[0..n-1], which may be `key` itself, or NULL: not wanted.
     * `scratch` of argsort_scratch(n) bytes, 64-byte aligned. */
    size_t (*argsort_scratch)(uint32_t n);
    void (*argsort)(const uint32_t *key, uint32_t n, uint32_t *perm, uint32_t *sorted, void *scratch);

    const struct rk_tile_kernels *tile; /* kernels/tile.h */

    const struct rk_strategy *const *strategy; /* all that run with this set, NULL at the end; for tests */
    /* The one for a list: the only place where n and P decide (lib/kernels/plan.c). Never NULL. */
    const struct rk_strategy *(*plan)(uint32_t items, uint32_t p, enum rk_dtype dtype, unsigned threads);
};

/* The machine's best, or what RANKD_CPU=reference|scalar|avx2|avx512 names; chosen at the first call, the
 * same ever after. An environment variable that names nothing (or nothing this machine has) is as good as
 * none here; the daemon asks rk_kernels_named() at start to refuse it. */
const struct rk_kernels *rk_kernels(void);

/* By name; NULL if there is none of that name or this machine lacks the instructions. */
const struct rk_kernels *rk_kernels_named(const char *name);

#endif
