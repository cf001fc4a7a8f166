/* SPDX-License-Identifier: Apache-2.0 */
#include "names.h"

const char *const rankd_dtype_names[RANKD_DTYPE_COUNT] = {"BOOL", "UINT8", "INT8", "INT32", "INT64",
                                                          "FP16", "BF16",  "FP32", "FP64"};
const char *const rankd_input_names[RANKD_IN_COUNT] = {
#define RANKD_INPUT(ID, name, with, dtypes, rank, shape, help) name,
#include "rankd_ports.def"
};
const char *const rankd_output_names[RANKD_OUT_COUNT] = {
#define RANKD_OUTPUT(ID, name, with, dtypes, rank, shape, help) name,
#include "rankd_ports.def"
};

static const unsigned char dtype_bytes[RANKD_DTYPE_COUNT] = {1, 1, 1, 4, 8, 2, 2, 4, 8};

uint64_t rankd_dtype_bytes(int dtype)
{
    return dtype >= 0 && dtype < RANKD_DTYPE_COUNT ? dtype_bytes[dtype] : 0;
}
