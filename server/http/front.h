/* The HTTP transport: libmicrohttpd with one epoll thread that reads and writes, and the work queue behind
 * it. */
#ifndef RK_HTTP_FRONT_H
#define RK_HTTP_FRONT_H

#include "api/transport.h"

struct rk_http;

/* Listens and serves. With --http=off *http is NULL. `env` is used until the stop. */
enum rankd_status rk_http_start(const struct rk_transport_env *env, struct rk_http **http, struct rk_err *err)
    __attribute__((warn_unused_result));

/* Takes no more requests, hangs up on those that were not sent whole, waits for those that run (at most
 * --drain-timeout, not at all once shutdown is forced), hangs up. NULL is fine here and below. */
void rk_http_stop(struct rk_http *http);

/* Reads the certificate and key again (SIGHUP), for connections to come. On failure the old ones stay.
 * RANKD_OK without TLS. */
bool rk_http_has_tls(const struct rk_http *http);
enum rankd_status rk_http_reload(const struct rk_http *http, struct rk_err *err)
    __attribute__((warn_unused_result));

/* Writes `listening on http://ADDRESS:PORT`, a line; nothing without HTTP. Waits a second at most for
 * somebody who reads it. */
void rk_http_announce(const struct rk_http *http, int fd);

/* What of the configuration can be checked without starting: for --check-config. */
enum rankd_status rk_http_check(const struct rk_config *config, struct rk_err *err)
    __attribute__((warn_unused_result));

#endif
