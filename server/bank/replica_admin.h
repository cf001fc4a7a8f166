/* SPDX-License-Identifier: Apache-2.0 */
/* Operations on banks that lie in a store, for operations.c; and banks that others created or deleted there,
 * for the audit. Those that change a bank wait until this copy follows, five seconds at most. */
#ifndef RK_BANK_REPLICA_ADMIN_H
#define RK_BANK_REPLICA_ADMIN_H

#include "bank/replica.h"

/* Creates the bank in the store, or takes the one that is there: RANKD_CONFLICT where its configuration is
 * another. Enters its copy, which is read by then unless it is large. */
enum rankd_status rk_replica_create(struct rk_banks *banks, const char *name,
                                    const struct rk_bank_config *config, struct rk_err *err)
    __attribute__((warn_unused_result));
/* Deletes it in the store. */
enum rankd_status rk_replica_delete(struct rk_durable_bank *bank, struct rk_err *err)
    __attribute__((warn_unused_result));

enum rankd_status rk_replica_clear(struct rk_durable_bank *bank, unsigned *daemons_behind,
                                   struct rk_err *err);
enum rankd_status rk_replica_restore(struct rk_durable_bank *bank, const char *tag, unsigned *daemons_behind,
                                     struct rk_err *err);
/* Each writes the JSON of its answer. */
enum rankd_status rk_replica_checkpoint(struct rk_durable_bank *bank, const char *tag, struct rk_text *out,
                                        struct rk_err *err);
enum rankd_status rk_replica_checkpoints(struct rk_durable_bank *bank, struct rk_text *out,
                                         struct rk_err *err);
enum rankd_status rk_replica_forget(struct rk_durable_bank *bank, const char *tag, struct rk_err *err);

/* What GET /v2/store says. */
enum rankd_status rk_replicas_describe(struct rk_replicas *shared, struct rk_text *out, struct rk_err *err);
/* What GET /v2/banks/{bank} says beside the rest. The lock is held. */
void rk_replica_write(struct rk_text *out, const struct rk_durable_bank *bank);

/* A bank of the store that this daemon has not: its copy is entered and read, where there is room for it. */
void rk_replica_discover(struct rk_banks *banks, const struct rk_stored_state *state);
/* A bank that was deleted in the store: its copy goes. */
void rk_replica_take_out(struct rk_banks *banks, struct rk_durable_bank *bank);

#endif
