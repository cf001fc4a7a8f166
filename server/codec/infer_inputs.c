/* SPDX-License-Identifier: Apache-2.0 */
/* The inputs of a request: numbers in the JSON, binary data behind it, or a range in shared
 * memory. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_heap.h"
#include "base/nearest.h"
#include "base/number.h"
#include "codec/infer_parser.h"
#include "codec/numbers.h"

static enum rankd_status find_input(struct rk_parser *p, const json_t *input, size_t position,
                                    enum rk_input *out)
{
    const json_t *name = json_object_get(input, "name");
    if (!json_is_string(name))
        return rk_fail(p->err, RANKD_INVALID, "input %zu has no name", position);
    for (unsigned i = 0; i < RK_IN_COUNT; i++) {
        if (strcmp(rk_input_rows[i].name, json_string_value(name)) == 0) {
            *out = (enum rk_input)i;
            if (p->wire->request.in[i].data)
                return rk_fail(p->err, RANKD_INVALID, "input %s was sent twice", rk_input_rows[i].name);
            return RANKD_OK;
        }
    }
    struct rk_nearest nearest = rk_nearest_start(json_string_value(name));
    const unsigned taken = rk_model_inputs(p->model);
    for (unsigned i = 0; i < RK_IN_COUNT; i++) {
        if (taken >> i & 1u)
            rk_nearest_offer(&nearest, rk_input_rows[i].name);
    }
    return rk_fail(p->err, RANKD_INVALID, "input \"%.64s\" is not one of model %s%s%s%s",
                   json_string_value(name), p->model->name, nearest.best ? "; did you mean \"" : "",
                   nearest.best ? nearest.best : "", nearest.best ? "\"?" : "");
}

static enum rankd_status parse_shape(struct rk_parser *p, const struct rk_port_row *row, const json_t *shape,
                                     struct rk_tensor *tensor)
{
    char field[96];
    (void)snprintf(field, sizeof field, "shape of input %s", row->name);
    if (!json_is_array(shape))
        return rk_parse_wrong(p, field, shape, "an array of whole numbers");
    size_t rank = json_array_size(shape);
    if (rank == 0 || rank > RK_MAX_RANK)
        return rk_fail(p->err, RANKD_INVALID, "input %s has %zu dimensions; its shape must be %s", row->name,
                       rank, row->shape);
    tensor->rank = (unsigned)rank;
    for (size_t i = 0; i < rank; i++) {
        const json_t *extent = json_array_get(shape, i);
        int64_t number;
        if (!rk_json_whole(extent, &number) || number < 0) {
            char shown[RK_JSON_SHOWN];
            return rk_fail(p->err, RANKD_INVALID,
                           "%s has %s as dimension %zu; it must be a whole number, 0 or more", field,
                           rk_json_show(&p->source, extent, shown), i);
        }
        tensor->shape[i] = (size_t)number;
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

/* A type that the input does not take is refused here, because the valid JSON data depend on it. */
static enum rankd_status parse_datatype(struct rk_parser *p, enum rk_input which, const json_t *datatype,
                                        struct rk_tensor *tensor)
{
    const struct rk_port_row *row = &rk_input_rows[which];
    if (json_is_string(datatype) && rk_dtype_parse(json_string_value(datatype), &tensor->dtype) &&
        (row->dtypes >> tensor->dtype & 1u))
        return RANKD_OK;
    char field[96], may[128], names[96];
    (void)snprintf(field, sizeof field, "datatype of input %s", row->name);
    datatype_names(row->dtypes, names, sizeof names);
    (void)snprintf(may, sizeof may, strchr(names, ',') ? "one of %s" : "%s", names);
    return rk_parse_wrong(p, field, datatype, may);
}

/* Memory for the tensor, reserved for the request. */
static enum rankd_status make_room(struct rk_parser *p, enum rk_input which, size_t bytes)
{
    struct rk_wire_request *wire = p->wire;
    const size_t room = rk_storage_aligned(bytes);
    if (room == 0)
        return RANKD_OK;
    const size_t held = p->held + rk_json_heap_held() + wire->storage_bytes;
    if (wire->budget && rk_budget_reserve(wire->budget, held, room, RK_PARSE_WHAT, p->err) != RANKD_OK)
        return p->err->status;
    rk_json_heap_beside(room);
    wire->storage_bytes += room;
    wire->storage[which] = aligned_alloc(RK_STORAGE_ALIGN, room);
    return wire->storage[which] ? RANKD_OK
                                : rk_fail(p->err, RANKD_OVERLOADED, "out of memory for %zu bytes of input %s",
                                          room, rk_input_rows[which].name);
}

static enum rankd_status take_json(struct rk_parser *p, enum rk_input which, size_t position,
                                   const json_t *data, size_t count, struct rk_tensor *tensor)
{
    const char *name = rk_input_rows[which].name;
    struct rk_json_array *array = rk_json_text_array(&p->text, position);
    if (!json_is_array(data) || !array) {
        char shown[RK_JSON_SHOWN];
        return rk_fail(p->err, RANKD_INVALID, "data of input %s is %s; it must be an array of numbers", name,
                       rk_json_show(&p->source, data, shown));
    }
    /* An element takes at least two bytes of text, so a shape with more elements is refused before
     * memory is taken. */
    const bool may_fit = count <= array->bytes / 2;
    if (may_fit && make_room(p, which, tensor->bytes) != RANKD_OK)
        return p->err->status;
    struct rk_numbers numbers = {&p->text, array, RK_PARSE_WHAT,          name,
                                 tensor,   count, p->wire->storage[which]};
    const enum rankd_status status = rk_numbers_read(&numbers, may_fit, p->err);
    if (status == RANKD_OK)
        tensor->data = p->wire->storage[which];
    return status;
}

static enum rankd_status take_binary(struct rk_parser *p, const char *name, const json_t *parameters,
                                     struct rk_tensor *tensor)
{
    size_t bytes = 0;
    char owner[80], shape[RK_SHAPE_TEXT];
    (void)snprintf(owner, sizeof owner, "input %s", name);
    enum rankd_status status = rk_parse_size(p, owner, parameters, "binary_data_size", &bytes);
    if (status != RANKD_OK)
        return status;
    if (bytes != tensor->bytes)
        return rk_fail(p->err, RANKD_INVALID,
                       "binary_data_size of input %s is %zu; its shape %s of %s takes %zu bytes", name, bytes,
                       rk_shape_text(tensor->rank, tensor->shape, shape), rk_dtype_name(tensor->dtype),
                       tensor->bytes);
    /* Missing bytes are detected at the end, where the sum is known. */
    if (bytes <= p->binary_bytes && p->binary_used <= p->binary_bytes - bytes)
        tensor->data = p->binary + p->binary_used;
    if (__builtin_add_overflow(p->binary_used, bytes, &p->binary_used))
        return rk_fail(p->err, RANKD_INVALID, "binary_data_size of input %s is %zu, which is too much", name,
                       bytes);
    return RANKD_OK;
}

static enum rankd_status take_region(struct rk_parser *p, const char *name, const json_t *parameters,
                                     struct rk_tensor *tensor)
{
    size_t bytes;
    void *at;
    char owner[80];
    (void)snprintf(owner, sizeof owner, "input %s", name);
    enum rankd_status status =
        rk_parse_region(p, owner, parameters, RK_REGION_READ, &bytes, &at, &tensor->on_device);
    if (status != RANKD_OK)
        return status;
    if (bytes != tensor->bytes)
        return rk_fail(p->err, RANKD_INVALID,
                       "shared_memory_byte_size of input %s is %zu; its shape and datatype take %zu", name,
                       bytes, tensor->bytes);
    tensor->data = at;
    return RANKD_OK;
}

static enum rankd_status check_input_fields(struct rk_parser *p, const json_t *input, const char *name)
{
    static const char *const known[] = {"name", "shape", "datatype", "data", "parameters", NULL};
    static const char *const known_parameters[] = {"binary_data_size", "shared_memory_region",
                                                   "shared_memory_offset", "shared_memory_byte_size", NULL};
    const json_t *parameters = rk_json_member(input, "parameters");
    char where[96];
    (void)snprintf(where, sizeof where, "input %s", name);
    if (!rk_json_only(input, known, where, p->err))
        return p->err->status;
    (void)snprintf(where, sizeof where, "parameters of input %s", name);
    if (parameters && !json_is_object(parameters))
        return rk_parse_wrong(p, where, parameters, "an object");
    return rk_parse_only_ours(p, parameters, known_parameters, where);
}

/* The elements of an input, from the one source that it names. */
static enum rankd_status take_elements(struct rk_parser *p, enum rk_input which, size_t position,
                                       const json_t *input, size_t count, struct rk_tensor *tensor)
{
    const char *name = rk_input_rows[which].name;
    const json_t *data = rk_json_member(input, "data"), *parameters = rk_json_member(input, "parameters");
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
        return take_json(p, which, position, data, count, tensor);
    return size ? take_binary(p, name, parameters, tensor) : take_region(p, name, parameters, tensor);
}

/* An empty tensor has no address of its own, but `data` NULL would mean that it was not sent. */
static const char nothing[1];

static enum rankd_status parse_input(struct rk_parser *p, const json_t *input, size_t position)
{
    char where[32];
    (void)snprintf(where, sizeof where, "input %zu", position);
    if (!json_is_object(input))
        return rk_parse_wrong(p, where, input, "an object with a name, a shape and a datatype");
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
        status = parse_shape(p, &rk_input_rows[which], json_object_get(input, "shape"), &tensor);
    if (status != RANKD_OK)
        return status;
    size_t count;
    if (!rk_shape_bytes(tensor.dtype, tensor.rank, tensor.shape, &count, &tensor.bytes)) {
        char shape[RK_SHAPE_TEXT];
        return rk_fail(p->err, RANKD_INVALID, "shape of input %s is %s, which is more than can be addressed",
                       name, rk_shape_text(tensor.rank, tensor.shape, shape));
    }
    status = take_elements(p, which, position, input, count, &tensor);
    if (status == RANKD_OK && !tensor.data)
        tensor.data = nothing; /* bytes are missing: rk_parse_inputs() refuses */
    p->wire->request.in[which] = tensor;
    return status;
}

enum rankd_status rk_parse_inputs(struct rk_parser *p, const json_t *inputs)
{
    if (!json_is_array(inputs))
        return inputs ? rk_parse_wrong(p, "inputs", inputs, "an array of inputs")
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
