/* Bodies of rk_table_code in plain C, for any instruction set that includes them. */
#ifndef RK_TABLE_SCALAR_H
#define RK_TABLE_SCALAR_H

#include "score.h"
#include "table.h"
#include "unroll.h"

enum { RK_ROW = 16 /* so many items in a loop of known length, which compilers turn into vectors */ };

static inline uint32_t rk_table_load(const struct rk_span *span, float *score, uint16_t *place)
{
    float all[RK_TABLE_BLOCK];
    uint32_t kept = 0;
    if (!span->targets) {
        rk_scores_widen(span->scores, span->dtype, span->items, score);
        for (uint32_t i = 0; i < span->items; i++)
            place[i] = (uint16_t)i;
        return span->items;
    }
    rk_scores_widen(span->scores, span->dtype, span->items, all);
    for (uint32_t i = 0; i < span->items; i++) {
        score[kept] = all[i]; /* written always and kept if it counts: no branch to mispredict */
        place[kept] = (uint16_t)i;
        kept += span->targets[i] != 1 && span->targets[i] != -1;
    }
    return kept;
}

static inline bool rk_table_nan(const float *score, uint32_t items)
{
    unsigned nan = 0;
    for (uint32_t i = 0; i < items; i++)
        nan |= score[i] != score[i];
    return nan;
}

static inline uint32_t rk_coarse_cell(const struct rk_map *map, float s)
{
    uint32_t key = ~rk_key(s);
    const struct rk_coarse *c = &map->coarse[key >> (32 - RK_COARSE_BITS)];
    uint32_t at = (key < c->low ? 0 : key - c->low) >> c->shift;
    return c->first + (at < c->last ? at : c->last);
}

static inline void rk_table_cells(const struct rk_map *map, const float *score, uint32_t items,
                                  uint32_t *cell)
{
    if (map->coarse) {
        for (uint32_t i = 0; i < items; i++)
            cell[i] = rk_coarse_cell(map, score[i]);
        return;
    }
    const float high = map->high, scale = map->scale, top = map->top;
    for (uint32_t i = 0; i < items; i += RK_ROW) {
        for (uint32_t j = i; j < i + RK_ROW; j++) {
            float x = (high - score[j]) * scale;
            x = x > 0 ? x : 0; /* a NaN too */
            x = x < top ? x : top;
            cell[j] = (uint32_t)(int32_t)x;
        }
    }
}

static inline uint32_t rk_table_keep(const uint32_t *live, uint32_t items, uint32_t *cell, float *score,
                                     uint16_t *place)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < items; i++) {
        uint32_t c = cell[i];
        score[kept] = score[i];
        place[kept] = place[i];
        cell[kept] = c;
        kept += live[c / 32] >> (c % 32) & 1;
    }
    return kept;
}

/* #{k: cut[k] > s} for a score of that cell. Both ends are looked at first: many cuts in one cell are mostly
 * equal ones. */
static inline uint32_t rk_cell_above(const uint32_t *base, const float *cut, uint32_t cell, float s)
{
    uint32_t low = base[cell] & RK_CELL_CUTS, size = (base[cell + 1] & RK_CELL_CUTS) - low;
    if (!(cut[low] > s))
        return low;
    if (cut[low + size - 1] > s)
        return low + size;
    while (size > 1) {
        uint32_t half = size / 2;
        low += cut[low + half - 1] > s ? half : 0;
        size -= half;
    }
    return low + (cut[low] > s);
}

static inline void rk_table_above(const uint32_t *base, const float *cut, uint32_t items,
                                  const uint32_t *cell, const float *score, uint32_t *out)
{
    uint16_t pending[RK_TABLE_BLOCK];
    uint32_t mixed = 0;
    for (uint32_t i = 0; i < items; i++) {
        uint32_t entry = base[cell[i]];
        out[i] = entry & RK_CELL_CUTS;
        pending[mixed] = (uint16_t)i;
        mixed += entry >> 31;
    }
    for (uint32_t j = 0; j < mixed; j++)
        out[pending[j]] = rk_cell_above(base, cut, cell[pending[j]], score[pending[j]]);
}

static inline uint32_t rk_table_passed(const float *after, uint32_t p, uint32_t items, uint32_t *before,
                                       uint32_t *cell, float *score, uint32_t *position)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < items; i++) {
        uint32_t above = before[i] & RK_CELL_CUTS;
        float s = score[i];
        before[kept] = above;
        cell[kept] = cell[i];
        score[kept] = s;
        position[kept] = position[i];
        kept += above < p && after[above] > s;
    }
    return kept;
}

static inline uint32_t rk_table_values(double w, double lambda, uint32_t items, const uint32_t *before,
                                       const uint32_t *after, float *value, uint64_t *size)
{
    uint32_t changed = 0;
    for (uint32_t i = 0; i < items; i++) {
        int32_t delta = (int32_t)(before[i] - after[i]);
        value[i] = rk_sink_value(w, lambda, delta);
        changed += delta != 0;
        *size += (uint64_t)(delta < 0 ? -(int64_t)delta : (int64_t)delta);
    }
    return changed;
}

#endif
