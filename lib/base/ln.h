/* SPDX-License-Identifier: Apache-2.0 */
/* The natural logarithm that losses use.
 *
 * The perturbation, and so the gradient, depends on the last bit of the slope of a loss. Logarithms
 * of C libraries and GPUs differ there, so all backends use this one: the same additions,
 * multiplications and divisions, each rounded to FP64 and never contracted. It is a header so that
 * device code can include it. */
#ifndef RK_BASE_LN_H
#define RK_BASE_LN_H

#include <stdint.h>
#include <string.h>

#include "base/device_code.h"

#define RK_LN2 0.693147180559945309417232121458 /* rounded to FP64 */

/* ln(x) of a normal x >= 1, within 1 unit in the last place. x = 2^k·m with m in [√½, √2); with s =
 * (m-1)/(m+1), ln m = 2·artanh(s) = 2s + 2s·(s²/3 + s⁴/5 + …), |s| < 0.1716, cut where a term is
 * below 2^-57. */
RK_DEVICE static inline double rk_ln(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    int k = (int)(bits >> 52) - 1023;
    bits = (bits & 0x000fffffffffffffu) | 0x3ff0000000000000u;
    double m;
    memcpy(&m, &bits, sizeof m);
    if (m > 1.4142135623730951) {
        m *= 0.5;
        k++;
    }
    double f = m - 1.0; /* exact */
    double s = f / (2.0 + f);
    double z = s * s;
    double r = 1.0 / 23.0;
    r = r * z + 1.0 / 21.0;
    r = r * z + 1.0 / 19.0;
    r = r * z + 1.0 / 17.0;
    r = r * z + 1.0 / 15.0;
    r = r * z + 1.0 / 13.0;
    r = r * z + 1.0 / 11.0;
    r = r * z + 1.0 / 9.0;
    r = r * z + 1.0 / 7.0;
    r = r * z + 1.0 / 5.0;
    r = r * z + 1.0 / 3.0;
    r = r * z;
    /* 2s = f - s·f, which keeps the large part f exact. */
    double tail = s * (2.0 * r - f);
    double k1 = (double)k;
    /* ln 2 in two parts; the first has 21 zero bits at its end, so k·first is exact. */
    const double ln2_first = 6.93147180369123816490e-01, ln2_rest = 1.90821492927058770002e-10;
    return k1 * ln2_first + (f + (tail + k1 * ln2_rest));
}

#endif
