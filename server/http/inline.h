/* SPDX-License-Identifier: Apache-2.0 */
/* Workers with which the threads of the connections compute small requests. A thread takes the
 * first free one. */
#ifndef RK_HTTP_INLINE_H
#define RK_HTTP_INLINE_H

#include "exec/worker_pool.h"

struct rk_inline;

/* One for each thread. NULL: no memory. */
struct rk_inline *rk_inline_new(unsigned threads);
void rk_inline_free(struct rk_inline *inlines); /* NULL is fine */

/* There is always a free one, because a thread takes only one at a time. */
struct rk_worker *rk_inline_take(struct rk_inline *inlines);
void rk_inline_give(struct rk_inline *inlines, struct rk_worker *worker);

#endif
