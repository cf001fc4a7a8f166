/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/infer_request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/infer_parser.h"

static enum rankd_status parse_id(struct rk_parser *p, const json_t *id)
{
    if (!id)
        return RANKD_OK;
    if (!json_is_string(id))
        return rk_parse_wrong(p, "id", id, "a string");
    size_t length = json_string_length(id);
    if (length >= sizeof p->wire->id || strlen(json_string_value(id)) != length)
        return rk_fail(p->err, RANKD_INVALID, "id has %zu bytes; it may have %zu, none of them NUL", length,
                       sizeof p->wire->id - 1);
    memcpy(p->wire->id, json_string_value(id), length + 1);
    return RANKD_OK;
}

/* The name of the model, which some clients repeat in the body. */
static enum rankd_status parse_name(struct rk_parser *p, const json_t *document, const char *key,
                                    const char *wanted)
{
    char may[96];
    const json_t *value = rk_json_member(document, key);
    (void)snprintf(may, sizeof may, "\"%.64s\", as in the URL, or absent", wanted);
    if (!value || (json_is_string(value) && strcmp(json_string_value(value), wanted) == 0))
        return RANKD_OK;
    return rk_parse_wrong(p, key, value, may);
}

static enum rankd_status parse_document(struct rk_parser *p, const json_t *document)
{
    static const char *const known[] = {"id",         "parameters",    "inputs", "outputs",
                                        "model_name", "model_version", NULL};
    if (!rk_json_only(document, known, "the request", p->err))
        return p->err->status;
    enum rankd_status status = parse_id(p, rk_json_member(document, "id"));
    if (status == RANKD_OK)
        status = parse_name(p, document, "model_name", p->model->name);
    if (status == RANKD_OK)
        status = parse_name(p, document, "model_version", "1");
    if (status == RANKD_OK)
        status = rk_parse_parameters(p, rk_json_member(document, "parameters"));
    if (status == RANKD_OK)
        status = rk_parse_inputs(p, rk_json_member(document, "inputs"));
    if (status == RANKD_OK)
        status = rk_parse_outputs(p, rk_json_member(document, "outputs"));
    return status;
}

static enum rankd_status parse_text(struct rk_parser *p)
{
    json_t *document = rk_json_text_parse_new(&p->text, RK_PARSE_WHAT, p->err);
    if (!document)
        return p->err->status;
    p->source = (struct rk_json_source){document, p->text.text, p->text.bytes, &p->text};
    const enum rankd_status status = parse_document(p, document);
    json_decref(document);
    if (status == RANKD_OK || status == RANKD_TOO_LARGE || status == RANKD_OVERLOADED ||
        status == RANKD_DEADLINE)
        return status;
    /* If the text isn't JSON, that is the error, whatever else is wrong. */
    struct rk_err err = {0};
    if (!rk_json_text_check(&p->text, RK_PARSE_WHAT, &err))
        *p->err = err;
    return p->err->status;
}

enum rankd_status rk_wire_request_parse(struct rk_wire_request *wire, const struct rk_model *model,
                                        const struct rk_wire_source *source, struct rk_err *err)
{
    memset(wire, 0, sizeof *wire);
    wire->request.model = model;
    wire->request.params = rk_params_default();
    wire->budget = source->budget;
    if (source->json_bytes > source->bytes)
        return rk_fail(err, RANKD_INVALID, "Inference-Header-Content-Length is %zu; the body has %zu bytes",
                       source->json_bytes, source->bytes);
    struct rk_parser p = {
        .wire = wire, .model = model, .finder = source->finder, .held = source->held, .err = err};
    p.binary = (const char *)source->body + source->json_bytes;
    p.binary_bytes = source->bytes - source->json_bytes;
    rk_json_text_scan(&p.text, source->body, source->json_bytes);
    p.text.deadline_ns = source->deadline_ns;
    p.received_ns = source->received_ns;
    const enum rankd_status status = parse_text(&p);
    if (status != RANKD_OK)
        rk_wire_request_clear(wire);
    return status;
}

enum rankd_status rk_wire_request_refuse_raw(const struct rk_model *model, struct rk_err *err)
{
    return rk_fail(err, RANKD_INVALID,
                   "Inference-Header-Content-Length is 0, a raw request without JSON; model %s needs the "
                   "JSON header that "
                   "names its inputs",
                   model->name);
}

void rk_wire_request_clear(struct rk_wire_request *wire)
{
    for (unsigned i = 0; i < RK_IN_COUNT; i++) {
        free(wire->storage[i]);
        wire->storage[i] = NULL;
    }
    if (wire->budget && wire->storage_bytes)
        rk_budget_give(wire->budget, wire->storage_bytes);
    wire->storage_bytes = 0;
}
