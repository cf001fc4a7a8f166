/* SPDX-License-Identifier: Apache-2.0 */
/* Batch ids whose requests are being computed, and the requests that wait for one of them: retries
 * that arrive before their original has ended. The bank's lock is held, unless stated otherwise. */
#ifndef RK_BANK_RETRIES_H
#define RK_BANK_RETRIES_H

#include "bank/durable_bank.h"

bool rk_retries_is_running(const struct rk_durable_bank *bank, const uint64_t name[2]);

/* Enters an id as running; false if out of memory. Ended by rk_retries_end(), which wakes those
 * that wait. */
bool rk_retries_begin(struct rk_durable_bank *bank, const uint64_t name[2])
    __attribute__((warn_unused_result));
void rk_retries_end(struct rk_durable_bank *bank, const uint64_t name[2]);

/* The transaction waits for the request that runs under its id. */
void rk_retries_wait(struct rk_bank_transaction *transaction);

/* Wakes those that wait for a version that now exists, or never will. */
void rk_retries_wake_versions(struct rk_durable_bank *bank);

/* Takes the lock. Ends requests that wait for another one and whose deadline has passed. */
void rk_bank_transaction_wake_late(struct rk_durable_bank *bank);

#endif
