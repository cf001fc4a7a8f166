/* SPDX-License-Identifier: Apache-2.0 */
/* What the threads of the connections compute small requests with. A thread takes the first one that is free.
 */
#ifndef RK_HTTP_INLINE_H
#define RK_HTTP_INLINE_H

#include "exec/worker_pool.h"

struct rk_inline;

/* As many as there are threads. NULL: no memory. */
struct rk_inline *rk_inline_new(unsigned threads);
void rk_inline_free(struct rk_inline *inlines); /* NULL is fine */

/* There is always one, because a thread takes no second one before it has given the first one back. */
struct rk_worker *rk_inline_take(struct rk_inline *inlines);
void rk_inline_give(struct rk_inline *inlines, struct rk_worker *worker);

#endif
