/* SPDX-License-Identifier: Apache-2.0 */
/* The device as a part of the daemon: loading its plugin, and what operators see of it. */
#ifndef RK_EXEC_DEVICE_H
#define RK_EXEC_DEVICE_H

#include "base/err.h"
#include "base/text.h"
#include "config/config.h"

struct rk_device;
struct rk_log;

/* *device is NULL where requests are computed on the CPU alone. --device auto is content with that; cuda:N is
 * RANKD_UNSUPPORTED, with the reason, where device N can't be used. */
enum rankd_status rk_device_start(const struct rk_config *config, struct rk_log *log,
                                  struct rk_device **device, struct rk_err *err)
    __attribute__((warn_unused_result));
void rk_device_stop(struct rk_device *device); /* NULL is fine */

/* RANKD_INVALID unless `text` is auto, cpu, cuda or cuda:N. */
enum rankd_status rk_device_setting_check(const char *text, struct rk_err *err)
    __attribute__((warn_unused_result));

/* Its metrics; a rk_metrics_collector. */
void rk_device_metrics_write(void *device, struct rk_text *out);

/* "ready"; "degraded": the last request that went there failed and was computed on the CPU; "lost": nothing
 * goes there any more until the daemon is started anew. */
const char *rk_device_state(const struct rk_device *device);

#endif
