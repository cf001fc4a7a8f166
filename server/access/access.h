/* SPDX-License-Identifier: Apache-2.0 */
/* Access control: bearer tokens with scopes, and the web pages and host names that may call the
 * daemon.
 *
 * The file of tokens has one token a line, `NAME SCOPES TOKEN`, where SCOPES are `infer`, `banks`
 * and `metrics` with commas between, or `all`, and TOKEN is the token itself or `sha256:` and the
 * digest of it in hex, so that the file need not hold the secret. A line that begins with # is a
 * comment. */
#ifndef RK_ACCESS_H
#define RK_ACCESS_H

#include <stdbool.h>

#include "access/principal.h"
#include "base/err.h"
#include "config/config.h"

enum { RK_TOKEN_MIN = 16, RK_TOKEN_MAX = 512, RK_TOKENS_MAX = 1024 };

struct rk_access;

/* Reads config->tokens (if there is one) and checks that the addresses to listen on are safe:
 * beyond loopback only with tokens and TLS, or --insecure. --allow-shm-regions and the like ask
 * rk_access_has_tokens(). Keeps nothing of `config`. NULL and *err on failure. */
struct rk_access *rk_access_new(const struct rk_config *config, struct rk_err *err);
void rk_access_free(struct rk_access *access);

/* Reads the file again (SIGHUP). On failure the tokens stay as they were. Any thread. */
enum rankd_status rk_access_reload(struct rk_access *access, struct rk_err *err)
    __attribute__((warn_unused_result));

bool rk_access_has_tokens(const struct rk_access *access);

/* The principal of this Authorization header (NULL: none was sent). Without configured tokens
 * everybody has all scopes and is called "anonymous". RANKD_UNAUTHORIZED if the header is missing,
 * of another form, or its token is unknown: the principal then has no scopes, and may still use
 * routes that need none. Takes as long for a wrong token as for a right one. */
enum rankd_status rk_access_identify(struct rk_access *access, const char *authorization,
                                     struct rk_principal *who, struct rk_err *err);

/* True if a token of this name has all of `scopes` now. */
bool rk_access_holds(struct rk_access *access, const char *name, unsigned scopes);

/* RANKD_OK if `who` has all of `scopes`, else RANKD_FORBIDDEN with what is missing. */
enum rankd_status rk_access_permit(const struct rk_principal *who, unsigned scopes, struct rk_err *err)
    __attribute__((warn_unused_result));

/* A web page in a browser of this machine must not reach a daemon on loopback. RANKD_FORBIDDEN for
 * an Origin other than the Host itself, and, as long as requests need no token, for a Host that is
 * neither an address nor `localhost` nor one of config->allow_hosts (a page can have its own name
 * resolve to 127.0.0.1). NULL = no such header. */
enum rankd_status rk_access_page(const struct rk_access *access, const char *host, const char *origin,
                                 struct rk_err *err) __attribute__((warn_unused_result));

/* True if the "address:port" of --http is reached from this machine alone. */
bool rk_access_is_loopback(const char *address);

#endif
