/* SPDX-License-Identifier: Apache-2.0 */
/* Connections to the store that are ready for use: finding the master, the password, the scripts,
 * and the check that the server is fit. */
#ifdef RK_HIREDIS
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bank_store/redis_internal.h"
#include "base/clock.h"
#include "config/file_read.h"

enum { PASSWORD_BYTES = 4096 };

uint64_t rk_redis_deadline(const struct rk_redis *redis)
{
    return rk_now_ns() + redis->timeout_ns;
}

void rk_redis_key(const struct rk_redis *redis, const char *bank, const char *rest,
                  char key[RK_REDIS_KEY_BYTES])
{
    (void)snprintf(key, RK_REDIS_KEY_BYTES, "%s:{%s}:%s", redis->url.prefix, bank, rest);
}

/* --- errors of the server --- */

/* Whether it is the error of a server that is not, or no longer, the master. */
static bool is_elsewhere(const struct rk_redis_reply *reply)
{
    static const char *const words[] = {"READONLY", "LOADING",   "MASTERDOWN", "NOREPLICAS",
                                        "BUSY",     "UNBLOCKED", "MISCONF"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (rk_redis_error_begins(reply, words[i]))
            return true;
    }
    return false;
}

enum rankd_status rk_redis_refused(struct rk_redis *redis, struct rk_redis_link *link,
                                   const struct rk_redis_reply *reply, struct rk_err *err)
{
    const bool said = reply->type == RK_REPLY_ERROR;
    link->broken = true;
    if (said && is_elsewhere(reply)) {
        rk_redis_moved(redis);
        return rk_fail(err, RANKD_OVERLOADED, "the store at %s takes nothing now: %.200s", link->where,
                       reply->text);
    }
    if (rk_redis_error_begins(reply, "OOM"))
        return rk_fail(err, RANKD_NO_SPACE, "the store at %s has no memory left (maxmemory)", link->where);
    return rk_fail(err, said ? RANKD_OVERLOADED : RANKD_INTERNAL, "the store at %s answered %.200s",
                   link->where, said ? reply->text : "something of another form than it must have");
}

/* --- getting ready --- */

/* The first line of the file; "" where there is none. The caller clears it with rk_file_forget().
 * NULL: the file can't be read. */
static char *read_password(const struct rk_redis *redis, struct rk_err *err)
{
    size_t bytes;
    if (!redis->password_file[0])
        return strdup("");
    char *text =
        rk_file_read_new("bank-store-password-file", redis->password_file, PASSWORD_BYTES, &bytes, err);
    if (text)
        text[strcspn(text, "\r\n")] = '\0';
    return text;
}

/* Reads a reply that must not be an error, except for missing rights if `may` is set. */
static struct rk_redis_reply *expect(struct rk_redis *redis, struct rk_redis_link *link, bool may,
                                     struct rk_err *err)
{
    struct rk_redis_reply *reply = rk_redis_next(link, RK_REDIS_SMALL, err);
    if (!reply || reply->type != RK_REPLY_ERROR || (may && !is_elsewhere(reply)))
        return reply;
    (void)rk_redis_refused(redis, link, reply, err);
    rk_redis_reply_free(reply);
    return NULL;
}

static enum rankd_status authenticate(struct rk_redis *redis, struct rk_redis_link *link, struct rk_err *err)
{
    struct rk_err why = {0};
    char *password = read_password(redis, &why);
    if (!password)
        return rk_fail(err, RANKD_OVERLOADED, "%s", why.text);
    if (!password[0]) {
        free(password);
        return RANKD_OK;
    }
    if (redis->url.user[0])
        rk_redis_send_words(link, "AUTH", redis->url.user, password, NULL);
    else
        rk_redis_send_words(link, "AUTH", password, NULL);
    rk_file_forget(password, strlen(password));
    struct rk_redis_reply *reply = rk_redis_next(link, RK_REDIS_SMALL, err);
    const bool wrong = reply && reply->type == RK_REPLY_ERROR;
    rk_redis_reply_free(reply);
    if (!wrong)
        return err->status;
    link->broken = true; /* the server's sentence is not repeated: it may contain the password */
    return rk_fail(err, RANKD_OVERLOADED, "the store at %s refuses the password (--bank-store-password-file)",
                   link->where);
}

enum rankd_status rk_redis_load_scripts(struct rk_redis_link *link, struct rk_err *err)
{
    for (int i = 0; i < RK_SCRIPTS; i++) {
        const struct rk_script_text *script = rk_script_text((enum rk_script)i);
        const struct rk_redis_piece piece[] = {{"SCRIPT", 6}, {"LOAD", 4}, {script->text, script->bytes}};
        rk_redis_send(link, piece, 3);
    }
    for (int i = 0; i < RK_SCRIPTS; i++) {
        struct rk_redis_reply *reply = rk_redis_next(link, RK_REDIS_SMALL, err);
        const bool same = rk_redis_reply_is(reply, rk_script_text((enum rk_script)i)->sha1);
        if (reply && !same) {
            link->broken = true;
            (void)rk_fail(err, RANKD_OVERLOADED, "the store at %s does not take scripts: %.200s", link->where,
                          reply->text ? reply->text : "");
        }
        rk_redis_reply_free(reply);
        if (!same)
            return err->status;
    }
    link->scripts = true;
    return RANKD_OK;
}

/* The server must be a master and must not evict keys. Servers that do not report this are
 * accepted. */
static enum rankd_status check_fit(struct rk_redis *redis, struct rk_redis_link *link, struct rk_err *err)
{
    rk_redis_send_words(link, "ROLE", NULL);
    rk_redis_send_words(link, "INFO", "memory", NULL);
    struct rk_redis_reply *role = expect(redis, link, true, err);
    struct rk_redis_reply *info = role ? expect(redis, link, true, err) : NULL;
    if (info && role->type == RK_REPLY_ARRAY && role->parts && !rk_redis_reply_is(role->part[0], "master")) {
        rk_redis_moved(redis);
        link->broken = true;
        (void)rk_fail(err, RANKD_OVERLOADED, "the store at %s is a replica and takes no appends",
                      link->where);
    }
    const char *policy = info && info->type == RK_REPLY_TEXT ? strstr(info->text, "maxmemory_policy:") : NULL;
    policy = policy ? policy + strlen("maxmemory_policy:") : "noeviction";
    if (err->status == RANKD_OK && strncmp(policy, "noeviction", 10) != 0) {
        link->broken = true;
        (void)rk_fail(err, RANKD_UNSUPPORTED,
                      "the maxmemory-policy of the store at %s is %.*s; it must be noeviction, because a "
                      "store that evicts keys loses batches",
                      link->where, (int)strcspn(policy, "\r\n"), policy);
    }
    rk_redis_reply_free(role);
    rk_redis_reply_free(info);
    return err->status;
}

enum rankd_status rk_redis_find_master(struct rk_redis *redis, uint64_t deadline_ns,
                                       struct rk_redis_address *master, struct rk_err *err)
{
    if (!redis->url.sentinel) {
        *master = redis->url.at[0];
        return RANKD_OK;
    }
    struct rk_err ignored = {0};
    char *password = read_password(redis, &ignored);
    enum rankd_status status =
        rk_redis_ask_sentinel(&redis->url, password ? password : "", deadline_ns, master, err);
    rk_file_forget(password, password ? strlen(password) : 0);
    if (status != RANKD_OK)
        return status;
    pthread_mutex_lock(&redis->lock);
    const bool moved = redis->master.host[0] && (strcmp(redis->master.host, master->host) != 0 ||
                                                 strcmp(redis->master.port, master->port) != 0);
    redis->master = *master;
    pthread_mutex_unlock(&redis->lock);
    if (moved)
        rk_redis_moved(redis);
    return RANKD_OK;
}

static struct rk_redis_link *connect_master(struct rk_redis *redis, uint64_t deadline_ns, struct rk_err *err)
{
    struct rk_redis_address master;
    if (rk_redis_find_master(redis, deadline_ns, &master, err) != RANKD_OK)
        return NULL;
    const unsigned epoch = atomic_load(&redis->epoch);
    struct rk_redis_link *link = rk_redis_link_open(&master, deadline_ns, err);
    if (!link)
        return NULL;
    link->epoch = epoch;
    if (authenticate(redis, link, err) == RANKD_OK && check_fit(redis, link, err) == RANKD_OK &&
        rk_redis_load_scripts(link, err) == RANKD_OK)
        return link;
    rk_redis_link_close(link);
    return NULL;
}

struct rk_redis_link *rk_redis_connect_tail(struct rk_redis *redis, struct rk_err *err)
{
    if (!redis->replica.host[0])
        return connect_master(redis, rk_redis_deadline(redis), err);
    struct rk_redis_link *link = rk_redis_link_open(&redis->replica, rk_redis_deadline(redis), err);
    if (link && authenticate(redis, link, err) != RANKD_OK) {
        rk_redis_link_close(link);
        link = NULL;
    }
    return link;
}

/* --- taking and giving --- */

void rk_redis_moved(struct rk_redis *redis)
{
    atomic_fetch_add(&redis->epoch, 1);
}

struct rk_redis_link *rk_redis_take_idle(struct rk_redis *redis)
{
    struct rk_redis_link *link = NULL;
    pthread_mutex_lock(&redis->lock);
    while (redis->idle_count && !link) {
        link = redis->idle[--redis->idle_count];
        if (link->epoch != atomic_load(&redis->epoch)) {
            rk_redis_link_close(link);
            link = NULL;
        }
    }
    pthread_mutex_unlock(&redis->lock);
    return link;
}

/* Waits a quarter of the time at most, so that there is time for another connection. */
static bool still_answers(struct rk_redis_link *link, uint64_t deadline_ns)
{
    struct rk_err ignored = {0};
    const uint64_t now = rk_now_ns();
    link->deadline_ns = deadline_ns > now ? now + (deadline_ns - now) / 4 : deadline_ns;
    rk_redis_send_words(link, "PING", NULL);
    struct rk_redis_reply *reply = rk_redis_next(link, RK_REDIS_SMALL, &ignored);
    const bool pong = rk_redis_reply_is(reply, "PONG");
    rk_redis_reply_free(reply);
    link->deadline_ns = deadline_ns;
    return pong;
}

struct rk_redis_link *rk_redis_take(struct rk_redis *redis, bool fresh, uint64_t deadline_ns,
                                    struct rk_err *err)
{
    struct rk_redis_link *link;
    while ((link = rk_redis_take_idle(redis))) {
        link->deadline_ns = deadline_ns;
        if (!fresh || still_answers(link, deadline_ns))
            return link;
        rk_redis_link_close(link);
    }
    return connect_master(redis, deadline_ns, err);
}

void rk_redis_give(struct rk_redis *redis, struct rk_redis_link *link)
{
    if (!link)
        return;
    pthread_mutex_lock(&redis->lock);
    const bool keep = !link->broken && link->unanswered == 0 && redis->idle_count < RK_REDIS_IDLE &&
                      link->epoch == atomic_load(&redis->epoch);
    if (keep)
        redis->idle[redis->idle_count++] = link;
    pthread_mutex_unlock(&redis->lock);
    if (!keep)
        rk_redis_link_close(link);
}

/* --- is it fit --- */

static bool has_option(const struct rk_redis_reply *reply, const char *value)
{
    return reply && reply->type == RK_REPLY_ARRAY && reply->parts == 2 &&
           rk_redis_reply_is(reply->part[1], value);
}

/* Redis 7.2 and later wait for their own disk on request; earlier versions must be configured to
 * wait for it always. */
static enum rankd_status find_disk(struct rk_redis *redis, struct rk_redis_link *link, struct rk_err *err)
{
    rk_redis_send_words(link, "COMMAND", "INFO", "WAITAOF", NULL);
    rk_redis_send_words(link, "CONFIG", "GET", "appendonly", NULL);
    rk_redis_send_words(link, "CONFIG", "GET", "appendfsync", NULL);
    struct rk_redis_reply *known = expect(redis, link, true, err);
    struct rk_redis_reply *only = known ? expect(redis, link, true, err) : NULL;
    struct rk_redis_reply *sync = only ? expect(redis, link, true, err) : NULL;
    if (sync) {
        const bool waits =
            known->type == RK_REPLY_ARRAY && known->parts == 1 && known->part[0]->type == RK_REPLY_ARRAY;
        const bool kept = has_option(only, "yes");
        atomic_store(&redis->disk, kept && waits                        ? RK_REDIS_DISK_WAITAOF
                                   : kept && has_option(sync, "always") ? RK_REDIS_DISK_ALWAYS
                                                                        : RK_REDIS_DISK_NONE);
    }
    rk_redis_reply_free(known);
    rk_redis_reply_free(only);
    rk_redis_reply_free(sync);
    return err->status;
}

enum rankd_status rk_redis_check(struct rk_bank_store *store, bool on_disk, struct rk_err *err)
{
    struct rk_redis *redis = rk_redis_of(store);
    struct rk_redis_link *link = rk_redis_take(redis, true, rk_redis_deadline(redis), err);
    if (link && on_disk && find_disk(redis, link, err) == RANKD_OK &&
        atomic_load(&redis->disk) == RK_REDIS_DISK_NONE)
        (void)rk_fail(
            err, RANKD_UNSUPPORTED,
            "durability \"always\" needs a store that waits for its disk: one that has WAITAOF with "
            "appendonly yes, or appendonly yes and appendfsync always; that at %s has neither",
            link->where);
    rk_redis_give(redis, link);
    return err->status;
}
#endif
