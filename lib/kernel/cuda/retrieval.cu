// Retrieval on the card: similarities of a block of queries with everything by cuBLAS, a row a query, counted
// against the query's own thresholds and forgotten. What the second pass finds of a row is kept in the row's
// own memory, packed, by each warp in what it has read already; so a block of queries takes no more than its
// similarities.
//
// Sums are FP64, in an order that depends on nothing but the request: the same request gives the same bits.
#include <algorithm>
#include <vector>

#include "card.cuh"
#include "kernels.cuh"
#include "relevant.cuh"

namespace rk
{

namespace
{

constexpr int THREADS = 512, WARPS = THREADS / 32;
constexpr int SOME = SHORT_SOME + 1, MOST = SHORT_MOST + 1;
constexpr uint32_t GROUP = 128;                // items that a warp reads side by side
constexpr uint32_t KEPT = GROUP / 2;           // pairs that fit in their place
constexpr size_t ROWS_BYTES = size_t(6) << 30; // similarities at a time, at most

// An item that was passed, with its gradient.
struct Pair {
    uint32_t position;
    float value;
};

struct Query {
    double w, loss;
    uint32_t row, relevant, p, ignored, ignoreds; // first of its positions in the block's array; how many
    uint32_t failed, stalled;
    uint32_t kept[WARPS]; // pairs of each warp
};

// A run of rows on the card.
struct Run {
    const void *rows;
    uint32_t start, items;
    int dtype;
};

struct Block {
    float *similarity; // [queries, stride]
    uint32_t total, stride, own, dim, queries;
    Query *query;
    const uint32_t *position; // of all queries: relevant, ignored
    float *relevant_value;    // by the same places: gradient of the relevant items
    float *own_value;         // [queries, own]: gradient of the pairs within the request's own items
    const Run *run;
    uint32_t runs;
    double *sum; // [own, dim]
    Box box;
    bool check_nan, gradient;
};

// Place of pair `e` of a warp in its row: in the e / KEPT-th group of items that the warp read.
__device__ uint32_t place_of(uint32_t e, uint32_t warp)
{
    const uint32_t group = e / KEPT, round = group / QUADS, quad = group % QUADS;
    return (round * HELD + 4 * quad) * THREADS + warp * GROUP + 2 * (e % KEPT);
}

struct RowSink {
    float *row;
    const float *value;
    float *own_value;
    uint32_t own, items, warp, lane;
    uint32_t kept, rounds, changed;
    bool full;

    __device__ void put(uint32_t first, uint32_t step, const uint32_t (&passed)[HELD])
    {
        const uint32_t room = ++rounds * QUADS * KEPT;
        __syncwarp(); // all lanes have read what is overwritten now
#pragma unroll
        for (int k = 0; k < HELD; k++) {
            const uint32_t mask = __ballot_sync(EVERYONE, passed[k] != 0);
            if (!mask)
                continue;
            if (passed[k]) {
                const uint32_t i = first + 4 * (k / 4) * step + k % 4,
                               e = kept + __popc(mask & ((1u << lane) - 1));
                const uint32_t at = place_of(e, warp);
                const float out = value[passed[k]];
                if (e < room && at + 2 <= items)
                    *reinterpret_cast<Pair *>(row + at) = {i, out};
                else
                    full = true;
                if (i < own)
                    own_value[i] = out;
                changed++;
            }
            kept += __popc(mask);
        }
    }
};

// A block ranks a row: queries of more than ABOVE relevant items that have room.
template <int ROOM, int ABOVE>
__global__ void __launch_bounds__(THREADS, ROOM <= 1024 ? 2 : 1) rank_rows(const Block block)
{
    unsigned char *memory = block_memory();
    Relevant<ROOM> &sh = *reinterpret_cast<Relevant<ROOM> *>(memory);
    Query &query = block.query[blockIdx.x];
    const uint32_t p = query.p;
    if (p <= ABOVE || p >= ROOM)
        return;
    float *row = block.similarity + static_cast<size_t>(blockIdx.x) * block.stride;
    const uint32_t *relevant = block.position + query.relevant, *ignored = block.position + query.ignored;
    for (uint32_t i = threadIdx.x; i < p; i += THREADS)
        sh.position[i] = relevant[i];
    __syncthreads();
    const double w = query.w, lambda = lambda_of(block.box, w, block.total - query.ignoreds);
    int nan = begin_list(sh, p, block.box.half_margin, [&](uint32_t i) { return row[i]; });
    const float mark = __int_as_float(0x7fffffff);
    for (uint32_t i = threadIdx.x; i < p; i += THREADS)
        row[relevant[i]] = mark;
    for (uint32_t i = threadIdx.x; i < query.ignoreds; i += THREADS)
        row[ignored[i]] = mark;
    __syncthreads();
    const Items<float> items = {row, nullptr};
    const int marks = count_items<float, true, false>(items, 0, block.total, sh.t, p);
    end_count(sh.t, p);
    const uint32_t seen = sum_block(static_cast<uint32_t>(marks), sh.warp);
    nan = __syncthreads_or(nan);
    const double loss = finish_loss(sh, block.box, p, lambda);
    if (threadIdx.x == 0) {
        query.loss = loss;
        if (nan || (block.check_nan && seen != p + query.ignoreds))
            query.failed = 1;
    }
    if (!block.gradient)
        return;
    float *own_value = block.own_value + static_cast<size_t>(blockIdx.x) * block.own;
    RowSink sink = {row, sh.t.value, own_value, block.own, block.total, threadIdx.x / 32, threadIdx.x % 32,
                    0,   0,          0,         false};
    if (begin_move(sh, p, block.box, w, lambda)) {
        move_items<float, true, false>(items, 0, block.total, sh.t, p, sink);
        end_move(sh.t, p);
    }
    if (sink.lane == 0)
        query.kept[sink.warp] = sink.kept;
    if (sink.full)
        query.failed = 1;
    each_relevant(sh, p, [&](uint32_t i, int32_t delta) {
        const float value = gradient_of(block.box, w, lambda, delta);
        block.relevant_value[query.relevant + i] = value;
        if (sh.position[i] < block.own)
            own_value[sh.position[i]] = value;
    });
    const uint32_t changed = sum_block(sink.changed, sh.warp);
    if (threadIdx.x == 0)
        query.stalled = loss > 0 && changed == 0;
}

__device__ const void *find_row(const Block &block, uint32_t position, int &dtype)
{
    uint32_t low = 0, high = block.runs;
    while (high - low > 1) {
        const uint32_t middle = (low + high) / 2;
        if (block.run[middle].start <= position)
            low = middle;
        else
            high = middle;
    }
    const Run &run = block.run[low];
    dtype = run.dtype;
    const size_t size = dtype == RK_FP32 ? 4 : 2;
    return static_cast<const unsigned char *>(run.rows) +
           static_cast<size_t>(position - run.start) * block.dim * size;
}

__device__ float row_element(const void *row, int dtype, uint32_t d)
{
    return dtype == RK_FP32   ? static_cast<const float *>(row)[d]
           : dtype == RK_FP16 ? widen(static_cast<const Fp16 *>(row)[d])
                              : widen(static_cast<const Bf16 *>(row)[d]);
}

constexpr int ACROSS = 4; // dimensions of a lane at a time

// Σ value · row over pairs that pair(e) gives, by one warp.
template <class GetPair>
__device__ void add_rows(const Block &block, uint32_t count, uint32_t first, double (&sum)[ACROSS],
                         GetPair pair)
{
    const uint32_t lane = threadIdx.x % 32;
    for (uint32_t base = 0; base < count; base += 32) {
        Pair mine = {0, 0};
        const void *row = nullptr;
        int dtype = RK_FP32;
        if (base + lane < count) {
            mine = pair(base + lane);
            row = find_row(block, mine.position, dtype);
        }
        const uint32_t here = min(count - base, 32u);
        for (uint32_t e = 0; e < here; e++) {
            const auto at = reinterpret_cast<const void *>(
                __shfl_sync(EVERYONE, reinterpret_cast<unsigned long long>(row), e));
            const int type = __shfl_sync(EVERYONE, dtype, e);
            const double value = __shfl_sync(EVERYONE, mine.value, e);
#pragma unroll
            for (int a = 0; a < ACROSS; a++) {
                const uint32_t d = first + 32 * a + lane;
                if (d < block.dim)
                    sum[a] += value * static_cast<double>(row_element(at, type, d));
            }
        }
    }
}

// The query's end of its pairs: a block a query, a warp what a warp kept.
__global__ void __launch_bounds__(THREADS) add_queries(const Block block)
{
    __shared__ double partial[WARPS][32 * ACROSS];
    const Query &query = block.query[blockIdx.x];
    if (query.failed || query.p == 0)
        return;
    const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const float *row = block.similarity + static_cast<size_t>(blockIdx.x) * block.stride;
    for (uint32_t first = 0; first < block.dim; first += 32 * ACROSS) {
        double sum[ACROSS] = {};
        if (warp == 0)
            add_rows(block, query.p, first, sum, [&](uint32_t e) {
                return Pair{block.position[query.relevant + e], block.relevant_value[query.relevant + e]};
            });
        add_rows(block, query.kept[warp], first, sum,
                 [&](uint32_t e) { return *reinterpret_cast<const Pair *>(row + place_of(e, warp)); });
        __syncthreads();
        for (int a = 0; a < ACROSS; a++)
            partial[warp][32 * a + lane] = sum[a];
        __syncthreads();
        for (uint32_t d = threadIdx.x; d < 32 * ACROSS && first + d < block.dim; d += THREADS) {
            double all = 0;
            for (int w = 0; w < WARPS; w++)
                all += partial[w][d];
            block.sum[static_cast<size_t>(query.row) * block.dim + first + d] += all;
        }
    }
}

// The other end of pairs within the own items: a block an item, queries in order.
__global__ void add_own(const Block block, const float *own)
{
    const uint32_t item = blockIdx.x;
    for (uint32_t d = threadIdx.x; d < block.dim; d += blockDim.x) {
        double sum = 0;
        for (uint32_t q = 0; q < block.queries; q++) {
            const float value = block.own_value[static_cast<size_t>(q) * block.own + item];
            if (value != 0 && !block.query[q].failed)
                sum += static_cast<double>(value) *
                       static_cast<double>(own[static_cast<size_t>(block.query[q].row) * block.dim + d]);
        }
        block.sum[static_cast<size_t>(item) * block.dim + d] += sum;
    }
}

// A pair within the batch has one similarity, both ways: that of the row of the lesser.
__global__ void place_batch(const Block block, const float *batch_similarity, uint32_t batch)
{
    const uint32_t q = blockIdx.x, i = block.query[q].row;
    for (uint32_t j = threadIdx.x; j < batch; j += blockDim.x)
        block.similarity[static_cast<size_t>(q) * block.stride + j] =
            batch_similarity[static_cast<size_t>(min(i, j)) * batch + max(i, j)];
}

__global__ void gather_queries(const Block block, const float *own, float *queries)
{
    const size_t q = blockIdx.x, row = block.query[q].row;
    for (uint32_t d = threadIdx.x; d < block.dim; d += blockDim.x)
        queries[q * block.dim + d] = own[row * block.dim + d];
}

void check_blas(cublasStatus_t status)
{
    if (status == CUBLAS_STATUS_SUCCESS)
        return;
    const bool lost = status == CUBLAS_STATUS_EXECUTION_FAILED || status == CUBLAS_STATUS_INTERNAL_ERROR;
    throw Trouble{status == CUBLAS_STATUS_ALLOC_FAILED ? cudaErrorMemoryAllocation
                  : lost                               ? cudaErrorUnknown
                                                       : cudaErrorInvalidValue,
                  "cuBLAS"};
}

class Request
{
  public:
    Request(rk_card &card, Lane &lane, rk_card_retrieval &job) : card_(card), lane_(lane), job_(job)
    {
    }
    ~Request()
    {
        for (const uint64_t identity : held_)
            card_.rows.let_go(identity);
    }

    void run()
    {
        if (job_.total > LIST_MOST || job_.total < job_.own_items)
            throw Passed{};
        start_blas();
        own_ = copied(job_.own, job_.own_items * job_.dim);
        place_runs();
        if (job_.gradient)
            sum_ = zeroed<double>(job_.own_items * job_.dim);
        multiply_batch();
        const size_t each = plan();
        for (size_t first = 0; first < job_.queries; first += each)
            rank(first, std::min(each, job_.queries - first));
        finish();
    }

  private:
    template <class T> T *copied(const T *host, size_t count)
    {
        T *to = lane_.arena.take<T>(count);
        lane_.staging.to_card(lane_.stream, to, host, count * sizeof(T));
        return to;
    }
    template <class T> T *zeroed(size_t count)
    {
        T *to = lane_.arena.take<T>(count);
        check(cudaMemsetAsync(to, 0, count * sizeof(T), lane_.stream), "clearing");
        return to;
    }

    void start_blas()
    {
        if (!lane_.blas) {
            check_blas(cublasCreate(&lane_.blas));
            check_blas(cublasSetStream(lane_.blas, lane_.stream));
        }
    }

    // The own items are the first run.
    void place_runs()
    {
        std::vector<Run> runs = {{own_, 0, static_cast<uint32_t>(job_.own_items), RK_FP32}};
        size_t start = job_.own_items, widest = 0;
        for (size_t r = 0; r < job_.runs; r++) {
            const rk_card_run &run = job_.run[r];
            const size_t row = job_.dim * (run.dtype == RK_FP32 ? 4 : 2);
            const void *rows = card_.rows.hold(lane_, run, row);
            if (rows)
                held_.push_back(run.identity);
            else
                rows = copied(static_cast<const unsigned char *>(run.rows), run.items * row);
            runs.push_back({rows, static_cast<uint32_t>(start), static_cast<uint32_t>(run.items), run.dtype});
            start += run.items;
            if (run.dtype != RK_FP32)
                widest = std::max(widest, run.items);
        }
        runs_ = runs;
        run_on_card_ = copied(runs.data(), runs.size());
        wide_ = widest ? lane_.arena.take<float>(widest * job_.dim) : nullptr;
    }

    // C[m, n] = A[m, dim] · B[n, dim]ᵀ, rows of C `stride` apart.
    void product(const float *a, size_t m, const float *b, size_t n, float *c, size_t stride)
    {
        const float one = 1, zero = 0;
        const int dim = static_cast<int>(job_.dim);
        check_blas(cublasSgemm(lane_.blas, CUBLAS_OP_T, CUBLAS_OP_N, static_cast<int>(n), static_cast<int>(m),
                               dim, &one, b, dim, a, dim, &zero, c, static_cast<int>(stride)));
    }

    void multiply_batch()
    {
        batch_similarity_ = lane_.arena.take<float>(job_.batch * job_.batch);
        product(own_, job_.batch, own_, job_.batch, batch_similarity_, job_.batch);
    }

    // How many queries at a time.
    size_t plan()
    {
        stride_ = (job_.total + 3) / 4 * 4;
        const size_t room = std::min(ROWS_BYTES, card_.budget.limit() / 5), row = stride_ * sizeof(float);
        size_t each = std::max<size_t>(1, room / row);
        each = std::min(each, job_.queries);
        similarity_ = lane_.arena.take<float>(each * stride_);
        queries_ = lane_.arena.take<float>(each * job_.dim);
        own_value_ = job_.gradient ? lane_.arena.take<float>(each * job_.own_items) : nullptr;
        results_.resize(job_.queries);
        return each;
    }

    Block block_of(size_t first, size_t count)
    {
        std::vector<Query> queries(count);
        std::vector<uint32_t> positions;
        for (size_t q = 0; q < count; q++) {
            const rk_card_query &from = job_.query[first + q];
            Query &to = queries[q];
            to = {};
            to.w = from.w;
            to.row = job_.row[first + q];
            to.p = from.relevants <= SHORT_MOST ? from.relevants : 0;
            to.failed = to.p == 0;
            to.ignoreds = from.ignoreds;
            to.relevant = static_cast<uint32_t>(positions.size());
            positions.insert(positions.end(), from.relevant, from.relevant + from.relevants);
            to.ignored = static_cast<uint32_t>(positions.size());
            positions.insert(positions.end(), from.ignored, from.ignored + from.ignoreds);
        }
        Block block = {};
        block.similarity = similarity_;
        block.total = static_cast<uint32_t>(job_.total);
        block.stride = static_cast<uint32_t>(stride_);
        block.own = static_cast<uint32_t>(job_.own_items);
        block.dim = static_cast<uint32_t>(job_.dim);
        block.queries = static_cast<uint32_t>(count);
        block.query = copied(queries.data(), count);
        block.position = copied(positions.data(), positions.size());
        block.relevant_value = lane_.arena.take<float>(positions.size());
        block.own_value = own_value_;
        block.run = run_on_card_;
        block.runs = static_cast<uint32_t>(runs_.size());
        block.sum = sum_;
        block.box = {job_.recall,    job_.normalized, job_.batch_scope, job_.weight,
                     RK_AVERAGE_SUM, job_.margin / 2, job_.lambda,      1,
                     false};
        block.check_nan = job_.check_nan;
        block.gradient = job_.gradient;
        return block;
    }

    void fill(const Block &block)
    {
        launch_kernel(lane_.stream, "gathering queries", gather_queries, block.queries, 128, 0, block, own_,
                      queries_);
        launch_kernel(lane_.stream, "placing the batch", place_batch, block.queries, 256, 0, block,
                      batch_similarity_, static_cast<uint32_t>(job_.batch));
        const size_t refs = job_.own_items - job_.batch;
        if (refs)
            product(queries_, block.queries, own_ + job_.batch * job_.dim, refs, similarity_ + job_.batch,
                    stride_);
        for (size_t r = 1; r < runs_.size(); r++) {
            const Run &run = runs_[r];
            const float *rows = static_cast<const float *>(run.rows);
            if (run.dtype != RK_FP32) {
                launch_convert_scores(lane_.stream, run.rows, run.dtype, run.items, job_.dim, false, wide_);
                rows = wide_;
            }
            product(queries_, block.queries, rows, run.items, similarity_ + run.start, stride_);
        }
    }

    void rank(size_t first, size_t count)
    {
        const Block block = block_of(first, count);
        fill(block);
        if (job_.gradient)
            check(cudaMemsetAsync(own_value_, 0, count * job_.own_items * sizeof(float), lane_.stream),
                  "clearing");
        const unsigned queries = block.queries;
        launch_kernel(lane_.stream, "ranking rows", rank_rows<SOME, 0>, queries, THREADS,
                      sizeof(Relevant<SOME>), block);
        launch_kernel(lane_.stream, "ranking rows with many relevant items", rank_rows<MOST, SHORT_SOME>,
                      queries, THREADS, sizeof(Relevant<MOST>), block);
        if (job_.gradient) {
            launch_kernel(lane_.stream, "adding a gradient", add_queries, queries, THREADS, 0, block);
            launch_kernel(lane_.stream, "adding a gradient", add_own, block.own, 128, 0, block, own_);
        }
        std::vector<Query> queries_done(count);
        lane_.staging.to_host(lane_.stream, queries_done.data(), block.query, count * sizeof(Query));
        std::copy(queries_done.begin(), queries_done.end(), results_.begin() + static_cast<ptrdiff_t>(first));
    }

    // Nothing is told before everything is here: what fails on the way is computed elsewhere as a whole.
    void finish()
    {
        std::vector<double> sum(job_.gradient ? job_.own_items * job_.dim : 0);
        if (job_.gradient)
            lane_.staging.to_host(lane_.stream, sum.data(), sum_, sum.size() * sizeof(double));
        for (size_t i = 0; i < sum.size(); i++)
            job_.sum[i] += sum[i];
        for (size_t q = 0; q < job_.queries; q++) {
            job_.query[q].done = !results_[q].failed;
            job_.query[q].loss = results_[q].loss;
            job_.query[q].stalled = results_[q].stalled;
        }
    }

    rk_card &card_;
    Lane &lane_;
    rk_card_retrieval &job_;
    float *own_ = nullptr, *batch_similarity_ = nullptr, *similarity_ = nullptr, *queries_ = nullptr,
          *own_value_ = nullptr;
    float *wide_ = nullptr;
    double *sum_ = nullptr;
    size_t stride_ = 0;
    std::vector<Run> runs_;
    Run *run_on_card_ = nullptr;
    std::vector<uint64_t> held_;
    std::vector<Query> results_;
};

} // namespace

void prepare_retrieval()
{
    check(cudaFuncSetAttribute(rank_rows<SOME, 0>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               sizeof(Relevant<SOME>)),
          "shared memory for rows");
    check(cudaFuncSetAttribute(rank_rows<MOST, SHORT_SOME>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               sizeof(Relevant<MOST>)),
          "shared memory for rows");
}

void run_retrieval(rk_card &card, rk_card_retrieval &job)
{
    Borrowed lane(card);
    Request(card, *lane, job).run();
}

} // namespace rk
