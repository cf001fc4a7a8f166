/* SPDX-License-Identifier: Apache-2.0 */
/* Digits are read eight at a time. The nearest double is found as in D. Lemire, "Number parsing at
 * a gigabyte per second" (2021): the first 64 or 128 bits of digits * 5^exponent determine it, or
 * tell that they do not; strtod() is used then. */
#include "codec/decimal.h"

#include <stdlib.h>
#include <string.h>

enum { POWER_MIN = -64, POWER_MAX = 64, DIGITS_MAX = 19 };

static const uint64_t powers[][2] = {
#define POWER(q, high, low) {high, low},
#include "base/powers_of_five.def"
#undef POWER
};

static inline bool is_digit(char c)
{
    return (unsigned char)(c - '0') < 10;
}

/* How many of the bytes of `v`, from the lowest on, are digits. */
static int leading_digits(uint64_t v)
{
    const uint64_t other = ((v & 0xf0f0f0f0f0f0f0f0u) ^ 0x3030303030303030u) |
                           (((v & 0x0f0f0f0f0f0f0f0fu) + 0x0606060606060606u) & 0xf0f0f0f0f0f0f0f0u);
    return other ? __builtin_ctzll(other) / 8 : 8;
}

/* Eight digits, each the value of a byte, the lowest byte first. */
static uint64_t eight_digits(uint64_t v)
{
    v = v * 10 + (v >> 8);
    return ((v & 0x000000ff000000ffu) * 0x000f424000000064u +
            (v >> 16 & 0x000000ff000000ffu) * 0x0000271000000001u) >>
           32;
}

/* (A sum of over 19 digits wraps, and isn't used.) */
static const char *take_digits(const char *at, const char *end, uint64_t *digits)
{
    for (; at < end && is_digit(*at); at++)
        *digits = *digits * 10 + (uint64_t)(*at - '0');
    return at;
}

/* Reads the digits behind a point, where there are often many. */
static const char *take_fraction(const char *at, const char *end, uint64_t *digits)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    static const uint32_t tens[] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000};
    for (int count = 8; count == 8 && end - at >= 8; at += count) {
        uint64_t v;
        memcpy(&v, at, 8);
        count = leading_digits(v);
        if (count < 3) /* one by one is faster */
            break;
        v = (v & 0x0f0f0f0f0f0f0f0fu) << (64 - 8 * count); /* zeros come first */
        *digits = *digits * tens[count] + eight_digits(v);
    }
#endif
    return take_digits(at, end, digits);
}

static const char *take_exponent(const char *at, const char *end, int64_t *exponent)
{
    const bool negative = at < end && *at == '-';
    int64_t value = 0;
    at += at < end && (*at == '-' || *at == '+');
    if (at == end || !is_digit(*at))
        return NULL;
    for (; at < end && is_digit(*at); at++)
        value = value < 100000 ? value * 10 + (*at - '0') : value;
    *exponent += negative ? -value : value;
    return at;
}

/* Leading zeros do not count. */
static size_t digits_of(const char *at, const char *end)
{
    size_t count = 0;
    for (; at < end; at++)
        count += is_digit(*at) && (count > 0 || *at != '0');
    return count;
}

static void set_integer(struct rk_decimal *number)
{
    const uint64_t most = (uint64_t)INT64_MAX + number->negative;
    number->fits = number->exact && number->digits <= most;
    if (number->fits)
        number->integer = number->negative ? (int64_t)(0 - number->digits) : (int64_t)number->digits;
}

const char *rk_decimal_scan(const char *at, const char *end, struct rk_decimal *number)
{
    uint64_t digits = 0;
    *number =
        (struct rk_decimal){.text = at, .negative = at < end && *at == '-', .exact = true, .whole = true};
    at += number->negative;
    const char *first = at;
    at = take_digits(at, end, &digits);
    if (at == first || (*first == '0' && at - first > 1))
        return NULL;
    if (at < end && *at == '.') {
        const char *point = at + 1;
        at = take_fraction(point, end, &digits);
        if (at == point)
            return NULL;
        number->exponent = point - at;
        number->whole = false;
    }
    number->digits = digits;
    if (at - first > DIGITS_MAX)
        number->exact = digits_of(first, at) <= DIGITS_MAX;
    if (at < end && (*at == 'e' || *at == 'E')) {
        number->whole = false;
        return take_exponent(at + 1, end, &number->exponent);
    }
    if (number->whole)
        set_integer(number);
    return at;
}

/* The nearest double to digits * 10^exponent, both not 0; false if it is not certain or not
 * normal. */
static bool nearest(uint64_t digits, int exponent, double *out)
{
    const uint64_t *power = powers[exponent - POWER_MIN];
    const int zeros = __builtin_clzll(digits);
    digits <<= zeros;
    unsigned __int128 product = (unsigned __int128)digits * power[0];
    uint64_t high = (uint64_t)(product >> 64), low = (uint64_t)product;
    if ((high & 0x1ff) == 0x1ff) {
        const uint64_t more = (uint64_t)((unsigned __int128)digits * power[1] >> 64);
        low += more;
        high += low < more;
    }
    if (low == UINT64_MAX && (exponent < -27 || exponent > 55))
        return false;
    const int top = (int)(high >> 63), shift = top + 64 - 52 - 3;
    uint64_t bits = high >> shift;
    /* 217706 is log2(10) * 2^16; 256 keeps what is shifted above 0. */
    int64_t scale = ((217706 * (int64_t)exponent + (256 << 16)) >> 16) - 256 + 63 + top - zeros + 1023;
    if (scale <= 0 || scale >= 0x7fe)
        return false;
    /* Exactly between two doubles, which only small powers allow: to the even one. */
    if (low <= 1 && exponent >= -4 && exponent <= 23 && (bits & 3) == 1 && bits << shift == high)
        bits &= ~(uint64_t)1;
    bits = (bits + (bits & 1)) >> 1;
    if (bits >= (uint64_t)2 << 52) {
        bits = (uint64_t)1 << 52;
        scale++;
    }
    bits = (bits & ~((uint64_t)1 << 52)) | (uint64_t)scale << 52;
    memcpy(out, &bits, sizeof *out);
    return true;
}

double rk_decimal_real(const struct rk_decimal *number)
{
    double value;
    if (number->whole && number->fits)
        return (double)number->integer;
    if (number->exact && number->digits == 0)
        return number->negative ? -0.0 : 0.0;
    if (number->exact && number->exponent >= POWER_MIN && number->exponent <= POWER_MAX &&
        nearest(number->digits, (int)number->exponent, &value))
        return number->negative ? -value : value;
    return strtod(number->text, NULL);
}
