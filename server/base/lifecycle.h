/* SPDX-License-Identifier: Apache-2.0 */
/* The phase of the daemon between its start and its end, for parts that refuse requests or report
 * it. */
#ifndef RK_BASE_LIFECYCLE_H
#define RK_BASE_LIFECYCLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct rk_lifecycle {
    uint64_t instance;          /* random for each start; the same for all transports */
    uint64_t started_ns;        /* CLOCK_MONOTONIC */
    double started_unix;        /* the same moment, seconds since 1970 */
    atomic_bool ready;          /* all components are up and requests are taken */
    atomic_bool leaving;        /* a stop was requested; requests are taken until shutdown-delay is over */
    atomic_bool stopping;       /* no requests are taken any more */
    atomic_bool force_shutdown; /* a second SIGTERM: running requests are not waited for */
};

/* Sets both times to now and draws `instance`. */
void rk_lifecycle_begin(struct rk_lifecycle *lifecycle);

/* The reason why no requests are taken: "starting" or "shutting down"; NULL while they are
 * taken. */
const char *rk_lifecycle_unready(const struct rk_lifecycle *lifecycle);

/* Why load balancers should send no new requests: the same, or "about to shut down" during the
 * shutdown-delay, while requests are still taken. NULL: they should. For /v2/health/ready. */
const char *rk_lifecycle_unavailable(const struct rk_lifecycle *lifecycle);

#endif
