/* The registry: names to banks, the data folder, the thread of durability "interval". */
#ifndef RK_BANK_REGISTRY_H
#define RK_BANK_REGISTRY_H

#include "bank/named.h"

/* A reference to the bank of that name, or NULL with RANKD_NOT_FOUND. */
struct rk_named_bank *rk_banks_find(struct rk_banks *banks, const char *name, struct rk_err *err);

#endif
