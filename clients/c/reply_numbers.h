/* SPDX-License-Identifier: Apache-2.0 */
/* The numbers, and the chain, of a reply that struct rankd_reply has no members for (rankd_numbers.def). Its
 * size is promised, so they are kept in the room of the sentence that a good reply does not need, behind its
 * NUL. */
#ifndef RANKD_REPLY_NUMBERS_H
#define RANKD_REPLY_NUMBERS_H

#include <stdint.h>

#include "rankd.h"

extern const char *const rankd_number_names[RANKD_REPLY_NUMBERS];

/* Keeps number[i] where bit i of `numbers` is set, and up to 32 digits of the chain (NULL: there is none). To
 * be called once for a reply of status 0 and an empty sentence; others have nothing of that. */
void rankd_reply_keep(struct rankd_reply *reply, uint32_t numbers, const double number[RANKD_REPLY_NUMBERS],
                      const char *chain);

#endif
