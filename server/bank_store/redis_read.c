/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the states of banks. */
#ifdef RK_HIREDIS
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bank_store/redis_internal.h"

enum { FIELDS = 11, BANKS_MOST = 16384 };

static void send_state(struct rk_redis *redis, struct rk_redis_link *link, const char *bank)
{
    char key[RK_REDIS_KEY_BYTES];
    rk_redis_key(redis, bank, "state", key);
    rk_redis_send_words(link, "HMGET", key, "uid", "config", "format", "g", "v", "k", "e", "t", "base",
                        "cleared", "c", NULL);
}

static bool read_number(const struct rk_redis_reply *reply, uint64_t *out)
{
    char *end;
    if (reply->type != RK_REPLY_TEXT || reply->bytes == 0 || reply->bytes > 16 || reply->text[0] < '0' ||
        reply->text[0] > '9')
        return false;
    *out = strtoull(reply->text, &end, 10);
    return *end == '\0' && *out <= UINT64_C(1) << 53;
}

static bool read_text(const struct rk_redis_reply *reply, char *out, size_t size)
{
    if (reply->type != RK_REPLY_TEXT || reply->bytes >= size || strlen(reply->text) != reply->bytes)
        return false;
    memcpy(out, reply->text, reply->bytes + 1);
    return true;
}

/* True: read, or there is no such bank (uid ""). False: not a state that rankd writes. */
static bool read_state(const struct rk_redis_reply *reply, const char *bank, struct rk_stored_state *state)
{
    uint64_t format;
    *state = (struct rk_stored_state){0};
    (void)snprintf(state->name, sizeof state->name, "%s", bank);
    if (reply->type != RK_REPLY_ARRAY || reply->parts != FIELDS)
        return false;
    struct rk_redis_reply **part = reply->part;
    if (part[0]->type == RK_REPLY_NIL)
        return true;
    return read_text(part[0], state->uid, sizeof state->uid) && state->uid[0] &&
           read_text(part[1], state->config, sizeof state->config) && read_number(part[2], &format) &&
           format == 1 && read_number(part[3], &state->generation) &&
           read_number(part[4], &state->place.version) && read_number(part[5], &state->place.sub) &&
           read_number(part[6], &state->end) && read_number(part[7], &state->first) &&
           read_number(part[8], &state->base) && read_number(part[9], &state->cleared) &&
           part[10]->type == RK_REPLY_TEXT &&
           rk_chain_parse(part[10]->text, part[10]->bytes, &state->chain) && state->base <= state->end &&
           state->first >= 1 && state->first <= state->place.version + 1 && state->generation >= 1;
}

static enum rankd_status take_state(struct rk_redis *redis, struct rk_redis_link *link, const char *bank,
                                    struct rk_stored_state *state, struct rk_err *err)
{
    struct rk_redis_reply *reply = rk_redis_next(link, RK_REDIS_SMALL, err);
    if (!reply)
        return err->status;
    if (reply->type == RK_REPLY_ERROR && !rk_redis_error_begins(reply, "WRONGTYPE"))
        (void)rk_redis_refused(redis, link, reply, err);
    else if (!read_state(reply, bank, state))
        (void)rk_fail(err, RANKD_INTERNAL,
                      "the state of bank \"%s\" in the store at %s is not one that this rankd writes", bank,
                      link->where);
    rk_redis_reply_free(reply);
    return err->status;
}

enum rankd_status rk_redis_state(struct rk_bank_store *store, const char *bank, struct rk_stored_state *state,
                                 struct rk_err *err)
{
    struct rk_redis *redis = rk_redis_of(store);
    struct rk_redis_link *link = rk_redis_take(redis, true, rk_redis_deadline(redis), err);
    if (!link)
        return err->status;
    send_state(redis, link, bank);
    (void)!take_state(redis, link, bank, state, err);
    rk_redis_give(redis, link);
    return err->status;
}

/* --- the survey --- */

struct names {
    char (*name)[RK_STORED_NAME_BYTES];
    size_t count;
};

static bool add_name(struct names *names, const char *name, size_t most)
{
    for (size_t i = 0; i < names->count; i++) {
        if (strcmp(names->name[i], name) == 0)
            return true;
    }
    if (names->count == most)
        return false;
    (void)snprintf(names->name[names->count++], RK_STORED_NAME_BYTES, "%s", name);
    return true;
}

/* The names of `known`, and those in the store that can be names. */
static enum rankd_status gather(struct names *names, const char *const *known, size_t count,
                                const struct rk_redis_reply *banks, struct rk_err *err)
{
    const size_t there = banks->parts / 2 < BANKS_MOST ? banks->parts / 2 : BANKS_MOST;
    const size_t most = count + there;
    *names = (struct names){calloc(most + 1, RK_STORED_NAME_BYTES), 0};
    if (!names->name)
        return rk_fail(err, RANKD_OVERLOADED, "no memory for the names of banks");
    for (size_t i = 0; i < count; i++)
        (void)add_name(names, known[i], most);
    for (size_t i = 0; i < there; i++) {
        const struct rk_redis_reply *name = banks->part[2 * i];
        if (name->type == RK_REPLY_TEXT && name->bytes < RK_STORED_NAME_BYTES &&
            strlen(name->text) == name->bytes && name->bytes)
            (void)add_name(names, name->text, most);
    }
    return RANKD_OK;
}

/* Answers to TIME and HGETALL. */
static enum rankd_status read_list(struct rk_redis *redis, struct rk_redis_link *link, char stamp[24],
                                   struct rk_redis_reply **banks, struct rk_err *err)
{
    struct rk_redis_reply *time = rk_redis_next(link, RK_REDIS_SMALL, err);
    *banks = time ? rk_redis_next(link, RK_REDIS_PAGE, err) : NULL;
    const bool good = *banks && (*banks)->type == RK_REPLY_ARRAY && time->type == RK_REPLY_ARRAY &&
                      time->parts == 2 && time->part[0]->type == RK_REPLY_TEXT &&
                      time->part[1]->type == RK_REPLY_TEXT;
    if (good)
        (void)snprintf(stamp, 24, "%llu",
                       strtoull(time->part[0]->text, NULL, 10) * 1000 +
                           strtoull(time->part[1]->text, NULL, 10) / 1000);
    else if (*banks)
        (void)rk_redis_refused(redis, link, *banks, err);
    rk_redis_reply_free(time);
    return err->status;
}

/* Checks whether a bank without a state was deleted. */
static enum rankd_status take_gone(struct rk_redis *redis, struct rk_redis_link *link, const char *bank,
                                   struct rk_stored_survey *survey, struct rk_err *err)
{
    char key[RK_REDIS_KEY_BYTES];
    rk_redis_key(redis, bank, "gone", key);
    rk_redis_send_words(link, "GET", key, NULL);
    struct rk_redis_reply *reply = rk_redis_next(link, RK_REDIS_SMALL, err);
    if (reply && survey->gone_count < sizeof survey->gone / sizeof *survey->gone &&
        read_text(reply, survey->gone[survey->gone_count], sizeof *survey->gone))
        survey->gone_count++;
    rk_redis_reply_free(reply);
    return err->status;
}

static enum rankd_status look(struct rk_redis *redis, struct rk_redis_link *link, const char *who,
                              const char *stamp, const struct names *names, size_t known,
                              struct rk_stored_survey *survey, struct rk_err *err)
{
    char daemons[RK_REDIS_KEY_BYTES];
    (void)snprintf(daemons, sizeof daemons, "%s:daemons", redis->url.prefix);
    rk_redis_send_words(link, "HSET", daemons, who, stamp, NULL);
    for (size_t i = 0; i < names->count; i++)
        send_state(redis, link, names->name[i]);
    rk_redis_reply_free(rk_redis_next(link, RK_REDIS_SMALL, err)); /* a full store may refuse it */
    for (size_t i = 0; i < names->count && err->status == RANKD_OK; i++) {
        struct rk_err why = {0};
        struct rk_stored_state *state = &survey->bank[survey->count];
        if (take_state(redis, link, names->name[i], state, &why) == RANKD_OK)
            survey->count++;
        else if (why.status != RANKD_INTERNAL || link->broken)
            (void)rk_fail(err, why.status, "%s", why.text);
        else if (i < known) /* the value is not a state: it is not the known bank */
            (void)snprintf(survey->bank[survey->count++].uid, sizeof state->uid, "?");
    }
    for (size_t i = 0; i < survey->count && err->status == RANKD_OK; i++) {
        if (!survey->bank[i].uid[0])
            (void)!take_gone(redis, link, survey->bank[i].name, survey, err);
    }
    return err->status;
}

enum rankd_status rk_redis_survey(struct rk_bank_store *store, const char *who, const char *const *known,
                                  size_t count, struct rk_stored_survey *survey, struct rk_err *err)
{
    struct rk_redis *redis = rk_redis_of(store);
    const uint64_t deadline_ns = rk_redis_deadline(redis);
    struct names names = {0};
    struct rk_redis_reply *banks = NULL;
    char stamp[24] = "0", list[RK_REDIS_KEY_BYTES];
    struct rk_redis_address master;
    *survey = (struct rk_stored_survey){0};
    if (rk_redis_find_master(redis, deadline_ns, &master, err) != RANKD_OK) /* the old one may still answer */
        return err->status;
    struct rk_redis_link *link = rk_redis_take(redis, true, deadline_ns, err);
    if (!link)
        return err->status;
    (void)snprintf(list, sizeof list, "%s:banks", redis->url.prefix);
    rk_redis_send_words(link, "TIME", NULL);
    rk_redis_send_words(link, "HGETALL", list, NULL);
    if (read_list(redis, link, stamp, &banks, err) == RANKD_OK &&
        gather(&names, known, count, banks, err) == RANKD_OK) {
        survey->bank = calloc(names.count + 1, sizeof *survey->bank);
        if (survey->bank)
            (void)!look(redis, link, who, stamp, &names, count, survey, err);
        else
            (void)rk_fail(err, RANKD_OVERLOADED, "no memory for the states of banks");
    }
    free(names.name);
    rk_redis_reply_free(banks);
    rk_redis_give(redis, link);
    if (err->status != RANKD_OK) {
        free(survey->bank);
        *survey = (struct rk_stored_survey){0};
    }
    return err->status;
}
#endif
