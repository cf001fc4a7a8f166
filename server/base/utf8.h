/* SPDX-License-Identifier: Apache-2.0 */
/* UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing above U+10FFFF. */
#ifndef RK_BASE_UTF8_H
#define RK_BASE_UTF8_H

#include <stddef.h>

/* Bytes of the character at `at`, of which `left` bytes may be read; 0 if that is not a
 * character. */
size_t rk_utf8_length(const char *at, size_t left);

/* Copies the longest beginning of `from` that fits into size - 1 bytes without cutting a character;
 * always ends with NUL. */
void rk_utf8_copy(char *to, size_t size, const char *from);

#endif
