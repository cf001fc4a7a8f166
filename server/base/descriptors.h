/* SPDX-License-Identifier: Apache-2.0 */
/* File descriptors: as many as the system allows, and what follows where they are few. */
#ifndef RK_BASE_DESCRIPTORS_H
#define RK_BASE_DESCRIPTORS_H

#include <stdbool.h>
#include <stdint.h>

struct rk_log;

/* Raises the soft limit of this process to the hard one. */
void rk_descriptors_raise(void);

/* How many of `wanted` connections, and `spare` beside them, have descriptors, so that others than
 * connections find some too: banks, the ring's clients, the data folder. Warns where they are fewer. At
 * least 1. */
uint64_t rk_descriptors_for(uint64_t wanted, uint64_t spare, struct rk_log *log);

/* False: all are in use. */
bool rk_descriptors_left(void);

#endif
