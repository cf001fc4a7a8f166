/* Reading JSON with Jansson, with additional limits and with errors as sentences. */
#ifndef RK_CODEC_JSON_H
#define RK_CODEC_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define RK_JSON_DEPTH_MAX 32

/* A new reference to the object in `bytes`, or NULL with *err set. Refused: anything but one object, nesting
 * deeper than RK_JSON_DEPTH_MAX, duplicate keys, a heap over its limit (json_heap.h). `what` names the
 * document in sentences ("the request"). */
json_t *rk_json_parse_new(const void *bytes, size_t count, const char *what, struct rk_err *err)
    __attribute__((warn_unused_result));

/* A document and its text, both borrowed: Jansson keeps the value of a number, not its text. */
struct rk_json_source {
    const json_t *root;
    const char *text;
    size_t bytes;
};

/* A short text of a value for a sentence: `"abc"`, `null`, `an object`; a number as it was sent. `value`
 * belongs to that document. Returns `text`. */
#define RK_JSON_SHOWN 64
const char *rk_json_show(const struct rk_json_source *source, const json_t *value, char text[RK_JSON_SHOWN]);

/* The member of an object; NULL if it is absent or `null`, which clients send for an absent one. */
const json_t *rk_json_member(const json_t *object, const char *key);

/* True, and *out set, if `value` is a whole number, written as an integer or as `4.0`, `1e3`. Beyond 2^53,
 * where floats can't represent every integer, only the integer form is accepted. */
bool rk_json_whole(const json_t *value, int64_t *out) __attribute__((warn_unused_result));

/* True if every key of `object` is one of `known` (NULL-terminated); otherwise *err has a sentence with the
 * nearest known key. `where` names the object in it ("the request", "input scores"). */
bool rk_json_only(const json_t *object, const char *const *known, const char *where, struct rk_err *err)
    __attribute__((warn_unused_result));

#endif
