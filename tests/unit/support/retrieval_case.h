/* SPDX-License-Identifier: Apache-2.0 */
/* A retrieval request with everything it points to, made at random or by hand, for the engine and
 * for the oracle. */
#ifndef RETRIEVAL_CASE_H
#define RETRIEVAL_CASE_H

#include "request/bank_view.h"
#include "request/request.h"
#include "unit/support/retrieval_oracle.h"

struct retrieval_shape {
    size_t batch, refs, memory, dim;
    int64_t labels;     /* drawn from 0..labels-1; 0: all are -1 */
    double distractors; /* share of items with label -1 */
    double with_id;     /* share of items with an id, drawn from 0..ids-1 */
    int64_t ids;
    size_t range;   /* entries are -range..range; 0: 3 */
    int misleading; /* sampled items of the bank (retrieval/stream.c) rank 1: above, -1: below all others */
    bool normalize;
    bool int32_labels;
    bool references;      /* gallery=references */
    double relevance;     /* share of relevant pairs; above 0: they come in place of labels */
    bool ndcg;            /* grades of 1..4; with FP32 targets also halves, and a linear gain */
    enum rk_dtype target; /* of the relevance; BOOL and UINT8 have no -1 */
    enum rk_dtype dtype;  /* of what is sent */
    enum rk_dtype bank;   /* of the bank */
    size_t chunk; /* capacity of the bank's chunks; the first is partly evicted, the last has newer items */
};

struct retrieval_case {
    struct rk_request request; /* parameters at their defaults */
    struct oracle_request oracle;
    struct rk_bank_snapshot view;
    struct oracle_item *item;
    double *x;
    void *memory[1024]; /* other memory that is freed with it */
    size_t memories;
};

/* Vectors whose inner products are exact in FP32 in any order, so that the oracle and any BLAS
 * agree to the bit: small integers, or with normalize multiples of unit vectors with entries
 * ±2^-k. */
void case_random(struct retrieval_case *c, const struct retrieval_shape *shape, uint64_t *seed);
void case_free(struct retrieval_case *c);

/* Copies request->params to the oracle, with the default of the margin. */
void case_params(struct retrieval_case *c, bool recall);

uint64_t case_next(uint64_t *seed); /* SplitMix64 */
size_t case_below(uint64_t *seed, size_t n);

#endif
