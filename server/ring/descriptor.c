/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/descriptor.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "codec/model_find.h"
#include "codec/param_find.h"

/* The numbers on the wire are the engine's; those of inputs and outputs come from one table. */
#define SAME(wire, own) _Static_assert((int)(wire) == (int)(own), "wire and engine number alike")
SAME(RANKD_BOOL, RK_BOOL);
SAME(RANKD_INT64, RK_INT64);
SAME(RANKD_FP16, RK_FP16);
SAME(RANKD_BF16, RK_BF16);
SAME(RANKD_FP64, RK_FP64);
SAME(RANKD_DTYPE_COUNT, RK_DTYPE_COUNT);
SAME(RANKD_TENSOR_RANK, RK_MAX_RANK);

/* The unread rest of the copy. */
struct descriptor_reader {
    const char *at;
    size_t left;
};

static const void *take(struct descriptor_reader *reader, size_t bytes)
{
    if (bytes > reader->left)
        return NULL;
    const void *at = reader->at;
    reader->at += bytes;
    reader->left -= bytes;
    return at;
}

static enum rankd_status cut_short(struct rk_err *err)
{
    return rk_fail(err, RANKD_INVALID, "the descriptor ends before the tensors and parameters it announces");
}

static enum rankd_status read_input(const struct rk_shm_segment *segment, const struct rankd_shm_tensor *wire,
                                    struct rk_request *request, struct rk_err *err)
{
    if (wire->port >= RK_IN_COUNT)
        return rk_fail(err, RANKD_INVALID, "input port is %" PRIu32 "; it may be 0 to %d", wire->port,
                       RK_IN_COUNT - 1);
    const char *name = rk_input_rows[wire->port].name;
    struct rk_tensor *tensor = &request->in[wire->port];
    if (tensor->data != NULL)
        return rk_fail(err, RANKD_INVALID, "input %s is there twice", name);
    if (wire->dtype >= RK_DTYPE_COUNT)
        return rk_fail(err, RANKD_INVALID, "%s: datatype is %" PRIu32 "; it may be 0 to %d", name,
                       wire->dtype, RK_DTYPE_COUNT - 1);
    if (wire->rank < 1 || wire->rank > RK_MAX_RANK)
        return rk_fail(err, RANKD_INVALID, "input %s has %" PRIu32 " dimensions; its shape must be %s", name,
                       wire->rank, rk_input_rows[wire->port].shape);
    *tensor = (struct rk_tensor){.dtype = (enum rk_dtype)wire->dtype, .rank = wire->rank};
    for (unsigned i = 0; i < wire->rank; i++)
        tensor->shape[i] = wire->shape[i];
    size_t count;
    if (!rk_shape_bytes(tensor->dtype, tensor->rank, tensor->shape, &count, &tensor->bytes))
        return rk_fail(err, RANKD_INVALID, "%s: the shape's product overflows", name);
    if (tensor->bytes != wire->bytes)
        return rk_fail(err, RANKD_INVALID, "%s has %" PRIu64 " bytes; shape and datatype make it %zu", name,
                       wire->bytes, tensor->bytes);
    tensor->data = rk_shm_segment_at(segment, wire->offset, wire->bytes, 1);
    if (tensor->data == NULL)
        return rk_fail(err, RANKD_INVALID,
                       "%s: %" PRIu64 " bytes at offset %" PRIu64 " do not lie in the arena, %zu to %zu",
                       name, wire->bytes, wire->offset, segment->arena_offset, segment->bytes);
    return RANKD_OK;
}

static enum rankd_status read_output(const struct rk_shm_segment *segment,
                                     const struct rankd_shm_tensor *wire, struct rk_request *request,
                                     struct rk_reply *reply, struct rk_err *err)
{
    if (wire->port >= RK_OUT_COUNT)
        return rk_fail(err, RANKD_INVALID, "output port is %" PRIu32 "; it may be 0 to %d", wire->port,
                       RK_OUT_COUNT - 1);
    const char *name = rk_output_rows[wire->port].name;
    if ((request->outputs & 1u << wire->port) != 0)
        return rk_fail(err, RANKD_INVALID, "output %s is there twice", name);
    struct rk_out *out = &reply->out[wire->port];
    /* Elements are at most 8 bytes, and the engine writes them as such. */
    out->data = rk_shm_segment_at(segment, wire->offset, wire->bytes, 8);
    if (out->data == NULL)
        return rk_fail(err, RANKD_INVALID,
                       "%s: %" PRIu64 " bytes at offset %" PRIu64
                       " do not lie in the arena, %zu to %zu, at a multiple of 8",
                       name, wire->bytes, wire->offset, segment->arena_offset, segment->bytes);
    out->capacity = wire->bytes;
    request->outputs |= 1u << wire->port;
    return RANKD_OK;
}

static bool terminated(const char *text, size_t bytes)
{
    return memchr(text, '\0', bytes) != NULL;
}

static enum rankd_status set_parameter(struct rk_request *request, const struct rankd_shm_parameter *wire,
                                       const char *text, struct rk_err *err)
{
    const struct rk_param_row *row = rk_param_find_or_fail(request->model, wire->name, err);
    if (row == NULL)
        return err->status;
    switch (wire->type) {
    case RANKD_PARAMETER_NUMBER:
        return rk_param_set_number(&request->params, row, wire->number, err);
    case RANKD_PARAMETER_FLAG:
        if (wire->number != 0.0 && wire->number != 1.0)
            return rk_fail(err, RANKD_INVALID, "%s is a flag of value %g; it may be 0 or 1", row->name,
                           wire->number);
        return rk_param_set_flag(&request->params, row, wire->number != 0.0, err);
    case RANKD_PARAMETER_TEXT:
        return rk_param_set_text(&request->params, row, text, err);
    default:
        return rk_fail(err, RANKD_INVALID,
                       "%s is of parameter type %" PRIu32 "; it may be 1 (number), 2 (flag) or 3 (text)",
                       row->name, wire->type);
    }
}

static enum rankd_status read_parameter(struct descriptor_reader *reader, struct rk_request *request,
                                        struct rk_err *err)
{
    const struct rankd_shm_parameter *wire = take(reader, sizeof *wire);
    if (wire == NULL)
        return cut_short(err);
    if (!terminated(wire->name, sizeof wire->name))
        return rk_fail(err, RANKD_INVALID, "a parameter's name has no end within its %zu bytes",
                       sizeof wire->name);
    char text[RANKD_SHM_DESCRIPTOR_MAX + 1];
    const char *from =
        wire->text_bytes <= reader->left ? take(reader, (wire->text_bytes + 7u) / 8 * 8) : NULL;
    if (from == NULL)
        return cut_short(err);
    if (memchr(from, '\0', wire->text_bytes) != NULL)
        return rk_fail(err, RANKD_INVALID, "%s has a NUL in its text", wire->name);
    memcpy(text, from, wire->text_bytes);
    text[wire->text_bytes] = '\0';
    return set_parameter(request, wire, text, err);
}

static enum rankd_status read_head(struct descriptor_reader *reader, const struct rankd_shm_descriptor **head,
                                   struct rk_request *request, char id[65], struct rk_err *err)
{
    const struct rankd_shm_descriptor *wire = *head = take(reader, sizeof *wire);
    if (wire == NULL)
        return rk_fail(err, RANKD_INVALID, "a descriptor has at least %zu bytes", sizeof *wire);
    if (wire->version != RANKD_SHM_VERSION)
        return rk_fail(err, RANKD_INVALID, "the descriptor's version is %" PRIu32 "; it may be %u",
                       wire->version, RANKD_SHM_VERSION);
    if (!terminated(wire->model, sizeof wire->model))
        return rk_fail(err, RANKD_INVALID, "the model's name has no end within its %zu bytes",
                       sizeof wire->model);
    if (wire->inputs > RK_IN_COUNT || wire->outputs > RK_OUT_COUNT || wire->parameters > RK_PARAM_COUNT)
        return rk_fail(err, RANKD_INVALID,
                       "%" PRIu32 " inputs, %" PRIu32 " outputs and %" PRIu32
                       " parameters; there are at most %d, %d and %d",
                       wire->inputs, wire->outputs, wire->parameters, RK_IN_COUNT, RK_OUT_COUNT,
                       RK_PARAM_COUNT);
    memcpy(id, wire->id, sizeof wire->id);
    id[sizeof wire->id] = '\0';
    request->model = rk_model_find_or_fail(wire->model, err);
    return request->model != NULL ? RANKD_OK : err->status;
}

enum rankd_status rk_descriptor_parse(const struct rk_shm_segment *segment, const void *copy, size_t bytes,
                                      struct rk_request *request, struct rk_reply *reply, char id[65],
                                      struct rk_err *err)
{
    struct descriptor_reader reader = {copy, bytes};
    const struct rankd_shm_descriptor *head;
    *request = (struct rk_request){.params = rk_params_default()};
    *reply = (struct rk_reply){0};
    id[0] = '\0';
    if (read_head(&reader, &head, request, id, err) != RANKD_OK)
        return err->status;
    for (uint32_t i = 0; i < head->inputs + head->outputs; i++) {
        const struct rankd_shm_tensor *tensor = take(&reader, sizeof *tensor);
        enum rankd_status status = tensor == NULL     ? cut_short(err)
                                   : i < head->inputs ? read_input(segment, tensor, request, err)
                                                      : read_output(segment, tensor, request, reply, err);
        if (status != RANKD_OK)
            return status;
    }
    for (uint32_t i = 0; i < head->parameters; i++) {
        if (read_parameter(&reader, request, err) != RANKD_OK)
            return err->status;
    }
    return reader.left == 0
               ? RANKD_OK
               : rk_fail(err, RANKD_INVALID, "%zu bytes follow the descriptor's last parameter", reader.left);
}

static void answer_results(struct rankd_shm_reply *block, const struct rk_reply *reply)
{
    for (unsigned i = 0; i < RK_OUT_COUNT; i++) {
        const struct rk_out *out = &reply->out[i];
        block->results[i] = (struct rankd_shm_result){.dtype = (uint32_t)out->dtype,
                                                      .rank = out->rank,
                                                      .shape = {out->shape[0], out->shape[1]},
                                                      .bytes = out->bytes};
    }
}

void rk_descriptor_answer(struct rankd_shm_reply *block, const struct rk_reply *reply,
                          const struct rk_err *err)
{
    const struct rk_info *info = &reply->info;
    block->status = (uint32_t)err->status;
    block->outputs = err->status == RANKD_OK ? reply->outputs : 0;
    block->has = (info->has_gradient ? RANKD_HAS_GRADIENT : 0u) | (info->has_bank ? RANKD_HAS_BANK : 0u) |
                 (info->has_chain ? RANKD_HAS_CHAIN : 0u);
    block->loss = info->loss;
    block->lists = info->lists;
    block->lists_skipped = info->lists_skipped;
    block->lists_stalled = info->lists_stalled;
    block->gradient_nonzero = info->gradient_nonzero;
    block->bank_items = info->bank_items;
    block->bank_version = info->bank_version;
    block->bank_version_appended = info->bank_version_appended;
    block->bank_generation = info->bank_generation;
    block->gradient_dropped = info->gradient_dropped;
    block->numbers = info->numbers;
    memcpy(block->number, info->number, sizeof info->number);
    memset(block->bank_chain, 0, sizeof block->bank_chain);
    if (info->has_chain)
        memcpy(block->bank_chain, info->bank_chain, sizeof block->bank_chain);
    answer_results(block, reply);
    if (err->status != RANKD_OK)
        memcpy(block->error, err->text, sizeof block->error);
    else
        block->error[0] = '\0';
}
