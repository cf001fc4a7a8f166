#include "http_json.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *shape_of(const struct rankd_tensor *tensor)
{
    json_t *shape = json_array();
    for (int i = 0; i < tensor->rank; i++)
        (void)json_array_append_new(shape, json_integer((json_int_t)tensor->shape[i]));
    return shape;
}

static json_t *inputs_of(const struct rankd_request *request)
{
    json_t *inputs = json_array();
    for (size_t i = 0; i < request->input_count; i++) {
        const struct rankd_tensor *input = &request->inputs[i];
        (void)json_array_append_new(
            inputs, json_pack("{s:s, s:o, s:s, s:{s:I}}", "name", rankd_input_names[input->port], "shape",
                              shape_of(input), "datatype", rankd_dtype_names[input->dtype], "parameters",
                              "binary_data_size", (json_int_t)input->bytes));
    }
    return inputs;
}

static json_t *number(double value)
{
    return value == floor(value) && fabs(value) < 1e15 ? json_integer((json_int_t)value) : json_real(value);
}

static json_t *parameters_of(const struct rankd_request *request)
{
    json_t *parameters = json_object();
    for (size_t i = 0; i < request->parameter_count; i++) {
        const struct rankd_parameter *parameter = &request->parameters[i];
        json_t *value = parameter->type == RANKD_TEXT   ? json_string(parameter->text)
                        : parameter->type == RANKD_FLAG ? json_boolean(parameter->number != 0)
                                                        : number(parameter->number);
        if (value == NULL || json_object_set_new(parameters, parameter->name, value) != 0) {
            json_decref(parameters);
            return NULL;
        }
    }
    if (request->timeout_ns != 0)
        (void)json_object_set_new(parameters, "timeout",
                                  json_integer((json_int_t)(request->timeout_ns / 1000) + 1));
    return parameters;
}

static json_t *head_of(const struct rankd_request *request)
{
    json_t *parameters = parameters_of(request), *outputs = json_array();
    for (size_t i = 0; i < request->output_count; i++)
        (void)json_array_append_new(outputs, json_pack("{s:s, s:{s:b}}", "name",
                                                       rankd_output_names[request->outputs[i].port],
                                                       "parameters", "binary_data", 1));
    json_t *head = json_pack("{s:o, s:o, s:o}", "inputs", inputs_of(request), "parameters", parameters,
                             "outputs", outputs);
    if (head != NULL && request->id != NULL)
        (void)json_object_set_new(head, "id", json_string(request->id));
    return head;
}

char *rankd_http_encode(const struct rankd_request *request, size_t *json_bytes, size_t *bytes)
{
    json_t *head = head_of(request);
    char *text = head != NULL ? json_dumps(head, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
    json_decref(head);
    if (text == NULL)
        return NULL;
    *json_bytes = *bytes = strlen(text);
    for (size_t i = 0; i < request->input_count; i++)
        *bytes += request->inputs[i].bytes;
    char *body = realloc(text, *bytes);
    if (body == NULL) {
        free(text);
        return NULL;
    }
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

static uint64_t count_of(const json_t *parameters, const char *name)
{
    return (uint64_t)json_integer_value(json_object_get(parameters, name));
}

static void read_numbers(const json_t *parameters, struct rankd_reply *reply)
{
    reply->lists = count_of(parameters, "lists");
    reply->lists_skipped = count_of(parameters, "lists_skipped");
    reply->has_gradient = json_object_get(parameters, "gradient_nonzero") != NULL;
    reply->lists_stalled = count_of(parameters, "lists_stalled");
    reply->gradient_nonzero = count_of(parameters, "gradient_nonzero");
    reply->has_bank = json_object_get(parameters, "bank_version") != NULL;
    reply->bank_items = count_of(parameters, "bank_items");
    reply->bank_version = count_of(parameters, "bank_version");
    reply->bank_version_appended = count_of(parameters, "bank_version_appended");
    reply->bank_generation = count_of(parameters, "bank_generation");
    reply->gradient_dropped = json_number_value(json_object_get(parameters, "gradient_dropped"));
}

static int not_a_reply(struct rankd_reply *reply)
{
    return rankd_reply_fail(reply, RANKD_LOST, "the answer is not an inference reply of rankd's");
}

/* One output: its description, and its bytes at the front of what is left. */
static int read_output(const json_t *entry, const char **at, size_t *left,
                       const struct rankd_http_room *rooms, struct rankd_reply *reply)
{
    int port =
        index_of(rankd_output_names, RANKD_OUT_COUNT, json_string_value(json_object_get(entry, "name")));
    int dtype =
        index_of(rankd_dtype_names, RANKD_DTYPE_COUNT, json_string_value(json_object_get(entry, "datatype")));
    const json_t *shape = json_object_get(entry, "shape");
    size_t rank = json_array_size(shape);
    uint64_t bytes = count_of(json_object_get(entry, "parameters"), "binary_data_size");
    if (port < 0 || dtype < 0 || rank < 1 || rank > 2 || !rooms[port].wanted || bytes > *left)
        return not_a_reply(reply);
    struct rankd_tensor *output = &reply->outputs[port];
    *output = (struct rankd_tensor){.port = port, .dtype = dtype, .rank = (int)rank, .bytes = bytes};
    for (size_t i = 0; i < rank; i++)
        output->shape[i] = (uint64_t)json_integer_value(json_array_get(shape, i));
    if (rooms[port].to != NULL && bytes > rooms[port].bytes) {
        reply->status = RANKD_INVALID;
        (void)snprintf(reply->error, sizeof reply->error, "%s needs %llu bytes; there is room for %llu",
                       rankd_output_names[port], (unsigned long long)bytes,
                       (unsigned long long)rooms[port].bytes);
        return RANKD_INVALID;
    }
    output->data = rooms[port].to != NULL ? rooms[port].to : malloc(bytes + 1);
    if (output->data == NULL)
        return rankd_reply_fail(reply, RANKD_NO_MEMORY, "out of memory for an output");
    if (rooms[port].to == NULL)
        reply->owned |= 1u << port;
    memcpy(output->data, *at, bytes);
    *at += bytes;
    *left -= bytes;
    if (port == RANKD_OUT_LOSS && bytes == sizeof(float)) {
        float loss;
        memcpy(&loss, output->data, sizeof loss);
        reply->loss = (double)loss;
    }
    return RANKD_OK;
}

int rankd_http_decode(const char *body, size_t bytes, size_t json_bytes, const struct rankd_http_room *rooms,
                      struct rankd_reply *reply)
{
    memset(reply, 0, sizeof *reply);
    json_t *head = json_bytes <= bytes ? json_loadb(body, json_bytes, 0, NULL) : NULL;
    const json_t *outputs = json_object_get(head, "outputs");
    const char *at = body + json_bytes;
    size_t left = bytes - json_bytes;
    int status = json_is_array(outputs) ? RANKD_OK : not_a_reply(reply);
    if (status == RANKD_OK)
        read_numbers(json_object_get(head, "parameters"), reply);
    for (size_t i = 0; i < json_array_size(outputs) && status == RANKD_OK; i++)
        status = read_output(json_array_get(outputs, i), &at, &left, rooms, reply);
    json_decref(head);
    return status;
}

int rankd_fail_json(struct rankd_error *error, int status, const char *body, size_t bytes)
{
    json_t *document = json_loadb(body, bytes, 0, NULL);
    const char *sentence = json_string_value(json_object_get(document, "error"));
    if (sentence != NULL)
        (void)rankd_fail(error, status, "%s", sentence);
    else
        (void)rankd_fail(error, status, "status %d: %.*s", status, bytes > 200 ? 200 : (int)bytes, body);
    json_decref(document);
    return status;
}
