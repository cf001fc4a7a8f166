/* SPDX-License-Identifier: Apache-2.0 */
/* Entry points for fuzzing: each takes any bytes and must come back. The same functions run under libFuzzer
 * (`make fuzz`) and, over the corpus and seeded mutations of it, in `make check`
 * (tests/unit/codec/test_fuzz.c). */
#ifndef RK_FUZZ_TARGETS_H
#define RK_FUZZ_TARGETS_H

#include <stddef.h>
#include <stdint.h>

/* An inference request: two bytes of JSON length, the JSON, binary tensors. What parses is also computed. */
void rk_fuzz_infer_request(const uint8_t *data, size_t bytes);

/* The JSON of a request: what the reader of its numbers makes of it and what a document of Jansson's, read
 * value by value, does must be the same tensors, bit for bit, or the same sentence. */
void rk_fuzz_json_tensors(const uint8_t *data, size_t bytes);

/* How many were the same tensors, the same words of Jansson, and the same words on a tensor. */
extern size_t rk_fuzz_json_outcomes[3];

/* What a connection receives: every byte after the first, which says how it is cut into pieces. However it is
 * cut, the same is passed on, and no byte of it that libmicrohttpd would have to interpret. */
void rk_fuzz_http_head(const uint8_t *data, size_t bytes);

/* A compressed body: the first byte picks the encoding. */
void rk_fuzz_inflate(const uint8_t *data, size_t bytes);

/* A request on scores: types, shape, parameters, then bytes that fill its tensors. Every set of kernels of
 * the machine must answer like the reference. */
void rk_fuzz_run(const uint8_t *data, size_t bytes);

/* A file of rankctl's: the first byte says whether it is .npy or text. */
void rk_fuzz_array(const uint8_t *data, size_t bytes);

/* A file of several arrays: the first byte says whether it is .npz or LETOR, and of that which feature is the
 * score. */
void rk_fuzz_batch(const uint8_t *data, size_t bytes);

/* The body of a reply as librankd reads it: bits of the outputs that are wanted, bits of those that have room
 * of the caller's, two bytes of JSON length, the body. */
void rk_fuzz_reply(const uint8_t *data, size_t bytes);

/* What comes from a store of banks: the first byte says whether it is a reply on the wire, an entry of an
 * index, or a payload. */
void rk_fuzz_stored(const uint8_t *data, size_t bytes);

#endif
