/* SPDX-License-Identifier: Apache-2.0 */
#include "http/places.h"

#include "base/descriptors.h"

enum { RELIEVED = 8, LOOKS = 4 };

static unsigned bit(enum rk_phase phase)
{
    return 1u << phase;
}

/* The one that has been in one of the phases for longest; NULL if there is none. */
static struct rk_conn *longest_in(const struct rk_conns *conns, unsigned phases, bool spare,
                                  const struct rk_conn *but)
{
    struct rk_conn *oldest = NULL;
    for (struct rk_conn *conn = conns->first; conn; conn = conn->next) {
        if (conn != but && (phases & bit(conn->phase)) && (!spare || conn->spare) &&
            (!oldest || conn->since_ns < oldest->since_ns))
            oldest = conn;
    }
    return oldest;
}

/* One whose next request is on its way already is not idle. */
static bool end_longest_idle(struct rk_conns *conns, const struct rk_conn *but)
{
    for (int look = 0; look < LOOKS; look++) {
        struct rk_conn *idle = longest_in(conns, bit(RK_PHASE_IDLE), false, but);
        if (!idle)
            return false;
        if (!rk_conn_has_begun(idle)) {
            rk_conn_end(conns, idle);
            return true;
        }
    }
    return false;
}

void rk_places_enter(struct rk_conns *conns, struct rk_conn *conn)
{
    if (conns->open <= conns->limit || end_longest_idle(conns, conn))
        return;
    conn->spare = true;
    if (conns->open < conns->limit + RK_SPARE_PLACES)
        return;
    struct rk_conn *oldest = longest_in(
        conns, bit(RK_PHASE_IDLE) | bit(RK_PHASE_HEADER) | bit(RK_PHASE_BODY) | bit(RK_PHASE_WRITE), true,
        conn);
    if (oldest)
        rk_conn_end(conns, oldest);
}

bool rk_places_is_spare(struct rk_conns *conns, struct rk_conn *conn)
{
    if (!conn->spare) /* which this thread alone sets */
        return false;
    pthread_mutex_lock(&conns->lock);
    conn->spare = conns->open > conns->limit;
    const bool spare = conn->spare;
    pthread_mutex_unlock(&conns->lock);
    return spare;
}

void rk_places_relieve(struct rk_conns *conns)
{
    if (rk_descriptors_left())
        return;
    for (int i = 0; i < RELIEVED && end_longest_idle(conns, NULL); i++)
        continue;
}

void rk_places_drain(struct rk_conns *conns)
{
    pthread_mutex_lock(&conns->lock);
    for (struct rk_conn *conn = conns->first; conn; conn = conn->next) {
        if (conn->phase != RK_PHASE_HEADER && conn->phase != RK_PHASE_BODY)
            continue;
        if (conns->plain && !conn->guard.early_reply_sent)
            rk_conn_say(conn, "503 Service Unavailable", "rankd is shutting down; try again in a moment");
        rk_conn_end(conns, conn);
    }
    pthread_mutex_unlock(&conns->lock);
}
