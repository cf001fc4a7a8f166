/* SPDX-License-Identifier: Apache-2.0 */
#include "base/choices.h"

#include <stdio.h>
#include <string.h>

const char *rk_choices_text(const char *choices, char *text, size_t size)
{
    size_t at = 0;
    for (const char *c = choices; *c && at + 5 < size; c++) {
        if (*c != '|') {
            text[at++] = *c;
            continue;
        }
        at += (size_t)snprintf(text + at, size - at, "%s", strchr(c + 1, '|') ? ", " : " or ");
    }
    text[at] = '\0';
    return text;
}
