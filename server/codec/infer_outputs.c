/* SPDX-License-Identifier: Apache-2.0 */
/* The outputs that a request asks for, and how each is to be sent. */
#include <stdio.h>
#include <string.h>

#include "base/nearest.h"
#include "codec/infer_parser.h"

static enum rankd_status find_output(struct rk_parser *p, const json_t *output, unsigned *out)
{
    const json_t *name = json_object_get(output, "name");
    if (!json_is_string(name))
        return rk_fail(p->err, RANKD_INVALID, "an output has no name");
    for (unsigned i = 0; i < RK_OUT_COUNT; i++) {
        if (strcmp(rk_output_rows[i].name, json_string_value(name)) == 0) {
            *out = i;
            if (p->wire->request.outputs >> i & 1u)
                return rk_fail(p->err, RANKD_INVALID, "output %s was asked for twice",
                               rk_output_rows[i].name);
            return RANKD_OK;
        }
    }
    struct rk_nearest nearest = rk_nearest_start(json_string_value(name));
    for (unsigned i = 0; i < RK_OUT_COUNT; i++) {
        if (p->model->outputs >> i & 1u)
            rk_nearest_offer(&nearest, rk_output_rows[i].name);
    }
    return rk_fail(p->err, RANKD_INVALID, "output \"%.64s\" is not one of model %s%s%s%s",
                   json_string_value(name), p->model->name, nearest.best ? "; did you mean \"" : "",
                   nearest.best ? nearest.best : "", nearest.best ? "\"?" : "");
}

static enum rankd_status parse_output_parameters(struct rk_parser *p, const json_t *parameters,
                                                 unsigned which)
{
    static const char *const known[] = {"binary_data", "shared_memory_region", "shared_memory_offset",
                                        "shared_memory_byte_size", NULL};
    char owner[96];
    (void)snprintf(owner, sizeof owner, "output %s", rk_output_rows[which].name);
    if (!json_is_object(parameters))
        return rk_parse_wrong(p, owner, parameters, "given an object as parameters");
    if (rk_parse_only_ours(p, parameters, known, owner) != RANKD_OK)
        return p->err->status;
    const json_t *binary = rk_json_member(parameters, "binary_data");
    if (binary && !json_is_boolean(binary))
        return rk_parse_wrong(p, "binary_data", binary, "true or false");
    if (binary)
        p->wire->binary[which] = json_is_true(binary);
    if (!rk_json_member(parameters, "shared_memory_region"))
        return RANKD_OK;
    return rk_parse_region(p, owner, parameters, RK_REGION_WRITE, &p->wire->region_bytes[which],
                           &p->wire->region[which], &p->wire->region_on_device[which]);
}

static enum rankd_status parse_output(struct rk_parser *p, const json_t *output, size_t position)
{
    static const char *const known[] = {"name", "parameters", NULL};
    struct rk_wire_request *wire = p->wire;
    unsigned which = 0;
    char where[32];
    (void)snprintf(where, sizeof where, "output %zu", position);
    if (!json_is_object(output))
        return rk_parse_wrong(p, where, output, "an object with a name");
    if (!rk_json_only(output, known, "an output", p->err))
        return p->err->status;
    enum rankd_status status = find_output(p, output, &which);
    if (status != RANKD_OK)
        return status;
    wire->output[wire->outputs++] = which;
    wire->request.outputs |= 1u << which;
    wire->binary[which] = p->binary_by_default;
    const json_t *parameters = rk_json_member(output, "parameters");
    return parameters ? parse_output_parameters(p, parameters, which) : RANKD_OK;
}

enum rankd_status rk_parse_outputs(struct rk_parser *p, const json_t *outputs)
{
    struct rk_wire_request *wire = p->wire;
    if (outputs && !json_is_array(outputs))
        return rk_parse_wrong(p, "outputs", outputs, "an array of outputs");
    size_t count = json_array_size(outputs);
    for (size_t i = 0; i < count; i++) {
        enum rankd_status status = parse_output(p, json_array_get(outputs, i), i);
        if (status != RANKD_OK)
            return status;
    }
    if (count > 0)
        return RANKD_OK;
    for (unsigned i = 0; i < RK_OUT_COUNT; i++) {
        if (p->model->outputs_default >> i & 1u) {
            wire->output[wire->outputs++] = i;
            wire->binary[i] = p->binary_by_default;
        }
    }
    return RANKD_OK;
}
