/* SPDX-License-Identifier: Apache-2.0 */
/* File descriptors: raises their limit, and adapts to a low one. */
#ifndef RK_BASE_DESCRIPTORS_H
#define RK_BASE_DESCRIPTORS_H

#include <stdbool.h>
#include <stdint.h>

struct rk_log;

/* Raises the soft limit of this process to the hard one. */
void rk_descriptors_raise(void);

/* The number of connections, of `wanted` and `spare` ones beside them, for which there are
 * descriptors, leaving some for banks, the ring's clients and the data folder. Warns if there are
 * fewer. At least 1. */
uint64_t rk_descriptors_for(uint64_t wanted, uint64_t spare, struct rk_log *log);

/* False: all are in use. */
bool rk_descriptors_left(void);

#endif
