// A constraint on one choice's output, with its ends: where an end-of-sequence token may come, and where the output ends without one.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "sampling/sampling_params.h"
#include "sampling/token_constraint.h"

namespace tfserve {

class OutputConstraint {
   public:
    OutputConstraint(std::unique_ptr<TokenConstraint> constraint, const SamplingParams& sampling, std::int32_t vocab_size);

    /// Makes the mask of the next token, unless it is made already. Any thread, one at a time; failures are kept in error().
    void prepare() noexcept;
    /// Of the last prepare(): the tokens that may come next, with end-of-sequence tokens exactly where the output may end, and without them
    /// when they are ignored. No bit set: the output ends here, completely or not.
    std::span<const std::uint64_t> allowed() const { return mask_; }
    bool none_allowed() const { return none_; }
    /// The output satisfies the constraint as it is.
    bool complete() const { return constraint_->may_end(); }
    /// Why the constraint cannot be followed any more; empty: it can.
    const std::string& error() const { return error_; }

    /// Goes on behind a token that is no end of the sequence. False: nothing can follow, not even an end-of-sequence token.
    bool accept(TokenId token);

   private:
    std::unique_ptr<TokenConstraint> constraint_;
    std::vector<TokenId> eos_;  // of the vocabulary
    bool ignore_eos_;
    bool prepared_ = false;
    bool none_ = false;
    std::vector<std::uint64_t> mask_;
    std::string error_;
};

}  // namespace tfserve
