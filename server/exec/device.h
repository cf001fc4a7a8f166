/* The device as a part of the daemon: loading its plugin, and what operators see of it. */
#ifndef RK_EXEC_DEVICE_H
#define RK_EXEC_DEVICE_H

#include "app.h"
#include "base/text.h"

/* The component (app.h): app->device, NULL where requests are computed on the CPU alone. --device auto is
 * content with that; cuda:N is RANKD_UNSUPPORTED, with the reason, where device N can't be used. */
enum rankd_status rk_device_start(struct rk_app *app, struct rk_err *err);
void rk_device_stop(struct rk_app *app);

/* RANKD_INVALID unless `text` is auto, cpu, cuda or cuda:N. */
enum rankd_status rk_device_setting_check(const char *text, struct rk_err *err)
    __attribute__((warn_unused_result));

/* Its metrics. */
void rk_device_metrics_write(struct rk_app *app, struct rk_text *out);

/* "ready"; "degraded": the last request that went there failed and was computed on the CPU; "lost": nothing
 * goes there any more until the daemon is started anew. */
const char *rk_device_state(const struct rk_app *app);

#endif
