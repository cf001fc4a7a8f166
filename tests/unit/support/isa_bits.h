/* SPDX-License-Identifier: Apache-2.0 */
/* TEST_ISA_BITS: struct rk_cpuid's initialiser for the flags that the including file is compiled
 * with. */
#ifndef TEST_ISA_BITS_H
#define TEST_ISA_BITS_H

#ifdef __SSE3__
#define ISA_SSE3 1u
#else
#define ISA_SSE3 0u
#endif
#ifdef __SSSE3__
#define ISA_SSSE3 1u
#else
#define ISA_SSSE3 0u
#endif
#ifdef __FMA__
#define ISA_FMA 1u
#else
#define ISA_FMA 0u
#endif
#ifdef __SSE4_1__
#define ISA_SSE41 1u
#else
#define ISA_SSE41 0u
#endif
#ifdef __SSE4_2__
#define ISA_SSE42 1u
#else
#define ISA_SSE42 0u
#endif
#ifdef __POPCNT__
#define ISA_POPCNT 1u
#else
#define ISA_POPCNT 0u
#endif
#ifdef __XSAVE__
#define ISA_XSAVE 1u
#else
#define ISA_XSAVE 0u
#endif
#ifdef __AVX__
#define ISA_AVX 1u
#else
#define ISA_AVX 0u
#endif
#ifdef __F16C__
#define ISA_F16C 1u
#else
#define ISA_F16C 0u
#endif
#ifdef __BMI__
#define ISA_BMI1 1u
#else
#define ISA_BMI1 0u
#endif
#ifdef __AVX2__
#define ISA_AVX2 1u
#else
#define ISA_AVX2 0u
#endif
#ifdef __BMI2__
#define ISA_BMI2 1u
#else
#define ISA_BMI2 0u
#endif
#ifdef __AVX512F__
#define ISA_AVX512F 1u
#else
#define ISA_AVX512F 0u
#endif
#ifdef __AVX512DQ__
#define ISA_AVX512DQ 1u
#else
#define ISA_AVX512DQ 0u
#endif
#ifdef __AVX512BW__
#define ISA_AVX512BW 1u
#else
#define ISA_AVX512BW 0u
#endif
#ifdef __AVX512VL__
#define ISA_AVX512VL 1u
#else
#define ISA_AVX512VL 0u
#endif
#ifdef __LZCNT__
#define ISA_LZCNT 1u
#else
#define ISA_LZCNT 0u
#endif

#if defined __AVX512CD__ || defined __AVX512VBMI__ || defined __AVX512VBMI2__ || defined __AVX512VNNI__ ||   \
    defined __AVX512BF16__ || defined __AVX512FP16__ || defined __AVX512BITALG__ ||                          \
    defined __AVX512VPOPCNTDQ__ || defined __AVX512IFMA__ || defined __AVXVNNI__ || defined __GFNI__ ||      \
    defined __VAES__ || defined __VPCLMULQDQ__ || defined __PCLMUL__ || defined __AES__ ||                   \
    defined __MOVBE__ || defined __ADX__ || defined __RDRND__ || defined __RDSEED__ || defined __SHA__ ||    \
    defined __FSGSBASE__ || defined __XSAVEC__ || defined __XSAVEOPT__ || defined __SSE4A__ ||               \
    defined __FMA4__ || defined __XOP__ || defined __TBM__
#error the probe in lib/kernels/cpu.c, and this table, do not know one of the flags
#endif

#define TEST_ISA_BITS                                                                                        \
    {                                                                                                        \
        .leaf1_ecx = ISA_SSE3 << 0 | ISA_SSSE3 << 9 | ISA_FMA << 12 | ISA_SSE41 << 19 | ISA_SSE42 << 20 |    \
                     ISA_POPCNT << 23 | ISA_XSAVE << 26 | ISA_AVX << 28 | ISA_F16C << 29 | ISA_AVX << 27,    \
        /* whose registers the system has to save */ .leaf7_ebx =                                            \
            ISA_BMI1 << 3 | ISA_AVX2 << 5 | ISA_BMI2 << 8 | ISA_AVX512F << 16 | ISA_AVX512DQ << 17 |         \
            ISA_AVX512BW << 30 | ISA_AVX512VL << 31,                                                         \
        .extended1_ecx = ISA_LZCNT << 5, .xcr0 = ISA_AVX * 0x06 | ISA_AVX512F * 0xe0                         \
    }

#endif
