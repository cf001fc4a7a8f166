#include "array.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *descr, *datatype;
    size_t bytes;
} types[] = {
    {"<f8", "FP64", 8},  {"<f4", "FP32", 4}, {"<f2", "FP16", 2},  {"<i8", "INT64", 8},
    {"<i4", "INT32", 4}, {"|i1", "INT8", 1}, {"|u1", "UINT8", 1}, {"|b1", "BOOL", 1},
};

__attribute__((format(printf, 2, 3))) static bool no(char why[CTL_WHY], const char *format, ...)
{
    __builtin_va_list arguments;
    __builtin_va_start(arguments, format);
    vsnprintf(why, CTL_WHY, format, arguments);
    __builtin_va_end(arguments);
    return false;
}

/* The text after `'key':` in the header's Python dictionary; NULL if the key is missing. */
static const char *value_of(const char *header, const char *key)
{
    char quoted[32];
    snprintf(quoted, sizeof quoted, "'%s':", key);
    const char *at = strstr(header, quoted);
    return at ? at + strlen(quoted) + strspn(at + strlen(quoted), " ") : NULL;
}

static bool read_type(struct ctl_array *array, const char *path, const char *header, char why[CTL_WHY])
{
    const char *descr = value_of(header, "descr");
    for (size_t i = 0; descr && i < sizeof types / sizeof types[0]; i++) {
        if (strncmp(descr + 1, types[i].descr, 3) == 0) {
            array->datatype = types[i].datatype;
            array->element_bytes = types[i].bytes;
            return true;
        }
    }
    return no(why,
              "%s holds elements of type %.8s; it may be f8, f4, f2, i8, i4 (little-endian), i1, u1 or b1",
              path, descr ? descr : "(none)");
}

static bool read_shape(struct ctl_array *array, const char *path, const char *header, char why[CTL_WHY])
{
    const char *order = value_of(header, "fortran_order"), *shape = value_of(header, "shape");
    if (!order || strncmp(order, "False", 5) != 0)
        return no(why, "%s lies in Fortran order; save it with numpy.ascontiguousarray", path);
    int64_t extent[2];
    int dimensions = 0;
    for (const char *at = shape && *shape == '(' ? shape + 1 : ")"; *at != ')';) {
        char *end;
        errno = 0;
        long long size = strtoll(at, &end, 10);
        if (end == at || size < 0 || errno || dimensions == 2)
            return no(why, "%s has the shape %.40s; it may have one or two dimensions", path, shape);
        extent[dimensions++] = size;
        at = end + strspn(end, ", ");
    }
    if (!dimensions)
        return no(why, "%s is a single number; it may have one or two dimensions", path);
    array->rows = dimensions == 2 ? extent[0] : 1;
    array->columns = extent[dimensions - 1];
    size_t count;
    if (__builtin_mul_overflow((size_t)array->rows, (size_t)array->columns, &count) ||
        __builtin_mul_overflow(count, array->element_bytes, &array->bytes))
        return no(why, "%s says that its shape is %.40s: more bytes than there can be", path, shape);
    return true;
}

static bool read_npy(struct ctl_array *array, const char *path, FILE *file, char why[CTL_WHY])
{
    unsigned char lead[12];
    if (fread(lead, 1, 10, file) != 10 || memcmp(lead, "\x93NUMPY", 6) != 0)
        return no(why, "%s is not an .npy file", path);
    size_t length = lead[8] + 256u * lead[9];
    if (lead[6] >= 2) {
        if (fread(lead + 10, 1, 2, file) != 2 || lead[10] || lead[11])
            return no(why, "%s has a header over 64 KiB", path);
    }
    char *header = malloc(length + 1);
    if (!header)
        return no(why, "out of memory");
    bool good = fread(header, 1, length, file) == length;
    header[good ? length : 0] = 0;
    if (!good)
        no(why, "%s ends within its header", path);
    good = good && read_type(array, path, header, why) && read_shape(array, path, header, why);
    free(header);
    if (!good)
        return false;
    /* The header may lie about the size: the file is asked first, memory after. */
    long here = ftell(file);
    if (here < 0 || fseek(file, 0, SEEK_END) != 0 || (uint64_t)(ftell(file) - here) < array->bytes ||
        fseek(file, here, SEEK_SET) != 0)
        return no(why, "%s is shorter than its header says", path);
    array->data = malloc(array->bytes + 1); /* malloc(0) may be NULL */
    if (!array->data)
        return no(why, "no memory for the %zu bytes of %s", array->bytes, path);
    return fread(array->data, 1, array->bytes, file) == array->bytes ||
           no(why, "%s: %s", path, strerror(errno));
}

static bool append(struct ctl_array *array, size_t *room, double value)
{
    if (array->bytes == *room) {
        *room = *room ? 2 * *room : 4096;
        void *more = realloc(array->data, *room);
        if (!more)
            return false;
        array->data = more;
    }
    memcpy((char *)array->data + array->bytes, &value, sizeof value);
    array->bytes += sizeof value;
    return true;
}

static bool read_row(struct ctl_array *array, size_t *room, const char *path, size_t line_number, char *line,
                     char why[CTL_WHY])
{
    static const char between[] = ",; \t\r\n";
    int64_t columns = 0;
    for (char *at = line + strspn(line, between); *at; columns++) {
        char *end;
        double value = strtod(at, &end);
        if (end == at || (*end && !strchr(between, *end))) {
            if (line_number == 1 && columns == 0)
                return true; /* a heading */
            return no(why, "%s, line %zu: '%.20s' is not a number", path, line_number, at);
        }
        if (!append(array, room, value))
            return no(why, "out of memory");
        at = end + strspn(end, between);
    }
    if (!columns)
        return true;
    if (array->rows && columns != array->columns)
        return no(why, "%s, line %zu has %" PRId64 " numbers; the lines before it have %" PRId64, path,
                  line_number, columns, array->columns);
    array->columns = columns;
    array->rows++;
    return true;
}

static bool read_text(struct ctl_array *array, const char *path, FILE *file, char why[CTL_WHY])
{
    char *line = NULL;
    size_t line_room = 0, room = 0;
    bool good = true;
    for (size_t number = 1; good && getline(&line, &line_room, file) >= 0; number++)
        good = read_row(array, &room, path, number, line, why);
    if (good && ferror(file))
        good = no(why, "%s: %s", path, strerror(errno)); /* a folder opens like a file, and says so here */
    free(line);
    array->datatype = "FP64";
    array->element_bytes = sizeof(double);
    return good && (array->rows || no(why, "%s holds no numbers", path));
}

bool rankd_ctl_array_read(struct ctl_array *array, const char *path, char why[CTL_WHY])
{
    *array = (struct ctl_array){0};
    FILE *file = fopen(path, "rbe");
    if (!file)
        return no(why, "%s: %s", path, strerror(errno));
    size_t length = strlen(path);
    bool npy = length > 4 && strcmp(path + length - 4, ".npy") == 0;
    bool good = npy ? read_npy(array, path, file, why) : read_text(array, path, file, why);
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

bool rankd_ctl_npy_write(const char *path, const float *values, int64_t rows, int64_t columns,
                         char why[CTL_WHY])
{
    FILE *file = fopen(path, "wbe");
    if (!file)
        return no(why, "%s: %s", path, strerror(errno));
    char header[118];
    int length = snprintf(header, sizeof header,
                          "{'descr': '<f4', 'fortran_order': False, 'shape': (%" PRId64 ", %" PRId64 "), }",
                          rows, columns);
    memset(header + length, ' ', sizeof header - (size_t)length);
    header[sizeof header - 1] = '\n'; /* lead and header together are 128 bytes: the data is aligned */
    size_t count = (size_t)rows * (size_t)columns;
    bool good = fwrite("\x93NUMPY\x01\x00\x76\x00", 1, 10, file) == 10 &&
                fwrite(header, 1, sizeof header, file) == sizeof header &&
                fwrite(values, sizeof *values, count, file) == count;
    good = fclose(file) == 0 && good;
    return good || no(why, "%s: %s", path, strerror(errno));
}
