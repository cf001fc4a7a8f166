/* SPDX-License-Identifier: Apache-2.0 */
/* A store of one bank in memory, with the rules of bank_store.h and faults on demand: it does not
 * answer, loses its answer, goes back to an earlier point, shows a tail late, in another order or
 * with a wrong chain. */
#ifndef RK_TEST_MEMORY_STORE_H
#define RK_TEST_MEMORY_STORE_H

#include "bank_store/bank_store.h"

enum { MEMORY_STORE_ENTRIES = 4096 };

struct memory_store {
    struct rk_bank_store store; /* first */
    struct rk_stored_state state;
    struct rk_stored_entry entry[MEMORY_STORE_ENTRIES];
    struct rk_text payload[MEMORY_STORE_ENTRIES];
    size_t count;
    /* Faults; the counted ones are used up. */
    bool silent;      /* answers nothing */
    unsigned lost;    /* appends whose answer is lost */
    unsigned late;    /* tails that show only their first entry */
    unsigned swapped; /* tails that show the first two entries the other way round */
    unsigned wrong;   /* tails whose first entry has another chain */
    unsigned missing; /* payloads that are missing */
    unsigned damaged; /* payloads that are cut */
    unsigned begun;   /* groups that were sent, and not appended yet */
};

void memory_store_begin(struct memory_store *memory, const char *bank, const char *uid, const char *config);
void memory_store_end(struct memory_store *memory);
/* Forgets the newest entries, down to `count`. */
void memory_store_go_back(struct memory_store *memory, size_t count);

#endif
