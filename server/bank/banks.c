/* SPDX-License-Identifier: Apache-2.0 */
/* Starts and stops the registry of banks: the data folder, the threads that write and sync, the
 * table. */
#include "bank/banks.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bank/registry_internal.h"
#include "bank/replica.h"
#include "bank_store/redis.h"

static void free_banks(struct rk_banks *banks)
{
    if (banks->committing)
        rk_threads_stop(&banks->commit);
    rk_replicas_stop(banks->replicas);
    for (size_t i = 0; i < banks->count; i++)
        rk_durable_bank_release(banks->bank[i]);
    free((void *)banks->bank);
    if (banks->lock_fd >= 0)
        (void)close(banks->lock_fd);
    if (banks->folder_fd >= 0)
        (void)close(banks->folder_fd);
    pthread_mutex_destroy(&banks->lock);
    rk_turns_destroy(&banks->turns);
    pthread_mutex_destroy(&banks->flush_lock);
    pthread_cond_destroy(&banks->flush_stop);
    free(banks);
}

/* The number of banks that are synced at the same time; the others wait, and their requests too.
 * All are on one file system, whose journal would serialize more of them anyway. */
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

/* With a data folder: locks it, and reads back. Beside a store it holds caches alone. */
static enum rankd_status open_data(struct rk_banks *banks, struct rk_err *err)
{
    if (!banks->data[0])
        return RANKD_OK;
    if (rk_data_lock(banks, err) != RANKD_OK || banks->config->bank_store[0] ||
        start_commit(banks, err) != RANKD_OK)
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
    rk_turns_init(&banks->turns);
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
