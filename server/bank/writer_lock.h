/* SPDX-License-Identifier: Apache-2.0 */
/* Who may write to a bank's disk: the writer lock, and syncs with it or beside it. */
#ifndef RK_BANK_WRITER_LOCK_H
#define RK_BANK_WRITER_LOCK_H

#include "bank/durable_bank.h"

/* Takes the writer lock, once it is free and no sync runs, and releases it. `lock` is held before and after.
 * While the writer lock is taken, appends wait; other uses of the bank do not. */
void rk_durable_bank_writer_lock(struct rk_durable_bank *bank);
void rk_durable_bank_writer_release(struct rk_durable_bank *bank);

/* Queues the bank's commit_task if appends wait and no writer or sync is active. `lock` is held. */
void rk_durable_bank_schedule_commit(struct rk_durable_bank *bank);

/* Queues the commit_task for a writer that holds the writer lock already. `lock` is held. */
void rk_durable_bank_queue_commit(struct rk_durable_bank *bank);

/* --- syncing --- */

/* Syncs the journal and counts it; refuses the bank where that fails. The writer lock is held, the lock is
 * not. */
enum rankd_status rk_durable_bank_sync(struct rk_durable_bank *bank, struct rk_err *err)
    __attribute__((warn_unused_result));

/* The same beside appends that don't wait for it. There is no writer; the lock is held, and held again. */
enum rankd_status rk_durable_bank_sync_beside(struct rk_durable_bank *bank, struct rk_err *err)
    __attribute__((warn_unused_result));

/* Brings everything to the disk, so that a segment may end: were a later one there after a power loss and the
 * end of this one not, the journal would look damaged. The writer lock is held, the lock is not. */
enum rankd_status rk_durable_bank_seal(struct rk_durable_bank *bank, struct rk_err *err)
    __attribute__((warn_unused_result));

/* Syncs what was appended, if anything was; for the interval's thread and the end. */
void rk_durable_bank_flush(struct rk_durable_bank *bank);

#endif
