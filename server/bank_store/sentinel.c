/* SPDX-License-Identifier: Apache-2.0 */
#ifdef RK_HIREDIS
#include <stdio.h>
#include <string.h>

#include "bank_store/redis_internal.h"
#include "base/clock.h"

/* One silent Sentinel must not use up the time of the others. */
static uint64_t share_of(uint64_t deadline_ns, size_t left)
{
    const uint64_t now = rk_now_ns();
    return deadline_ns > now ? now + (deadline_ns - now) / left : deadline_ns;
}

static bool read_address(const struct rk_redis_reply *reply, struct rk_redis_address *master)
{
    if (!reply || reply->type != RK_REPLY_ARRAY || reply->parts != 2 ||
        reply->part[0]->type != RK_REPLY_TEXT || reply->part[1]->type != RK_REPLY_TEXT ||
        reply->part[0]->bytes >= sizeof master->host || reply->part[1]->bytes >= sizeof master->port)
        return false;
    (void)snprintf(master->host, sizeof master->host, "%s", reply->part[0]->text);
    (void)snprintf(master->port, sizeof master->port, "%s", reply->part[1]->text);
    return true;
}

/* Sentinels may need another password or none: the store's password is sent if they ask for one. */
static struct rk_redis_reply *ask(struct rk_redis_link *link, const struct rk_redis_url *url,
                                  const char *password, struct rk_err *err)
{
    struct rk_redis_reply *reply = NULL;
    for (int attempt = 0; attempt < 2; attempt++) {
        rk_redis_reply_free(reply);
        rk_redis_send_words(link, "SENTINEL", "get-master-addr-by-name", url->master, NULL);
        reply = rk_redis_next(link, RK_REDIS_SMALL, err);
        if (!rk_redis_error_begins(reply, "NOAUTH") || !password[0] || attempt)
            break;
        rk_redis_send_words(link, "AUTH", password, NULL);
        rk_redis_reply_free(rk_redis_next(link, RK_REDIS_SMALL, err));
    }
    return reply;
}

enum rankd_status rk_redis_ask_sentinel(const struct rk_redis_url *url, const char *password,
                                        uint64_t deadline_ns, struct rk_redis_address *master,
                                        struct rk_err *err)
{
    struct rk_err why = {0};
    for (size_t i = 0; i < url->count; i++) {
        struct rk_err own = {0};
        struct rk_redis_link *link =
            rk_redis_link_open(&url->at[i], share_of(deadline_ns, url->count - i), &own);
        struct rk_redis_reply *reply = link ? ask(link, url, password, &own) : NULL;
        const bool found = read_address(reply, master);
        if (reply && !found)
            (void)rk_fail(&own, RANKD_OVERLOADED, "the Sentinel at %s:%s knows no master \"%s\"",
                          url->at[i].host, url->at[i].port, url->master);
        rk_redis_reply_free(reply);
        rk_redis_link_close(link);
        if (found)
            return RANKD_OK;
        why = own;
    }
    return rk_fail(err, RANKD_OVERLOADED, "no Sentinel says where the store is: %.300s", why.text);
}
#endif
