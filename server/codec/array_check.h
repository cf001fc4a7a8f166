/* SPDX-License-Identifier: Apache-2.0 */
/* Whether an array in a text is JSON. */
#ifndef RK_CODEC_ARRAY_CHECK_H
#define RK_CODEC_ARRAY_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "codec/json.h"

/* The result of checking an array of arrays and other values. If it isn't JSON, `wrong` is the
 * first wrong token. The arrays that are open there, the last element before it and the comma
 * behind that are the context that Jansson must read before it to refuse it with the same words. */
struct rk_array_check {
    bool late;     /* the deadline passed first; nothing else is known */
    size_t leaves; /* values that are no arrays, at any depth */
    bool flat;     /* no array in it */
    const char *wrong;
    const char *open[RK_JSON_DEPTH_MAX];
    size_t depth;
    const char *element, *comma; /* of the innermost array; NULL if there is none */
};

/* The array that `bytes` bytes at `text` hold; its nesting was limited. True if Jansson would
 * accept it with integers of any size, which are numbers of JSON and may be scores; false as well
 * if rk_json_heap_refused(), or late: `deadline_ns` is a time of CLOCK_MONOTONIC, 0 for none. */
bool rk_array_check(struct rk_array_check *check, const char *text, size_t bytes, uint64_t deadline_ns);

/* In an array that was checked: the end of the value at `at`, and the number of elements of an
 * array there. */
const char *rk_array_after(const char *at, const char *end);
size_t rk_array_size(const char *at, const char *end);

static inline const char *rk_array_spaces(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t'))
        at++;
    return at;
}

#endif
