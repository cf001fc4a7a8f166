/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers for element types, inputs and outputs: the same in the ring's memory and in the client
 * library. */
#ifndef RANKD_TYPES_H
#define RANKD_TYPES_H

/* Element types, in the order in which the Open Inference Protocol's names are listed in
 * openapi.yaml. */
enum rankd_dtype {
    RANKD_BOOL,
    RANKD_UINT8,
    RANKD_INT8,
    RANKD_INT32,
    RANKD_INT64,
    RANKD_FP16,
    RANKD_BF16,
    RANKD_FP32,
    RANKD_FP64,
    RANKD_DTYPE_COUNT
};

/* Inputs of a request: RANKD_IN_SCORES, … (rankd_ports.def). */
enum rankd_input {
#define RANKD_INPUT(ID, name, with, dtypes, rank, shape, help) RANKD_IN_##ID,
#include "rankd_ports.def"
    RANKD_IN_COUNT
};

/* Outputs of a request: RANKD_OUT_LOSS, … */
enum rankd_output {
#define RANKD_OUTPUT(ID, name, with, dtypes, rank, shape, help) RANKD_OUT_##ID,
#include "rankd_ports.def"
    RANKD_OUT_COUNT
};

/* Numbers of a reply: RANKD_REPLY_PAIRS_JUMPED, … (rankd_numbers.def). */
enum rankd_reply_number {
#define RANKD_REPLY_NUMBER(ID, name, whole, help) RANKD_REPLY_##ID,
#include "rankd_numbers.def"
    RANKD_REPLY_NUMBERS
};

#endif
