#include "kernels/table_scalar.h"

#include "kernels/kernels_internal.h"

static const struct rk_table_code code = {rk_table_load,   rk_table_see,    rk_table_cells,
                                          rk_table_above,  rk_table_place,  rk_table_sift,
                                          rk_table_passed, rk_table_recall, rk_table_values};

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
