/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "bank/kind.h"
#include "bank_store/bank_store.h"
#include "bank_store/redis_link.h"
#include "targets.h"

/* Reads all of a reply. */
static size_t walk(const struct rk_redis_reply *reply)
{
    size_t sum = reply->bytes;
    assert((reply->type == RK_REPLY_ARRAY) == (reply->part != NULL));
    assert(!reply->text || reply->text[reply->bytes] == '\0');
    for (size_t i = 0; i < reply->parts; i++)
        sum += walk(reply->part[i]);
    return sum;
}

/* An entry that was read is written as the same text. */
static void check_entry(const char *text, size_t bytes, struct rk_stored_place place)
{
    struct rk_stored_entry entry, again;
    char written[RK_STORED_ENTRY_BYTES];
    if (!rk_stored_entry_parse(text, bytes, place, &entry))
        return;
    assert(entry.items <= entry.end);
    rk_stored_entry_write(&entry, written);
    assert(rk_stored_entry_parse(written, strlen(written), place, &again));
    assert(memcmp(&entry, &again, sizeof entry) == 0);
}

/* A payload is accepted only with the contents that its entry names. */
static void check_payload(const uint8_t *data, size_t bytes)
{
    const struct rk_bank_shape shape = {
        .kind = &rk_bank_kind_embeddings, .dim = 2, .capacity = 8, .dtype = RK_FP32};
    struct rk_stored_entry entry = {.kind = RK_STORED_BATCH};
    struct rk_batch batch;
    struct rk_err err = {0};
    const size_t head = sizeof(struct rk_record_head), id = sizeof(struct rk_batch_id);
    if (bytes >= head + id) { /* the entry that would fit it best */
        struct rk_record_head own;
        memcpy(&own, data, head);
        memcpy(&entry.id, data + head, id);
        entry.items = own.items;
    }
    if (rk_stored_payload_read(data, bytes, &shape, &entry, &batch, &err) != RANKD_OK)
        return;
    assert(batch.items == entry.items && rk_record_hash(batch.block, batch.bytes) == entry.id.content);
    rk_batch_free(&batch);
}

void rk_fuzz_stored(const uint8_t *data, size_t bytes)
{
    if (bytes < 1)
        return;
    if (data[0] % 3 == 0) {
        struct rk_redis_reply *reply = rk_redis_reply_parse(data + 1, bytes - 1, 1 << 16);
        if (reply)
            (void)walk(reply);
        rk_redis_reply_free(reply);
    } else if (data[0] % 3 == 1) {
        check_entry((const char *)data + 1, bytes - 1,
                    (struct rk_stored_place){data[0] / 3, data[0] / 3 % 2});
    } else {
        check_payload(data + 1, bytes - 1);
    }
}
