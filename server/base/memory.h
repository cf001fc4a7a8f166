/* SPDX-License-Identifier: Apache-2.0 */
/* Returns unused memory to the system. The allocator alone would keep it, in one arena per thread,
 * so that a daemon within its budget could hold several times as much. */
#ifndef RK_BASE_MEMORY_H
#define RK_BASE_MEMORY_H

#include <stddef.h>

#include "base/err.h"

struct rk_memory;

/* Sets up the allocator, and starts a thread that makes it return free memory some time after much
 * was freed. NULL and *err if the thread can't be started. */
struct rk_memory *rk_memory_start(struct rk_err *err) __attribute__((warn_unused_result));
void rk_memory_stop(struct rk_memory *memory);

/* Tells that `bytes` bytes were freed. Any thread, some nanoseconds. */
void rk_memory_given(struct rk_memory *memory, size_t bytes);

/* Bytes of all kinds that are allocated and not freed. */
size_t rk_memory_held(void);

#endif
