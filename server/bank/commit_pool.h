/* The threads that wait for disks, so that no worker does: banks with something to write are queued, and each
 * is served by one thread at a time. */
#ifndef RK_BANK_COMMIT_POOL_H
#define RK_BANK_COMMIT_POOL_H

#include "base/err.h"

struct rk_commit_pool;
struct rk_durable_bank;

/* NULL and *err where threads or memory are short. */
struct rk_commit_pool *rk_commit_pool_start(struct rk_err *err);

/* rk_durable_bank_commit() will be called on the bank, which is held until then. Never waits. Not again
 * before. */
void rk_commit_pool_add(struct rk_commit_pool *pool, struct rk_durable_bank *bank);

/* Serves what is queued and ends. NULL is fine. */
void rk_commit_pool_stop(struct rk_commit_pool *pool);

#endif
