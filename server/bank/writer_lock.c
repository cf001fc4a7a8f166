/* SPDX-License-Identifier: Apache-2.0 */
#include "bank/writer_lock.h"

#include "base/clock.h"

/* --- the writer lock --- */

void rk_durable_bank_writer_lock(struct rk_durable_bank *bank)
{
    bank->writers_waiting++;
    while (bank->writer_locked || bank->syncing)
        pthread_cond_wait(&bank->writer_changed, &bank->lock);
    bank->writers_waiting--;
    bank->writer_locked = true;
}

void rk_durable_bank_writer_release(struct rk_durable_bank *bank)
{
    bank->disk_bytes = bank->journal ? rk_journal_bytes(bank->journal) : 0;
    bank->writer_locked = false;
    pthread_cond_broadcast(&bank->writer_changed);
    rk_durable_bank_schedule_commit(bank);
}

void rk_durable_bank_queue_commit(struct rk_durable_bank *bank)
{
    bank->queued = true;
    (void)rk_durable_bank_hold(bank);
    rk_threads_add(bank->commit, &bank->commit_task);
}

void rk_durable_bank_schedule_commit(struct rk_durable_bank *bank)
{
    if (bank->first && !bank->writer_locked && !bank->syncing && !bank->writers_waiting && !bank->queued)
        rk_durable_bank_queue_commit(bank);
}

/* --- syncing --- */

static enum rankd_status sync_counted(struct rk_durable_bank *bank, struct rk_err *err)
{
    uint64_t begun = rk_now_ns();
    enum rankd_status status = rk_journal_sync(bank->journal, err);
    rk_histogram_observe(&bank->syncs, rk_now_ns() - begun);
    return status;
}

enum rankd_status rk_durable_bank_sync(struct rk_durable_bank *bank, struct rk_err *err)
{
    struct rk_err why = {0};
    enum rankd_status status = sync_counted(bank, &why);
    pthread_mutex_lock(&bank->lock);
    if (status == RANKD_OK)
        bank->dirty = false;
    else
        rk_durable_bank_refuse(bank, &why);
    pthread_mutex_unlock(&bank->lock);
    return status == RANKD_OK ? RANKD_OK : rk_fail(err, status, "%s", why.text);
}

enum rankd_status rk_durable_bank_sync_beside(struct rk_durable_bank *bank, struct rk_err *err)
{
    struct rk_err why = {0};
    bank->syncing = true;
    bank->dirty = false;
    pthread_mutex_unlock(&bank->lock);
    enum rankd_status status = sync_counted(bank, &why);
    pthread_mutex_lock(&bank->lock);
    bank->syncing = false;
    if (status != RANKD_OK)
        rk_durable_bank_refuse(bank, &why);
    pthread_cond_broadcast(&bank->writer_changed);
    rk_durable_bank_schedule_commit(bank);
    return status == RANKD_OK ? RANKD_OK : rk_fail(err, status, "%s", why.text);
}

enum rankd_status rk_durable_bank_seal(struct rk_durable_bank *bank, struct rk_err *err)
{
    return bank->dirty && bank->journal && !bank->refused[0] ? rk_durable_bank_sync(bank, err) : RANKD_OK;
}

void rk_durable_bank_flush(struct rk_durable_bank *bank)
{
    struct rk_err err = {0};
    pthread_mutex_lock(&bank->lock);
    if (bank->dirty && !bank->writer_locked && !bank->syncing && bank->journal && !bank->refused[0])
        (void)!rk_durable_bank_sync_beside(bank, &err);
    pthread_mutex_unlock(&bank->lock);
}
