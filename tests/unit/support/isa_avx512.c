/* SPDX-License-Identifier: Apache-2.0 */
#include "unit/support/isa.h"
#include "unit/support/isa_bits.h"

const struct rk_cpuid test_isa_avx512 = TEST_ISA_BITS;
