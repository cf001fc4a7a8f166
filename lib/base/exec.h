/* SPDX-License-Identifier: Apache-2.0 */
/* The means of a request while it runs: threads, scratch memory, time. All of it is lent by the
 * caller; the engine starts no thread and keeps no memory of its own. */
#ifndef RK_BASE_EXEC_H
#define RK_BASE_EXEC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/scratch.h"

/* Threads lent to the engine. `run` calls task(arg, i) for each i in 0..count-1, on any threads in
 * any order, and returns when all have returned. `width` is the largest number of calls in flight
 * at once (1 = the caller alone). NULL in place of a pool means: the caller alone. */
struct rk_pool {
    unsigned width;
    void (*run)(struct rk_pool *pool, size_t count, void (*task)(void *arg, size_t i), void *arg);
};

struct rk_kernels;       /* lib/kernels/kernel.h */
struct rk_device;        /* lib/device/device.h */
struct rk_pin_candidate; /* lib/device/device.h */

struct rk_exec {
    struct rk_pool *pool;       /* NULL: the calling thread alone */
    struct rk_scratch *scratch; /* never NULL */
    uint64_t deadline_ns;       /* CLOCK_MONOTONIC; 0 = none. Long computations look at it between tiles */
    const struct rk_kernels *kernels; /* NULL: rk_kernels(), the machine's best; another one in tests */
    struct rk_device *device;         /* NULL: there is no device */
    struct rk_pin_candidate
        *host_region;      /* a region with all tensors, mapped for longer than the request; or NULL */
    atomic_size_t *copied; /* NULL: nobody asks. What rk_exec_copied() adds to */
};

/* Counts the bytes of tensors that were copied from the caller's memory to the engine's, or from
 * there to an output of the caller. The code that copies calls it. Data that passes through
 * registers and the first-level cache block by block is read in place: that is no copy. */
static inline void rk_exec_copied(const struct rk_exec *exec, size_t bytes)
{
    if (exec->copied && bytes > 0)
        (void)atomic_fetch_add_explicit(exec->copied, bytes, memory_order_relaxed);
}

/* True where a computation is only measured: the functions that it consists of take and place
 * memory as always, but neither read a tensor nor write an output. Sizes that depend on the data
 * are taken at their largest. The pool is not run; it stands for one of any width. Functions that
 * can be measured say so. */
static inline bool rk_exec_measures(const struct rk_exec *exec)
{
    return rk_scratch_measures(exec->scratch);
}

/* RANKD_OK, or RANKD_DEADLINE with the sentence set. */
enum rankd_status rk_exec_check(const struct rk_exec *exec, struct rk_err *err)
    __attribute__((warn_unused_result));

#endif
