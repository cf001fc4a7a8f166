/* SPDX-License-Identifier: Apache-2.0 */
#include "http/wire.h"

#include <string.h>

#include "http/head.h"

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

enum rankd_status rk_wire_path(const char *uri, char *path, size_t size, const char **query,
                               struct rk_err *err)
{
    size_t at = 0, authority_length;
    const char *authority, *c = rk_head_target(uri, &authority, &authority_length);
    if (*c == '\0' || *c == RK_HEAD_QUERY)
        path[at++] = '/';
    for (; *c && *c != RK_HEAD_QUERY; c++) {
        int value = (unsigned char)*c;
        if (*c == '%') {
            const int high = hex(c[1]), low = high < 0 ? -1 : hex(c[2]);
            if (low < 0)
                return rk_fail(err, RANKD_INVALID,
                               "the path has a %% that two hexadecimal digits do not follow");
            value = high * 16 + low;
            if (value == '/') /* a proxy may see no separator there, and apply other rules to the path */
                return rk_fail(err, RANKD_INVALID, "the path has %.3s, an escaped slash; no name has a slash",
                               c);
            c += 2;
        }
        if (value < 0x20 || value == 0x7f)
            return rk_fail(err, RANKD_INVALID, "the path holds the control character %d; it may hold none",
                           value);
        if (at + 1 >= size)
            return rk_fail(err, RANKD_INVALID, "the path is longer than %zu bytes, the most it may have",
                           size - 1);
        path[at++] = (char)value;
    }
    path[at] = '\0';
    *query = *c ? c + 1 : c;
    return RANKD_OK;
}
