/* SPDX-License-Identifier: Apache-2.0 */
/* Runs one inference request: finds the bank that it names, computes it, appends the batch, keeps
 * metrics and statistics. The same function for every transport.
 *
 * A request that has to wait for a bank is parked: its worker serves others, and once the bank
 * wakes it, a free worker continues it. Its life:
 *
 *     queued in the worker pool ---- its deadline passed, or the pool is abandoned ----> drop()
 *        |
 *        | run()
 *        v
 *     BEGIN <-------- resume(): the original is over, or the deadline is --------+
 *        |                                                                       |
 *        +---- the original of its batch_id still runs -----------------> PARKED-+
 *        v
 *     charged to the budget, computed, its reply prepared
 *        |
 *        +---- it names no bank, or its batch was appended at once ----------> DONE
 *        |
 *        +---- its batch waits for the disk ----------------------------> PARKED-+
 *                                                                                |
 *     APPENDED <----- resume(): the batch is written, or could not be -----------+
 *        |
 *        +---- its bank's store had the batch before -------------------> BEGIN
 *        |
 *        +-------------------------------------------------------------------> DONE
 *
 * A failure at any step ends in DONE. DONE: the transport answers, and calls rk_infer_done().
 * PARKED: the request keeps its memory and holds no thread; it is never dropped there, and the pool
 * does not stop before it was resumed (rk_worker_pool_park). */
#ifndef RK_EXEC_INFER_H
#define RK_EXEC_INFER_H

#include <stdatomic.h>
#include <stdint.h>

#include "access/principal.h"
#include "bank/banks.h"
#include "base/budget.h"
#include "base/log.h"
#include "base/metrics.h"
#include "exec/worker_pool.h"
#include "request/request.h"

/* The parts of the daemon that a request needs; one for a daemon, shared by all transports. */
struct rk_infer_env {
    struct rk_worker_pool *workers; /* the workers that continue a parked request */
    struct rk_banks *banks;
    struct rk_budget *budget;
    struct rk_device *device; /* NULL without a device */
    struct rk_metrics *metrics;
    struct rk_log *log;
};

/* The step with which the next call of rk_infer() for a request continues. */
enum rk_infer_step {
    RK_INFER_BEGIN,   /* zero, so the step of a new request; also of one that waited for the original of its
                         batch_id */
    RK_INFER_APPENDED /* it is computed, and its batch was written or could not be */
};

enum rk_infer_state {
    RK_INFER_DONE,  /* it is over; err->status says how */
    RK_INFER_PARKED /* it waits for a bank, and is owned by the thread that wakes it */
};

/* What the transport knows of the request beside its content: for the log line, metrics,
 * statistics. Times in ns. */
struct rk_infer_meta {
    enum rk_transport transport;
    const struct rk_principal *who;
    const char *id; /* the request's own id; "" = none */
    uint64_t deadline_ns;
    uint64_t received_ns, queue_ns, parse_ns; /* filled before the call */
    uint64_t compute_ns, append_ns;           /* filled by it */
    atomic_size_t copied; /* by it: bytes of the request's tensors that were copied (exec.h) */
    size_t held;          /* filled before the call: bytes that the request has reserved already, */
    size_t reply_bytes;   /* and those that writing its reply will take */
    size_t charged;       /* bytes taken from the budget by it: rk_infer_done() gives them back */

    struct rk_pin_candidate
        *host_region;   /* filled before the call: a client's region with all tensors, or NULL */
    struct rk_job *job; /* filled before the call: the job to resume if the request has to wait */
    /* Filled before the call: prepares all parts of the answer that may fail, once, after the
     * result is computed and before the append to a bank. Nothing after the append can fail. NULL:
     * nothing to prepare. */
    enum rankd_status (*prepare)(struct rk_infer_meta *meta, struct rk_err *err);
    struct rk_worker_pool *work; /* its own from here on */
    struct rk_bank_transaction transaction;
    enum rk_infer_step step; /* its own too */
    uint64_t append_begun_ns;
};

/* Continues the request until it is done or has to wait. RK_INFER_PARKED: it waits without a
 * worker; nothing that was passed may be touched any more, and when meta->job is resumed the same
 * call is made again. request->bank_snapshot is set by this function from request->params.bank.
 * Errors as rk_engine_run(), and RANKD_NOT_FOUND (bank), RANKD_CONFLICT, RANKD_NO_SPACE. On failure
 * *reply holds no owned memory. */
enum rk_infer_state rk_infer(const struct rk_infer_env *env, struct rk_worker *worker,
                             struct rk_request *request, struct rk_infer_meta *meta, struct rk_reply *reply,
                             struct rk_err *err) __attribute__((warn_unused_result));

/* True for a request on at most `most` scores, in at most as many lists, without a bank: waking a
 * worker would cost more than the computation, and it never waits. A transport may run it on its
 * own thread. */
bool rk_infer_is_small(const struct rk_request *request, size_t most);

/* To be called once for every inference request, also one that failed before rk_infer() or in it,
 * when its reply is written and its memory freed: releases its part of the budget, counts it in
 * metrics and statistics, and writes the log line. `request` may be partly filled (model NULL:
 * unknown); `info` is the reply's, NULL on failure. `sentence` is the error's, "" on success. */
void rk_infer_done(const struct rk_infer_env *env, struct rk_infer_meta *meta,
                   const struct rk_request *request, const struct rk_info *info, enum rankd_status status,
                   const char *sentence, uint64_t write_ns);

#endif
