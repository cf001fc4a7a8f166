/* SPDX-License-Identifier: Apache-2.0 */
/* .npy files: ten or twelve bytes, a Python dictionary as text, the elements. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "array.h"

static const struct {
    const char *descr, *datatype;
    size_t bytes;
} types[] = {
    {"<f8", "FP64", 8},  {"<f4", "FP32", 4}, {"<f2", "FP16", 2},  {"<i8", "INT64", 8},
    {"<i4", "INT32", 4}, {"|i1", "INT8", 1}, {"|u1", "UINT8", 1}, {"|b1", "BOOL", 1},
};

enum { DESCR = 1, ORDER = 2, SHAPE = 4 };

/* The header during reading. Nothing at or behind `end` is read. */
struct header {
    const char *path, *at, *end;
    char *why;
    unsigned seen;
    int dimensions;
    int64_t extent[2];
};

static void skip_blanks(struct header *header)
{
    while (header->at < header->end && strchr(" \t\r\n", *header->at) && *header->at)
        header->at++;
}

/* Takes `word` if it is next. */
static bool take(struct header *header, const char *word)
{
    size_t length = strlen(word);
    skip_blanks(header);
    if ((size_t)(header->end - header->at) < length || memcmp(header->at, word, length) != 0)
        return false;
    header->at += length;
    return true;
}

/* Takes a string in either kind of quotes, without escapes, which NumPy does not write. */
static bool take_string(struct header *header, const char **text, size_t *length)
{
    skip_blanks(header);
    if (header->at == header->end || (*header->at != '\'' && *header->at != '"'))
        return false;
    const char *begin = header->at + 1;
    const char *close = memchr(begin, *header->at, (size_t)(header->end - begin));
    if (!close)
        return false;
    *text = begin;
    *length = (size_t)(close - begin);
    header->at = close + 1;
    return true;
}

static const char *rest(const struct header *header, char piece[CTL_PIECE])
{
    return rankd_ctl_piece(piece, header->at, (size_t)(header->end - header->at));
}

static bool no_dictionary(const struct header *header)
{
    char piece[CTL_PIECE];
    return rankd_ctl_refuse(
        header->why,
        "%s has a header that is not a dictionary of descr, fortran_order and shape; it stops at '%s'",
        header->path, rest(header, piece));
}

static bool other_type(const struct header *header, const char *text)
{
    return rankd_ctl_refuse(
        header->why,
        "%s holds elements of type %.20s; it may be f8, f4, f2, i8, i4 (little-endian), i1, u1 or b1",
        header->path, text);
}

static bool read_type(struct header *header, struct ctl_array *array)
{
    char piece[CTL_PIECE];
    const char *text;
    size_t length;
    skip_blanks(header);
    rest(header, piece);
    if (!take_string(header, &text, &length)) /* the fields of a structure, or nothing */
        return other_type(header, piece);
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (strlen(types[i].descr) == length && memcmp(text, types[i].descr, length) == 0) {
            array->datatype = types[i].datatype;
            array->element_bytes = types[i].bytes;
            return true;
        }
    }
    piece[length + 2 < CTL_PIECE ? length + 2 : CTL_PIECE - 1] = 0;
    return other_type(header, piece);
}

static bool read_order(struct header *header)
{
    if (take(header, "False"))
        return true;
    if (!take(header, "True"))
        return no_dictionary(header);
    return rankd_ctl_refuse(header->why, "%s is in Fortran order; save it with numpy.ascontiguousarray",
                            header->path);
}

/* Takes a whole number that is not negative. */
static bool take_extent(struct header *header, int64_t *extent)
{
    *extent = 0;
    skip_blanks(header);
    const char *begin = header->at;
    for (; header->at < header->end && *header->at >= '0' && *header->at <= '9'; header->at++) {
        if (__builtin_mul_overflow(*extent, 10, extent) ||
            __builtin_add_overflow(*extent, *header->at - '0', extent))
            return false;
    }
    bool any = header->at != begin;
    (void)take(header, "L"); /* Python 2 */
    return any;
}

static bool read_shape(struct header *header)
{
    char piece[CTL_PIECE];
    skip_blanks(header);
    rest(header, piece);
    piece[strcspn(piece, ")") + (strchr(piece, ')') != NULL)] = 0;
    if (!take(header, "("))
        return no_dictionary(header);
    for (bool more = true; !take(header, ")"); more = take(header, ",")) {
        int64_t extent;
        if (!more || header->dimensions == 2 || !take_extent(header, &extent))
            return rankd_ctl_refuse(header->why, "%s has the shape %s; it may have one or two dimensions",
                                    header->path, piece);
        header->extent[header->dimensions++] = extent;
    }
    if (!header->dimensions)
        return rankd_ctl_refuse(header->why, "%s is a single number; it may have one or two dimensions",
                                header->path);
    return true;
}

/* One `'key': value`. */
static bool read_entry(struct header *header, struct ctl_array *array)
{
    static const char *const names[] = {"descr", "fortran_order", "shape"};
    const char *key;
    size_t length;
    if (!take_string(header, &key, &length) || !take(header, ":"))
        return no_dictionary(header);
    for (unsigned i = 0; i < 3; i++) {
        if (strlen(names[i]) != length || memcmp(key, names[i], length) != 0)
            continue;
        if (header->seen & 1u << i)
            return rankd_ctl_refuse(header->why, "%s has a header with two entries %s", header->path,
                                    names[i]);
        header->seen |= 1u << i;
        return i == 0 ? read_type(header, array) : i == 1 ? read_order(header) : read_shape(header);
    }
    return no_dictionary(header);
}

static bool read_dictionary(struct header *header, struct ctl_array *array)
{
    if (!take(header, "{"))
        return no_dictionary(header);
    for (bool more = true; !take(header, "}"); more = take(header, ",")) {
        if (!more)
            return no_dictionary(header);
        if (!read_entry(header, array))
            return false;
    }
    if (!(header->seen & DESCR))
        return other_type(header, "(none)");
    skip_blanks(header);
    if (header->at != header->end || header->seen != (DESCR | ORDER | SHAPE))
        return no_dictionary(header);
    array->dimensions = header->dimensions;
    array->rows = header->dimensions == 2 ? header->extent[0] : 1;
    array->columns = header->extent[header->dimensions - 1];
    size_t count;
    if (__builtin_mul_overflow((size_t)array->rows, (size_t)array->columns, &count) ||
        __builtin_mul_overflow(count, array->element_bytes, &array->bytes) || array->bytes > PTRDIFF_MAX)
        return rankd_ctl_refuse(
            header->why, "%s says that its shape is (%" PRId64 ", %" PRId64 "): more bytes than there can be",
            header->path, array->rows, array->columns);
    return true;
}

/* The length of the dictionary: two bytes or, from version 2 on, four. */
static bool read_lead(const char *path, FILE *file, size_t *length, char why[CTL_WHY])
{
    unsigned char lead[12] = {0};
    if (fread(lead, 1, 10, file) != 10 || memcmp(lead, "\x93NUMPY", 6) != 0)
        return ferror(file) ? rankd_ctl_refuse(why, "%s: %s", path, strerror(errno))
                            : rankd_ctl_refuse(why, "%s is not an .npy file", path);
    if (lead[6] < 1 || lead[6] > 3 || lead[7] != 0)
        return rankd_ctl_refuse(why, "%s is .npy of version %d.%d; it may be 1.0, 2.0 or 3.0", path, lead[6],
                                lead[7]);
    if (lead[6] >= 2 && fread(lead + 10, 1, 2, file) != 2)
        return rankd_ctl_refuse(why, "%s ends within its header", path);
    if (lead[10] || lead[11])
        return rankd_ctl_refuse(why, "%s has a header over 64 KiB", path);
    *length = lead[8] + 256u * lead[9];
    return true;
}

static bool read_header(struct ctl_array *array, const char *path, FILE *file, char why[CTL_WHY])
{
    size_t length = 0;
    if (!read_lead(path, file, &length, why))
        return false;
    char *text = malloc(length + 1); /* of exactly that size, so that a sanitizer detects a read beyond it */
    if (!text)
        return rankd_ctl_refuse(why, "out of memory");
    struct header header = {.path = path, .at = text, .end = text + length, .why = why};
    bool good = fread(text, 1, length, file) == length
                    ? read_dictionary(&header, array)
                    : rankd_ctl_refuse(why, "%s ends within its header", path);
    free(text);
    return good;
}

bool rankd_ctl_npy_read(struct ctl_array *array, const char *path, FILE *file, char why[CTL_WHY])
{
    size_t got;
    if (!read_header(array, path, file, why))
        return false;
    if (!rankd_ctl_read_growing(file, array->bytes, &array->data, &got))
        return rankd_ctl_refuse(why, "%s: %s", path,
                                ferror(file) ? strerror(errno) : "no memory for its elements");
    if (got != array->bytes)
        return rankd_ctl_refuse(why, "%s is shorter than its header says: %zu of %zu bytes", path, got,
                                array->bytes);
    if (getc(file) != EOF)
        return rankd_ctl_refuse(
            why, "%s is longer than its header says: %zu bytes of elements, and more behind them", path,
            array->bytes);
    if (!array->data && !(array->data = malloc(1)))
        return rankd_ctl_refuse(why, "out of memory");
    return true;
}

bool rankd_ctl_npy_write(const char *path, const float *values, int64_t rows, int64_t columns,
                         char why[CTL_WHY])
{
    FILE *file = fopen(path, "wbe");
    if (!file)
        return rankd_ctl_refuse(why, "%s: %s", path, strerror(errno));
    char header[118], shape[48];
    if (rows < 0)
        (void)snprintf(shape, sizeof shape, "(%" PRId64 ",)", columns);
    else
        (void)snprintf(shape, sizeof shape, "(%" PRId64 ", %" PRId64 ")", rows, columns);
    int length =
        snprintf(header, sizeof header, "{'descr': '<f4', 'fortran_order': False, 'shape': %s, }", shape);
    memset(header + length, ' ', sizeof header - (size_t)length);
    header[sizeof header - 1] = '\n'; /* lead and header together are 128 bytes: the data is aligned */
    size_t count = (size_t)(rows < 0 ? 1 : rows) * (size_t)columns;
    bool good = fwrite("\x93NUMPY\x01\x00\x76\x00", 1, 10, file) == 10 &&
                fwrite(header, 1, sizeof header, file) == sizeof header &&
                fwrite(values, sizeof *values, count, file) == count;
    good = fclose(file) == 0 && good;
    return good || rankd_ctl_refuse(why, "%s: %s", path, strerror(errno));
}
