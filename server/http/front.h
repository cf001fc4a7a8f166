/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP transport: libmicrohttpd with one epoll thread or several, each with connections of its
 * own, that read and write. Workers compute. */
#ifndef RK_HTTP_FRONT_H
#define RK_HTTP_FRONT_H

#include "api/transport.h"

struct rk_http;

/* Listens and serves. With --http=off *http is NULL. `env` is used until the stop. */
enum rankd_status rk_http_start(const struct rk_transport_env *env, struct rk_http **http, struct rk_err *err)
    __attribute__((warn_unused_result));

/* Refuses new requests, closes connections with incomplete ones, waits for running ones (at most
 * --drain-timeout; not at all after a forced shutdown), and closes all connections. NULL is fine here and
 * below. */
void rk_http_stop(struct rk_http *http);

/* Reads the certificate and key again (SIGHUP), for new connections. On failure the old ones stay.
 * RANKD_OK without TLS. */
bool rk_http_has_tls(const struct rk_http *http);
enum rankd_status rk_http_reload(const struct rk_http *http, struct rk_err *err)
    __attribute__((warn_unused_result));

/* Writes the line `listening on http://ADDRESS:PORT`; nothing without HTTP. Waits at most a second
 * for a reader. */
void rk_http_announce(const struct rk_http *http, int fd);

/* Checks the part of the configuration that needs no start, for --check-config. */
enum rankd_status rk_http_check(const struct rk_config *config, struct rk_err *err)
    __attribute__((warn_unused_result));

#endif
