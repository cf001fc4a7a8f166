/* SPDX-License-Identifier: Apache-2.0 */
/* --ring-linger: a daemon that was started for its clients ends after they have gone. */
#ifndef RK_RING_LINGER_H
#define RK_RING_LINGER_H

#include <stdint.h>

#include "base/err.h"
#include "config/config.h"

struct rk_front;

/* RANKD_INVALID if ring-linger is set and there is another transport than the ring. */
enum rankd_status rk_linger_check(const struct rk_config *config, struct rk_err *err)
    __attribute__((warn_unused_result));

/* On the loop's thread. Asks for a stop of the daemon when its time is over; from then on the
 * socket is gone, and connections that still wait in its queue are closed before anything is read
 * from them. Returns the time until this must be called again; UINT64_MAX: not before a client has
 * gone. */
uint64_t rk_linger_look(struct rk_front *front, uint64_t now_ns);

#endif
