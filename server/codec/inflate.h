/* SPDX-License-Identifier: Apache-2.0 */
/* Compressed bodies: gzip and deflate, in both directions. */
#ifndef RK_CODEC_INFLATE_H
#define RK_CODEC_INFLATE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

enum rk_encoding { RK_ENCODING_NONE, RK_ENCODING_GZIP, RK_ENCODING_DEFLATE };

/* A Content-Encoding: "gzip", "x-gzip", "deflate", "identity" or NULL. False: any other. */
bool rk_encoding_parse(const char *name, enum rk_encoding *out) __attribute__((warn_unused_result));

/* The best encoding that an Accept-Encoding header allows (NULL: none). */
enum rk_encoding rk_encoding_accepted(const char *accept);

/* Inflates the whole of `in` into malloc'ed memory, the caller's after success. `limit` bounds the
 * inflated bytes: RANKD_TOO_LARGE, detected before more than `limit` bytes are allocated. Gzip may
 * have several members. Deflate is accepted with and without the zlib header, because clients send
 * both. RANKD_INVALID: damaged, truncated, or followed by other bytes. */
enum rankd_status rk_inflate(enum rk_encoding encoding, const void *in, size_t in_bytes, size_t limit,
                             void **out, size_t *out_bytes, struct rk_err *err)
    __attribute__((warn_unused_result));

/* Compresses into malloc'ed memory, the caller's after success. */
enum rankd_status rk_deflate(enum rk_encoding encoding, const void *in, size_t in_bytes, void **out,
                             size_t *out_bytes, struct rk_err *err) __attribute__((warn_unused_result));

#endif
