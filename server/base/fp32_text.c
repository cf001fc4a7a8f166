/* SPDX-License-Identifier: Apache-2.0 */
/* The shortest decimal as in R. Giulietti, "The Schubfach way to render doubles" (2020): the float
 * and the bounds of what reads back as it are scaled by a power of ten to integers, with two bits
 * behind the point of which the last is set where anything was cut off. Between the bounds lies one
 * multiple of 10, or one or two integers. */
#include "base/fp32_text.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Up to this many digits stand before the point or fill up with zeros; beyond, there is an
 * exponent. */
enum { PLAIN_DIGITS = 6, PLAIN_LEAST_POWER = -4 };
enum { HIDDEN_BIT = 1 << 23, EXPONENT_BIAS = 150 };
enum { DIGITS_MOST = 9, POWER_MIN = -64 };

static const uint64_t powers[][2] = {
#define POWER(q, high, low) {high, low},
#include "base/powers_of_five.def"
#undef POWER
};

static const uint32_t tens[] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000, 1000000000};

static const char pairs[] = "00010203040506070809101112131415161718192021222324"
                            "25262728293031323334353637383940414243444546474849"
                            "50515253545556575859606162636465666768697071727374"
                            "75767778798081828384858687888990919293949596979899";

/* digits * 10^exponent */
struct decimal {
    uint32_t digits;
    int exponent;
};

/* The logarithms are right for all exponents of floats. */
static inline int floor_log2_of_ten_to(int power)
{
    return (power * 1741647) >> 19;
}

static inline int floor_log10_of_two_to(int power, bool three_quarters)
{
    return (power * 1262611 - (three_quarters ? 524031 : 0)) >> 22;
}

/* value * power / 2^64; the last bit is set where something was cut off. (`power` was rounded up,
 * so that one unit in the next 32 bits may come from that.) */
static inline uint32_t scale_to_odd(uint64_t power, uint32_t value)
{
    const unsigned __int128 product = (unsigned __int128)power * value;
    const uint32_t behind = (uint32_t)(product >> 32);
    return (uint32_t)(product >> 64) | (behind > 1);
}

/* mantissa * 2^exponent, which is not a small integer. `lowest`: the float below is half as far as
 * the one above. */
static struct decimal shortest(uint32_t mantissa, int exponent, bool lowest)
{
    const bool even = mantissa % 2 == 0; /* the bounds themselves read back as it */
    const int ten = floor_log10_of_two_to(exponent, lowest);
    const int shift = exponent + floor_log2_of_ten_to(-ten) + 1;
    const uint64_t *power = powers[-ten - POWER_MIN];
    const uint64_t up = power[0] + (power[1] != 0);
    const uint32_t value = scale_to_odd(up, 4 * mantissa << shift);
    const uint32_t low = scale_to_odd(up, (4 * mantissa - 2 + lowest) << shift) + !even;
    const uint32_t high = scale_to_odd(up, (4 * mantissa + 2) << shift) - !even;
    const uint32_t whole = value / 4;

    const uint32_t by_ten = whole / 10;
    const bool below_fits = low <= 40 * by_ten, above_fits = 40 * by_ten + 40 <= high;
    if (whole >= 10 && below_fits != above_fits)
        return (struct decimal){by_ten + above_fits, ten + 1};
    const bool this_fits = low <= 4 * whole, next_fits = 4 * whole + 4 <= high;
    if (this_fits != next_fits)
        return (struct decimal){whole + next_fits, ten};
    /* Both: the nearer, and the even one of two that are equally near. */
    const uint32_t half = 4 * whole + 2;
    return (struct decimal){whole + (value > half || (value == half && whole % 2)), ten};
}

static int count_digits(uint32_t value)
{
    int count = 1;
    while (count <= DIGITS_MOST && value >= tens[count])
        count++;
    return count;
}

/* Exactly `count` digits. */
static void put_digits(uint32_t value, int count, char *out)
{
    for (; count >= 2; value /= 100)
        memcpy(out + (count -= 2), pairs + 2 * (value % 100), 2);
    if (count)
        out[0] = (char)('0' + value % 10);
}

/* digits[0].digits[1]… * 10^power, as printf's %g has it. digits[] ends in zeros. */
static size_t format(const char digits[RK_FP32_TEXT], int count, int power, char *out)
{
    const int plain_digits = count > PLAIN_DIGITS ? count : PLAIN_DIGITS;
    if (power >= PLAIN_LEAST_POWER && power < 0) {
        memcpy(out, "0.000", 5);
        memcpy(out + 1 - power, digits, DIGITS_MOST);
        return (size_t)(1 - power + count);
    }
    const bool plain = power >= 0 && power < plain_digits;
    const int before = plain ? power + 1 : 1;
    memcpy(out + 1, digits, DIGITS_MOST);
    for (int i = 0; i < before; i++)
        out[i] = digits[i];
    int length = before;
    if (count > before) {
        out[before] = '.';
        length = count + 1;
    }
    if (plain)
        return (size_t)length;
    out[length] = 'e';
    out[length + 1] = power < 0 ? '-' : '+';
    put_digits((uint32_t)abs(power), 2, out + length + 2);
    return (size_t)length + 4;
}

static size_t whole_text(uint32_t value, char *out)
{
    const int count = count_digits(value);
    put_digits(value, count, out);
    memcpy(out + count, ".0", 2);
    return (size_t)count + 2;
}

/* Of a number above 0. */
static size_t positive_text(float value, uint32_t bits, char *out)
{
    if (value < 1e6F && value == truncf(value))
        return whole_text((uint32_t)value, out);
    const uint32_t fraction = bits % HIDDEN_BIT;
    const int biased = (int)(bits / HIDDEN_BIT);
    struct decimal decimal =
        biased ? shortest(fraction | HIDDEN_BIT, biased - EXPONENT_BIAS, fraction == 0 && biased > 1)
               : shortest(fraction, 1 - EXPONENT_BIAS, false);
    while (decimal.digits % 10 == 0) {
        decimal.digits /= 10;
        decimal.exponent++;
    }
    char digits[RK_FP32_TEXT] = "0000000000000000";
    const int count = count_digits(decimal.digits);
    put_digits(decimal.digits, count, digits);
    return format(digits, count, decimal.exponent + count - 1, out);
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
