/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/param_find.h"

const struct rk_param_row *rk_param_find_or_fail(const struct rk_model *model, const char *name,
                                                 struct rk_err *err)
{
    const struct rk_param_row *row = rk_param_find(name);
    if (row)
        return row;
    const char *nearest =
        rk_param_nearest(name, rk_model_params(model, false) | rk_model_params(model, true));
    (void)rk_fail(err, RANKD_INVALID, "parameter \"%.64s\" is not one of model %s%s%s%s", name, model->name,
                  nearest ? "; did you mean \"" : "", nearest ? nearest : "", nearest ? "\"?" : "");
    return NULL;
}
