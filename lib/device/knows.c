/* SPDX-License-Identifier: Apache-2.0 */
/* Requests that a plugin does not know completely are not sent to it. */
#include <string.h>

#include "device/device.h"
#include "losses/loss.h"

_Static_assert(RK_IN_COUNT <= 32 && RK_OUT_COUNT <= 32 && RK_PARAM_COUNT <= 32 && RK_DTYPE_COUNT <= 32,
               "each has its bit");

static bool has(uint32_t mask, unsigned number)
{
    return number < 32 && mask >> number & 1;
}

static bool knows_inputs(const struct rk_device_capabilities *knows, const struct rk_request *request)
{
    const struct rk_tensor *in = request->in;
    for (unsigned i = 0; i < RK_IN_COUNT; i++) {
        if (in[i].data && !has(knows->inputs, i))
            return false;
    }
    return (!in[RK_IN_SCORES].data || has(knows->score_dtypes, in[RK_IN_SCORES].dtype)) &&
           (!in[RK_IN_TARGETS].data || has(knows->target_dtypes, in[RK_IN_TARGETS].dtype)) &&
           (!in[RK_IN_UPSTREAM].data || has(knows->upstream_dtypes, in[RK_IN_UPSTREAM].dtype));
}

static bool knows_params(const struct rk_device_capabilities *knows, const struct rk_params *params)
{
    if (rk_params_asked(params) & ~knows->params)
        return false;
    for (unsigned i = 0; i < RK_PARAM_COUNT; i++) {
        const struct rk_param_row *row = &rk_param_rows[i];
        if (row->type != RK_PARAM_CHOICE || !has(knows->params, i))
            continue; /* of one that is not known: at its default */
        int word;
        memcpy(&word, (const char *)params + row->offset, sizeof word);
        if (!has(knows->words[i], (unsigned)word))
            return false;
    }
    return true;
}

bool rk_device_knows(const struct rk_device *device, const struct rk_request *request,
                     enum rk_device_call call)
{
    const struct rk_device_capabilities *knows = &device->plugin->knows[call];
    const struct rk_loss *loss = request->model->loss;
    return has(knows->losses, loss ? loss->number : RK_LOSS_NONE) && !(request->outputs & ~knows->outputs) &&
           knows_inputs(knows, request) && knows_params(knows, &request->params);
}
