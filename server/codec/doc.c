/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/doc.h"

#include <stdlib.h>
#include <string.h>

#include "base/choices.h"
#include "base/nearest.h"
#include "base/number.h"
#include "base/text.h"
#include "codec/json.h"

enum { DOC_BYTES = 65536, ASKED = 32 };

struct rk_doc {
    json_t *root;
    struct rk_json_source source;
    const char *what;
    const char *asked[ASKED]; /* names that handlers read, borrowed from their literals */
    size_t asked_count;
};

struct rk_doc *rk_doc_parse(const void *body, size_t bytes, const char *what, struct rk_err *err)
{
    if (bytes > DOC_BYTES) {
        (void)rk_fail(err, RANKD_TOO_LARGE, "%s has %zu bytes; it may have at most %d", what, bytes,
                      DOC_BYTES);
        return NULL;
    }
    struct rk_doc *doc = calloc(1, sizeof *doc);
    if (!doc) {
        (void)rk_fail(err, RANKD_OVERLOADED, "no memory to read %s; try again in a moment", what);
        return NULL;
    }
    doc->what = what;
    doc->root = bytes ? rk_json_parse_new(body, bytes, what, err) : json_object();
    if (!doc->root) {
        (void)rk_fail(err, RANKD_OVERLOADED, "no memory to read %s; try again in a moment", what);
        free(doc);
        return NULL;
    }
    doc->source = (struct rk_json_source){doc->root, body, bytes, NULL};
    return doc;
}

void rk_doc_free(struct rk_doc *doc)
{
    if (!doc)
        return;
    json_decref(doc->root);
    free(doc);
}

static const json_t *look_up(struct rk_doc *doc, const char *name)
{
    if (!doc)
        return NULL;
    if (doc->asked_count < ASKED)
        doc->asked[doc->asked_count++] = name;
    return json_object_get(doc->root, name);
}

static bool wrong(const struct rk_doc *doc, const char *name, const json_t *value, struct rk_err *err,
                  const char *may)
{
    char shown[RK_JSON_SHOWN];
    (void)rk_fail(err, RANKD_INVALID, "%s of %s was %s; it must be %s", name, doc->what,
                  rk_json_show(&doc->source, value, shown), may);
    return false;
}

bool rk_doc_text(struct rk_doc *doc, const char *name, char *out, size_t size, struct rk_err *err)
{
    const json_t *value = look_up(doc, name);
    char may[64];
    if (!value)
        return false;
    (void)snprintf(may, sizeof may, "a string of at most %zu bytes", size - 1);
    if (!json_is_string(value) || json_string_length(value) >= size ||
        strlen(json_string_value(value)) != json_string_length(value))
        return wrong(doc, name, value, err, may);
    memcpy(out, json_string_value(value), json_string_length(value) + 1);
    return true;
}

bool rk_doc_uint(struct rk_doc *doc, const char *name, uint64_t min, uint64_t max, uint64_t *out,
                 struct rk_err *err)
{
    const json_t *value = look_up(doc, name);
    char may[96];
    if (!value)
        return false;
    (void)snprintf(may, sizeof may, "a whole number from %llu to %llu", (unsigned long long)min,
                   (unsigned long long)max);
    int64_t number;
    if (!rk_json_whole(value, &number) || number < 0 || (uint64_t)number < min || (uint64_t)number > max)
        return wrong(doc, name, value, err, may);
    *out = (uint64_t)number;
    return true;
}

bool rk_doc_real(struct rk_doc *doc, const char *name, double min, double max, double *out,
                 struct rk_err *err)
{
    const json_t *value = look_up(doc, name);
    char may[96], low[RK_NUMBER_TEXT], high[RK_NUMBER_TEXT];
    if (!value)
        return false;
    (void)snprintf(may, sizeof may, "a number from %s to %s", rk_number_text(min, low),
                   rk_number_text(max, high));
    if (!json_is_number(value) || json_number_value(value) < min || json_number_value(value) > max)
        return wrong(doc, name, value, err, may);
    *out = json_number_value(value);
    return true;
}

bool rk_doc_flag(struct rk_doc *doc, const char *name, bool *out, struct rk_err *err)
{
    const json_t *value = look_up(doc, name);
    if (!value)
        return false;
    if (!json_is_boolean(value))
        return wrong(doc, name, value, err, "true or false");
    *out = json_is_true(value);
    return true;
}

bool rk_doc_word(struct rk_doc *doc, const char *name, const char *words, int *out, struct rk_err *err)
{
    const json_t *value = look_up(doc, name);
    char may[160];
    if (!value)
        return false;
    const size_t length = json_is_string(value) ? json_string_length(value) : 0;
    int position = 0;
    for (const char *at = words; at && length; position++) {
        const char *end = strchr(at, '|');
        if ((end ? (size_t)(end - at) : strlen(at)) == length &&
            memcmp(at, json_string_value(value), length) == 0) {
            *out = position;
            return true;
        }
        at = end ? end + 1 : NULL;
    }
    return wrong(doc, name, value, err, rk_choices_text(words, may, sizeof may));
}

static int add_text(const char *bytes, size_t count, void *text)
{
    rk_text_add(text, bytes, count);
    return 0;
}

bool rk_doc_inner(struct rk_doc *doc, const char *name, char **out, size_t *bytes, struct rk_err *err)
{
    const json_t *value = look_up(doc, name);
    if (!value)
        return false;
    if (!json_is_object(value) && !json_is_array(value))
        return wrong(doc, name, value, err, "an object or an array");
    struct rk_text text = {0}; /* not from the JSON heap, which may be closed before */
    const int failed = json_dump_callback(value, add_text, &text, JSON_COMPACT);
    *out = rk_text_take(&text, bytes);
    if (failed || !*out) {
        free(*out);
        (void)rk_fail(err, RANKD_OVERLOADED, "no memory to read %s; try again in a moment", doc->what);
        return false;
    }
    return true;
}

/* A member that no handler read: the nearest known name. */
static enum rankd_status unknown(const struct rk_doc *doc, const char *key, const char *nearest,
                                 struct rk_err *err)
{
    char names[512] = "";
    size_t at = 0;
    for (size_t i = 0; i < doc->asked_count && at < sizeof names; i++)
        at += (size_t)snprintf(names + at, sizeof names - at, "%s%s", i ? ", " : "", doc->asked[i]);
    if (nearest)
        return rk_fail(err, RANKD_INVALID, "\"%.64s\" is not known in %s; did you mean \"%s\"?", key,
                       doc->what, nearest);
    return rk_fail(err, RANKD_INVALID, "\"%.64s\" is not known in %s; it may have %s", key, doc->what,
                   at ? names : "no members");
}

enum rankd_status rk_doc_done(struct rk_doc *doc, struct rk_err *err)
{
    const char *key;
    json_t *value;
    if (!doc || err->status != RANKD_OK)
        return err->status;
    json_object_foreach(doc->root, key, value)
    {
        size_t at = 0;
        while (at < doc->asked_count && strcmp(doc->asked[at], key) != 0)
            at++;
        if (at < doc->asked_count)
            continue;
        struct rk_nearest nearest = rk_nearest_start(key);
        for (size_t i = 0; i < doc->asked_count; i++)
            rk_nearest_offer(&nearest, doc->asked[i]);
        return unknown(doc, key, nearest.best, err);
    }
    return RANKD_OK;
}
