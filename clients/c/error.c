/* SPDX-License-Identifier: Apache-2.0 */
#include "error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int rankd_fail(struct rankd_error *error, int status, const char *format, ...)
{
    if (error != NULL) {
        va_list arguments;
        error->status = status;
        va_start(arguments, format);
        /* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): it is begun on the line above */
        (void)vsnprintf(error->text, sizeof error->text, format, arguments);
        va_end(arguments);
    }
    return status;
}

int rankd_reply_fail(struct rankd_reply *reply, int status, const char *sentence)
{
    memset(reply, 0, sizeof *reply);
    reply->status = status;
    (void)snprintf(reply->error, sizeof reply->error, "%s", sentence);
    return status;
}
