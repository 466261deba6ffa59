// The seam between the engine and whatever computes: libllama, or a stand-in for tests and the front's benchmark.
#pragma once

#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "engine/step_plan.h"
#include "engine/types.h"

namespace tfserve {

/// One kind of attention memory: its own pool of pages.
struct KvGroupSpec {
    std::int32_t num_blocks = 0;
    /// Tokens a query can see back (itself included); 0 = all.
    std::int32_t window = 0;
};

/// What a runner can do. Constant after construction.
struct RunnerCapabilities {
    /// false: the runner keeps its own cache by slot; block tables only count memory, and there is
    /// no prefix reuse, no fork and no copy on write.
    bool paged = true;
    /// false: the runner keeps something for each slot besides the pages (the state of recurrent layers), so a sequence cannot
    /// begin with another one's pages: no prefix reuse and no fork.
    bool pages_are_all = true;
    std::int32_t block_size = 16;        ///< cells a page, a power of two
    std::vector<KvGroupSpec> groups;     ///< at least one
    std::int32_t max_num_seqs = 0;       ///< slots
    std::int32_t max_batch_tokens = 0;   ///< tokens a step
    std::int32_t max_model_len = 0;      ///< prompt + output of one sequence
    std::int32_t vocab_size = 0;         ///< entries of a logits row
    std::int32_t max_prompt_logits = 0;  ///< rows of logits a step for prompts that are scored, beside one a sequence; 0 = no bound
};

/// Failure of one step; every sequence in it ends with FinishReason::error and the engine goes on.
struct RunnerError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// Computes step plans. Called from the engine's thread only.
class ModelRunner {
   public:
    virtual ~ModelRunner() = default;
    virtual const RunnerCapabilities& capabilities() const = 0;

    /// Computes the plan. Throws RunnerError.
    virtual void execute(const StepPlan& plan) = 0;

    /// Logits of the `index`-th token of `row` (an index into plan.rows) that wanted them, of the last execute().
    /// vocab_size floats, valid until the next execute(). The caller may overwrite them.
    virtual std::span<float> logits(std::size_t row, std::size_t index) = 0;
};

}  // namespace tfserve
