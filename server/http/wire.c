#include "wire.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

struct scan {
    unsigned lengths, encodings;
    const char *begin, *end; /* of the header in libmicrohttpd's buffer */
    const char *expected;    /* where the next line begins if the last ended in CR LF and held no NUL */
    bool in_place;           /* every string seen so far lies in that buffer, one after the other */
    const char *odd;         /* name of the first header that begins elsewhere than expected */
};

/* libmicrohttpd cuts the received header into strings where it lies: "Key\0 value\0\0Key…", a NUL in place of
 * each CR and LF. So a line that ended in LF alone leaves one NUL where there should be two, and a NUL that
 * the client sent leaves bytes behind the end of a value. Neither can be seen in the strings themselves. */
static enum MHD_Result look(void *closure, enum MHD_ValueKind kind, const char *key, size_t key_size,
                            const char *value, size_t value_size)
{
    struct scan *scan = closure;
    (void)kind;
    scan->lengths += strcasecmp(key, "Content-Length") == 0;
    scan->encodings += strcasecmp(key, "Transfer-Encoding") == 0;
    if (!value)
        value = key + key_size;
    if (key < scan->begin || key >= scan->end || value < scan->begin || value > scan->end) {
        scan->in_place = false;
        return MHD_YES;
    }
    if (scan->in_place && scan->expected && key != scan->expected && !scan->odd)
        scan->odd = key;
    scan->in_place = scan->in_place && key < value;
    scan->expected = value + value_size + 2;
    return MHD_YES;
}

enum rankd_status rk_wire_check(struct MHD_Connection *connection, const char *method, const char *version,
                                struct rk_err *err)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    const size_t size = info ? info->header_size : 0;
    struct scan scan = {.begin = method, .end = method + size, .in_place = size != 0};
    if (version > method && version < scan.end)
        scan.expected = version + strlen(version) + 2;
    else
        scan.in_place = false;
    (void)MHD_get_connection_values_n(connection, MHD_HEADER_KIND, look, &scan);
    if (scan.lengths > 1)
        return rk_fail(err, RANKD_INVALID, "there are %u Content-Length headers; there may be one",
                       scan.lengths);
    if (scan.lengths && scan.encodings)
        return rk_fail(err, RANKD_INVALID,
                       "there are both Content-Length and Transfer-Encoding; there may be one of them");
    if (scan.in_place && !scan.odd && scan.expected + 2 != scan.end)
        scan.odd = "";
    if (scan.in_place && scan.odd)
        return rk_fail(
            err, RANKD_INVALID,
            "the header holds a NUL or a line that does not end in CR LF%s%.64s; neither is allowed",
            *scan.odd ? ", before " : "", scan.odd);
    return RANKD_OK;
}

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
    size_t at = 0;
    const char *c = uri;
    for (; *c && *c != '?'; c++) {
        int value = (unsigned char)*c;
        if (*c == '%') {
            const int high = hex(c[1]), low = high < 0 ? -1 : hex(c[2]);
            if (low < 0)
                return rk_fail(err, RANKD_INVALID,
                               "the path has a %% that two hexadecimal digits do not follow");
            value = high * 16 + low;
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
