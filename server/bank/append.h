/* SPDX-License-Identifier: Apache-2.0 */
/* Appending a batch: to memory, to the journal, and to the disk where the durability asks for it. */
#ifndef RK_BANK_APPEND_H
#define RK_BANK_APPEND_H

#include "bank/durable_bank.h"

/* True: it is over, append->err says how; it is on disk where the bank's durability wants that, and visible.
 * False: it waits for the disk, and its waiter is told when it is over. */
bool rk_durable_bank_append(struct rk_durable_bank *bank, struct rk_append *append)
    __attribute__((warn_unused_result));

/* Writes the appends that wait, if there is no writer: one sync for all of them (group commit). Waits for the
 * disk. What the bank's commit_task does. */
void rk_durable_bank_commit(struct rk_durable_bank *bank);

#endif
