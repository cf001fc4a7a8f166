/* SPDX-License-Identifier: Apache-2.0 */
/* A bank's folder: its manifest, its live journal, and reading both back. */
#ifndef RK_BANK_DISK_H
#define RK_BANK_DISK_H

#include "bank/durable_bank.h"

/* Creates the bank's folder with an empty journal. */
enum rankd_status rk_durable_bank_create_disk(struct rk_durable_bank *bank, struct rk_err *err)
    __attribute__((warn_unused_result));
/* Opens the live journal again after the folder was renamed. */
enum rankd_status rk_durable_bank_reopen(struct rk_durable_bank *bank, struct rk_err *err)
    __attribute__((warn_unused_result));
/* Reads configuration and journal of a bank's folder back. Always returns a bank (NULL: out of
 * memory); if it could not be read it is `unreadable`. */
struct rk_durable_bank *rk_durable_bank_load(const char *name, const char *path, struct rk_io *io);
/* Writes all items in memory (or none of them) as a new journal under `point`, and makes it the
 * live one. The writer lock is held, the lock is not. */
enum rankd_status rk_durable_bank_rewrite(struct rk_durable_bank *bank, struct rk_bank_position point,
                                          bool empty, struct rk_err *err) __attribute__((warn_unused_result));
/* Makes the folder live-<number>, which is on disk except for its name, the live one, and removes
 * the one before (rules.h, M1). On failure the folder is removed. If it is unknown which of both
 * the manifest on disk names, both stay and the bank is refused. The writer lock is held, the lock
 * is not. */
enum rankd_status rk_durable_bank_switch(struct rk_durable_bank *bank, uint64_t number, struct rk_err *err)
    __attribute__((warn_unused_result));
/* Begins a new segment of a journal of this bank (bank->journal, or one that is to be). The writer
 * lock is held. */
enum rankd_status rk_durable_bank_rotate(struct rk_durable_bank *bank, struct rk_journal *journal,
                                         struct rk_err *err) __attribute__((warn_unused_result));
/* Reads a journal's folder into bank->memory, bank->ids and bank->next, which are reset first. */
enum rankd_status rk_durable_bank_read(struct rk_durable_bank *bank, const char *folder,
                                       struct rk_journal **journal, struct rk_err *err)
    __attribute__((warn_unused_result));

#endif
