// How a runner talks to the paged cache inside a llama_context. The cache owns no pages: it executes the block tables that
// it is given for one step.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "llama.h"

namespace tfserve::paged {

/// The pool's shape, chosen by whoever creates the context.
struct CacheParams {
    std::int32_t block_size = 16;          ///< cells a page, a power of two
    std::int32_t num_blocks = 0;           ///< pages of the pool
    std::int32_t max_batch_tokens = 2048;  ///< of a step; sizes the graph's buffers
    std::int32_t n_threads = 1;            ///< that will compute a step; work is divided for them
};

/// While one lives on this thread, llama_init_from_model makes a paged cache where the model allows it.
class CreationScope {
   public:
    explicit CreationScope(const CacheParams& params);
    ~CreationScope();
    CreationScope(const CreationScope&) = delete;
    CreationScope& operator=(const CreationScope&) = delete;
};

/// Tokens [position, position + n_tokens) of the sequence in llama's sequence id `slot`.
struct StepSequence {
    std::int32_t slot = 0;
    std::int32_t position = 0;
    std::int32_t n_tokens = 0;
    std::span<const std::int32_t> table;  ///< covers position + n_tokens cells; alive until end_step
};

/// Cells [0, n_cells) of page `src` to page `dst`, in every layer.
struct PageCopy {
    std::int32_t src = 0;
    std::int32_t dst = 0;
    std::int32_t n_cells = 0;
};

/// A context's paged cache.
class StepExecutor {
   public:
    virtual ~StepExecutor() = default;
    /// Runs the copies in order and takes the tables for the next llama_decode. Throws std::invalid_argument when a table,
    /// a slot or a page is outside of its range; nothing has been changed then.
    virtual void begin_step(std::span<const StepSequence> sequences, std::span<const PageCopy> copies) = 0;
    /// Forgets the tables. Also after a failed llama_decode.
    virtual void end_step() = 0;
};

/// The context's paged cache, or null when it has another kind of memory. Lives as long as the context.
StepExecutor* step_executor(const llama_context* ctx);

/// Bytes that one cell takes over all layers, keys and values.
std::size_t kv_bytes_per_cell(const llama_model& model, ggml_type type_k, ggml_type type_v);

/// Name of the attention kernel that this processor runs.
const char* kernel_name();

}  // namespace tfserve::paged
