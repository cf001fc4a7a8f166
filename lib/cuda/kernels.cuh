// The kernels, as the host launches them. All on one stream, none waits.
#pragma once

#include "cuda/job.cuh"

namespace rk
{

constexpr size_t LIST_MOST = 0x7fffffff; // items of a list: RK_LIST_MAX
constexpr uint32_t COUNT_TILE = 16384;   // items of a list that a block looks at at a time
constexpr uint32_t CHUNK = 256;          // relevant items of a list that a block works on

// Scores and targets as the kernels read them: row-major, one list a row, FP32, FP16 or BF16, targets of one
// byte.
enum class Score { FP32, FP16, BF16 };

// What action(S()) gives for the type S that scores have on the device.
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
    const int8_t *targets; // NULL: NaN marks what is not irrelevant
    Score type;
    size_t lists;
    uint32_t items, stride; // of a row
};

// Of matrix.targets. count[lists] and *totals are cleared by the caller. tile_relevant [lists · tiles of a
// list]. positions [lists, room] or NULL: those of each list's relevant items, in any order, as many as there
// is room for.
void launch_count(cudaStream_t stream, const Matrix &matrix, bool is_signed, ListCount *count,
                  uint32_t *tile_relevant, uint32_t *positions, uint32_t room, Totals *totals);

// totals->loss = Σ loss[lists], and *report, in the host's memory, what *totals is then.
void launch_losses(cudaStream_t stream, const double *loss, size_t lists, Totals *totals, Totals *report);

// Lists of at most SHORT_MOST relevant items, a block each; others are left alone. launch_short() takes those
// of up to SHORT_SOME, and where `report` is set what launch_losses() does, too; launch_short_rest() the
// others.
constexpr uint32_t SHORT_SOME = 1023, SHORT_MOST = 4095;
struct ShortJob {
    Matrix matrix;
    Box box;
    const ListCount *count;    // [lists]
    const uint32_t *positions; // [lists, room], as launch_count() leaves them
    uint32_t room;             // at least the lesser of SHORT_SOME and a list's items
    Totals *totals;
    float *gradient;  // [lists, items]; NULL: only losses
    double *loss;     // [lists], weighted; those of lists that are left alone are not written
    float *list_loss; // [lists] or NULL
    Totals *report;   // in the host's memory, or NULL
};
void prepare_short(); // once a device
void launch_short(cudaStream_t stream, const ShortJob &job);
void launch_short_rest(cudaStream_t stream, const ShortJob &job);

// Room for relevant items: of a list, and of lists that are worked on together, in chunks. What is asked for
// by lists that find none stands in totals->most and totals->chunks.
struct LongSize {
    uint32_t most, chunks;
};

// Of one list; right only where the job has a gradient, but for nan.
struct LongOutcome {
    uint32_t nan, stalled;
};

// Lists of any number of relevant items, all of the device on all of them together. `memory` of long_bytes().
struct LongJob {
    Matrix matrix;
    Box box;
    uint32_t least;         // relevant items of the lists that are meant; others are left alone
    LongSize size;          // neither is 0
    const ListCount *count; // [lists]
    const uint32_t *tile_relevant;
    const double *list_weight; // [lists], or NULL: by box and totals
    Totals *totals;
    LongOutcome *outcome; // [lists], or NULL: totals say enough
    float *gradient;      // [lists, matrix.stride] or NULL
    double *loss;         // [lists], weighted
    float *list_loss;     // [lists] or NULL
    cudaStream_t side;    // for what may go beside
    cudaEvent_t cleared;
};
// How many such lists are worked on together, at most.
size_t long_group(size_t lists, uint32_t items);
size_t long_bytes(size_t lists, uint32_t items, LongSize size);
void prepare_long();
void launch_long(cudaStream_t stream, const LongJob &job, void *memory, int processors);
// What lists of `relevant` items together ask for at most.
inline uint32_t chunks_most(size_t lists, unsigned long long relevant)
{
    return static_cast<uint32_t>(relevant / CHUNK + lists);
}

// Brings scores and targets into the form above. dtype as enum rk_dtype; by_column turns [rows, columns] into
// [columns, rows].
void launch_convert_scores(cudaStream_t stream, const void *from, int dtype, size_t rows, size_t columns,
                           bool by_column, float *to);
void launch_convert_targets(cudaStream_t stream, const void *from, int dtype, size_t rows, size_t columns,
                            bool by_column, int8_t *to);
void launch_turn(cudaStream_t stream, const float *from, size_t rows, size_t columns, float *to);

// gradient = both parts' changes of rank (Box::by_rank), weighed and added in FP64 before the rounding.
// Clears *nonzero first.
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

// The places of a gradient that are not 0, ascending. compress_bytes(): of `memory`. First the count, to
// *total (on the device), then, when the caller has made room for it, the places and values.
size_t compress_bytes(size_t elements);
void launch_compress_count(cudaStream_t stream, const float *gradient, size_t elements, void *memory,
                           unsigned long long *total);
void launch_compress(cudaStream_t stream, const float *gradient, size_t elements, const void *memory,
                     int64_t *index, float *value);

} // namespace rk
