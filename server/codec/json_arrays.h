/* SPDX-License-Identifier: Apache-2.0 */
/* The arrays of numbers of a request, inputs[i].data, found in its text before it is parsed:
 * Jansson would take some 80 bytes of memory for each number. It gets the document with an empty
 * array in the place of each, and the numbers are read from the text itself (numbers.h). */
#ifndef RK_CODEC_JSON_ARRAYS_H
#define RK_CODEC_JSON_ARRAYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "codec/json.h"
#include "request/port.h"

/* One array in the text, from bracket to bracket. */
struct rk_json_array {
    const char *text;
    size_t bytes;
    size_t input;  /* it is the data of this one of the inputs */
    size_t depth;  /* of brackets and braces in it: 1 where it is flat */
    bool sound;    /* it is known to be JSON: it was checked, or read */
    size_t leaves; /* then: values that are no arrays, at any depth */
    bool flat;     /* and: there is no array in it */
};

/* A request's text, borrowed, and its arrays. Inputs after the first RK_IN_COUNT can't be valid, so
 * their data stay in the document. */
struct rk_json_text {
    const char *text;
    size_t bytes;
    size_t depth; /* the deepest nesting of its brackets */
    struct rk_json_array array[RK_IN_COUNT];
    size_t arrays;
    uint64_t deadline_ns; /* CLOCK_MONOTONIC, for what reads it; 0 = none. Set by the user after the scan */
};

/* True and RANKD_DEADLINE if it passed. What reads a text looks at it now and then. */
bool rk_json_text_late(const struct rk_json_text *text, struct rk_err *err);

/* Finds the arrays. The text need not be JSON: the result is then useless, but nothing outside the
 * text is read. */
void rk_json_text_scan(struct rk_json_text *text, const char *bytes, size_t count);

/* The array that is the data of inputs[input]; NULL if that is no array. */
struct rk_json_array *rk_json_text_array(struct rk_json_text *text, size_t input);

/* As rk_json_parse_new(), with [] in place of each array; RANKD_DEADLINE. The contents of the
 * arrays are not checked yet. */
json_t *rk_json_text_parse_new(struct rk_json_text *text, const char *what, struct rk_err *err)
    __attribute__((warn_unused_result));

/* True if the arrays of a text that was parsed are JSON too; otherwise the sentence of
 * rk_json_parse_new() for the whole, or RANKD_DEADLINE. None is checked twice. */
bool rk_json_text_check(struct rk_json_text *text, const char *what, struct rk_err *err)
    __attribute__((warn_unused_result));

/* The position behind the bracket or quote that closes the one at `at`; NULL if there is none
 * before `end`. *depth: how deep its brackets are nested. */
const char *rk_json_skim(const char *at, const char *end, size_t *depth);

#endif
