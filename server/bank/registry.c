/* SPDX-License-Identifier: Apache-2.0 */
#include "bank/registry.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "bank/append.h"
#include "bank/registry_internal.h"
#include "bank/replica.h"
#include "base/nearest.h"

bool rk_bank_name_check(const char *what, const char *name, struct rk_err *err)
{
    size_t length = strlen(name);
    bool plain = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == length;
    if (plain && length >= 1 && length < RK_BANK_NAME_BYTES && strcmp(name, ".") != 0 &&
        strcmp(name, "..") != 0)
        return true;
    (void)rk_fail(
        err, RANKD_INVALID,
        "%s was \"%.80s\"; it may have 1 to 64 letters, digits, '.', '_' and '-', and not be \".\" or \"..\"",
        what, name);
    return false;
}

static size_t position(const struct rk_banks *banks, const char *name)
{
    size_t i = 0;
    while (i < banks->count && strcmp(banks->bank[i]->name, name) != 0)
        i++;
    return i;
}

struct rk_durable_bank *rk_banks_find(struct rk_banks *banks, const char *name, struct rk_err *err)
{
    struct rk_durable_bank *found = NULL;
    struct rk_nearest nearest = rk_nearest_start(name);
    pthread_mutex_lock(&banks->lock);
    size_t at = position(banks, name);
    if (at < banks->count) {
        found = rk_durable_bank_hold(banks->bank[at]);
    } else if (banks->replicas && !atomic_load(&banks->replicas->surveyed)) {
        (void)rk_fail(err, RANKD_OVERLOADED,
                      "the store has not answered yet, so it is not known whether there is a bank \"%.64s\"",
                      name);
    } else {
        for (size_t i = 0; i < banks->count; i++)
            rk_nearest_offer(&nearest, banks->bank[i]->name);
        (void)rk_fail(err, RANKD_NOT_FOUND, "there is no bank \"%.64s\"%s%s%s; PUT /v2/banks/NAME makes one",
                      name, nearest.best ? " (did you mean \"" : "", nearest.best ? nearest.best : "",
                      nearest.best ? "\"?)" : "");
    }
    pthread_mutex_unlock(&banks->lock);
    return found;
}

static void commit(struct rk_task *task)
{
    struct rk_durable_bank *bank =
        (struct rk_durable_bank *)((char *)task - offsetof(struct rk_durable_bank, commit_task));
    rk_durable_bank_commit(bank);
    rk_durable_bank_release(bank);
}

bool rk_banks_enter(struct rk_banks *banks, struct rk_durable_bank *bank)
{
    bank->commit = banks->committing ? &banks->commit : NULL;
    bank->commit_task.run = commit;
    bank->refusing = &banks->refusing;
    pthread_mutex_lock(&banks->lock);
    struct rk_durable_bank **grown =
        realloc((void *)banks->bank, (banks->count + 1) * sizeof(struct rk_durable_bank *));
    if (grown) {
        banks->bank = grown;
        banks->bank[banks->count++] = bank;
    }
    pthread_mutex_unlock(&banks->lock);
    return grown != NULL;
}

void rk_banks_take_out(struct rk_banks *banks, struct rk_durable_bank *bank)
{
    pthread_mutex_lock(&banks->lock);
    banks->bank[position(banks, bank->name)] = banks->bank[banks->count - 1];
    banks->count--;
    pthread_mutex_unlock(&banks->lock);
    rk_durable_bank_release(bank);
}

struct rk_durable_bank **rk_banks_hold_all(struct rk_banks *banks, size_t *count)
{
    pthread_mutex_lock(&banks->lock);
    struct rk_durable_bank **all = calloc(banks->count + 1, sizeof(struct rk_durable_bank *));
    *count = all ? banks->count : 0;
    for (size_t i = 0; i < *count; i++)
        all[i] = rk_durable_bank_hold(banks->bank[i]);
    pthread_mutex_unlock(&banks->lock);
    return all;
}

void rk_banks_release_all(struct rk_durable_bank **all, size_t count)
{
    for (size_t i = 0; i < count; i++)
        rk_durable_bank_release(all[i]);
    free((void *)all);
}
