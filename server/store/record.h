/* SPDX-License-Identifier: Apache-2.0 */
/* Records of a journal: a head of 64 bytes and a payload, each with its own checksum (XXH3).
 * Numbers are little-endian. */
#ifndef RK_STORE_RECORD_H
#define RK_STORE_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bank/bank.h"

enum rk_record_kind {
    RK_RECORD_START = 1, /* the first of a segment: payload struct rk_record_start */
    RK_RECORD_IDS = 2,   /* the second: the known batch ids, payload struct rk_batch_id[] */
    RK_RECORD_BATCH =
        3, /* a version: struct rk_batch_id (zero: none), then the block of the batch (bank/batch.h). With the
              version of the record before and without items: the id of an empty batch */
    RK_RECORD_CONTINUED = 4 /* a batch record whose version goes on in the next record */
};

struct rk_record_head {
    uint32_t magic, kind;
    uint64_t payload_bytes;
    uint64_t version, generation; /* after the record */
    uint64_t first;               /* sequence number of its first item, or behind the newest (START, IDS) */
    uint32_t items;
    uint32_t synced; /* bytes of its segment that were on disk when it was written, at most UINT32_MAX */
    uint64_t payload_hash, head_hash;
};
_Static_assert(sizeof(struct rk_record_head) == 64, "the head is part of the file format");

#define RK_RECORD_MAGIC 0x31424b52u /* "RKB1" */

/* The bank of a segment's records, and where its journal began (rules.h). A segment of another bank
 * is not read. */
struct rk_record_start {
    uint32_t format; /* RK_RECORD_FORMAT, or an older one */
    uint32_t kind;   /* struct rk_bank_kind.number */
    uint32_t normalize, dtype;
    uint64_t dim, lists, capacity;
    uint64_t base, cleared; /* struct rk_origin */
    uint64_t reserved;
};
_Static_assert(sizeof(struct rk_record_start) == 64, "part of the file format");

/* Format 1 had neither base nor cleared, and no record of it had `synced` (it is 0). */
#define RK_RECORD_FORMAT 2
#define RK_RECORD_START_BYTES_1 48

/* A batch that was named by its sender. All zero: none. */
struct rk_batch_id {
    uint64_t name[2];             /* XXH3-128 of the batch_id */
    uint64_t content;             /* XXH3-64 of the batch */
    struct rk_bank_position read; /* what it was computed against */
    uint64_t appended;            /* the version that it became; 0: none, it was empty */
    uint64_t stamp_ns; /* when, by the bank's own clock (bank/ids.h); 0 in files of earlier versions */
};
_Static_assert(sizeof(struct rk_batch_id) == 64, "part of the file format");

struct rk_record_start rk_record_start_of(const struct rk_bank_shape *shape);

/* Completes a head: magic and checksums. `parts` are the payload's pieces in order. */
struct rk_record_piece {
    const void *data;
    size_t bytes;
};
void rk_record_seal(struct rk_record_head *head, const struct rk_record_piece *piece, size_t pieces);

/* True if `bytes` (of which `room` are there) begin with a whole, undamaged record. */
bool rk_record_valid(const void *bytes, size_t room, struct rk_record_head *head);

uint64_t rk_record_hash(const void *bytes, size_t count);

#endif
