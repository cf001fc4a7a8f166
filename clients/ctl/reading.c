/* SPDX-License-Identifier: Apache-2.0 */
/* For all readers of files: sentences, numbers, and contents of unknown length. */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "array.h"

enum { NUMBER_BYTES = 512 };

bool rankd_ctl_refuse(char why[CTL_WHY], const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(why, CTL_WHY, format, arguments);
    va_end(arguments);
    return false;
}

const char *rankd_ctl_piece(char piece[CTL_PIECE], const char *text, size_t bytes)
{
    size_t length = bytes < CTL_PIECE ? bytes : CTL_PIECE - 1;
    for (size_t i = 0; i < length; i++)
        piece[i] = text[i] >= ' ' && text[i] <= '~' ? text[i] : '?';
    piece[length] = 0;
    return piece;
}

bool rankd_ctl_read_growing(FILE *file, size_t most, void **data, size_t *bytes)
{
    size_t room = 0;
    *data = NULL;
    *bytes = 0;
    while (*bytes < most) {
        if (*bytes == room) {
            size_t wanted = room ? 2 * room : 65536;
            room = wanted < most ? wanted : most;
            void *more = realloc(*data, room);
            if (!more)
                return false;
            *data = more;
        }
        size_t got = fread((char *)*data + *bytes, 1, room - *bytes, file);
        *bytes += got;
        if (!got)
            return !ferror(file);
    }
    return true;
}

bool rankd_ctl_skip_mark(const char **at, const char *end, const char *path, char why[CTL_WHY])
{
    if (end - *at >= 2 && (memcmp(*at, "\xff\xfe", 2) == 0 || memcmp(*at, "\xfe\xff", 2) == 0))
        return rankd_ctl_refuse(why, "%s is UTF-16; save it as UTF-8", path);
    if (end - *at >= 3 && memcmp(*at, "\xef\xbb\xbf", 3) == 0)
        *at += 3;
    return true;
}

bool rankd_ctl_append(struct ctl_array *array, size_t *room, const void *element, char why[CTL_WHY])
{
    if (array->bytes + array->element_bytes > *room) {
        size_t wanted = *room ? 2 * *room : 4096;
        void *more = realloc(array->data, wanted);
        if (!more)
            return rankd_ctl_refuse(why, "out of memory");
        array->data = more;
        *room = wanted;
    }
    memcpy((char *)array->data + array->bytes, element, array->element_bytes);
    array->bytes += array->element_bytes;
    return true;
}

/* Begins like a number, and so was meant to be one: "0,9", "1st". */
static bool is_word(const char *text)
{
    text += strspn(text, "+-.");
    return *text < '0' || *text > '9';
}

/* strtod() would also take white space, hexadecimal digits and nan(…), and stop at a NUL. */
enum ctl_number rankd_ctl_read_number(const char *text, size_t bytes, double *value)
{
    char room[NUMBER_BYTES], *end;
    size_t length = bytes < sizeof room ? bytes : sizeof room - 1;
    if (!bytes)
        return CTL_EMPTY;
    memcpy(room, text, length);
    room[length] = 0;
    errno = 0;
    *value = strtod(room, &end);
    if (length != bytes || strspn(room, "+-.0123456789eEinftyaINFTYA") != length || end != room + length)
        return is_word(room) ? CTL_WORD : CTL_SPOILT;
    return errno == ERANGE && isinf(*value) ? CTL_TOO_LARGE : CTL_NUMBER;
}
