/* SPDX-License-Identifier: Apache-2.0 */
/* Entry points for fuzzing: each takes any bytes and must return. The same functions run under
 * libFuzzer (`make fuzz`) and, over the corpus and seeded mutations of it, in `make check`
 * (tests/unit/codec/test_fuzz.c). */
#ifndef RK_FUZZ_TARGETS_H
#define RK_FUZZ_TARGETS_H

#include <stddef.h>
#include <stdint.h>

/* An inference request: two bytes of JSON length, the JSON, binary tensors. A valid one is also
 * computed. */
void rk_fuzz_infer_request(const uint8_t *data, size_t bytes);

/* The JSON of a request: the reader of its numbers and a document of Jansson, read value by value,
 * must give the same tensors, bit for bit, or the same sentence. */
void rk_fuzz_json_tensors(const uint8_t *data, size_t bytes);

/* The numbers of equal tensors, equal sentences of Jansson, and equal sentences about a tensor. */
extern size_t rk_fuzz_json_outcomes[3];

/* The received bytes of a connection; the first byte says how the others are cut into pieces. With
 * any cuts the same bytes are passed on, and libmicrohttpd has nothing to interpret in them. */
void rk_fuzz_http_head(const uint8_t *data, size_t bytes);

/* A compressed body: the first byte picks the encoding. */
void rk_fuzz_inflate(const uint8_t *data, size_t bytes);

/* A request on scores: types, shape, parameters, then bytes that fill its tensors. Every set of
 * kernels of the machine must answer like the reference. */
void rk_fuzz_run(const uint8_t *data, size_t bytes);

/* A file for rankctl: the first byte says whether it is .npy or text. */
void rk_fuzz_array(const uint8_t *data, size_t bytes);

/* A file of several arrays: the first byte says whether it is .npz or LETOR, and which feature of
 * the latter is the score. */
void rk_fuzz_batch(const uint8_t *data, size_t bytes);

/* The body of a reply as librankd reads it: bits of the outputs that are wanted, bits of those that
 * have room of the caller's, two bytes of JSON length, the body. */
void rk_fuzz_reply(const uint8_t *data, size_t bytes);

/* Bytes from a store of banks: the first byte says whether it is a reply on the wire, an entry of
 * an index, or a payload. */
void rk_fuzz_stored(const uint8_t *data, size_t bytes);

#endif
