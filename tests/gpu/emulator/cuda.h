/* SPDX-License-Identifier: Apache-2.0 */
/* What the plugin asks of the driver itself. */
#pragma once

#include <cstddef>
#include <cstdint>

using CUdeviceptr = uintptr_t;
enum CUresult { CUDA_SUCCESS = 0, CUDA_ERROR_INVALID_VALUE = 1 };
