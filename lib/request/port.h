/* SPDX-License-Identifier: Apache-2.0 */
/* The inputs and outputs of all models, by number: those of the wire, RK_IN_SCORES, … and
 * RK_OUT_LOSS, … (proto/rankd_ports.def). A device's plugin speaks of them too
 * (device_plugin.h). */
#ifndef RK_REQUEST_PORT_H
#define RK_REQUEST_PORT_H

enum rk_input {
#define RANKD_INPUT(ID, name, with, dtypes, rank, shape, help) RK_IN_##ID,
#include "rankd_ports.def"
    RK_IN_COUNT
};

enum rk_output {
#define RANKD_OUTPUT(ID, name, with, dtypes, rank, shape, help) RK_OUT_##ID,
#include "rankd_ports.def"
    RK_OUT_COUNT
};

#endif
