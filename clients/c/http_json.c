/* SPDX-License-Identifier: Apache-2.0 */
#include "http_json.h"

#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "http_memory.h"
#include "names.h"
#include "reply_numbers.h"
#include "request.h"

/* Takes `value`, which may be NULL, over; the array owns it then. False: out of memory. */
static bool add(json_t *array, json_t *value)
{
    return json_array_append_new(array, value) == 0;
}

/* Takes `value` over. *object is NULL from the first failed allocation on. */
static void set(json_t **object, const char *name, json_t *value)
{
    if (json_object_set_new(*object, name, value) == 0)
        return;
    json_decref(*object);
    *object = NULL;
}

static json_t *shape_of(const struct rankd_tensor *tensor)
{
    json_t *shape = json_array();
    bool whole = shape != NULL;
    for (int i = 0; i < tensor->rank && whole; i++)
        whole = add(shape, json_integer((json_int_t)tensor->shape[i]));
    if (whole)
        return shape;
    json_decref(shape);
    return NULL;
}

static json_t *input_of(const struct rankd_tensor *input)
{
    json_t *entry = json_object(), *parameters = json_object();
    set(&parameters, "binary_data_size", json_integer((json_int_t)input->bytes));
    set(&entry, "name", json_string(rankd_input_names[input->port]));
    set(&entry, "shape", shape_of(input));
    set(&entry, "datatype", json_string(rankd_dtype_names[input->dtype]));
    set(&entry, "parameters", parameters);
    return entry;
}

static json_t *output_of(const struct rankd_tensor *output)
{
    json_t *entry = json_object(), *parameters = json_object();
    set(&parameters, "binary_data", json_true());
    set(&entry, "name", json_string(rankd_output_names[output->port]));
    set(&entry, "parameters", parameters);
    return entry;
}

/* An array of the results of `describe`. */
static json_t *array_of(const struct rankd_tensor *tensors, size_t count,
                        json_t *(*describe)(const struct rankd_tensor *tensor))
{
    json_t *array = json_array();
    bool whole = array != NULL;
    for (size_t i = 0; i < count && whole; i++)
        whole = add(array, describe(&tensors[i]));
    if (whole)
        return array;
    json_decref(array);
    return NULL;
}

static json_t *number(double value)
{
    return value == floor(value) && fabs(value) < 1e15 ? json_integer((json_int_t)value) : json_real(value);
}

static json_t *value_of(const struct rankd_parameter *parameter)
{
    return parameter->type == RANKD_TEXT   ? json_string(parameter->text)
           : parameter->type == RANKD_FLAG ? json_boolean(parameter->number != 0)
                                           : number(parameter->number);
}

static json_t *parameters_of(const struct rankd_request *request)
{
    json_t *parameters = json_object();
    for (size_t i = 0; i < request->parameter_count; i++)
        set(&parameters, request->parameters[i].name, value_of(&request->parameters[i]));
    if (request->timeout_ns != 0)
        set(&parameters, "timeout", json_integer((json_int_t)(request->timeout_ns / 1000) + 1));
    if (request->output_count == 0) /* the model's defaults: they are skipped, but must not be sent as text */
        set(&parameters, "binary_data_output", json_true());
    return parameters;
}

static json_t *head_of(const struct rankd_request *request)
{
    json_t *head = json_object();
    if (request->id != NULL)
        set(&head, "id", json_string(request->id));
    set(&head, "parameters", parameters_of(request));
    set(&head, "inputs", array_of(request->inputs, request->input_count, input_of));
    if (request->output_count != 0)
        set(&head, "outputs", array_of(request->outputs, request->output_count, output_of));
    return head;
}

static bool add_inputs(const struct rankd_request *request, size_t *bytes)
{
    for (size_t i = 0; i < request->input_count; i++) {
        if (__builtin_add_overflow(*bytes, request->inputs[i].bytes, bytes))
            return false;
    }
    return true;
}

/* Written straight to its destination: memory from Jansson may not be freed by free(). Most texts
 * are written once, because they fit. */
char *rankd_http_encode(const struct rankd_request *request, size_t *json_bytes, size_t *bytes)
{
    const size_t flags = JSON_COMPACT | JSON_REAL_PRECISION(17);
    char text[2048];
    json_t *head = head_of(request);
    *json_bytes = *bytes = head != NULL ? json_dumpb(head, text, sizeof text, flags) : 0;
    char *body = *bytes != 0 && add_inputs(request, bytes) ? malloc(*bytes) : NULL;
    if (body != NULL && *json_bytes <= sizeof text) {
        memcpy(body, text, *json_bytes);
    } else if (body != NULL && json_dumpb(head, body, *json_bytes, flags) != *json_bytes) {
        free(body);
        body = NULL;
    }
    json_decref(head);
    if (body == NULL)
        return NULL;
    char *at = body + *json_bytes;
    for (size_t i = 0; i < request->input_count; i++) {
        if (request->inputs[i].bytes != 0)
            memcpy(at, request->inputs[i].data, request->inputs[i].bytes);
        at += request->inputs[i].bytes;
    }
    return body;
}

static int index_of(const char *const *names, int count, const char *name)
{
    for (int i = 0; name != NULL && i < count; i++) {
        if (strcmp(names[i], name) == 0)
            return i;
    }
    return -1;
}

/* A member that is a whole number, or absent (*value is unchanged then). False: anything else. */
static bool read_count(const json_t *object, const char *name, uint64_t *value)
{
    const json_t *member = json_object_get(object, name);
    if (member == NULL)
        return true;
    if (!json_is_integer(member) || json_integer_value(member) < 0)
        return false;
    *value = (uint64_t)json_integer_value(member);
    return true;
}

/* The numbers for which the reply has no members, and the chain. null becomes NaN. */
static bool keep_numbers(const json_t *parameters, struct rankd_reply *reply)
{
    uint32_t numbers = 0;
    double number[RANKD_REPLY_NUMBERS] = {0};
    for (unsigned i = 0; i < RANKD_REPLY_NUMBERS; i++) {
        const json_t *member = json_object_get(parameters, rankd_number_names[i]);
        if (member == NULL)
            continue;
        if (!json_is_number(member) && !json_is_null(member))
            return false;
        numbers |= 1u << i;
        number[i] = json_is_null(member) ? NAN : json_number_value(member);
    }
    const json_t *chain = json_object_get(parameters, "bank_chain");
    if (chain != NULL && (!json_is_string(chain) || json_string_length(chain) >= RANKD_CHAIN_BYTES))
        return false;
    rankd_reply_keep(reply, numbers, number, json_string_value(chain));
    return true;
}

/* False: one of them is not a number in the form that rankd writes. */
static bool read_numbers(const json_t *parameters, struct rankd_reply *reply)
{
    const json_t *dropped = json_object_get(parameters, "gradient_dropped");
    if (parameters != NULL && !json_is_object(parameters))
        return false;
    reply->has_gradient = json_object_get(parameters, "gradient_nonzero") != NULL;
    reply->has_bank = json_object_get(parameters, "bank_version") != NULL;
    reply->gradient_dropped = json_number_value(dropped);
    return read_count(parameters, "lists", &reply->lists) &&
           read_count(parameters, "lists_skipped", &reply->lists_skipped) &&
           read_count(parameters, "lists_stalled", &reply->lists_stalled) &&
           read_count(parameters, "gradient_nonzero", &reply->gradient_nonzero) &&
           read_count(parameters, "bank_items", &reply->bank_items) &&
           read_count(parameters, "bank_version", &reply->bank_version) &&
           read_count(parameters, "bank_version_appended", &reply->bank_version_appended) &&
           read_count(parameters, "bank_generation", &reply->bank_generation) &&
           (dropped == NULL || json_is_number(dropped)) && keep_numbers(parameters, reply);
}

/* A failed reply has no outputs, but keeps the room that they need. */
static void drop_outputs(struct rankd_piece **pieces, struct rankd_reply *reply)
{
    for (int port = 0; port < RANKD_OUT_COUNT; port++) {
        if ((reply->owned & 1u << port) != 0)
            rankd_http_give(pieces, reply->outputs[port].data);
        reply->outputs[port].data = NULL;
    }
    reply->owned = 0;
}

static int fail(struct rankd_piece **pieces, struct rankd_reply *reply, int status, const char *sentence)
{
    drop_outputs(pieces, reply);
    return rankd_reply_fail(reply, status, sentence);
}

static int not_a_reply(struct rankd_piece **pieces, struct rankd_reply *reply, const char *reason)
{
    char sentence[sizeof reply->error];
    (void)snprintf(sentence, sizeof sentence, "the answer is not an inference reply of rankd: %s", reason);
    return fail(pieces, reply, RANKD_PROTOCOL, sentence);
}

/* The reason why the description is invalid; NULL: it is valid. */
static const char *read_description(const json_t *entry, struct rankd_tensor *output)
{
    const json_t *shape = json_object_get(entry, "shape"), *parameters = json_object_get(entry, "parameters");
    size_t rank = json_array_size(shape);
    *output = (struct rankd_tensor){.port = index_of(rankd_output_names, RANKD_OUT_COUNT,
                                                     json_string_value(json_object_get(entry, "name"))),
                                    .dtype = index_of(rankd_dtype_names, RANKD_DTYPE_COUNT,
                                                      json_string_value(json_object_get(entry, "datatype"))),
                                    .rank = (int)rank};
    if (output->port < 0)
        return "an output has no name that rankd gives";
    if (rank < 1 || rank > 2)
        return "an output's shape has not one or two dimensions";
    for (size_t i = 0; i < rank; i++) {
        const json_t *size = json_array_get(shape, i);
        if (!json_is_integer(size) || json_integer_value(size) < 0)
            return "an output's shape is not of whole numbers";
        output->shape[i] = (uint64_t)json_integer_value(size);
    }
    if (json_object_get(parameters, "binary_data_size") == NULL ||
        !read_count(parameters, "binary_data_size", &output->bytes))
        return "an output has no binary_data_size";
    return rankd_output_fits(output) ? NULL : "an output's shape, datatype and binary_data_size differ";
}

/* Copies to the caller's room, or to new memory. */
static int take_output(struct rankd_piece **pieces, const struct rankd_tensor *described, const char *data,
                       const struct rankd_http_room *room, struct rankd_reply *reply)
{
    struct rankd_tensor *output = &reply->outputs[described->port];
    bool bounded = room->to != NULL || room->bytes != 0;
    *output = *described;
    if (bounded && output->bytes > room->bytes) {
        reply->status = RANKD_INVALID;
        (void)snprintf(reply->error, sizeof reply->error, "output %s has room for %llu bytes; it needs %llu",
                       rankd_output_names[output->port], (unsigned long long)room->bytes,
                       (unsigned long long)output->bytes);
        drop_outputs(pieces, reply);
        return RANKD_INVALID;
    }
    output->data = room->to != NULL ? room->to : rankd_http_take(pieces, output->bytes);
    if (output->data == NULL)
        return fail(pieces, reply, RANKD_NO_MEMORY, "out of memory for an output");
    if (room->to == NULL)
        reply->owned |= 1u << output->port;
    memcpy(output->data, data, output->bytes);
    return RANKD_OK;
}

/* One output: its description, and its bytes at the beginning of the rest. */
static int read_output(struct rankd_piece **pieces, const json_t *entry, const char **at, size_t *left,
                       const struct rankd_http_room *rooms, unsigned *seen, struct rankd_reply *reply)
{
    struct rankd_tensor output;
    const char *wrong = read_description(entry, &output);
    if (wrong == NULL && (*seen & 1u << output.port) != 0)
        wrong = "an output is there twice";
    if (wrong == NULL && output.bytes > *left)
        wrong = "it ends before its outputs do";
    if (wrong != NULL)
        return not_a_reply(pieces, reply, wrong);
    const char *data = *at;
    *at += output.bytes;
    *left -= output.bytes;
    *seen |= 1u << output.port;
    if (output.port == RANKD_OUT_LOSS) {
        float loss;
        memcpy(&loss, data, sizeof loss);
        reply->loss = (double)loss;
    }
    return rooms[output.port].wanted ? take_output(pieces, &output, data, &rooms[output.port], reply)
                                     : RANKD_OK;
}

/* All outputs. No requested one may be missing, and nothing may follow. */
static int read_outputs(struct rankd_piece **pieces, const json_t *outputs, const char *at, size_t left,
                        const struct rankd_http_room *rooms, struct rankd_reply *reply)
{
    unsigned seen = 0;
    int status = RANKD_OK;
    for (size_t i = 0; i < json_array_size(outputs) && status == RANKD_OK; i++)
        status = read_output(pieces, json_array_get(outputs, i), &at, &left, rooms, &seen, reply);
    for (int port = 0; port < RANKD_OUT_COUNT && status == RANKD_OK; port++) {
        if (rooms[port].wanted && (seen & 1u << port) == 0)
            status = not_a_reply(pieces, reply, "an output that was asked for is missing");
    }
    if (status == RANKD_OK && left != 0)
        status = not_a_reply(pieces, reply, "there is more behind its outputs");
    return status;
}

static json_t *parse(struct rankd_piece **pieces, const char *body, size_t bytes, struct rankd_reply *reply)
{
    json_error_t error;
    json_t *head = json_loadb(body, bytes, 0, &error);
    if (head == NULL && error.text[0] == '\0') /* a body that is not JSON is a text with the reason */
        (void)fail(pieces, reply, RANKD_NO_MEMORY, "out of memory for the reply");
    else if (head == NULL)
        (void)not_a_reply(pieces, reply, "its head is not JSON, or memory was short to read it");
    else if (!json_is_array(json_object_get(head, "outputs")))
        (void)not_a_reply(pieces, reply, "it has no outputs");
    else if (!read_numbers(json_object_get(head, "parameters"), reply))
        (void)not_a_reply(pieces, reply, "its parameters are not what rankd writes");
    return head;
}

int rankd_http_decode(struct rankd_piece **pieces, const char *body, size_t bytes, size_t json_bytes,
                      const struct rankd_http_room *rooms, struct rankd_reply *reply)
{
    memset(reply, 0, sizeof *reply);
    if (json_bytes > bytes)
        return not_a_reply(pieces, reply, "it is shorter than its Inference-Header-Content-Length");
    json_t *head = parse(pieces, body, json_bytes, reply);
    int status = reply->status;
    if (status == RANKD_OK) {
        reply->loss = NAN; /* until its output is found */
        status = read_outputs(pieces, json_object_get(head, "outputs"), body + json_bytes, bytes - json_bytes,
                              rooms, reply);
    }
    json_decref(head);
    return status;
}
