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

static bool reads_back(double value, int digits, char text[RK_NUMBER_TEXT])
{
    (void)snprintf(text, RK_NUMBER_TEXT, "%.*g", digits, value);
    return strtod(text, NULL) == value;
}

/* Of digits that read back as the number. Decimals of up to 15 digits lie further apart than
 * doubles: the one of fewer digits that reads back is also the nearest of more digits, so that the
 * fewest can be found by halves. */
static int fewest_digits(double value, char text[RK_NUMBER_TEXT])
{
    int low = 1, high = 15;
    if (!reads_back(value, high, text))
        return reads_back(value, 16, text) ? 16 : 17;
    while (low < high) {
        const int middle = (low + high) / 2;
        if (reads_back(value, middle, text))
            high = middle;
        else
            low = middle + 1;
    }
    return high;
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
        (void)reads_back(value, fewest_digits(value, text), text);
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
