/* SPDX-License-Identifier: Apache-2.0 */
#include "bank/durable_bank.h"
#include "bank/payload_cache.h"

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
    free(bank->replica);
    rk_payload_cache_close(bank->cache);
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

/* --- batch ids --- */

const struct rk_batch_id *rk_durable_bank_known_ids(struct rk_durable_bank *bank, size_t *count)
{
    pthread_mutex_lock(&bank->lock);
    rk_ids_expire(&bank->ids, rk_now_ns()); /* without a journal it need not be read */
    const struct rk_batch_id *ids = rk_ids_all(&bank->ids, count);
    pthread_mutex_unlock(&bank->lock);
    return ids;
}
