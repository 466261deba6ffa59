// What the scheduler knows of one sequence.
#pragma once

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

    SequenceStatus status = SequenceStatus::waiting;
    SlotId slot = kNoSlot;
    std::int32_t num_computed_tokens = 0;  ///< chases tokens.size()
    std::int32_t num_cached_tokens = -1;   ///< found in the prefix cache when first admitted; -1 before

    std::int32_t num_tokens() const { return static_cast<std::int32_t>(tokens.size()); }
    std::int32_t num_output_tokens() const { return num_tokens() - num_prompt_tokens; }
    std::int32_t num_uncomputed() const { return num_tokens() - num_computed_tokens; }
    std::span<const TokenId> output() const { return std::span(tokens).subspan(static_cast<std::size_t>(num_prompt_tokens)); }
    std::span<const TokenId> computed() const { return std::span(tokens).first(static_cast<std::size_t>(num_computed_tokens)); }
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
