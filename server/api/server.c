/* SPDX-License-Identifier: Apache-2.0 */
/* Health, what the server is, the list of models, metrics. */
#include <stdio.h>

#include "api/answer.h"
#include "api/api.h"
#include "api/route.h"
#include "base/clock.h"
#include "base/metrics.h"
#include "device/device.h"
#include "exec/device.h"
#include "request/request.h"

/* {"live":true}: clients of KServe read the body. `name` NULL: none. */
static enum rankd_status answer_true(struct rk_answer *answer, const char *name, const char *key,
                                     struct rk_err *err)
{
    struct rk_text out = {0};
    rk_json_open(&out, NULL, '{');
    if (name)
        rk_json_text(&out, "name", name);
    rk_json_bool(&out, key, true);
    rk_json_close(&out, '}');
    return rk_answer_text(answer, &out, err);
}

enum rankd_status rk_api_live(const struct rk_api_env *env, const struct rk_call *call,
                              const struct rk_match *match, struct rk_answer *answer, struct rk_err *err)
{
    (void)env, (void)call, (void)match;
    return answer_true(answer, NULL, "live", err);
}

enum rankd_status rk_api_ready(const struct rk_api_env *env, const struct rk_call *call,
                               const struct rk_match *match, struct rk_answer *answer, struct rk_err *err)
{
    (void)call;
    const char *why = rk_lifecycle_unavailable(env->lifecycle);
    if (why)
        return rk_fail(err, RANKD_INVALID, "rankd is %s; send no new requests to it", why);
    /* A model's readiness is the server's, under the model's name. */
    return answer_true(answer, match->names[0][0] ? match->names[0] : NULL, "ready", err);
}

enum rankd_status rk_api_server(const struct rk_api_env *env, const struct rk_call *call,
                                const struct rk_match *match, struct rk_answer *answer, struct rk_err *err)
{
    (void)call, (void)match;
    static const char *const extensions[] = {"binary_tensor_data", "statistics", "parameters",
                                             "model_configuration", "banks"};
    struct rk_text out = {0};
    char instance[17];
    rk_json_open(&out, NULL, '{');
    rk_json_text(&out, "name", "rankd");
    rk_json_text(&out, "version", RK_VERSION);
    rk_json_open(&out, "extensions", '[');
    for (size_t i = 0; i < sizeof extensions / sizeof *extensions; i++)
        rk_json_text(&out, NULL, extensions[i]);
    if (env->regions)
        rk_json_text(&out, NULL, "system_shared_memory");
    if (env->regions && env->device)
        rk_json_text(&out, NULL, "cuda_shared_memory");
    rk_json_close(&out, ']');
    (void)snprintf(instance, sizeof instance, "%016llx", (unsigned long long)env->lifecycle->instance);
    rk_json_text(&out, "instance", instance);
    rk_json_uint(&out, "uptime_ms", (rk_now_ns() - env->lifecycle->started_ns) / 1000000);
    if (env->device) {
        rk_json_open(&out, "device", '{');
        rk_json_text(&out, "name", env->device->name);
        rk_json_text(&out, "state", rk_device_state(env->device));
        rk_json_close(&out, '}');
    }
    rk_json_close(&out, '}');
    return rk_answer_text(answer, &out, err);
}

enum rankd_status rk_api_index(const struct rk_api_env *env, const struct rk_call *call,
                               const struct rk_match *match, struct rk_answer *answer, struct rk_err *err)
{
    (void)env, (void)call, (void)match; /* the body may ask for {"ready": true}: all are */
    struct rk_text out = {0};
    rk_json_open(&out, NULL, '[');
    for (size_t i = 0; i < rk_model_count; i++) {
        rk_json_open(&out, NULL, '{');
        rk_json_text(&out, "name", rk_models[i].name);
        rk_json_text(&out, "version", "1");
        rk_json_text(&out, "state", "READY");
        rk_json_text(&out, "reason", "");
        rk_json_close(&out, '}');
    }
    rk_json_close(&out, ']');
    return rk_answer_text(answer, &out, err);
}

enum rankd_status rk_api_metrics(const struct rk_api_env *env, const struct rk_call *call,
                                 const struct rk_match *match, struct rk_answer *answer, struct rk_err *err)
{
    (void)call, (void)match;
    struct rk_text out = {0};
    rk_metrics_write(env->metrics, &out);
    answer->content_type = "text/plain; version=0.0.4; charset=utf-8";
    return rk_answer_text(answer, &out, err);
}
