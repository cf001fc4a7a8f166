/* SPDX-License-Identifier: Apache-2.0 */
/* The features that the processor must report before code may run that is compiled like the
 * including file: from the compiler's own macros, so that flags and probe can't differ. */
#ifndef TEST_ISA_H
#define TEST_ISA_H

#include "kernels/cpu.h"

/* Bits for the instruction sets of *_avx2.c, and of *_avx512.c, in the registers of struct
 * rk_cpuid. */
extern const struct rk_cpuid test_isa_avx2, test_isa_avx512;

#endif
