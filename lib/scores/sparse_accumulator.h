/* SPDX-License-Identifier: Apache-2.0 */
/* Collects the gradient where it can't be written straight into a dense output: because only the
 * sparse pair is wanted, or because two terms of the loss (lists and the flat list) add to it. */
#ifndef RK_SCORES_SPARSE_ACCUMULATOR_H
#define RK_SCORES_SPARSE_ACCUMULATOR_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "blackbox/blackbox.h"
#include "request/request.h"
#include "scores/lists.h"

struct rk_sparse_entry {
    size_t index; /* flat */
    double part;  /* (-w·Δ)/divisor */
};

/* Either `sum` (one FP64 number an item) or `entry` (one pair per difference, any order) is set.
 * Rooms are guesses: entries that did not fit are counted, and rk_sparse_accumulator_fits() makes
 * room for another try. */
struct rk_sparse_accumulator {
    double *sum; /* [elements] */
    struct rk_sparse_entry *entry;
    size_t room;
    atomic_size_t used;       /* may exceed room */
    size_t list_room;         /* differences that one list has room for */
    atomic_size_t list_wants; /* the most that a list wanted */
    size_t elements, longest_list, terms;
    bool needed;
    struct rk_scratch *scratch;
    size_t mark; /* before the entries */
};

/* Takes memory for a first guess. Later functions take more from the same scratch, or release and
 * retake memory: anything taken after this call must be released before them. `terms` of the loss
 * add to it, with lists of up to `longest_list` items. `sum`: the dense output of two terms. All
 * these functions measure. */
enum rankd_status rk_sparse_accumulator_start(struct rk_sparse_accumulator *accumulator,
                                              struct rk_scratch *scratch, size_t elements,
                                              size_t longest_list, size_t terms, bool sum, struct rk_err *err)
    __attribute__((warn_unused_result));

/* Empties it before a try. While measuring it is filled completely: every item changes its rank. */
void rk_sparse_accumulator_reset(struct rk_sparse_accumulator *accumulator);

/* Adds a list's differences (out->sparse) of list number `list`; any thread, lists of one term do
 * not overlap. */
void rk_sparse_accumulator_add(struct rk_sparse_accumulator *accumulator, const struct rk_lists *lists,
                               size_t list, double w, const struct rk_list_out *out);

/* True if all entries fitted. Otherwise there is more room now, unless *err is set. */
bool rk_sparse_accumulator_fits(struct rk_sparse_accumulator *accumulator, struct rk_err *err);

/* Writes the rounded sums to gradient[elements]; returns how many are not 0. */
size_t rk_sparse_accumulator_dense(const struct rk_sparse_accumulator *accumulator, float *gradient);

/* The sparse pair, those of the two that `outputs` asks for: entries sorted by index, those of
 * equal index added, those that round to 0 dropped. Sets info.gradient_nonzero. */
enum rankd_status rk_sparse_accumulator_write(struct rk_sparse_accumulator *accumulator, unsigned outputs,
                                              struct rk_reply *reply, struct rk_err *err)
    __attribute__((warn_unused_result));

#endif
