/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>

int rankd_ctl_fail(int status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("rankctl: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    return status;
}

double rankd_ctl_number(const char *flag, const char *text, double min, double max)
{
    char *end;
    errno = 0;
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= min && value <= max))
        exit(rankd_ctl_fail(2, "--%s is '%s'; it may be a number from %.15g to %.15g", flag, text, min, max));
    return value;
}

double rankd_ctl_timeout(const struct ctl *ctl)
{
    return rankd_ctl_number("timeout", ctl->timeout, 0.001, 86400);
}

uint64_t rankd_ctl_whole(const char *flag, const char *text, uint64_t min, uint64_t max)
{
    char *end;
    const double value = strtod(text, &end);
    if (end == text || *end || value != floor(value) || !(value >= (double)min && value <= (double)max))
        exit(rankd_ctl_fail(2, "--%s is '%s'; it may be a whole number from %" PRIu64 " to %" PRIu64, flag,
                            text, min, max));
    return (uint64_t)value;
}
