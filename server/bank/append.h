/* SPDX-License-Identifier: Apache-2.0 */
/* Appending a batch: to memory, to the journal, and to the disk where the durability asks for
 * it. */
#ifndef RK_BANK_APPEND_H
#define RK_BANK_APPEND_H

#include "bank/durable_bank.h"

/* True: it is over, with the result in append->err; on success it is visible, and on disk if the
 * bank's durability requires that. False: it waits for the disk, and its waiter is woken when it is
 * over. */
bool rk_durable_bank_append(struct rk_durable_bank *bank, struct rk_append *append)
    __attribute__((warn_unused_result));

/* Writes the appends that wait, if there is no writer: one sync for all of them (group commit).
 * Waits for the disk. Called by the bank's commit_task. */
void rk_durable_bank_commit(struct rk_durable_bank *bank);

#endif
