/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/table_scalar.h"

#include "kernels/kernels_internal.h"

static const struct rk_table_code code = {
    rk_table_load,  rk_table_extend_range,   rk_table_subbuckets, rk_table_above,
    rk_table_place, rk_table_may_be_crossed, rk_table_crossed,    rk_table_crossed_from_saved_index,
    rk_table_values};

static enum rankd_status count_pass(struct rk_pass *pass)
{
    return rk_table_count(pass, &code);
}

static enum rankd_status move_pass(struct rk_pass *pass)
{
    return rk_table_move(pass, &code);
}

const struct rk_strategy rk_table_scalar = {.name = "table",
                                            .most = RK_LIST_MAX,
                                            .scratch = rk_table_scratch,
                                            .kept = rk_table_kept,
                                            .count = count_pass,
                                            .move = move_pass};
