/* SPDX-License-Identifier: Apache-2.0 */
/* Matrices in files: NumPy's .npy (NumPy's format description, versions 1 to 3) and text with one
 * row per line. Files are not trusted: any content is either read or refused with one sentence,
 * and memory is at most a small multiple of the bytes in the file. */
#ifndef RANKD_CTL_ARRAY_H
#define RANKD_CTL_ARRAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { CTL_WHY = 512, CTL_PIECE = 48 };

struct ctl_array {
    const char *datatype; /* as in the Open Inference Protocol: "FP32", "INT64", …; static */
    size_t element_bytes;
    int dimensions;        /* 1 or 2 */
    int64_t rows, columns; /* a file with one dimension is one row; 0 is possible in .npy */
    void *data;            /* row-major, little-endian; never NULL in an array that was read */
    size_t bytes;
};

/* Reads the file by its ending: .npy, else text. True, and the array is the caller's to
 * rankd_ctl_array_free(); or false and a sentence in `why`. */
bool rankd_ctl_array_read(struct ctl_array *array, const char *path, char why[CTL_WHY]);
void rankd_ctl_array_free(struct ctl_array *array);

/* The same from an open file that `path` names in sentences; the array is to be freed in both
 * cases. For .npy: f8, f4, f2, i8, i4 (little-endian), i1, u1, b1; one or two dimensions in C
 * order; nothing behind the elements. Pipes are fine. */
bool rankd_ctl_npy_read(struct ctl_array *array, const char *path, FILE *file, char why[CTL_WHY]);

/* The same for text: UTF-8, with or without a byte order mark; rows end with LF or CRLF; blank
 * lines are skipped. Cells are separated by the first of semicolon, tab and comma that the first
 * row has outside of quotes, else by runs of blanks. Cells may be quoted (RFC 4180). The first row
 * is a heading, and skipped, if none of its cells is a number. All other rows are numbers, equally
 * many in each; an empty cell is refused. Read as FP64. */
bool rankd_ctl_text_read(struct ctl_array *array, const char *path, FILE *file, char why[CTL_WHY]);

/* FP64 -> FP32 in place, for targets from a text file: the protocol has no FP64 targets. */
void rankd_ctl_array_narrow(struct ctl_array *array);

/* Converts elements of an integer type or BOOL to `datatype`, the protocol's type for this input:
 * "FP32", "FP64" or "INT64". Elements of other types stay. INT64 is rounded to the nearest
 * float. */
bool rankd_ctl_array_from_integers(struct ctl_array *array, const char *datatype, char why[CTL_WHY]);

/* Writes FP32 [rows, columns], or [columns] where `rows` is negative, as .npy. */
bool rankd_ctl_npy_write(const char *path, const float *values, int64_t rows, int64_t columns,
                         char why[CTL_WHY]);

/* Kinds of text. A spoilt number begins like a number, so it was probably meant to be one: "0,9",
 * "1st". */
enum ctl_number { CTL_NUMBER, CTL_WORD, CTL_EMPTY, CTL_SPOILT, CTL_TOO_LARGE };

/* Reads the whole text as a number, also NaN and infinities; with CTL_TOO_LARGE *value is
 * infinite. */
enum ctl_number rankd_ctl_read_number(const char *text, size_t bytes, double *value);

/* Of a file of text: skips the byte order mark of UTF-8. False if it is that of UTF-16. */
bool rankd_ctl_skip_mark(const char **at, const char *end, const char *path, char why[CTL_WHY]);

/* Adds an element to an array that grows; `room`: bytes that its data has room for, at first 0. */
bool rankd_ctl_append(struct ctl_array *array, size_t *room, const void *element, char why[CTL_WHY]);

/* Puts the sentence into `why`; false. */
bool rankd_ctl_refuse(char why[CTL_WHY], const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The beginning of `bytes` bytes at `text` for a sentence: what can't be printed becomes '?'.
 * Returns `piece`. */
const char *rankd_ctl_piece(char piece[CTL_PIECE], const char *text, size_t bytes);

/* Reads at most `most` bytes into *data, which grows with what arrives and is the caller's to
 * free() in any case; NULL if there was nothing. False: no memory, or an error of the file
 * (errno). */
bool rankd_ctl_read_growing(FILE *file, size_t most, void **data, size_t *bytes);

#endif
