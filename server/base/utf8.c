/* SPDX-License-Identifier: Apache-2.0 */
#include "base/utf8.h"

#include <stdbool.h>
#include <string.h>

static bool between(unsigned char c, unsigned low, unsigned high)
{
    return c >= low && c <= high;
}

size_t rk_utf8_length(const char *at, size_t left)
{
    const unsigned char *c = (const unsigned char *)at;
    if (left == 0)
        return 0;
    if (c[0] < 0x80)
        return 1;
    if (between(c[0], 0xc2, 0xdf))
        return left >= 2 && between(c[1], 0x80, 0xbf) ? 2 : 0;
    if (between(c[0], 0xe0, 0xef)) {
        unsigned low = c[0] == 0xe0 ? 0xa0 : 0x80;
        unsigned high = c[0] == 0xed ? 0x9f : 0xbf;
        return left >= 3 && between(c[1], low, high) && between(c[2], 0x80, 0xbf) ? 3 : 0;
    }
    if (between(c[0], 0xf0, 0xf4)) {
        unsigned low = c[0] == 0xf0 ? 0x90 : 0x80;
        unsigned high = c[0] == 0xf4 ? 0x8f : 0xbf;
        return left >= 4 && between(c[1], low, high) && between(c[2], 0x80, 0xbf) && between(c[3], 0x80, 0xbf)
                   ? 4
                   : 0;
    }
    return 0;
}

void rk_utf8_copy(char *to, size_t size, const char *from)
{
    size_t length = strlen(from);
    if (length > size - 1) {
        length = size - 1;
        while (length > 0 && ((unsigned char)from[length] & 0xc0) == 0x80)
            length--;
    }
    memcpy(to, from, length);
    to[length] = '\0';
}
