/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <cmath>
#include <cstdint>

struct __half {
    uint16_t bits;
};

/* IEEE 754 binary16: 1 + 5 + 10 bits. */
inline float __half2float(__half x)
{
    const int exponent = x.bits >> 10 & 31, fraction = x.bits & 1023;
    const float size = exponent == 31  ? (fraction ? NAN : INFINITY)
                       : exponent == 0 ? std::ldexp(static_cast<float>(fraction), -24)
                                       : std::ldexp(static_cast<float>(1024 + fraction), exponent - 25);
    return x.bits >> 15 ? -size : size;
}
