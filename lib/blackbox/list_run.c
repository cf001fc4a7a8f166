/* SPDX-License-Identifier: Apache-2.0 */
/* The entry: a list is computed in the way that its kernels name. */
#include "blackbox/blackbox_internal.h"

static const struct rk_list_method *const methods[] = {
    [RK_LIST_STREAMED] = &rk_list_streamed, [RK_LIST_SORTED] = &rk_list_reference};

size_t rk_list_scratch(const struct rk_kernels *kernels, uint32_t items, uint32_t p, enum rk_dtype dtype,
                       unsigned threads, unsigned wants)
{
    return methods[kernels->way]->scratch(kernels, items, p, dtype, threads, wants);
}

enum rankd_status rk_list_run(const struct rk_exec *exec, const struct rk_kernels *kernels,
                              const struct rk_blackbox *box, double w, struct rk_list *list, void *scratch,
                              struct rk_list_out *out, struct rk_err *err)
{
    out->loss = 0;
    out->nonzero = out->deltas = 0;
    out->stalled = false;
    out->jumped = out->abs_differentiable = out->abs_bank = 0;
    out->lambda = out->divisor = rk_box_lambda(box, w, list->n);
    enum rankd_status status = methods[kernels->way]->run(exec, kernels, box, w, list, scratch, out);
    if (status == RANKD_INVALID)
        out->nan = rk_list_first_nan(list);
    if (status == RANKD_DEADLINE && rk_exec_check(exec, err) == RANKD_OK)
        return rk_fail(err, RANKD_DEADLINE, "the deadline passed");
    return status;
}
