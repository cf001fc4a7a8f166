/* SPDX-License-Identifier: Apache-2.0 */
/* Operations on banks in a store, for operations.c; and handling of banks that other daemons
 * created or deleted there, for the audit. Operations that change a bank wait until this copy
 * follows, at most five seconds. */
#ifndef RK_BANK_REPLICA_ADMIN_H
#define RK_BANK_REPLICA_ADMIN_H

#include "bank/replica.h"
#include "bank/turns.h"

/* Creates the bank in the store, or uses the existing one: RANKD_CONFLICT if its configuration
 * differs. Registers its copy, for which the turn has reserved room, and which has been read when
 * this returns unless it is large. */
enum rankd_status rk_replica_create(struct rk_banks *banks, struct rk_turn *turn, const char *name,
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

/* Writes the document of GET /v2/store. */
enum rankd_status rk_replicas_describe(struct rk_replicas *shared, struct rk_text *out, struct rk_err *err);
/* Writes the members that GET /v2/banks/{bank} has for a bank in a store. The lock is held. */
void rk_replica_write(struct rk_text *out, const struct rk_durable_bank *bank);

/* Registers and reads the copy of a bank in the store that this daemon does not have yet, if there
 * is room for it. */
void rk_replica_discover(struct rk_banks *banks, const struct rk_stored_state *state);
/* Removes the copy of a bank that was deleted in the store. */
void rk_replica_take_out(struct rk_banks *banks, struct rk_durable_bank *bank);

#endif
