/* SPDX-License-Identifier: Apache-2.0 */
/* The right to write to a bank's disk: the writer lock, and syncs with or without it. */
#ifndef RK_BANK_WRITER_LOCK_H
#define RK_BANK_WRITER_LOCK_H

#include "bank/durable_bank.h"

/* Takes the writer lock, once it is free and no sync runs, and releases it. `lock` is held before
 * and after. While the writer lock is taken, appends wait; other uses of the bank do not. */
void rk_durable_bank_writer_lock(struct rk_durable_bank *bank);
void rk_durable_bank_writer_release(struct rk_durable_bank *bank);

/* Queues the bank's commit_task if appends wait and no writer or sync is active. `lock` is held. */
void rk_durable_bank_schedule_commit(struct rk_durable_bank *bank);

/* Queues the commit_task for a writer that holds the writer lock already. `lock` is held. */
void rk_durable_bank_queue_commit(struct rk_durable_bank *bank);

/* --- syncing --- */

/* Syncs the journal and counts the sync; refuses the bank if it fails. The writer lock is held, the
 * lock is not. */
enum rankd_status rk_durable_bank_sync(struct rk_durable_bank *bank, struct rk_err *err)
    __attribute__((warn_unused_result));

/* The same during appends that do not wait for it. There must be no writer; the lock is held before
 * and after. */
enum rankd_status rk_durable_bank_sync_beside(struct rk_durable_bank *bank, struct rk_err *err)
    __attribute__((warn_unused_result));

/* Syncs everything, so that a segment may end: if a later segment survived a power loss but the end
 * of this one did not, the journal would look damaged. The writer lock is held, the lock is not. */
enum rankd_status rk_durable_bank_seal(struct rk_durable_bank *bank, struct rk_err *err)
    __attribute__((warn_unused_result));

/* Syncs appended data, if there is any; for the interval's thread and the end. */
void rk_durable_bank_flush(struct rk_durable_bank *bank);

#endif
