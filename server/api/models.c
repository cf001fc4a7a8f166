/* SPDX-License-Identifier: Apache-2.0 */
/* Metadata, configuration and statistics of the models, in the forms of the Open Inference Protocol
 * and Triton. */
#include <stdlib.h>
#include <string.h>

#include "api/answer.h"
#include "api/api.h"
#include "api/route.h"
#include "base/metrics.h"
#include "codec/model_find.h"
#include "request/request.h"

/* The one type that the metadata name for a port. */
static enum rk_dtype preferred(const struct rk_port_row *row)
{
    static const enum rk_dtype order[] = {RK_FP32, RK_INT64, RK_INT32, RK_INT8, RK_UINT8, RK_BOOL};
    if (row == &rk_input_rows[RK_IN_TARGETS])
        return RK_INT8; /* a byte per item suffices; FP32 is for clients that have nothing else */
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
        if (row->dtypes & (1u << order[i]))
            return order[i];
    }
    return RK_FP32;
}

static void ports(struct rk_text *out, const char *key, const struct rk_port_row *rows, unsigned count,
                  unsigned bits)
{
    rk_json_open(out, key, '[');
    for (unsigned i = 0; i < count; i++) {
        if (!(bits & (1u << i)))
            continue;
        rk_json_open(out, NULL, '{');
        rk_json_text(out, "name", rows[i].name);
        rk_json_text(out, "datatype", rk_dtype_name(preferred(&rows[i])));
        rk_json_open(out, "shape", '[');
        for (unsigned axis = 0; axis < rows[i].rank; axis++)
            rk_json_int(out, NULL, -1);
        rk_json_close(out, ']');
        rk_json_open(out, "parameters", '{');
        rk_json_text(out, "shape", rows[i].shape);
        rk_json_open(out, "datatypes", '[');
        for (unsigned dtype = 0; dtype < RK_DTYPE_COUNT; dtype++) {
            if (rows[i].dtypes & (1u << dtype))
                rk_json_text(out, NULL, rk_dtype_name((enum rk_dtype)dtype));
        }
        rk_json_close(out, ']');
        rk_json_text(out, "help", rows[i].help);
        rk_json_close(out, '}');
        rk_json_close(out, '}');
    }
    rk_json_close(out, ']');
}

static void word(struct rk_text *out, const char *key, const char *choices, int position)
{
    char text[64];
    while (position-- > 0)
        choices = strchr(choices, '|') + 1;
    (void)snprintf(text, sizeof text, "%.*s", (int)strcspn(choices, "|"), choices);
    rk_json_text(out, key, text);
}

static void parameter(struct rk_text *out, const struct rk_param_row *row)
{
    static const char *const types[] = {"number", "whole number", "choice", "flag", "text"};
    rk_json_open(out, row->name, '{');
    rk_json_text(out, "type", types[row->type]);
    if (row->type == RK_PARAM_REAL || row->type == RK_PARAM_WHOLE) {
        rk_json_real(out, "default", row->value);
        rk_json_real(out, "minimum", row->min);
        rk_json_real(out, "maximum", row->max);
    } else if (row->type == RK_PARAM_CHOICE) {
        word(out, "default", row->choices, (int)row->value);
        rk_json_text(out, "choices", row->choices);
    } else if (row->type == RK_PARAM_FLAG) {
        rk_json_bool(out, "default", row->value != 0);
    }
    rk_json_text(out, "help", row->help);
    rk_json_close(out, '}');
}

enum rankd_status rk_api_model(const struct rk_api_env *env, const struct rk_call *call,
                               const struct rk_match *match, struct rk_answer *answer, struct rk_err *err)
{
    (void)env, (void)call;
    const struct rk_model *model = rk_model_find_or_fail(match->names[0], err);
    struct rk_text out = {0};
    if (!model)
        return err->status;
    rk_json_open(&out, NULL, '{');
    rk_json_text(&out, "name", model->name);
    rk_json_open(&out, "versions", '[');
    rk_json_text(&out, NULL, "1");
    rk_json_close(&out, ']');
    rk_json_text(&out, "platform", "rankd");
    ports(&out, "inputs", rk_input_rows, RK_IN_COUNT, rk_model_inputs(model));
    ports(&out, "outputs", rk_output_rows, RK_OUT_COUNT, model->outputs);
    rk_json_open(&out, "parameters", '{');
    for (unsigned i = 0; i < RK_PARAM_COUNT; i++) {
        if ((rk_model_params(model, false) | rk_model_params(model, true)) >> i & 1)
            parameter(&out, &rk_param_rows[i]);
    }
    rk_json_close(&out, '}');
    rk_json_text(&out, "description", model->help);
    rk_json_close(&out, '}');
    return rk_answer_text(answer, &out, err);
}

enum rankd_status rk_api_model_ready(const struct rk_api_env *env, const struct rk_call *call,
                                     const struct rk_match *match, struct rk_answer *answer,
                                     struct rk_err *err)
{
    if (!rk_model_find_or_fail(match->names[0], err))
        return err->status;
    return rk_api_ready(env, call, match, answer, err);
}

static void config_ports(struct rk_text *out, const char *key, const struct rk_port_row *rows, unsigned count,
                         unsigned bits, unsigned optional)
{
    rk_json_open(out, key, '[');
    for (unsigned i = 0; i < count; i++) {
        char type[16];
        if (!(bits & (1u << i)))
            continue;
        (void)snprintf(type, sizeof type, "TYPE_%s", rk_dtype_name(preferred(&rows[i])));
        rk_json_open(out, NULL, '{');
        rk_json_text(out, "name", rows[i].name);
        rk_json_text(out, "data_type", type);
        rk_json_open(out, "dims", '[');
        for (unsigned axis = 0; axis < rows[i].rank; axis++)
            rk_json_int(out, NULL, -1);
        rk_json_close(out, ']');
        if (optional & (1u << i))
            rk_json_bool(out, "optional", true);
        rk_json_close(out, '}');
    }
    rk_json_close(out, ']');
}

enum rankd_status rk_api_model_config(const struct rk_api_env *env, const struct rk_call *call,
                                      const struct rk_match *match, struct rk_answer *answer,
                                      struct rk_err *err)
{
    (void)call;
    const struct rk_model *model = rk_model_find_or_fail(match->names[0], err);
    struct rk_text out = {0};
    if (!model)
        return err->status;
    const unsigned optional = rk_model_inputs(model) & ~model->inputs_scores;
    rk_json_open(&out, NULL, '{');
    rk_json_text(&out, "name", model->name);
    rk_json_text(&out, "platform", "rankd");
    rk_json_text(&out, "backend", "rankd");
    rk_json_int(&out, "max_batch_size", 0); /* the first axis is the lists, not a batch of requests */
    config_ports(&out, "input", rk_input_rows, RK_IN_COUNT, rk_model_inputs(model),
                 model->inputs_embeddings ? rk_model_inputs(model) : optional);
    config_ports(&out, "output", rk_output_rows, RK_OUT_COUNT, model->outputs, 0);
    rk_json_open(&out, "instance_group", '[');
    rk_json_open(&out, NULL, '{');
    rk_json_text(&out, "name", model->name);
    rk_json_text(&out, "kind", "KIND_CPU");
    rk_json_uint(&out, "count", env->config->workers);
    rk_json_close(&out, '}');
    rk_json_close(&out, ']');
    rk_json_close(&out, '}');
    return rk_answer_text(answer, &out, err);
}

static void duration(struct rk_text *out, const char *key, uint64_t count, int64_t ns)
{
    rk_json_open(out, key, '{');
    rk_json_uint(out, "count", count);
    rk_json_int(out, "ns", ns);
    rk_json_close(out, '}');
}

static void statistics(const struct rk_api_env *env, unsigned model, struct rk_text *out)
{
    const struct rk_metrics *metrics = env->metrics;
    const uint64_t good = (uint64_t)rk_metric_get(metrics, RK_METRIC_succeeded, model, 0);
    const uint64_t bad = (uint64_t)rk_metric_get(metrics, RK_METRIC_failed, model, 0);
    const int64_t queue = rk_metric_get(metrics, RK_METRIC_queue_time, model, 0);
    const int64_t parse = rk_metric_get(metrics, RK_METRIC_parse_time, model, 0);
    const int64_t compute = rk_metric_get(metrics, RK_METRIC_compute_time, model, 0);
    const int64_t append = rk_metric_get(metrics, RK_METRIC_append_time, model, 0);
    const int64_t write = rk_metric_get(metrics, RK_METRIC_write_time, model, 0);
    rk_json_open(out, NULL, '{');
    rk_json_text(out, "name", rk_models[model].name);
    rk_json_text(out, "version", "1");
    rk_json_int(out, "last_inference", 1000 * rk_metric_get(metrics, RK_METRIC_last_request, model, 0));
    rk_json_uint(out, "inference_count", good);
    rk_json_uint(out, "execution_count", good);
    rk_json_open(out, "inference_stats", '{');
    duration(out, "success", good, queue + parse + compute + append + write);
    duration(out, "fail", bad, rk_metric_get(metrics, RK_METRIC_failed_time, model, 0));
    duration(out, "queue", good, queue);
    duration(out, "compute_input", good, parse);
    duration(out, "compute_infer", good, compute + append);
    duration(out, "compute_output", good, write);
    duration(out, "cache_hit", 0, 0);
    duration(out, "cache_miss", 0, 0);
    rk_json_close(out, '}');
    rk_json_open(out, "batch_stats", '[');
    rk_json_close(out, ']');
    rk_json_close(out, '}');
}

/* The statistics of `only`, or of every model if it is NULL. */
static enum rankd_status answer_statistics(const struct rk_api_env *env, const struct rk_model *only,
                                           struct rk_answer *answer, struct rk_err *err)
{
    struct rk_text out = {0};
    rk_json_open(&out, NULL, '{');
    rk_json_open(&out, "model_stats", '[');
    for (unsigned i = 0; i < rk_model_count; i++) {
        if (!only || only == &rk_models[i])
            statistics(env, i, &out);
    }
    rk_json_close(&out, ']');
    rk_json_close(&out, '}');
    return rk_answer_text(answer, &out, err);
}

enum rankd_status rk_api_all_stats(const struct rk_api_env *env, const struct rk_call *call,
                                   const struct rk_match *match, struct rk_answer *answer, struct rk_err *err)
{
    (void)call, (void)match;
    return answer_statistics(env, NULL, answer, err);
}

enum rankd_status rk_api_model_stats(const struct rk_api_env *env, const struct rk_call *call,
                                     const struct rk_match *match, struct rk_answer *answer,
                                     struct rk_err *err)
{
    (void)call;
    const struct rk_model *model = rk_model_find_or_fail(match->names[0], err);
    return model ? answer_statistics(env, model, answer, err) : err->status;
}
