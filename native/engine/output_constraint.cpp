#include "engine/output_constraint.h"

#include <algorithm>
#include <exception>
#include <utility>

namespace tfserve {

OutputConstraint::OutputConstraint(std::unique_ptr<TokenConstraint> constraint, const SamplingParams& sampling, std::int32_t vocab_size)
    : constraint_(std::move(constraint)), ignore_eos_(sampling.ignore_eos), mask_(mask_words(vocab_size)) {
    for (const TokenId token : sampling.eos_token_ids) {
        if (token >= 0 && token < vocab_size) eos_.push_back(token);
    }
}

void OutputConstraint::prepare() noexcept {
    if (prepared_) return;
    prepared_ = true;
    try {
        none_ = !constraint_->mask(mask_);
        const bool may_end = constraint_->may_end() && !ignore_eos_;
        for (const TokenId token : eos_) {
            std::uint64_t& word = mask_[static_cast<std::size_t>(token) / 64];
            const std::uint64_t bit = std::uint64_t{1} << (static_cast<std::size_t>(token) % 64);
            word = may_end ? word | bit : word & ~bit;
        }
        if (!eos_.empty()) none_ = std::ranges::none_of(mask_, [](std::uint64_t word) { return word != 0; });
        if (none_ && !complete()) error_ = "no token of the model's vocabulary can go on with what the constraint asks for";
    } catch (const std::exception& failure) {
        error_ = failure.what();
    }
}

bool OutputConstraint::accept(TokenId token) {
    prepared_ = false;
    if (!constraint_->accept(token)) {
        error_ = "a token was generated that the constraint does not allow";
        return true;
    }
    return !constraint_->must_end() || (!ignore_eos_ && !eos_.empty());
}

}  // namespace tfserve
