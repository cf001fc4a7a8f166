/* SPDX-License-Identifier: Apache-2.0 */
/* A request as a descriptor (rankd_shm.h). */
#include <string.h>

#include "ring_internal.h"

struct writer {
    char *at;
    size_t left;
};

/* Room for `bytes` bytes, zeroed; NULL once the descriptor is full. */
static void *next(struct writer *writer, size_t bytes)
{
    if (writer->at == NULL || bytes > writer->left) {
        writer->at = NULL;
        return NULL;
    }
    void *at = writer->at;
    writer->at += bytes;
    writer->left -= bytes;
    return memset(at, 0, bytes);
}

static void write_tensor(struct writer *writer, const struct rankd_tensor *tensor, const void *data,
                         uint64_t bytes, const void *shared)
{
    struct rankd_shm_tensor *wire = next(writer, sizeof *wire);
    if (wire == NULL)
        return;
    wire->port = (uint32_t)tensor->port;
    wire->dtype = (uint32_t)tensor->dtype;
    wire->rank = (uint32_t)tensor->rank;
    wire->shape[0] = tensor->shape[0];
    wire->shape[1] = tensor->shape[1];
    wire->offset = (uint64_t)((const char *)data - (const char *)shared);
    wire->bytes = bytes;
}

static void write_parameter(struct writer *writer, const struct rankd_parameter *parameter)
{
    size_t text = parameter->type == RANKD_TEXT ? strlen(parameter->text) : 0;
    size_t padded = (text + 7) / 8 * 8;
    struct rankd_shm_parameter *wire =
        text > RANKD_SHM_DESCRIPTOR_MAX ? NULL : next(writer, sizeof *wire + padded);
    size_t name = strlen(parameter->name);
    if (wire == NULL || name >= sizeof wire->name) {
        writer->at = NULL;
        return;
    }
    memcpy(wire->name, parameter->name, name);
    wire->type = (uint32_t)parameter->type;
    wire->text_bytes = (uint32_t)text;
    wire->number = parameter->number;
    if (text != 0)
        memcpy(wire + 1, parameter->text, text);
}

size_t rankd_ring_encode(void *descriptor, const struct rankd_request *request, const struct rankd_slot *slot,
                         const void *shared)
{
    struct writer writer = {descriptor, RANKD_SHM_DESCRIPTOR_MAX};
    struct rankd_shm_descriptor *head = next(&writer, sizeof *head);
    size_t model = strlen(request->model), id = request->id != NULL ? strlen(request->id) : 0;
    if (model >= sizeof head->model || id >= sizeof head->id)
        return 0;
    head->version = RANKD_SHM_VERSION;
    head->inputs = (uint32_t)request->input_count;
    head->outputs = (uint32_t)request->output_count;
    head->parameters = (uint32_t)request->parameter_count;
    memcpy(head->model, request->model, model);
    if (id != 0)
        memcpy(head->id, request->id, id);
    for (size_t i = 0; i < request->input_count; i++) {
        const struct rankd_tensor *input = &request->inputs[i];
        write_tensor(&writer, input, slot->inputs[i] != NULL ? slot->inputs[i] : input->data, input->bytes,
                     shared);
    }
    for (size_t i = 0; i < request->output_count; i++) {
        const struct rankd_tensor *output = &request->outputs[i];
        write_tensor(&writer, output, slot->outputs[output->port].room, slot->outputs[output->port].bytes,
                     shared);
    }
    for (size_t i = 0; i < request->parameter_count; i++)
        write_parameter(&writer, &request->parameters[i]);
    return writer.at != NULL ? RANKD_SHM_DESCRIPTOR_MAX - writer.left : 0;
}
