/* SPDX-License-Identifier: Apache-2.0 */
#include "http/connection.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>

#include "base/clock.h"
#include "base/threads.h"
#include "http/places.h"

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

/* The client has ended its side and all that it sent was read, but no request came of it. libmicrohttpd
 * 0.9.75 does not see this where the end arrives together with data: it waits for another edge of epoll that
 * never comes. */
static bool cut_short(const struct rk_conn *conn)
{
    int unread = 0;
    return info_of(conn->fd).tcpi_state == CLOSE_WAIT && ioctl(conn->fd, FIONREAD, &unread) == 0 &&
           unread == 0;
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

/* It counts no more; its socket is still open. */
static void leave(struct rk_conns *conns, struct rk_conn *conn)
{
    if (conn->phase != RK_PHASE_ENDED)
        conns->open--;
    conn->phase = RK_PHASE_ENDED;
}

void rk_conn_end(struct rk_conns *conns, struct rk_conn *conn)
{
    (void)shutdown(conn->fd, SHUT_RDWR); /* libmicrohttpd sees it and cleans up */
    leave(conns, conn);
}

static void hang_up(struct rk_conns *conns, struct rk_conn *conn)
{
    rk_conn_end(conns, conn);
    rk_metric_add(conns->metrics, RK_METRIC_rejected, RK_REASON_TIMEOUT, 0, 1);
}

bool rk_conn_has_begun(struct rk_conn *conn)
{
    if (received(conn->fd) == conn->received_bytes)
        return false;
    conn->phase = RK_PHASE_HEADER;
    conn->since_ns = rk_now_ns();
    return true;
}

static void look_at(struct rk_conns *conns, struct rk_conn *conn, uint64_t now)
{
    const struct rk_config *config = conns->config;
    const bool reads = conn->phase <= RK_PHASE_BODY;
    /* Seen twice: once could be in between libmicrohttpd's reading and its telling us. */
    const bool cut = reads && cut_short(conn);
    if (cut && conn->cut) {
        rk_conn_end(conns, conn);
        return;
    }
    conn->cut = cut;
    const uint64_t age_ms = now > conn->since_ns ? (now - conn->since_ns) / 1000000 : 0;
    switch (conn->phase) {
    case RK_PHASE_IDLE:
        if (!rk_conn_has_begun(conn) && age_ms > config->idle_timeout)
            rk_conn_end(conns, conn);
        break;
    case RK_PHASE_HEADER:
    case RK_PHASE_BODY: {
        const bool header = conn->phase == RK_PHASE_HEADER;
        const uint64_t limit_ms = header ? config->header_timeout : config->body_timeout;
        if (age_ms <= limit_ms)
            break;
        leave(conns, conn);
        rk_metric_add(conns->metrics, RK_METRIC_rejected, RK_REASON_TIMEOUT, 0, 1);
        rk_guard_late(&conn->guard, header ? "header" : "body", limit_ms);
        break;
    }
    case RK_PHASE_WRITE: /* the same patience for a reader as for a writer */
        if (age_ms > config->body_timeout)
            hang_up(conns, conn);
        break;
    case RK_PHASE_RUN:
    case RK_PHASE_ENDED:
        break;
    }
}

/* An eighth of the shortest deadline, but neither busily nor sleepily. */
static uint64_t period_ms(const struct rk_config *config)
{
    uint64_t shortest =
        config->header_timeout < config->body_timeout ? config->header_timeout : config->body_timeout;
    shortest /= 8;
    return shortest < 20 ? 20 : shortest > 1000 ? 1000 : shortest;
}

static void *watch(void *argument)
{
    struct rk_conns *conns = argument;
    const uint64_t period = period_ms(conns->config);
    pthread_mutex_lock(&conns->lock);
    while (!conns->stop) {
        if (!conns->first) {
            pthread_cond_wait(&conns->wake, &conns->lock);
            continue;
        }
        const uint64_t now = rk_now_ns();
        for (struct rk_conn *conn = conns->first; conn; conn = conn->next)
            look_at(conns, conn, now);
        rk_places_relieve(conns);
        const uint64_t until = now + period * 1000000;
        const struct timespec at = {(time_t)(until / 1000000000u), (long)(until % 1000000000u)};
        (void)pthread_cond_clockwait(&conns->wake, &conns->lock, CLOCK_MONOTONIC, &at);
    }
    pthread_mutex_unlock(&conns->lock);
    return NULL;
}

bool rk_conns_start(struct rk_conns *conns, const struct rk_config *config, struct rk_metrics *metrics,
                    bool plain, size_t limit)
{
    memset(conns, 0, sizeof *conns);
    conns->config = config;
    conns->metrics = metrics;
    conns->plain = plain;
    conns->limit = limit;
    pthread_mutex_init(&conns->lock, NULL);
    pthread_cond_init(&conns->wake, NULL);
    return rk_thread_start(&conns->thread, "connections", watch, conns);
}

void rk_conns_stop(struct rk_conns *conns)
{
    pthread_mutex_lock(&conns->lock);
    conns->stop = true;
    pthread_cond_signal(&conns->wake);
    pthread_mutex_unlock(&conns->lock);
    pthread_join(conns->thread, NULL);
    pthread_cond_destroy(&conns->wake);
    pthread_mutex_destroy(&conns->lock);
}

struct rk_conn *rk_conn_new(struct rk_conns *conns, int fd)
{
    struct rk_conn *conn = calloc(1, sizeof *conn);
    if (!conn)
        return NULL;
    if (!rk_guard_start(&conn->guard, fd, conns->config->header_bytes)) {
        free(conn);
        return NULL;
    }
    conn->fd = fd;
    conn->since_ns = rk_now_ns();
    pthread_mutex_lock(&conns->lock);
    if (!conns->first)
        pthread_cond_signal(&conns->wake);
    conn->next = conns->first;
    if (conn->next)
        conn->next->link = &conn->next;
    conn->link = &conns->first;
    conns->first = conn;
    conns->open++;
    rk_places_enter(conns, conn);
    pthread_mutex_unlock(&conns->lock);
    rk_metric_add(conns->metrics, RK_METRIC_connections, 0, 0, 1);
    return conn;
}

void rk_conn_free(struct rk_conns *conns, struct rk_conn *conn)
{
    if (!conn)
        return;
    pthread_mutex_lock(&conns->lock);
    conns->open -= conn->phase != RK_PHASE_ENDED;
    *conn->link = conn->next;
    if (conn->next)
        conn->next->link = conn->link;
    pthread_mutex_unlock(&conns->lock);
    rk_metric_add(conns->metrics, RK_METRIC_connections, 0, 0, -1);
    rk_guard_end(&conn->guard);
    free(conn);
}

void rk_conn_phase(struct rk_conns *conns, struct rk_conn *conn, enum rk_phase phase)
{
    const uint64_t now = rk_now_ns();
    const uint64_t bytes = phase == RK_PHASE_IDLE ? received(conn->fd) : 0;
    pthread_mutex_lock(&conns->lock);
    if (conn->phase != RK_PHASE_ENDED) {
        conn->phase = phase;
        conn->since_ns = now;
        conn->received_bytes = bytes;
    }
    pthread_mutex_unlock(&conns->lock);
}
