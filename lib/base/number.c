/* SPDX-License-Identifier: Apache-2.0 */
#include "base/number.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

/* %g of few digits would make 40 a "4e+01". */
static bool is_short_whole(double value)
{
    return fabs(value) < 1e6 && value == trunc(value);
}

const char *rk_number_text(double value, char text[RK_NUMBER_TEXT])
{
    if (isnan(value)) {
        (void)snprintf(text, RK_NUMBER_TEXT, "NaN");
    } else if (isinf(value)) {
        (void)snprintf(text, RK_NUMBER_TEXT, value > 0 ? "Infinity" : "-Infinity");
    } else if (is_short_whole(value)) {
        (void)snprintf(text, RK_NUMBER_TEXT, "%.0f", value);
    } else {
        for (int digits = 1; digits <= 17; digits++) {
            (void)snprintf(text, RK_NUMBER_TEXT, "%.*g", digits, value);
            if (strtod(text, NULL) == value)
                break;
        }
    }
    return text;
}

const char *rk_float_text(float value, char text[RK_NUMBER_TEXT])
{
    if (!isfinite(value) || is_short_whole((double)value))
        return rk_number_text((double)value, text);
    for (int digits = 1; digits <= 9; digits++) {
        (void)snprintf(text, RK_NUMBER_TEXT, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value)
            break;
    }
    return text;
}

const char *rk_shape_text(unsigned rank, const size_t *shape, char text[RK_SHAPE_TEXT])
{
    int at = snprintf(text, RK_SHAPE_TEXT, "[");
    for (unsigned i = 0; i < rank && i < RK_MAX_RANK; i++)
        at += snprintf(text + at, RK_SHAPE_TEXT - (size_t)at, "%s%zu", i ? ", " : "", shape[i]);
    (void)snprintf(text + at, RK_SHAPE_TEXT - (size_t)at, "]");
    return text;
}
