/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/linger.h"

#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/signals.h"
#include "ring/ring_internal.h"

enum rankd_status rk_linger_check(const struct rk_config *config, struct rk_err *err)
{
    if (config->ring_linger == 0)
        return RANKD_OK;
    if (strcmp(config->socket, "off") == 0)
        return rk_fail(err, RANKD_INVALID, "ring-linger is %llums, and socket is off; it requires the ring",
                       (unsigned long long)config->ring_linger);
    if (strcmp(config->http, "off") != 0)
        return rk_fail(err, RANKD_INVALID,
                       "ring-linger is %llums, and http is %.200s; it requires http = off, because a client "
                       "of HTTP may have no connection",
                       (unsigned long long)config->ring_linger, config->http);
    return RANKD_OK;
}

/* A client that connects now finds no socket, and so does not see a connection that breaks. */
static void leave(struct rk_front *front)
{
    front->leaving = true;
    rk_loop_cancel(front->loop, &front->accept);
    (void)unlink(front->path);
    front->path[0] = '\0';
    rk_log_say(front->env->log, RK_LOG_INFO, "ring", "no client for %llu ms: ending",
               (unsigned long long)front->env->config->ring_linger);
    rk_signals_stop();
}

uint64_t rk_linger_look(struct rk_front *front, uint64_t now_ns)
{
    const uint64_t most = front->env->config->ring_linger * 1000000u;
    if (most == 0 || front->leaving)
        return UINT64_MAX;
    if (front->peers != NULL) {
        front->alone_ns = 0;
        return UINT64_MAX;
    }
    if (front->alone_ns == 0)
        front->alone_ns = now_ns;
    if (now_ns - front->alone_ns < most)
        return most - (now_ns - front->alone_ns);
    leave(front);
    return UINT64_MAX;
}
