/* SPDX-License-Identifier: Apache-2.0 */
/* Other libraries' parsers and printers, for C. */
#ifndef RK_BENCH_JSON_PEERS_H
#define RK_BENCH_JSON_PEERS_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Writes the numbers of all arrays inputs[i].data of a request, flat, as FP64 into `out`; returns
 * their count. 64 bytes after the text must be readable. */
size_t rk_peer_simdjson(const char *text, size_t bytes, double *out);

/* Returns the end of the number at `at`. */
const char *rk_peer_fast_float(const char *at, const char *end, double *value);

/* Writes the shortest text; returns its bytes. */
size_t rk_peer_to_chars(float value, char *out, size_t room);

#ifdef __cplusplus
}
#endif

#endif
