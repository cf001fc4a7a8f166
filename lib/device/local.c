/* SPDX-License-Identifier: Apache-2.0 */
/* Tensors on a device, for the CPU engine: copies of inputs, and outputs that are copied back. */
#include <stdlib.h>
#include <string.h>

#include "device/device.h"

static enum rankd_status no_answer(struct rk_err *err, const char *why)
{
    return rk_fail(err, RANKD_INTERNAL, "the device does not answer%s%s; keep the tensors in host memory",
                   *why ? ": " : "", why);
}

void *rk_device_fetch_new(struct rk_device *device, const void *on_device, size_t bytes, struct rk_err *err)
{
    char why[RK_DEVICE_WHY] = "";
    void *copy = malloc(bytes ? bytes : 1);
    if (!copy) {
        (void)rk_fail(err, RANKD_OVERLOADED,
                      "no memory for a copy of %zu bytes from the device; try again later", bytes);
        return NULL;
    }
    if (!device || atomic_load(&device->lost) ||
        device->plugin->fetch(device->handle, copy, on_device, bytes, why) != RK_DEVICE_DONE) {
        free(copy);
        (void)no_answer(err, why);
        return NULL;
    }
    return copy;
}

enum rankd_status rk_local_begin(struct rk_device *device, struct rk_request *request, struct rk_reply *reply,
                                 struct rk_local *local, struct rk_err *err)
{
    for (unsigned i = 0; i < RK_IN_COUNT; i++) {
        struct rk_tensor *in = &request->in[i];
        if (!in->data || !in->on_device)
            continue;
        in->on_device = false;
        if (in->bytes == 0) /* the address stands for "sent", and nothing is read there */
            continue;
        local->copy[i] = rk_device_fetch_new(device, in->data, in->bytes, err);
        if (!local->copy[i])
            return err->status;
        in->data = local->copy[i];
    }
    for (unsigned o = 0; o < RK_OUT_COUNT; o++) {
        struct rk_out *out = &reply->out[o];
        if (!out->data || !out->on_device)
            continue;
        local->given[o] = *out;
        *out = (struct rk_out){0};
    }
    return RANKD_OK;
}

/* Copies a result to the caller's place on the device, and marks it so in the reply. */
static enum rankd_status deliver(struct rk_device *device, struct rk_out *out, const struct rk_out *given,
                                 const char *name, struct rk_err *err)
{
    char why[RK_DEVICE_WHY] = "";
    struct rk_out result = *out;
    if (result.bytes > given->capacity)
        return rk_fail(err, RANKD_INVALID, "output %s has room for %zu bytes; it needs %zu", name,
                       given->capacity, result.bytes);
    if (result.bytes > 0 && (!device || device->plugin->store(device->handle, given->data, result.data,
                                                              result.bytes, why) != RK_DEVICE_DONE))
        return no_answer(err, why);
    free(out->data);
    out->data = given->data;
    out->capacity = given->capacity;
    out->owned = false;
    out->on_device = true;
    return RANKD_OK;
}

enum rankd_status rk_local_end(struct rk_device *device, struct rk_request *request, struct rk_reply *reply,
                               struct rk_local *local, enum rankd_status status, struct rk_err *err)
{
    (void)request;
    for (unsigned o = 0; o < RK_OUT_COUNT && status == RANKD_OK; o++)
        if (local->given[o].data && reply->out[o].data)
            status = deliver(device, &reply->out[o], &local->given[o], rk_output_rows[o].name, err);
    for (unsigned i = 0; i < RK_IN_COUNT; i++)
        free(local->copy[i]);
    *local = (struct rk_local){0};
    return status;
}
