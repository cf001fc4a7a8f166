/* SPDX-License-Identifier: Apache-2.0 */
/* The input of `rankctl loss`: scores and targets and, if the files have them, offsets and weights
 * of lists. As in array.h, files are not trusted. */
#ifndef RANKD_CTL_BATCH_H
#define RANKD_CTL_BATCH_H

#include "array.h"

/* Each array that is there has data. With offsets, scores and targets have one dimension. */
struct ctl_batch {
    struct ctl_array scores, targets, offsets, list_weight;
};
void rankd_ctl_batch_free(struct ctl_batch *batch);

/* Reads a file of numpy.savez or savez_compressed: arrays scores and targets and, optionally,
 * offsets and list_weight; no others. Types that the protocol does not have are converted:
 * integers, and FP64 targets and weights. Compressed ones inflate to at most 4 GiB together. The
 * batch is to be freed in both cases. */
bool rankd_ctl_npz_read(struct ctl_batch *batch, const char *path, FILE *file, char why[CTL_WHY]);

/* Reads a file in the form of SVMlight and LETOR: `grade qid:NUMBER feature:value … # comment`, one
 * line per item. The items of a query are consecutive lines, and make one list. Fills targets and
 * offsets, and the scores from feature number `feature` (0 for an item without it), unless that is
 * negative. The batch is to be freed in both cases. */
bool rankd_ctl_letor_read(struct ctl_batch *batch, const char *path, FILE *file, int64_t feature,
                          char why[CTL_WHY]);

/* True if the file's first line that is neither blank nor a comment is of that form. The file is
 * read anew from its beginning. */
bool rankd_ctl_is_letor(const char *path);

#endif
