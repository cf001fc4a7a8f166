/* What of a request's header libmicrohttpd lets through, though it must not reach anybody. */
#ifndef RK_HTTP_WIRE_H
#define RK_HTTP_WIRE_H

#include <microhttpd.h>

#include "err.h"

/* Checks a header that was parsed: one Content-Length at most, not beside Transfer-Encoding, no NUL and no
 * bare line feed in it. RANKD_INVALID names the header; the connection must then be closed, because where the
 * next request begins is anybody's guess. `method` and `version` are the strings that the access handler got.
 */
enum rankd_status rk_wire_check(struct MHD_Connection *connection, const char *method, const char *version,
                                struct rk_err *err) __attribute__((warn_unused_result));

/* Percent-decodes the path of `uri` (up to its query) into `path`, and points *query behind the `?` ("" =
 * none). RANKD_INVALID: too long, a broken escape, a control character. */
enum rankd_status rk_wire_path(const char *uri, char *path, size_t size, const char **query,
                               struct rk_err *err) __attribute__((warn_unused_result));

#endif
