/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/repeat.h"

#include <stdlib.h>
#include <string.h>

enum { JSON_MOST = 2048 }; /* bytes that a connection keeps; a JSON with tensors in it is longer */

bool rk_repeat_take(const struct rk_repeat *repeat, struct rk_wire_request *wire,
                    const struct rk_model *model, const struct rk_wire_source *source)
{
    if (!repeat->json || source->json_bytes != repeat->json_bytes || source->bytes != repeat->bytes ||
        repeat->wire->request.model != model || memcmp(source->body, repeat->json, repeat->json_bytes) != 0)
        return false;
    *wire = *repeat->wire;
    wire->budget = source->budget;
    for (unsigned i = 0; i < RK_IN_COUNT; i++) {
        if (repeat->offset[i])
            wire->request.in[i].data = (const char *)source->body + repeat->offset[i];
    }
    return true;
}

/* Where the tensors lie in the body; false if one lies elsewhere, or an output goes elsewhere. */
static bool find_offsets(struct rk_repeat *repeat, const struct rk_wire_request *wire,
                         const struct rk_wire_source *source)
{
    const uintptr_t body = (uintptr_t)source->body;
    for (unsigned i = 0; i < RK_IN_COUNT; i++) {
        const uintptr_t data = (uintptr_t)wire->request.in[i].data;
        repeat->offset[i] = 0;
        if (!data)
            continue;
        if (wire->storage[i] || data < body + source->json_bytes || data >= body + source->bytes)
            return false;
        repeat->offset[i] = data - body;
    }
    for (unsigned i = 0; i < RK_OUT_COUNT; i++) {
        if (wire->region[i])
            return false;
    }
    return true;
}

void rk_repeat_keep(struct rk_repeat *repeat, const struct rk_wire_request *wire,
                    const struct rk_wire_source *source)
{
    const size_t bytes = source->json_bytes;
    char *json = NULL;
    if (bytes && bytes <= JSON_MOST && find_offsets(repeat, wire, source))
        json = realloc(repeat->json, bytes);
    if (json)
        repeat->json = json;
    if (json && !repeat->wire)
        repeat->wire = malloc(sizeof *repeat->wire);
    if (!json || !repeat->wire) {
        rk_repeat_free(repeat);
        return;
    }
    memcpy(json, source->body, bytes);
    repeat->json_bytes = bytes;
    repeat->bytes = source->bytes;
    *repeat->wire = *wire;
    for (unsigned i = 0; i < RK_IN_COUNT; i++)
        repeat->wire->request.in[i].data = NULL;
}

void rk_repeat_free(struct rk_repeat *repeat)
{
    free(repeat->json);
    free(repeat->wire);
    *repeat = (struct rk_repeat){0};
}
