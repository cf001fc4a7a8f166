/* SPDX-License-Identifier: Apache-2.0 */
#include "error_body.h"

#include <jansson.h>

#include "error.h"

/* Puts foreign text on one line, as a part of our sentence. */
static void on_one_line(char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < ' ' || *text == '\x7f')
            *text = ' ';
    }
}

int rankd_fail_json(struct rankd_error *error, int status, const char *body, size_t bytes)
{
    json_t *document = json_loadb(body, bytes, 0, NULL);
    const char *sentence = json_string_value(json_object_get(document, "error"));
    if (sentence != NULL && sentence[0] != '\0')
        (void)rankd_fail(error, status, "%s", sentence);
    else
        (void)rankd_fail(error, status, "status %d: %.*s", status, bytes > 200 ? 200 : (int)bytes, body);
    json_decref(document);
    if (error != NULL)
        on_one_line(error->text);
    return status;
}
