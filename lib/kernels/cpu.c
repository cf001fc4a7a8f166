/* SPDX-License-Identifier: Apache-2.0 */
/* Intel SDM vol. 1, 14.3 and 15.2 ("Detection of AVX", "Detection of AVX-512"): CPUID first, then
 * XCR0. */
#include "kernels/cpu.h"

#include <pthread.h>
#include <stdbool.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

enum { /* bits of XCR0 */
       XCR0_SSE_AVX = 0x06,
       XCR0_OPMASK_ZMM = 0xe0
};

enum { /* bits of leaf 1, ecx */
       SSE3 = 1u << 0,
       SSSE3 = 1u << 9,
       FMA = 1u << 12,
       SSE41 = 1u << 19,
       SSE42 = 1u << 20,
       POPCNT = 1u << 23,
       XSAVE = 1u << 26,
       OSXSAVE = 1u << 27,
       AVX = 1u << 28,
       F16C = 1u << 29
};

enum { /* bits of leaf 7, ebx */
       BMI1 = 1u << 3,
       AVX2 = 1u << 5,
       BMI2 = 1u << 8,
       AVX512F = 1u << 16,
       AVX512DQ = 1u << 17,
       AVX512BW = 1u << 30
};
#define AVX512VL (1u << 31)
#define LZCNT (1u << 5) /* leaf 0x80000001, ecx */

static bool has(uint64_t bits, uint64_t all)
{
    return (bits & all) == all;
}

unsigned rk_cpu_features_of(const struct rk_cpuid *cpu)
{
    unsigned features = 0;
    /* -mavx2 lets the compiler use the older ones too. */
    if (has(cpu->leaf1_ecx, SSE3 | SSSE3 | FMA | SSE41 | SSE42 | POPCNT | XSAVE | OSXSAVE | AVX | F16C) &&
        has(cpu->leaf7_ebx, BMI1 | AVX2 | BMI2) && has(cpu->extended1_ecx, LZCNT) &&
        has(cpu->xcr0, XCR0_SSE_AVX))
        features |= RK_CPU_AVX2;
    if (features && has(cpu->leaf7_ebx, AVX512F | AVX512DQ | AVX512BW | AVX512VL) &&
        has(cpu->xcr0, XCR0_OPMASK_ZMM))
        features |= RK_CPU_AVX512;
    return features;
}

static unsigned known;

static void probe_cpu(void)
{
    struct rk_cpuid cpu = {0};
#if defined(__x86_64__)
    unsigned a, b, c, d;
    if (__get_cpuid(1, &a, &b, &c, &d))
        cpu.leaf1_ecx = c;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d))
        cpu.leaf7_ebx = b;
    if (__get_cpuid(0x80000001u, &a, &b, &c, &d))
        cpu.extended1_ecx = c;
    if (cpu.leaf1_ecx & OSXSAVE) {
        uint32_t low, high;
        __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0)); /* the intrinsic wants -mxsave */
        cpu.xcr0 = (uint64_t)high << 32 | low;
    }
#endif
    known = rk_cpu_features_of(&cpu);
}

unsigned rk_cpu_features(void)
{
    /* Asked once: in a virtual machine each CPUID is a trap of ten microseconds. */
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, probe_cpu);
    return known;
}
