/* SPDX-License-Identifier: Apache-2.0 */
/* How far the daemon is between its start and its end, for those who refuse requests by it or report it. */
#ifndef RK_BASE_LIFECYCLE_H
#define RK_BASE_LIFECYCLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct rk_lifecycle {
    uint64_t instance;          /* random for each start; the same for all transports */
    uint64_t started_ns;        /* CLOCK_MONOTONIC */
    double started_unix;        /* the same moment, seconds since 1970 */
    atomic_bool ready;          /* all components are up and no stop was asked for: /v2/health/ready */
    atomic_bool stopping;       /* a stop was asked for */
    atomic_bool force_shutdown; /* a second SIGTERM: nobody waits for running requests any more */
};

/* Sets both times to now and draws `instance`. */
void rk_lifecycle_begin(struct rk_lifecycle *lifecycle);

/* Why no requests are taken: "starting" or "shutting down"; NULL while they are. */
const char *rk_lifecycle_unready(const struct rk_lifecycle *lifecycle);

#endif
