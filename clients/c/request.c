/* SPDX-License-Identifier: Apache-2.0 */
/* Checks and sizes of requests for both transports. */
#include "request.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "error.h"
#include "names.h"

/* No name on the wire is longer. */
enum { NAME_BYTES = 32, ID_BYTES = 64 };

static bool elements(const struct rankd_tensor *tensor, uint64_t *count)
{
    *count = 1;
    for (int i = 0; i < tensor->rank; i++) {
        if (__builtin_mul_overflow(*count, tensor->shape[i], count))
            return false;
    }
    return true;
}

bool rankd_fits(const struct rankd_tensor *tensor)
{
    uint64_t count, bytes;
    return tensor->rank >= 1 && tensor->rank <= 2 && rankd_dtype_bytes(tensor->dtype) != 0 &&
           elements(tensor, &count) &&
           !__builtin_mul_overflow(count, rankd_dtype_bytes(tensor->dtype), &bytes) && bytes == tensor->bytes;
}

bool rankd_output_fits(const struct rankd_tensor *output)
{
    bool whole = output->port == RANKD_OUT_RANKS || output->port == RANKD_OUT_GRADIENT_INDICES;
    return output->dtype == (whole ? RANKD_INT64 : RANKD_FP32) && rankd_fits(output) &&
           (output->port != RANKD_OUT_LOSS || output->bytes == sizeof(float));
}

bool rankd_is_status(long status)
{
    return status == RANKD_OK || (status >= 400 && status <= 599);
}

static int check_input(const struct rankd_tensor *tensor, struct rankd_error *error)
{
    if (tensor->port < 0 || tensor->port >= RANKD_IN_COUNT)
        return rankd_fail(error, RANKD_MISUSE, "an input's port is %d; it may be 0 to %d", tensor->port,
                          RANKD_IN_COUNT - 1);
    const char *name = rankd_input_names[tensor->port];
    if (rankd_dtype_bytes(tensor->dtype) == 0)
        return rankd_fail(error, RANKD_MISUSE, "%s: dtype is %d; it may be 0 to %d", name, tensor->dtype,
                          RANKD_DTYPE_COUNT - 1);
    if (tensor->rank < 1 || tensor->rank > 2)
        return rankd_fail(error, RANKD_MISUSE, "%s has %d dimensions; it may have 1 or 2", name,
                          tensor->rank);
    if (!rankd_fits(tensor))
        return rankd_fail(error, RANKD_MISUSE,
                          "%s has %" PRIu64 " bytes; its shape and datatype say otherwise", name,
                          tensor->bytes);
    if (tensor->data == NULL && tensor->bytes > 0) /* without bytes the address is irrelevant */
        return rankd_fail(error, RANKD_MISUSE, "%s has no data", name);
    return RANKD_OK;
}

/* Bytes of the UTF-8 character at `text`; 0 if there is none: cut short, overlong, a surrogate, too
 * large. */
static size_t character(const unsigned char *text)
{
    if (text[0] < 0x80)
        return 1;
    size_t more = text[0] >= 0xf0 ? 3 : text[0] >= 0xe0 ? 2 : 1;
    uint32_t code = text[0] & (0x3fu >> more);
    if (text[0] < 0xc2 || text[0] > 0xf4)
        return 0;
    for (size_t i = 1; i <= more; i++) {
        if ((text[i] & 0xc0) != 0x80) /* the NUL at the end too */
            return 0;
        code = code << 6 | (text[i] & 0x3f);
    }
    bool overlong = (more == 2 && code < 0x800) || (more == 3 && code < 0x10000);
    return overlong || (code >= 0xd800 && code < 0xe000) || code > 0x10ffff ? 0 : more + 1;
}

static bool is_text(const char *text)
{
    const unsigned char *at = (const unsigned char *)text;
    for (size_t n; *at != '\0'; at += n) {
        if ((n = character(at)) == 0)
            return false;
    }
    return true;
}

static int check_parameter(const struct rankd_parameter *parameter, size_t i, struct rankd_error *error)
{
    bool is_number = parameter->type == RANKD_NUMBER || parameter->type == RANKD_FLAG;
    if (parameter->name == NULL || (!is_number && parameter->type != RANKD_TEXT) ||
        (parameter->type == RANKD_TEXT && parameter->text == NULL))
        return rankd_fail(error, RANKD_MISUSE, "parameter %zu lacks its name, type or text", i);
    if (strlen(parameter->name) >= NAME_BYTES)
        return rankd_fail(error, RANKD_INVALID, "parameter \"%.64s\" is unknown", parameter->name);
    if (!is_text(parameter->name) || (!is_number && !is_text(parameter->text)))
        return rankd_fail(error, RANKD_MISUSE, "name and text of parameter %zu must be UTF-8", i);
    if (is_number && !isfinite(parameter->number))
        return rankd_fail(error, RANKD_MISUSE, "%s is %g; it must be finite", parameter->name,
                          parameter->number);
    if (parameter->type == RANKD_FLAG && parameter->number != 0 && parameter->number != 1)
        return rankd_fail(error, RANKD_MISUSE, "%s is a flag of value %g; it may be 0 or 1", parameter->name,
                          parameter->number);
    return RANKD_OK;
}

/* Checks that the arrays of the request can be read. */
static int check_shape(const struct rankd_request *request, struct rankd_error *error)
{
    if (request == NULL || request->model == NULL || request->input_count > RANKD_IN_COUNT ||
        request->output_count > RANKD_OUT_COUNT)
        return rankd_fail(error, RANKD_MISUSE,
                          "a request has a model, at most %d inputs and at most %d outputs", RANKD_IN_COUNT,
                          RANKD_OUT_COUNT);
    if (strlen(request->model) >= NAME_BYTES)
        return rankd_fail(error, RANKD_NOT_FOUND, "there is no model \"%.64s\"", request->model);
    if (!is_text(request->model))
        return rankd_fail(error, RANKD_MISUSE, "the model's name must be UTF-8");
    if ((request->inputs == NULL && request->input_count != 0) ||
        (request->outputs == NULL && request->output_count != 0) ||
        (request->parameters == NULL && request->parameter_count != 0))
        return rankd_fail(error, RANKD_MISUSE,
                          "inputs, outputs or parameters of the request are counted but not there");
    if (request->id != NULL && (strlen(request->id) >= ID_BYTES || !is_text(request->id)))
        return rankd_fail(error, RANKD_MISUSE, "the request's id must be UTF-8 of at most %d bytes",
                          ID_BYTES - 1);
    return RANKD_OK;
}

int rankd_check_request(const struct rankd_request *request, struct rankd_error *error)
{
    unsigned seen = 0, inputs = 0;
    int status = check_shape(request, error);
    if (status != RANKD_OK)
        return status;
    for (size_t i = 0; i < request->input_count; i++) {
        status = check_input(&request->inputs[i], error);
        if (status != RANKD_OK)
            return status;
        if ((inputs & 1u << request->inputs[i].port) != 0)
            return rankd_fail(error, RANKD_MISUSE, "input %s is there twice",
                              rankd_input_names[request->inputs[i].port]);
        inputs |= 1u << request->inputs[i].port;
    }
    for (size_t i = 0; i < request->output_count; i++) {
        int port = request->outputs[i].port;
        if (port < 0 || port >= RANKD_OUT_COUNT)
            return rankd_fail(error, RANKD_MISUSE, "an output's port is %d; it may be 0 to %d", port,
                              RANKD_OUT_COUNT - 1);
        if ((seen & 1u << port) != 0)
            return rankd_fail(error, RANKD_MISUSE, "output %s is asked for twice", rankd_output_names[port]);
        seen |= 1u << port;
    }
    for (size_t i = 0; i < request->parameter_count; i++) {
        status = check_parameter(&request->parameters[i], i, error);
        if (status != RANKD_OK)
            return status;
    }
    return RANKD_OK;
}

static const struct rankd_tensor *find_input(const struct rankd_request *request, int port)
{
    for (size_t i = 0; i < request->input_count; i++) {
        if (request->inputs[i].port == port)
            return &request->inputs[i];
    }
    return NULL;
}

uint64_t rankd_output_room(const struct rankd_request *request, int port)
{
    const struct rankd_tensor *main = find_input(request, RANKD_IN_SCORES),
                              *offsets = find_input(request, RANKD_IN_OFFSETS);
    if (port == RANKD_OUT_LOSS)
        return 4;
    if (port == RANKD_OUT_REF_GRADIENT)
        main = find_input(request, RANKD_IN_REF_EMBEDDINGS);
    else if (main == NULL)
        main = find_input(request, RANKD_IN_EMBEDDINGS);
    if (main == NULL)
        return 0;
    uint64_t item = rankd_dtype_bytes(main->dtype), count = item != 0 ? main->bytes / item : 0;
    uint64_t columns = main->rank == 2 ? main->shape[1] : 1;
    switch (port) {
    case RANKD_OUT_LIST_LOSS: /* rows or columns are lists, or those of offsets; those without items are
                                 bounded by the daemon alone */
        if (offsets != NULL)
            return offsets->bytes / 2;
        columns = main->shape[0] > columns ? main->shape[0] : columns;
        return columns < UINT64_MAX / 4 ? 4 * columns : UINT64_MAX;
    case RANKD_OUT_RANKS:
    case RANKD_OUT_GRADIENT_INDICES:
        return 8 * count;
    default:
        return 4 * count;
    }
}
