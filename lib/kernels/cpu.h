/* Which instructions this machine, and its operating system, let a program use. */
#ifndef RK_KERNELS_CPU_H
#define RK_KERNELS_CPU_H

#include <stdint.h>

enum {
    /* AVX2 and what comes before it, FMA, BMI1, BMI2, LZCNT, POPCNT, F16C: what *_avx2.c is compiled for */
    RK_CPU_AVX2 = 1u << 0,
    RK_CPU_AVX512 = 1u << 1, /* those, and AVX-512 F, BW, VL, DQ: *_avx512.c */
    RK_CPU_ALL = RK_CPU_AVX2 | RK_CPU_AVX512
};

/* What the processor says of itself (CPUID) and which registers the operating system saves (XCR0). */
struct rk_cpuid {
    uint32_t leaf1_ecx;
    uint32_t leaf7_ebx;
    uint32_t extended1_ecx; /* leaf 0x80000001 */
    uint64_t xcr0;          /* 0 where the system does not use XSAVE */
};

/* RK_CPU_* of those registers. Instructions whose registers the system does not save are not there, whatever
 * the processor says: using them would lose their contents at the next task switch, or trap. */
unsigned rk_cpu_features_of(const struct rk_cpuid *cpu);

/* RK_CPU_* of this machine; asked once. Any thread. */
unsigned rk_cpu_features(void);

#endif
