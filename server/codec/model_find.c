/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/model_find.h"

#include <stdio.h>

#include "base/nearest.h"

const struct rk_model *rk_model_find_or_fail(const char *name, struct rk_err *err)
{
    const struct rk_model *model = rk_model_find(name);
    if (model)
        return model;
    struct rk_nearest nearest = rk_nearest_start(name);
    char names[256] = "";
    for (size_t i = 0, at = 0; i < rk_model_count && at < sizeof names; i++) {
        rk_nearest_offer(&nearest, rk_models[i].name);
        const char *join = i == 0 ? "" : i + 1 == rk_model_count ? " and " : ", ";
        at += (size_t)snprintf(names + at, sizeof names - at, "%s%s", join, rk_models[i].name);
    }
    (void)rk_fail(err, RANKD_NOT_FOUND, "there is no model \"%.64s\"; did you mean \"%s\"? (there are %s)",
                  name, nearest.best ? nearest.best : rk_models[0].name, names);
    return NULL;
}
