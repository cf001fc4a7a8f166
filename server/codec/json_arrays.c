/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/json_arrays.h"

#include <stdint.h>
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

static const char *after_string(const char *at, const char *end)
{
    for (at++; at < end && *at != '"'; at++)
        at += *at == '\\';
    return at < end ? at + 1 : NULL;
}

/* The next bracket or quote. */
static const char *next_mark(const char *at, const char *end)
{
#ifdef __SSE2__
    for (; end - at >= 16; at += 16) {
        const __m128i bytes = _mm_loadu_si128((const void *)at);
        const __m128i round = _mm_and_si128(bytes, _mm_set1_epi8((char)0xdf)); /* braces become brackets */
        const __m128i open = _mm_cmpeq_epi8(round, _mm_set1_epi8('['));
        const __m128i close = _mm_cmpeq_epi8(round, _mm_set1_epi8(']'));
        const __m128i quote = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('"'));
        const int found = _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(open, close), quote));
        if (found)
            return at + __builtin_ctz((unsigned)found);
    }
#endif
    while (at < end && (*at & 0xdf) != '[' && (*at & 0xdf) != ']' && *at != '"')
        at++;
    return at;
}

const char *rk_json_skim(const char *at, const char *end, size_t *depth)
{
    size_t open = 0;
    *depth = 0;
    while ((at = next_mark(at, end)) < end) {
        if (*at == '"') {
            at = after_string(at, end);
            if (!at || open == 0)
                return at;
            continue;
        }
        if ((*at & 0xdf) == '[') {
            open++;
            *depth = open > *depth ? open : *depth;
        } else if (open <= 1) {
            return at + 1;
        } else {
            open--;
        }
        at++;
    }
    return NULL;
}

struct scan {
    const char *at, *end;
    struct rk_json_text *text;
};

/* The next character that is no space; NUL at the end. */
static char peek(struct scan *scan)
{
    while (scan->at < scan->end &&
           (*scan->at == ' ' || *scan->at == '\n' || *scan->at == '\t' || *scan->at == '\r'))
        scan->at++;
    return scan->at < scan->end ? *scan->at : '\0';
}

static bool take_mark(struct scan *scan, char wanted)
{
    if (peek(scan) != wanted || scan->at == scan->end)
        return false;
    scan->at++;
    return true;
}

/* Moves behind any value; false if the text can't be JSON. */
static bool skip_value(struct scan *scan)
{
    const char first = peek(scan);
    size_t depth;
    if (first == '"' || first == '[' || first == '{') {
        const char *after = rk_json_skim(scan->at, scan->end, &depth);
        scan->at = after ? after : scan->end;
        return after;
    }
    const char *begun = scan->at;
    while (scan->at < scan->end && !strchr(",]} \n\t\r", *scan->at ? *scan->at : '0'))
        scan->at++;
    return scan->at > begun;
}

/* Reads a key and its colon; *is: it equals `wanted`, in any spelling ("d\u0061ta"). */
static bool take_key(struct scan *scan, const char *wanted, bool *is)
{
    if (peek(scan) != '"')
        return false;
    const char *key = scan->at, *after = after_string(key, scan->end);
    if (!after)
        return false;
    const size_t bytes = (size_t)(after - key);
    *is = bytes == strlen(wanted) + 2 && memcmp(key + 1, wanted, bytes - 2) == 0;
    if (memchr(key, '\\', bytes)) {
        json_t *string = json_loadb(key, bytes, JSON_DECODE_ANY, NULL);
        *is = string && strcmp(json_string_value(string), wanted) == 0;
        json_decref(string);
    }
    scan->at = after;
    return take_mark(scan, ':');
}

/* Data of an input, where it is an array. */
static bool take_data(struct scan *scan, size_t input)
{
    struct rk_json_text *text = scan->text;
    size_t depth;
    if (peek(scan) != '[' || input >= RK_IN_COUNT || text->arrays == RK_IN_COUNT)
        return skip_value(scan);
    const char *begun = scan->at;
    const char *after = rk_json_skim(begun, scan->end, &depth);
    if (!after)
        return false;
    text->array[text->arrays++] = (struct rk_json_array){
        .text = begun, .bytes = (size_t)(after - begun), .input = input, .depth = depth};
    scan->at = after;
    return true;
}

static bool scan_input(struct scan *scan, size_t input)
{
    bool is_data;
    if (peek(scan) != '{')
        return skip_value(scan);
    scan->at++;
    if (take_mark(scan, '}'))
        return true;
    do {
        if (!take_key(scan, "data", &is_data) || !(is_data ? take_data(scan, input) : skip_value(scan)))
            return false;
    } while (take_mark(scan, ','));
    return take_mark(scan, '}');
}

static bool scan_inputs(struct scan *scan)
{
    size_t input = 0;
    if (peek(scan) != '[')
        return skip_value(scan);
    scan->at++;
    if (take_mark(scan, ']'))
        return true;
    do {
        if (!scan_input(scan, input++))
            return false;
    } while (take_mark(scan, ','));
    return take_mark(scan, ']');
}

static void scan_request(struct scan *scan)
{
    bool is_inputs;
    if (!take_mark(scan, '{'))
        return;
    do {
        if (!take_key(scan, "inputs", &is_inputs) || !(is_inputs ? scan_inputs(scan) : skip_value(scan)))
            return;
    } while (take_mark(scan, ','));
}

/* The arrays are three brackets deep. */
enum { DEPTH_OF_DATA = 3 };

/* As rk_json_depth() of the whole text; that of the arrays is known. */
static size_t depth_of(const struct rk_json_text *text)
{
    struct rk_json_depth depth = {0};
    const char *at = text->text;
    size_t most = 0;
    for (size_t i = 0; i < text->arrays; i++) {
        const struct rk_json_array *array = &text->array[i];
        rk_json_depth_add(&depth, at, (size_t)(array->text - at));
        most = array->depth + DEPTH_OF_DATA > most ? array->depth + DEPTH_OF_DATA : most;
        at = array->text + array->bytes;
    }
    rk_json_depth_add(&depth, at, text->bytes - (size_t)(at - text->text));
    return depth.most > most ? depth.most : most;
}

void rk_json_text_scan(struct rk_json_text *text, const char *bytes, size_t count)
{
    *text = (struct rk_json_text){.text = bytes, .bytes = count};
    struct scan scan = {bytes, bytes + count, text};
    scan_request(&scan);
    text->depth = depth_of(text);
}

struct rk_json_array *rk_json_text_array(struct rk_json_text *text, size_t input)
{
    for (size_t i = 0; i < text->arrays; i++) {
        if (text->array[i].input == input)
            return &text->array[i];
    }
    return NULL;
}
