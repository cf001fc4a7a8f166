/* SPDX-License-Identifier: Apache-2.0 */
/* The device in the daemon: loading its plugin, and its state for operators. */
#ifndef RK_EXEC_DEVICE_H
#define RK_EXEC_DEVICE_H

#include "base/err.h"
#include "base/text.h"
#include "config/config.h"

struct rk_device;
struct rk_log;

/* *device is NULL if all requests are computed on the CPU, which --device auto allows. With cuda:N,
 * a device that can't be used is RANKD_UNSUPPORTED, with the reason. */
enum rankd_status rk_device_start(const struct rk_config *config, struct rk_log *log,
                                  struct rk_device **device, struct rk_err *err)
    __attribute__((warn_unused_result));
void rk_device_stop(struct rk_device *device); /* NULL is fine */

/* RANKD_INVALID unless `text` is auto, cpu, cuda or cuda:N. */
enum rankd_status rk_device_setting_check(const char *text, struct rk_err *err)
    __attribute__((warn_unused_result));

/* Its metrics; a rk_metrics_collector. */
void rk_device_metrics_write(void *device, struct rk_text *out);

/* "ready"; "degraded": the last request that went there failed and was computed on the CPU; "lost":
 * no request goes there until the daemon is restarted. */
const char *rk_device_state(const struct rk_device *device);

#endif
