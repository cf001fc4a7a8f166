/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of gpu-check. */
#ifndef GPU_CHECK_H
#define GPU_CHECK_H

#include <stdbool.h>
#include <stddef.h>

#include "device/device.h"
#include "kernels/kernel.h"
#include "sample.h"

#define ITEMS 3000000       /* the most items of a request by default */
#define WHOLE_DEVICE 262144 /* longer lists are spread over the whole device */

void report(bool good, const char *what); /* counts, and names the failed checks */
bool same_bytes(const struct rk_out *a, const struct rk_out *b);

/* One request on the device and on the CPU, by `kernels` or those of this machine. */
void compare(struct rk_device *device, const struct rk_kernels *kernels, const struct sample *s,
             bool on_device);

void check_requests(struct rk_device *device, int runs, size_t most_items); /* on scores */
void check_sizes(struct rk_device *device, const char *plugin, size_t most_items);
void check_unknown(struct rk_device *device); /* features that the plugin does not know */
void check_retrievals(struct rk_device *device, int runs, size_t most_items);

#endif
