/* SPDX-License-Identifier: Apache-2.0 */
/* The entry to the library: a request is checked and computed, on the device or on the CPU. */
#ifndef RK_ENGINE_H
#define RK_ENGINE_H

#include "request/request.h"

/* Checks the request against its model (inputs, types, shapes, values, parameters) and computes it.
 * On failure *reply holds no owned memory and caller-owned outputs are unspecified. Bounds of the
 * work: memory beyond inputs and outputs comes from exec->scratch only. Thread-safe for distinct
 * exec and reply. Errors: RANKD_INVALID (names the field), RANKD_OVERLOADED (scratch),
 * RANKD_DEADLINE, RANKD_UNSUPPORTED. */
enum rankd_status rk_engine_run(const struct rk_exec *exec, const struct rk_request *request,
                                struct rk_reply *reply, struct rk_err *err)
    __attribute__((warn_unused_result));

/* Upper bound of the bytes rk_engine_run() allocates for outputs and takes as scratch, on any
 * number of threads, for a budget kept by the caller. Valid for any request, checked or not; reads
 * no tensor and takes microseconds. SIZE_MAX where the bytes cannot be counted. */
size_t rk_engine_cost(const struct rk_request *request);

#endif
