/* SPDX-License-Identifier: Apache-2.0 */
/* The registry: names to banks. */
#ifndef RK_BANK_REGISTRY_H
#define RK_BANK_REGISTRY_H

#include "bank/checkpoint.h"
#include "bank/config.h"
#include "bank/disk.h"
#include "bank/durable_bank.h"
#include "bank/folders.h"
#include "bank/manifests.h"
#include "bank/retries.h"
#include "bank/writer_lock.h"

/* A reference to the bank of that name, or NULL with RANKD_NOT_FOUND. */
struct rk_durable_bank *rk_banks_find(struct rk_banks *banks, const char *name, struct rk_err *err);

/* References to all banks (malloc'ed; NULL with *count 0 if out of memory), for a caller that
 * visits them without holding the table; and their release. */
struct rk_durable_bank **rk_banks_hold_all(struct rk_banks *banks, size_t *count);
void rk_banks_release_all(struct rk_durable_bank **all, size_t count);

#endif
