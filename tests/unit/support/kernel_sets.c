/* SPDX-License-Identifier: Apache-2.0 */
#include "unit/support/kernel_sets.h"

#include <stdlib.h>

const char *const test_set_names[TEST_SETS] = {"reference", "scalar", "avx2", "avx512"};

size_t test_sets(const struct rk_kernels *sets[TEST_SETS])
{
    size_t count = 0;
    for (size_t i = 0; i < TEST_SETS; i++) {
        const struct rk_kernels *set = rk_kernels_named(test_set_names[i]);
        if (set)
            sets[count++] = set;
    }
    return count;
}

uint64_t test_times(void)
{
    const char *soak = getenv("RK_SOAK");
    return soak ? strtoull(soak, NULL, 10) : 1;
}
