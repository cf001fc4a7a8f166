/* SPDX-License-Identifier: Apache-2.0 */
#include "base/lifecycle.h"

#include <stddef.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

void rk_lifecycle_begin(struct rk_lifecycle *lifecycle)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    lifecycle->started_unix = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
    lifecycle->started_ns = rk_now_ns();
    /* Without random numbers: still a different value for each start and process. */
    lifecycle->instance =
        (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec + ((uint64_t)getpid() << 48);
    (void)!getrandom(&lifecycle->instance, sizeof lifecycle->instance, GRND_NONBLOCK);
}

const char *rk_lifecycle_unready(const struct rk_lifecycle *lifecycle)
{
    if (atomic_load(&lifecycle->ready))
        return NULL;
    return atomic_load(&lifecycle->stopping) ? "shutting down" : "starting";
}

const char *rk_lifecycle_unavailable(const struct rk_lifecycle *lifecycle)
{
    const char *unready = rk_lifecycle_unready(lifecycle);
    return !unready && atomic_load(&lifecycle->leaving) ? "about to shut down" : unready;
}
