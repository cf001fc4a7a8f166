/* SPDX-License-Identifier: Apache-2.0 */
// The kernels, as the host launches them. All run on one stream; no function waits.
#pragma once

#include "cuda/job.cuh"

namespace rk
{

constexpr size_t LIST_MOST = 0x7fffffff; // items of a list: RK_LIST_MAX
constexpr uint32_t COUNT_TILE = 16384;   // items of a list that a block reads at a time
constexpr uint32_t CHUNK = 256;          // relevant items of a list that a block works on

// Scores and targets as the kernels read them: row-major, one list per row, FP32, FP16 or BF16,
// one-byte targets.
enum class Score { FP32, FP16, BF16 };

// Returns action(S()) for the type S of the scores on the device.
template <class Action> auto with_type(Score type, Action action)
{
    switch (type) {
    case Score::FP16:
        return action(Fp16());
    case Score::BF16:
        return action(Bf16());
    default:
        return action(0.0f);
    }
}

struct Matrix {
    const void *scores;
    const int8_t *targets; // NULL: NaN marks items other than irrelevant ones
    Score type;
    size_t lists;
    uint32_t items, stride; // of a row
};

// Counts matrix.targets. The caller clears count[lists] and *totals. tile_relevant [lists · tiles
// of a list]. positions [lists, room] or NULL: those of the relevant items of each list, in any
// order, up to `room`.
void launch_count(cudaStream_t stream, const Matrix &matrix, bool is_signed, ListCount *count,
                  uint32_t *tile_relevant, uint32_t *positions, uint32_t room, Totals *totals);

// totals->loss = Σ loss[lists], and *report, in host memory, becomes a copy of *totals.
void launch_losses(cudaStream_t stream, const double *loss, size_t lists, Totals *totals, Totals *report);

// Lists of at most SHORT_MOST relevant items, one block each; others are skipped. launch_short()
// handles those of up to SHORT_SOME and, if `report` is set, the work of launch_losses() too;
// launch_short_rest() handles the others.
constexpr uint32_t SHORT_SOME = 1023, SHORT_MOST = 4095;
struct ShortJob {
    Matrix matrix;
    Box box;
    const ListCount *count;    // [lists]
    const uint32_t *positions; // [lists, room], as launch_count() leaves them
    uint32_t room;             // at least the smaller of SHORT_SOME and the items of a list
    Totals *totals;
    float *gradient;  // [lists, items]; NULL: only losses
    double *loss;     // [lists], weighted; not written for skipped lists
    float *list_loss; // [lists] or NULL
    Totals *report;   // in host memory, or NULL
};
void prepare_short(); // once per device
void launch_short(cudaStream_t stream, const ShortJob &job);
void launch_short_rest(cudaStream_t stream, const ShortJob &job);

// Room for relevant items: of a list, and of all lists of a group, in chunks. totals->most and
// totals->chunks have the demand of lists that found no room.
struct LongSize {
    uint32_t most, chunks;
};

// Of one list; without a gradient only nan is valid.
struct LongOutcome {
    uint32_t nan, stalled;
    unsigned long long jumped;
};

// Lists with any number of relevant items: the whole device works on all of them together.
// `memory`: long_bytes().
struct LongJob {
    Matrix matrix;
    Box box;
    uint32_t least;         // least number of relevant items; lists with fewer are skipped
    LongSize size;          // neither is 0
    const ListCount *count; // [lists]
    const uint32_t *tile_relevant;
    const double *list_weight; // [lists], or NULL: by box and totals
    Totals *totals;
    LongOutcome *outcome; // [lists], or NULL: totals suffice
    float *gradient;      // [lists, matrix.stride] or NULL
    double *loss;         // [lists], weighted
    float *list_loss;     // [lists] or NULL
    cudaStream_t side;    // for concurrent work
    cudaEvent_t cleared;
};
// Largest number of such lists in a group.
size_t long_group(size_t lists, uint32_t items);
size_t long_bytes(size_t lists, uint32_t items, LongSize size);
void prepare_long();
void launch_long(cudaStream_t stream, const LongJob &job, void *memory, int processors);
// Upper bound of the demand of lists with `relevant` relevant items together.
inline uint32_t chunks_most(size_t lists, unsigned long long relevant)
{
    return static_cast<uint32_t>(relevant / CHUNK + lists);
}

// Converts scores and targets to the form above. dtype: enum rk_dtype; by_column transposes [rows,
// columns] to [columns, rows].
void launch_convert_scores(cudaStream_t stream, const void *from, int dtype, size_t rows, size_t columns,
                           bool by_column, float *to);
void launch_convert_targets(cudaStream_t stream, const void *from, int dtype, size_t rows, size_t columns,
                            bool by_column, int8_t *to);
void launch_turn(cudaStream_t stream, const float *from, size_t rows, size_t columns, float *to);

// gradient = changes of rank of both terms (Box::by_rank), weighted and added in FP64 before the
// rounding. Clears *nonzero first.
struct JoinJob {
    const int32_t *lists, *flat; // [rows, columns]
    Box lists_box, flat_box;
    const ListCount *lists_count, *flat_count; // [lists], one
    const Totals *lists_totals, *flat_totals;
    bool by_column; // a list is a column
    size_t rows, columns;
    float *gradient; // [rows, columns]
    unsigned long long *nonzero;
};
void launch_join(cudaStream_t stream, const JoinJob &job);

// The indices of non-zero elements of a gradient, ascending. compress_bytes(): size of `memory`.
// First the count, to *total (on the device); then, after the caller has allocated, indices and
// values.
size_t compress_bytes(size_t elements);
void launch_compress_count(cudaStream_t stream, const float *gradient, size_t elements, void *memory,
                           unsigned long long *total);
void launch_compress(cudaStream_t stream, const float *gradient, size_t elements, const void *memory,
                     int64_t *index, float *value);

} // namespace rk
