/* SPDX-License-Identifier: Apache-2.0 */
#include "bank/registry.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bank/append.h"
#include "bank/registry_internal.h"
#include "bank/replica.h"
#include "bank_store/redis.h"
#include "base/nearest.h"

/* --- names --- */

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

/* --- start and stop --- */

static void free_banks(struct rk_banks *banks)
{
    rk_replicas_stop(banks->replicas);
    if (banks->committing)
        rk_threads_stop(&banks->commit);
    for (size_t i = 0; i < banks->count; i++)
        rk_durable_bank_release(banks->bank[i]);
    free((void *)banks->bank);
    if (banks->lock_fd >= 0)
        (void)close(banks->lock_fd);
    if (banks->folder_fd >= 0)
        (void)close(banks->folder_fd);
    pthread_mutex_destroy(&banks->lock);
    pthread_mutex_destroy(&banks->admin);
    pthread_mutex_destroy(&banks->flush_lock);
    pthread_cond_destroy(&banks->flush_stop);
    free(banks);
}

/* So many banks are synced side by side; the others wait for their turn, and their requests with them. They
 * are on one file system, whose journal more of them would queue up at anyway. */
enum { COMMIT_THREADS = 4 };

static const struct rk_threads_work committing = {.name = "bank-commit"};

static enum rankd_status start_commit(struct rk_banks *banks, struct rk_err *err)
{
    if (rk_threads_start(&banks->commit, COMMIT_THREADS, &committing, banks, "bank thread", err) != RANKD_OK)
        return err->status;
    banks->committing = true;
    return RANKD_OK;
}

/* With a store: finds what is there. */
static enum rankd_status open_store(struct rk_banks *banks, struct rk_err *err)
{
    const struct rk_config *config = banks->config;
    if (!config->bank_store[0])
        return RANKD_OK;
    if (banks->data[0])
        return rk_fail(
            err, RANKD_INVALID,
            "data is \"%.200s\" and bank-store is \"%.200s\"; banks lie in one of both: leave one out",
            config->data, config->bank_store);
    const struct rk_redis_options options = {.url = config->bank_store,
                                             .password_file = config->bank_store_password_file,
                                             .tail = config->bank_store_tail,
                                             .timeout_ns = config->bank_store_timeout * 1000000,
                                             .keep = rk_stored_keep_default()};
    struct rk_bank_store *store = rk_redis_store_open(&options, err);
    if (!store)
        return err->status;
    if (start_commit(banks, err) == RANKD_OK)
        (void)!rk_replicas_start(banks, store, err);
    else
        store->ops->close(store);
    return err->status;
}

/* With a data folder: locks it, and reads back. */
static enum rankd_status open_data(struct rk_banks *banks, struct rk_err *err)
{
    if (!banks->data[0])
        return RANKD_OK;
    if (rk_data_lock(banks, err) != RANKD_OK || start_commit(banks, err) != RANKD_OK)
        return err->status;
    return rk_data_load(banks, err);
}

struct rk_banks *rk_banks_start(const struct rk_config *config, struct rk_log *log, struct rk_err *err)
{
    struct rk_banks *banks = calloc(1, sizeof *banks);
    if (!banks) {
        (void)rk_fail(err, RANKD_INTERNAL, "no memory");
        return NULL;
    }
    banks->config = config;
    banks->log = log;
    banks->lock_fd = banks->folder_fd = -1;
    banks->plain_io = config->io == RK_IO_EPOLL;
    (void)snprintf(banks->data, sizeof banks->data, "%s", config->data);
    pthread_mutex_init(&banks->lock, NULL);
    pthread_mutex_init(&banks->admin, NULL);
    pthread_mutex_init(&banks->flush_lock, NULL);
    pthread_cond_init(&banks->flush_stop, NULL);
    if (open_data(banks, err) == RANKD_OK && open_store(banks, err) == RANKD_OK) {
        if (rk_flush_start(banks))
            return banks;
        (void)rk_fail(err, RANKD_INTERNAL, "cannot start the thread that syncs banks");
    }
    free_banks(banks);
    return NULL;
}

void rk_banks_refuse(struct rk_banks *banks)
{
    size_t count;
    atomic_store(&banks->refusing, true);
    struct rk_durable_bank **all = rk_banks_hold_all(banks, &count);
    for (size_t i = 0; i < count; i++) {
        pthread_mutex_lock(&all[i]->lock);
        rk_retries_wake_versions(all[i]);
        pthread_mutex_unlock(&all[i]->lock);
    }
    rk_banks_release_all(all, count);
}

void rk_banks_stop(struct rk_banks *banks)
{
    rk_flush_stop(banks);
    for (size_t i = 0; i < banks->count; i++)
        rk_durable_bank_flush(banks->bank[i]); /* nobody else is there any more */
    free_banks(banks);
}
