/* SPDX-License-Identifier: Apache-2.0 */
/* A float is m * 2^e, which is scaled by a power of ten so that its integer part has nine digits. 5^k and m
 * times it fit 128 bits between 10^-36 and the largest float, so nothing is rounded on the way: ties are seen
 * as ties. The few numbers below are left to printf(). */
#include "base/fp32_text.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned __int128 wide;

enum { FEWEST = 6, MOST = 9, LEAST_POWER = -36 };

static const wide powers[] = {
#define POWER(k, high, low) (wide)(high) << 64 | (low),
#include "base/exact_powers_of_five.def"
#undef POWER
};

static const uint32_t tens[] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000, 1000000000};

/* value = number / divisor * 10^(power - 8), and the next float is `gap` further in `number`. */
struct scaled {
    wide number, gap, divisor;
    int shift; /* the divisor is 2^shift; -1: it is not a power of two */
    uint64_t whole;
    wide rest; /* number = whole * divisor + rest */
    int power;
    bool even, lowest; /* the float's last bit is 0; all its bits are */
};

static void scale(struct scaled *s, uint32_t mantissa, int exponent, int power)
{
    const int k = MOST - 1 - power, shift = -(exponent + k);
    s->power = power;
    if (k >= 0) {
        s->gap = shift >= 0 ? powers[k] : powers[k] << -shift;
        s->shift = shift >= 0 ? shift : 0;
        s->divisor = (wide)1 << s->shift;
        s->number = mantissa * s->gap;
        s->whole = (uint64_t)(s->number >> s->shift);
        s->rest = s->number & (s->divisor - 1);
    } else {
        s->shift = -1;
        s->divisor = powers[-k];
        s->gap = (wide)1 << -shift;
        s->number = mantissa * s->gap;
        s->whole = (uint64_t)(s->number / s->divisor);
        s->rest = s->number % s->divisor;
    }
}

/* The nearest number of `digits` digits, an even one between two, as the digits before tens[MOST - digits].
 */
static uint32_t nearest(const struct scaled *s, int digits)
{
    const uint32_t unit = tens[MOST - digits], whole = (uint32_t)s->whole;
    uint32_t found = whole / unit;
    const uint32_t left = whole % unit;
    if (unit == 1) {
        const wide twice = 2 * s->rest;
        return found + (twice > s->divisor || (twice == s->divisor && found % 2));
    }
    return found + (2 * left > unit || (2 * left == unit && (s->rest > 0 || found % 2)));
}

/* True if `decimal`, of nine digits, reads back as the float. */
static bool reads_back(const struct scaled *s, uint32_t decimal)
{
    const wide at = s->shift >= 0 ? (wide)decimal << s->shift : decimal * s->divisor;
    const bool above = at >= s->number;
    wide twice = 2 * (above ? at - s->number : s->number - at);
    if (!above && s->lowest) /* the float before is half as far */
        twice *= 2;
    return twice < s->gap || (twice == s->gap && s->even);
}

/* The fewest digits that read back, and in *found these digits. */
static int fewest_digits(const struct scaled *s, uint32_t *found)
{
    const uint32_t half_gap = (uint32_t)(s->whole >> 24) + 1; /* at least */
    for (int digits = FEWEST; digits < MOST; digits++) {
        const uint32_t unit = tens[MOST - digits], left = (uint32_t)s->whole % unit;
        if (left > half_gap && unit - left > half_gap)
            continue;
        *found = nearest(s, digits);
        if (reads_back(s, *found * unit))
            return digits;
    }
    *found = nearest(s, MOST);
    return MOST;
}

/* Exactly `count` digits. */
static void put_digits(uint32_t value, int count, char *out)
{
    for (; count >= 2; value /= 100) {
        const uint32_t pair = value % 100;
        out[--count] = (char)('0' + pair % 10);
        out[--count] = (char)('0' + pair / 10);
    }
    if (count)
        out[0] = (char)('0' + value % 10);
}

/* digits[0].digits[1]… * 10^power, as %g of that precision. */
static size_t format(const char *digits, int count, int power, int precision, char *out)
{
    char *at = out;
    while (count > 1 && digits[count - 1] == '0')
        count--;
    int before = power < -4 || power >= precision ? 1 : power + 1;
    if (before <= 0) {
        memcpy(at, "0.000", 5);
        at += 2 - before;
    }
    for (int i = 0; i < count || i < before; i++) {
        if (i == before && before > 0)
            *at++ = '.';
        *at++ = i < count ? digits[i] : '0';
    }
    if (power < -4 || power >= precision) {
        *at++ = 'e';
        *at++ = power < 0 ? '-' : '+';
        put_digits((uint32_t)abs(power), 2, at);
        at += 2;
    }
    return (size_t)(at - out);
}

static size_t print(float value, char *out)
{
    char text[32];
    int length = 0;
    for (int digits = FEWEST; digits <= MOST; digits++) {
        length = snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value)
            break;
    }
    memcpy(out, text, (size_t)length);
    return (size_t)length;
}

static size_t whole_text(uint32_t value, char *out)
{
    int count = 1;
    while (value >= tens[count])
        count++;
    put_digits(value, count, out);
    memcpy(out + count, ".0", 2);
    return (size_t)count + 2;
}

/* Of a number above 0. */
static size_t positive_text(float value, uint32_t bits, char *out)
{
    if (value < 1e6F && value == truncf(value))
        return whole_text((uint32_t)value, out);
    const int exponent = (int)(bits >> 23) - 150;
    const uint32_t mantissa = (bits & 0x7fffff) | 0x800000;
    /* 78913 is log10(2) * 2^18; 64 keeps what is shifted above 0. */
    int power = (((exponent + 23) * 78913 + (64 << 18)) >> 18) - 64;
    if (power < LEAST_POWER || bits >> 23 == 0)
        return print(value, out);
    struct scaled s = {.even = mantissa % 2 == 0, .lowest = mantissa == 0x800000};
    scale(&s, mantissa, exponent, power);
    if (s.whole >= tens[MOST])
        scale(&s, mantissa, exponent, ++power);
    uint32_t found;
    const int digits = fewest_digits(&s, &found);
    char text[MOST + 1];
    if (found == tens[digits]) {
        found /= 10;
        power++;
    }
    put_digits(found, digits, text);
    return format(text, digits, power, digits, out);
}

size_t rk_fp32_text(float value, char out[RK_FP32_TEXT])
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    const size_t sign = bits >> 31;
    out[0] = '-';
    bits &= 0x7fffffff;
    if (bits == 0) {
        memcpy(out + sign, "0.0", 3);
        return sign + 3;
    }
    return sign + positive_text(fabsf(value), bits, out + sign);
}
