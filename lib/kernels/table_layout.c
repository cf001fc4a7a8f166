/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/table_layout.h"

#include "kernels/table_bins.h"
#include "kernels/tuning.h"

enum {
    CACHED = 3 << 19,    /* thresholds up to which reading the tables out of order is faster */
    CHUNK_MIN = 1 << 18, /* items put in order at a time: enough to pay for reading the whole tables */
    CHUNK_PER_THRESHOLD = 8,
    CHUNK_SHARE = 8,       /* and at most this fraction of the list's */
    REMEMBERED_SHARE = 32, /* fraction of relevant items up to which there is memory for two bytes an item */
    MASKED_SHARE = 8       /* fraction of relevant items from which on targets are read while counting */
};

bool rk_table_remembers(uint32_t items, uint32_t p)
{
    return p < UINT16_MAX && p <= items / REMEMBERED_SHARE;
}

/* --- how finely scores are divided --- */

enum {
    MARKED = 1 << 16,  /* thresholds from which on buckets are marked */
    PER_THRESHOLD = 8, /* buckets a threshold before, while that many fit the cache (rk_tuning.buckets), */
    BUCKETS_PER_THRESHOLD = 2, /* and beyond */
    BUCKETS_MIN = 256,
    SUBBUCKET_BITS = 3,            /* such a bucket has 2^SUBBUCKET_BITS subbuckets, */
    SUBBUCKET_BITS_MARKED = 5,     /* and a marked one 2^this */
    SUBBUCKETS_PER_THRESHOLD = 56, /* of those, up to this number */
    SUBBUCKETS_MAX = 1 << 24,      /* FP32 counts that far */
    ITEM_BYTES = 8,                /* of scratch memory for an item, where few are relevant, */
    RELEVANT_BYTES = 44            /* and for an item that is relevant, with two threads' tallies */
};

/* The number of buckets (with a bit for each of their subbuckets, twice) that fit into the rest of
 * a list's scratch memory, beside its relevant items and what the first pass stores. */
static uint64_t affordable(uint32_t items, uint32_t p)
{
    const uint64_t all = (uint64_t)ITEM_BYTES * items;
    const uint64_t taken =
        (uint64_t)RELEVANT_BYTES * p + (rk_table_remembers(items, p) ? 2 * (uint64_t)items : 0);
    return all > taken ? (all - taken) / (2 * sizeof(struct rk_bucket) + (1 << SUBBUCKET_BITS) / 8) : 0;
}

static uint32_t buckets_of(uint32_t items, uint32_t p)
{
    uint64_t buckets = (uint64_t)p * PER_THRESHOLD, least = (uint64_t)p * BUCKETS_PER_THRESHOLD,
             most = affordable(items, p);
    buckets = buckets < rk_tuning.buckets ? buckets : rk_tuning.buckets;
    buckets = buckets < most ? buckets : most;
    least = least > BUCKETS_MIN ? least : BUCKETS_MIN;
    return (uint32_t)(buckets > least ? buckets : least);
}

struct rk_bucket_map_size rk_bucket_map_size(uint32_t items, uint32_t p)
{
    struct rk_bucket_map_size size = {.p = p, .subbucket_bits = SUBBUCKET_BITS, .marked = p > MARKED};
    if (size.marked) {
        size.subbucket_bits = SUBBUCKET_BITS_MARKED;
        size.subbuckets =
            p < SUBBUCKETS_MAX / SUBBUCKETS_PER_THRESHOLD ? p * SUBBUCKETS_PER_THRESHOLD : SUBBUCKETS_MAX;
    } else {
        size.subbuckets = buckets_of(items, p) << SUBBUCKET_BITS;
    }
    return size;
}

uint32_t rk_bucket_map_buckets(const struct rk_bucket_map_size *size)
{
    return (size->subbuckets >> size->subbucket_bits) + RK_KEY_PREFIXES;
}

uint32_t rk_bucket_map_subbuckets(const struct rk_bucket_map_size *size)
{
    return size->subbuckets + RK_KEY_PREFIXES;
}

/* --- offsets in the scratch memory --- */

static size_t padded(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

static uint32_t chunk_of(uint32_t items, uint32_t p)
{
    uint64_t chunk = (uint64_t)p * CHUNK_PER_THRESHOLD;
    if (p <= CACHED)
        return 0;
    if (chunk > items / CHUNK_SHARE)
        chunk = items / CHUNK_SHARE;
    return chunk < CHUNK_MIN ? CHUNK_MIN : (uint32_t)chunk;
}

/* Every part has its own counts: at most two bytes an item, unless there are only one or two
 * parts. */
static unsigned parts_of(uint32_t items, uint32_t p, unsigned threads)
{
    unsigned ranges = rk_ranges(items, rk_tuning.grain, threads),
             most = items / (2 * p) < 2 ? 2 : items / (2 * p);
    return ranges < most ? ranges : most;
}

size_t rk_table_kept(uint32_t items, uint32_t p, unsigned threads)
{
    (void)threads;
    return rk_table_remembers(items, p) ? padded(items * sizeof(uint16_t)) : 0;
}

struct rk_table_layout rk_table_layout(uint32_t items, uint32_t p, unsigned threads)
{
    struct rk_table_layout l = {.ranges = parts_of(items, p, threads),
                                .map = rk_bucket_map_size(items, p),
                                .remembers = rk_table_remembers(items, p)};
    l.chunk = chunk_of(items / l.ranges, p);
    size_t buckets =
        padded(((size_t)rk_bucket_map_buckets(&l.map) + 1 + RK_BUCKETS_SPARE) * sizeof(struct rk_bucket));
    l.next = rk_table_kept(items, p, threads);
    l.bucket = l.next + (l.remembers ? padded(((size_t)p + 1) * sizeof(float)) : 0);
    l.perturbed_bucket = l.bucket + buckets;
    l.crossed_subbuckets = l.perturbed_bucket + buckets;
    l.prefix = l.crossed_subbuckets + padded(rk_bucket_map_subbuckets(&l.map) / 8 + sizeof(uint32_t));
    l.tally = l.prefix + padded(RK_KEY_PREFIXES * sizeof(struct rk_key_prefix));
    l.tally_stride = padded(((size_t)p + 1) * sizeof(uint32_t));
    l.buffer = l.tally + l.ranges * l.tally_stride;
    uint32_t blocks = l.chunk ? rk_bins_blocks(l.chunk) : 0;
    l.before = padded((size_t)blocks * RK_BIN_BLOCK * sizeof(float));
    l.buffer_stride = l.before + padded((size_t)blocks * sizeof(int32_t));
    l.bytes = l.buffer + l.ranges * l.buffer_stride;
    return l;
}

size_t rk_table_scratch(uint32_t items, uint32_t p, unsigned threads)
{
    return rk_table_layout(items, p, threads).bytes;
}

bool rk_table_masked(const struct rk_list *list)
{
    return list->n != list->items || list->p > list->n / MASKED_SHARE;
}
