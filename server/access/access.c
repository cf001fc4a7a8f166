/* SPDX-License-Identifier: Apache-2.0 */
#include "access/access.h"

#include <arpa/inet.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/uids.h"
#include "config/file_read.h"

enum { DIGEST = 32, FILE_BYTES = 1 << 22 };

struct token {
    unsigned char digest[DIGEST];
    struct rk_principal who;
};

struct rk_access {
    char path[RK_CONFIG_TEXT], hosts[RK_CONFIG_TEXT];
    pthread_rwlock_t lock; /* protects the next two fields */
    struct token *tokens;
    size_t count;
};

static bool digest_of(const char *text, size_t bytes, unsigned char digest[DIGEST])
{
    return gnutls_hash_fast(GNUTLS_DIG_SHA256, text, bytes, digest) == 0;
}

/* 0 if a scope is unknown. */
static unsigned parse_scopes(const char *text)
{
    static const struct {
        const char *name;
        unsigned scope;
    } known[] = {{"infer", RK_SCOPE_INFER},
                 {"banks", RK_SCOPE_BANKS},
                 {"metrics", RK_SCOPE_METRICS},
                 {"all", RK_SCOPE_ALL}};
    unsigned scopes = 0;
    for (size_t length; *text; text += length + (text[length] == ',')) {
        unsigned one = 0;
        length = strcspn(text, ",");
        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
            if (strlen(known[i].name) == length && strncmp(known[i].name, text, length) == 0)
                one = known[i].scope;
        if (!one)
            return 0;
        scopes |= one;
    }
    return scopes;
}

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool parse_digest(const char *text, unsigned char digest[DIGEST])
{
    for (size_t i = 0; i < DIGEST; i++) {
        const int high = hex(text[2 * i]), low = high < 0 ? -1 : hex(text[2 * i + 1]);
        if (low < 0)
            return false;
        digest[i] = (unsigned char)(high * 16 + low);
    }
    return text[2 * DIGEST] == 0;
}

/* One line, in three words. No sentence repeats the token. */
static enum rankd_status parse_line(struct token *token, const char *path, unsigned number, char *line,
                                    struct rk_err *err)
{
    static const char blank[] = " \t\r\n";
    char *place;
    const char *name = strtok_r(line, blank, &place), *scopes = strtok_r(NULL, blank, &place);
    const char *secret = strtok_r(NULL, blank, &place);
    if (!secret || strtok_r(NULL, blank, &place))
        return rk_fail(err, RANKD_INVALID, "%s:%u is not of the form NAME SCOPES TOKEN", path, number);
    if (strlen(name) >= sizeof token->who.name)
        return rk_fail(err, RANKD_INVALID, "%s:%u: a name has at most %zu bytes", path, number,
                       sizeof token->who.name - 1);
    memcpy(token->who.name, name, strlen(name) + 1);
    token->who.scopes = parse_scopes(scopes);
    if (!token->who.scopes)
        return rk_fail(err, RANKD_INVALID,
                       "%s:%u: the scopes are '%.64s'; they may be infer, banks, metrics, or all", path,
                       number, scopes);
    const size_t length = strlen(secret);
    if (strncmp(secret, "sha256:", 7) == 0)
        return parse_digest(secret + 7, token->digest)
                   ? RANKD_OK
                   : rk_fail(err, RANKD_INVALID, "%s:%u: after sha256: come 64 digits of 0-9 a-f", path,
                             number);
    if (length < RK_TOKEN_MIN || length > RK_TOKEN_MAX)
        return rk_fail(err, RANKD_INVALID, "%s:%u: the token has %zu bytes; it may have %d to %d", path,
                       number, length, RK_TOKEN_MIN, RK_TOKEN_MAX);
    return digest_of(secret, length, token->digest) ? RANKD_OK
                                                    : rk_fail(err, RANKD_INTERNAL, "SHA-256 failed");
}

/* Two entries for one token would give it the rights of one of them. */
static bool is_new(const struct token *tokens, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (gnutls_memcmp(tokens[i].digest, tokens[count].digest, DIGEST) == 0)
            return false;
    return true;
}

static enum rankd_status read_lines(FILE *file, const char *path, struct token *tokens, size_t *count,
                                    struct rk_err *err)
{
    char line[1024];
    for (unsigned number = 1; fgets(line, sizeof line, file); number++) {
        if (!strchr(line, '\n') && !feof(file))
            return rk_fail(err, RANKD_INVALID, "%s:%u has more than %zu bytes", path, number,
                           sizeof line - 2);
        if (line[0] == '#' || !line[strspn(line, " \t\r\n")])
            continue;
        if (*count == RK_TOKENS_MAX)
            return rk_fail(err, RANKD_INVALID, "%s holds more than %d tokens", path, RK_TOKENS_MAX);
        if (parse_line(&tokens[*count], path, number, line, err) != RANKD_OK)
            return err->status;
        if (!is_new(tokens, *count))
            return rk_fail(err, RANKD_INVALID, "%s:%u has the token of an earlier line; it may stand once",
                           path, number);
        ++*count;
    }
    explicit_bzero(line, sizeof line);
    /* An empty file must not mean "no tokens needed". */
    return *count ? RANKD_OK : rk_fail(err, RANKD_INVALID, "tokens is '%s', which holds no token", path);
}

enum rankd_status rk_access_reload(struct rk_access *access, struct rk_err *err)
{
    if (!access->path[0])
        return RANKD_OK;
    size_t count = 0, bytes = 0;
    char *text = rk_file_read_new("tokens", access->path, FILE_BYTES, &bytes, err);
    if (!text)
        return err->status;
    struct token *fresh = calloc(RK_TOKENS_MAX, sizeof *fresh);
    FILE *file = fmemopen(text, bytes + !bytes, "r"); /* fmemopen() takes no empty buffer: the NUL then */
    enum rankd_status status = RANKD_OK;
    if (!fresh || !file)
        status = rk_fail(err, RANKD_INTERNAL, "no memory");
    else
        status = read_lines(file, access->path, fresh, &count, err);
    if (file)
        (void)fclose(file);
    rk_file_forget(text, bytes);
    if (status != RANKD_OK) {
        free(fresh);
        return status;
    }
    pthread_rwlock_wrlock(&access->lock);
    struct token *old = access->tokens;
    access->tokens = fresh;
    access->count = count;
    pthread_rwlock_unlock(&access->lock);
    free(old);
    return RANKD_OK;
}

/* The host of "host", "host:port", "[v6]:port" or "[v6]", without port and brackets. False if it
 * does not fit. */
static bool host_of(const char *text, char *host, size_t size)
{
    const bool bracket = *text == '[';
    text += bracket;
    const size_t length = strcspn(text, bracket ? "]" : ":");
    if (length >= size || (bracket && text[length] != ']'))
        return false;
    memcpy(host, text, length);
    host[length] = 0;
    return true;
}

bool rk_access_is_loopback(const char *address)
{
    char host[RK_CONFIG_TEXT];
    struct in_addr v4;
    struct in6_addr v6;
    if (!host_of(address, host, sizeof host))
        return false;
    if (strcasecmp(host, "localhost") == 0)
        return true;
    if (inet_pton(AF_INET, host, &v4) == 1)
        return ntohl(v4.s_addr) >> 24 == 127;
    return inet_pton(AF_INET6, host, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

static enum rankd_status check_reach(const struct rk_config *config, struct rk_err *err)
{
    const bool tls = config->tls_cert[0] && config->tls_key[0];
    if (!config->tls_cert[0] != !config->tls_key[0])
        return rk_fail(err, RANKD_INVALID, "tls-%s is empty; it must be given where tls-%s is",
                       tls                   ? ""
                       : config->tls_cert[0] ? "key"
                                             : "cert",
                       config->tls_cert[0] ? "cert" : "key");
    if (strcmp(config->http, "off") == 0 && strcmp(config->socket, "off") == 0)
        return rk_fail(
            err, RANKD_INVALID,
            "http and socket are both off, so nobody could reach rankd; give http an address and a "
            "port, or socket a path");
    if (config->insecure || strcmp(config->http, "off") == 0 || rk_access_is_loopback(config->http) ||
        (tls && config->tokens[0]))
        return RANKD_OK;
    return rk_fail(
        err, RANKD_INVALID,
        "http is '%s', which others can reach; that needs tokens, tls-cert and tls-key, or insecure, or an "
        "address on loopback",
        config->http);
}

/* Names as the Host header has them, without a port: any other entry would match no request,
 * silently. */
static bool are_hosts(const char *list)
{
    while (*list) {
        list += strspn(list, " ");
        const size_t length =
            strspn(list, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._");
        list += length;
        list += strspn(list, " ");
        const bool more = *list == ',';
        if (length == 0 || (*list && !more) || (more && !list[1]))
            return false;
        list += more;
    }
    return true;
}

static enum rankd_status check_lists(const struct rk_config *config, struct rk_err *err)
{
    if (!rk_uids_are(config->ring_allow_uid))
        return rk_fail(
            err, RANKD_INVALID,
            "ring-allow-uid is '%s'; it must be uids, numbers, separated by commas, such as 1000,1001",
            config->ring_allow_uid);
    if (!are_hosts(config->allow_hosts))
        return rk_fail(err, RANKD_INVALID,
                       "allow-hosts is '%s'; it must be names without a port, separated by commas, such as "
                       "rankd,gpu-3.lan",
                       config->allow_hosts);
    return RANKD_OK;
}

struct rk_access *rk_access_new(const struct rk_config *config, struct rk_err *err)
{
    if (check_reach(config, err) != RANKD_OK || check_lists(config, err) != RANKD_OK)
        return NULL;
    struct rk_access *access = calloc(1, sizeof *access);
    if (!access || pthread_rwlock_init(&access->lock, NULL) != 0) {
        free(access);
        rk_fail(err, RANKD_INTERNAL, "no memory");
        return NULL;
    }
    memcpy(access->path, config->tokens, sizeof access->path);
    memcpy(access->hosts, config->allow_hosts, sizeof access->hosts);
    if (rk_access_reload(access, err) == RANKD_OK)
        return access;
    rk_access_free(access);
    return NULL;
}

void rk_access_free(struct rk_access *access)
{
    if (!access)
        return;
    pthread_rwlock_destroy(&access->lock);
    free(access->tokens);
    free(access);
}

bool rk_access_has_tokens(const struct rk_access *access)
{
    return access->path[0] != 0;
}

enum rankd_status rk_access_identify(struct rk_access *access, const char *authorization,
                                     struct rk_principal *who, struct rk_err *err)
{
    *who =
        (struct rk_principal){.scopes = rk_access_has_tokens(access) ? 0 : RK_SCOPE_ALL, .name = "anonymous"};
    if (!rk_access_has_tokens(access))
        return RANKD_OK;
    if (!authorization)
        return rk_fail(err, RANKD_UNAUTHORIZED,
                       "there is no Authorization header; it must be 'Bearer' and a token");
    if (strncasecmp(authorization, "Bearer ", 7) != 0)
        return rk_fail(err, RANKD_UNAUTHORIZED, "the Authorization header is not 'Bearer' and a token");
    const char *token = authorization + 7 + strspn(authorization + 7, " ");
    unsigned char digest[DIGEST];
    const size_t length = strlen(token);
    if (length > RK_TOKEN_MAX || !digest_of(token, length, digest))
        return rk_fail(err, RANKD_UNAUTHORIZED, "the token is not one of this daemon's");
    bool found = false;
    pthread_rwlock_rdlock(&access->lock);
    /* Every entry is compared in constant time, so that the duration reveals nothing about a
     * token. */
    for (size_t i = 0; i < access->count; i++) {
        if (gnutls_memcmp(access->tokens[i].digest, digest, DIGEST) == 0) {
            *who = access->tokens[i].who;
            found = true;
        }
    }
    pthread_rwlock_unlock(&access->lock);
    return found ? RANKD_OK : rk_fail(err, RANKD_UNAUTHORIZED, "the token is not one of this daemon's");
}

bool rk_access_holds(struct rk_access *access, const char *name, unsigned scopes)
{
    bool holds = false;
    pthread_rwlock_rdlock(&access->lock);
    for (size_t i = 0; i < access->count && !holds; i++)
        holds =
            (scopes & ~access->tokens[i].who.scopes) == 0 && strcmp(access->tokens[i].who.name, name) == 0;
    pthread_rwlock_unlock(&access->lock);
    return holds;
}

enum rankd_status rk_access_permit(const struct rk_principal *who, unsigned scopes, struct rk_err *err)
{
    const unsigned missing = scopes & ~who->scopes;
    if (!missing)
        return RANKD_OK;
    const char *name = missing & RK_SCOPE_INFER ? "infer" : missing & RK_SCOPE_BANKS ? "banks" : "metrics";
    return rk_fail(err, RANKD_FORBIDDEN, "the token '%s' lacks the scope '%s', which this needs", who->name,
                   name);
}

static bool is_listed(const char *list, const char *host)
{
    const size_t length = strlen(host);
    for (size_t part; *list; list += part + (list[part] == ',')) {
        list += strspn(list, " ");
        part = strcspn(list, ", ");
        if (part == length && part && strncasecmp(list, host, part) == 0)
            return true;
        part += strspn(list + part, " ");
    }
    return false;
}

static bool is_known(const struct rk_access *access, const char *header)
{
    char host[256];
    unsigned char address[sizeof(struct in6_addr)];
    if (!host_of(header, host, sizeof host))
        return false;
    return strcasecmp(host, "localhost") == 0 || inet_pton(AF_INET, host, address) == 1 ||
           inet_pton(AF_INET6, host, address) == 1 || is_listed(access->hosts, host);
}

enum rankd_status rk_access_page(const struct rk_access *access, const char *host, const char *origin,
                                 struct rk_err *err)
{
    if (host && !rk_access_has_tokens(access) && !is_known(access, host))
        return rk_fail(err, RANKD_FORBIDDEN,
                       "the Host is '%.100s'; it may be an address, localhost, or one of allow-hosts", host);
    if (!origin)
        return RANKD_OK;
    const char *site = strncmp(origin, "http://", 7) == 0    ? origin + 7
                       : strncmp(origin, "https://", 8) == 0 ? origin + 8
                                                             : "";
    if (host && strcasecmp(site, host) == 0)
        return RANKD_OK;
    return rk_fail(err, RANKD_FORBIDDEN,
                   "the Origin is '%.100s'; only pages of this daemon itself may send requests", origin);
}
