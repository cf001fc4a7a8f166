/* SPDX-License-Identifier: Apache-2.0 */
/* The numbers of JSON, from text: a sign, digits, a point, an exponent. */
#ifndef RK_CODEC_DECIMAL_H
#define RK_CODEC_DECIMAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* digits * 10^exponent, where `exact`; the text of others, with over 19 digits, is read again. */
struct rk_decimal {
    const char *text;
    uint64_t digits;
    int64_t exponent;
    bool negative, exact;
    bool whole; /* written without a point and an exponent */
    bool fits;  /* whole, and an integer of 64 bits: `integer` */
    int64_t integer;
};

/* Reads the number at `at`. Returns its end, or NULL if it is no number. There must be a character
 * before `end` that can't belong to a number, such as the bracket that closes an array. */
const char *rk_decimal_scan(const char *at, const char *end, struct rk_decimal *number);

/* The nearest double, ties to even, as strtod() returns it. For a whole number that `fits` it is
 * the one nearest to the integer, so -0 is 0. Infinite if it is too large. */
double rk_decimal_real(const struct rk_decimal *number);

#endif
