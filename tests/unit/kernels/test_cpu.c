/* SPDX-License-Identifier: Apache-2.0 */
/* The choice of code by the processor: for every set of features only code is chosen whose
 * instructions all exist. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "kernels/cpu.h"
#include "kernels/kernels_internal.h"
#include "kernels/tile.h"
#include "unit/support/isa.h"

static bool covers(const struct rk_cpuid *cpu, const struct rk_cpuid *needs)
{
    return !(needs->leaf1_ecx & ~cpu->leaf1_ecx) && !(needs->leaf7_ebx & ~cpu->leaf7_ebx) &&
           !(needs->extended1_ecx & ~cpu->extended1_ecx) && !(needs->xcr0 & ~cpu->xcr0);
}

/* Spreads the low bits of *subset over the bits of `mask`, and takes them off. */
static uint64_t part_of(uint64_t mask, uint64_t *subset)
{
    uint64_t part = 0;
    for (; mask; mask &= mask - 1, *subset >>= 1)
        part |= *subset & 1 ? mask & -mask : 0;
    return part;
}

static unsigned bits_of(const struct rk_cpuid *cpu)
{
    return (unsigned)(__builtin_popcount(cpu->leaf1_ecx) + __builtin_popcount(cpu->leaf7_ebx) +
                      __builtin_popcount(cpu->extended1_ecx) + __builtin_popcountll(cpu->xcr0));
}

static void every_subset_of_features_picks_what_it_can_run(void **state)
{
    (void)state;
    const struct rk_cpuid *most = &test_isa_avx512;
    assert_true(covers(most, &test_isa_avx2));
    assert_int_equal(bits_of(most), 10 + 7 + 1 + 5); /* leaf 1, leaf 7, LZCNT, XCR0 */
    size_t chosen[3] = {0};
    for (uint64_t subset = 0; subset < UINT64_C(1) << bits_of(most); subset++) {
        uint64_t rest = subset;
        const struct rk_cpuid cpu = {.leaf1_ecx = (uint32_t)part_of(most->leaf1_ecx, &rest),
                                     .leaf7_ebx = (uint32_t)part_of(most->leaf7_ebx, &rest),
                                     .extended1_ecx = (uint32_t)part_of(most->extended1_ecx, &rest),
                                     .xcr0 = part_of(most->xcr0, &rest)};
        const char *want = covers(&cpu, &test_isa_avx512) ? "avx512"
                           : covers(&cpu, &test_isa_avx2) ? "avx2"
                                                          : "scalar";
        const struct rk_kernels *kernels = rk_kernels_for(rk_cpu_features_of(&cpu));
        if (strcmp(kernels->name, want) != 0)
            fail_msg("%s for leaf 1 %#x, leaf 7 %#x, extended %#x, XCR0 %#llx; it must be %s", kernels->name,
                     cpu.leaf1_ecx, cpu.leaf7_ebx, cpu.extended1_ecx, (unsigned long long)cpu.xcr0, want);
        chosen[want[0] == 's' ? 0 : want[3] == '2' ? 1 : 2]++;
    }
    assert_int_equal(chosen[2], 1);
    assert_true(chosen[1] > 1 && chosen[0] > 1);
}

static void a_set_names_code_of_its_own_kind_alone(void **state)
{
    (void)state;
    for (unsigned features = 0; features <= RK_CPU_ALL; features++) {
        const struct rk_kernels *kernels = rk_kernels_for(features);
        assert_string_equal(kernels->tile->name, kernels->name);
    }
    const struct rk_kernels *reference = rk_kernels_named("reference");
    assert_string_equal(reference->tile->name, "scalar");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_subset_of_features_picks_what_it_can_run),
        cmocka_unit_test(a_set_names_code_of_its_own_kind_alone),
    };
    return cmocka_run_group_tests_name("cpu", tests, NULL, NULL);
}
