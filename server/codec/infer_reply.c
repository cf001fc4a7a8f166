/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/infer_reply.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/numbers.h"

void rk_wire_reply_prepare(const struct rk_wire_request *wire, struct rk_reply *reply)
{
    for (unsigned i = 0; i < RK_OUT_COUNT; i++) {
        if (wire->region[i]) {
            reply->out[i].data = wire->region[i];
            reply->out[i].capacity = wire->region_bytes[i];
            reply->out[i].on_device = wire->region_on_device[i];
        }
    }
}

/* ,"bank_version_appended":18446744073709551615 */
#define APPENDED ",\"bank_version_appended\":"
enum { APPENDED_BYTES = sizeof APPENDED - 1 + 20 };

static const struct {
    const char *name;
    bool whole;
} numbers[RANKD_REPLY_NUMBERS] = {
#define RANKD_REPLY_NUMBER(ID, name, whole, help) {name, whole},
#include "rankd_numbers.def"
};

static void write_numbers(struct rk_text *text, const struct rk_info *info)
{
    for (unsigned i = 0; i < RANKD_REPLY_NUMBERS; i++) {
        if (!(info->numbers & 1u << i))
            continue;
        if (numbers[i].whole)
            rk_json_uint(text, numbers[i].name, (uint64_t)info->number[i]);
        else
            rk_json_real(text, numbers[i].name, info->number[i]);
    }
}

static void write_parameters(struct rk_wire_reply *out, const struct rk_info *info)
{
    struct rk_text *text = &out->json;
    rk_json_open(text, "parameters", '{');
    rk_json_uint(text, "lists", info->lists);
    rk_json_uint(text, "lists_skipped", info->lists_skipped);
    if (info->has_gradient) {
        rk_json_uint(text, "lists_stalled", info->lists_stalled);
        rk_json_uint(text, "gradient_nonzero", info->gradient_nonzero);
    }
    if (info->has_bank) {
        rk_json_uint(text, "bank_items", info->bank_items);
        rk_json_uint(text, "bank_version", info->bank_version);
        out->appended = text->length;
        rk_text_printf(text, "%*s", APPENDED_BYTES, "");
        rk_json_uint(text, "bank_generation", info->bank_generation);
        rk_json_real(text, "gradient_dropped", info->gradient_dropped);
        if (info->has_chain)
            rk_json_text(text, "bank_chain", info->bank_chain);
    }
    write_numbers(text, info);
    rk_json_close(text, '}');
}

/* A number takes 17 bytes of text at most, or 21 where it is whole, and a comma; the text grows by
 * half. */
enum { ITEM_BYTES = 33, ENVELOPE_BYTES = 4096 };

static size_t elements(const struct rk_tensor *tensor)
{
    size_t count = tensor->data ? 1 : 0;
    for (unsigned i = 0; i < tensor->rank; i++) {
        if (__builtin_mul_overflow(count, tensor->shape[i], &count))
            return SIZE_MAX;
    }
    return count;
}

static size_t plus(size_t a, size_t b)
{
    size_t sum;
    return __builtin_add_overflow(a, b, &sum) ? SIZE_MAX : sum;
}

size_t rk_wire_reply_cost(const struct rk_wire_request *wire, bool packed)
{
    const struct rk_tensor *in = wire->request.in;
    const size_t items =
        plus(1, plus(plus(elements(&in[RK_IN_SCORES]), elements(&in[RK_IN_OFFSETS])),
                     plus(elements(&in[RK_IN_EMBEDDINGS]), elements(&in[RK_IN_REF_EMBEDDINGS]))));
    size_t text = ENVELOPE_BYTES, whole = ENVELOPE_BYTES, bytes;
    for (size_t i = 0; i < wire->outputs; i++) {
        const unsigned which = wire->output[i];
        if (wire->region[which])
            continue;
        const size_t each = wire->binary[which] ? sizeof(int64_t) : ITEM_BYTES;
        if (__builtin_mul_overflow(which == RK_OUT_LOSS ? 1 : items, each, &bytes))
            return SIZE_MAX;
        text = plus(text, wire->binary[which] ? 0 : bytes);
        whole = plus(whole, bytes);
    }
    return packed ? plus(text, plus(whole, whole)) : text; /* the joined reply, and its compressed form */
}

static void write_size(struct rk_text *text, const char *key, size_t bytes)
{
    rk_json_open(text, "parameters", '{');
    rk_json_uint(text, key, bytes);
    rk_json_close(text, '}');
}

static void write_output(struct rk_wire_reply *out, const struct rk_wire_request *wire,
                         const struct rk_out *tensor, unsigned which)
{
    struct rk_text *text = &out->json;
    rk_json_open(text, NULL, '{');
    rk_json_text(text, "name", rk_output_rows[which].name);
    rk_json_text(text, "datatype", rk_dtype_name(tensor->dtype));
    rk_json_open(text, "shape", '[');
    for (unsigned d = 0; d < tensor->rank; d++)
        rk_json_uint(text, NULL, tensor->shape[d]);
    rk_json_close(text, ']');
    if (wire->region[which]) {
        write_size(text, "shared_memory_byte_size", tensor->bytes);
    } else if (wire->binary[which]) {
        write_size(text, "binary_data_size", tensor->bytes);
        out->binary = true;
        if (tensor->bytes)
            out->part[out->parts++] = (struct rk_wire_part){tensor->data, tensor->bytes};
    } else {
        rk_numbers_write(text, tensor->dtype, tensor->data, tensor->bytes / rk_dtype_size(tensor->dtype));
    }
    rk_json_close(text, '}');
}

enum rankd_status rk_wire_reply_write(struct rk_wire_reply *out, const struct rk_wire_request *wire,
                                      const struct rk_reply *reply, struct rk_err *err)
{
    memset(out, 0, sizeof *out);
    struct rk_text *text = &out->json;
    out->parts = 1;
    rk_json_open(text, NULL, '{');
    rk_json_text(text, "model_name", wire->request.model->name);
    rk_json_text(text, "model_version", "1");
    if (wire->id[0])
        rk_json_text(text, "id", wire->id);
    write_parameters(out, &reply->info);
    rk_json_open(text, "outputs", '[');
    for (size_t i = 0; i < wire->outputs; i++) {
        unsigned which = wire->output[i];
        if (reply->outputs >> which & 1u)
            write_output(out, wire, &reply->out[which], which);
    }
    rk_json_close(text, ']');
    rk_json_close(text, '}');
    if (text->failed) {
        rk_wire_reply_clear(out);
        return rk_fail(err, RANKD_OVERLOADED, "out of memory for the reply");
    }
    out->part[0] = (struct rk_wire_part){text->data, text->length};
    return RANKD_OK;
}

void rk_wire_reply_complete(struct rk_wire_reply *out, const struct rk_info *info)
{
    char text[APPENDED_BYTES + 1];
    if (!out->appended || !info->bank_version_appended)
        return;
    (void)snprintf(text, sizeof text, APPENDED "%llu", (unsigned long long)info->bank_version_appended);
    memcpy(out->json.data + out->appended, text, strlen(text));
}

size_t rk_wire_reply_bytes(const struct rk_wire_reply *out)
{
    size_t bytes = 0;
    for (size_t i = 0; i < out->parts; i++)
        bytes += out->part[i].bytes;
    return bytes;
}

void *rk_wire_reply_join(const struct rk_wire_reply *out, size_t bytes)
{
    char *whole = malloc(bytes + 1);
    size_t at = 0;
    if (!whole)
        return NULL;
    for (size_t i = 0; i < out->parts; i++) {
        if (out->part[i].bytes)
            memcpy(whole + at, out->part[i].data, out->part[i].bytes);
        at += out->part[i].bytes;
    }
    return whole;
}

void rk_wire_reply_clear(struct rk_wire_reply *out)
{
    rk_text_free(&out->json);
}
