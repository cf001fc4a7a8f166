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

static int64_t integer_at(const struct ctl_array *array, size_t i)
{
    const char *at = (const char *)array->data + i * array->element_bytes;
    int64_t wide;
    int32_t narrow;
    switch (array->element_bytes) {
    case sizeof wide:
        memcpy(&wide, at, sizeof wide);
        return wide;
    case sizeof narrow:
        memcpy(&narrow, at, sizeof narrow);
        return narrow;
    default:
        return strcmp(array->datatype, "INT8") == 0 ? (int64_t) * (const int8_t *)at
                                                    : (int64_t) * (const uint8_t *)at;
    }
}

bool rankd_ctl_array_from_integers(struct ctl_array *array, const char *datatype, char why[CTL_WHY])
{
    if (!array->data || strncmp(array->datatype, "FP", 2) == 0 || strcmp(array->datatype, datatype) == 0)
        return true;
    const size_t count = array->bytes / array->element_bytes, bytes = strcmp(datatype, "FP32") == 0 ? 4 : 8;
    char *out = malloc(count ? count * bytes : 1);
    if (!out)
        return rankd_ctl_refuse(why, "out of memory");
    for (size_t i = 0; i < count; i++) {
        const int64_t value = integer_at(array, i);
        const double wide = (double)value;
        const float narrow = (float)value;
        const void *from = bytes == 4           ? (const void *)&narrow
                           : datatype[0] == 'I' ? (const void *)&value
                                                : &wide;
        memcpy(out + i * bytes, from, bytes);
    }
    free(array->data);
    array->data = out;
    array->datatype = datatype;
    array->element_bytes = bytes;
    array->bytes = count * bytes;
    return true;
}
