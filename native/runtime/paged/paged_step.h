// How a runner talks to the paged caches inside a llama_context. The caches own no pages: they execute the block tables that
// they are given for one step.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "llama.h"

namespace tfserve::paged {

/// A model has at most two kinds of attention layers: those that see the whole sequence, and those with a window.
inline constexpr std::size_t kMaxGroups = 2;

/// The pools' shape, chosen by whoever creates the context.
struct CacheParams {
    std::int32_t block_size = 16;          ///< cells a page, a power of two
    std::int32_t num_blocks = 0;           ///< pages of the layers that see everything; 0 where there are none
    std::int32_t num_window_blocks = 0;    ///< pages of the layers with a window; 0 where there are none
    std::int32_t max_batch_tokens = 2048;  ///< of a step; sizes the graph's buffers
    std::int32_t n_threads = 1;            ///< that will compute a step; work is divided for them
};

/// While one lives on this thread, llama_init_from_model makes paged caches where the model allows it.
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
    /// A block table a group, alive until end_step. Each covers position + n_tokens cells; pages before the first one that
    /// the token at `position` sees are never looked at.
    std::array<std::span<const std::int32_t>, kMaxGroups> tables;
};

/// Cells [0, n_cells) of page `src` to page `dst`, in every layer of a group.
struct PageCopy {
    std::int32_t group = 0;
    std::int32_t src = 0;
    std::int32_t dst = 0;
    std::int32_t n_cells = 0;
};

/// A context's paged caches, one a group.
class StepExecutor {
   public:
    virtual ~StepExecutor() = default;
    virtual std::size_t num_groups() const = 0;
    /// Some layers keep a state for each slot besides the pages (recurrent layers): pages alone are not a sequence.
    virtual bool has_slot_state() const = 0;
    /// Runs the copies in order and takes the tables for the next llama_decode. Throws std::invalid_argument when a table,
    /// a slot, a group or a page is outside of its range; nothing has been changed then.
    virtual void begin_step(std::span<const StepSequence> sequences, std::span<const PageCopy> copies) = 0;
    /// Forgets the tables. Also after a failed llama_decode.
    virtual void end_step() = 0;
};

/// The context's paged caches, or null when it has another kind of memory. The context must outlive it.
std::unique_ptr<StepExecutor> step_executor(const llama_context* ctx);

/// What the attention layers of a kind keep, and how far back they see.
struct GroupShape {
    std::size_t bytes_per_cell = 0;  ///< over its layers, keys and values
    std::int32_t window = 0;         ///< tokens a query sees at most, itself included; 0: all
};

/// The groups that a context of this model has, in their order: without window, with window. Empty when no layer attends.
std::vector<GroupShape> group_shapes(const llama_model& model, ggml_type type_k, ggml_type type_v);

/// Name of the attention kernel that this processor runs.
const char* kernel_name();

}  // namespace tfserve::paged
