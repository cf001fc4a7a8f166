/* SPDX-License-Identifier: Apache-2.0 */
/* Appends a group: payloads, scripts and then one WAIT, in one pipeline. Batches without an answer
 * are sent again under the same names until the deadline; the script recognises the names. */
#ifdef RK_HIREDIS
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bank_store/redis_internal.h"
#include "base/clock.h"

enum { ARGUMENTS = 14, PAUSE_NS = 20000000, WAIT_MS = 1000, TEXTS = 96, LONG_NS = 200000000 };
#define NEW_NS UINT64_C(3000000000)

/* What stays the same for all batches of a group. */
struct append_frame {
    struct rk_redis *redis;
    const char *bank, *uid;
    char state[RK_REDIS_KEY_BYTES], index[RK_REDIS_KEY_BYTES], ids[RK_REDIS_KEY_BYTES],
        held[RK_REDIS_KEY_BYTES], payloads[RK_REDIS_KEY_BYTES];
    char oldest[24], kept[24], most[24], age[24];
};

static void begin_frame(struct append_frame *frame, struct rk_redis *redis, const char *bank, const char *uid,
                        uint64_t oldest)
{
    *frame = (struct append_frame){.redis = redis, .bank = bank, .uid = uid};
    rk_redis_key(redis, bank, "state", frame->state);
    rk_redis_key(redis, bank, "index", frame->index);
    rk_redis_key(redis, bank, "ids", frame->ids);
    rk_redis_key(redis, bank, "held", frame->held);
    rk_redis_key(redis, bank, "p:", frame->payloads);
    (void)snprintf(frame->oldest, sizeof frame->oldest, "%" PRIu64, oldest);
    (void)snprintf(frame->kept, sizeof frame->kept, "%" PRIu64, redis->keep.kept);
    (void)snprintf(frame->most, sizeof frame->most, "%" PRIu64, redis->keep.most);
    (void)snprintf(frame->age, sizeof frame->age, "%" PRIu64, redis->keep.age_ms);
}

/* --- out --- */

static size_t payload_bytes(const struct rk_stored_append *append)
{
    return sizeof(struct rk_record_head) + sizeof append->id + append->batch->bytes;
}

static bool send_payload(struct rk_redis_link *link, const char *key, const struct rk_stored_append *append)
{
    rk_redis_begin(link, 6);
    rk_redis_add(link, "SET", 3);
    rk_redis_add(link, key, strlen(key));
    rk_redis_open_piece(link, payload_bytes(append));
    const bool written = rk_stored_payload_write(&link->out, append->batch, &append->id);
    rk_redis_close_piece(link);
    rk_redis_add(link, "NX", 2);
    rk_redis_add(link, "EX", 2);
    rk_redis_add(link, "600", 3);
    rk_redis_end(link);
    return written;
}

static void send_script(struct rk_redis_link *link, const struct append_frame *frame, const char *key,
                        const struct rk_stored_append *append)
{
    char name[33], content[17], generation[24], items[24], bytes[24], read[TEXTS];
    const struct rk_batch_id *id = &append->id;
    (void)snprintf(name, sizeof name, "%016" PRIx64 "%016" PRIx64, id->name[1], id->name[0]);
    (void)snprintf(content, sizeof content, "%016" PRIx64, id->content);
    (void)snprintf(generation, sizeof generation, "%" PRIu64, append->generation);
    (void)snprintf(items, sizeof items, "%zu", append->empty ? 0 : append->batch->items);
    (void)snprintf(bytes, sizeof bytes, "%zu", append->empty ? 0 : payload_bytes(append));
    (void)snprintf(read, sizeof read, "%" PRIu64 " %" PRIu64 " %" PRIu64, id->read.generation,
                   id->read.version, id->read.end);
    rk_redis_send_words(link, "EVALSHA", rk_script_text(RK_SCRIPT_APPEND)->sha1, "5", frame->state,
                        frame->index, frame->ids, frame->held, key, frame->uid, name, content, generation,
                        items, bytes, append->named ? "1" : "0", read, append->empty ? "1" : "0",
                        frame->oldest, frame->kept, frame->most, frame->age, frame->payloads, NULL);
}

static bool send_one(struct rk_redis_link *link, const struct append_frame *frame,
                     const struct rk_stored_append *append)
{
    char key[RK_REDIS_KEY_BYTES + 64];
    const struct rk_batch_id *id = &append->id;
    (void)snprintf(key, sizeof key, "%s%016" PRIx64 "%016" PRIx64 ":%016" PRIx64, frame->payloads,
                   id->name[1], id->name[0], id->content);
    if (!append->empty && !send_payload(link, key, append))
        return false;
    send_script(link, frame, key, append);
    return true;
}

/* --- in --- */

bool rk_redis_place_parse(const struct rk_redis_reply *reply, struct rk_stored_place *place)
{
    char *end;
    if (reply->type != RK_REPLY_TEXT || reply->text[0] < '0' || reply->text[0] > '9')
        return false;
    place->version = strtoull(reply->text, &end, 10);
    if (*end != '-' || end[1] < '0' || end[1] > '9')
        return false;
    place->sub = strtoull(end + 1, &end, 10);
    return *end == '\0' && place->version <= UINT64_C(1) << 53;
}

/* Whether it is the same batch, computed against the same version: an earlier attempt whose reply
 * was lost. Its result equals this one's to the bit. */
static bool is_own(const struct rk_stored_append *append)
{
    const struct rk_batch_id *a = &append->id, *b = &append->entry.id;
    return a->content == b->content && a->read.generation == b->read.generation &&
           a->read.version == b->read.version && a->read.end == b->read.end;
}

static bool take_entry(struct rk_stored_append *append, const struct rk_redis_reply *reply)
{
    struct rk_stored_place place;
    return reply->parts == 3 && rk_redis_place_parse(reply->part[1], &place) &&
           reply->part[2]->type == RK_REPLY_TEXT &&
           rk_stored_entry_parse(reply->part[2]->text, reply->part[2]->bytes, place, &append->entry) &&
           append->entry.id.name[0] == append->id.name[0] && append->entry.id.name[1] == append->id.name[1];
}

/* Takes the verdict from the script's answer. It stays UNKNOWN if the batch has to be sent
 * again. */
static enum rankd_status take_verdict(struct append_frame *frame, struct rk_redis_link *link,
                                      struct rk_stored_append *append, const struct rk_redis_reply *reply,
                                      struct rk_err *err)
{
    const struct rk_redis_reply *word = reply->type == RK_REPLY_ARRAY && reply->parts ? reply->part[0] : NULL;
    if (rk_redis_error_begins(reply, "NOSCRIPT"))
        link->scripts = false;
    else if (rk_redis_error_begins(reply, "OOM"))
        append->verdict = RK_STORED_FULL;
    else if (rk_redis_reply_is(word, "ok") && take_entry(append, reply))
        append->verdict = RK_STORED_OK;
    else if (rk_redis_reply_is(word, "dup") && take_entry(append, reply))
        append->verdict = is_own(append) ? RK_STORED_OK : RK_STORED_DUP;
    else if (rk_redis_reply_is(word, "gone"))
        append->verdict = RK_STORED_GONE;
    else if (rk_redis_reply_is(word, "generation") && reply->parts == 2 &&
             reply->part[1]->type == RK_REPLY_TEXT) {
        append->verdict = RK_STORED_GENERATION;
        append->entry.generation = strtoull(reply->part[1]->text, NULL, 10);
    } else if (!rk_redis_reply_is(word, "payload"))
        return rk_redis_refused(frame->redis, link, reply, err);
    return RANKD_OK;
}

static enum rankd_status read_one(struct append_frame *frame, struct rk_redis_link *link,
                                  struct rk_stored_append *append, struct rk_err *err)
{
    if (!append->empty) {
        struct rk_redis_reply *set = rk_redis_next(link, RK_REDIS_SMALL, err);
        const bool fits = set && (set->type != RK_REPLY_ERROR || rk_redis_error_begins(set, "OOM"));
        const bool full = set && set->type == RK_REPLY_ERROR && fits;
        if (set && !fits)
            (void)rk_redis_refused(frame->redis, link, set, err);
        rk_redis_reply_free(set);
        if (!fits)
            return err->status;
        if (full)
            append->verdict = RK_STORED_FULL;
    }
    struct rk_redis_reply *reply = rk_redis_next(link, RK_REDIS_SMALL, err);
    if (!reply)
        return err->status;
    const bool full = append->verdict == RK_STORED_FULL;
    enum rankd_status status = take_verdict(frame, link, append, reply, err);
    if (full && append->verdict == RK_STORED_UNKNOWN)
        append->verdict = RK_STORED_FULL; /* its payload did not fit, so the script did not find it */
    rk_redis_reply_free(reply);
    return status;
}

/* --- durability --- */

/* Whether to send WAITAOF: the store's own disk has to be waited for, and the server can do
 * that. */
static bool waits_for_disk(const struct append_frame *frame, const struct rk_stored_durability *durability)
{
    return durability->on_disk && atomic_load(&frame->redis->disk) == RK_REDIS_DISK_WAITAOF;
}

/* Records which wait was sent, for the reply: the kind of the store's disk may become known in
 * between. */
static void send_wait(const struct append_frame *frame, struct rk_redis_link *link,
                      const struct rk_stored_durability *durability)
{
    char count[16], patience[24];
    const uint64_t now = rk_now_ns();
    const uint64_t left = durability->deadline_ns > now ? (durability->deadline_ns - now) / 1000000 : 0;
    (void)snprintf(count, sizeof count, "%u", durability->replicas);
    (void)snprintf(patience, sizeof patience, "%" PRIu64, left < 1 ? 1 : left > WAIT_MS ? WAIT_MS : left);
    link->wait = waits_for_disk(frame, durability) ? RK_REDIS_WAITAOF
                 : durability->replicas            ? RK_REDIS_WAIT
                                                   : RK_REDIS_WAIT_NONE;
    if (link->wait == RK_REDIS_WAITAOF)
        rk_redis_send_words(link, "WAITAOF", "1", count, patience, NULL);
    else if (link->wait == RK_REDIS_WAIT)
        rk_redis_send_words(link, "WAIT", count, patience, NULL);
}

static enum rankd_status read_wait(const struct append_frame *frame, struct rk_redis_link *link,
                                   const struct rk_stored_durability *durability, unsigned *replicas,
                                   bool *durable, struct rk_err *err)
{
    const bool aof = link->wait == RK_REDIS_WAITAOF;
    link->deadline_ns = durability->deadline_ns + WAIT_MS * UINT64_C(1000000); /* it ends by itself */
    struct rk_redis_reply *reply = rk_redis_next(link, RK_REDIS_SMALL, err);
    if (!reply)
        return err->status;
    const bool pair = aof && reply->type == RK_REPLY_ARRAY && reply->parts == 2 &&
                      reply->part[0]->type == RK_REPLY_INTEGER && reply->part[1]->type == RK_REPLY_INTEGER;
    if (pair || (!aof && reply->type == RK_REPLY_INTEGER)) {
        const long long got = pair ? reply->part[1]->integer : reply->integer;
        *replicas = got > 0 ? (unsigned)got : 0;
        *durable = got >= (long long)durability->replicas && (!pair || reply->part[0]->integer >= 1);
    } else
        (void)rk_redis_refused(frame->redis, link, reply, err);
    rk_redis_reply_free(reply);
    return err->status;
}

/* --- the group --- */

static size_t count_unknown(const struct rk_stored_append *group, size_t count)
{
    size_t unknown = 0;
    for (size_t i = 0; i < count; i++)
        unknown += group[i].verdict == RK_STORED_UNKNOWN;
    return unknown;
}

/* Sends the batches without a verdict, and the wait after them: one round trip in all. */
static enum rankd_status send_group(const struct append_frame *frame, struct rk_redis_link *link,
                                    const struct rk_stored_append *group, size_t count,
                                    const struct rk_stored_durability *durability, struct rk_err *err)
{
    link->deadline_ns = durability->deadline_ns;
    link->begun_ns = rk_now_ns();
    for (size_t i = 0; i < count; i++) {
        if (group[i].verdict == RK_STORED_UNKNOWN && !send_one(link, frame, &group[i])) {
            link->broken = true;
            return rk_fail(err, RANKD_OVERLOADED, "no memory for a batch");
        }
    }
    send_wait(frame, link, durability);
    return RANKD_OK;
}

/* Reads the answers. *durable: every batch has its verdict, and the appended ones have the
 * requested durability. */
static enum rankd_status read_group(struct append_frame *frame, struct rk_redis_link *link,
                                    struct rk_stored_append *group, size_t count,
                                    const struct rk_stored_durability *durability, unsigned *replicas,
                                    bool *durable, struct rk_err *err)
{
    const bool waits = link->wait != RK_REDIS_WAIT_NONE;
    bool enough = !waits;
    for (size_t i = 0; i < count; i++) { /* the batches without a verdict are the ones that were sent */
        if (group[i].verdict == RK_STORED_UNKNOWN && read_one(frame, link, &group[i], err) != RANKD_OK)
            return err->status;
    }
    if (waits && read_wait(frame, link, durability, replicas, &enough, err) != RANKD_OK)
        return err->status;
    *durable = enough && count_unknown(group, count) == 0;
    return link->scripts ? RANKD_OK : rk_redis_load_scripts(link, err);
}

/* A master that was paused may answer, with a replica that still follows it, after another one took
 * its place. So with Sentinel a slow answer, or one over a new connection, counts only if the
 * server is still the master. */
static enum rankd_status check_master(struct append_frame *frame, const struct rk_redis_link *link,
                                      uint64_t begun_ns, struct rk_err *err)
{
    struct rk_redis *redis = frame->redis;
    struct rk_redis_address master;
    const uint64_t now = rk_now_ns();
    if (redis->url.sentinel && (now - begun_ns > LONG_NS || now - link->opened_ns < NEW_NS) &&
        rk_redis_find_master(redis, rk_redis_deadline(redis), &master, err) != RANKD_OK)
        return err->status;
    if (link->epoch == atomic_load(&redis->epoch))
        return RANKD_OK;
    return rk_fail(err, RANKD_OVERLOADED, "the store at %s is not the master any more", link->where);
}

/* Tries over one connection, until everything is durable, the connection is lost, or the time is
 * over. `sent`: the group was sent before. */
static enum rankd_status try_on(struct append_frame *frame, struct rk_redis_link *link, bool sent,
                                struct rk_stored_append *group, size_t count,
                                const struct rk_stored_durability *durability, unsigned *replicas,
                                struct rk_err *err)
{
    bool durable = false;
    const uint64_t begun_ns = sent ? link->begun_ns : rk_now_ns();
    for (; !durable; sent = false) {
        if (!sent && send_group(frame, link, group, count, durability, err) != RANKD_OK)
            return err->status;
        if (read_group(frame, link, group, count, durability, replicas, &durable, err) != RANKD_OK)
            return err->status;
        if (!durable && rk_now_ns() >= durability->deadline_ns)
            return rk_fail(err, RANKD_OVERLOADED, "%u of %u replicas acknowledged the batch", *replicas,
                           durability->replicas);
    }
    return check_master(frame, link, begun_ns, err);
}

static void pause_until(uint64_t deadline_ns)
{
    const uint64_t now = rk_now_ns();
    const uint64_t left = deadline_ns > now ? deadline_ns - now : 0;
    const struct timespec pause = {.tv_nsec = left < PAUSE_NS ? (long)left : PAUSE_NS};
    (void)nanosleep(&pause, NULL);
}

static void forget_verdicts(struct rk_stored_append *group, size_t count)
{
    for (size_t i = 0; i < count; i++)
        group[i].verdict = RK_STORED_UNKNOWN;
}

/* The returned value is the connection over which the group was sent. */
struct rk_stored_begun *rk_redis_append_begin(struct rk_bank_store *store, const char *bank, const char *uid,
                                              struct rk_stored_append *group, size_t count, uint64_t oldest,
                                              const struct rk_stored_durability *durability)
{
    struct append_frame frame;
    struct rk_err ignored = {0};
    struct rk_redis_link *link = rk_redis_take_idle(rk_redis_of(store));
    if (!link)
        return NULL;
    begin_frame(&frame, rk_redis_of(store), bank, uid, oldest);
    forget_verdicts(group, count);
    if (send_group(&frame, link, group, count, durability, &ignored) == RANKD_OK)
        rk_redis_flush_some(link);
    return (struct rk_stored_begun *)link;
}

enum rankd_status rk_redis_append(struct rk_bank_store *store, const char *bank, const char *uid,
                                  struct rk_stored_append *group, size_t count, uint64_t oldest,
                                  const struct rk_stored_durability *durability,
                                  struct rk_stored_begun *begun, unsigned *replicas, struct rk_err *err)
{
    struct append_frame frame;
    struct rk_redis_link *link = (struct rk_redis_link *)begun;
    begin_frame(&frame, rk_redis_of(store), bank, uid, oldest);
    *replicas = 0;
    for (;; link = NULL) {
        struct rk_err why = {0};
        const bool sent = link != NULL;
        forget_verdicts(group, count); /* verdicts of another connection may come from another server, which
                                          may have lost the batches */
        if (!link)
            link = rk_redis_take(frame.redis, false, durability->deadline_ns, &why);
        if (link)
            (void)!try_on(&frame, link, sent, group, count, durability, replicas, &why);
        rk_redis_give(frame.redis, link);
        if (why.status == RANKD_OK)
            return RANKD_OK;
        if (why.status != RANKD_OVERLOADED || rk_now_ns() >= durability->deadline_ns)
            return rk_fail(err, why.status, "%s", why.text);
        pause_until(durability->deadline_ns);
    }
}
#endif
