/* SPDX-License-Identifier: Apache-2.0 */
#include <stdbool.h>

#include "http/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BACKLOG = 1024 };

static bool parse_port(const char *text, in_port_t *port)
{
    char *end;
    if (*text < '0' || *text > '9')
        return false;
    unsigned long number = strtoul(text, &end, 10);
    *port = htons((uint16_t)number);
    return *end == '\0' && number <= 65535;
}

enum rankd_status rk_listen_parse(const char *text, struct sockaddr_storage *address, struct rk_err *err)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)address;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)address;
    const char *colon = strrchr(text, ':');
    char host[64];
    memset(address, 0, sizeof *address);
    if (!colon || (size_t)(colon - text) >= sizeof host)
        return rk_fail(err, RANKD_INVALID,
                       "http was \"%.64s\"; it must be ADDRESS:PORT, such as 127.0.0.1:8080, or off", text);
    const bool bracket = *text == '[' && colon > text + 1 && colon[-1] == ']';
    (void)snprintf(host, sizeof host, "%.*s", (int)(colon - text - 2 * bracket), text + bracket);
    const char *name = strcmp(host, "localhost") == 0 ? "127.0.0.1"
                       : strcmp(host, "*") == 0       ? "0.0.0.0"
                                                      : host;
    if (bracket && inet_pton(AF_INET6, name, &v6->sin6_addr) == 1 && parse_port(colon + 1, &v6->sin6_port)) {
        v6->sin6_family = AF_INET6;
        return RANKD_OK;
    }
    if (!bracket && inet_pton(AF_INET, name, &v4->sin_addr) == 1 && parse_port(colon + 1, &v4->sin_port)) {
        v4->sin_family = AF_INET;
        return RANKD_OK;
    }
    return rk_fail(
        err, RANKD_INVALID,
        "http was \"%.64s\"; it must be an address of this machine and a port from 0 to 65535, such as "
        "127.0.0.1:8080 or [::1]:8080",
        text);
}

static void describe(const struct sockaddr_storage *address, bool tls, char url[RK_URL_TEXT])
{
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;
    const bool six = address->ss_family == AF_INET6;
    char host[INET6_ADDRSTRLEN];
    inet_ntop(address->ss_family, six ? (const void *)&v6->sin6_addr : (const void *)&v4->sin_addr, host,
              sizeof host);
    (void)snprintf(url, RK_URL_TEXT, "%s://%s%s%s:%u", tls ? "https" : "http", six ? "[" : "", host,
                   six ? "]" : "", (unsigned)ntohs(six ? v6->sin6_port : v4->sin_port));
}

int rk_listen_open(const char *text, bool tls, char url[RK_URL_TEXT], struct rk_err *err)
{
    struct sockaddr_storage address;
    if (rk_listen_parse(text, &address, err) != RANKD_OK)
        return -1;
    socklen_t length =
        address.ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    const int on = 1;
    int fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0) {
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* connections inherit it */
    }
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, length) != 0 || listen(fd, BACKLOG) != 0) {
        (void)rk_fail(err, RANKD_INTERNAL, "http: could not listen on %.64s: %s", text, strerror(errno));
        if (fd >= 0)
            (void)close(fd);
        return -1;
    }
    length = sizeof address;
    (void)getsockname(fd, (struct sockaddr *)&address, &length);
    describe(&address, tls, url);
    return fd;
}
