#include "bank/durable_bank.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

struct rk_durable_bank *rk_durable_bank_new(const char *name, const struct rk_bank_config *config)
{
    struct rk_durable_bank *bank = calloc(1, sizeof *bank);
    if (!bank)
        return NULL;
    (void)snprintf(bank->name, sizeof bank->name, "%s", name);
    bank->config = *config;
    bank->memory = rk_bank_new(&config->shape);
    if (!bank->memory || !rk_ids_init(&bank->ids, rk_now_ns())) {
        rk_bank_free(bank->memory);
        free(bank);
        return NULL;
    }
    bank->next = rk_bank_now(bank->memory);
    bank->last = &bank->first;
    atomic_init(&bank->refs, 1);
    pthread_mutex_init(&bank->lock, NULL);
    pthread_cond_init(&bank->writer_changed, NULL);
    return bank;
}

struct rk_durable_bank *rk_durable_bank_hold(struct rk_durable_bank *bank)
{
    atomic_fetch_add(&bank->refs, 1);
    return bank;
}

void rk_durable_bank_release(struct rk_durable_bank *bank)
{
    if (!bank || atomic_fetch_sub(&bank->refs, 1) != 1)
        return;
    rk_journal_close(bank->journal);
    if (bank->io)
        bank->io->close(bank->io);
    rk_bank_free(bank->memory);
    rk_ids_free(&bank->ids);
    pthread_mutex_destroy(&bank->lock);
    pthread_cond_destroy(&bank->writer_changed);
    free(bank);
}

size_t rk_durable_bank_bytes(struct rk_durable_bank *bank)
{
    return rk_bank_bytes(bank->memory) + rk_ids_bytes(&bank->ids);
}

void rk_durable_bank_refuse(struct rk_durable_bank *bank, const struct rk_err *why)
{
    if (!bank->refused[0])
        (void)snprintf(bank->refused, sizeof bank->refused, "%s", why->text);
}

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

void rk_durable_bank_schedule_commit(struct rk_durable_bank *bank)
{
    if (bank->first && !bank->writer_locked && !bank->syncing && !bank->writers_waiting && !bank->queued) {
        bank->queued = true;
        (void)rk_durable_bank_hold(bank);
        rk_threads_add(bank->commit, &bank->commit_task);
    }
}

/* --- batch ids --- */

const struct rk_batch_id *rk_durable_bank_known_ids(struct rk_durable_bank *bank, size_t *count)
{
    pthread_mutex_lock(&bank->lock);
    rk_ids_expire(&bank->ids, rk_now_ns()); /* what is not written need not be read */
    const struct rk_batch_id *ids = rk_ids_all(&bank->ids, count);
    pthread_mutex_unlock(&bank->lock);
    return ids;
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
