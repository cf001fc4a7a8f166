/* SPDX-License-Identifier: Apache-2.0 */
#include "request/list_weight.h"

#include <math.h>
#include <string.h>

#include "base/number.h"

/* To `copy`, unless that is NULL. */
static enum rankd_status read_weights(const struct rk_tensor *input, double *copy, struct rk_err *err)
{
    for (size_t i = 0; i < input->shape[0]; i++) {
        char text[RK_NUMBER_TEXT];
        float weight;
        memcpy(&weight, (const char *)input->data + i * sizeof weight, sizeof weight);
        if (!isfinite(weight) || weight < 0)
            return rk_fail(err, RANKD_INVALID, "list_weight[%zu] is %s; it must be finite and 0 or more", i,
                           rk_float_text(weight, text));
        if (copy)
            copy[i] = (double)weight;
    }
    return RANKD_OK;
}

enum rankd_status rk_list_weights_take(const struct rk_exec *exec, const struct rk_request *request,
                                       struct rk_list_weights *weights, struct rk_err *err)
{
    const struct rk_tensor *input = &request->in[RK_IN_LIST_WEIGHT];
    *weights = (struct rk_list_weights){.average = request->params.average};
    if (!input->data)
        return RANKD_OK;
    double *copy = rk_scratch_array(exec->scratch, input->shape[0], sizeof *copy);
    weights->weight = copy;
    if (!copy)
        return rk_fail_scratch(err, exec->scratch);
    if (rk_exec_measures(exec))
        return RANKD_OK;
    rk_exec_copied(exec, input->bytes);
    return read_weights(input, copy, err);
}

enum rankd_status rk_list_weights_check(const struct rk_request *request, struct rk_err *err)
{
    const struct rk_tensor *input = &request->in[RK_IN_LIST_WEIGHT];
    return input->data ? read_weights(input, NULL, err) : RANKD_OK;
}
