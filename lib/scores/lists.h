/* SPDX-License-Identifier: Apache-2.0 */
/* Lists as a tensor holds them: rows, columns, or pieces of a flat one, of any type. They are
 * converted one after the other to the form that the engine reads (contiguous items, FP32/FP16/BF16
 * scores, one-byte targets), or read in place if they have that form. */
#ifndef RK_SCORES_LISTS_H
#define RK_SCORES_LISTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/exec.h"
#include "base/tensor.h"
#include "kernels/kernel.h"
#include "request/target.h"

struct rk_lists {
    const void *scores; /* [rows, columns], row-major, or flat */
    const void *targets;
    enum rk_dtype score_dtype, target_dtype; /* as sent */
    enum rk_target_rule rule;                /* what targets may be */
    bool by_column;                          /* each column is a list (axis 0), else each row */
    size_t lists;
    const size_t *start; /* [lists + 1]: where each list begins in a flat tensor; NULL: rows or columns */
    size_t elements;     /* of the tensor */
    uint32_t items;      /* of a list, of the longest one if they differ */
    size_t tile;         /* lists to load at a time: 1 by row, some neighbours by column */
    enum rk_dtype dtype; /* of scores once loaded */
};

/* A view of two matrices of equal shape. rows·columns does not overflow, a list has at most
 * RK_LIST_MAX items. */
struct rk_lists rk_lists_of(const struct rk_tensor *scores, const struct rk_tensor *targets, bool by_column);

/* Lists of different lengths, start[0..lists], in two flat tensors of equal length (offsets.h).
 * Measuring, the longest list has `longest` items, or, if that is 0, may have all. */
struct rk_lists rk_lists_ragged(const struct rk_exec *exec, const struct rk_tensor *scores,
                                const struct rk_tensor *targets, const size_t *start, size_t lists,
                                size_t longest);

/* The same tensors as one list in memory order. Not for lists of different lengths. */
struct rk_lists rk_lists_flat(const struct rk_lists *lists);

/* Relevant and not ignored items of a list. */
struct rk_list_count {
    uint32_t n, p;
};

/* Counts every list, on the threads of a long request's pool, and refuses any value that is no
 * target, by name and position. Measures. */
enum rankd_status rk_lists_count(const struct rk_lists *lists, const struct rk_exec *exec,
                                 struct rk_list_count *count, struct rk_err *err)
    __attribute__((warn_unused_result));

/* True if the engine reads the scores where they are. */
bool rk_lists_scores_in_place(const struct rk_lists *lists);

/* Bytes of the tensors, as sent, that loading these lists copies. */
size_t rk_lists_copied(const struct rk_lists *lists, size_t first, size_t count);

/* Bytes that a tile takes where it is not read in place. */
size_t rk_lists_buffer(const struct rk_lists *lists);

/* A tile of lists as loaded: list i of it starts i strides after the first. */
struct rk_lists_tile {
    const char *scores;
    const int8_t *targets;
    size_t score_stride; /* bytes */
    size_t target_stride;
};

/* Loads lists first..first+count-1, count <= lists->tile, using `buffer` of rk_lists_buffer()
 * bytes. */
struct rk_lists_tile rk_lists_load(const struct rk_lists *lists, size_t first, size_t count, void *buffer);

/* The grades of a list; NULL if targets are binary. */
struct rk_grades rk_lists_grades(const struct rk_lists *lists, size_t list);

/* The way back for a gradient by column: tile[i][j] goes to item j of list first + i. */
void rk_lists_store(const struct rk_lists *lists, size_t first, size_t count, const float *tile,
                    float *gradient);

/* Flat position of the first item of a list that is contiguous: not by column. `list` = lists: the
 * end. */
static inline size_t rk_lists_start(const struct rk_lists *lists, size_t list)
{
    return lists->start ? lists->start[list] : list * lists->items;
}

/* Items of a list. */
static inline uint32_t rk_lists_items(const struct rk_lists *lists, size_t list)
{
    return lists->start ? (uint32_t)(lists->start[list + 1] - lists->start[list]) : lists->items;
}

/* Flat position of item j of a list. */
static inline size_t rk_lists_index(const struct rk_lists *lists, size_t list, size_t item)
{
    return lists->by_column ? item * lists->lists + list : rk_lists_start(lists, list) + item;
}

#define RK_LISTS_PLACE_TEXT 48

/* The name of a position in the request's own axes: "[3, 17]", or "[2017]" in a flat tensor.
 * Returns `text`. */
const char *rk_lists_place(const struct rk_lists *lists, size_t index, char text[RK_LISTS_PLACE_TEXT]);

#endif
