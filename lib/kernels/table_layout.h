/* SPDX-License-Identifier: Apache-2.0 */
/* Strategy "table" (table.h): contents, sizes and offsets of its tables in the scratch memory; they
 * depend on items, P and threads alone.
 *
 *   table_layout.c <- table_map.c <- table_count.c, table_move.c <- table_<isa>.c */
#ifndef RK_KERNELS_TABLE_LAYOUT_H
#define RK_KERNELS_TABLE_LAYOUT_H

#include "kernels/span.h"

enum {
    RK_TABLE_BLOCK = 1024, /* items at a time, so that their data stays in the first-level cache */
    RK_KEY_PREFIX_BITS = 11,
    RK_KEY_PREFIXES = 1 << RK_KEY_PREFIX_BITS,
    RK_BUCKETS_SPARE = 16 /* behind a table's last bucket, which filling the table overwrites */
};

struct rk_bucket {
    union {
        float threshold; /* the highest within it; -inf, which is above nothing, where there is none */
        uint32_t marks;  /* where map.marked: of its i-th subbucket, bit i: there is a threshold in it */
    };
    uint32_t above; /* thresholds in buckets before it; RK_BUCKET_MANY: more than one lies within it, or
                       within a subbucket */
};

#define RK_BUCKET_MANY 0x80000000u
#define RK_BUCKET_THRESHOLDS 0x7fffffffu

/* Keys (descending scores) that agree in their upper bits, and the subbuckets they are divided
 * into. */
struct rk_key_prefix {
    uint32_t low;   /* the first key that matters; those before it share its subbucket */
    uint32_t first; /* subbucket */
    uint32_t last;  /* subbucket, counted from the first */
    uint32_t shift;
};

/* How finely the range of scores is divided; depends on items and P alone. */
struct rk_bucket_map_size {
    uint32_t p, subbuckets; /* subbuckets of an even map */
    unsigned subbucket_bits;
    bool marked; /* as in struct rk_bucket_map */
};
struct rk_bucket_map_size rk_bucket_map_size(uint32_t items, uint32_t p);

/* Most buckets, and most subbuckets, of any map. */
uint32_t rk_bucket_map_buckets(const struct rk_bucket_map_size *size);
uint32_t rk_bucket_map_subbuckets(const struct rk_bucket_map_size *size);

/* How a list is read; depends on items, P and threads alone. */
struct rk_table_layout {
    unsigned ranges;
    struct rk_bucket_map_size map;
    uint32_t chunk; /* scores for which a part's buffer has room, to put them in order; 0: they are not */
    bool remembers; /* each item's number, at the beginning; and the thresholds after the move, at `next` */
    size_t next, bucket, perturbed_bucket, crossed_subbuckets, prefix, tally, buffer,
        bytes; /* offsets in the scratch memory */
    size_t tally_stride, buffer_stride;
    size_t before; /* within a part's buffer */
};
struct rk_table_layout rk_table_layout(uint32_t items, uint32_t p, unsigned threads);

/* Does the first pass write every item's number down? */
bool rk_table_remembers(uint32_t items, uint32_t p);

/* Are the targets of a list read for every item, or only where something depends on one? */
bool rk_table_masked(const struct rk_list *list);

size_t rk_table_scratch(uint32_t items, uint32_t p, unsigned threads);
size_t rk_table_kept(uint32_t items, uint32_t p, unsigned threads);

#endif
