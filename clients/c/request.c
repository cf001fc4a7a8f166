/* What both transports must know of a request. */
#include <inttypes.h>

#include "client_internal.h"

const char *const rankd_dtype_names[RANKD_DTYPE_COUNT] = {"BOOL", "UINT8", "INT8", "INT32", "INT64",
                                                          "FP16", "BF16",  "FP32", "FP64"};
const char *const rankd_input_names[RANKD_IN_COUNT] = {
    "scores", "targets",      "upstream",       "embeddings", "labels",
    "ids",    "enqueue_mask", "ref_embeddings", "ref_labels", "ref_ids"};
const char *const rankd_output_names[RANKD_OUT_COUNT] = {
    "loss", "gradient", "list_loss", "ranks", "gradient_indices", "gradient_values", "ref_gradient"};

static const unsigned char dtype_bytes[RANKD_DTYPE_COUNT] = {1, 1, 1, 4, 8, 2, 2, 4, 8};

uint64_t rankd_dtype_bytes(int dtype)
{
    return dtype >= 0 && dtype < RANKD_DTYPE_COUNT ? dtype_bytes[dtype] : 0;
}

static bool elements(const struct rankd_tensor *tensor, uint64_t *count)
{
    *count = 1;
    for (int i = 0; i < tensor->rank; i++) {
        if (__builtin_mul_overflow(*count, tensor->shape[i], count))
            return false;
    }
    return true;
}

static int check_input(const struct rankd_tensor *tensor, struct rankd_error *error)
{
    uint64_t count, bytes;
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
    if (!elements(tensor, &count) ||
        __builtin_mul_overflow(count, rankd_dtype_bytes(tensor->dtype), &bytes) || bytes != tensor->bytes)
        return rankd_fail(error, RANKD_MISUSE,
                          "%s has %" PRIu64 " bytes; its shape and datatype say otherwise", name,
                          tensor->bytes);
    if (tensor->data == NULL)
        return rankd_fail(error, RANKD_MISUSE, "%s has no data", name);
    return RANKD_OK;
}

int rankd_check_request(const struct rankd_request *request, struct rankd_error *error)
{
    unsigned seen = 0;
    if (request->model == NULL || request->input_count > RANKD_IN_COUNT ||
        request->output_count > RANKD_OUT_COUNT)
        return rankd_fail(error, RANKD_MISUSE,
                          "a request has a model, at most %d inputs and at most %d outputs", RANKD_IN_COUNT,
                          RANKD_OUT_COUNT);
    for (size_t i = 0; i < request->input_count; i++) {
        int status = check_input(&request->inputs[i], error);
        if (status != RANKD_OK)
            return status;
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
        const struct rankd_parameter *parameter = &request->parameters[i];
        if (parameter->name == NULL || parameter->type < RANKD_NUMBER || parameter->type > RANKD_TEXT ||
            (parameter->type == RANKD_TEXT && parameter->text == NULL))
            return rankd_fail(error, RANKD_MISUSE, "parameter %zu lacks its name, type or text", i);
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
    const struct rankd_tensor *main = find_input(request, RANKD_IN_SCORES);
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
    case RANKD_OUT_LIST_LOSS: /* rows or columns are lists */
        return 4 * (main->shape[0] > columns ? main->shape[0] : columns);
    case RANKD_OUT_RANKS:
    case RANKD_OUT_GRADIENT_INDICES:
        return 8 * count;
    default:
        return 4 * count;
    }
}
