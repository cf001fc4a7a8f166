/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints of a bank: taken and deleted (checkpoint.c), restored (generation.c, as is clearing,
 * which begins a new generation too). Each takes the writer lock and waits for the disk; one
 * operation at a time.  */
#ifndef RK_BANK_CHECKPOINT_H
#define RK_BANK_CHECKPOINT_H

#include "bank/durable_bank.h"

enum rankd_status rk_durable_bank_checkpoint(struct rk_durable_bank *bank, const char *tag,
                                             struct rk_text *out, struct rk_err *err);
enum rankd_status rk_durable_bank_delete_checkpoint(struct rk_durable_bank *bank, const char *tag,
                                                    struct rk_err *err);
enum rankd_status rk_durable_bank_restore(struct rk_durable_bank *bank, const char *tag, struct rk_err *err);
enum rankd_status rk_durable_bank_clear(struct rk_durable_bank *bank, struct rk_err *err);

#endif
