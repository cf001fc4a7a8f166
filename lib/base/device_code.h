/* SPDX-License-Identifier: Apache-2.0 */
/* Marks functions that a GPU compiler compiles as device code too, so that values that decide bits
 * of the result have one source. Headers that use it include only headers that such a compiler
 * has. */
#ifndef RK_BASE_DEVICE_CODE_H
#define RK_BASE_DEVICE_CODE_H

#ifdef __CUDACC__
#define RK_DEVICE __host__ __device__
#else
#define RK_DEVICE
#endif

#endif
