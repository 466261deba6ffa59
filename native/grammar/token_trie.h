// A vocabulary as a tree of bytes: tokens with a common beginning are judged together.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/types.h"
#include "text/token_table.h"

namespace tfserve {

/// Nodes lie in the order of a depth-first walk, so that a walk is a scan that jumps over what is barred. Special and long tokens
/// lie beside the tree; holes and tokens without bytes are in neither.
class TokenTrie {
   public:
    struct Node {
        std::uint32_t end;          ///< the first node behind its subtree
        std::uint32_t first_token;  ///< tokens() of its subtree begin here, its own first
        std::uint16_t depth;        ///< 1 for the first byte of a token
        std::uint16_t height;       ///< bytes below it on the longest way down
        std::uint8_t byte;
        std::uint8_t groups;  ///< of the bytes below it: see group_of()
    };

    /// Tokens from 0 to vocab_size - 1.
    TokenTrie(const TokenTable& table, std::int32_t vocab_size);

    const std::vector<Node>& nodes() const { return nodes_; }
    /// By bytes. One more node, behind the last, has the end of these as its first_token.
    const std::vector<TokenId>& tokens() const { return tokens_; }
    const std::vector<TokenId>& special() const { return special_; }
    /// Tokens of more than kAlikeBytes bytes: few, and judged one by one.
    const std::vector<TokenId>& long_tokens() const { return long_tokens_; }
    std::int32_t vocab_size() const { return vocab_size_; }
    std::size_t longest() const { return longest_; }
    /// Tokens from which the decoder drops spaces when they come first in a text: see TokenTable::LeadingSpace.
    TokenTable::LeadingSpace leading_space() const { return leading_space_; }

    static constexpr int kGroups = 8;
    /// Bytes that grammars mostly treat alike, as one bit of eight.
    static std::uint8_t group_of(std::uint8_t byte);

   private:
    std::vector<Node> nodes_;
    std::vector<TokenId> tokens_;
    std::vector<TokenId> special_;
    std::vector<TokenId> long_tokens_;
    std::int32_t vocab_size_;
    std::size_t longest_ = 0;
    TokenTable::LeadingSpace leading_space_;
};

}  // namespace tfserve
