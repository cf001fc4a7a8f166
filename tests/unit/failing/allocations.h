/* SPDX-License-Identifier: Apache-2.0 */
/* Allocations that fail on purpose, for programs that are linked with allocations.c and -Wl,--wrap
 * of what it wraps. */
#ifndef FAILING_ALLOCATIONS_H
#define FAILING_ALLOCATIONS_H

#include <stdatomic.h>
#include <stddef.h>

extern atomic_size_t fail_at; /* the allocation of that number fails, counted from 1; 0: none */
extern atomic_size_t allocations;
extern atomic_long living; /* allocated and not freed */

void make_fail(size_t n); /* the n-th from now on; 0: none */

void *counted(void *memory);      /* `memory`, counted as living unless it is NULL */
void *__real_malloc(size_t size); /* the real function, not counted */
void __wrap_free(void *at);       /* free(), also of memory from counted() */

#endif
