/* SPDX-License-Identifier: Apache-2.0 */
/* The inputs and outputs of all models. */
#include "request/request.h"

/* The types of a port, by the words of rankd_ports.def. */
enum {
    FP64 = 1u << RK_FP64,
    FP32 = 1u << RK_FP32,
    FP16 = 1u << RK_FP16,
    BF16 = 1u << RK_BF16,
    INT64 = 1u << RK_INT64,
    INT32 = 1u << RK_INT32,
    INT8 = 1u << RK_INT8,
    UINT8 = 1u << RK_UINT8,
    BOOL = 1u << RK_BOOL,
    FLOATS = FP64 | FP32 | FP16 | BF16,
    TARGETS = BOOL | UINT8 | INT8 | INT32 | INT64 | FP32 | FP16 | BF16,
    LABELS = INT64 | INT32
};

const struct rk_port_row rk_input_rows[RK_IN_COUNT] = {
#define RANKD_INPUT(ID, name, with, dtypes, rank, shape, help) {name, dtypes, rank, shape, help},
#include "rankd_ports.def"
};

const struct rk_port_row rk_output_rows[RK_OUT_COUNT] = {
#define RANKD_OUTPUT(ID, name, with, dtypes, rank, shape, help) {name, dtypes, rank, shape, help},
#include "rankd_ports.def"
};
