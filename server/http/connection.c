/* SPDX-License-Identifier: Apache-2.0 */
#include "http/connection.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/threads.h"
#include "http/places.h"

static void hang_up(struct rk_conns *conns, struct rk_conn *conn)
{
    rk_conn_end(conns, conn);
    rk_metric_add(conns->metrics, RK_METRIC_rejected, RK_REASON_TIMEOUT, 0, 1);
}

static void look_at(struct rk_conns *conns, struct rk_conn *conn, uint64_t now)
{
    const struct rk_config *config = conns->config;
    const bool reads = conn->phase <= RK_PHASE_BODY;
    /* Two checks, because one could fall between libmicrohttpd's read and its callback. */
    const bool cut = reads && rk_conn_cut_short(conn);
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
        rk_conn_leave(conns, conn);
        rk_metric_add(conns->metrics, RK_METRIC_rejected, RK_REASON_TIMEOUT, 0, 1);
        rk_guard_late(&conn->guard, header ? "header" : "body", limit_ms);
        break;
    }
    case RK_PHASE_WRITE: /* the same limit for a reader as for a writer */
        if (age_ms > config->body_timeout)
            hang_up(conns, conn);
        break;
    case RK_PHASE_RUN:
    case RK_PHASE_ENDED:
        break;
    }
}

/* An eighth of the shortest deadline, within bounds. */
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
    rk_repeat_free(&conn->repeat);
    free(conn);
}
