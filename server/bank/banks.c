/* SPDX-License-Identifier: Apache-2.0 */
/* Starts and stops the registry of banks: the data folder, the threads that write and sync, the table. */
#include "bank/banks.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bank/registry_internal.h"

static void free_banks(struct rk_banks *banks)
{
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

/* With a data folder: locks it, and reads back. */
static enum rankd_status open_data(struct rk_banks *banks, struct rk_err *err)
{
    if (!banks->data[0])
        return RANKD_OK;
    if (rk_data_lock(banks, err) != RANKD_OK ||
        rk_threads_start(&banks->commit, COMMIT_THREADS, &committing, banks, "bank thread", err) != RANKD_OK)
        return err->status;
    banks->committing = true;
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
    if (open_data(banks, err) == RANKD_OK) {
        if (rk_flush_start(banks))
            return banks;
        (void)rk_fail(err, RANKD_INTERNAL, "cannot start the thread that syncs banks");
    }
    free_banks(banks);
    return NULL;
}

void rk_banks_stop(struct rk_banks *banks)
{
    rk_flush_stop(banks);
    for (size_t i = 0; i < banks->count; i++)
        rk_durable_bank_flush(banks->bank[i]); /* nobody else is there any more */
    free_banks(banks);
}
