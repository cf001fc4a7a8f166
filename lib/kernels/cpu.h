/* SPDX-License-Identifier: Apache-2.0 */
/* The instruction sets that the machine and its operating system support. */
#ifndef RK_KERNELS_CPU_H
#define RK_KERNELS_CPU_H

#include <stdint.h>

enum {
    /* AVX2 and its predecessors, FMA, BMI1, BMI2, LZCNT, POPCNT, F16C: the flags of *_avx2.c */
    RK_CPU_AVX2 = 1u << 0,
    RK_CPU_AVX512 = 1u << 1, /* and AVX-512 F, BW, VL, DQ: the flags of *_avx512.c */
    RK_CPU_ALL = RK_CPU_AVX2 | RK_CPU_AVX512
};

/* Features of the processor (CPUID) and registers that the operating system saves (XCR0). */
struct rk_cpuid {
    uint32_t leaf1_ecx;
    uint32_t leaf7_ebx;
    uint32_t extended1_ecx; /* leaf 0x80000001 */
    uint64_t xcr0;          /* 0 if the system does not use XSAVE */
};

/* RK_CPU_* of those registers. An instruction set whose registers the system does not save counts
 * as absent: its registers would be lost at the next task switch, or the instruction would trap. */
unsigned rk_cpu_features_of(const struct rk_cpuid *cpu);

/* RK_CPU_* of this machine; determined once. Any thread. */
unsigned rk_cpu_features(void);

#endif
