/* SPDX-License-Identifier: Apache-2.0 */
/* Whether an array in a text is JSON. */
#ifndef RK_CODEC_ARRAY_CHECK_H
#define RK_CODEC_ARRAY_CHECK_H

#include <stdbool.h>
#include <stddef.h>

#include "codec/json.h"

/* The result of checking an array of arrays and other values. If it isn't JSON, `wrong` is the
 * first wrong token. The arrays that are open there, the last element before it and the comma
 * behind that are the context that Jansson must read before it to refuse it with the same words. */
struct rk_array_check {
    size_t leaves; /* values that are no arrays, at any depth */
    bool flat;     /* no array in it */
    const char *wrong;
    const char *open[RK_JSON_DEPTH_MAX];
    size_t depth;
    const char *element, *comma; /* of the innermost array; NULL if there is none */
};

/* The array that `bytes` bytes at `text` hold; its nesting was limited. True if Jansson would
 * accept it with integers of any size, which are numbers of JSON and may be scores; false as well
 * if rk_json_heap_refused(). */
bool rk_array_check(struct rk_array_check *check, const char *text, size_t bytes);

/* The end of the value at `at`, which is no array; NULL if it isn't JSON, or
 * rk_json_heap_refused(). */
const char *rk_array_leaf(const char *at, const char *end);

/* Counts the elements of the array at `at`, which was checked. False if rk_json_heap_refused(). */
bool rk_array_size(const char *at, const char *end, size_t *size);

static inline const char *rk_array_spaces(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t'))
        at++;
    return at;
}

#endif
