/* SPDX-License-Identifier: Apache-2.0 */
/* The listening socket. */
#ifndef RK_HTTP_LISTEN_H
#define RK_HTTP_LISTEN_H

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>

#include "base/err.h"

#define RK_URL_TEXT 128

/* Reads "127.0.0.1:8080", "localhost:0", "[::1]:8080", "*:8080". RANKD_INVALID with a sentence
 * otherwise. */
enum rankd_status rk_listen_parse(const char *text, struct sockaddr_storage *address, struct rk_err *err)
    __attribute__((warn_unused_result));

/* Binds and listens, without Nagle's algorithm for accepted connections. Returns the socket, or -1
 * with *err set. `url` is the address for clients; for port 0 it has the port that the system
 * chose. */
int rk_listen_open(const char *text, bool tls, char url[RK_URL_TEXT], struct rk_err *err);

#endif
