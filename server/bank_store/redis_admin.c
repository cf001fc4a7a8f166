/* SPDX-License-Identifier: Apache-2.0 */
/* Operations on banks: each is one script. If the connection is lost meanwhile, the operation may
 * have happened or not, and the caller gets RANKD_OVERLOADED. */
#ifdef RK_HIREDIS
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bank_store/redis_internal.h"
#include "base/clock.h"

enum { SCRIPT_SECONDS = 60, ALIVE_MS = 3000, FORGOTTEN_MS = 3600000, WORDS = 24, TAGS_MOST = 4096 };

/* The keys that most of them take, in their order. */
struct bank_keys {
    char state[RK_REDIS_KEY_BYTES], index[RK_REDIS_KEY_BYTES], ids[RK_REDIS_KEY_BYTES],
        held[RK_REDIS_KEY_BYTES], tags[RK_REDIS_KEY_BYTES], tag_state[RK_REDIS_KEY_BYTES],
        tag_index[RK_REDIS_KEY_BYTES], tag_ids[RK_REDIS_KEY_BYTES], payloads[RK_REDIS_KEY_BYTES];
};

static void fill_keys(const struct rk_redis *redis, const char *bank, const char *tag, struct bank_keys *keys)
{
    char rest[RK_STORED_NAME_BYTES + 16];
    rk_redis_key(redis, bank, "state", keys->state);
    rk_redis_key(redis, bank, "index", keys->index);
    rk_redis_key(redis, bank, "ids", keys->ids);
    rk_redis_key(redis, bank, "held", keys->held);
    rk_redis_key(redis, bank, "tags", keys->tags);
    rk_redis_key(redis, bank, "p:", keys->payloads);
    (void)snprintf(rest, sizeof rest, "c:%s:state", tag);
    rk_redis_key(redis, bank, rest, keys->tag_state);
    (void)snprintf(rest, sizeof rest, "c:%s:index", tag);
    rk_redis_key(redis, bank, rest, keys->tag_index);
    (void)snprintf(rest, sizeof rest, "c:%s:ids", tag);
    rk_redis_key(redis, bank, rest, keys->tag_ids);
}

static void serves_key(const struct rk_redis *redis, const char *bank, const char *uid,
                       char key[RK_REDIS_KEY_BYTES])
{
    char rest[RK_STORED_UID_BYTES + 16];
    (void)snprintf(rest, sizeof rest, "serves:%s", uid);
    rk_redis_key(redis, bank, rest, key);
}

static struct rk_redis_reply *run_once(struct rk_redis_link *link, enum rk_script script, const char *keys,
                                       const char *const *word, struct rk_err *err)
{
    struct rk_redis_piece piece[WORDS] = {
        {"EVALSHA", 7}, {rk_script_text(script)->sha1, 40}, {keys, strlen(keys)}};
    size_t count = 3;
    for (; word[count - 3]; count++)
        piece[count] = (struct rk_redis_piece){word[count - 3], strlen(word[count - 3])};
    rk_redis_send(link, piece, count);
    return rk_redis_next(link, RK_REDIS_SMALL, err);
}

/* A script that passes through a large bank takes longer than a request may, and the store answers
 * nobody meanwhile. Once it answers others, it is not at work on the script any more: its reply is
 * here in a moment, or was lost on the way. */
struct script_wait {
    struct rk_redis *redis;
    uint64_t until_ns;
    bool is_over;
};

static uint64_t prolong_script(void *context)
{
    struct script_wait *wait = context;
    struct rk_err ignored = {0};
    if (wait->is_over || rk_now_ns() >= wait->until_ns)
        return 0;
    struct rk_redis_link *other = rk_redis_take(wait->redis, true, rk_redis_deadline(wait->redis), &ignored);
    wait->is_over = other != NULL;
    rk_redis_give(wait->redis, other);
    const uint64_t next_ns = rk_redis_deadline(wait->redis);
    return next_ns < wait->until_ns ? next_ns : wait->until_ns;
}

/* Runs a script: `keys` says how many of the words are keys. The first word of its answer is the
 * outcome; a missing bank or checkpoint becomes the error. NULL on failure. */
static struct rk_redis_reply *run(struct rk_redis *redis, enum rk_script script, const char *bank,
                                  const char *tag, const char *keys, const char *const *word,
                                  struct rk_err *err)
{
    struct script_wait wait = {redis, rk_now_ns() + SCRIPT_SECONDS * UINT64_C(1000000000), false};
    struct rk_redis_link *link = rk_redis_take(redis, true, rk_redis_deadline(redis), err);
    if (!link)
        return NULL;
    link->deadline_ns = rk_redis_deadline(redis);
    link->prolong_context = &wait;
    if (script != RK_SCRIPT_CREATE) /* the others pass through a bank, and a large one takes a while */
        link->prolong = prolong_script;
    struct rk_redis_reply *reply = run_once(link, script, keys, word, err);
    if (rk_redis_error_begins(reply, "NOSCRIPT")) {
        rk_redis_reply_free(reply);
        reply = rk_redis_load_scripts(link, err) == RANKD_OK ? run_once(link, script, keys, word, err) : NULL;
    }
    link->prolong = NULL;
    const struct rk_redis_reply *first = reply && reply->parts ? reply->part[0] : NULL;
    if (rk_redis_reply_is(first, "gone"))
        (void)rk_fail(err, RANKD_NOT_FOUND, "bank \"%s\" is not in the store any more", bank);
    else if (rk_redis_reply_is(first, "missing"))
        (void)rk_fail(err, RANKD_NOT_FOUND, "bank \"%s\" has no checkpoint \"%s\"", bank, tag);
    else if (rk_redis_reply_is(first, "exists"))
        (void)rk_fail(err, RANKD_CONFLICT,
                      "checkpoint \"%s\" of bank \"%s\" exists; take another tag, or delete it first", tag,
                      bank);
    else if (reply && reply->type != RK_REPLY_ARRAY)
        (void)rk_redis_refused(redis, link, reply, err);
    rk_redis_give(redis, link);
    if (err->status != RANKD_OK) {
        rk_redis_reply_free(reply);
        reply = NULL;
    }
    return reply;
}

static enum rankd_status done(struct rk_redis_reply *reply, const struct rk_err *err)
{
    rk_redis_reply_free(reply);
    return err->status;
}

enum rankd_status rk_redis_create(struct rk_bank_store *store, const char *bank, const char *uid,
                                  const char *config, struct rk_stored_state *state, struct rk_err *err)
{
    struct rk_redis *redis = rk_redis_of(store);
    char key[RK_REDIS_KEY_BYTES], banks[RK_REDIS_KEY_BYTES];
    rk_redis_key(redis, bank, "state", key);
    (void)snprintf(banks, sizeof banks, "%s:banks", redis->url.prefix);
    const char *const word[] = {key, banks, bank, uid, config, NULL};
    if (done(run(redis, RK_SCRIPT_CREATE, bank, "", "2", word, err), err) != RANKD_OK)
        return err->status;
    return rk_redis_state(store, bank, state, err);
}

enum rankd_status rk_redis_remove(struct rk_bank_store *store, const char *bank, const char *uid,
                                  struct rk_err *err)
{
    struct rk_redis *redis = rk_redis_of(store);
    struct bank_keys keys;
    char serves[RK_REDIS_KEY_BYTES], banks[RK_REDIS_KEY_BYTES], gone[RK_REDIS_KEY_BYTES],
        checkpoints[RK_REDIS_KEY_BYTES];
    fill_keys(redis, bank, "", &keys);
    serves_key(redis, bank, uid, serves);
    rk_redis_key(redis, bank, "gone", gone);
    rk_redis_key(redis, bank, "c:", checkpoints);
    (void)snprintf(banks, sizeof banks, "%s:banks", redis->url.prefix);
    const char *const word[] = {keys.state, keys.index, keys.ids, keys.held,     keys.tags,   serves, banks,
                                gone,       bank,       uid,      keys.payloads, checkpoints, NULL};
    return done(run(redis, RK_SCRIPT_REMOVE, bank, "", "8", word, err), err);
}

enum rankd_status rk_redis_clear(struct rk_bank_store *store, const char *bank, const char *uid,
                                 struct rk_stored_state *state, struct rk_err *err)
{
    struct rk_redis *redis = rk_redis_of(store);
    struct bank_keys keys;
    fill_keys(redis, bank, "", &keys);
    const char *const word[] = {keys.state, keys.index, keys.held, uid, keys.payloads, NULL};
    if (done(run(redis, RK_SCRIPT_CLEAR, bank, "", "3", word, err), err) != RANKD_OK)
        return err->status;
    return rk_redis_state(store, bank, state, err);
}

/* --- checkpoints --- */

/* "version generation items bytes created" */
static bool read_about(const struct rk_redis_reply *reply, struct rk_stored_checkpoint *out)
{
    return reply->type == RK_REPLY_TEXT &&
           sscanf(reply->text, "%" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64, &out->version,
                  &out->generation, &out->items, &out->bytes, &out->created) == 5;
}

enum rankd_status rk_redis_checkpoint(struct rk_bank_store *store, const char *bank, const char *uid,
                                      const char *tag, uint64_t created, uint64_t capacity,
                                      struct rk_stored_checkpoint *checkpoint, struct rk_err *err)
{
    struct rk_redis *redis = rk_redis_of(store);
    struct bank_keys keys;
    char when[24], most[24];
    fill_keys(redis, bank, tag, &keys);
    (void)snprintf(when, sizeof when, "%" PRIu64, created);
    (void)snprintf(most, sizeof most, "%" PRIu64, capacity);
    const char *const word[] = {keys.state,     keys.index,     keys.ids,     keys.held, keys.tags,
                                keys.tag_state, keys.tag_index, keys.tag_ids, uid,       tag,
                                when,           most,           NULL};
    struct rk_redis_reply *reply = run(redis, RK_SCRIPT_CHECKPOINT, bank, tag, "8", word, err);
    *checkpoint = (struct rk_stored_checkpoint){0};
    (void)snprintf(checkpoint->tag, sizeof checkpoint->tag, "%s", tag);
    if (reply && (reply->parts != 3 || !read_about(reply->part[1], checkpoint)))
        (void)rk_fail(err, RANKD_INTERNAL, "the store answers a checkpoint with something else");
    return done(reply, err);
}

enum rankd_status rk_redis_restore(struct rk_bank_store *store, const char *bank, const char *uid,
                                   const char *tag, struct rk_stored_state *state, struct rk_err *err)
{
    struct rk_redis *redis = rk_redis_of(store);
    struct bank_keys keys;
    fill_keys(redis, bank, tag, &keys);
    const char *const word[] = {
        keys.state,     keys.index,   keys.ids, keys.held, keys.tags,     keys.tag_state,
        keys.tag_index, keys.tag_ids, uid,      tag,       keys.payloads, NULL};
    if (done(run(redis, RK_SCRIPT_RESTORE, bank, tag, "8", word, err), err) != RANKD_OK)
        return err->status;
    return rk_redis_state(store, bank, state, err);
}

enum rankd_status rk_redis_forget(struct rk_bank_store *store, const char *bank, const char *uid,
                                  const char *tag, struct rk_err *err)
{
    struct rk_redis *redis = rk_redis_of(store);
    struct bank_keys keys;
    fill_keys(redis, bank, tag, &keys);
    const char *const word[] = {
        keys.state,     keys.index,   keys.ids, keys.held, keys.tags,     keys.tag_state,
        keys.tag_index, keys.tag_ids, uid,      tag,       keys.payloads, NULL};
    return done(run(redis, RK_SCRIPT_FORGET, bank, tag, "8", word, err), err);
}

/* The reply to HGETALL or the like. NULL on failure. */
static struct rk_redis_reply *read_hash(struct rk_redis *redis, struct rk_redis_link *link,
                                        struct rk_err *err)
{
    struct rk_redis_reply *reply = rk_redis_next(link, RK_REDIS_PAGE, err);
    if (!reply || (reply->type == RK_REPLY_ARRAY && reply->parts % 2 == 0))
        return reply;
    (void)rk_redis_refused(redis, link, reply, err);
    rk_redis_reply_free(reply);
    return NULL;
}

enum rankd_status rk_redis_checkpoints(struct rk_bank_store *store, const char *bank, const char *uid,
                                       struct rk_stored_checkpoint **checkpoint, size_t *count,
                                       struct rk_err *err)
{
    struct rk_redis *redis = rk_redis_of(store);
    struct bank_keys keys;
    (void)uid;
    *checkpoint = NULL;
    *count = 0;
    fill_keys(redis, bank, "", &keys);
    struct rk_redis_link *link = rk_redis_take(redis, true, rk_redis_deadline(redis), err);
    if (!link)
        return err->status;
    rk_redis_send_words(link, "HGETALL", keys.tags, NULL);
    struct rk_redis_reply *tags = read_hash(redis, link, err);
    if (tags && !(*checkpoint = calloc(tags->parts / 2 + 1, sizeof **checkpoint)))
        (void)rk_fail(err, RANKD_OVERLOADED, "no memory for the list of checkpoints");
    for (size_t i = 0; tags && *checkpoint && i < tags->parts / 2 && *count < TAGS_MOST; i++) {
        struct rk_stored_checkpoint *one = &(*checkpoint)[*count];
        const struct rk_redis_reply *tag = tags->part[2 * i];
        if (tag->type != RK_REPLY_TEXT || tag->bytes >= sizeof one->tag ||
            !read_about(tags->part[2 * i + 1], one))
            continue;
        memcpy(one->tag, tag->text, tag->bytes + 1);
        ++*count;
    }
    rk_redis_reply_free(tags);
    rk_redis_give(redis, link);
    return err->status;
}

/* --- generations that daemons serve --- */

enum rankd_status rk_redis_serves(struct rk_bank_store *store, const char *bank, const char *uid,
                                  const char *who, uint64_t generation, struct rk_err *err)
{
    struct rk_redis *redis = rk_redis_of(store);
    struct rk_redis_link *link = rk_redis_take(redis, true, rk_redis_deadline(redis), err);
    char key[RK_REDIS_KEY_BYTES], number[24];
    if (!link)
        return err->status;
    serves_key(redis, bank, uid, key);
    (void)snprintf(number, sizeof number, "%" PRIu64, generation);
    rk_redis_send_words(link, "HSET", key, who, number, NULL);
    rk_redis_send_words(link, "EXPIRE", key, "86400", NULL); /* a report after a deletion must not stay */
    for (int i = 0; i < 2 && err->status == RANKD_OK; i++) {
        struct rk_redis_reply *reply = rk_redis_next(link, RK_REDIS_SMALL, err);
        if (reply && reply->type == RK_REPLY_ERROR)
            (void)rk_redis_refused(redis, link, reply, err);
        rk_redis_reply_free(reply);
    }
    rk_redis_give(redis, link);
    return err->status;
}

static uint64_t number_of(const struct rk_redis_reply *reply)
{
    return reply->type == RK_REPLY_TEXT ? strtoull(reply->text, NULL, 10) : 0;
}

static unsigned count_late(const struct rk_redis_reply *daemons, const struct rk_redis_reply *serves,
                           uint64_t now_ms, uint64_t generation)
{
    unsigned late = 0;
    for (size_t d = 0; d + 1 < daemons->parts; d += 2) {
        bool there = false;
        if (daemons->part[d]->type != RK_REPLY_TEXT || number_of(daemons->part[d + 1]) + ALIVE_MS < now_ms)
            continue;
        for (size_t s = 0; s + 1 < serves->parts && !there; s += 2)
            there = rk_redis_reply_is(serves->part[s], daemons->part[d]->text) &&
                    number_of(serves->part[s + 1]) >= generation;
        late += !there;
    }
    return late;
}

/* Removes daemons that have not reported for an hour. */
static void forget_dead(struct rk_redis_link *link, const char *key, const struct rk_redis_reply *daemons,
                        uint64_t now_ms)
{
    struct rk_err ignored = {0};
    for (size_t d = 0; d + 1 < daemons->parts; d += 2) {
        if (daemons->part[d]->type != RK_REPLY_TEXT ||
            number_of(daemons->part[d + 1]) + FORGOTTEN_MS >= now_ms)
            continue;
        rk_redis_send_words(link, "HDEL", key, daemons->part[d]->text, NULL);
        rk_redis_reply_free(rk_redis_next(link, RK_REDIS_SMALL, &ignored));
    }
}

enum rankd_status rk_redis_count_behind(struct rk_bank_store *store, const char *bank, const char *uid,
                                        uint64_t generation, unsigned *daemons, struct rk_err *err)
{
    struct rk_redis *redis = rk_redis_of(store);
    struct rk_redis_link *link = rk_redis_take(redis, true, rk_redis_deadline(redis), err);
    char key[RK_REDIS_KEY_BYTES], all[RK_REDIS_KEY_BYTES];
    *daemons = 0;
    if (!link)
        return err->status;
    serves_key(redis, bank, uid, key);
    (void)snprintf(all, sizeof all, "%s:daemons", redis->url.prefix);
    rk_redis_send_words(link, "TIME", NULL);
    rk_redis_send_words(link, "HGETALL", all, NULL);
    rk_redis_send_words(link, "HGETALL", key, NULL);
    struct rk_redis_reply *time = read_hash(redis, link, err);
    struct rk_redis_reply *alive = time ? read_hash(redis, link, err) : NULL;
    struct rk_redis_reply *serves = alive ? read_hash(redis, link, err) : NULL;
    if (serves && time->parts == 2) {
        const uint64_t now_ms = number_of(time->part[0]) * 1000 + number_of(time->part[1]) / 1000;
        *daemons = count_late(alive, serves, now_ms, generation);
        forget_dead(link, all, alive, now_ms);
    }
    rk_redis_reply_free(time);
    rk_redis_reply_free(alive);
    rk_redis_reply_free(serves);
    rk_redis_give(redis, link);
    return err->status;
}
#endif
