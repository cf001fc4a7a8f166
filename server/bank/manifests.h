/* SPDX-License-Identifier: Apache-2.0 */
/* The existing checkpoints, by their manifests. */
#ifndef RK_BANK_MANIFESTS_H
#define RK_BANK_MANIFESTS_H

#include "bank/config.h"
#include "bank/durable_bank.h"

/* Writes them as a JSON array. */
enum rankd_status rk_durable_bank_checkpoints(struct rk_durable_bank *bank, struct rk_text *out,
                                              struct rk_err *err);
/* Bytes that checkpoints alone keep on disk: files that the live journal has dropped, or never had.
 * Checkpoints that are being made or removed count too. */
uint64_t rk_durable_bank_checkpoint_bytes(struct rk_durable_bank *bank);

/* "…/checkpoints/<prefix><tag>"; RANKD_INTERNAL if it is too long. */
enum rankd_status rk_checkpoint_path(const struct rk_durable_bank *bank, const char *prefix, const char *tag,
                                     char *path, size_t size, struct rk_err *err)
    __attribute__((warn_unused_result));
/* RANKD_UNSUPPORTED for a bank in memory only. */
enum rankd_status rk_checkpoint_needs_disk(const struct rk_durable_bank *bank, struct rk_err *err)
    __attribute__((warn_unused_result));
/* The manifest of a tag, in *text too where that is not NULL (4096 bytes). RANKD_NOT_FOUND: there
 * is no such checkpoint. RANKD_INTERNAL: its manifest is damaged. */
enum rankd_status rk_checkpoint_read(const struct rk_durable_bank *bank, const char *tag, char *text,
                                     struct rk_checkpoint *checkpoint, struct rk_err *err)
    __attribute__((warn_unused_result));
/* The configuration from any checkpoint in a bank's folder; false if none has it. */
bool rk_checkpoint_find_config(const char *bank_path, struct rk_bank_config *config)
    __attribute__((warn_unused_result));
/* Removes folders that a crash left incomplete (rules.h, M3). */
void rk_checkpoint_sweep(const struct rk_durable_bank *bank);

#endif
