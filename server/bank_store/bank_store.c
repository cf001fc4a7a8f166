/* SPDX-License-Identifier: Apache-2.0 */
#include "bank_store/bank_store.h"

#include <ctype.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "bank/kind.h"

struct rk_stored_keep rk_stored_keep_default(void)
{
    return (struct rk_stored_keep){65536, 1000000, 600000};
}

bool rk_stored_uid_draw(char uid[RK_STORED_UID_BYTES])
{
    struct rk_chain bits;
    if (getrandom(&bits, sizeof bits, 0) != (ssize_t)sizeof bits)
        return false;
    rk_chain_text(bits, uid);
    return true;
}

/* --- the chain --- */

void rk_chain_text(struct rk_chain chain, char text[RK_STORED_UID_BYTES])
{
    static const char digit[] = "0123456789abcdef";
    for (size_t i = 0; i < sizeof chain.byte; i++) {
        text[2 * i] = digit[chain.byte[i] >> 4];
        text[2 * i + 1] = digit[chain.byte[i] & 15];
    }
    text[2 * sizeof chain.byte] = '\0';
}

static int nibble(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool rk_chain_parse(const char *text, size_t bytes, struct rk_chain *chain)
{
    if (bytes != 2 * sizeof chain->byte)
        return false;
    for (size_t i = 0; i < sizeof chain->byte; i++) {
        const int high = nibble(text[2 * i]), low = nibble(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        chain->byte[i] = (unsigned char)(high << 4 | low);
    }
    return true;
}

bool rk_chain_same(struct rk_chain a, struct rk_chain b)
{
    return memcmp(&a, &b, sizeof a) == 0;
}

static struct rk_chain hash(const char *text, size_t bytes)
{
    unsigned char digest[20] = {0};
    struct rk_chain chain;
    (void)gnutls_hash_fast(GNUTLS_DIG_SHA1, text, bytes, digest);
    memcpy(&chain, digest, sizeof chain);
    return chain;
}

struct rk_chain rk_chain_first(const char *uid)
{
    return hash(uid, strlen(uid));
}

/* The scripts of a store compute the same (append.lua, clear.lua, restore.lua). */
struct rk_chain rk_chain_next(struct rk_chain before, const struct rk_stored_entry *entry)
{
    char text[256], own[RK_STORED_UID_BYTES];
    if (entry->kind == RK_STORED_ID)
        return before;
    rk_chain_text(before, own);
    int length;
    if (entry->kind == RK_STORED_BATCH)
        length = snprintf(text, sizeof text, "%s%016" PRIx64 "%016" PRIx64 "%016" PRIx64, own,
                          entry->id.name[1], entry->id.name[0], entry->id.content);
    else
        length =
            snprintf(text, sizeof text, "%s%s", own, entry->kind == RK_STORED_CLEAR ? "clear" : "restore");
    length += snprintf(text + length, sizeof text - (size_t)length, "%" PRIu64 ":%" PRIu64 ":%" PRIu64,
                       entry->generation, entry->place.version, entry->end);
    return hash(text, (size_t)length);
}

/* --- entries --- */

static const char letters[] = {
    [RK_STORED_BATCH] = 'b', [RK_STORED_ID] = 'i', [RK_STORED_CLEAR] = 'c', [RK_STORED_RESTORE] = 'r'};

void rk_stored_entry_write(const struct rk_stored_entry *entry, char text[RK_STORED_ENTRY_BYTES])
{
    char chain[RK_STORED_UID_BYTES];
    rk_chain_text(entry->chain, chain);
    (void)snprintf(text, RK_STORED_ENTRY_BYTES,
                   "%c %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %016" PRIx64 "%016" PRIx64
                   " %016" PRIx64 " %d %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %s",
                   letters[entry->kind], entry->generation, entry->end, entry->items, entry->bytes,
                   entry->id.name[1], entry->id.name[0], entry->id.content, entry->named,
                   entry->id.read.generation, entry->id.read.version, entry->id.read.end,
                   entry->id.stamp_ns / 1000000, chain);
}

/* A whole number up to 2^53, the range of the scripts of a store, and the blank after it. */
static bool read_count(const char **at, const char *end, uint64_t *out)
{
    uint64_t value = 0;
    const char *first = *at;
    while (*at < end && isdigit((unsigned char)**at) && value <= UINT64_C(1) << 53)
        value = value * 10 + (uint64_t)(*(*at)++ - '0');
    if (*at == first || value > UINT64_C(1) << 53 || *at == end || **at != ' ')
        return false;
    (*at)++;
    *out = value;
    return true;
}

/* Sixteen hexadecimal digits. */
static bool read_bits(const char **at, const char *end, uint64_t *out)
{
    *out = 0;
    for (int i = 0; i < 16; i++) {
        const int value = *at < end ? nibble(*(*at)++) : -1;
        if (value < 0)
            return false;
        *out = *out << 4 | (uint64_t)value;
    }
    return true;
}

static bool read_blank(const char **at, const char *end)
{
    return *at < end && *(*at)++ == ' ';
}

static bool read_id(const char **at, const char *end, struct rk_stored_entry *entry)
{
    struct rk_batch_id *id = &entry->id;
    uint64_t named, stamp_ms;
    if (!read_bits(at, end, &id->name[1]) || !read_bits(at, end, &id->name[0]) || !read_blank(at, end) ||
        !read_bits(at, end, &id->content) || !read_blank(at, end) || !read_count(at, end, &named) ||
        !read_count(at, end, &id->read.generation) || !read_count(at, end, &id->read.version) ||
        !read_count(at, end, &id->read.end) || !read_count(at, end, &stamp_ms) || named > 1 ||
        stamp_ms > UINT64_MAX / 1000000)
        return false;
    entry->named = named;
    id->stamp_ns = stamp_ms * 1000000;
    id->appended = entry->kind == RK_STORED_BATCH ? entry->place.version : 0;
    return true;
}

bool rk_stored_entry_parse(const char *text, size_t bytes, struct rk_stored_place place,
                           struct rk_stored_entry *entry)
{
    const char *at = text, *end = text + bytes;
    *entry = (struct rk_stored_entry){.place = place};
    const char *letter = bytes ? memchr(letters, *at, sizeof letters) : NULL;
    if (!letter)
        return false;
    entry->kind = (enum rk_stored_kind)(letter - letters);
    at++;
    if (!read_blank(&at, end) || !read_count(&at, end, &entry->generation) ||
        !read_count(&at, end, &entry->end) || !read_count(&at, end, &entry->items) ||
        !read_count(&at, end, &entry->bytes) || !read_id(&at, end, entry))
        return false;
    const bool plain = entry->kind == RK_STORED_BATCH;
    return plain == (place.sub == 0) && (plain || entry->items == 0) && entry->items <= entry->end &&
           rk_chain_parse(at, (size_t)(end - at), &entry->chain);
}

/* --- payloads --- */

bool rk_stored_payload_write(struct rk_text *out, const struct rk_batch *batch, const struct rk_batch_id *id)
{
    const struct rk_batch_id plain = {.name = {id->name[0], id->name[1]}, .content = id->content};
    const struct rk_record_piece piece[] = {{&plain, sizeof plain}, {batch->block, batch->bytes}};
    struct rk_record_head head = {.kind = RK_RECORD_BATCH, .items = (uint32_t)batch->items};
    rk_record_seal(&head, piece, 2);
    if (!rk_text_reserve(out, sizeof head + head.payload_bytes))
        return false;
    rk_text_add(out, &head, sizeof head);
    rk_text_add(out, &plain, sizeof plain);
    rk_text_add(out, batch->block, batch->bytes);
    return !out->failed;
}

/* The fault of the payload; NULL: none. */
static const char *fault_of(const void *bytes, size_t count, const struct rk_stored_entry *entry,
                            struct rk_record_head *head)
{
    struct rk_batch_id id;
    if (!bytes)
        return "is not there";
    if (!rk_record_valid(bytes, count, head) || head->payload_bytes != count - sizeof *head ||
        head->payload_bytes < sizeof id)
        return "is damaged";
    memcpy(&id, (const char *)bytes + sizeof *head, sizeof id);
    if (head->kind != RK_RECORD_BATCH || head->items != entry->items || id.name[0] != entry->id.name[0] ||
        id.name[1] != entry->id.name[1] || id.content != entry->id.content)
        return "is another batch's";
    const char *block = (const char *)bytes + sizeof *head + sizeof id;
    if (rk_record_hash(block, count - sizeof *head - sizeof id) != entry->id.content)
        return "has other contents than its entry says";
    return NULL;
}

enum rankd_status rk_stored_payload_read(const void *bytes, size_t count, const struct rk_bank_shape *shape,
                                         const struct rk_stored_entry *entry, struct rk_batch *batch,
                                         struct rk_err *err)
{
    struct rk_record_head head;
    const char *fault = fault_of(bytes, count, entry, &head);
    memset(batch, 0, sizeof *batch);
    if (fault)
        return rk_fail(err, RANKD_INTERNAL, "the batch of version %" PRIu64 " in the store %s",
                       entry->place.version, fault);
    const size_t before = sizeof head + sizeof(struct rk_batch_id);
    if (rk_batch_take(shape, entry->items, batch, err) != RANKD_OK)
        return err->status;
    if (batch->bytes != count - before) {
        rk_batch_free(batch);
        return rk_fail(err, RANKD_INTERNAL,
                       "the batch of version %" PRIu64 " in the store has %zu bytes, and %" PRIu64
                       " items of this bank take another number",
                       entry->place.version, count - before, entry->items);
    }
    memcpy(batch->block, (const char *)bytes + before, batch->bytes);
    return RANKD_OK;
}
