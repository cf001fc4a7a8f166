/* SPDX-License-Identifier: Apache-2.0 */
#include "array.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool rankd_ctl_array_read(struct ctl_array *array, const char *path, char why[CTL_WHY])
{
    *array = (struct ctl_array){0};
    FILE *file = fopen(path, "rbe");
    if (!file)
        return rankd_ctl_refuse(why, "%s: %s", path, strerror(errno));
    size_t length = strlen(path);
    bool npy = length > 4 && strcmp(path + length - 4, ".npy") == 0;
    bool good =
        npy ? rankd_ctl_npy_read(array, path, file, why) : rankd_ctl_text_read(array, path, file, why);
    fclose(file);
    if (!good)
        rankd_ctl_array_free(array);
    return good;
}

void rankd_ctl_array_free(struct ctl_array *array)
{
    free(array->data);
    *array = (struct ctl_array){0};
}

void rankd_ctl_array_narrow(struct ctl_array *array)
{
    if (!array->data || strcmp(array->datatype, "FP64") != 0)
        return;
    size_t count = array->bytes / sizeof(double);
    for (size_t i = 0; i < count; i++) {
        double wide;
        memcpy(&wide, (char *)array->data + i * sizeof wide, sizeof wide);
        float narrow = (float)wide;
        memcpy((char *)array->data + i * sizeof narrow, &narrow, sizeof narrow);
    }
    array->datatype = "FP32";
    array->element_bytes = sizeof(float);
    array->bytes = count * sizeof(float);
}
