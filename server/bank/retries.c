/* SPDX-License-Identifier: Apache-2.0 */
#include "bank/retries.h"

#include <stdlib.h>

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

/* Wakes those that wait for this id, or (NULL) those whose deadline is over. */
static void wake_retries(struct rk_durable_bank *bank, const uint64_t *name)
{
    const uint64_t now = rk_now_ns();
    for (struct rk_bank_transaction **at = &bank->retries; *at;) {
        struct rk_bank_transaction *transaction = *at;
        const uint64_t *own = transaction->append.id.name;
        bool due = name ? own[0] == name[0] && own[1] == name[1]
                        : transaction->deadline_ns && now >= transaction->deadline_ns;
        if (!due) {
            at = &transaction->next;
            continue;
        }
        *at = transaction->next;
        transaction->waiter.wake(&transaction->waiter);
    }
}

void rk_bank_transaction_wake_late(struct rk_durable_bank *bank)
{
    pthread_mutex_lock(&bank->lock);
    wake_retries(bank, NULL);
    pthread_mutex_unlock(&bank->lock);
}

void rk_retries_end(struct rk_durable_bank *bank, const uint64_t name[2])
{
    for (struct rk_running **at = &bank->running; *at; at = &(*at)->next) {
        struct rk_running *running = *at;
        if (running->name[0] == name[0] && running->name[1] == name[1]) {
            *at = running->next;
            free(running);
            wake_retries(bank, name);
            return;
        }
    }
}
