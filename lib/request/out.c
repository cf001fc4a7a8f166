/* SPDX-License-Identifier: Apache-2.0 */
#include "request/out.h"

#include <stdlib.h>

static enum rankd_status take_given(const struct rk_out *out, const char *name, struct rk_err *err)
{
    if (out->capacity < out->bytes)
        return rk_fail(err, RANKD_INVALID, "output %s has room for %zu bytes; it needs %zu", name,
                       out->capacity, out->bytes);
    if ((size_t)out->data % rk_dtype_size(out->dtype) != 0)
        return rk_fail(err, RANKD_INVALID, "output %s is not at a multiple of %zu bytes, as %s must", name,
                       rk_dtype_size(out->dtype), rk_dtype_name(out->dtype));
    return RANKD_OK;
}

enum rankd_status rk_out_prepare(struct rk_reply *reply, enum rk_output which, enum rk_dtype dtype,
                                 unsigned rank, const size_t *shape, struct rk_err *err)
{
    struct rk_out *out = &reply->out[which];
    const char *name = rk_output_rows[which].name;
    size_t count;
    if (!rk_shape_bytes(dtype, rank, shape, &count, &out->bytes))
        return rk_fail(err, RANKD_TOO_LARGE, "output %s would have more bytes than can be counted", name);
    out->dtype = dtype;
    out->rank = rank;
    for (unsigned i = 0; i < RK_MAX_RANK; i++)
        out->shape[i] = i < rank ? shape[i] : 0;
    if (out->data && !out->owned) {
        enum rankd_status status = take_given(out, name, err);
        if (status != RANKD_OK)
            return status;
    } else {
        free(out->data);
        out->data = malloc(out->bytes ? out->bytes : 1);
        out->owned = out->data != NULL;
        if (!out->data)
            return rk_fail(err, RANKD_OVERLOADED, "no memory for the %zu bytes of output %s; try again later",
                           out->bytes, name);
        out->capacity = out->bytes;
    }
    reply->outputs |= RK_OUT_BIT(which);
    return RANKD_OK;
}

enum rankd_status rk_out_vector(struct rk_reply *reply, enum rk_output which, enum rk_dtype dtype, size_t n,
                                struct rk_err *err)
{
    return rk_out_prepare(reply, which, dtype, 1, &n, err);
}

enum rankd_status rk_out_sparse(struct rk_reply *reply, unsigned outputs, size_t n, struct rk_err *err)
{
    enum rankd_status status = RANKD_OK;
    if (outputs & RK_OUT_BIT(RK_OUT_GRADIENT_INDICES))
        status = rk_out_vector(reply, RK_OUT_GRADIENT_INDICES, RK_INT64, n, err);
    if (status == RANKD_OK && outputs & RK_OUT_BIT(RK_OUT_GRADIENT_VALUES))
        status = rk_out_vector(reply, RK_OUT_GRADIENT_VALUES, RK_FP32, n, err);
    return status;
}

enum rankd_status rk_out_compress(struct rk_reply *reply, unsigned outputs, const float *gradient, size_t n,
                                  struct rk_err *err)
{
    size_t nonzero = 0;
    for (size_t i = 0; i < n; i++)
        nonzero += gradient[i] != 0;
    if (rk_out_sparse(reply, outputs, nonzero, err) != RANKD_OK)
        return err->status;
    int64_t *index = reply->out[RK_OUT_GRADIENT_INDICES].data;
    float *value = reply->out[RK_OUT_GRADIENT_VALUES].data;
    bool indices = outputs & RK_OUT_BIT(RK_OUT_GRADIENT_INDICES);
    bool values = outputs & RK_OUT_BIT(RK_OUT_GRADIENT_VALUES);
    /* `at < nonzero`: the gradient may be in a shared segment that the client writes to. */
    for (size_t i = 0, at = 0; i < n && at < nonzero; i++) {
        float x = gradient[i];
        if (x == 0)
            continue;
        if (indices)
            index[at] = (int64_t)i;
        if (values)
            value[at] = x;
        at++;
    }
    return RANKD_OK;
}

size_t rk_out_given(const struct rk_reply *reply, enum rk_output which)
{
    const struct rk_out *out = &reply->out[which];
    return reply->outputs & RK_OUT_BIT(which) && !out->owned ? out->bytes : 0;
}

void rk_reply_clear(struct rk_reply *reply)
{
    for (size_t i = 0; i < RK_OUT_COUNT; i++) {
        struct rk_out *out = &reply->out[i];
        if (!out->owned)
            continue;
        free(out->data);
        *out = (struct rk_out){0};
    }
    reply->outputs = 0;
}
