/* SPDX-License-Identifier: Apache-2.0 */
/* Targets of the pairs of query and item, in place of labels (input `relevance`). */
#ifndef RK_RETRIEVAL_RELEVANCE_H
#define RK_RETRIEVAL_RELEVANCE_H

#include "request/request.h"
#include "retrieval/items.h"

/* Sets items->relevance (of the scratch) and items->grades from a checked request that has the
 * input: with -1 for a query's own item, whatever was sent there, and for items with its id. The
 * row blocks must be set already. RANKD_INVALID (names the position and the value),
 * RANKD_OVERLOADED. Measures. */
enum rankd_status rk_relevance_read(const struct rk_exec *exec, const struct rk_request *request,
                                    struct rk_items *items, struct rk_err *err)
    __attribute__((warn_unused_result));

/* rk_items_count() and rk_items_find() where there is a relevance. */
struct rk_match_counts rk_relevance_count(const struct rk_items *items, size_t q);
void rk_relevance_find(const struct rk_items *items, size_t q, uint32_t *relevant, uint32_t *ignored);

#endif
