/* Matrices in files: NumPy's .npy (NumPy's format description, versions 1 to 3) and text with one row a line.
 */
#ifndef RANKD_CTL_ARRAY_H
#define RANKD_CTL_ARRAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CTL_WHY = 512 };

struct ctl_array {
    const char *datatype; /* as in the Open Inference Protocol: "FP32", "INT64", …; static */
    size_t element_bytes;
    int64_t rows, columns; /* a file with one dimension is one row */
    void *data;            /* row-major, little-endian */
    size_t bytes;
};

/* Reads the file by its ending: .npy, else text (numbers separated by comma, semicolon, tab or blank; a first
 * line that is no number is a heading; read as FP64). True, and the array is the caller's to
 * rankd_ctl_array_free(); or false and a sentence in `why`. */
bool rankd_ctl_array_read(struct ctl_array *array, const char *path, char why[CTL_WHY]);
void rankd_ctl_array_free(struct ctl_array *array);

/* FP64 -> FP32 in place, for targets out of a text file: the protocol knows no FP64 targets. */
void rankd_ctl_array_narrow(struct ctl_array *array);

/* Writes FP32 [rows, columns] as .npy. */
bool rankd_ctl_npy_write(const char *path, const float *values, int64_t rows, int64_t columns,
                         char why[CTL_WHY]);

#endif
