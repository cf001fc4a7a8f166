/* SPDX-License-Identifier: Apache-2.0 */
/* Growing text, for replies, metrics and log lines; and JSON written into it.
 *
 * Appending returns no error: a text that ran out of memory keeps `failed` set and ignores further
 * calls, so that only the code that takes the result has to check. */
#ifndef RK_BASE_TEXT_H
#define RK_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rk_text {
    char *data; /* malloc'ed; not NUL-terminated unless taken */
    size_t length, capacity;
    bool failed;
    bool comma; /* a comma comes before the next JSON value or key */
};

/* A zeroed struct is an empty text. */
void rk_text_free(struct rk_text *text);
/* The bytes, NUL-terminated, malloc'ed, the caller's; NULL if it failed. *text is empty
 * afterwards. */
char *rk_text_take(struct rk_text *text, size_t *length) __attribute__((warn_unused_result));
/* Makes room for `more` bytes beyond length; false if out of memory. */
bool rk_text_reserve(struct rk_text *text, size_t more);

void rk_text_add(struct rk_text *text, const void *bytes, size_t length);
void rk_text_puts(struct rk_text *text, const char *string);
void rk_text_printf(struct rk_text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* JSON. Commas are added automatically. `key` NULL inside arrays and at the top. */
void rk_json_open(struct rk_text *text, const char *key, char bracket); /* '{' or '[' */
void rk_json_close(struct rk_text *text, char bracket);                 /* '}' or ']' */
void rk_json_text(struct rk_text *text, const char *key,
                  const char *value); /* invalid UTF-8 becomes U+FFFD */
void rk_json_int(struct rk_text *text, const char *key, int64_t value);
void rk_json_uint(struct rk_text *text, const char *key, uint64_t value);
void rk_json_bool(struct rk_text *text, const char *key, bool value);
void rk_json_real(struct rk_text *text, const char *key,
                  double value); /* shortest that reads back; NaN, inf: null */
/* Elements of an array: as rk_fp32_text() writes them; NaN is null, infinities are "Infinity" and
 * "-Infinity". */
void rk_json_fp32(struct rk_text *text, float value);
void rk_json_fp32s(struct rk_text *text, const float *values, size_t count);

#endif
