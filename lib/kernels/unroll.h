/* SPDX-License-Identifier: Apache-2.0 */
/* Complete unrolling of the next loop, per compiler: arrays that stay in registers need constant
 * indices. */
#ifndef RK_KERNELS_UNROLL_H
#define RK_KERNELS_UNROLL_H

#if defined(__clang__)
#define RK_UNROLL _Pragma("clang loop unroll(full)")
#else
#define RK_UNROLL _Pragma("GCC unroll 16")
#endif
#define RK_INLINE static inline __attribute__((always_inline))

#endif
