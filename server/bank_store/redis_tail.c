/* SPDX-License-Identifier: Apache-2.0 */
/* Reading entries of indexes, and payloads. */
#ifdef RK_HIREDIS
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bank_store/redis_internal.h"
#include "base/clock.h"

enum { PAGE_ENTRIES = 4096, TAIL_ENTRIES = 16384, TAIL_LEAST = 8, PIPELINE_BYTES = 16 << 20, SLACK = 4096 };

/* --- entries --- */

/* [place, ["r", text]] */
static bool read_entry(const struct rk_redis_reply *row, struct rk_stored_entry *entry)
{
    struct rk_stored_place place;
    if (row->type != RK_REPLY_ARRAY || row->parts != 2 || !rk_redis_place_parse(row->part[0], &place) ||
        row->part[1]->type != RK_REPLY_ARRAY || row->part[1]->parts != 2 ||
        row->part[1]->part[1]->type != RK_REPLY_TEXT)
        return false;
    const struct rk_redis_reply *text = row->part[1]->part[1];
    return rk_stored_entry_parse(text->text, text->bytes, place, entry);
}

static bool follows(struct rk_stored_place before, struct rk_stored_place next)
{
    return next.version > before.version || (next.version == before.version && next.sub > before.sub);
}

/* `*place` moves on to the last of them. */
static enum rankd_status visit_rows(const struct rk_redis_reply *rows, const char *bank,
                                    struct rk_stored_place *place, rk_stored_on_entry *visit, void *context,
                                    struct rk_err *err)
{
    for (size_t i = 0; i < rows->parts; i++) {
        struct rk_stored_entry entry;
        if (!read_entry(rows->part[i], &entry) || !follows(*place, entry.place))
            return rk_fail(err, RANKD_INTERNAL,
                           "an entry of the index of bank \"%s\" in the store, behind version %" PRIu64
                           ", is none that rankd writes",
                           bank, place->version);
        *place = entry.place;
        if (visit(context, bank, &entry, err) != RANKD_OK)
            return err->status;
    }
    return RANKD_OK;
}

static void place_text(struct rk_stored_place place, const char *before, char text[64])
{
    (void)snprintf(text, 64, "%s%" PRIu64 "-%" PRIu64, before, place.version, place.sub);
}

enum rankd_status rk_redis_index(struct rk_bank_store *store, const char *bank, struct rk_stored_place place,
                                 rk_stored_on_entry *visit, void *context, struct rk_err *err)
{
    struct rk_redis *redis = rk_redis_of(store);
    struct rk_redis_link *link = rk_redis_take(redis, true, rk_redis_deadline(redis), err);
    char key[RK_REDIS_KEY_BYTES], from[64], count[16];
    rk_redis_key(redis, bank, "index", key);
    (void)snprintf(count, sizeof count, "%d", PAGE_ENTRIES);
    bool more = link != NULL;
    while (more && err->status == RANKD_OK) {
        place_text(place, "(", from);
        link->deadline_ns = rk_redis_deadline(redis);
        rk_redis_send_words(link, "XRANGE", key, from, "+", "COUNT", count, NULL);
        struct rk_redis_reply *rows = rk_redis_next(link, RK_REDIS_PAGE, err);
        if (rows && rows->type != RK_REPLY_ARRAY)
            (void)rk_redis_refused(redis, link, rows, err);
        else if (rows)
            (void)!visit_rows(rows, bank, &place, visit, context, err);
        more = rows && rows->parts == PAGE_ENTRIES;
        rk_redis_reply_free(rows);
    }
    rk_redis_give(redis, link);
    return err->status;
}

/* --- the tail --- */

static struct rk_redis_link *tail_link(struct rk_redis *redis, struct rk_err *err)
{
    if (redis->tail && (redis->tail->broken || redis->tail->unanswered ||
                        (!redis->replica.host[0] && redis->tail->epoch != atomic_load(&redis->epoch)))) {
        rk_redis_link_close(redis->tail);
        redis->tail = NULL;
    }
    if (!redis->tail)
        redis->tail = rk_redis_connect_tail(redis, err);
    return redis->tail;
}

static enum rankd_status send_tail(struct rk_redis *redis, struct rk_redis_link *link,
                                   const struct rk_stored_cursor *cursor, size_t count, uint64_t wait_ms,
                                   struct rk_err *err)
{
    struct rk_redis_piece *piece = calloc(6 + 2 * count, sizeof *piece);
    char(*text)[RK_REDIS_KEY_BYTES] = calloc(2 * count + 2, sizeof *text);
    if (!piece || !text) {
        free(piece);
        free(text);
        return rk_fail(err, RANKD_OVERLOADED, "no memory to read the store's indexes");
    }
    const size_t each = TAIL_ENTRIES / count;
    (void)snprintf(text[0], sizeof *text, "%zu", each > TAIL_LEAST ? each : TAIL_LEAST);
    (void)snprintf(text[1], sizeof *text, "%" PRIu64, wait_ms);
    const char *const words[] = {"XREAD", "COUNT", text[0], "BLOCK", text[1], "STREAMS"};
    for (size_t i = 0; i < 6; i++)
        piece[i] = (struct rk_redis_piece){words[i], strlen(words[i])};
    for (size_t i = 0; i < count; i++) {
        char *key = text[2 + i], *from = text[2 + count + i];
        rk_redis_key(redis, cursor[i].bank, "index", key);
        place_text(cursor[i].place, "", from);
        piece[6 + i] = (struct rk_redis_piece){key, strlen(key)};
        piece[6 + count + i] = (struct rk_redis_piece){from, strlen(from)};
    }
    rk_redis_send(link, piece, 6 + 2 * count);
    free(piece);
    free(text);
    return RANKD_OK;
}

/* [[key, rows], …] */
static enum rankd_status visit_streams(struct rk_redis *redis, struct rk_redis_link *link,
                                       const struct rk_redis_reply *reply,
                                       const struct rk_stored_cursor *cursor, size_t count,
                                       rk_stored_on_entry *visit, void *context, struct rk_err *err)
{
    for (size_t i = 0; i < reply->parts && err->status == RANKD_OK; i++) {
        const struct rk_redis_reply *stream = reply->part[i];
        char key[RK_REDIS_KEY_BYTES];
        size_t at = 0;
        if (stream->type != RK_REPLY_ARRAY || stream->parts != 2 || stream->part[1]->type != RK_REPLY_ARRAY)
            return rk_redis_refused(redis, link, stream, err);
        for (; at < count; at++) {
            rk_redis_key(redis, cursor[at].bank, "index", key);
            if (rk_redis_reply_is(stream->part[0], key))
                break;
        }
        if (at == count)
            return rk_redis_refused(redis, link, stream, err);
        struct rk_stored_place place = cursor[at].place;
        (void)!visit_rows(stream->part[1], cursor[at].bank, &place, visit, context, err);
    }
    return err->status;
}

enum rankd_status rk_redis_tail(struct rk_bank_store *store, const struct rk_stored_cursor *cursor,
                                size_t count, uint64_t wait_ms, rk_stored_on_entry *visit, void *context,
                                struct rk_err *err)
{
    struct rk_redis *redis = rk_redis_of(store);
    struct rk_redis_link *link = tail_link(redis, err);
    if (!link || send_tail(redis, link, cursor, count, wait_ms, err) != RANKD_OK)
        return err->status;
    link->deadline_ns = rk_redis_deadline(redis) + wait_ms * 1000000;
    struct rk_redis_reply *reply = rk_redis_next(link, RK_REDIS_PAGE, err);
    if (reply && !redis->replica.host[0] && link->epoch != atomic_load(&redis->epoch))
        (void)rk_fail(err, RANKD_OVERLOADED, "the store at %s is not the master any more", link->where);
    else if (reply && reply->type == RK_REPLY_ARRAY)
        (void)!visit_streams(redis, link, reply, cursor, count, visit, context, err);
    else if (reply && reply->type != RK_REPLY_NIL)
        (void)rk_redis_refused(redis, link, reply, err);
    rk_redis_reply_free(reply);
    return err->status;
}

/* --- payloads --- */

static void send_get(struct rk_redis *redis, struct rk_redis_link *link, const char *bank,
                     const struct rk_stored_entry *entry)
{
    char rest[80], key[RK_REDIS_KEY_BYTES];
    (void)snprintf(rest, sizeof rest, "p:%016" PRIx64 "%016" PRIx64 ":%016" PRIx64, entry->id.name[1],
                   entry->id.name[0], entry->id.content);
    rk_redis_key(redis, bank, rest, key);
    rk_redis_send_words(link, "GET", key, NULL);
}

static enum rankd_status take_payload(struct rk_redis *redis, struct rk_redis_link *link,
                                      const struct rk_stored_entry *entry, size_t i,
                                      rk_stored_on_payload *visit, void *context, struct rk_err *err)
{
    struct rk_redis_reply *reply = rk_redis_next(link, entry->bytes + SLACK, err);
    if (!reply)
        return err->status;
    if (reply->type == RK_REPLY_TEXT || reply->type == RK_REPLY_NIL)
        (void)!visit(context, i, reply->text, reply->bytes, err);
    else
        (void)rk_redis_refused(redis, link, reply, err);
    rk_redis_reply_free(reply);
    return err->status;
}

enum rankd_status rk_redis_payloads(struct rk_bank_store *store, const char *bank,
                                    const struct rk_stored_entry *entry, size_t count, bool tailing,
                                    rk_stored_on_payload *visit, void *context, struct rk_err *err)
{
    struct rk_redis *redis = rk_redis_of(store);
    struct rk_redis_link *link =
        tailing ? tail_link(redis, err) : rk_redis_take(redis, true, rk_redis_deadline(redis), err);
    size_t sent = 0, bytes = 0;
    for (size_t i = 0; link && i < count && err->status == RANKD_OK; i++) {
        while (sent < count && (sent == i || bytes + entry[sent].bytes <= PIPELINE_BYTES)) {
            send_get(redis, link, bank, &entry[sent]);
            bytes += entry[sent++].bytes;
        }
        link->deadline_ns = rk_redis_deadline(redis);
        (void)!take_payload(redis, link, &entry[i], i, visit, context, err);
        bytes -= entry[i].bytes;
    }
    if (!tailing)
        rk_redis_give(redis, link);
    return err->status;
}
#endif
