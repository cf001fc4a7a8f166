/* SPDX-License-Identifier: Apache-2.0 */
/* The parameters of a request: those of the models, and those that the protocol reserves. */
#include <string.h>

#include "codec/infer_parser.h"
#include "codec/param_find.h"

/* Parameters of the protocol for other servers; client libraries may send them by themselves. */
static bool reserved(const char *name)
{
    static const char *const names[] = {"sequence_id", "sequence_start", "sequence_end",
                                        "priority",    "headers",        "content_type"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(name, names[i]) == 0)
            return true;
    }
    return strncmp(name, "triton_", 7) == 0;
}

uint64_t rk_wire_deadline(uint64_t received_ns, uint64_t timeout_ns, uint64_t deadline_ns)
{
    uint64_t until;
    if (!timeout_ns || __builtin_add_overflow(received_ns, timeout_ns, &until))
        return deadline_ns;
    return !deadline_ns || until < deadline_ns ? until : deadline_ns;
}

static enum rankd_status parse_timeout(struct rk_parser *p, const json_t *value)
{
    int64_t number;
    if (!rk_json_whole(value, &number) || number < 0)
        return rk_parse_wrong(p, "parameter timeout", value, "a whole number of microseconds, 0 for none");
    const uint64_t us = (uint64_t)number;
    p->wire->timeout_ns = us > UINT64_MAX / 1000 ? UINT64_MAX : us * 1000;
    p->text.deadline_ns = rk_wire_deadline(p->received_ns, p->wire->timeout_ns, p->text.deadline_ns);
    return RANKD_OK;
}

/* A number that is refused is shown as it was sent. */
static enum rankd_status parse_number(struct rk_parser *p, const struct rk_param_row *row,
                                      const json_t *value)
{
    char shown[RK_JSON_SHOWN];
    struct rk_err other_words = {0};
    if (rk_param_set_number(&p->wire->request.params, row, json_number_value(value), &other_words) ==
        RANKD_OK)
        return RANKD_OK;
    return rk_param_refuse(row, rk_json_show(&p->source, value, shown), p->err);
}

static enum rankd_status parse_parameter(struct rk_parser *p, const char *name, const json_t *value)
{
    struct rk_params *params = &p->wire->request.params;
    if (json_is_null(value) && (strcmp(name, "timeout") == 0 || strcmp(name, "binary_data_output") == 0))
        return RANKD_OK;
    if (strcmp(name, "timeout") == 0)
        return parse_timeout(p, value);
    if (strcmp(name, "binary_data_output") == 0) {
        if (!json_is_boolean(value))
            return rk_parse_wrong(p, "parameter binary_data_output", value, "true or false");
        p->binary_by_default = json_is_true(value);
        return RANKD_OK;
    }
    if (reserved(name))
        return RANKD_OK;
    const struct rk_param_row *row = rk_param_find_or_fail(p->model, name, p->err);
    if (!row)
        return p->err->status;
    if (json_is_string(value)) {
        if (strlen(json_string_value(value)) != json_string_length(value))
            return rk_fail(p->err, RANKD_INVALID, "parameter %s holds a NUL character", name);
        return rk_param_set_text(params, row, json_string_value(value), p->err);
    }
    if (json_is_boolean(value))
        return rk_param_set_flag(params, row, json_is_true(value), p->err);
    if (json_is_number(value))
        return parse_number(p, row, value);
    char field[128];
    (void)snprintf(field, sizeof field, "parameter %s", name);
    return rk_parse_wrong(p, field, value, "a number, a word, true or false");
}

enum rankd_status rk_parse_parameters(struct rk_parser *p, const json_t *parameters)
{
    if (!parameters)
        return RANKD_OK;
    if (!json_is_object(parameters))
        return rk_parse_wrong(p, "parameters", parameters, "an object");
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)parameters, name, value)
    {
        enum rankd_status status = parse_parameter(p, name, value);
        if (status != RANKD_OK)
            return status;
    }
    return RANKD_OK;
}
