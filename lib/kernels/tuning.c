/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/tuning.h"

#define RK_TUNING(field, name, value, min, max, help) .field = (value),
const struct rk_tuning rk_tuning_default = {
#include "kernels/tuning.def"
};

struct rk_tuning rk_tuning = {
#include "kernels/tuning.def"
};
#undef RK_TUNING

const struct rk_tuning_row rk_tuning_rows[] = {
#define RK_TUNING(field, name, value, min, max, help)                                                        \
    {name, offsetof(struct rk_tuning, field), value, min, max, help},
#include "kernels/tuning.def"
#undef RK_TUNING
};
const size_t rk_tuning_row_count = sizeof rk_tuning_rows / sizeof *rk_tuning_rows;

bool rk_tuning_may_be(const struct rk_tuning_row *row, uint64_t value)
{
    const bool power = value > 0 && (value & (value - 1)) == 0;
    return value == row->value || (power && value >= row->min && value <= row->max);
}

void rk_tuning_use(const struct rk_tuning *tuning)
{
    rk_tuning = *tuning;
}
