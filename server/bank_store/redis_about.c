/* SPDX-License-Identifier: Apache-2.0 */
/* The report on the server, for operators. */
#ifdef RK_HIREDIS
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bank_store/redis_internal.h"

enum { ALIVE_MS = 3000 };

/* The value of a line "key:value" of INFO; "" where there is none. */
static void take_line(const struct rk_redis_reply *info, const char *key, char *out, size_t size)
{
    const char *at = info->type == RK_REPLY_TEXT ? strstr(info->text, key) : NULL;
    out[0] = '\0';
    if (!at || (at != info->text && at[-1] != '\n'))
        return;
    at += strlen(key);
    (void)snprintf(out, size, "%.*s", (int)strcspn(at, "\r\n"), at);
}

/* The second text of a pair, the form of CONFIG GET. */
static void take_option(const struct rk_redis_reply *pair, char *out, size_t size)
{
    const bool there =
        pair->type == RK_REPLY_ARRAY && pair->parts == 2 && pair->part[1]->type == RK_REPLY_TEXT;
    (void)snprintf(out, size, "%s", there ? pair->part[1]->text : "");
}

/* ["master", offset, replicas] */
static void take_role(const struct rk_redis_reply *role, struct rk_stored_server *about)
{
    if (role->type != RK_REPLY_ARRAY || role->parts < 1 || role->part[0]->type != RK_REPLY_TEXT)
        return;
    (void)snprintf(about->role, sizeof about->role, "%s", role->part[0]->text);
    if (role->parts == 3 && role->part[2]->type == RK_REPLY_ARRAY)
        about->replicas = (unsigned)role->part[2]->parts;
}

static long long time_ms(const struct rk_redis_reply *time)
{
    const bool good = time->type == RK_REPLY_ARRAY && time->parts == 2 &&
                      time->part[0]->type == RK_REPLY_TEXT && time->part[1]->type == RK_REPLY_TEXT;
    return good
               ? strtoll(time->part[0]->text, NULL, 10) * 1000 + strtoll(time->part[1]->text, NULL, 10) / 1000
               : 0;
}

static unsigned count_alive(const struct rk_redis_reply *daemons, long long now_ms)
{
    unsigned alive = 0;
    for (size_t i = 1; daemons->type == RK_REPLY_ARRAY && i < daemons->parts; i += 2) {
        const struct rk_redis_reply *heard = daemons->part[i];
        alive += heard->type == RK_REPLY_TEXT && strtoll(heard->text, NULL, 10) + ALIVE_MS > now_ms;
    }
    return alive;
}

static long long wall_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

enum about_answer { TIME, ROLE, SERVER, MEMORY, ONLY, SYNC, WAITAOF, DAEMONS, ANSWERS };

static void send_questions(struct rk_redis *redis, struct rk_redis_link *link)
{
    char daemons[RK_REDIS_KEY_BYTES];
    (void)snprintf(daemons, sizeof daemons, "%s:daemons", redis->url.prefix);
    rk_redis_send_words(link, "TIME", NULL);
    rk_redis_send_words(link, "ROLE", NULL);
    rk_redis_send_words(link, "INFO", "server", NULL);
    rk_redis_send_words(link, "INFO", "memory", NULL);
    rk_redis_send_words(link, "CONFIG", "GET", "appendonly", NULL);
    rk_redis_send_words(link, "CONFIG", "GET", "appendfsync", NULL);
    rk_redis_send_words(link, "COMMAND", "INFO", "WAITAOF", NULL);
    rk_redis_send_words(link, "HGETALL", daemons, NULL);
}

static void take_all(struct rk_redis_reply *const reply[ANSWERS], long long before_ms, long long after_ms,
                     struct rk_stored_server *about)
{
    const long long there_ms = time_ms(reply[TIME]);
    const struct rk_redis_reply *aof = reply[WAITAOF];
    about->clock_ms = there_ms ? there_ms - before_ms - (after_ms - before_ms) / 2 : 0;
    take_role(reply[ROLE], about);
    take_line(reply[SERVER], "valkey_version:", about->version, sizeof about->version);
    (void)snprintf(about->product, sizeof about->product, "%s", about->version[0] ? "Valkey" : "Redis");
    if (!about->version[0])
        take_line(reply[SERVER], "redis_version:", about->version, sizeof about->version);
    take_line(reply[MEMORY], "maxmemory_policy:", about->policy, sizeof about->policy);
    take_option(reply[ONLY], about->appendonly, sizeof about->appendonly);
    take_option(reply[SYNC], about->appendfsync, sizeof about->appendfsync);
    about->waitaof = aof->type == RK_REPLY_ARRAY && aof->parts == 1 && aof->part[0]->type == RK_REPLY_ARRAY;
    about->daemons = count_alive(reply[DAEMONS], there_ms);
}

enum rankd_status rk_redis_about(struct rk_bank_store *store, struct rk_stored_server *about,
                                 struct rk_err *err)
{
    struct rk_redis *redis = rk_redis_of(store);
    struct rk_redis_reply *reply[ANSWERS] = {NULL};
    *about = (struct rk_stored_server){.product = ""};
    struct rk_redis_link *link = rk_redis_take(redis, true, rk_redis_deadline(redis), err);
    if (!link)
        return err->status;
    send_questions(redis, link);
    const long long before_ms = wall_ms();
    long long after_ms = before_ms;
    for (int i = 0; i < ANSWERS && err->status == RANKD_OK; i++) {
        reply[i] = rk_redis_next(link, RK_REDIS_PAGE, err);
        if (i == TIME)
            after_ms = wall_ms();
    }
    if (err->status == RANKD_OK) {
        (void)snprintf(about->where, sizeof about->where, "%s", link->where);
        take_all(reply, before_ms, after_ms, about);
    }
    for (int i = 0; i < ANSWERS; i++)
        rk_redis_reply_free(reply[i]);
    rk_redis_give(redis, link);
    return err->status;
}
#endif
