/* SPDX-License-Identifier: Apache-2.0 */
#include "health.h"

#include <errno.h>
#include <gnutls/gnutls.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum { PATIENCE_S = 5, ANSWER = 64 };

/* "0.0.0.0:80" and "[::]:80" are addresses to listen on; the request goes to loopback. */
static bool split(const char *address, char *host, size_t size, const char **port)
{
    const char *colon = strrchr(address, ':');
    size_t length = colon ? (size_t)(colon - address) : 0;
    if (!length || length >= size)
        return false;
    const bool bracket = address[0] == '[' && address[length - 1] == ']';
    length -= bracket ? 2 : 0;
    memcpy(host, address + bracket, length);
    host[length] = 0;
    if (strcmp(host, "0.0.0.0") == 0)
        (void)snprintf(host, size, "127.0.0.1");
    if (strcmp(host, "::") == 0)
        (void)snprintf(host, size, "::1");
    *port = colon + 1;
    return true;
}

static int connect_tcp(const char *address, struct rk_err *err)
{
    char host[RK_CONFIG_TEXT];
    const char *port;
    struct addrinfo *found = NULL;
    const struct addrinfo want = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    const struct timeval patience = {.tv_sec = PATIENCE_S};
    if (!split(address, host, sizeof host, &port) || getaddrinfo(host, port, &want, &found) != 0) {
        rk_fail(err, RANKD_INVALID, "http is '%s'; it must be ADDRESS:PORT", address);
        return -1;
    }
    int fd = -1;
    for (const struct addrinfo *a = found; a && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
            continue;
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
        if (connect(fd, a->ai_addr, a->ai_addrlen) == 0)
            continue;
        rk_fail(err, RANKD_OVERLOADED, "no daemon answers at %s: %s", address, strerror(errno));
        close(fd);
        fd = -1;
    }
    freeaddrinfo(found);
    if (fd < 0)
        rk_fail(err, RANKD_OVERLOADED, "no daemon answers at %s", address);
    return fd;
}

static ssize_t ask_plain(int fd, const char *request, char *answer)
{
    if (send(fd, request, strlen(request), MSG_NOSIGNAL) != (ssize_t)strlen(request))
        return -1;
    return recv(fd, answer, ANSWER - 1, MSG_WAITALL);
}

static ssize_t ask_tls(int fd, const char *request, char *answer)
{
    gnutls_session_t session = NULL;
    gnutls_certificate_credentials_t credentials = NULL;
    ssize_t got = -1;
    if (gnutls_certificate_allocate_credentials(&credentials) == 0 &&
        gnutls_init(&session, GNUTLS_CLIENT) == 0 && gnutls_set_default_priority(session) == 0 &&
        gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, credentials) == 0) {
        gnutls_transport_set_int(session, fd);
        gnutls_handshake_set_timeout(session, PATIENCE_S * 1000);
        int shaken;
        do
            shaken = gnutls_handshake(session);
        while (shaken < 0 && !gnutls_error_is_fatal(shaken));
        if (shaken == 0 && gnutls_record_send(session, request, strlen(request)) == (ssize_t)strlen(request))
            got = gnutls_record_recv(session, answer, ANSWER - 1);
    }
    if (session)
        gnutls_deinit(session);
    if (credentials)
        gnutls_certificate_free_credentials(credentials);
    return got;
}

static enum rankd_status ask(const struct rk_config *config, struct rk_err *err)
{
    char request[RK_CONFIG_TEXT + 96], answer[ANSWER] = "";
    const int fd = connect_tcp(config->http, err);
    if (fd < 0)
        return err->status;
    (void)snprintf(request, sizeof request,
                   "GET /v2/health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    const ssize_t got = config->tls_cert[0] ? ask_tls(fd, request, answer) : ask_plain(fd, request, answer);
    close(fd);
    if (got <= 0)
        return rk_fail(err, RANKD_DEADLINE, "%s does not answer", config->http);
    answer[got] = 0;
    if (strncmp(answer, "HTTP/1.", 7) == 0 && strncmp(answer + 8, " 200", 4) == 0)
        return RANKD_OK;
    return rk_fail(err, RANKD_OVERLOADED, "%s is not ready: %.*s", config->http, (int)strcspn(answer, "\r\n"),
                   answer);
}

static enum rankd_status knock(const char *path, struct rk_err *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        return rk_fail(err, RANKD_INVALID, "socket is '%s', which is too long", path);
    memcpy(address.sun_path, path, strlen(path));
    const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    const bool reached = fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof address) == 0;
    const int why = errno;
    if (fd >= 0)
        close(fd);
    return reached ? RANKD_OK
                   : rk_fail(err, RANKD_OVERLOADED, "no daemon answers at %s: %s", path, strerror(why));
}

enum rankd_status rk_health(const struct rk_config *config, struct rk_err *err)
{
    if (strcmp(config->http, "off") != 0)
        return ask(config, err);
    if (strcmp(config->socket, "off") != 0)
        return knock(config->socket, err);
    return rk_fail(err, RANKD_INVALID, "http and socket are both off: there is no daemon to ask");
}
