/* SPDX-License-Identifier: Apache-2.0 */
#include "base/transpose.h"

#include <stdint.h>
#include <string.h>

enum { EDGE = 16 };

/* Sixteen bytes as elements of one size. A square is transposed by interleaving the first half of
 * its rows with the second, log2(rows) times. */
typedef uint8_t v1 __attribute__((vector_size(16)));
typedef uint16_t v2 __attribute__((vector_size(16)));
typedef uint32_t v4 __attribute__((vector_size(16)));

#define LOW_1 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define HIGH_1 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#define LOW_2 0, 8, 1, 9, 2, 10, 3, 11
#define HIGH_2 4, 12, 5, 13, 6, 14, 7, 15
#define LOW_4 0, 4, 1, 5
#define HIGH_4 2, 6, 3, 7

#define SQUARE(size)                                                                                         \
    static inline void square_##size(const char *from, size_t from_pitch, char *to, size_t to_pitch)         \
    {                                                                                                        \
        enum { N = 16 / (size) };                                                                            \
        v##size row[N], next[N];                                                                             \
        for (size_t i = 0; i < N; i++)                                                                       \
            memcpy(&row[i], from + i * from_pitch, 16);                                                      \
        for (size_t rows = N; rows > 1; rows /= 2) {                                                         \
            for (size_t i = 0; i < N / 2; i++) {                                                             \
                next[2 * i] = __builtin_shufflevector(row[i], row[i + N / 2], LOW_##size);                   \
                next[2 * i + 1] = __builtin_shufflevector(row[i], row[i + N / 2], HIGH_##size);              \
            }                                                                                                \
            memcpy(row, next, sizeof row);                                                                   \
        }                                                                                                    \
        for (size_t i = 0; i < N; i++)                                                                       \
            memcpy(to + i * to_pitch, &row[i], 16);                                                          \
    }
SQUARE(1)
SQUARE(2)
SQUARE(4)

/* A block of EDGE by EDGE in squares; at the edges of the matrix element by element. */
#define BLOCK(size)                                                                                          \
    static void block_##size(const char *from, size_t from_pitch, size_t rows, size_t columns, char *to,     \
                             size_t to_pitch)                                                                \
    {                                                                                                        \
        enum { N = 16 / (size) };                                                                            \
        if (rows == EDGE && columns == EDGE) {                                                               \
            for (size_t c = 0; c < EDGE; c += N) {                                                           \
                for (size_t r = 0; r < EDGE; r += N)                                                         \
                    square_##size(from + r * from_pitch + c * (size), from_pitch,                            \
                                  to + c * to_pitch + r * (size), to_pitch);                                 \
            }                                                                                                \
            return;                                                                                          \
        }                                                                                                    \
        for (size_t c = 0; c < columns; c++) {                                                               \
            for (size_t r = 0; r < rows; r++)                                                                \
                memcpy(to + c * to_pitch + r * (size), from + r * from_pitch + c * (size), size);            \
        }                                                                                                    \
    }
BLOCK(1)
BLOCK(2)
BLOCK(4)

void rk_transpose(const void *from, size_t from_pitch, size_t rows, size_t columns, size_t size, void *to,
                  size_t to_pitch)
{
    void (*block)(const char *, size_t, size_t, size_t, char *, size_t) = size == 1   ? block_1
                                                                          : size == 2 ? block_2
                                                                                      : block_4;
    for (size_t r = 0; r < rows; r += EDGE) {
        size_t high = rows - r < EDGE ? rows - r : EDGE;
        for (size_t c = 0; c < columns; c += EDGE) {
            size_t wide = columns - c < EDGE ? columns - c : EDGE;
            block((const char *)from + r * from_pitch + c * size, from_pitch, high, wide,
                  (char *)to + c * to_pitch + r * size, to_pitch);
        }
    }
}
