/* SPDX-License-Identifier: Apache-2.0 */
/* The ring transport: a Unix socket, a loop, shared segments. */
#ifndef RK_RING_FRONT_H
#define RK_RING_FRONT_H

#include "api/transport.h"

struct rk_ring;

/* With --socket=off *ring is NULL. `env` is used until the stop. */
enum rankd_status rk_ring_start(const struct rk_transport_env *env, struct rk_ring **ring, struct rk_err *err)
    __attribute__((warn_unused_result));

/* Takes no more requests, completes the taken ones, closes the connections, removes the socket.
 * NULL is fine. */
void rk_ring_stop(struct rk_ring *ring);

#endif
