/* SPDX-License-Identifier: Apache-2.0 */
/* The control API: health, metadata, statistics, banks, checkpoints – everything with small JSON
 * documents as request and reply, over any transport. HTTP calls it with the request line, the
 * ring's control channel with its packet; so both have the same bodies, the same errors and the
 * same access rules. Inference is not here: its tensors need the transport's own handling
 * (infer.h). */
#ifndef RK_API_H
#define RK_API_H

#include <stdbool.h>
#include <stddef.h>

#include "access/principal.h"
#include "base/err.h"
#include "base/lifecycle.h"
#include "config/config.h"

/* The parts that handlers use; one for a daemon. */
struct rk_api_env {
    const struct rk_config *config;
    const struct rk_lifecycle *lifecycle;
    const struct rk_metrics *metrics;
    struct rk_budget *budget;
    struct rk_banks *banks;
    struct rk_regions *regions;         /* NULL unless --allow-shm-regions */
    struct rk_device *device;           /* NULL without a device */
    struct rk_worker_pool *workers;     /* where handlers run, */
    struct rk_worker_pool *admin_queue; /* and those that wait for the disk or the store */
};

struct rk_call {
    const char *method; /* "GET", … */
    const char *path;   /* percent-decoded, without the query, NUL-terminated */
    const char *query;  /* the raw query, "" if there is none */
    const void *body;
    size_t body_bytes;
    const struct rk_principal *who;
};

/* The answer. `body` is malloc'ed and the caller's after the call (NULL with bytes 0 = empty). */
struct rk_answer {
    int http_status; /* 200 on success */
    char *body;
    size_t body_bytes;
    const char *content_type; /* static */
    char allow[64];           /* with 405 */
    unsigned retry_after_s;   /* with 503; 0 = none */
};

/* Always fills *answer; an error becomes {"error": sentence}. Runs on a worker thread: handlers may
 * block for a moment on a lock, and on the disk if the operation concerns it. */
void rk_api_call(const struct rk_api_env *env, const struct rk_call *call, struct rk_answer *answer);

#endif
