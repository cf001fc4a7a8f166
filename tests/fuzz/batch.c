/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "../../clients/ctl/batch.h"
#include "targets.h"

static void check(const struct ctl_array *array)
{
    assert(!array->data ||
           (size_t)array->rows * (size_t)array->columns * array->element_bytes == array->bytes);
}

void rk_fuzz_batch(const uint8_t *data, size_t bytes)
{
    if (bytes < 2)
        return;
    /* Not written to: the mode is "rb". */
    FILE *file = fmemopen((void *)(uintptr_t)(data + 1), bytes - 1, "rb");
    assert(file);
    struct ctl_batch batch;
    char why[CTL_WHY] = "";
    const bool good = data[0] & 1 ? rankd_ctl_npz_read(&batch, "f", file, why)
                                  : rankd_ctl_letor_read(&batch, "f", file, data[0] / 2 - 1, why);
    if (good) {
        assert(batch.targets.data && (data[0] < 2 || batch.scores.data));
        check(&batch.scores);
        check(&batch.targets);
        check(&batch.offsets);
        check(&batch.list_weight);
    } else {
        assert(why[0] == 'f' && !strchr(why, '\n'));
    }
    rankd_ctl_batch_free(&batch);
    (void)fclose(file);
}
