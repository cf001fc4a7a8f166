#include "codec/infer_request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "nearest.h"
#include "number.h"
#include "numbers.h"

/* What parsing passes from step to step. */
struct parser {
    struct rk_wire_request *wire;
    const struct rk_model *model;
    const char *binary; /* the bytes behind the JSON */
    size_t binary_bytes, binary_used;
    char *storage; /* one block for all tensors that came as JSON */
    size_t storage_bytes, storage_used;
    struct rk_region_finder *finder;
    bool binary_by_default;
    struct rk_err *err;
};

enum { STORAGE_ALIGN = 64 };

static size_t aligned(size_t bytes)
{
    return (bytes + STORAGE_ALIGN - 1) & ~(size_t)(STORAGE_ALIGN - 1);
}

static enum rankd_status wrong_type(struct parser *p, const char *field, const json_t *value, const char *may)
{
    char shown[RK_JSON_SHOWN];
    return rk_fail(p->err, RANKD_INVALID, "%s is %s; it must be %s", field, rk_json_show(value, shown), may);
}

/* --- parameters --- */

/* Parameters of the protocol that other servers act on; a client library may send them unasked. */
static bool reserved(const char *name)
{
    static const char *const names[] = {"sequence_id", "sequence_start", "sequence_end", "priority",
                                        "headers"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(name, names[i]) == 0)
            return true;
    }
    return strncmp(name, "triton_", 7) == 0;
}

static enum rankd_status parse_timeout(struct parser *p, const json_t *value)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return wrong_type(p, "parameter timeout", value, "a whole number of microseconds, 0 for none");
    uint64_t us = (uint64_t)json_integer_value(value);
    p->wire->timeout_ns = us > UINT64_MAX / 1000 ? UINT64_MAX : us * 1000;
    return RANKD_OK;
}

static enum rankd_status unknown_parameter(struct parser *p, const char *name)
{
    const char *nearest = rk_param_nearest(name, p->model->use_scores | p->model->use_embeddings);
    return rk_fail(p->err, RANKD_INVALID, "parameter \"%.64s\" is not one of model %s%s%s%s", name,
                   p->model->name, nearest ? "; did you mean \"" : "", nearest ? nearest : "",
                   nearest ? "\"?" : "");
}

static enum rankd_status parse_parameter(struct parser *p, const char *name, const json_t *value)
{
    struct rk_params *params = &p->wire->request.params;
    if (strcmp(name, "timeout") == 0)
        return parse_timeout(p, value);
    if (strcmp(name, "binary_data_output") == 0) {
        if (!json_is_boolean(value))
            return wrong_type(p, "parameter binary_data_output", value, "true or false");
        p->binary_by_default = json_is_true(value);
        return RANKD_OK;
    }
    if (reserved(name))
        return RANKD_OK;
    const struct rk_param_row *row = rk_param_find(name);
    if (!row)
        return unknown_parameter(p, name);
    if (json_is_string(value)) {
        if (strlen(json_string_value(value)) != json_string_length(value))
            return rk_fail(p->err, RANKD_INVALID, "parameter %s holds a NUL character", name);
        return rk_param_set_text(params, row, json_string_value(value), p->err);
    }
    if (json_is_boolean(value))
        return rk_param_set_flag(params, row, json_is_true(value), p->err);
    if (json_is_number(value))
        return rk_param_set_number(params, row, json_number_value(value), p->err);
    char field[128];
    (void)snprintf(field, sizeof field, "parameter %s", name);
    return wrong_type(p, field, value, "a number, a word, true or false");
}

static enum rankd_status parse_parameters(struct parser *p, const json_t *parameters)
{
    if (!parameters)
        return RANKD_OK;
    if (!json_is_object(parameters))
        return wrong_type(p, "parameters", parameters, "an object");
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

/* --- a place in shared memory, of an input or an output --- */

static enum rankd_status parse_size(struct parser *p, const char *owner, const json_t *object,
                                    const char *key, size_t *out)
{
    const json_t *value = json_object_get(object, key);
    if (!value)
        return RANKD_OK;
    char field[128];
    (void)snprintf(field, sizeof field, "%s of %s", key, owner);
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return wrong_type(p, field, value, "a whole number, 0 or more");
    *out = (size_t)json_integer_value(value);
    return RANKD_OK;
}

static enum rankd_status parse_region(struct parser *p, const char *owner, const json_t *parameters,
                                      enum rk_region_use use, size_t *bytes, void **at, bool *on_card)
{
    const json_t *name = json_object_get(parameters, "shared_memory_region");
    size_t offset = 0;
    *bytes = 0;
    if (!json_is_string(name))
        return rk_fail(p->err, RANKD_INVALID,
                       "shared_memory_region of %s must be the name of a registered region", owner);
    if (!p->finder)
        return rk_fail(p->err, RANKD_UNSUPPORTED,
                       "%s is in a shared memory region; regions are switched off (--allow-shm-regions)",
                       owner);
    enum rankd_status status = parse_size(p, owner, parameters, "shared_memory_byte_size", bytes);
    if (status == RANKD_OK)
        status = parse_size(p, owner, parameters, "shared_memory_offset", &offset);
    if (status != RANKD_OK)
        return status;
    *at = p->finder->find(p->finder, json_string_value(name), offset, *bytes, use, owner, on_card, p->err);
    return *at ? RANKD_OK : p->err->status;
}

/* --- inputs --- */

static enum rankd_status find_input(struct parser *p, const json_t *input, size_t position,
                                    enum rk_input *out)
{
    const json_t *name = json_object_get(input, "name");
    if (!json_is_string(name))
        return rk_fail(p->err, RANKD_INVALID, "input %zu has no name", position);
    struct rk_nearest nearest = rk_nearest_start(json_string_value(name));
    unsigned taken = p->model->inputs_scores | p->model->inputs_embeddings | p->model->inputs_optional;
    for (unsigned i = 0; i < RK_IN_COUNT; i++) {
        if (strcmp(rk_input_rows[i].name, json_string_value(name)) == 0) {
            *out = (enum rk_input)i;
            if (p->wire->request.in[i].data)
                return rk_fail(p->err, RANKD_INVALID, "input %s was sent twice", rk_input_rows[i].name);
            return RANKD_OK;
        }
        if (taken >> i & 1u)
            rk_nearest_offer(&nearest, rk_input_rows[i].name);
    }
    return rk_fail(p->err, RANKD_INVALID, "input \"%.64s\" is not one of model %s%s%s%s",
                   json_string_value(name), p->model->name, nearest.best ? "; did you mean \"" : "",
                   nearest.best ? nearest.best : "", nearest.best ? "\"?" : "");
}

static enum rankd_status parse_shape(struct parser *p, const char *name, const json_t *shape,
                                     struct rk_tensor *tensor)
{
    char field[96];
    (void)snprintf(field, sizeof field, "shape of input %s", name);
    if (!json_is_array(shape))
        return wrong_type(p, field, shape, "an array of whole numbers");
    size_t rank = json_array_size(shape);
    if (rank == 0 || rank > RK_MAX_RANK)
        return rk_fail(p->err, RANKD_INVALID, "%s has %zu dimensions; it may have 1 to %d", field, rank,
                       RK_MAX_RANK);
    tensor->rank = (unsigned)rank;
    for (size_t i = 0; i < rank; i++) {
        const json_t *extent = json_array_get(shape, i);
        if (!json_is_integer(extent) || json_integer_value(extent) < 0) {
            char shown[RK_JSON_SHOWN];
            return rk_fail(p->err, RANKD_INVALID,
                           "%s has %s as dimension %zu; it must be a whole number of at least 1", field,
                           rk_json_show(extent, shown), i);
        }
        tensor->shape[i] = (size_t)json_integer_value(extent);
    }
    return RANKD_OK;
}

/* The names in a set of datatypes, "FP32, FP64". */
static const char *datatype_names(unsigned dtypes, char *text, size_t size)
{
    size_t at = 0;
    text[0] = '\0';
    for (unsigned i = 0; i < RK_DTYPE_COUNT && at < size; i++) {
        if (dtypes >> i & 1u)
            at += (size_t)snprintf(text + at, size - at, "%s%s", at ? ", " : "",
                                   rk_dtype_name((enum rk_dtype)i));
    }
    return text;
}

/* A type that the input does not take is refused here already: what JSON data may be depends on it. */
static enum rankd_status parse_datatype(struct parser *p, enum rk_input which, const json_t *datatype,
                                        struct rk_tensor *tensor)
{
    const struct rk_port_row *row = &rk_input_rows[which];
    if (json_is_string(datatype) && rk_dtype_parse(json_string_value(datatype), &tensor->dtype) &&
        (row->dtypes >> tensor->dtype & 1u))
        return RANKD_OK;
    char field[96], may[128], names[96];
    (void)snprintf(field, sizeof field, "datatype of input %s", row->name);
    (void)snprintf(may, sizeof may, "one of %s", datatype_names(row->dtypes, names, sizeof names));
    return wrong_type(p, field, datatype, may);
}

static enum rankd_status take_json(struct parser *p, const char *name, const json_t *data, size_t count,
                                   struct rk_tensor *tensor)
{
    size_t want = aligned(tensor->bytes);
    /* Every element is a value of the JSON document, so a shape that asks for more is wrong before it costs
     * memory. */
    if (tensor->bytes > p->storage_bytes || want > p->storage_bytes - p->storage_used)
        return rk_fail(p->err, RANKD_INVALID,
                       "data of input %s has fewer elements than its shape takes (%zu)", name, count);
    void *out = p->storage + p->storage_used;
    enum rankd_status status = rk_numbers_read(data, name, tensor->dtype, count, out, p->err);
    if (status != RANKD_OK)
        return status;
    p->storage_used += want;
    tensor->data = out;
    return RANKD_OK;
}

static enum rankd_status take_binary(struct parser *p, const char *name, const json_t *parameters,
                                     struct rk_tensor *tensor)
{
    size_t bytes = 0;
    char owner[80], shape[RK_SHAPE_TEXT];
    (void)snprintf(owner, sizeof owner, "input %s", name);
    enum rankd_status status = parse_size(p, owner, parameters, "binary_data_size", &bytes);
    if (status != RANKD_OK)
        return status;
    if (bytes != tensor->bytes)
        return rk_fail(p->err, RANKD_INVALID,
                       "binary_data_size of input %s is %zu; its shape %s of %s takes %zu bytes", name, bytes,
                       rk_shape_text(tensor->rank, tensor->shape, shape), rk_dtype_name(tensor->dtype),
                       tensor->bytes);
    /* Whether all of it is there is told at the end, where the sum is known. */
    if (bytes <= p->binary_bytes && p->binary_used <= p->binary_bytes - bytes)
        tensor->data = p->binary + p->binary_used;
    if (__builtin_add_overflow(p->binary_used, bytes, &p->binary_used))
        return rk_fail(p->err, RANKD_INVALID, "binary_data_size of input %s is %zu, which is too much", name,
                       bytes);
    return RANKD_OK;
}

static enum rankd_status take_region(struct parser *p, const char *name, const json_t *parameters,
                                     struct rk_tensor *tensor)
{
    size_t bytes;
    void *at;
    char owner[80];
    (void)snprintf(owner, sizeof owner, "input %s", name);
    enum rankd_status status =
        parse_region(p, owner, parameters, RK_REGION_READ, &bytes, &at, &tensor->on_card);
    if (status != RANKD_OK)
        return status;
    if (bytes != tensor->bytes)
        return rk_fail(p->err, RANKD_INVALID,
                       "shared_memory_byte_size of input %s is %zu; its shape and datatype take %zu", name,
                       bytes, tensor->bytes);
    tensor->data = at;
    return RANKD_OK;
}

static enum rankd_status check_input_fields(struct parser *p, const json_t *input, const char *name)
{
    static const char *const known[] = {"name", "shape", "datatype", "data", "parameters", NULL};
    static const char *const known_parameters[] = {"binary_data_size", "shared_memory_region",
                                                   "shared_memory_offset", "shared_memory_byte_size", NULL};
    const json_t *parameters = json_object_get(input, "parameters");
    char where[96];
    (void)snprintf(where, sizeof where, "input %s", name);
    if (!rk_json_only(input, known, where, p->err))
        return p->err->status;
    (void)snprintf(where, sizeof where, "parameters of input %s", name);
    if (parameters && !json_is_object(parameters))
        return wrong_type(p, where, parameters, "an object");
    return rk_json_only(parameters, known_parameters, where, p->err) ? RANKD_OK : p->err->status;
}

/* An empty tensor has no address of its own, but `data` NULL would mean that it was not sent. */
static const char nothing[1];

static enum rankd_status parse_input(struct parser *p, const json_t *input, size_t position)
{
    if (!json_is_object(input))
        return rk_fail(p->err, RANKD_INVALID, "input %zu is not an object", position);
    enum rk_input which = RK_IN_COUNT;
    enum rankd_status status = find_input(p, input, position, &which);
    if (status != RANKD_OK)
        return status;
    const char *name = rk_input_rows[which].name;
    struct rk_tensor tensor = {0};
    status = check_input_fields(p, input, name);
    if (status == RANKD_OK)
        status = parse_datatype(p, which, json_object_get(input, "datatype"), &tensor);
    if (status == RANKD_OK)
        status = parse_shape(p, name, json_object_get(input, "shape"), &tensor);
    if (status != RANKD_OK)
        return status;
    size_t count;
    if (!rk_shape_bytes(tensor.dtype, tensor.rank, tensor.shape, &count, &tensor.bytes)) {
        char shape[RK_SHAPE_TEXT];
        return rk_fail(p->err, RANKD_INVALID, "shape of input %s is %s, which is more than can be addressed",
                       name, rk_shape_text(tensor.rank, tensor.shape, shape));
    }
    const json_t *data = json_object_get(input, "data"), *parameters = json_object_get(input, "parameters");
    const json_t *size = json_object_get(parameters, "binary_data_size");
    const json_t *region = json_object_get(parameters, "shared_memory_region");
    if (!!data + !!size + !!region != 1)
        return rk_fail(
            p->err, RANKD_INVALID,
            "input %s has %s; it must have exactly one of data, binary_data_size and shared_memory_region",
            name,
            !data && !size && !region ? "no data"
            : data && size            ? "both data and binary_data_size"
                                      : "more than one source of data");
    if (data)
        status = take_json(p, name, data, count, &tensor);
    else if (size)
        status = take_binary(p, name, parameters, &tensor);
    else
        status = take_region(p, name, parameters, &tensor);
    if (status == RANKD_OK && !tensor.data)
        tensor.data = nothing; /* bytes are missing: parse_inputs() refuses */
    p->wire->request.in[which] = tensor;
    return status;
}

static enum rankd_status parse_inputs(struct parser *p, const json_t *inputs)
{
    if (!json_is_array(inputs))
        return inputs ? wrong_type(p, "inputs", inputs, "an array of inputs")
                      : rk_fail(p->err, RANKD_INVALID,
                                "the request has no inputs; it must have an array \"inputs\"");
    size_t count = json_array_size(inputs);
    for (size_t i = 0; i < count; i++) {
        enum rankd_status status = parse_input(p, json_array_get(inputs, i), i);
        if (status != RANKD_OK)
            return status;
    }
    if (p->binary_used != p->binary_bytes)
        return rk_fail(p->err, RANKD_INVALID, "the binary inputs take %zu bytes; %zu bytes followed the JSON",
                       p->binary_used, p->binary_bytes);
    return RANKD_OK;
}

/* --- outputs --- */

static enum rankd_status find_output(struct parser *p, const json_t *output, unsigned *out)
{
    const json_t *name = json_object_get(output, "name");
    if (!json_is_string(name))
        return rk_fail(p->err, RANKD_INVALID, "an output has no name");
    struct rk_nearest nearest = rk_nearest_start(json_string_value(name));
    for (unsigned i = 0; i < RK_OUT_COUNT; i++) {
        if (strcmp(rk_output_rows[i].name, json_string_value(name)) == 0) {
            *out = i;
            if (p->wire->request.outputs >> i & 1u)
                return rk_fail(p->err, RANKD_INVALID, "output %s was asked for twice",
                               rk_output_rows[i].name);
            return RANKD_OK;
        }
        if (p->model->outputs >> i & 1u)
            rk_nearest_offer(&nearest, rk_output_rows[i].name);
    }
    return rk_fail(p->err, RANKD_INVALID, "output \"%.64s\" is not one of model %s%s%s%s",
                   json_string_value(name), p->model->name, nearest.best ? "; did you mean \"" : "",
                   nearest.best ? nearest.best : "", nearest.best ? "\"?" : "");
}

static enum rankd_status parse_output_parameters(struct parser *p, const json_t *parameters, unsigned which)
{
    static const char *const known[] = {"binary_data", "shared_memory_region", "shared_memory_offset",
                                        "shared_memory_byte_size", NULL};
    char owner[96];
    (void)snprintf(owner, sizeof owner, "output %s", rk_output_rows[which].name);
    if (!json_is_object(parameters))
        return wrong_type(p, owner, parameters, "given an object as parameters");
    if (!rk_json_only(parameters, known, owner, p->err))
        return p->err->status;
    const json_t *binary = json_object_get(parameters, "binary_data");
    if (binary && !json_is_boolean(binary))
        return wrong_type(p, "binary_data", binary, "true or false");
    if (binary)
        p->wire->binary[which] = json_is_true(binary);
    if (!json_object_get(parameters, "shared_memory_region"))
        return RANKD_OK;
    return parse_region(p, owner, parameters, RK_REGION_WRITE, &p->wire->region_bytes[which],
                        &p->wire->region[which], &p->wire->region_on_card[which]);
}

static enum rankd_status parse_output(struct parser *p, const json_t *output)
{
    static const char *const known[] = {"name", "parameters", NULL};
    struct rk_wire_request *wire = p->wire;
    unsigned which = 0;
    if (!json_is_object(output))
        return rk_fail(p->err, RANKD_INVALID, "an output is not an object");
    if (!rk_json_only(output, known, "an output", p->err))
        return p->err->status;
    enum rankd_status status = find_output(p, output, &which);
    if (status != RANKD_OK)
        return status;
    wire->output[wire->outputs++] = which;
    wire->request.outputs |= 1u << which;
    wire->binary[which] = p->binary_by_default;
    const json_t *parameters = json_object_get(output, "parameters");
    return parameters ? parse_output_parameters(p, parameters, which) : RANKD_OK;
}

static enum rankd_status parse_outputs(struct parser *p, const json_t *outputs)
{
    struct rk_wire_request *wire = p->wire;
    if (outputs && !json_is_array(outputs))
        return wrong_type(p, "outputs", outputs, "an array of outputs");
    size_t count = json_array_size(outputs);
    for (size_t i = 0; i < count; i++) {
        enum rankd_status status = parse_output(p, json_array_get(outputs, i));
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

/* --- the whole --- */

static enum rankd_status parse_id(struct parser *p, const json_t *id)
{
    if (!id)
        return RANKD_OK;
    if (!json_is_string(id))
        return wrong_type(p, "id", id, "a string");
    size_t length = json_string_length(id);
    if (length >= sizeof p->wire->id || strlen(json_string_value(id)) != length)
        return rk_fail(p->err, RANKD_INVALID, "id has %zu bytes; it may have %zu, none of them NUL", length,
                       sizeof p->wire->id - 1);
    memcpy(p->wire->id, json_string_value(id), length + 1);
    return RANKD_OK;
}

static enum rankd_status parse_document(struct parser *p, const json_t *document)
{
    static const char *const known[] = {"id", "parameters", "inputs", "outputs", NULL};
    if (!rk_json_only(document, known, "the request", p->err))
        return p->err->status;
    enum rankd_status status = parse_id(p, json_object_get(document, "id"));
    if (status == RANKD_OK)
        status = parse_parameters(p, json_object_get(document, "parameters"));
    if (status == RANKD_OK)
        status = parse_inputs(p, json_object_get(document, "inputs"));
    if (status == RANKD_OK)
        status = parse_outputs(p, json_object_get(document, "outputs"));
    return status;
}

enum rankd_status rk_wire_request_parse(struct rk_wire_request *wire, const struct rk_model *model,
                                        const void *body, size_t bytes, size_t json_bytes,
                                        struct rk_region_finder *finder, struct rk_err *err)
{
    memset(wire, 0, sizeof *wire);
    wire->request.model = model;
    wire->request.params = rk_params_default();
    if (json_bytes > bytes)
        return rk_fail(err, RANKD_INVALID, "Inference-Header-Content-Length is %zu; the body has %zu bytes",
                       json_bytes, bytes);
    json_t *document = rk_json_parse_new(body, json_bytes, "the request", err);
    if (!document)
        return err->status;
    struct parser p = {.wire = wire, .model = model, .finder = finder, .err = err};
    p.binary = (const char *)body + json_bytes;
    p.binary_bytes = bytes - json_bytes;
    /* A number takes two bytes of JSON at least ("1,"), so eight bytes a number are enough for all inputs
     * together. */
    p.storage_bytes = json_bytes * 4 + (size_t)RK_IN_COUNT * STORAGE_ALIGN + 8;
    p.storage = aligned_alloc(STORAGE_ALIGN, aligned(p.storage_bytes));
    if (!p.storage) {
        json_decref(document);
        return rk_fail(err, RANKD_OVERLOADED, "out of memory for a request of %zu bytes", bytes);
    }
    wire->storage = p.storage;
    enum rankd_status status = parse_document(&p, document);
    json_decref(document);
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
    free(wire->storage);
    wire->storage = NULL;
}
