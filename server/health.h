/* SPDX-License-Identifier: Apache-2.0 */
/* `rankd --health`: asks the daemon that runs with this configuration whether it is ready. For
 * health checks in places that have no curl, as the container image. */
#ifndef RK_HEALTH_H
#define RK_HEALTH_H

#include "base/err.h"
#include "config/config.h"

/* RANKD_OK if GET /v2/health/ready is answered with 200 within five seconds (HTTP off: if the
 * ring's socket accepts). Otherwise a sentence in *err. Over TLS the certificate is not checked: it
 * is the daemon's own, on its own machine. */
enum rankd_status rk_health(const struct rk_config *config, struct rk_err *err)
    __attribute__((warn_unused_result));

#endif
