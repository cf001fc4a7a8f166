/* SPDX-License-Identifier: Apache-2.0 */
/* Random requests for the programs that compare a device with the CPU engine. */
#ifndef GPU_SAMPLE_H
#define GPU_SAMPLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "request/request.h"

void seed(uint64_t start);
uint64_t draw(void);
size_t below(size_t n);
double unit(void);
void *room(size_t bytes); /* ends the program without memory; the caller frees it */

struct sample {
    struct rk_request request;
    char text[512];
    void *scores, *targets, *upstream;
};

struct rk_tensor matrix(enum rk_dtype dtype, size_t rows, size_t columns, const void *data);
uint16_t half_of(float x, bool brain); /* FP16, or BF16: near x, which is good enough for a test */

/* Scores of a kind 0..5 (uniform, tied, equal, extremes, ulps, wide) and targets, so many of them
 * relevant and ignored; good_model: most relevant ones in front. The caller frees both. */
void fill(struct sample *s, enum rk_dtype score, enum rk_dtype target, size_t rows, size_t columns, int kind,
          double share, double ignored, bool good_model);
/* Model ap or recall, parameters and outputs. */
void random_params(struct sample *s);

#endif
