/* SPDX-License-Identifier: Apache-2.0 */
/* Threads that a large request may borrow (exec.h: struct rk_pool), beside the workers.
 *
 * They are no workers, so that a request that has many of them keeps no other request waiting: the
 * kernel divides the processors. One request has them at a time; another large one computes alone
 * meanwhile. Idle threads sleep. */
#ifndef RK_EXEC_COMPUTE_POOL_H
#define RK_EXEC_COMPUTE_POOL_H

#include "base/err.h"
#include "base/exec.h"

struct rk_compute_pool;

/* NULL and *err on failure; count is at least 1. */
struct rk_compute_pool *rk_compute_pool_start(unsigned count, struct rk_err *err);

/* The pool, of width count + 1; lives as long as these threads. Its run() may be called by any
 * threads at a time. */
struct rk_pool *rk_compute_pool_threads(struct rk_compute_pool *compute_pool);

/* No run() may be in progress. Joins and frees; NULL is fine. */
void rk_compute_pool_stop(struct rk_compute_pool *compute_pool);

#endif
