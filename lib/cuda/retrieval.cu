/* SPDX-License-Identifier: Apache-2.0 */
// A retrieval request: what of the bank is not on the device yet goes there, queries are ranked a
// block at a time, sums come back.
#include <algorithm>
#include <vector>

#include "cuda/device.cuh"
#include "cuda/knows.cuh"
#include "cuda/retrieval.cuh"

namespace rk
{

namespace
{

// Similarities at a time, at most; where tests watch, few enough for several blocks of queries.
constexpr size_t ROWS_BYTES = WATCHED ? size_t(1) << 19 : size_t(6) << 30;

// A pair within the batch has one similarity, both ways: that of the row of the lesser.
__global__ void place_batch(const Block block, const float *batch_similarity, uint32_t n_queries)
{
    const uint32_t q = blockIdx.x, i = block.query[q].row;
    for (uint32_t j = threadIdx.x; j < n_queries; j += blockDim.x)
        block.similarity[static_cast<size_t>(q) * block.stride + j] =
            batch_similarity[static_cast<size_t>(min(i, j)) * n_queries + max(i, j)];
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

class RetrievalRequest
{
  public:
    RetrievalRequest(rk_plugin_device &device, Lane &lane, rk_device_retrieval_job &job)
        : device_(device), lane_(lane), job_(job)
    {
    }
    ~RetrievalRequest()
    {
        for (const uint64_t identity : held_)
            device_.rows.let_go(identity);
    }

    void run()
    {
        if (job_.total > LIST_MOST || job_.total < job_.own_items)
            throw Declined{};
        start_blas();
        own_ = copied(job_.own, job_.own_items * job_.dim);
        place_runs();
        if (job_.gradient)
            sum_ = zeroed<double>(job_.own_items * job_.dim);
        multiply_batch();
        const size_t each = plan();
        const std::vector<uint32_t> narrow = queries([&](uint32_t q) { return !is_wide(q); });
        rank_all(narrow, each);
        read_results();
        rank_wide(
            queries([&](uint32_t q) { return is_wide(q) || (results_[q].full && !results_[q].failed); }),
            each);
        read_results();
        finish();
    }

  private:
    template <class Is> std::vector<uint32_t> queries(Is is) const
    {
        std::vector<uint32_t> some;
        for (uint32_t q = 0; q < job_.queries; q++)
            if (is(q))
                some.push_back(q);
        return some;
    }
    bool is_wide(uint32_t q) const
    {
        return job_.query[q].relevants > SHORT_MOST;
    }

    template <class T> T *copied(const T *host, size_t count)
    {
        T *to = lane_.arena.take<T>(count);
        lane_.staging.to_device(lane_.stream, to, host, count * sizeof(T));
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
        for (size_t r = 0; r < job_.row_blocks; r++) {
            const rk_device_row_block &run = job_.row_block[r];
            const size_t row = job_.dim * (run.dtype == RK_FP32 ? 4 : 2);
            const void *rows = device_.rows.hold(lane_, run, row);
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
        run_on_device_ = copied(runs.data(), runs.size());
        as_fp32_ = widest ? lane_.arena.take<float>(widest * job_.dim) : nullptr;
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
        batch_similarity_ = lane_.arena.take<float>(job_.n_queries * job_.n_queries);
        product(own_, job_.n_queries, own_, job_.n_queries, batch_similarity_, job_.n_queries);
    }

    // How many queries at a time.
    size_t plan()
    {
        stride_ = (job_.total + 15) / 16 * 16;
        const size_t room = std::min(ROWS_BYTES, device_.budget.limit() / 5), row = stride_ * sizeof(float);
        size_t each = std::max<size_t>(1, room / row);
        each = std::min(each, job_.queries);
        similarity_ = lane_.arena.take<float>(each * stride_);
        queries_ = lane_.arena.take<float>(each * job_.dim);
        own_value_ = job_.gradient ? lane_.arena.take<float>(each * job_.own_items) : nullptr;
        results_.resize(job_.queries);
        return each;
    }

    Block block_of(const uint32_t *which, size_t count)
    {
        std::vector<Query> queries(count);
        std::vector<uint32_t> positions;
        for (size_t q = 0; q < count; q++) {
            const rk_device_query &from = job_.query[which[q]];
            Query &to = queries[q];
            to.w = from.w;
            to.row = job_.row[which[q]];
            to.p = from.relevants;
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
        block.run = run_on_device_;
        block.runs = static_cast<uint32_t>(runs_.size());
        block.sum = sum_;
        block.box = box_of(job_.box, 1, RK_AVERAGE_SUM, false);
        block.check_nan = job_.check_nan;
        block.gradient = job_.gradient;
        return block;
    }

    void fill(const Block &block)
    {
        launch_kernel(lane_.stream, "gathering queries", gather_queries, block.queries, 128, 0, block, own_,
                      queries_);
        launch_kernel(lane_.stream, "placing the batch", place_batch, block.queries, 256, 0, block,
                      batch_similarity_, static_cast<uint32_t>(job_.n_queries));
        const size_t refs = job_.own_items - job_.n_queries;
        if (refs)
            product(queries_, block.queries, own_ + job_.n_queries * job_.dim, refs,
                    similarity_ + job_.n_queries, stride_);
        for (size_t r = 1; r < runs_.size(); r++) {
            const Run &run = runs_[r];
            const float *rows = static_cast<const float *>(run.rows);
            if (run.dtype != RK_FP32) {
                launch_convert_scores(lane_.stream, run.rows, run.dtype, run.items, job_.dim, false,
                                      as_fp32_);
                rows = as_fp32_;
            }
            product(queries_, block.queries, rows, run.items, similarity_ + run.start, stride_);
        }
    }

    // A block of queries with everything that ranking it wants; its results are read later.
    Block prepared(const uint32_t *which, size_t count)
    {
        const Block block = block_of(which, count);
        pending_.push_back({block.query, std::vector<uint32_t>(which, which + count)});
        fill(block);
        if (job_.gradient)
            check(cudaMemsetAsync(own_value_, 0, count * job_.own_items * sizeof(float), lane_.stream),
                  "clearing");
        return block;
    }

    void rank_all(const std::vector<uint32_t> &which, size_t each)
    {
        for (size_t first = 0; first < which.size(); first += each) {
            const Block block = prepared(which.data() + first, std::min(each, which.size() - first));
            launch_rows(lane_.stream, block);
            if (!job_.gradient)
                continue;
            launch_query_sums(lane_.stream, block);
            launch_own_sums(lane_.stream, block, own_);
        }
    }

    // Similarities for as many as there is room for, which are ranked in groups that long.cu does
    // in one go.
    void rank_wide(const std::vector<uint32_t> &which, size_t most)
    {
        if (which.empty())
            return;
        const size_t group = std::min(most, long_group(which.size(), static_cast<uint32_t>(job_.total))),
                     each = most / group * group;
        const WideSize size = size_of_wide(which, group);
        void *memory = lane_.arena.bytes(wide_bytes(size));
        for (size_t first = 0; first < which.size(); first += each) {
            const Block block = prepared(which.data() + first, std::min(each, which.size() - first));
            for (size_t q = 0; q < block.queries; q += group)
                launch_wide(lane_.stream, part_of(block, q, std::min(group, block.queries - q)), size, memory,
                            lane_.side, lane_.cleared, device_.processors);
            if (job_.gradient)
                launch_own_sums(lane_.stream, block, own_);
        }
    }

    static Block part_of(const Block &block, size_t first, size_t queries)
    {
        Block part = block;
        part.queries = static_cast<uint32_t>(queries);
        part.query += first;
        part.similarity += first * block.stride;
        part.own_value = block.own_value ? block.own_value + first * block.own : nullptr;
        return part;
    }

    WideSize size_of_wide(const std::vector<uint32_t> &which, size_t group) const
    {
        WideSize size = {static_cast<uint32_t>(group),
                         static_cast<uint32_t>(job_.total),
                         static_cast<uint32_t>(stride_),
                         static_cast<uint32_t>(job_.dim),
                         {0, 0}};
        for (size_t first = 0; first < which.size(); first += group) {
            uint32_t chunks = 0;
            for (size_t q = first; q < std::min(first + group, which.size()); q++) {
                const uint32_t p = static_cast<uint32_t>(job_.query[which[q]].relevants);
                size.relevant.most = std::max(size.relevant.most, p);
                chunks += chunks_most(1, p);
            }
            size.relevant.chunks = std::max(size.relevant.chunks, chunks);
        }
        return size;
    }

    void read_results()
    {
        for (const Pending &block : pending_) {
            std::vector<Query> here(block.which.size());
            lane_.staging.to_host(lane_.stream, here.data(), block.on_device, here.size() * sizeof(Query));
            for (size_t q = 0; q < here.size(); q++)
                results_[block.which[q]] = here[q];
        }
        pending_.clear();
    }

    // Nothing is told before everything is here: what fails on the way is computed elsewhere as a
    // whole.
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
            job_.query[q].jumped = results_[q].jumped;
        }
    }

    rk_plugin_device &device_;
    Lane &lane_;
    rk_device_retrieval_job &job_;
    float *own_ = nullptr, *batch_similarity_ = nullptr, *similarity_ = nullptr, *queries_ = nullptr,
          *own_value_ = nullptr;
    float *as_fp32_ = nullptr; // of the longest run that is not
    double *sum_ = nullptr;
    size_t stride_ = 0;
    std::vector<Run> runs_;
    Run *run_on_device_ = nullptr;
    std::vector<uint64_t> held_;
    struct Pending { // a block whose results were not read yet
        const Query *on_device;
        std::vector<uint32_t> which;
    };
    std::vector<Pending> pending_;
    std::vector<Query> results_;
};

} // namespace

void run_retrieval(rk_plugin_device &device, rk_device_retrieval_job &job)
{
    Borrowed lane(device);
    RetrievalRequest(device, *lane, job).run();
}

} // namespace rk
