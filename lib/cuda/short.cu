/* SPDX-License-Identifier: Apache-2.0 */
// Lists with few enough relevant items that one block keeps all that concerns them in shared
// memory: it finds them, sorts them, streams the items twice and writes the gradient. Many lists,
// many blocks; no list waits for another.
#include "cuda/kernels.cuh"
#include "cuda/relevant.cuh"

namespace rk
{

namespace
{

// Looks for the relevant items; where they do not all stand in job.positions.
template <int ROOM> __device__ uint32_t find_relevant(const Matrix &m, size_t list, Relevant<ROOM> &sh)
{
    constexpr uint32_t room = ROOM - 1;
    const int8_t *targets = m.targets + list * m.stride;
    const bool words = m.stride % 4 == 0 && reinterpret_cast<uintptr_t>(m.targets) % 4 == 0;
    if (threadIdx.x == 0)
        sh.found = 0;
    __syncthreads();
    for (uint32_t i = 4 * threadIdx.x; i < m.items; i += 4 * blockDim.x) {
        uint32_t word = 0;
        if (words && i + 4 <= m.items)
            word = *reinterpret_cast<const uint32_t *>(targets + i);
        else
            for (uint32_t k = i; k < m.items && k < i + 4; k++)
                word |= static_cast<uint32_t>(static_cast<uint8_t>(targets[k])) << 8 * (k - i);
        for (uint32_t ones = __vcmpeq4(word, 0x01010101u) & 0x01010101u; ones; ones &= ones - 1) {
            const uint32_t at = atomicAdd(&sh.found, 1);
            if (at < room)
                sh.position[at] = i + (__ffs(static_cast<int>(ones)) - 1) / 8;
        }
    }
    __syncthreads();
    return min(sh.found, room);
}

// The positions of the relevant items, ascending. Returns how many, less than ROOM: other than were
// counted only if the targets changed since.
template <int ROOM>
__device__ uint32_t place_relevant(const ShortJob &job, size_t list, uint32_t counted, Relevant<ROOM> &sh)
{
    uint32_t p = counted;
    if (counted <= job.room)
        for (uint32_t i = threadIdx.x; i < counted; i += blockDim.x)
            sh.position[i] = job.positions[list * job.room + i];
    else
        p = find_relevant(job.matrix, list, sh);
    const uint32_t padded = power_of_two(p);
    for (uint32_t i = p + threadIdx.x; i < padded; i += blockDim.x)
        sh.position[i] = ~0u;
    sort_block(sh.position, padded);
    return p;
}

template <bool ALIGNED> __device__ void write_zeros(float *gradient, uint32_t items)
{
    if (ALIGNED)
        for (uint32_t i = 4 * threadIdx.x; i < items; i += 4 * blockDim.x)
            *reinterpret_cast<float4 *>(gradient + i) = make_float4(0, 0, 0, 0);
    else
        for (uint32_t i = threadIdx.x; i < items; i += blockDim.x)
            gradient[i] = 0;
}

template <class S, bool ALIGNED>
__device__ void skip_list(const ShortJob &job, const Items<S> &items, size_t list)
{
    int nan = 0;
    for (uint32_t i = 0; i < job.matrix.items; i += HELD * blockDim.x) {
        float s[HELD];
        nan += load_items<S, ALIGNED, true>(items, i + 4 * threadIdx.x, blockDim.x, job.matrix.items, s);
    }
    if (nan)
        job.totals->nan = 1;
    if (job.gradient)
        write_zeros<ALIGNED>(job.gradient + list * job.matrix.items, job.matrix.items);
    if (threadIdx.x == 0 && job.list_loss)
        job.list_loss[list] = __int_as_float(0x7fc00000);
    if (threadIdx.x == 0)
        job.loss[list] = 0;
}

template <class S, bool ALIGNED, int ROOM>
__device__ void write_gradient(const ShortJob &job, const Items<S> &items, size_t list, Relevant<ROOM> &sh,
                               uint32_t p, double w, double lambda, double loss)
{
    const uint32_t n = job.matrix.items;
    float *gradient = job.gradient + list * n;
    uint32_t passed = 0, changed = 0;
    if (begin_move(sh, p, job.box, w, lambda)) {
        DenseWriter<ALIGNED> writer = {gradient, sh.t.value, n, 0};
        move_items<S, ALIGNED, true>(items, 0, n, sh.t, p, writer);
        end_move(sh.t, p);
        passed = writer.changed;
    } else {
        write_zeros<ALIGNED>(gradient, n);
    }
    __syncthreads(); // what the writer left at the relevant items' places is overwritten
    each_relevant(sh, p, [&](uint32_t i, int32_t delta) {
        gradient[sh.position[i]] = gradient_of(job.box, w, lambda, delta);
        changed += delta != 0;
    });
    passed = sum_block(passed, sh.warp);
    changed = sum_block(changed, sh.warp);
    const unsigned long long jumped = count_jumped(sh, p);
    if (threadIdx.x == 0) {
        atomicAdd(&job.totals->jumped, jumped);
        atomicAdd(&job.totals->nonzero, static_cast<unsigned long long>(passed) + changed);
        const bool stalled = loss > 0 && passed == 0;
        if (stalled)
            atomicAdd(&job.totals->stalled, 1);
        if (stalled && job.list_loss && job.box.params.mark_stalled)
            job.list_loss[list] = -job.list_loss[list];
    }
}

template <class S, bool ALIGNED, int ROOM>
__device__ void rank_list(const ShortJob &job, Relevant<ROOM> &sh, size_t list, const ListCount &count)
{
    const Matrix &m = job.matrix;
    const Items<S> items = {static_cast<const S *>(m.scores) + list * m.stride, m.targets + list * m.stride};
    const uint32_t p = count.p ? place_relevant(job, list, count.p, sh) : 0;
    if (p == 0)
        return skip_list<S, ALIGNED>(job, items, list);
    const double w = list_weight_of(job.box, *job.totals, count.p);
    const double lambda = lambda_of(job.box, w, m.items - count.ignored);
    int nan = begin_list(sh, p, job.box.half_margin, [&](uint32_t i) { return widen(items.scores[i]); });
    nan += count_items<S, ALIGNED, true>(items, 0, m.items, sh.t, p);
    end_count(sh.t, p);
    if (nan)
        job.totals->nan = 1;
    const double loss = finish_loss(sh, job.box, p, lambda);
    if (threadIdx.x == 0) {
        job.loss[list] = w * loss;
        if (job.list_loss)
            job.list_loss[list] = static_cast<float>(loss);
    }
    if (job.gradient)
        write_gradient<S, ALIGNED>(job, items, list, sh, p, w, lambda, loss);
}

// Lists of more than ABOVE relevant items that have room; ABOVE < 0: those without any, too.
template <class S, bool ALIGNED, int ROOM, int THREADS, int ABOVE>
__global__ void __launch_bounds__(THREADS, ROOM <= 1024 ? 2 : 1) short_lists(const ShortJob job)
{
    unsigned char *memory = block_memory();
    const ListCount count = job.count[blockIdx.x];
    if (count.p<ROOM &&static_cast<int>(count.p)> ABOVE)
        rank_list<S, ALIGNED>(job, *reinterpret_cast<Relevant<ROOM> *>(memory), blockIdx.x, count);
    if (job.report && is_last(&job.totals->ranked))
        report_loss(job.loss, job.matrix.lists, job.totals, job.report);
}

constexpr int SOME = SHORT_SOME + 1, MOST = SHORT_MOST + 1, THREADS_SOME = 512, THREADS_MOST = 1024;

template <class S, bool ALIGNED> void launch(cudaStream_t stream, const ShortJob &job, bool rest)
{
    const unsigned lists = static_cast<unsigned>(job.matrix.lists);
    const int threads = job.matrix.items <= 4096 ? 128 : THREADS_SOME;
    if (rest)
        launch_kernel(stream, "ranking lists", short_lists<S, ALIGNED, MOST, THREADS_MOST, SHORT_SOME>, lists,
                      THREADS_MOST, sizeof(Relevant<MOST>), job);
    else
        launch_kernel(stream, "ranking lists", short_lists<S, ALIGNED, SOME, THREADS_SOME, -1>, lists,
                      threads, sizeof(Relevant<SOME>), job);
}

template <class S> void launch_type(cudaStream_t stream, const ShortJob &job, bool rest)
{
    const Matrix &m = job.matrix;
    const bool aligned = m.stride % 4 == 0 && m.items % 4 == 0 &&
                         reinterpret_cast<uintptr_t>(m.scores) % 16 == 0 &&
                         reinterpret_cast<uintptr_t>(m.targets) % 4 == 0 &&
                         reinterpret_cast<uintptr_t>(job.gradient) % 16 == 0;
    (aligned ? launch<S, true> : launch<S, false>)(stream, job, rest);
}

void launch_some(cudaStream_t stream, const ShortJob &job, bool rest)
{
    with_type(job.matrix.type, [&](auto score) { launch_type<decltype(score)>(stream, job, rest); });
}

template <class S, bool ALIGNED> void allow()
{
    check(cudaFuncSetAttribute(short_lists<S, ALIGNED, SOME, THREADS_SOME, -1>,
                               cudaFuncAttributeMaxDynamicSharedMemorySize, sizeof(Relevant<SOME>)),
          "shared memory for short lists");
    check(cudaFuncSetAttribute(short_lists<S, ALIGNED, MOST, THREADS_MOST, SHORT_SOME>,
                               cudaFuncAttributeMaxDynamicSharedMemorySize, sizeof(Relevant<MOST>)),
          "shared memory for lists with many relevant items");
}

} // namespace

void prepare_short()
{
    allow<float, true>(), allow<float, false>();
    allow<Fp16, true>(), allow<Fp16, false>();
    allow<Bf16, true>(), allow<Bf16, false>();
}

void launch_short(cudaStream_t stream, const ShortJob &job)
{
    launch_some(stream, job, false);
}

void launch_short_rest(cudaStream_t stream, const ShortJob &job)
{
    launch_some(stream, job, true);
}

} // namespace rk
