/* SPDX-License-Identifier: Apache-2.0 */
/* The parts that a transport works with; one for a daemon, filled before the first transport
 * starts. */
#ifndef RK_API_TRANSPORT_H
#define RK_API_TRANSPORT_H

#include "access/access.h"
#include "api/api.h"
#include "exec/infer.h"

struct rk_transport_env {
    const struct rk_config *config;
    const struct rk_lifecycle *lifecycle;
    struct rk_access *access; /* access control */
    struct rk_log *log;
    struct rk_metrics *metrics;
    struct rk_budget *budget;
    struct rk_infer_env infer; /* for inference requests */
    struct rk_api_env api;     /* for all others */
};

#endif
