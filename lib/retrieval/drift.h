/* SPDX-License-Identifier: Apache-2.0 */
/* How stale a bank of embeddings is: the angle between the items that are about to be appended and
 * the bank's newest items of the same ids. */
#ifndef RK_RETRIEVAL_DRIFT_H
#define RK_RETRIEVAL_DRIFT_H

#include "request/request.h"
#include "retrieval/items.h"

/* Where ids come with a batch that is to be appended: sets the drift of each quarter of the bank as
 * it was read (bank_max_age and bank_read aside), oldest first: the mean of 1 - cos over the items
 * whose counterpart is in it (NaN: none). Also sets their number over all quarters. Items whose id
 * is -1 do not count, nor those of length 0. FP64, from the embeddings as they are ranked and as
 * the bank holds them. */
void rk_drift_measure(const struct rk_request *request, const struct rk_items *items, struct rk_info *info);

#endif
