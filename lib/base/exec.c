/* SPDX-License-Identifier: Apache-2.0 */
#include "base/exec.h"

#include <time.h>

enum rankd_status rk_exec_check(const struct rk_exec *exec, struct rk_err *err)
{
    if (exec->deadline_ns == 0)
        return RANKD_OK;
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    if ((uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec < exec->deadline_ns)
        return RANKD_OK;
    return rk_fail(
        err, RANKD_DEADLINE,
        "the deadline passed while the request was computed; allow more time, or send fewer lists");
}
