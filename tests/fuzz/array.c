/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "../../clients/ctl/array.h"
#include "targets.h"

void rk_fuzz_array(const uint8_t *data, size_t bytes)
{
    if (bytes < 2)
        return;
    /* Not written to: the mode is "rb". */
    FILE *file = fmemopen((void *)(uintptr_t)(data + 1), bytes - 1, "rb");
    assert(file);
    struct ctl_array array = {0};
    char why[CTL_WHY] = "";
    bool good = data[0] & 1 ? rankd_ctl_npy_read(&array, "f", file, why)
                            : rankd_ctl_text_read(&array, "f", file, why);
    if (good) {
        assert(array.data && array.rows >= 0 && array.columns >= 0 && array.bytes <= 8 * bytes);
        assert((size_t)array.rows * (size_t)array.columns * array.element_bytes == array.bytes);
        rankd_ctl_array_narrow(&array);
        (void)rankd_ctl_array_from_integers(&array, "FP32", why);
    } else {
        assert(why[0] == 'f' && !strchr(why, '\n'));
    }
    rankd_ctl_array_free(&array);
    (void)fclose(file);
}
