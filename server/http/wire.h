/* SPDX-License-Identifier: Apache-2.0 */
/* The path and query of a checked request target (head.h). */
#ifndef RK_HTTP_WIRE_H
#define RK_HTTP_WIRE_H

#include <stddef.h>

#include "base/err.h"

/* Percent-decodes the path of `uri` (after the host in absolute form, up to the query) into `path`,
 * and points *query after the mark of the query ("" = none). RANKD_INVALID: too long, a broken
 * escape, an escaped slash, a control character. */
enum rankd_status rk_wire_path(const char *uri, char *path, size_t size, const char **query,
                               struct rk_err *err) __attribute__((warn_unused_result));

#endif
