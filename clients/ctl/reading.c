/* SPDX-License-Identifier: Apache-2.0 */
/* For all readers of files: sentences, and contents of unknown length. */
#include <stdarg.h>
#include <stdlib.h>

#include "array.h"

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
