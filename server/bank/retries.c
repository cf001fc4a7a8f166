/* SPDX-License-Identifier: Apache-2.0 */
#include "bank/retries.h"

#include <stdlib.h>

#include "bank/replica.h"
#include "base/clock.h"

bool rk_retries_is_running(const struct rk_durable_bank *bank, const uint64_t name[2])
{
    for (const struct rk_running *r = bank->running; r; r = r->next) {
        if (r->name[0] == name[0] && r->name[1] == name[1])
            return true;
    }
    return false;
}

bool rk_retries_begin(struct rk_durable_bank *bank, const uint64_t name[2])
{
    struct rk_running *running = malloc(sizeof *running);
    if (!running)
        return false;
    *running = (struct rk_running){{name[0], name[1]}, bank->running};
    bank->running = running;
    return true;
}

void rk_retries_wait(struct rk_bank_transaction *transaction)
{
    transaction->waiter.wait(&transaction->waiter);
    transaction->next = transaction->bank->retries;
    transaction->bank->retries = transaction;
}

/* Wakes those for which `due` is true. */
static void wake_due(struct rk_durable_bank *bank,
                     bool (*due)(const struct rk_durable_bank *bank,
                                 const struct rk_bank_transaction *transaction, const uint64_t *name),
                     const uint64_t *name)
{
    for (struct rk_bank_transaction **at = &bank->retries; *at;) {
        struct rk_bank_transaction *transaction = *at;
        if (!due(bank, transaction, name)) {
            at = &transaction->next;
            continue;
        }
        *at = transaction->next;
        transaction->waiter.wake(&transaction->waiter);
    }
}

static bool has_name(const struct rk_durable_bank *bank, const struct rk_bank_transaction *transaction,
                     const uint64_t *name)
{
    (void)bank;
    const uint64_t *own = transaction->append.id.name;
    return !transaction->wait_version && own[0] == name[0] && own[1] == name[1];
}

static bool is_late(const struct rk_durable_bank *bank, const struct rk_bank_transaction *transaction,
                    const uint64_t *name)
{
    (void)bank, (void)name;
    return transaction->deadline_ns && rk_now_ns() >= transaction->deadline_ns;
}

static bool has_version(const struct rk_durable_bank *bank, const struct rk_bank_transaction *transaction,
                        const uint64_t *name)
{
    (void)name;
    return transaction->wait_version &&
           (transaction->wait_version <= bank->next.version || bank->refused[0] ||
            (bank->replica && bank->replica->gone) || (bank->refusing && atomic_load(bank->refusing)));
}

void rk_retries_wake_versions(struct rk_durable_bank *bank)
{
    wake_due(bank, has_version, NULL);
}

void rk_bank_transaction_wake_late(struct rk_durable_bank *bank)
{
    pthread_mutex_lock(&bank->lock);
    wake_due(bank, is_late, NULL);
    pthread_mutex_unlock(&bank->lock);
}

void rk_retries_end(struct rk_durable_bank *bank, const uint64_t name[2])
{
    for (struct rk_running **at = &bank->running; *at; at = &(*at)->next) {
        struct rk_running *running = *at;
        if (running->name[0] == name[0] && running->name[1] == name[1]) {
            *at = running->next;
            free(running);
            wake_due(bank, has_name, name);
            return;
        }
    }
}
