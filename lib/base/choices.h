/* SPDX-License-Identifier: Apache-2.0 */
/* Words to choose from, in sentences. */
#ifndef RK_BASE_CHOICES_H
#define RK_BASE_CHOICES_H

#include <stddef.h>

/* "a|b|c" as "a, b or c", cut where it does not fit `size` bytes. Returns `text`. */
const char *rk_choices_text(const char *choices, char *text, size_t size);

#endif
