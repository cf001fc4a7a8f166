/* SPDX-License-Identifier: Apache-2.0 */
/* Reading JSON with Jansson, with additional limits and with errors as sentences. */
#ifndef RK_CODEC_JSON_H
#define RK_CODEC_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define RK_JSON_DEPTH_MAX 32

/* A new reference to the object in `bytes`, or NULL with *err set. Refused: anything but one
 * object, nesting deeper than RK_JSON_DEPTH_MAX, duplicate keys, a heap over its limit
 * (json_heap.h). `what` names the document in sentences ("the request"). */
json_t *rk_json_parse_new(const void *bytes, size_t count, const char *what, struct rk_err *err)
    __attribute__((warn_unused_result));

/* In a part of a text that is JSON, which begins and ends outside of strings and numbers: the end
 * of the first whole number of more than 64 bits; `end` if there is none. */
const char *rk_json_wide(const char *at, const char *end);

/* The nesting of brackets outside strings, of a text that is given in pieces, which may end
 * anywhere but inside a string. Start with zeros; `most` is the deepest. */
struct rk_json_depth {
    size_t now, most;
};
void rk_json_depth_add(struct rk_json_depth *depth, const char *bytes, size_t count);

/* Steps shared by all ways of parsing. Before: checks size, depth and that no byte is NUL, which
 * Jansson skips behind a number or a word; false if the text must not be parsed. After: takes what
 * Jansson returned, and gives it back if it is an object, else NULL with the sentence in *err. */
bool rk_json_may_parse(const char *bytes, size_t count, size_t depth, const char *what, struct rk_err *err)
    __attribute__((warn_unused_result));
json_t *rk_json_parsed(json_t *value, const json_error_t *error, const char *what, struct rk_err *err)
    __attribute__((warn_unused_result));

/* A document and the text that it was read from, borrowed: Jansson keeps a number's value, not how
 * it was written. `arrays` NULL or the arrays that were left out of the document. */
struct rk_json_text;
struct rk_json_source {
    const json_t *root;
    const char *text;
    size_t bytes;
    const struct rk_json_text *arrays;
};

/* A short text of a value for a sentence: `"abc"`, `null`, `an object`; a number as it was sent.
 * `value` belongs to that document. Returns `text`. */
#define RK_JSON_SHOWN 64
const char *rk_json_show(const struct rk_json_source *source, const json_t *value, char text[RK_JSON_SHOWN]);

/* The member of an object; NULL if it is absent or `null`, which clients send for an absent one. */
const json_t *rk_json_member(const json_t *object, const char *key);

/* True, and *out set, if `value` is a whole number, written as an integer or as `4.0`, `1e3`.
 * Beyond 2^53, where floats can't represent every integer, only the integer form is accepted. */
bool rk_json_whole(const json_t *value, int64_t *out) __attribute__((warn_unused_result));

/* True if every key of `object` is one of `known` (NULL-terminated); otherwise *err has a sentence
 * with the nearest known key. `where` names the object in it ("the request", "input scores"). */
bool rk_json_only(const json_t *object, const char *const *known, const char *where, struct rk_err *err)
    __attribute__((warn_unused_result));

#endif
