/* SPDX-License-Identifier: Apache-2.0 */
#include "bank_store/redis_url.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum rankd_status wrong(const char *text, const char *why, struct rk_err *err)
{
    return rk_fail(err, RANKD_INVALID,
                   "bank-store is \"%.200s\"%s; it must be redis://[USER@]HOST[:PORT][/PREFIX] or "
                   "redis+sentinel://HOST[:PORT],…/NAME[/PREFIX]",
                   text, why);
}

static bool is_port(const char *text, size_t length)
{
    char number[6];
    if (length < 1 || length > 5 || strspn(text, "0123456789") < length)
        return false;
    (void)snprintf(number, sizeof number, "%.*s", (int)length, text);
    const long value = strtol(number, NULL, 10);
    return value >= 1 && value <= 65535;
}

bool rk_redis_address_parse(const char *text, size_t length, const char *port, struct rk_redis_address *out)
{
    size_t host = length;
    const char *first = text;
    if (length > 1 && text[0] == '[') { /* an IPv6 address */
        const char *close = memchr(text, ']', length);
        if (!close)
            return false;
        first = text + 1;
        host = (size_t)(close - text) + 1;
    } else {
        const char *colon = memchr(text, ':', length);
        host = colon ? (size_t)(colon - text) : length;
    }
    const size_t name = first == text ? host : host - 2;
    if (name == 0 || name >= sizeof out->host || (host < length && text[host] != ':'))
        return false;
    memcpy(out->host, first, name);
    out->host[name] = '\0';
    if (host == length) {
        (void)snprintf(out->port, sizeof out->port, "%s", port);
        return true;
    }
    if (!is_port(text + host + 1, length - host - 1))
        return false;
    (void)snprintf(out->port, sizeof out->port, "%.*s", (int)(length - host - 1), text + host + 1);
    return true;
}

/* The next part up to '/' or the end, of letters that need no quoting; false if it is anything
 * else. */
static bool take_word(const char **at, char word[RK_REDIS_WORD_BYTES])
{
    const size_t length = strcspn(*at, "/");
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-";
    if (length == 0 || length >= RK_REDIS_WORD_BYTES || strspn(*at, plain) < length)
        return false;
    memcpy(word, *at, length);
    word[length] = '\0';
    *at += length;
    if (**at == '/')
        (*at)++;
    return true;
}

static bool take_hosts(const char **at, struct rk_redis_url *url)
{
    const char *port = url->sentinel ? "26379" : "6379";
    for (;;) {
        const size_t length = strcspn(*at, ",/");
        if (url->count == RK_REDIS_HOSTS || !rk_redis_address_parse(*at, length, port, &url->at[url->count]))
            return false;
        url->count++;
        *at += length;
        if (**at != ',')
            break;
        (*at)++;
    }
    if (**at == '/')
        (*at)++;
    return url->sentinel || url->count == 1;
}

static enum rankd_status take_user(const char *text, const char **at, struct rk_redis_url *url,
                                   struct rk_err *err)
{
    const char *sign = strchr(*at, '@');
    const size_t length = sign ? (size_t)(sign - *at) : 0;
    if (!sign || memchr(*at, '/', length))
        return RANKD_OK;
    if (memchr(*at, ':', length))
        return rk_fail(err, RANKD_INVALID,
                       "bank-store has a password in it, which would be seen in the list of processes and "
                       "in --print-config; write it into a file and name that in --bank-store-password-file");
    if (length == 0 || length >= sizeof url->user)
        return wrong(text, " and its user's name has the wrong length", err);
    memcpy(url->user, *at, length);
    *at = sign + 1;
    return RANKD_OK;
}

enum rankd_status rk_redis_url_parse(const char *text, struct rk_redis_url *url, struct rk_err *err)
{
    static const char plain[] = "redis://", secure[] = "rediss://", sentinel[] = "redis+sentinel://";
    *url = (struct rk_redis_url){.prefix = "rankd"};
    const char *at = text;
    if (strncmp(text, secure, sizeof secure - 1) == 0)
        return rk_fail(err, RANKD_UNSUPPORTED,
                       "bank-store begins with rediss://, and this rankd has no TLS towards a store (hiredis "
                       "0.14 has none); use redis:// over a tunnel or a private network");
    url->sentinel = strncmp(text, sentinel, sizeof sentinel - 1) == 0;
    if (url->sentinel)
        at += sizeof sentinel - 1;
    else if (strncmp(text, plain, sizeof plain - 1) == 0)
        at += sizeof plain - 1;
    else
        return wrong(text, "", err);
    if (take_user(text, &at, url, err) != RANKD_OK)
        return err->status;
    if (!take_hosts(&at, url))
        return wrong(text, " and its address is none", err);
    if (url->sentinel && !take_word(&at, url->master))
        return wrong(text, " and does not say how the Sentinels call the master", err);
    if (*at && !take_word(&at, url->prefix))
        return wrong(text, " and its prefix has other characters than letters, digits and \"._:-\"", err);
    return *at ? wrong(text, " and has more after the prefix", err) : RANKD_OK;
}
