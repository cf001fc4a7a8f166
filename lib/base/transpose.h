/* SPDX-License-Identifier: Apache-2.0 */
/* Transposition of matrices block by block, so that every cache line is read and written once. */
#ifndef RK_BASE_TRANSPOSE_H
#define RK_BASE_TRANSPOSE_H

#include <stddef.h>

/* to[c][r] = from[r][c] for r < rows, c < columns; elements of 1, 2 or 4 bytes at any alignment.
 * Pitches are the bytes from one row to the next. `from` and `to` do not overlap. */
void rk_transpose(const void *from, size_t from_pitch, size_t rows, size_t columns, size_t size, void *to,
                  size_t to_pitch);

#endif
