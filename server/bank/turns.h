/* SPDX-License-Identifier: Apache-2.0 */
/* Operations on banks (create, delete, clear, checkpoint, restore, …) take turns: one at a time for
 * a name. Banks of one's own share the name "", because the disk would make their operations wait
 * for each other anyway; of banks in a store each has its own, so that one that waits for the store
 * holds up no other. */
#ifndef RK_BANK_TURNS_H
#define RK_BANK_TURNS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* An operation that has its turn; the caller's. */
struct rk_turn {
    const char *name; /* borrowed */
    uint64_t begun_ns;
    bool creates; /* a bank, of at most `bytes` bytes, that is not in the table yet: quota.c */
    size_t bytes;
    struct rk_turn *next;
};

struct rk_turns {
    pthread_mutex_t lock; /* over the fields below and those of every turn; held for moments */
    pthread_cond_t ended;
    struct rk_turn *first;
};

void rk_turns_init(struct rk_turns *turns);
void rk_turns_destroy(struct rk_turns *turns);

/* Waits until no other operation has that name. `patience_ns` 0: as long as it takes; otherwise
 * RANKD_OVERLOADED once the one before has taken so long. */
enum rankd_status rk_turn_begin(struct rk_turns *turns, struct rk_turn *turn, const char *name,
                                uint64_t patience_ns, struct rk_err *err) __attribute__((warn_unused_result));
/* False, without a wait, if another operation has the name. */
bool rk_turn_try(struct rk_turns *turns, struct rk_turn *turn, const char *name)
    __attribute__((warn_unused_result));
void rk_turn_end(struct rk_turns *turns, struct rk_turn *turn);

#endif
