/* SPDX-License-Identifier: Apache-2.0 */
/* Names of datatypes, inputs and outputs on the wire, by number. */
#ifndef RANKD_NAMES_H
#define RANKD_NAMES_H

#include <stdint.h>

#include "rankd_types.h"

extern const char *const rankd_dtype_names[RANKD_DTYPE_COUNT];
extern const char *const rankd_input_names[RANKD_IN_COUNT];
extern const char *const rankd_output_names[RANKD_OUT_COUNT];

uint64_t rankd_dtype_bytes(int dtype); /* of an element; 0 outside the enumeration */

#endif
