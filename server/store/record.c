/* SPDX-License-Identifier: Apache-2.0 */
#include "store/record.h"

#include <string.h>

#define XXH_STATIC_LINKING_ONLY /* the state on the stack */
#include <xxhash.h>

#include "bank/kind.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "records are written as they lie in memory");

/* The journal adds the origin. */
struct rk_record_start rk_record_start_of(const struct rk_bank_shape *shape)
{
    return (struct rk_record_start){.format = RK_RECORD_FORMAT,
                                    .kind = shape->kind->number,
                                    .normalize = shape->normalize,
                                    .dtype = (uint32_t)shape->dtype,
                                    .dim = shape->dim,
                                    .lists = shape->lists,
                                    .capacity = shape->capacity};
}

static uint64_t head_hash(const struct rk_record_head *head)
{
    return XXH3_64bits(head, offsetof(struct rk_record_head, head_hash));
}

void rk_record_seal(struct rk_record_head *head, const struct rk_record_piece *piece, size_t pieces)
{
    XXH3_state_t state;
    XXH3_INITSTATE(&state);
    (void)XXH3_64bits_reset(&state);
    head->payload_bytes = 0;
    for (size_t i = 0; i < pieces; i++) {
        (void)XXH3_64bits_update(&state, piece[i].data, piece[i].bytes);
        head->payload_bytes += piece[i].bytes;
    }
    head->magic = RK_RECORD_MAGIC;
    head->payload_hash = XXH3_64bits_digest(&state);
    head->head_hash = head_hash(head);
}

bool rk_record_valid(const void *bytes, size_t room, struct rk_record_head *head)
{
    if (room < sizeof *head)
        return false;
    memcpy(head, bytes, sizeof *head);
    if (head->magic != RK_RECORD_MAGIC || head->head_hash != head_hash(head))
        return false;
    if (head->payload_bytes > room - sizeof *head)
        return false;
    return XXH3_64bits((const char *)bytes + sizeof *head, head->payload_bytes) == head->payload_hash;
}

uint64_t rk_record_hash(const void *bytes, size_t count)
{
    return XXH3_64bits(bytes, count);
}
