/* The HTTP transport: libmicrohttpd with one epoll thread that reads and writes. Workers compute. */
#ifndef RK_HTTP_FRONT_H
#define RK_HTTP_FRONT_H

#include "app.h"

/* A part of the daemon (app.h): listens and serves. With --http=off app->http stays NULL and RANKD_OK is
 * returned. */
enum rankd_status rk_http_start(struct rk_app *app, struct rk_err *err) __attribute__((warn_unused_result));

/* Refuses new requests, closes connections with incomplete ones, waits for running ones (at most
 * --drain-timeout; not at all after a forced shutdown), and closes all connections. */
void rk_http_stop(struct rk_app *app);

/* Reads the certificate and key again (SIGHUP), for new connections. On failure the old ones stay.
 * RANKD_OK without TLS. */
bool rk_http_has_tls(const struct rk_app *app);
enum rankd_status rk_http_reload(struct rk_app *app, struct rk_err *err) __attribute__((warn_unused_result));

/* Writes `listening on http://ADDRESS:PORT`, a line; nothing without HTTP. Waits at most a second for a
 * reader. */
void rk_http_announce(const struct rk_app *app, int fd);

/* "http://127.0.0.1:8080", "" without HTTP. */
const char *rk_http_url(const struct rk_app *app);

/* Checks the part of the configuration that needs no start, for --check-config. */
enum rankd_status rk_http_check(const struct rk_config *config, struct rk_err *err)
    __attribute__((warn_unused_result));

#endif
