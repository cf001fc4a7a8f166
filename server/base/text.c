/* SPDX-License-Identifier: Apache-2.0 */
#include "base/text.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fp32_text.h"
#include "base/number.h"
#include "base/utf8.h"

void rk_text_free(struct rk_text *text)
{
    free(text->data);
    memset(text, 0, sizeof *text);
}

bool rk_text_reserve(struct rk_text *text, size_t more)
{
    if (text->failed)
        return false;
    if (more < text->capacity - text->length)
        return true; /* one byte is always left for the NUL of rk_text_take() */
    size_t wanted;
    if (__builtin_add_overflow(text->length, more, &wanted) || wanted > SIZE_MAX / 2 - 64) {
        text->failed = true;
        return false;
    }
    wanted += wanted / 2 + 64;
    char *data = realloc(text->data, wanted);
    if (!data) {
        text->failed = true;
        return false;
    }
    text->data = data;
    text->capacity = wanted;
    return true;
}

char *rk_text_take(struct rk_text *text, size_t *length)
{
    char *data = NULL;
    if (rk_text_reserve(text, 1)) {
        data = text->data;
        data[text->length] = '\0';
        *length = text->length;
        text->data = NULL;
    }
    rk_text_free(text);
    return data;
}

void rk_text_add(struct rk_text *text, const void *bytes, size_t length)
{
    if (length == 0 || !rk_text_reserve(text, length))
        return;
    memcpy(text->data + text->length, bytes, length);
    text->length += length;
}

void rk_text_puts(struct rk_text *text, const char *string)
{
    rk_text_add(text, string, strlen(string));
}

void rk_text_printf(struct rk_text *text, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    if (length > 0 && rk_text_reserve(text, (size_t)length + 1)) {
        (void)vsnprintf(text->data + text->length, (size_t)length + 1, format, again);
        text->length += (size_t)length;
    }
    va_end(again);
    va_end(args);
}

static bool is_plain(unsigned char c)
{
    return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

static void quote(struct rk_text *text, const char *value)
{
    size_t length = strlen(value), i = 0;
    if (!rk_text_reserve(text, 6 * length + 2)) /* \u001f is the longest that a byte becomes */
        return;
    char *out = text->data + text->length;
    *out++ = '"';
    while (i < length && is_plain((unsigned char)value[i]))
        *out++ = value[i++];
    while (i < length) {
        unsigned char c = (unsigned char)value[i];
        size_t bytes = rk_utf8_length(value + i, length - i);
        if (bytes == 0) {
            memcpy(out, "\xef\xbf\xbd", 3); /* U+FFFD */
            out += 3;
            i++;
        } else if (c == '"' || c == '\\') {
            *out++ = '\\';
            *out++ = value[i++];
        } else if (c < 0x20 || c == 0x7f) {
            out += snprintf(out, 7, "\\u%04x", c);
            i++;
        } else {
            memcpy(out, value + i, bytes);
            out += bytes;
            i += bytes;
        }
    }
    *out++ = '"';
    text->length = (size_t)(out - text->data);
}

/* The comma and the key before a value. */
static void begin(struct rk_text *text, const char *key)
{
    if (text->comma)
        rk_text_add(text, ",", 1);
    text->comma = true;
    if (key) {
        quote(text, key);
        rk_text_add(text, ":", 1);
    }
}

void rk_json_open(struct rk_text *text, const char *key, char bracket)
{
    begin(text, key);
    rk_text_add(text, &bracket, 1);
    text->comma = false;
}

void rk_json_close(struct rk_text *text, char bracket)
{
    rk_text_add(text, &bracket, 1);
    text->comma = true;
}

void rk_json_text(struct rk_text *text, const char *key, const char *value)
{
    begin(text, key);
    quote(text, value);
}

static void put_digits(struct rk_text *text, uint64_t value)
{
    char digits[20];
    size_t at = sizeof digits;
    do
        digits[--at] = (char)('0' + value % 10);
    while (value /= 10);
    rk_text_add(text, digits + at, sizeof digits - at);
}

void rk_json_int(struct rk_text *text, const char *key, int64_t value)
{
    begin(text, key);
    if (value < 0)
        rk_text_add(text, "-", 1);
    put_digits(text, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}

void rk_json_uint(struct rk_text *text, const char *key, uint64_t value)
{
    begin(text, key);
    put_digits(text, value);
}

void rk_json_bool(struct rk_text *text, const char *key, bool value)
{
    begin(text, key);
    rk_text_puts(text, value ? "true" : "false");
}

void rk_json_real(struct rk_text *text, const char *key, double value)
{
    char digits[RK_NUMBER_TEXT];
    begin(text, key);
    rk_text_puts(text, isfinite(value) ? rk_number_text(value, digits) : "null");
}

/* One element behind the text, for which there is room; its length. */
static size_t put_fp32(char *out, float value)
{
    const char *word = isnan(value) ? "null" : value > 0 ? "\"Infinity\"" : "\"-Infinity\"";
    if (isfinite(value))
        return rk_fp32_text(value, out);
    memcpy(out, word, strlen(word));
    return strlen(word);
}

void rk_json_fp32(struct rk_text *text, float value)
{
    rk_json_fp32s(text, &value, 1);
}

#define FOUR_ZEROS ",0.0,0.0,0.0,0.0"
#define ZEROS FOUR_ZEROS FOUR_ZEROS FOUR_ZEROS FOUR_ZEROS
enum { ZERO_BYTES = sizeof ",0.0" - 1, ZEROS_AT_ONCE = (sizeof ZEROS - 1) / ZERO_BYTES };

/* The bits of ZEROS_AT_ONCE values, all together: 0 if each is 0, and not -0. */
static uint64_t any_bits(const float *values)
{
    uint64_t words[ZEROS_AT_ONCE / 2], any = 0;
    memcpy(words, values, sizeof words);
    for (size_t i = 0; i < ZEROS_AT_ONCE / 2; i++)
        any |= words[i];
    return any;
}

/* How many of the values are 0 before another: nearly all of a gradient is. */
static size_t run_of_zeros(const float *values, size_t count)
{
    size_t run = 0;
    while (count - run >= ZEROS_AT_ONCE && any_bits(values + run) == 0)
        run += ZEROS_AT_ONCE;
    while (run < count && values[run] == 0 && !signbit(values[run]))
        run++;
    return run;
}

static char *put_zeros(char *out, size_t count)
{
    for (; count >= ZEROS_AT_ONCE; count -= ZEROS_AT_ONCE, out += sizeof ZEROS - 1)
        memcpy(out, ZEROS, sizeof ZEROS - 1);
    memcpy(out, ZEROS, count * ZERO_BYTES);
    return out + count * ZERO_BYTES;
}

/* Texts of numbers above 0 that were printed before. A gradient has few numbers, each of them
 * often: differences of ranks, times a weight. */
enum { SLOT_BITS = 6, SLOTS = 1 << SLOT_BITS };
struct printed {
    uint32_t bits[SLOTS]; /* of the number; 0: none */
    uint8_t length[SLOTS];
    char text[SLOTS][RK_FP32_TEXT];
};

/* One element, as put_fp32(); there is room for RK_FP32_TEXT bytes more. */
static size_t put_known(struct printed *printed, char *out, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    const size_t sign = bits >> 31;
    bits &= 0x7fffffff;
    const size_t slot = bits * 0x9e3779b1u >> (32 - SLOT_BITS);
    if (bits == 0 || !isfinite(value))
        return put_fp32(out, value);
    if (printed->bits[slot] != bits) {
        printed->bits[slot] = bits;
        printed->length[slot] = (uint8_t)rk_fp32_text(fabsf(value), printed->text[slot]);
    }
    *out = '-';
    memcpy(out + sign, printed->text[slot], RK_FP32_TEXT);
    return sign + printed->length[slot];
}

enum { AT_ONCE = 4096, ELEMENT_BYTES = RK_FP32_TEXT + 1 };

/* Values each behind a comma, for which there is room and RK_FP32_TEXT bytes more; their length. */
static size_t put_fp32s(struct printed *printed, char *out, const float *values, size_t count)
{
    char *at = out;
    for (size_t i = 0; i < count;) {
        const size_t zeros = run_of_zeros(values + i, count - i);
        at = put_zeros(at, zeros);
        i += zeros;
        if (i < count) {
            *at++ = ',';
            at += put_known(printed, at, values[i++]);
        }
    }
    return (size_t)(at - out);
}

void rk_json_fp32s(struct rk_text *text, const float *values, size_t count)
{
    struct printed printed;
    memset(printed.bits, 0, sizeof printed.bits);
    for (size_t i = 0; i < count; i += AT_ONCE) {
        const size_t piece = count - i < AT_ONCE ? count - i : AT_ONCE;
        if (!rk_text_reserve(text, piece * ELEMENT_BYTES + RK_FP32_TEXT))
            return;
        char *out = text->data + text->length;
        size_t length = put_fp32s(&printed, out, values + i, piece);
        if (!text->comma)
            memmove(out, out + 1, --length);
        text->comma = true;
        text->length += length;
    }
}
