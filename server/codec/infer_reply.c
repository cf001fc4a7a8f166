#include "codec/infer_reply.h"

#include <stdio.h>
#include <string.h>

#include "numbers.h"

void rk_wire_reply_prepare(const struct rk_wire_request *wire, struct rk_reply *reply)
{
    for (unsigned i = 0; i < RK_OUT_COUNT; i++) {
        if (wire->region[i]) {
            reply->out[i].data = wire->region[i];
            reply->out[i].capacity = wire->region_bytes[i];
            reply->out[i].on_card = wire->region_on_card[i];
        }
    }
}

/* ,"bank_version_appended":18446744073709551615 */
#define APPENDED ",\"bank_version_appended\":"
enum { APPENDED_BYTES = sizeof APPENDED - 1 + 20 };

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
    }
    rk_json_close(text, '}');
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

void rk_wire_reply_clear(struct rk_wire_reply *out)
{
    rk_text_free(&out->json);
}
