/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that nobody uses any more goes back to the system. The allocator alone keeps it, in as many arenas
 * as there are threads: a daemon whose budget is kept would hold several times as much all the same. */
#ifndef RK_BASE_MEMORY_H
#define RK_BASE_MEMORY_H

#include <stddef.h>

#include "base/err.h"

struct rk_memory;

/* Settings of the allocator, and a thread that has it return what is free, some time after much was. NULL and
 * *err where the thread can't be started. */
struct rk_memory *rk_memory_start(struct rk_err *err) __attribute__((warn_unused_result));
void rk_memory_stop(struct rk_memory *memory);

/* So many bytes were freed. Any thread, some nanoseconds. */
void rk_memory_given(struct rk_memory *memory, size_t bytes);

/* Bytes that the allocator has handed out and not got back, of all kinds. */
size_t rk_memory_held(void);

#endif
