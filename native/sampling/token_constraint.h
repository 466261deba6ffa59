// The seam between whatever knows which tokens may come next and the engine that samples under it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "engine/types.h"

namespace tfserve {

/// Words of a mask over a vocabulary: bit t % 64 of word t / 64 is set where token t is allowed.
constexpr std::size_t mask_words(std::int32_t vocab_size) { return (static_cast<std::size_t>(vocab_size) + 63) / 64; }

inline bool mask_allows(std::span<const std::uint64_t> mask, TokenId token) {
    return token >= 0 && static_cast<std::size_t>(token) / 64 < mask.size() &&
           (mask[static_cast<std::size_t>(token) / 64] >> (static_cast<std::size_t>(token) % 64) & 1) != 0;
}

/// Follows the output of one sequence. One thread at a time; different ones may run at the same time. What throws, throws std::exception
/// with a sentence for the user.
class TokenConstraint {
   public:
    virtual ~TokenConstraint() = default;
    /// Writes which tokens may come next, ends of sequences left aside. Returns whether there is any.
    virtual bool mask(std::span<std::uint64_t> words) = 0;
    /// Goes on behind `token`, which is no end of sequence. False, and nothing else is done, when it may not come.
    virtual bool accept(TokenId token) = 0;
    /// Takes back the last n tokens; n is at most max_rollback(). False, and nothing is done, when there are not so many.
    virtual bool rollback(std::size_t n) = 0;
    virtual std::size_t max_rollback() const = 0;
    /// The output may end here.
    virtual bool may_end() const = 0;
    /// The output must end here: no text can follow.
    virtual bool must_end() const = 0;
};

/// A compiled constraint: immutable for its users, shared by all sequences that follow it, on any thread.
class ConstraintSource {
   public:
    virtual ~ConstraintSource() = default;
    /// A constraint at the beginning of an output.
    virtual std::unique_ptr<TokenConstraint> start() const = 0;
    /// Bytes, about; grows while outputs follow it.
    virtual std::size_t memory() const = 0;
};

}  // namespace tfserve
