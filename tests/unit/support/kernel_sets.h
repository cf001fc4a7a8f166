/* SPDX-License-Identifier: Apache-2.0 */
/* The sets of kernels for a test, and the number of its cases. */
#ifndef TESTS_KERNEL_SETS_H
#define TESTS_KERNEL_SETS_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernel.h"

enum { TEST_SETS = 4 };

/* All sets by name, also those that this machine lacks. */
extern const char *const test_set_names[TEST_SETS];

/* Writes the sets of this machine; returns how many, at least 2 (reference and scalar). */
size_t test_sets(const struct rk_kernels *sets[TEST_SETS]);

/* Factor of the number of random cases: 1, more with RK_SOAK (`make soak-engine`). */
uint64_t test_times(void);

#endif
