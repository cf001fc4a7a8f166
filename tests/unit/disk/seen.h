/* SPDX-License-Identifier: Apache-2.0 */
/* The states that were met, each with the number of operations that were tried from it. */
#ifndef TEST_SEEN_H
#define TEST_SEEN_H

#include <stdbool.h>
#include <stddef.h>
#include <xxhash.h>

void seen_reset(void);
size_t seen_count(void);
/* The most operations that were noted for the state; -1: it was not met. */
int seen_left(XXH128_hash_t state);
void seen_note(XXH128_hash_t state, int left);

#endif
