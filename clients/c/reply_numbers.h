/* SPDX-License-Identifier: Apache-2.0 */
/* The numbers of a reply, and its chain, for which struct rankd_reply has no members
 * (rankd_numbers.def). The size of the struct is promised, so they are kept behind the NUL of
 * `error`, which a good reply does not use. */
#ifndef RANKD_REPLY_NUMBERS_H
#define RANKD_REPLY_NUMBERS_H

#include <stdint.h>

#include "rankd.h"

extern const char *const rankd_number_names[RANKD_REPLY_NUMBERS];

/* Keeps number[i] where bit i of `numbers` is set, and up to 32 digits of the chain (NULL: there is
 * none). To be called once for a reply of status 0 with an empty sentence; other replies have no
 * numbers. */
void rankd_reply_keep(struct rankd_reply *reply, uint32_t numbers, const double number[RANKD_REPLY_NUMBERS],
                      const char *chain);

#endif
