// What the graphs compute on a processor with kernels of our own, as custom operations of ggml. The parts of an operation are handed out
// one by one, so that a thread whose core is taken by somebody else does not hold up the others.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "ggml.h"
#include "runtime/paged/paged_kernel.h"
#include "speech/packed_matrix.h"

namespace tfserve::speech {

/// A run of rows that belong to one sequence. Row i of the run sees the cells before `first_end + i * end_step`; end_step >= 0.
struct AttentionRun {
    std::int32_t first_row = 0;
    std::int32_t rows = 0;
    const std::byte* cells = nullptr;  ///< null: in the operation's second source
    std::int32_t first_end = 0;
    std::int32_t end_step = 0;
};

/// What a linear layer does beside its product.
struct LinearOptions {
    bool gelu = false;
    ggml_tensor* residual = nullptr;  ///< added after gelu; as many values as the result
    const float* constant = nullptr;  ///< the same, from elsewhere; of the two at most one
    std::int64_t stride = 0;          ///< row r of the input begins at its value r * stride; 0: at row r
    std::int64_t padding = 0;         ///< rows of zeros before and behind the result
};

/// Rows of a tensor and where they go in a sequence's memory.
struct StoreRun {
    std::int32_t first_row = 0;
    std::int32_t rows = 0;
    std::byte* to = nullptr;
};

/// A head whose attention is looked at: the first cell of its layer, and the head's number.
struct WatchedHead {
    const std::byte* cells = nullptr;
    std::int32_t head = 0;
};

/// How the cells of an attention lie in memory: all heads' keys, then all heads' values.
struct CellLayout {
    int type = TF_KERNEL_F32;    ///< TF_KERNEL_F32 or TF_KERNEL_F16
    std::size_t cell_bytes = 0;  ///< from one cell to the next

    std::size_t element() const { return type == TF_KERNEL_F32 ? 4 : 2; }
};

/// Operations live as long as the graph that uses them. Not for several graphs at once.
class CpuOps {
   public:
    /// `threads`: the most that will compute a graph.
    explicit CpuOps(int threads);
    ~CpuOps();

    /// Forgets all operations.
    void clear();
    /// To be called before each computation.
    void start();

    /// `rows` rows: W x + bias, then gelu, then + residual.
    ggml_tensor* linear(ggml_context* ctx, const PackedMatrix& matrix, ggml_tensor* x, std::int64_t rows,
                        const LinearOptions& options = {});
    /// (x - mean) / sqrt(variance + 1e-5) * weight + bias of each row.
    ggml_tensor* norm(ggml_context* ctx, const std::vector<float>& weight, const std::vector<float>& bias, ggml_tensor* x);
    /// Softmax attention with scale 1 / sqrt(head_dim). `q`: rows of at least heads * head_dim values; `kv`: null, or the tensor in whose
    /// rows cells begin at value `kv_offset`. The result has rows of heads * head_dim values.
    ggml_tensor* attention(ggml_context* ctx, ggml_tensor* q, int heads, int head_dim, const CellLayout& layout,
                           std::vector<AttentionRun> runs, ggml_tensor* kv = nullptr, std::int64_t kv_offset = 0);
    /// Writes values [first, first + count) of rows of `x` to cells. The result has no meaning.
    ggml_tensor* store(ggml_context* ctx, ggml_tensor* x, std::int64_t first, std::int64_t count, const CellLayout& layout,
                       std::vector<StoreRun> runs);
    /// The named rows of `x`, in their order.
    ggml_tensor* rows(ggml_context* ctx, ggml_tensor* x, std::vector<std::int32_t> names);
    /// Attention probabilities: [heads][rows of q][cells].
    ggml_tensor* attention_weights(ggml_context* ctx, ggml_tensor* q, int head_dim, std::int64_t cells, const CellLayout& layout,
                                   std::vector<WatchedHead> heads);

   private:
    struct Linear;
    struct Norm;
    struct Attention;
    struct Store;
    struct Rows;
    struct Weights;

    const int threads_;
    std::vector<std::vector<std::byte>> scratch_;  ///< a piece a thread
    std::deque<Linear> linears_;
    std::deque<Norm> norms_;
    std::deque<Attention> attentions_;
    std::deque<Store> stores_;
    std::deque<Rows> rows_;
    std::deque<Weights> weights_;
};

}  // namespace tfserve::speech
