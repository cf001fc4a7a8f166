/* SPDX-License-Identifier: Apache-2.0 */
/* The thread that visits all banks once a second: syncs those of durability "interval", and ends
 * waiting requests whose deadline has passed. */
#include <time.h>

#include "bank/registry_internal.h"

enum { FLUSH_INTERVAL_S = 1 };

static void flush_all(struct rk_banks *banks)
{
    size_t count;
    struct rk_durable_bank **all = rk_banks_hold_all(banks, &count);
    for (size_t i = 0; i < count; i++)
        rk_bank_transaction_wake_late(all[i]);
    for (size_t i = 0; i < count; i++) {
        if (all[i]->config.durability == RK_DURABILITY_INTERVAL)
            rk_durable_bank_flush(all[i]);
    }
    rk_banks_release_all(all, count);
}

static void *flush_loop(void *arg)
{
    struct rk_banks *banks = arg;
    pthread_mutex_lock(&banks->flush_lock);
    while (!banks->stopping) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += FLUSH_INTERVAL_S;
        (void)pthread_cond_clockwait(&banks->flush_stop, &banks->flush_lock, CLOCK_MONOTONIC, &until);
        pthread_mutex_unlock(&banks->flush_lock);
        flush_all(banks);
        pthread_mutex_lock(&banks->flush_lock);
    }
    pthread_mutex_unlock(&banks->flush_lock);
    return NULL;
}

bool rk_flush_start(struct rk_banks *banks)
{
    return rk_thread_start(&banks->flusher, "bank-interval", flush_loop, banks);
}

void rk_flush_stop(struct rk_banks *banks)
{
    pthread_mutex_lock(&banks->flush_lock);
    banks->stopping = true;
    pthread_cond_signal(&banks->flush_stop);
    pthread_mutex_unlock(&banks->flush_lock);
    pthread_join(banks->flusher, NULL);
}
