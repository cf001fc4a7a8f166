#include "base/text.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static void quote(struct rk_text *text, const char *value)
{
    size_t length = strlen(value);
    if (!rk_text_reserve(text, 6 * length + 2)) /* \u001f is the longest that a byte becomes */
        return;
    char *out = text->data + text->length;
    *out++ = '"';
    for (size_t i = 0; i < length;) {
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

void rk_json_int(struct rk_text *text, const char *key, int64_t value)
{
    begin(text, key);
    rk_text_printf(text, "%lld", (long long)value);
}

void rk_json_uint(struct rk_text *text, const char *key, uint64_t value)
{
    begin(text, key);
    rk_text_printf(text, "%llu", (unsigned long long)value);
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

/* Whole numbers as "-3.0": nearly every element of a gradient is 0, and a reader that looks at the type of
 * the first element sees a float. */
static int fp32_digits(float value, char *out, size_t size)
{
    if (value == 0)
        return snprintf(out, size, signbit(value) ? "-0.0" : "0.0");
    if (fabsf(value) < 1e6F && value == truncf(value))
        return snprintf(out, size, "%d.0", (int)value);
    for (int precision = 6; precision < 9; precision++) {
        int length = snprintf(out, size, "%.*g", precision, (double)value);
        if (strtof(out, NULL) == value)
            return length;
    }
    return snprintf(out, size, "%.9g", (double)value); /* nine digits tell all floats apart */
}

void rk_json_fp32(struct rk_text *text, float value)
{
    if (!rk_text_reserve(text, 32))
        return;
    char *out = text->data + text->length;
    size_t length = 0;
    if (text->comma)
        out[length++] = ',';
    text->comma = true;
    const char *word = isnan(value) ? "null" : value > 0 ? "\"Infinity\"" : "\"-Infinity\"";
    if (isfinite(value)) {
        length += (size_t)fp32_digits(value, out + length, 24);
    } else {
        memcpy(out + length, word, strlen(word));
        length += strlen(word);
    }
    text->length += length;
}
