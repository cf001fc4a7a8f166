/* SPDX-License-Identifier: Apache-2.0 */
#include "reply_numbers.h"

#include <stdbool.h>
#include <string.h>

const char *const rankd_number_names[RANKD_REPLY_NUMBERS] = {
#define RANKD_REPLY_NUMBER(ID, name, whole, help) name,
#include "rankd_numbers.def"
};

struct kept {
    uint32_t numbers; /* bits 1u << RANKD_REPLY_* */
    double number[RANKD_REPLY_NUMBERS];
    bool has_chain;
    char chain[RANKD_CHAIN_BYTES];
};

enum { BEHIND = 8 /* their offset in the room of the sentence */ };
_Static_assert(BEHIND + sizeof(struct kept) <= sizeof((struct rankd_reply *)0)->error, "room");

void rankd_reply_keep(struct rankd_reply *reply, uint32_t numbers, const double number[RANKD_REPLY_NUMBERS],
                      const char *chain)
{
    struct kept kept = {.numbers = numbers, .has_chain = chain != NULL};
    if (reply->status != RANKD_OK || reply->error[0] != '\0')
        return;
    memcpy(kept.number, number, sizeof kept.number);
    if (chain != NULL)
        memcpy(kept.chain, chain, strnlen(chain, sizeof kept.chain - 1));
    memcpy(reply->error + BEHIND, &kept, sizeof kept);
}

/* The kept numbers; none of a reply whose status is not 0. */
static struct kept kept_of(const struct rankd_reply *reply)
{
    struct kept kept = {0};
    if (reply->status == RANKD_OK && reply->error[0] == '\0')
        memcpy(&kept, reply->error + BEHIND, sizeof kept);
    return kept;
}

int rankd_reply_chain(const struct rankd_reply *reply, char chain[RANKD_CHAIN_BYTES])
{
    if (reply == NULL || chain == NULL)
        return RANKD_MISUSE;
    const struct kept kept = kept_of(reply);
    if (!kept.has_chain)
        return RANKD_NOT_FOUND;
    memcpy(chain, kept.chain, sizeof kept.chain);
    return RANKD_OK;
}

int rankd_reply_number(const struct rankd_reply *reply, const char *name, double *value)
{
    if (reply == NULL || name == NULL || value == NULL)
        return RANKD_MISUSE;
    const struct kept kept = kept_of(reply);
    for (int i = 0; i < RANKD_REPLY_NUMBERS; i++) {
        if ((kept.numbers & 1u << i) != 0 && strcmp(rankd_number_names[i], name) == 0) {
            *value = kept.number[i];
            return RANKD_OK;
        }
    }
    return RANKD_NOT_FOUND;
}
