/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>

enum rankd_status rk_fail(struct rk_err *err, enum rankd_status status, const char *format, ...)
{
    if (err->status != RANKD_OK)
        return err->status;
    err->status = status;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    return status;
}
