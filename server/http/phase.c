/* SPDX-License-Identifier: Apache-2.0 */
/* A connection's phases: how each is entered, and what the kernel tells of it. */
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "http/connection.h"

/* TCP_CLOSE_WAIT of <netinet/tcp.h>, which does not go together with <linux/tcp.h>, which alone has
 * tcpi_bytes_received. */
enum { CLOSE_WAIT = 8 };

static struct tcp_info info_of(int fd)
{
    struct tcp_info info;
    socklen_t size = sizeof info;
    memset(&info, 0, sizeof info);
    (void)getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size);
    return info;
}

static uint64_t received(int fd)
{
    return info_of(fd).tcpi_bytes_received;
}

bool rk_conn_cut_short(const struct rk_conn *conn)
{
    int unread = 0;
    return info_of(conn->fd).tcpi_state == CLOSE_WAIT && ioctl(conn->fd, FIONREAD, &unread) == 0 &&
           unread == 0;
}

void rk_conn_leave(struct rk_conns *conns, struct rk_conn *conn)
{
    if (conn->phase != RK_PHASE_ENDED)
        conns->open--;
    conn->phase = RK_PHASE_ENDED;
}

void rk_conn_end(struct rk_conns *conns, struct rk_conn *conn)
{
    (void)shutdown(conn->fd, SHUT_RDWR); /* libmicrohttpd sees it and cleans up */
    rk_conn_leave(conns, conn);
}

bool rk_conn_has_begun(struct rk_conn *conn)
{
    if (received(conn->fd) == conn->received_bytes)
        return false;
    conn->phase = RK_PHASE_HEADER;
    conn->since_ns = rk_now_ns();
    return true;
}

void rk_conn_say(const struct rk_conn *conn, const char *status, const char *sentence)
{
    char body[160], answer[448];
    int length = snprintf(body, sizeof body, "{\"error\":\"%s\"}", sentence);
    length = snprintf(answer, sizeof answer,
                      "HTTP/1.1 %s\r\nConnection: close\r\nContent-Type: application/json\r\n"
                      "%sContent-Length: %d\r\n\r\n%s",
                      status, *status == '5' ? "Retry-After: 1\r\n" : "", length, body);
    (void)send(conn->fd, answer, (size_t)length, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void rk_conn_phase(struct rk_conns *conns, struct rk_conn *conn, enum rk_phase phase)
{
    const uint64_t now = rk_now_ns();
    uint64_t bytes = 0;
    if (phase == RK_PHASE_IDLE)
        bytes = conns->plain ? conn->guard.received_bytes : received(conn->fd);
    pthread_mutex_lock(&conns->lock);
    if (conn->phase != RK_PHASE_ENDED) {
        conn->phase = phase;
        conn->since_ns = now;
        conn->received_bytes = bytes;
    }
    pthread_mutex_unlock(&conns->lock);
}
