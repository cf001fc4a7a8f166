/* SPDX-License-Identifier: Apache-2.0 */
/* Small JSON documents: bodies of PUT and POST. Members are read by name and type; an unknown name
 * is an error.
 *
 *     struct rk_doc *doc = rk_doc_parse(call->body, call->body_bytes, "a bank's configuration", err);
 *     rk_doc_text(doc, "kind", kind, sizeof kind, err);
 *     rk_doc_uint(doc, "dim", 1, 65536, &dim, err);
 *     if (rk_doc_done(doc, err) != RANKD_OK) …
 *     rk_doc_free(doc);
 *
 * The first error wins (err.h), so a handler may read all members and check once. */
#ifndef RK_CODEC_DOC_H
#define RK_CODEC_DOC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct rk_doc;

/* Borrows the body until rk_doc_free(). NULL with *err if it is not one JSON object
 * (RANKD_INVALID), or without memory. An empty body is an empty object. `what` is borrowed and
 * names the document in sentences. At most 64 KiB, depth 32, no duplicate keys. */
struct rk_doc *rk_doc_parse(const void *body, size_t bytes, const char *what, struct rk_err *err)
    __attribute__((warn_unused_result));
void rk_doc_free(struct rk_doc *doc); /* NULL is fine */

/* Each returns true and fills *out if the member has the right type and range; false if it is
 * absent (*out unchanged, no error) or wrong (*err set). `doc` NULL: false. Text is copied; longer
 * than size - 1 bytes or with a NUL in it is an error. */
bool rk_doc_text(struct rk_doc *doc, const char *name, char *out, size_t size, struct rk_err *err);
bool rk_doc_uint(struct rk_doc *doc, const char *name, uint64_t min, uint64_t max, uint64_t *out,
                 struct rk_err *err);
bool rk_doc_real(struct rk_doc *doc, const char *name, double min, double max, double *out,
                 struct rk_err *err);
bool rk_doc_flag(struct rk_doc *doc, const char *name, bool *out, struct rk_err *err);
/* One of the words "a|b|c"; *out is its position. */
bool rk_doc_word(struct rk_doc *doc, const char *name, const char *words, int *out, struct rk_err *err);
/* A nested object or array as JSON text, malloc'ed: for bodies in packets of the control channel of
 * the ring. */
bool rk_doc_inner(struct rk_doc *doc, const char *name, char **out, size_t *bytes, struct rk_err *err);

/* An error if the document has a name that no call above asked for (the sentence has the nearest
 * one), or if *err is set already. Returns err->status. */
enum rankd_status rk_doc_done(struct rk_doc *doc, struct rk_err *err) __attribute__((warn_unused_result));

#endif
