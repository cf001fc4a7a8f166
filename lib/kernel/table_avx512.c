#include "kernels_internal.h"
#include "load_avx512.h"
#include "table.h"

RK_INLINE uint32_t load_as(const struct rk_span *span, enum rk_dtype dtype, float *score, uint16_t *place)
{
    const __m256i step = _mm256_set1_epi16(16);
    __m256i at = _mm256_setr_epi16(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < span->items; i += 16, at = _mm256_add_epi16(at, step)) {
        __mmask16 here = rk_lanes(span->items - i);
        __mmask16 lanes = rk_lanes_irrelevant(span->targets, i, here);
        __m512 s = rk_load_scores(span->scores, dtype, i, here);
        if (lanes == 0xffff) {
            _mm512_storeu_ps(score + kept, s);
            _mm256_storeu_si256((void *)(place + kept), at);
            kept += 16;
            continue;
        }
        __m256i at_kept =
            _mm512_cvtepi32_epi16(_mm512_maskz_compress_epi32(lanes, _mm512_cvtepu16_epi32(at)));
        _mm512_storeu_ps(score + kept, _mm512_maskz_compress_ps(lanes, s));
        _mm256_storeu_si256((void *)(place + kept), at_kept);
        kept += (unsigned)__builtin_popcount(lanes);
    }
    return kept;
}

/* What is stored never reaches beyond the block: at most i items are kept when item i is at hand. */
static uint32_t load(const struct rk_span *span, float *score, uint16_t *place)
{
    if (span->dtype == RK_FP16)
        return load_as(span, RK_FP16, score, place);
    if (span->dtype == RK_BF16)
        return load_as(span, RK_BF16, score, place);
    return load_as(span, RK_FP32, score, place);
}

/* Sixteen of struct rk_seen. */
struct seen {
    __m512 high, low;
    unsigned nan;
};

RK_INLINE struct seen see_none(void)
{
    return (struct seen){.high = _mm512_set1_ps(-INFINITY), .low = _mm512_set1_ps(INFINITY)};
}

/* Of a NaN and another, either instruction gives the second. */
RK_INLINE void see_lanes(struct seen *seen, __mmask16 lanes, __m512 s)
{
    seen->high = _mm512_mask_max_ps(seen->high, lanes, s, seen->high);
    seen->low = _mm512_mask_min_ps(seen->low, lanes, s, seen->low);
    seen->nan |= _mm512_mask_cmp_ps_mask(lanes, s, s, _CMP_UNORD_Q);
}

RK_INLINE void see_all(const struct seen *here, struct rk_seen *seen)
{
    rk_seen_add(seen, _mm512_reduce_max_ps(here->high), _mm512_reduce_min_ps(here->low), here->nan);
}

static void see(const float *score, uint32_t items, struct rk_seen *seen)
{
    struct seen here = see_none();
    for (uint32_t i = 0; i < items; i += 16) {
        __mmask16 lanes = rk_lanes(items - i);
        see_lanes(&here, lanes, _mm512_maskz_loadu_ps(lanes, score + i));
    }
    see_all(&here, seen);
}

RK_INLINE __m512i even_cells(const struct rk_map *map, __m512 s)
{
    __m512 x = _mm512_fmadd_ps(_mm512_sub_ps(_mm512_set1_ps(map->high), s), _mm512_set1_ps(map->scale),
                               _mm512_set1_ps(map->first));
    x = _mm512_max_ps(x, _mm512_setzero_ps()); /* the second operand where x is NaN */
    return _mm512_cvttps_epi32(_mm512_min_ps(x, _mm512_set1_ps(map->top)));
}

/* As rk_coarse_cell(): table_scalar.h. */
RK_INLINE __m512i coarse_cells(const struct rk_map *map, __m512 s)
{
    __m512i bits = _mm512_castps_si512(_mm512_add_ps(s, _mm512_setzero_ps())); /* -0.0 to +0.0 */
    __m512i key =
        _mm512_mask_xor_epi32(bits, _mm512_movepi32_mask(bits) ^ 0xffff, bits, _mm512_set1_epi32(0x7fffffff));
    __m512i at = _mm512_slli_epi32(_mm512_srli_epi32(key, 32 - RK_COARSE_BITS), 2);
    const int *fields = (const int *)(const void *)map->coarse;
    __m512i low = _mm512_i32gather_epi32(at, fields, 4);
    __m512i first = _mm512_i32gather_epi32(at, fields + 1, 4);
    __m512i last = _mm512_i32gather_epi32(at, fields + 2, 4);
    __m512i shift = _mm512_i32gather_epi32(at, fields + 3, 4);
    __m512i in = _mm512_srlv_epi32(_mm512_sub_epi32(_mm512_max_epu32(key, low), low), shift);
    return _mm512_add_epi32(first, _mm512_min_epu32(in, last));
}

_Static_assert(sizeof(struct rk_coarse) == 16 && offsetof(struct rk_coarse, shift) == 12, "gathered above");

/* Within the map for every lane, whatever is in it. */
RK_INLINE __m512i cells_of(const struct rk_map *map, __m512 s)
{
    return map->coarse ? coarse_cells(map, s) : even_cells(map, s);
}

static void cells(const struct rk_map *map, const float *score, uint32_t items, uint32_t *cell)
{
    for (uint32_t i = 0; i < items; i += 16)
        _mm512_storeu_si512(cell + i, cells_of(map, _mm512_loadu_ps(score + i)));
}

/* Lanes whose cut at that place is above the score. */
RK_INLINE __mmask16 is_above(const float *cut, __m512i at, __m512 s, __mmask16 lanes)
{
    __m512 value = _mm512_mask_i32gather_ps(_mm512_setzero_ps(), lanes, at, cut, 4);
    return _mm512_mask_cmp_ps_mask(lanes, value, s, _CMP_GT_OQ);
}

/* #{k: cut[k] > s} of each lane, known to be low to low+size, all lanes in step. */
RK_INLINE __m512i search(const float *cut, __m512i low, __m512i size, __m512 s, __mmask16 lanes)
{
    const __m512i one = _mm512_set1_epi32(1);
    while ((lanes = _mm512_mask_cmpgt_epi32_mask(lanes, size, _mm512_setzero_si512()))) {
        __m512i half = _mm512_srli_epi32(size, 1), middle = _mm512_add_epi32(low, half);
        __mmask16 up = is_above(cut, middle, s, lanes);
        __m512i rest = _mm512_sub_epi32(_mm512_sub_epi32(size, half), one);
        low = _mm512_mask_add_epi32(low, up, middle, one);
        size = _mm512_mask_mov_epi32(half, up, rest);
    }
    return low;
}

/* One load an item. On an Intel Xeon (Ice Lake) a gather took 8 ns, of eight as of sixteen, and waited for
 * the slowest; a load took 0.3 to 0.5 ns where the table is in the first-level cache, 0.9 in the third. */
#define ONE_BY_ONE(index) __asm__("" : "+r"(index)) /* or compilers make a gather of the loop */

static void fetch(const struct rk_slot *slot, const uint32_t *at, uint32_t items, struct rk_slot *out)
{
    for (uint32_t i = 0; i < items; i++) {
        uint32_t k = at[i];
        ONE_BY_ONE(k);
        out[i] = slot[k];
    }
}

static void fetch_cuts(const float *cut, const uint32_t *at, uint32_t items, float *out)
{
    for (uint32_t i = 0; i < items; i++) {
        uint32_t k = at[i];
        ONE_BY_ONE(k);
        out[i] = cut[k];
    }
}

static void fetch_words(const uint32_t *word, const uint32_t *at, uint32_t items, uint32_t *out)
{
    for (uint32_t i = 0; i < items; i++) {
        uint32_t k = at[i];
        ONE_BY_ONE(k);
        out[i] = word[k];
    }
}

/* Each block of a list too long for a cache asks for the next one: what is looked up for every item leaves
 * the processor's own prefetching no time to run ahead. There need not be one. */
struct stream {
    const char *next; /* score 0 of it */
    size_t size;      /* of a score */
};

RK_INLINE struct stream stream_of(const struct rk_span *span, enum rk_dtype dtype)
{
    size_t size = dtype == RK_FP32 ? sizeof(float) : sizeof(uint16_t);
    return (struct stream){(const char *)span->scores + (span->far ? RK_TABLE_BLOCK * size : 0), size};
}

RK_INLINE void fetch_ahead(const struct stream *stream, uint32_t i)
{
    _mm_prefetch(stream->next + i * stream->size, _MM_HINT_T0);
}

/* The same for targets, where they are read for every item; of scores where there are none. */
RK_INLINE struct stream stream_of_targets(const struct rk_span *span)
{
    const char *targets = span->targets ? (const char *)span->targets : span->scores;
    return (struct stream){targets + (span->far ? RK_TABLE_BLOCK : 0), 1};
}

/* Items that have to be compared with cuts of their slot, put aside: where their number goes, and `low`: what
 * it is at least. It is that or one more, unless RK_SLOT_MANY says that there may be more cuts. */
struct aside {
    uint32_t items;
    uint32_t asked; /* whose first cut memory was asked for */
    uint32_t out[RK_TABLE_BLOCK + 16], low[RK_TABLE_BLOCK + 16], slot[RK_TABLE_BLOCK + 16];
    float score[RK_TABLE_BLOCK + 16];
};

RK_INLINE void put_aside(struct aside *aside, __mmask16 lanes, __m512i out, __m512i low, __m512i slot,
                         __m512 s)
{
    _mm512_storeu_si512(aside->out + aside->items, _mm512_maskz_compress_epi32(lanes, out));
    _mm512_storeu_si512(aside->low + aside->items, _mm512_maskz_compress_epi32(lanes, low));
    _mm512_storeu_si512(aside->slot + aside->items, _mm512_maskz_compress_epi32(lanes, slot));
    _mm512_storeu_ps(aside->score + aside->items, _mm512_maskz_compress_ps(lanes, s));
    aside->items += (unsigned)__builtin_popcount(lanes);
}

/* One at a time, as they come one or so for every sixteen items where cuts are too many for the cache. */
RK_INLINE void ask_for_cut(struct aside *aside, const float *cut)
{
    _mm_prefetch((const char *)(cut + (aside->low[aside->asked] & RK_SLOT_CUTS)), _MM_HINT_T0);
    aside->asked += aside->asked < aside->items;
}

/* The last cut that each of them has to be compared with. */
RK_INLINE void find_last(const struct rk_slot *slot, const struct aside *aside, uint32_t *last)
{
    const __m512i cuts = _mm512_set1_epi32((int)RK_SLOT_CUTS), one = _mm512_set1_epi32(1);
    const int *above = (const int *)(const void *)&slot->above;
    for (uint32_t j = 0; j < aside->items; j += 16) {
        __m512i low = _mm512_maskz_loadu_epi32(rk_lanes(aside->items - j), aside->low + j);
        __mmask16 many = _mm512_movepi32_mask(low);
        low = _mm512_and_si512(low, cuts);
        if (many) {
            __m512i after = _mm512_add_epi32(_mm512_maskz_loadu_epi32(many, aside->slot + j), one);
            __m512i next = _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), many, after, above, 8);
            low = _mm512_mask_sub_epi32(low, many, _mm512_and_si512(next, cuts), one);
        }
        _mm512_storeu_si512(last + j, low);
    }
}

/* As rk_slot_search(): the last cut is looked at before any other, because many cuts in one place are mostly
 * equal ones. */
static __attribute__((noinline)) void search_aside(const struct rk_slot *slot, const float *cut,
                                                   const struct aside *aside, uint32_t *out)
{
    const __m512i one = _mm512_set1_epi32(1);
    uint32_t last[RK_TABLE_BLOCK + 16], found[16];
    float lowest[RK_TABLE_BLOCK + 16];
    find_last(slot, aside, last);
    fetch_cuts(cut, last, aside->items, lowest);
    for (uint32_t j = 0; j < aside->items; j += 16) {
        __mmask16 here = rk_lanes(aside->items - j);
        __m512i low = _mm512_maskz_loadu_epi32(here, aside->low + j), end = _mm512_loadu_si512(last + j);
        __mmask16 many = _mm512_movepi32_mask(low);
        __m512 s = _mm512_maskz_loadu_ps(here, aside->score + j);
        __mmask16 all = _mm512_mask_cmp_ps_mask(here, _mm512_loadu_ps(lowest + j), s, _CMP_GT_OQ);
        low = _mm512_and_si512(low, _mm512_set1_epi32((int)RK_SLOT_CUTS));
        low = _mm512_mask_add_epi32(low, all, end, one);
        many = many & (__mmask16)~all;
        if (many) /* between the two, of the lanes that are left */
            low = search(cut, low, _mm512_sub_epi32(end, low), s, many);
        _mm512_storeu_si512(found, low);
        for (uint32_t k = j; k < aside->items && k < j + 16; k++)
            out[aside->out[k]] = found[k - j];
    }
}

/* Bits that are set, of each lane; not every processor with AVX-512 has an instruction for it. */
RK_INLINE __m512i count_bits(__m512i x)
{
    const __m512i four = _mm512_set1_epi8(15);
    const __m512i bits =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
    __m512i low = _mm512_shuffle_epi8(bits, _mm512_and_si512(x, four));
    __m512i high = _mm512_shuffle_epi8(bits, _mm512_and_si512(_mm512_srli_epi32(x, 4), four));
    __m512i pairs = _mm512_maddubs_epi16(_mm512_add_epi8(low, high), _mm512_set1_epi8(1));
    return _mm512_madd_epi16(pairs, _mm512_set1_epi16(1));
}

_Static_assert(sizeof(struct rk_slot) == 8 && offsetof(struct rk_slot, above) == 4, "taken apart below");

/* What sixteen slots say: #{k: cut[k] > s} but for the lanes of *aside, for which it is the `low` of struct
 * aside. */
RK_INLINE __m512i look_up(const struct rk_slot *slot, bool marked, __m512i cell, __m512 s, __mmask16 *aside)
{
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    const __m512i one = _mm512_set1_epi32(1);
    __m512i low = _mm512_loadu_si512(slot), high = _mm512_loadu_si512(slot + 8);
    __m512i first = _mm512_permutex2var_epi32(low, even, high);
    __m512i above = _mm512_permutex2var_epi32(low, odd, high);
    __mmask16 many = _mm512_movepi32_mask(above);
    if (marked) {
        __m512i mark = _mm512_sllv_epi32(one, _mm512_and_si512(cell, _mm512_set1_epi32(31)));
        __m512i before = count_bits(_mm512_and_si512(first, _mm512_sub_epi32(mark, one)));
        *aside = many | _mm512_test_epi32_mask(first, mark);
        return _mm512_mask_add_epi32(above, (__mmask16)~many, above, before);
    }
    __mmask16 is_above = _mm512_cmp_ps_mask(_mm512_castsi512_ps(first), s, _CMP_GT_OQ);
    *aside = many & is_above;
    above = _mm512_mask_and_epi32(above, (__mmask16) ~*aside, above, _mm512_set1_epi32((int)RK_SLOT_CUTS));
    return _mm512_mask_add_epi32(above, is_above, above, one);
}

static __m512i first_sixteen(void)
{
    return _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}

RK_INLINE void above_as(bool marked, const struct rk_map *map, const struct rk_slot *slot, const float *cut,
                        uint32_t items, const uint32_t *cell, const float *score, uint32_t *out)
{
    uint32_t at[RK_TABLE_BLOCK];
    struct rk_slot entry[RK_TABLE_BLOCK];
    struct aside aside;
    aside.items = aside.asked = aside.low[0] = 0;
    const __m128i fine = _mm_cvtsi32_si128((int)map->fine);
    for (uint32_t i = 0; i < items; i += 16)
        _mm512_storeu_si512(at + i, _mm512_srl_epi32(_mm512_loadu_si512(cell + i), fine));
    fetch(slot, at, items, entry);
    for (uint32_t i = 0; i < items; i += 16) {
        __mmask16 here = rk_lanes(items - i), pending;
        __m512 s = _mm512_loadu_ps(score + i);
        __m512i found = look_up(entry + i, marked, _mm512_loadu_si512(cell + i), s, &pending);
        _mm512_mask_storeu_epi32(out + i, here, found);
        if (pending & here)
            put_aside(&aside, pending & here, _mm512_add_epi32(first_sixteen(), _mm512_set1_epi32((int)i)),
                      found, _mm512_loadu_si512(at + i), s);
        if (marked)
            ask_for_cut(&aside, cut);
    }
    if (aside.items > 0)
        search_aside(slot, cut, &aside, out);
}

static void above(const struct rk_map *map, const struct rk_slot *slot, const float *cut, uint32_t items,
                  const uint32_t *cell, const float *score, uint32_t *out)
{
    if (map->marked)
        above_as(true, map, slot, cut, items, cell, score, out);
    else
        above_as(false, map, slot, cut, items, cell, score, out);
}

RK_INLINE uint32_t place_as(const struct rk_span *span, enum rk_dtype dtype, bool marked,
                            const struct rk_map *map, const struct rk_slot *slot, const float *cut,
                            uint32_t *out, struct rk_seen *seen)
{
    uint32_t at[RK_TABLE_BLOCK], cell[RK_TABLE_BLOCK], kept = 0;
    struct rk_slot entry[RK_TABLE_BLOCK];
    struct aside aside;
    aside.items = aside.asked = aside.low[0] = 0;
    struct seen all = see_none();
    const struct stream stream = stream_of(span, dtype);
    const __m128i fine = _mm_cvtsi32_si128((int)map->fine);
    for (uint32_t i = 0; i < span->items; i += 16) {
        fetch_ahead(&stream, i);
        __m512i c = cells_of(map, rk_load_scores(span->scores, dtype, i, rk_lanes(span->items - i)));
        if (marked)
            _mm512_storeu_si512(cell + i, c);
        _mm512_storeu_si512(at + i, _mm512_srl_epi32(c, fine));
    }
    fetch(slot, at, span->items, entry);
    for (uint32_t i = 0; i < span->items; i += 16) {
        __mmask16 here = rk_lanes(span->items - i), pending;
        __mmask16 lanes = rk_lanes_irrelevant(span->targets, i, here);
        __m512 s = rk_load_scores(span->scores, dtype, i, here);
        __m512i c = marked ? _mm512_loadu_si512(cell + i) : _mm512_setzero_si512();
        __m512i found = look_up(entry + i, marked, c, s, &pending);
        see_lanes(&all, lanes, s);
        _mm512_storeu_si512(out + kept, _mm512_maskz_compress_epi32(lanes, found));
        if (pending & lanes) {
            __m512i number = _mm512_add_epi32(_mm512_set1_epi32((int)kept),
                                              _mm512_maskz_expand_epi32(lanes, first_sixteen()));
            put_aside(&aside, pending & lanes, number, found, _mm512_loadu_si512(at + i), s);
        }
        if (marked)
            ask_for_cut(&aside, cut);
        kept += (unsigned)__builtin_popcount(lanes);
    }
    if (aside.items > 0)
        search_aside(slot, cut, &aside, out);
    see_all(&all, seen);
    return kept;
}

RK_INLINE uint32_t place_any(const struct rk_span *span, bool marked, const struct rk_map *map,
                             const struct rk_slot *slot, const float *cut, uint32_t *out,
                             struct rk_seen *seen)
{
    if (span->dtype == RK_FP16)
        return place_as(span, RK_FP16, marked, map, slot, cut, out, seen);
    if (span->dtype == RK_BF16)
        return place_as(span, RK_BF16, marked, map, slot, cut, out, seen);
    return place_as(span, RK_FP32, marked, map, slot, cut, out, seen);
}

static uint32_t place(const struct rk_span *span, const struct rk_map *map, const struct rk_slot *slot,
                      const float *cut, uint32_t *out, struct rk_seen *seen)
{
    return map->marked ? place_any(span, true, map, slot, cut, out, seen)
                       : place_any(span, false, map, slot, cut, out, seen);
}

/* Kept or not, items are written down, as by recall_as(): a branch on whether there is any of sixteen would
 * be a coin's. */
RK_INLINE uint32_t sift_as(const struct rk_span *span, enum rk_dtype dtype, const struct rk_map *map,
                           const uint32_t *live, uint32_t *cell, float *score, uint32_t *position)
{
    uint32_t all[RK_TABLE_BLOCK], at[RK_TABLE_BLOCK], word[RK_TABLE_BLOCK], kept = 0;
    const struct stream stream = stream_of(span, dtype), targets = stream_of_targets(span);
    for (uint32_t i = 0; i < span->items; i += 16) {
        fetch_ahead(&stream, i);
        __m512i c = cells_of(map, rk_load_scores(span->scores, dtype, i, rk_lanes(span->items - i)));
        _mm512_storeu_si512(all + i, c);
        _mm512_storeu_si512(at + i, _mm512_srli_epi32(c, 5));
    }
    fetch_words(live, at, span->items, word);
    __m512i number = _mm512_add_epi32(first_sixteen(), _mm512_set1_epi32((int)span->position));
    for (uint32_t i = 0; i < span->items; i += 16, number = _mm512_add_epi32(number, _mm512_set1_epi32(16))) {
        __mmask16 here = rk_lanes(span->items - i);
        __m512i c = _mm512_loadu_si512(all + i);
        __m512i bit = _mm512_sllv_epi32(_mm512_set1_epi32(1), _mm512_and_si512(c, _mm512_set1_epi32(31)));
        __mmask16 lanes = _mm512_mask_test_epi32_mask(here, _mm512_loadu_si512(word + i), bit);
        __m512 s = rk_load_scores(span->scores, dtype, i, here);
        fetch_ahead(&targets, i);
        lanes = rk_lanes_irrelevant(span->targets, i, lanes);
        _mm512_storeu_si512(cell + kept, _mm512_maskz_compress_epi32(lanes, c));
        _mm512_storeu_ps(score + kept, _mm512_maskz_compress_ps(lanes, s));
        _mm512_storeu_si512(position + kept, _mm512_maskz_compress_epi32(lanes, number));
        kept += (unsigned)__builtin_popcount(lanes);
    }
    return kept;
}

static uint32_t sift(const struct rk_span *span, const struct rk_map *map, const uint32_t *live,
                     uint32_t *cell, float *score, uint32_t *position)
{
    if (span->dtype == RK_FP16)
        return sift_as(span, RK_FP16, map, live, cell, score, position);
    if (span->dtype == RK_BF16)
        return sift_as(span, RK_BF16, map, live, cell, score, position);
    return sift_as(span, RK_FP32, map, live, cell, score, position);
}

static uint32_t passed(const float *after, uint32_t p, uint32_t items, uint32_t *before, uint32_t *cell,
                       float *score, uint32_t *position)
{
    const __m512i last = _mm512_set1_epi32((int)p - 1);
    uint32_t at[RK_TABLE_BLOCK], kept = 0;
    float next[RK_TABLE_BLOCK];
    for (uint32_t i = 0; i < items; i += 16)
        _mm512_storeu_si512(at + i, _mm512_min_epu32(_mm512_loadu_si512(before + i), last));
    fetch_cuts(after, at, items, next);
    for (uint32_t i = 0; i < items; i += 16) {
        __m512i number = _mm512_loadu_si512(before + i);
        __m512 s = _mm512_loadu_ps(score + i);
        __mmask16 lanes = rk_lanes(items - i) & _mm512_cmp_ps_mask(_mm512_loadu_ps(next + i), s, _CMP_GT_OQ);
        lanes = _mm512_mask_cmple_epu32_mask(lanes, number, last); /* otherwise no cut was at or below it */
        if (!lanes)
            continue;
        _mm512_storeu_si512(cell + kept, _mm512_maskz_compress_epi32(lanes, _mm512_loadu_si512(cell + i)));
        _mm512_storeu_si512(position + kept,
                            _mm512_maskz_compress_epi32(lanes, _mm512_loadu_si512(position + i)));
        _mm512_storeu_si512(before + kept, _mm512_maskz_compress_epi32(lanes, number));
        _mm512_storeu_ps(score + kept, _mm512_maskz_compress_ps(lanes, s));
        kept += (unsigned)__builtin_popcount(lanes);
    }
    return kept;
}

static void fetch_next(const float *after, const uint16_t *number, uint32_t items, float *out)
{
    for (uint32_t i = 0; i < items; i++) {
        uint32_t k = number[i];
        ONE_BY_ONE(k);
        out[i] = after[k];
    }
}

RK_INLINE uint32_t recall_as(const struct rk_span *span, enum rk_dtype dtype, const uint16_t *number,
                             const float *after, float *score, uint32_t *before, uint32_t *position)
{
    const struct rk_span all =
        *span; /* what is written might be fields of a span, for all a compiler knows */
    float next[RK_TABLE_BLOCK];
    uint32_t kept = 0;
    const struct stream stream = stream_of(span, dtype);
    fetch_next(after, number, all.items, next);
    __m512i at = _mm512_add_epi32(first_sixteen(), _mm512_set1_epi32((int)all.position));
    for (uint32_t i = 0; i < all.items; i += 16, at = _mm512_add_epi32(at, _mm512_set1_epi32(16))) {
        __mmask16 here = rk_lanes(all.items - i);
        __m512 s = rk_load_scores(all.scores, dtype, i, here);
        __mmask16 lanes = _mm512_mask_cmp_ps_mask(here, _mm512_loadu_ps(next + i), s, _CMP_GT_OQ);
        fetch_ahead(&stream, i);
        lanes = rk_lanes_irrelevant(all.targets, i, lanes);
        __m512i was = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(here, number + i));
        _mm512_storeu_ps(score + kept, _mm512_maskz_compress_ps(lanes, s));
        _mm512_storeu_si512(before + kept, _mm512_maskz_compress_epi32(lanes, was));
        _mm512_storeu_si512(position + kept, _mm512_maskz_compress_epi32(lanes, at));
        kept += (unsigned)__builtin_popcount(lanes);
    }
    return kept;
}

static uint32_t recall(const struct rk_span *span, const uint16_t *number, const float *after, float *score,
                       uint32_t *before, uint32_t *position)
{
    if (span->dtype == RK_FP16)
        return recall_as(span, RK_FP16, number, after, score, before, position);
    if (span->dtype == RK_BF16)
        return recall_as(span, RK_BF16, number, after, score, before, position);
    return recall_as(span, RK_FP32, number, after, score, before, position);
}

static const struct rk_table_code code = {load, see,    cells,  above,           place,
                                          sift, passed, recall, rk_values_avx512};

static enum rankd_status count_pass(struct rk_pass *pass)
{
    return rk_table_count(pass, &code);
}

static enum rankd_status move_pass(struct rk_pass *pass)
{
    return rk_table_move(pass, &code);
}

const struct rk_strategy rk_table_avx512 = {.name = "table",
                                            .most = RK_LIST_MAX,
                                            .scratch = rk_table_scratch,
                                            .kept = rk_table_kept,
                                            .count = count_pass,
                                            .move = move_pass};
