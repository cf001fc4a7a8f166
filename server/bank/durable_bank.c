#include "bank/durable_bank.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bank/commit_pool.h"
#include "base/clock.h"

struct rk_named_bank *rk_named_new(const char *name, const struct rk_bank_config *config)
{
    struct rk_named_bank *bank = calloc(1, sizeof *bank);
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
    pthread_cond_init(&bank->moved, NULL);
    return bank;
}

struct rk_named_bank *rk_named_hold(struct rk_named_bank *bank)
{
    atomic_fetch_add(&bank->refs, 1);
    return bank;
}

void rk_named_release(struct rk_named_bank *bank)
{
    if (!bank || atomic_fetch_sub(&bank->refs, 1) != 1)
        return;
    rk_journal_close(bank->journal);
    if (bank->io)
        bank->io->close(bank->io);
    rk_bank_free(bank->memory);
    rk_ids_free(&bank->ids);
    pthread_mutex_destroy(&bank->lock);
    pthread_cond_destroy(&bank->moved);
    free(bank);
}

size_t rk_named_bytes(struct rk_named_bank *bank)
{
    return rk_bank_bytes(bank->memory) + rk_ids_bytes(&bank->ids);
}

void rk_named_refuse(struct rk_named_bank *bank, const struct rk_err *why)
{
    if (!bank->refused[0])
        (void)snprintf(bank->refused, sizeof bank->refused, "%s", why->text);
}

/* --- the pen --- */

void rk_named_take_pen(struct rk_named_bank *bank)
{
    bank->pen_wanted++;
    while (bank->pen || bank->syncing)
        pthread_cond_wait(&bank->moved, &bank->lock);
    bank->pen_wanted--;
    bank->pen = true;
}

void rk_named_lay_pen(struct rk_named_bank *bank)
{
    bank->disk_bytes = bank->journal ? rk_journal_bytes(bank->journal) : 0;
    bank->pen = false;
    pthread_cond_broadcast(&bank->moved);
    rk_named_rouse(bank);
}

void rk_named_rouse(struct rk_named_bank *bank)
{
    if (bank->first && !bank->pen && !bank->syncing && !bank->pen_wanted && !bank->queued) {
        bank->queued = true;
        rk_commit_queue(bank->commit, bank);
    }
}

/* --- batch ids --- */

const struct rk_batch_id *rk_named_known_ids(struct rk_named_bank *bank, size_t *count)
{
    pthread_mutex_lock(&bank->lock);
    rk_ids_expire(&bank->ids, rk_now_ns()); /* what is not written need not be read */
    const struct rk_batch_id *ids = rk_ids_all(&bank->ids, count);
    pthread_mutex_unlock(&bank->lock);
    return ids;
}

/* --- syncing --- */

static enum rankd_status sync_counted(struct rk_named_bank *bank, struct rk_err *err)
{
    uint64_t begun = rk_now_ns();
    enum rankd_status status = rk_journal_sync(bank->journal, err);
    rk_histogram_observe(&bank->syncs, rk_now_ns() - begun);
    return status;
}

enum rankd_status rk_named_sync(struct rk_named_bank *bank, struct rk_err *err)
{
    struct rk_err why = {0};
    enum rankd_status status = sync_counted(bank, &why);
    pthread_mutex_lock(&bank->lock);
    if (status == RANKD_OK)
        bank->dirty = false;
    else
        rk_named_refuse(bank, &why);
    pthread_mutex_unlock(&bank->lock);
    return status == RANKD_OK ? RANKD_OK : rk_fail(err, status, "%s", why.text);
}

enum rankd_status rk_named_sync_beside(struct rk_named_bank *bank, struct rk_err *err)
{
    struct rk_err why = {0};
    bank->syncing = true;
    bank->dirty = false;
    pthread_mutex_unlock(&bank->lock);
    enum rankd_status status = sync_counted(bank, &why);
    pthread_mutex_lock(&bank->lock);
    bank->syncing = false;
    if (status != RANKD_OK)
        rk_named_refuse(bank, &why);
    pthread_cond_broadcast(&bank->moved);
    rk_named_rouse(bank);
    return status == RANKD_OK ? RANKD_OK : rk_fail(err, status, "%s", why.text);
}

enum rankd_status rk_named_seal(struct rk_named_bank *bank, struct rk_err *err)
{
    return bank->dirty && bank->journal && !bank->refused[0] ? rk_named_sync(bank, err) : RANKD_OK;
}

void rk_named_flush(struct rk_named_bank *bank)
{
    struct rk_err err = {0};
    pthread_mutex_lock(&bank->lock);
    if (bank->dirty && !bank->pen && !bank->syncing && bank->journal && !bank->refused[0])
        (void)!rk_named_sync_beside(bank, &err);
    pthread_mutex_unlock(&bank->lock);
}
