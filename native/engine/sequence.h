// What the scheduler knows of one sequence.
#pragma once

#include <algorithm>
#include <compare>
#include <cstdint>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "engine/types.h"

namespace tfserve {

enum class SequenceStatus : std::uint8_t {
    waiting,  ///< holds no slot and no page: new, or preempted
    running,  ///< holds a slot and the pages of its computed tokens
};

struct Sequence {
    SequenceId id = 0;
    std::vector<TokenId> tokens;  ///< prompt, then output
    std::int32_t num_prompt_tokens = 0;
    std::int32_t max_tokens = 0;  ///< prompt and output together, at most
    std::int32_t priority = 0;    ///< lower goes first
    std::uint64_t arrival = 0;    ///< then the earlier request
    std::int32_t choice = 0;      ///< then the lower choice of the same request
    std::string salt;             ///< prefix pages are shared only between equal salts
    bool scores_prompt = false;   ///< wants logits for every prompt token but the last, which gets them anyway

    SequenceStatus status = SequenceStatus::waiting;
    SlotId slot = kNoSlot;
    std::int32_t num_computed_tokens = 0;  ///< chases tokens.size()
    std::int32_t num_cached_tokens = -1;   ///< found in the prefix cache when first admitted; -1 before
    std::int32_t num_scored_tokens = 0;    ///< prompt tokens whose logits have been computed, of those that scores_prompt wants

    std::int32_t num_tokens() const { return static_cast<std::int32_t>(tokens.size()); }
    std::int32_t num_output_tokens() const { return num_tokens() - num_prompt_tokens; }
    std::int32_t num_uncomputed() const { return num_tokens() - num_computed_tokens; }
    std::span<const TokenId> output() const { return std::span(tokens).subspan(static_cast<std::size_t>(num_prompt_tokens)); }
    std::span<const TokenId> computed() const { return std::span(tokens).first(static_cast<std::size_t>(num_computed_tokens)); }
    /// Logits of prompt tokens are still wanted.
    bool scores() const { return scores_prompt && num_scored_tokens + 1 < num_prompt_tokens; }
    /// What the prefix cache may be asked for: tokens whose logits are still wanted have to be computed.
    std::span<const TokenId> reusable() const {
        return scores() ? std::span(tokens).first(static_cast<std::size_t>(num_scored_tokens) + 1) : std::span(tokens);
    }
    /// Rows of logits that computing the next n tokens gives: a run that ends with the last of them, or none.
    std::int32_t num_logits(std::int32_t n) const {
        const std::int32_t end = num_computed_tokens + n;
        const std::int32_t first = std::max(num_computed_tokens, num_scored_tokens);
        if (scores() && first < std::min(end, num_prompt_tokens - 1)) return end - first;
        return end == num_tokens() ? 1 : 0;
    }
    /// The most tokens that can come next with no more than `rows` rows of logits for the prompt.
    std::int32_t most_tokens(std::int32_t rows) const {
        if (!scores()) return num_uncomputed();
        return std::min(num_uncomputed(), std::max(0, num_scored_tokens - num_computed_tokens) + rows);
    }
    /// Generates one token a step: everything but the newest token is computed.
    bool decodes() const { return num_uncomputed() == 1 && num_output_tokens() > 0; }
};

/// The one order of service: admission takes the first, preemption the last. Total, so somebody is always first and advances.
struct ServiceOrder {
    bool operator()(const Sequence* a, const Sequence* b) const {
        return std::tie(a->priority, a->arrival, a->choice, a->id) < std::tie(b->priority, b->arrival, b->choice, b->id);
    }
};

}  // namespace tfserve
