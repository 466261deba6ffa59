// What fits: limits that follow from a runner's capabilities alone.
#pragma once

#include <cstdint>
#include <string>

#include "engine/model_runner.h"

namespace tfserve {

/// Immutable once made, so that any thread may ask.
class Capacity {
   public:
    /// Throws std::invalid_argument when no sequence at all could run on such a runner.
    explicit Capacity(const RunnerCapabilities& capabilities);

    /// Tokens, prompt and output together, that one sequence may reach when it has all pages for itself.
    std::int32_t max_sequence_tokens() const { return max_sequence_tokens_; }
    /// As far as the pages allow; can be more than the model's length.
    std::int64_t pool_tokens() const { return pool_tokens_; }
    /// Tokens of one sequence that a step may compute: the budget, or less where a windowed group is small.
    std::int32_t max_chunk() const { return max_chunk_; }
    /// Pages of a group that a sequence holds at most on its way to `n_tokens`, of which `n_uncomputed` are not computed yet.
    std::int32_t max_held(std::int32_t group, std::int32_t n_tokens, std::int32_t n_uncomputed) const;

   private:
    RunnerCapabilities capabilities_;
    std::int64_t pool_tokens_ = 0;
    std::int32_t max_sequence_tokens_ = 0;
    std::int32_t max_chunk_ = 0;
};

}  // namespace tfserve
