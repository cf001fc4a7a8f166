/* SPDX-License-Identifier: Apache-2.0 */
/* Batch ids whose requests are being computed, and the requests that wait for one of them: a retry that comes
 * before its original has ended. The bank's lock is held, but where it says otherwise. */
#ifndef RK_BANK_RETRIES_H
#define RK_BANK_RETRIES_H

#include "bank/durable_bank.h"

bool rk_retries_is_running(const struct rk_durable_bank *bank, const uint64_t name[2]);

/* Enters an id as running; false if out of memory. Ended by rk_retries_end(), which wakes those that wait. */
bool rk_retries_begin(struct rk_durable_bank *bank, const uint64_t name[2])
    __attribute__((warn_unused_result));
void rk_retries_end(struct rk_durable_bank *bank, const uint64_t name[2]);

/* The transaction waits for the request that runs under its id. */
void rk_retries_wait(struct rk_bank_transaction *transaction);

/* Those that wait for a version that is there now, or that will not come. */
void rk_retries_wake_versions(struct rk_durable_bank *bank);

/* Takes the lock. Requests that wait for another one, and whose deadline is over, are told so. */
void rk_bank_transaction_wake_late(struct rk_durable_bank *bank);

#endif
