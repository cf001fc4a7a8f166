/* SPDX-License-Identifier: Apache-2.0 */
#include "bank/kind.h"

const struct rk_bank_kind *const rk_bank_kinds[] = {
#define RK_BANK_KIND(name) &rk_bank_kind_##name,
#include "bank/kinds.def"
#undef RK_BANK_KIND
    NULL};

/* The first separator is left out. */
#define RK_BANK_KIND(name) "|" #name
static const char words[] =
#include "bank/kinds.def"
    ;
#undef RK_BANK_KIND

const char *rk_bank_kind_words(void)
{
    return words + 1;
}

const struct rk_bank_kind *rk_bank_kind_numbered(uint32_t number)
{
    for (size_t i = 0; rk_bank_kinds[i]; i++) {
        if (rk_bank_kinds[i]->number == number)
            return rk_bank_kinds[i];
    }
    return NULL;
}
