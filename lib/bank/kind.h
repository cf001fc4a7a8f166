/* SPDX-License-Identifier: Apache-2.0 */
/* A kind of bank: the columns of its items, how a request becomes items, and how a request sees
 * them.
 *
 * An item is a row of columns. A batch, a record of a journal and a chunk all hold the columns one
 * after the other, so that copying, writing to disk and reading back are the same code for every
 * kind (batch.c, chunk.c). A kind is one file with one table, and a row in kinds.def; nothing else
 * asks which kind a bank is of. */
#ifndef RK_BANK_KIND_H
#define RK_BANK_KIND_H

#include <stddef.h>
#include <stdint.h>

#include "bank/batch.h"
#include "bank/chunk.h"
#include "request/bank_view.h"

/* A setting of banks of the kind, beside capacity and datatype: a member of struct
 * rk_bank_shape. */
enum rk_bank_field_type {
    RK_BANK_FIELD_COUNT, /* size_t, required, min..max */
    RK_BANK_FIELD_FLAG   /* bool; `preset` where it is not given */
};
struct rk_bank_field {
    const char *name;
    enum rk_bank_field_type type;
    size_t at; /* offset in struct rk_bank_shape */
    size_t min, max;
    bool preset;
};

struct rk_bank_kind {
    const char *name;              /* the row's in kinds.def */
    uint32_t number;               /* in files (store/record.h): never changed, never used again */
    enum rk_bank_content holds;    /* the requests that may rank such a bank */
    struct rk_bank_field field[4]; /* in the order of a configuration; the first without a name ends them */
    unsigned dtypes;               /* RK_BANK_DTYPE() of those that items may have */
    const char *dtypes_text;       /* the same in words: "datatype of the bank is X; it must be …" */

    /* Writes the columns of an item, at most RK_BANK_COLUMNS, in the order of files; returns how
     * many. */
    size_t (*columns)(const struct rk_bank_shape *shape, struct rk_bank_column column[RK_BANK_COLUMNS]);

    /* rk_batch_new() of this kind: takes the block by rk_batch_take() and fills it. *batch is zero
     * before. Where it fails the caller frees the batch. */
    enum rankd_status (*read)(const struct rk_bank_shape *shape, const struct rk_request *request,
                              struct rk_batch *batch, struct rk_err *err);

    /* Shows `items` items of a chunk, from position `first` on, to requests: writes element `at` of
     * `views`, an array of elements of view_bytes each. */
    size_t view_bytes;
    void (*show_chunk)(const struct rk_chunk *chunk, size_t first, size_t items, void *views, size_t at);
    /* Completes a view of that many chunks: its member `embeddings` or `scores`, as `holds`
     * says. */
    void (*show)(const struct rk_bank_shape *shape, const void *views, size_t chunks,
                 struct rk_bank_snapshot *view);
};

#define RK_BANK_DTYPE(dtype) (1u << (dtype))

#define RK_BANK_KIND(name) extern const struct rk_bank_kind rk_bank_kind_##name;
#include "bank/kinds.def"
#undef RK_BANK_KIND

/* All kinds, in the order of kinds.def; NULL ends them. */
extern const struct rk_bank_kind *const rk_bank_kinds[];
/* Their names, "a|b|c", in that order. */
const char *rk_bank_kind_words(void);

/* The kind of that number in files; NULL: this version has none. */
const struct rk_bank_kind *rk_bank_kind_numbered(uint32_t number);

/* The number of a bank that a field of type COUNT describes; 0 for another type. */
static inline size_t rk_bank_field_count(const struct rk_bank_field *field, const struct rk_bank_shape *shape)
{
    const char *at = (const char *)shape + field->at;
    return field->type == RK_BANK_FIELD_COUNT ? *(const size_t *)(const void *)at : 0;
}

#endif
