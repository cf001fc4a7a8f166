/* SPDX-License-Identifier: Apache-2.0 */
/* The registry: its start and stop (banks.c), the table (registry.c), the data folder (data.c),
 * operations on banks (operations.c, with replica_admin.c for those in a store) and what they may
 * take (quota.c), the thread of durability "interval" (flush.c). Functions that these files
 * share. */
#ifndef RK_BANK_REGISTRY_INTERNAL_H
#define RK_BANK_REGISTRY_INTERNAL_H

#include "bank/registry.h"
#include "bank/turns.h"

struct rk_banks {
    const struct rk_config *config;
    struct rk_log *log;
    char data[RK_CONFIG_TEXT]; /* "" = no disk */
    int lock_fd, folder_fd;    /* both locked: of the file "lock", and of the folder */
    bool plain_io;             /* without io_uring: so configured, or it was refused */
    pthread_mutex_t lock;      /* protects the table */
    struct rk_durable_bank **bank;
    size_t count;
    struct rk_turns turns; /* of operations on banks */
    pthread_mutex_t flush_lock;
    pthread_cond_t flush_stop;
    bool stopping;
    pthread_t flusher;
    bool committing;              /* the next is up; false = no disk */
    struct rk_threads commit;     /* write to disks and wait for them, so that no worker does */
    struct rk_replicas *replicas; /* banks are in a store (replica.h); NULL: they are not */
    atomic_bool refusing;         /* rk_banks_refuse() */
};

/* registry.c. The table's reference to a bank: taken over unless there was no memory, and given
 * up. */
bool rk_banks_enter(struct rk_banks *banks, struct rk_durable_bank *bank) __attribute__((warn_unused_result));
void rk_banks_take_out(struct rk_banks *banks, struct rk_durable_bank *bank);

/* quota.c: may there be another bank of that configuration? If so it counts until the end of the
 * turn, or until it is in the table: rk_banks_enter_reserved() is rk_banks_enter() for such a
 * bank. */
enum rankd_status rk_banks_reserve(struct rk_banks *banks, struct rk_turn *turn,
                                   const struct rk_bank_config *config, struct rk_err *err)
    __attribute__((warn_unused_result));
bool rk_banks_enter_reserved(struct rk_banks *banks, struct rk_turn *turn, struct rk_durable_bank *bank)
    __attribute__((warn_unused_result));

/* data.c */
/* Locks the data folder for this daemon: creates it if it is missing, checks its format. */
enum rankd_status rk_data_lock(struct rk_banks *banks, struct rk_err *err)
    __attribute__((warn_unused_result));
/* Reads every bank of it back. */
enum rankd_status rk_data_load(struct rk_banks *banks, struct rk_err *err)
    __attribute__((warn_unused_result));
/* Creates a new bank's folder, completely or not at all; and removes it. rk_data_remove(): if the
 * bank's name is still there, *still is true, and nothing was done. */
enum rankd_status rk_data_create(struct rk_banks *banks, struct rk_durable_bank *bank, struct rk_err *err)
    __attribute__((warn_unused_result));
enum rankd_status rk_data_remove(const struct rk_banks *banks, const struct rk_durable_bank *bank,
                                 bool *still, struct rk_err *err) __attribute__((warn_unused_result));

/* flush.c */
bool rk_flush_start(struct rk_banks *banks) __attribute__((warn_unused_result));
void rk_flush_stop(struct rk_banks *banks);

#endif
